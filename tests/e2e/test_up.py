"""`volt up`: what it says and how it ends when not all goes well."""
import os
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

    def test_once_says_just_why_there_is_nothing_to_test_and_starts_nothing(self):
        good, away = self.repository(files={"tests/a.sh": PASS}), self.repository("away", {"a": ""})
        away.git("symbolic-ref", "HEAD", "refs/heads/elsewhere")
        empty, far = self.repository("empty"), f"ssh://nobody{away.path}"
        plain, gone = self.path("plain"), self.path("gone")
        os.mkdir(plain)
        self.environment["GIT_SSH_COMMAND"] = "false"
        for repos, code, words in (
                ((), 2, "no repository is named and this directory is in none"),
                ((good.path, gone), 3, f"repository '{gone}': No such file or directory"),
                ((plain,), 2, f"'{plain}' is not a git repository"),
                ((empty.path,), 3, f"HEAD of '{empty.path}' names no commit"),
                ((away.path,), 3, f"HEAD of '{away.path}' names no commit"),
                ((good.path, f"demo={empty.path}"), 2, "two repositories are called 'demo'"),
                ((far,), 4, f"repository '{far}': ")):
            self.assertEqual(self.volt("up", "--once", *repos, rc=code), b"")
            self.assertTrue(self.said.startswith(f"volt up: {words}"), self.said)
            self.assertEqual(self.said.count("\n"), 1, self.said)

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
