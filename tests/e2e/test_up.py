"""`volt up`: what it says and how it ends when not all goes well."""
import socket
import unittest

import harness
from harness import FAIL, PASS, processes_of, wait_for


class Up(harness.Case):
    def test_a_port_in_use_is_said_once(self):
        repo = self.repository(files={"tests/ok.sh": PASS})
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            up = self.start("up", "up", "--port", str(s.getsockname()[1]), "--data", self.path("data"),
                            repo.path)
            self.assertEqual(up.wait(), 5)
        self.assertEqual(up.said().count("in use by another process"), 1)
        self.assertNotIn("started again", up.said())

    def test_once_speaks_of_the_present_only(self):
        repo = self.repository(files={"tests/a.sh": FAIL})
        self.assertEqual(self.start("first", "up", "--once", "--data", self.path("data"), repo.path).wait(), 1)
        repo.commit({"tests/a.sh": PASS})
        self.assertEqual(self.start("second", "up", "--once", "--data", self.path("data"), repo.path).wait(), 0)

    def test_once_starts_nothing_where_there_is_no_repository(self):
        up = self.start("up", "up", "--once")
        self.assertEqual(up.wait(), 2)
        self.assertEqual(up.said(), "volt up: no repository is named and this directory is in none\n")

    def test_once_ends_when_there_is_no_commit(self):
        empty = self.repository("empty")
        up = self.start("up", "up", "--once", empty.path)
        self.assertEqual(up.wait(), 3)
        self.assertIn("empty: no commit yet", up.said())

    def test_once_ends_when_head_names_no_commit(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        repo.git("symbolic-ref", "HEAD", "refs/heads/elsewhere")
        up = self.start("up", "up", "--once", repo.path)
        self.assertEqual(up.wait(), 1)
        self.assertIn("HEAD names no commit", up.said())

    def test_killed_and_started_again_it_goes_on_with_what_runs(self):
        self.killed = True
        self.reserve()
        repo = self.repository(files={"tests/a.sh": self.gate()})
        args = ("up", "--runners", "1", "--port", str(self.port), "--data", self.path("data"), repo.path)
        up = self.start("first", *args)
        self.wait_start()
        up.kill()
        wait_for("the end of its processes", lambda: not [
            c for c in processes_of(self.path("data")).values() if " executor " not in c and "volt " in c])
        self.start("second", *args).wait_said("registered")
        self.go()
        wait_for("the verdict", lambda: [b.get("verdict") for b in self.json("builds")] == ["passed"])
        self.assertEqual(len(self.starts()), 1)


if __name__ == "__main__":
    unittest.main()
