"""Everything on one machine with one command."""
import os
import re
import signal
import socket
import time

import harness
from harness import FAIL, PASS, PYTHON_FAIL, PYTHON_PASS, alive, processes_of, wait_for


class Up(harness.Case):
    def up(self, *repos, name="up"):
        """With a port that is free: there is no way to ask which one it took."""
        return self.start(name, "up", "--port", str(self.port), "--data", self.path("data"),
                          "--runners", "2", "--interval", "300ms", *[r.path for r in repos])

    def builds(self):
        return {b["oid"]: b.get("verdict") for b in self.json("builds")}

    def wait_verdict(self, oid, verdict):
        wait_for(f"the verdict of {oid}", lambda: self.builds().get(oid))
        self.assertEqual(self.builds()[oid], verdict)

    def test_once_says_and_exits_with_the_answer(self):
        good = self.repository("good", {"tests/test_a.py": PYTHON_PASS, "tests/b.sh": PASS})
        bad = self.repository("bad", {"tests/test_a.py": PYTHON_FAIL, "tests/b.sh": PASS})
        said = self.volt("up", "--once", good.path).decode()
        self.assertRegex(said, r"passed +good main \w{10}: 2 tests")
        said = self.volt("up", "--once", good.path, bad.path, rc=1).decode()
        self.assertRegex(said, r"passed +good main")
        self.assertRegex(said, r"failed +bad main \w{10}: 2 tests, 1 not passed")
        self.assertIn("AssertionError: no", said)
        self.assert_nothing_left()

    def test_once_with_what_it_cannot_test(self):
        empty = self.repository("empty", {"README": "nothing\n"})
        self.assertIn(b"no-tests", self.volt("up", "--once", empty.path, rc=1))
        no_commit = self.repository("fresh")
        os.mkdir(self.path("plain"))
        for path in (no_commit.path, self.path("plain"), self.path("missing")):
            with self.subTest(path=path):
                self.volt("up", "--once", path, rc=None)
                self.assertIn(os.path.basename(path), self.said)
        self.assert_nothing_left()

    def test_once_interrupted_leaves_nothing(self):
        repo = self.repository(files={"tests/a.sh": self.gate()})
        p = self.start("up", "up", "--once", repo.path)
        (_, pid), = self.wait_start()
        p.send(signal.SIGINT)
        self.assertEqual(p.wait(20), 130)
        self.assertFalse(alive(pid))
        self.assert_nothing_left()

    def test_once_is_not_disturbed_by_another(self):
        repos = [self.repository(f"r{i}", {"tests/a.sh": PASS}) for i in range(3)]
        ps = [self.start(f"up{i}", "up", "--once", r.path) for i, r in enumerate(repos)]
        self.assertEqual([p.wait() for p in ps], [0, 0, 0])

    def test_start_push_stop_and_again(self):
        self.reserve()
        repo = self.repository(files={"tests/a.sh": PASS})
        slow = self.repository("slow", {"tests/b.sh": self.gate()})
        up = self.up(repo, slow)
        first = repo.head()
        wait_for("the dispatcher", lambda: self.volt("status", "--dispatcher-server", self.server,
                                                     rc=None))
        self.wait_verdict(first, "passed")
        second = repo.commit({"tests/a.sh": FAIL})
        self.wait_verdict(second, "failed")
        wait_for("its line", lambda: second[:10] in up.output().decode())
        self.wait_start()
        before = time.monotonic()
        up.send(signal.SIGINT)
        self.assertIn(up.wait(), (0, 130))
        self.assertLess(time.monotonic() - before, 10)
        self.assert_nothing_left()
        third = repo.commit({"tests/a.sh": PASS})  # while nothing runs
        self.up(repo, slow)
        wait_for("the dispatcher", lambda: self.volt("status", "--dispatcher-server", self.server,
                                                     rc=None))
        self.wait_start(n=2)  # what was stopped runs again
        self.go()
        self.wait_verdict(third, "passed")
        self.wait_verdict(slow.head(), "passed")
        self.assertEqual(len(self.builds()), 4)

    def test_a_part_that_is_killed_comes_back(self):
        self.reserve()
        repo = self.repository(files={"tests/a.sh": PASS})
        self.up(repo)
        wait_for("the dispatcher", lambda: self.volt("status", "--dispatcher-server", self.server,
                                                     rc=None))
        self.wait_verdict(repo.head(), "passed")

        def pid(role):
            found = [p for p, c in processes_of(self.path("data")).items()
                     if re.search(rf"volt {role}\b", c)]
            return found[0] if found else None
        for role in ("observer", "runner", "dispatcher"):
            old = pid(role)
            os.kill(old, signal.SIGKILL)
            wait_for(f"another {role}", lambda r=role, o=old: pid(r) not in (None, o))
            oid = repo.commit({"n": role})
            wait_for("the verdict", lambda o=oid: self.ask("builds", rc=None) and
                     self.builds().get(o) == "passed")

    def test_two_at_a_time_are_told_apart(self):
        self.reserve()
        repo = self.repository(files={"tests/a.sh": PASS})
        self.up(repo)
        wait_for("the dispatcher", lambda: self.volt("status", "--dispatcher-server", self.server,
                                                     rc=None))
        with socket.socket() as s:
            self.assertEqual(s.connect_ex(("127.0.0.1", self.port)), 0)
        second = self.up(repo, name="second")
        self.assertEqual(second.wait(), 5)
        third = self.start("third", "up", "--port", str(self.port), "--data", self.path("other"),
                           repo.path)
        self.assertEqual(third.wait(), 5)
        self.assertIn("in use", third.said())
        self.wait_verdict(repo.head(), "passed")


if __name__ == "__main__":
    harness.main()
