"""`volt up`: what it says and how it ends when not all goes well."""
import socket
import unittest

import harness
from harness import FAIL, PASS


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


if __name__ == "__main__":
    unittest.main()
