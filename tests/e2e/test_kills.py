"""Processes are killed and stopped at the worst moments: every commit gets exactly one verdict."""
import os
import random
import signal
import time

import harness
from harness import PASS, alive, wait_for

QUICK = ("--lease", "3s", "--heartbeat", "300ms")  # a lost runner is noticed soon


class Kills(harness.Case):
    def setUp(self):
        self.killed = True  # executors outlive a killed agent, for a lease

    def gapless(self, tail):
        """All that happened, once each and in order."""
        seen = [e["seq"] for e in tail.events()]  # read once: more may come meanwhile
        self.assertEqual(seen, list(range(1, len(seen) + 1)))

    def one_verdict(self, tail, oid, verdict="passed"):
        self.assertEqual(tail.verdict(oid), verdict)
        self.assertEqual(len(tail.events("build_done", oid=oid)), 1)
        tasks = [e["task"] for e in tail.events("task_done", oid=oid)]
        self.assertEqual(len(tasks), len(set(tasks)))
        self.gapless(tail)

    def kill_executors(self, runner):
        for pid in self.executors(runner).values():
            os.kill(pid, signal.SIGKILL)

    # ---- the runner ----

    def test_a_killed_agent_is_started_again(self):
        repo = self.repository(files={"tests/a.sh": self.gate(after="seq 1 50000")})
        self.dispatcher(*QUICK)
        runner, tail = self.runner(), self.tail()
        self.observer(repo.path)
        self.wait_start()
        runner.kill()
        self.runner()
        self.go()
        self.one_verdict(tail, repo.head())
        self.assertEqual([a for a, _ in self.starts()], [1])
        self.assertEqual(self.ask("log", "1"), b"".join(b"%d\n" % i for i in range(1, 50001)))
        self.killed = False  # nothing is left of it

    def test_a_killed_agent_is_replaced_by_another_runner(self):
        repo = self.repository(files={"tests/a.sh": self.gate()})
        self.dispatcher(*QUICK)
        first, tail = self.runner(name="runner1"), self.tail()
        self.observer(repo.path)
        (_, pid), = self.wait_start()
        self.runner(name="runner2")
        first.kill()
        self.assertEqual([a for a, _ in self.wait_start(n=2)], [1, 2])
        self.go()
        self.one_verdict(tail, repo.head())
        done, = tail.events("test_done", oid=repo.head())
        self.assertEqual(done["runner"], "runner2")
        wait_for("the end of the first attempt", lambda: not alive(pid))
        wait_for("the end of its executors", lambda: not self.executors(first))
        self.killed = False

    def test_a_runner_killed_with_its_executors(self):
        repo = self.repository(files={"tests/a.sh": self.gate()})
        self.dispatcher(*QUICK)
        runner, tail = self.runner(), self.tail()
        self.observer(repo.path)
        (_, pid), = self.wait_start()
        runner.kill()
        self.kill_executors(runner)
        self.runner()  # at once on the same directory: it knows what is lost, and says so
        again = self.wait_start(n=2)
        self.assertFalse(alive(pid))
        self.assertEqual([a for a, _ in again], [1, 2])
        self.go()
        self.one_verdict(tail, repo.head())

    def test_a_killed_executor_alone(self):
        repo = self.repository(files={"tests/a.sh": self.gate()})
        self.dispatcher(*QUICK)
        runner, tail = self.runner(), self.tail()
        self.observer(repo.path)
        self.wait_start()
        os.kill(self.executors(runner)[1], signal.SIGKILL)
        self.assertEqual([a for a, _ in self.wait_start(n=2)], [1, 2])
        self.go()
        self.one_verdict(tail, repo.head())
        self.assertTrue(runner.running())

    def test_a_frozen_runners_late_result_does_not_count(self):
        repo = self.repository(files={"tests/a.sh": self.gate(after="exit $((VOLT_ATTEMPT % 2))")})
        self.dispatcher(*QUICK)
        first, tail = self.runner(name="runner1"), self.tail()
        self.observer(repo.path)
        self.wait_start()
        self.runner(name="runner2")
        first.send(signal.SIGSTOP)
        self.wait_start(n=2)
        self.go()  # also for the first attempt, which fails and is told late
        self.one_verdict(tail, repo.head())
        first.send(signal.SIGCONT)
        wait_for("the runner", lambda: {r["name"] for r in self.json("runners")
                                        if r["state"] == "up"} == {"runner1", "runner2"})
        time.sleep(0.5)
        self.one_verdict(tail, repo.head())
        self.assertEqual(self.json("build", "1")[0]["verdict"], "passed")

    # ---- the dispatcher ----

    def test_a_killed_dispatcher_with_queued_builds_and_a_running_task(self):
        repo = self.repository(files={"tests/a.sh": self.gate()})
        queued = [self.repository(f"queued{i}", {"tests/ok.sh": PASS}) for i in range(5)]
        dispatcher = self.dispatcher()
        runner, tail = self.runner(), self.tail()
        self.observer(repo.path)
        self.wait_start()
        observer = self.observer(*[r.path for r in queued], name="observer2")
        tail.wait("submitted", 6)
        dispatcher.kill()
        self.dispatcher()
        self.assertEqual(len(self.json("builds")), 6)
        wait_for("the runner", lambda: runner.said().count("registered") >= 2)
        self.go()
        for r in [repo, *queued]:
            self.one_verdict(tail, r.head())
        self.assertEqual([a for a, _ in self.starts()], [1])
        self.assertEqual({e["att"] for e in tail.events("task_done", oid=repo.head())}, {1})
        self.assertTrue(runner.running() and observer.running() and tail.running())

    def test_a_result_waits_for_the_dispatcher(self):
        repo = self.repository(files={"tests/a.sh": self.gate(after="seq 1 30000")})
        dispatcher = self.dispatcher()
        self.runner()
        tail = self.tail()
        self.observer(repo.path)
        (_, pid), = self.wait_start()
        dispatcher.kill()
        self.go()
        wait_for("the end of the test", lambda: not alive(pid))
        pushed = repo.commit({"tests/a.sh": PASS})  # while nobody is there
        time.sleep(0.5)
        self.dispatcher()
        self.assertEqual(tail.verdict(pushed), "passed")
        first = tail.events("submitted")[0]["oid"]
        self.one_verdict(tail, first)
        self.assertEqual([a for a, _ in self.starts()], [1])
        self.assertEqual(self.ask("log", "1"), b"".join(b"%d\n" % i for i in range(1, 30001)))

    def test_a_dispatcher_killed_again_and_again(self):
        repo = self.repository(files={f"tests/t{i}.sh": "#!/bin/sh\nsleep .2\n"
                                      for i in range(12)})
        dispatcher = self.dispatcher()
        self.runner("--slots", "2")
        tail = self.tail()
        self.observer(repo.path)
        tail.wait("running", task_kind="tests")
        for _ in range(4):
            time.sleep(0.3)
            dispatcher.kill()
            dispatcher = self.dispatcher()
        self.one_verdict(tail, repo.head())
        self.assertEqual(len(tail.events("test_done")), 12)
        self.assertEqual({e["att"] for e in tail.events("task_done")}, {1})

    def test_a_frozen_dispatcher_takes_nothing_away(self):
        repo = self.repository(files={"tests/a.sh": self.gate()})
        dispatcher = self.dispatcher(*QUICK)
        self.runner()
        tail = self.tail()
        self.observer(repo.path)
        self.wait_start()
        dispatcher.send(signal.SIGSTOP)
        time.sleep(4)  # more than a lease
        dispatcher.send(signal.SIGCONT)
        time.sleep(1)
        self.go()
        self.one_verdict(tail, repo.head())
        self.assertEqual([a for a, _ in self.starts()], [1])

    # ---- all of them ----

    def test_everything_killed_at_once(self):
        repo = self.repository(files={"tests/a.sh": self.gate(), "tests/b.sh": PASS})
        self.dispatcher()
        runner, tail = self.runner(), self.tail("--from", "start")
        observer = self.observer(repo.path)
        (_, pid), = self.wait_start()
        second = repo.commit({"tests/a.sh": PASS})
        tail.wait("submitted", oid=second)
        for p in (tail, observer, runner, self.processes[0]):
            p.kill()
        self.kill_executors(runner)
        wait_for("the end of the test", lambda: not alive(pid))
        self.dispatcher()
        self.runner()
        self.observer(repo.path)
        self.go()
        tail = self.tail("--from", "start")
        self.one_verdict(tail, second)
        self.one_verdict(tail, tail.events("submitted")[0]["oid"])
        self.assertEqual(len(self.json("builds")), 2)

    def test_kills_while_commits_come(self):
        repo = self.repository(files={"tests/a.sh": "#!/bin/sh\nsleep .1\n", "tests/b.sh": PASS})
        dice = random.Random(2)
        oids = [repo.head()]
        start = {"dispatcher": lambda: self.dispatcher(*QUICK),
                 "runner1": lambda: self.runner(name="runner1", wait=False),
                 "runner2": lambda: self.runner(name="runner2", wait=False),
                 "observer": lambda: self.observer("--policy", "every", repo.path)}
        up = {name: begin() for name, begin in start.items()}
        tail = self.tail()
        tail.wait("submitted")
        for i in range(14):
            oids.append(repo.commit({"n": str(i)}))
            name = dice.choice(list(up))
            time.sleep(dice.uniform(0, 0.4))
            up[name].kill()
            time.sleep(dice.uniform(0, 0.2))
            up[name] = start[name]()
        for oid in oids:
            self.one_verdict(tail, oid)
        self.assertEqual(len(self.json("builds", "-n", "100")), len(oids))
        self.assertEqual([e["oid"] for e in tail.events("submitted")], oids)


if __name__ == "__main__":
    harness.main()
