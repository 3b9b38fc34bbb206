"""What a task started ends with it: after a cancel, a hung executor, and kills that leave nobody to inherit it."""
import os
import signal
import time

import harness
from harness import alive, wait_for

QUICK = ("--lease", "3s", "--heartbeat", "300ms")


class Leftovers(harness.Case):
    def setUp(self):
        self.killed = True  # executors outlive a killed agent, for a lease

    def daemon(self, name="daemon"):
        """Lines of a unit that leave a process behind: a session of its own, deaf to TERM, until it is told to end."""
        return (f"setsid sh -c 'trap \"\" TERM HUP INT; echo $$ >{self.path(name)}.new;"
                f" mv {self.path(name)}.new {self.path(name)}; while [ ! -e {self.path(name)}.end ]; do sleep .1; done'"
                " </dev/null >/dev/null 2>&1 &\n"
                f"while [ ! -e {self.path(name)} ]; do sleep .01; done\n")

    def unit(self, attempt_1=""):
        """Attempt 1 leaves a daemon, and each waits at the gate."""
        head, rest = self.gate().split("\n", 1)
        return f"{head}\nif [ $VOLT_ATTEMPT = 1 ]; then\n{attempt_1 or self.daemon()}fi\n{rest}"

    def pid(self, name="daemon"):
        return int(wait_for(name, lambda: self.read(name)))

    def begin(self, *runner, **kw):
        repo = self.repository(files={"tests/a.sh": self.unit()})
        self.dispatcher(*QUICK)
        r, tail = self.runner(*runner, **kw), self.tail()
        self.observer(repo.path)
        self.wait_start()
        return repo, r, tail

    def state(self, task):
        return self.json("task", str(task))[0]["state"]

    # ---- kills ----

    def test_a_new_runner_ends_what_agent_and_executors_left(self):
        repo, runner, tail = self.begin()
        daemon = self.pid()
        runner.kill()
        for pid in self.executors(runner).values():
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        self.assertTrue(alive(daemon))  # nobody was there to end it
        fresh = self.runner()
        self.wait_start(n=2)
        self.assertFalse(alive(daemon))
        self.go()
        self.assertEqual(tail.verdict(repo.head()), "passed")
        self.assertEqual([a for a, _ in self.starts()], [1, 2])
        self.assertTrue(fresh.running())

    def test_it_leaves_an_executor_that_lives_alone(self):
        repo = self.repository(files={"tests/a.sh": self.unit(self.daemon("first")),
                                      "tests/b.sh": self.unit(self.daemon("second"))})
        self.dispatcher(*QUICK)
        runner, tail = self.runner("--slots", "2", "--batch", "1"), self.tail()
        self.observer(repo.path)
        self.wait_start(n=2)
        daemons = {self.pid("first"), self.pid("second")}
        runner.kill()
        os.kill(self.executors(runner)[1], signal.SIGKILL)
        self.runner("--slots", "2", "--batch", "1")
        self.wait_start(n=3)
        self.assertEqual(len([pid for pid in daemons if alive(pid)]), 1)
        self.go()
        self.assertEqual(tail.verdict(repo.head()), "passed")
        self.assertEqual(sorted(a for a, _ in self.starts()), [1, 1, 2])
        wait_for("the end of both", lambda: not any(map(alive, daemons)))

    # ---- a hung executor ----

    def hang(self, runner):
        pid = self.executors(runner)[1]
        os.kill(pid, signal.SIGSTOP)
        return pid

    def ends_hung(self, repo, tail, hung):
        again = self.wait_start(n=2)
        self.assertFalse(alive(hung) or alive(self.pid()) or alive(again[0][1]))
        self.go()
        self.assertEqual(tail.verdict(repo.head()), "passed")
        lost = [e["code"] for e in tail.events("requeued")]
        self.assertEqual(lost, ["LOST"])

    def test_a_hung_executor_is_ended_with_its_task(self):
        repo, runner, tail = self.begin("--hung", "1s")
        self.ends_hung(repo, tail, self.hang(runner))
        self.assertIn("hung", runner.said())

    def test_a_hung_executor_of_an_earlier_agent_too(self):
        repo, runner, tail = self.begin("--hung", "1s")
        runner.kill()
        fresh = self.runner("--hung", "1s")
        fresh.wait_said("registered")
        hung = self.hang(fresh)
        self.ends_hung(repo, tail, hung)
        self.assertIn("hung", fresh.said())

    # ---- cancel, drain ----

    def test_canceling_lasts_until_all_processes_have_ended(self):
        repo, runner, tail = self.begin("--grace", "1h")
        task = tail.wait("running", task_kind="tests")[0]["task"]
        (_, unit), = self.starts()
        self.ask("cancel", "1")
        wait_for("the end of the test itself", lambda: not alive(unit))
        self.assertTrue(alive(self.pid()))
        self.assertEqual(self.state(task), "canceling")
        row, = self.json("status")[0]["running"]
        self.assertIn("until all that it started has ended", row["why"])
        self.write("daemon.end")
        self.assertEqual(tail.verdict(repo.head()), "canceled")
        self.assertFalse(alive(self.pid()))
        self.assertEqual(self.state(task), "final")
        self.assertTrue(runner.running())

    def test_a_runner_that_drains_is_resumed(self):
        repo, runner, tail = self.begin()
        self.ask("drain", "runner")
        row, = self.json("runners")
        self.assertEqual(row["mode"], "drain")
        later = repo.commit({"tests/a.sh": harness.PASS})
        tail.wait("submitted", oid=later)
        self.assertIn("drains", self.json("status")[0]["waiting"][0]["why"])
        self.ask("resume", "runner")
        self.go()
        self.assertEqual(tail.verdict(later), "passed")
        self.assertTrue(runner.running())


if __name__ == "__main__":
    harness.main()
