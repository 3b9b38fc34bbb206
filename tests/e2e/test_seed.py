"""What people know the 500-lines CI by, each as a test with the whole system."""
import os
import signal
import socket
import time
import unittest

import harness
from harness import FAIL, PASS, cpu_s, wait_for


def resolves(name):
    """To this machine's loopback?"""
    try:
        found = socket.getaddrinfo(name, 1, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(a[4][0] in ("127.0.0.1", "::1") for a in found)


class Seed(harness.Case):
    def builds_through(self, server):
        repo = self.repository(files={"tests/ok.sh": PASS})
        self.server = server
        self.runner()
        tail = self.tail()
        self.observer(repo.path)
        self.assertEqual(tail.verdict(repo.head()), "passed")
        self.assertEqual(len(self.json("builds")), 1)

    # ---- the address ----

    def test_an_ipv4_address(self):
        self.dispatcher(host="127.0.0.1")
        self.builds_through(f"127.0.0.1:{self.port}")

    def test_an_ipv6_address(self):
        try:
            with socket.socket(socket.AF_INET6) as s:
                s.bind(("::1", 0))
        except OSError:
            self.skipTest("no IPv6 on this machine")
        self.dispatcher(host="::1")
        self.builds_through(f"[::1]:{self.port}")

    def test_a_dotted_name(self):
        names = [n for n in ("localhost.localdomain", socket.getfqdn(), "localhost.")
                 if "." in n and resolves(n)]
        if not names:
            self.skipTest("no dotted name of the loopback resolves")
        self.dispatcher()
        self.builds_through(f"{names[0]}:{self.port}")

    def test_the_default_address(self):
        for port in range(8888, 8891):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    self.skipTest(f"port {port} is somebody else's")
        repo = self.repository(files={"tests/ok.sh": PASS})
        dispatcher = self.start("dispatcher", "dispatcher")
        wait_for("the dispatcher", lambda: "ready at " in dispatcher.said()
                 or not dispatcher.running())
        if not dispatcher.running():  # another run of this test was quicker
            self.assertIn("in use", dispatcher.said())
            self.skipTest("port 8888 is somebody else's")
        self.assertIn("ready at localhost:8888,", dispatcher.said())
        self.start("runner", "runner")
        self.start("observer", "observer", repo.path)
        self.volt("submit", "--wait", repo.path, "HEAD")
        self.assertIn(b"passed", self.volt("builds"))

    def test_an_address_that_cannot_be_is_said(self):
        for bad in ("localhost:", "localhost:port", "localhost:0", "localhost:65536", "[::1:8888",
                    ""):
            for command in ("runner", "status", "tail"):
                with self.subTest(command=command, server=bad):
                    self.volt(command, "--dispatcher-server", bad, rc=2)
                    self.assertIn(f"'{bad}'", self.said)

    # ---- waiting ----

    def test_an_observer_waits_for_a_runner(self):
        repo = self.repository(files={"tests/ok.sh": PASS})
        self.dispatcher()
        tail = self.tail()
        self.observer(repo.path)
        first = repo.head()
        tail.wait("submitted", oid=first)
        second = repo.commit({"tests/ok.sh": FAIL})
        tail.wait("submitted", oid=second)
        self.runner()
        self.assertEqual(tail.verdict(first), "passed")
        self.assertEqual(tail.verdict(second), "failed")

    def test_an_observer_waits_for_a_dispatcher(self):
        self.reserve()
        repo = self.repository(files={"tests/ok.sh": PASS})
        observer = self.observer("--policy", "every", repo.path)
        wait_for("the observer's spool", lambda: any(
            files for at, _, files in os.walk(self.path("observer.d")) if at.endswith("spool")))
        oids = [repo.head()] + [repo.commit({"n": str(i)}) for i in range(4)]
        time.sleep(0.5)
        self.dispatcher(port=self.port)
        self.runner()
        tail = self.tail()
        for oid in oids:
            self.assertEqual(tail.verdict(oid), "passed")
        self.assertEqual([e["oid"] for e in tail.events("submitted")], oids)
        self.assertTrue(observer.running())

    def test_a_runner_and_a_tail_wait_for_a_dispatcher(self):
        self.reserve()
        repo = self.repository(files={"tests/ok.sh": PASS})
        runner = self.runner(wait=False)
        tail = self.tail()
        time.sleep(0.3)
        self.assertTrue(runner.running() and tail.running())
        self.dispatcher(port=self.port)
        self.ask("submit", repo.path, "HEAD")
        self.assertEqual(tail.verdict(repo.head()), "passed")

    # ---- runners ----

    def test_any_number_of_runners_registers(self):
        names = [f"runner{i}" for i in range(5)]
        repo = self.repository(files={f"tests/{n}.sh": self.gate(n) for n in names})
        self.dispatcher()
        for n in names:
            self.runner(name=n)
        self.assertEqual({r["name"] for r in self.json("runners")}, set(names))
        tail = self.tail()
        self.observer(repo.path)
        for n in names:
            self.wait_start(n)  # all five run at the same time
        running = tail.wait("running", len(names), oid=repo.head(), task_kind="tests")
        self.assertEqual({e["runner"] for e in running}, set(names))
        for n in names:
            self.go(n)
        self.assertEqual(tail.verdict(repo.head()), "passed")

    def test_runners_take_work_directories_of_their_own(self):
        self.dispatcher()
        for i in range(3):
            self.start(f"runner{i}", "runner", "--dispatcher-server", self.server)
        wait_for("three runners", lambda: len(self.json("runners")) == 3)
        self.assertEqual(len({r["name"] for r in self.json("runners")}), 3)

    def test_a_busy_runner_gets_no_second_task(self):
        one = self.repository("one", {"tests/a.sh": self.gate("a"), "tests/b.sh": self.gate("b")})
        two = self.repository("two", {"tests/c.sh": self.gate("c")})
        tail = self.everything(one, two)
        wait_for("a first start", lambda: [n for n in "abc" if self.starts(n)])
        tail.wait("planned", 2)  # planning goes on
        time.sleep(1)
        self.assertEqual(sum(len(self.starts(n)) for n in "abc"), 1)
        self.assertEqual(self.json("runners")[0]["busy"], 1)
        status = self.json("status")[0]
        self.assertEqual(len([t for t in status["running"] if t["kind"] == "tests"]), 1)
        self.assertTrue(all(t.get("why") for t in status["waiting"]), status)
        self.assertTrue(status["waiting"])
        for n in "abc":
            self.go(n)
        self.assertEqual(tail.verdict(one.head()), "passed")
        self.assertEqual(tail.verdict(two.head()), "passed")
        self.assertEqual([len(self.starts(n)) for n in "abc"], [1, 1, 1])

    def test_slots_run_as_many_at_a_time(self):
        repo = self.repository(files={f"tests/{n}.sh": self.gate(n) for n in "abcd"})
        tail = self.everything(repo, runner=("--slots", "3"))
        wait_for("three starts", lambda: sum(len(self.starts(n)) for n in "abcd") == 3)
        time.sleep(0.5)
        self.assertEqual(sum(len(self.starts(n)) for n in "abcd"), 3)
        for n in "abcd":
            self.go(n)
        self.assertEqual(tail.verdict(repo.head()), "passed")

    # ---- tests ----

    def test_a_fixed_commit_is_green_on_the_same_runner(self):
        repo = self.repository(files={"value.py": "VALUE = 1\n", "tests/test_value.py":
                                      "import os, sys, unittest\n"
                                      "sys.path.insert(0, os.getcwd())\nimport value\n"
                                      "class T(unittest.TestCase):\n"
                                      "    def test(self): self.assertEqual(value.VALUE, 2)\n"})
        tail = self.everything(repo)
        broken = repo.head()
        self.assertEqual(tail.verdict(broken), "failed")
        fixed = repo.commit({"value.py": "VALUE = 2\n"})  # of the same size, in the same second
        self.assertEqual(tail.verdict(fixed), "passed")
        again = repo.commit({"value.py": "VALUE = 3\n"})
        self.assertEqual(tail.verdict(again), "failed")

    def test_output_is_stored_as_it_was(self):
        raw = b"Name: it's \"so\": 'a:b'\r\n\0:\x1b[1m" + bytes(range(256)) * 3 + b"\xc3\n--- x\n\n"
        repo = self.repository(files={
            "bytes": raw, "tests/none.sh": "#!/bin/sh\n",
            "tests/raw: it's.sh": "#!/bin/sh\ncat bytes\nexit 3\n",
            "tests/ünïcode.sh": "#!/bin/sh\ncat bytes bytes >&2\n"})
        tail = self.everything()
        files = self.tail("--results", self.path("results"), "--from", "start", name="files")
        self.observer(repo.path)
        oid = repo.head()
        self.assertEqual(tail.verdict(oid), "failed")
        want = {"tests/none.sh": ("passed", b""), "tests/raw: it's.sh": ("failed", raw),
                "tests/ünïcode.sh": ("passed", raw * 2)}
        wait_for("the flat name, made last", lambda: os.path.exists(self.path("results", oid)))
        result = harness.read_result(self.path("results", "demo", oid))
        self.assertEqual({n: (v, o) for v, n, o in result.units}, want)
        with open(self.path("results", oid), "rb") as flat, \
                open(self.path("results", "demo", oid), "rb") as named:
            self.assertEqual(flat.read(), named.read())
        for name, (_, output) in want.items():
            self.assertEqual(self.ask("log", f"1/tests/{name}"), output)
        self.assertEqual(self.ask("log", "1/tests/none.sh"), b"")
        self.assertTrue(files.running())

    def test_a_hanging_test_is_stopped_and_named(self):
        repo = self.repository(files={
            "tests/a.sh": PASS, "tests/hangs.sh": "#!/bin/sh\necho begun\nsleep 1000\n",
            "tests/test_hangs.py": "import time\nprint('begun', flush=True)\ntime.sleep(1000)\n",
            "tests/stubborn.sh": "#!/bin/sh\ntrap '' TERM INT HUP\nwhile :; do sleep 1; done\n"})
        tail = self.everything(repo, runner=("--timeout", "1s"))
        oid = repo.head()
        self.assertEqual(tail.verdict(oid), "timeout")
        self.assertEqual(tail.tests(oid), {
            "tests/a.sh": "passed", "tests/hangs.sh": "timeout",
            "tests/test_hangs.py": "timeout", "tests/stubborn.sh": "timeout"})
        said = self.ask("build", "1").decode()
        self.assertRegex(said, r"timeout .*tests/hangs\.sh")
        self.assertIn(b"begun", self.ask("log", "1/tests/tests/hangs.sh"))
        left = [c for c in harness.processes_of(self.path("runner.d")).values() if "sleep" in c]
        self.assertEqual(left, [])

    def test_two_commits_at_once_do_not_collide(self):
        both = self.path("both")
        check = ("#!/bin/sh\ntest \"$(git rev-parse HEAD)\" = $VOLT_COMMIT || exit 1\n"
                 f"echo >>{both}; while [ $(wc -l <{both}) -lt 2 ]; do sleep .05; done\n"
                 "for i in 1 2 3 4 5 6 7 8 9 10; do\n"
                 "  test $(cat which) = %s || exit 1\n  echo $i >scratch; sleep .05\n"
                 "  test $(cat scratch) = $i || exit 2\ndone\n")
        repo = self.repository(files={"which": "main", "tests/check.sh": check % "main"})
        main = repo.head()
        repo.git("checkout", "-q", "-b", "other")
        other = repo.commit({"which": "other", "tests/check.sh": check % "other"})
        self.dispatcher()
        self.runner("--slots", "2")
        tail = self.tail()
        for branch in ("main", "other"):
            self.ask("submit", repo.path, branch)
        self.assertEqual(tail.verdict(main), "passed")
        self.assertEqual(tail.verdict(other), "passed")
        log = tail.events()
        at = {(e["kind"], e["oid"]): i for i, e in enumerate(log)
              if e.get("task_kind") == "tests"}
        self.assertLess(at["running", other], at["task_done", main])  # they did overlap
        self.assertLess(at["running", main], at["task_done", other])

    def test_an_idle_system_uses_no_cpu(self):
        repos = [self.repository(f"r{i}", {"tests/ok.sh": PASS}) for i in range(3)]
        tail = self.everything(runners=2)
        self.observer("--interval", "5s", *[r.path for r in repos])
        for r in repos:
            tail.verdict(r.head())

        def rests():
            pids = list(harness.processes_of(self.dir))
            try:
                before = sum(map(cpu_s, pids))
                time.sleep(5)
                used = sum(map(cpu_s, pids)) - before  # all processes together
            except OSError:
                return False  # one has ended: there was still something to do
            return len(pids) >= 9 and used < 0.25  # four roles, two runners, two executors each
        wait_for("its rest", rests)

    def test_ends_by_signals_leaving_nothing(self):
        repo = self.repository(files={"tests/a.sh": self.gate()})
        tail = self.everything(repo, runners=2)
        self.wait_start()
        ends = {"observer": 130, "tail": 130, "runner": 130, "runner2": 130, "dispatcher": 130}
        for p in sorted(self.processes, key=lambda p: list(ends).index(p.name)):
            self.assertIn(p.stop(signal.SIGINT), (0, ends[p.name]), p.name)
        self.assert_nothing_left()
        self.assertFalse(tail.events("build_done"))


if __name__ == "__main__":
    harness.main()
