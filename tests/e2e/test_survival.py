"""What runs survives: restarts, cuts of the network, and runners that come and go."""
import collections
import os
import signal
import time

import harness
from harness import PASS, alive, wait_for
from proxy import Proxy

PATIENT = ("--lease", "15s", "--heartbeat", "300ms")
ELSEWHERE_S = 20  # in so many seconds the work of a dead runner is running elsewhere


class Survival(harness.Case):
    def proxy(self):
        p = Proxy(self.port)
        self.addCleanup(p.close)
        return p

    def wait_registered(self, runner, times):
        wait_for(f"{runner.name} registered {times} times",
                 lambda: runner.said().count("registered") >= times)

    def attempts(self, tail, oid):
        return {e["att"] for e in tail.events("task_done", oid=oid)}

    def assert_numbers(self, tail):
        seen = [e["seq"] for e in tail.events()]
        self.assertEqual(seen, list(range(1, len(seen) + 1)))

    # ---- the dispatcher is replaced ----

    def test_an_upgrade_of_the_dispatcher(self):
        repo = self.repository(files={"tests/a.sh": self.gate(after="seq 1 30000")})
        dispatcher = self.dispatcher()
        runner, tail = self.runner(), self.tail()
        self.observer("--policy", "every", repo.path)
        self.wait_start()
        oids = [repo.head()] + [repo.commit({"n": str(i), "tests/a.sh": PASS}) for i in range(3)]
        tail.wait("submitted", oid=oids[-1])
        self.assertEqual(dispatcher.stop(signal.SIGTERM), 0)
        self.assertIn("stopped", dispatcher.said())
        oids.append(repo.commit({"n": "while nobody is there"}))
        self.dispatcher()
        self.wait_registered(runner, 2)
        self.go()
        for oid in oids:
            self.assertEqual(tail.verdict(oid), "passed")
            self.assertEqual(len(tail.events("build_done", oid=oid)), 1)
            self.assertEqual(self.attempts(tail, oid), {1})
        self.assertEqual([a for a, _ in self.starts()], [1])
        self.assertEqual(self.ask("log", "1"), b"".join(b"%d\n" % i for i in range(1, 30001)))
        self.assert_numbers(tail)

    # ---- the network ----

    def cut_for_a_while(self, cut, mend):
        """Shorter than the lease: the test goes on and is told of as if nothing had been."""
        repo = self.repository(files={"tests/a.sh": self.gate(after="seq 1 50000")})
        self.dispatcher(*PATIENT)
        proxy, tail = self.proxy(), self.tail()
        self.runner(server=proxy.server)
        self.observer(repo.path)
        self.wait_start()
        self.runner(name="idle")  # would take the test if it could be had
        cut(proxy)
        self.go()  # all its output comes while nobody hears it
        time.sleep(1.5)
        self.assertEqual(tail.events("task_done", task_kind="tests"), [])
        mend(proxy)
        self.assertEqual(tail.verdict(repo.head()), "passed")
        self.assertEqual([a for a, _ in self.starts()], [1])
        self.assertEqual(self.attempts(tail, repo.head()), {1})
        self.assertEqual(self.ask("log", "1"), b"".join(b"%d\n" % i for i in range(1, 50001)))

    def test_a_network_that_hangs_for_less_than_the_lease(self):
        self.cut_for_a_while(Proxy.hang, Proxy.heal)

    def test_connections_that_break_for_less_than_the_lease(self):
        self.cut_for_a_while(Proxy.cut, Proxy.heal)

    def test_a_network_that_hangs_for_more_than_the_lease(self):
        """With the times that everybody has."""
        repo = self.repository(files={"tests/a.sh": self.gate(after="exit $((VOLT_ATTEMPT % 2))")})
        self.dispatcher()
        proxy, tail = self.proxy(), self.tail()
        first = self.runner(name="first", server=proxy.server)
        self.observer(repo.path)
        (_, pid), = self.wait_start()
        self.runner(name="second")
        proxy.hang()
        cut_ms = time.time() * 1000
        self.assertEqual([a for a, _ in self.wait_start(n=2)], [1, 2])
        again, = tail.wait("leased", att=2)
        self.assertEqual(again["runner"], "second")
        self.assertLess(again["time_ms"] - cut_ms, ELSEWHERE_S * 1000)
        self.go()  # also for the first attempt, which fails and would be told late
        self.assertEqual(tail.verdict(repo.head()), "passed")
        proxy.heal()
        wait_for("the end of the first attempt", lambda: not alive(pid))
        wait_for("an empty spool", lambda: not os.listdir(self.path("first.d", "spool")))
        wait_for("both", lambda: sum(r["state"] == "up" for r in self.json("runners")) == 2)
        self.assertEqual(self.json("build", "1")[0]["verdict"], "passed")
        self.assertEqual(len(tail.events("build_done", oid=repo.head())), 1)
        done, = tail.events("test_done", oid=repo.head())
        self.assertEqual((done["att"], done["runner"]), (2, "second"))
        self.assertTrue(first.running())
        self.assert_numbers(tail)

    # ---- runners come and go ----

    def test_a_second_sigterm_stops_a_draining_runner(self):
        repo = self.repository(files={"tests/a.sh": self.gate()})
        self.dispatcher()
        runner, tail = self.runner(), self.tail()
        self.observer(repo.path)
        (_, pid), = self.wait_start()
        runner.send(signal.SIGTERM)
        runner.wait_said("draining")
        self.assertTrue(alive(pid))
        runner.send(signal.SIGTERM)
        runner.wait()
        self.assertFalse(alive(pid))
        self.runner(name="other")  # gets it at once, not after a lease
        self.assertEqual([a for a, _ in self.wait_start(n=2)], [1, 2])
        self.go()
        self.assertEqual(tail.verdict(repo.head()), "passed")
        lost = [e for e in tail.events("requeued") if e.get("code") == "LOST"]
        self.assertEqual(lost, [])  # it was given back

    def test_from_one_runner_to_fifty_to_three(self):
        """While commits come; each unit notes that it ran."""
        unit = f"#!/bin/sh\necho $VOLT_COMMIT ${{0##*/}} >>{self.path('ran')}\nsleep .1\n"
        names = [f"u{i}.sh" for i in range(4)]
        repo = self.repository(files={f"tests/{n}": unit for n in names})
        self.dispatcher()
        tail, oids = self.tail(), [repo.head()]
        self.observer("--policy", "every", repo.path)

        def commits(n):
            for _ in range(n):
                oids.append(repo.commit({"n": str(len(oids))}))
                time.sleep(0.1)

        def up():
            return sum(r["state"] == "up" for r in self.json("runners"))

        runners = [self.runner(name="runner1")]
        commits(4)
        for i in range(2, 51):
            runners.append(self.runner(name=f"runner{i}", wait=False))
            if i % 8 == 0:
                commits(1)
        wait_for("all fifty", lambda: up() == 50)
        commits(10)
        for i, r in enumerate(runners[3:]):
            r.send(signal.SIGTERM)
            if i % 8 == 0:
                commits(1)
        for r in runners[3:]:
            self.assertEqual(r.wait(), 0, r.name)
        wait_for("only three", lambda: up() == 3)
        commits(4)
        for oid in oids:
            self.assertEqual(tail.verdict(oid), "passed")
        self.assertEqual(len(tail.events("build_done")), len(oids))
        ran = collections.Counter(self.read("ran").splitlines())
        self.assertEqual(ran, collections.Counter(f"{o} {n}" for o in oids for n in names))
        self.assertEqual(tail.events("requeued", code="LOST"), [])  # an assign may cross a SIGTERM
        self.assertGreater(len({e["runner"] for e in tail.events("running")}), 10)
        self.assert_numbers(tail)


if __name__ == "__main__":
    harness.main()
