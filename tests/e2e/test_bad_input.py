"""What should not come: garbage on the ports, broken data directories, commits nobody can get."""
import hashlib
import os
import random
import resource
import shutil
import socket
import sqlite3
import sys
import time

import harness
from harness import PASS, wait_for
from ports import free_triple

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../clients"))
try:
    import zmq

    import volt_client
except ImportError:
    sys.exit(77)


class BadInput(harness.Case):
    def submit(self, **fields):
        """A submission of our own making."""
        context = zmq.Context()
        push = context.socket(zmq.PUSH)
        push.connect(f"tcp://127.0.0.1:{self.port}")
        fields = {"sid": volt_client.hex32(), "obs": "test", "ref": "refs/heads/main",
                  "default_branch": "main", **fields}
        push.send(volt_client.encode("submit", **fields))
        push.close(linger=5000)
        context.term()

    def local(self, path):
        return f"local:{socket.gethostname()}:{path}"

    # ---- the ports ----

    def test_garbage_on_every_port(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        dispatcher = self.dispatcher()
        runner, tail = self.runner(), self.tail()
        dice = random.Random(4)
        for i in range(3):
            for _ in range(40):  # not even ZeroMQ
                with socket.create_connection(("127.0.0.1", self.port + i)) as s:
                    try:
                        s.sendall(dice.choice((b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, b"",
                                               dice.randbytes(3000), b"\xff\0\0\0\0\0\0\0\1\x7f")))
                    except OSError:
                        pass
        context = zmq.Context()
        good = volt_client.encode("hello", id="0" * 32)
        frames = [b"", b"\xc1", b"\x81", good[:-3], good + b"x", b"\xdd\xff\xff\xff\xff",
                  b"\xdf\xff\xff\xff\xff", b"\x91" * 5000, dice.randbytes(2000),
                  volt_client.encode("no_such_message"), volt_client.encode("hello"),
                  volt_client.encode("submit", sid="x"), volt_client.encode("result", task=1),
                  volt_client.encode("status", r=2 ** 60), b"x" * 20_000, b"y" * 300_000]
        for kind, port in ((zmq.PUSH, 0), (zmq.DEALER, 1), (zmq.SUB, 2), (zmq.REQ, 1),
                           (zmq.DEALER, 0), (zmq.PUSH, 2)):
            s = context.socket(kind)
            s.setsockopt(zmq.LINGER, 2000)
            s.setsockopt(zmq.SNDTIMEO, 200)
            s.connect(f"tcp://127.0.0.1:{self.port + port}")
            if kind == zmq.SUB:
                for topic in (b"", b"\0" * 200, b"e."):
                    s.setsockopt(zmq.SUBSCRIBE, topic)
                time.sleep(0.1)
                s.close()
                continue
            try:
                for frame in frames:
                    for _ in range(20):
                        s.send(frame)
                    if kind == zmq.DEALER:
                        s.send_multipart([frame, frame, b"", frame])
            except zmq.ZMQError:
                pass
            s.close()
        context.term()
        self.ask("submit", repo.path, "main", "--wait")
        self.assertEqual(tail.verdict(repo.head()), "passed")
        self.assertTrue(dispatcher.running() and runner.running())
        lines = dispatcher.said().splitlines()
        self.assertLess(len(lines), 15, lines)
        self.assertTrue(any("malformed" in line.lower() or "BAD_MSG" in line for line in lines),
                        lines)
        self.assertEqual(len(self.json("builds")), 1)

    def test_a_port_in_use(self):
        self.dispatcher()
        second = self.dispatcher(name="second", port=self.port, wait=False)
        self.assertEqual(second.wait(), 5)
        self.assertRegex(second.said(), rf"volt dispatcher: .*{self.port}.* in use")
        port = free_triple()
        with socket.create_server(("127.0.0.1", port + 2)):  # only one of the three
            third = self.dispatcher(name="third", port=port, wait=False)
            self.assertEqual(third.wait(), 5)
            self.assertIn(str(port + 2), third.said())

    # ---- the data directory ----

    def test_a_second_dispatcher_on_the_same_data(self):
        first = self.dispatcher()
        second = self.start("second", "dispatcher", "--port", "0", "--data",
                            self.path("dispatcher"))
        self.assertEqual(second.wait(), 5)
        self.assertRegex(second.said(), r"^volt dispatcher: .*another.*\n$")
        self.assertTrue(first.running())
        self.json("status")
        self.assertEqual(self.read("dispatcher", "endpoint").strip(), self.server)

    def test_unwritable_data_directories(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        self.write("file")
        for path in ("/proc/volt", self.path("file"), self.path("file", "below"), "/dev/null/x"):
            with self.subTest(path=path):
                self.volt("dispatcher", "--port", "0", "--data", path, rc=2)
                self.assertIn(path, self.said)
                self.assertIn("--data", self.said)
                self.assertEqual(len(self.said.splitlines()), 1)
                self.volt("up", "--port", "0", "--data", path, repo.path, rc=2)

    def test_a_host_that_is_none(self):
        for host in ("nosuch.invalid", ""):
            self.volt("dispatcher", "--host", host, "--data", self.path("data"), rc=2)
            self.assertIn(f"--host: cannot resolve host '{host}'", self.said)
            self.assertFalse(os.path.exists(self.path("data")))

    def test_too_few_files(self):
        """Every role says so, where its libraries would abort the process."""
        repo = self.repository(files={"tests/a.sh": PASS})
        for most in range(8, 33, 3):
            for args in (("status",), ("dispatcher", "--port", "0", "--data", "data"),
                         ("runner", "--work", "work"), ("observer", "--state", "state", repo.path)):
                with self.subTest(args=args, most=most):
                    self.volt(*args, rc=2, preexec_fn=lambda: resource.setrlimit(
                        resource.RLIMIT_NOFILE, (most, most)))
                    self.assertRegex(self.said.splitlines()[-1],
                                     f"{args[0]}: .*(ulimit -n|Too many open files)")

    def test_an_observer_takes_more_files_than_are_usual(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.dispatcher()
        self.ask("observer", "--state", "state", "--once", *[f"r{n}={repo.path}" for n in range(20)],
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (60, most)))
        self.assertEqual(len(self.json("builds")), 20)

    def broken(self, change, said):
        """The dispatcher refuses its store after `change`, and does not touch it."""
        repo = self.repository(files={"tests/a.sh": PASS})
        dispatcher = self.dispatcher()
        runner = self.runner()
        self.ask("submit", repo.path, "main", "--wait")
        runner.stop()
        self.assertEqual(dispatcher.stop(), 0)
        shutil.copytree(self.path("dispatcher"), self.path("copy"))
        path = self.path("dispatcher", "volt.db")
        change(path)

        def digest():
            with open(path, "rb") as f:
                return hashlib.sha256(f.read()).hexdigest()
        before = digest()
        again = self.dispatcher(wait=False)
        self.assertEqual(again.wait(), 5)
        self.assertIn(path, again.said())
        self.assertRegex(again.said(), said)
        self.assertEqual(digest(), before)
        shutil.rmtree(self.path("dispatcher"))  # what the message may advise
        shutil.copytree(self.path("copy"), self.path("dispatcher"))
        self.dispatcher()
        self.assertEqual([b["verdict"] for b in self.json("builds")], ["passed"])

    def test_a_store_that_is_no_database(self):
        def overwrite(path):
            with open(path, "r+b") as f:
                f.write(b"not a database at all, but long enough to be looked at" * 10)
        self.broken(overwrite, "damaged|not a database")

    def test_a_store_with_damaged_pages(self):
        def scribble(path):
            with open(path, "r+b") as f:
                for page in range(2, os.path.getsize(path) // 4096):
                    f.seek(page * 4096)
                    f.write(b"\xa5" * 200)
        self.broken(scribble, "damaged")

    def test_a_store_of_a_newer_version(self):
        def newer(path):
            with sqlite3.connect(path) as db:
                db.execute("PRAGMA user_version = 999")
            db.close()
        self.broken(newer, "newer|999")

    def test_a_full_disk_keeps_what_is_accepted(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        limit = 2_000_000  # of a file, which is as full to SQLite as a disk

        def limited(*args):
            return ("import resource, signal, os, sys\n"
                    "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
                    f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
                    "os.execv(sys.argv[1], sys.argv[1:])\n")
        self.dispatcher()
        self.runner()
        self.ask("submit", repo.path, "main", "--wait")
        self.processes[0].stop()
        p = harness.Process(self, "dispatcher", [sys.executable, "-c", limited(), harness.VOLT,
                            "dispatcher", "--host", "localhost", "--port", str(self.port), "--data",
                            self.path("dispatcher")])
        wait_for("its start or end", lambda: "ready" in p.said() or not p.running())
        if p.running():
            self.assertEqual(len(self.json("builds")), 1)
            p.stop()
        self.dispatcher()
        self.assertEqual([b["verdict"] for b in self.json("builds")], ["passed"])

    # ---- commits and repositories ----

    def test_an_unknown_commit_is_errored_with_the_reason(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        self.dispatcher()
        self.runner()
        tail = self.tail()
        self.ask("submit", repo.path, "no-such-branch", rc=3)
        self.assertIn("no-such-branch", self.said)
        oid = "0123456789" * 4
        self.submit(repo="demo", url=self.local(repo.path), oid=oid)
        self.assertEqual(tail.verdict(oid), "errored")
        done, = tail.events("build_done", oid=oid)
        self.assertIn(oid[:10], done["why"])
        self.assertIn(done["why"], self.ask("build", "1").decode())
        self.ask("submit", repo.path, "main", "--wait")  # and nothing else is the worse for it

    def test_a_repository_that_no_runner_reaches_is_said(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        self.dispatcher()
        first = self.runner()
        tail = self.tail()
        self.submit(repo="demo", url="local:elsewhere.example.org:/srv/demo", oid=repo.head())
        tail.wait("submitted")

        def why():
            return [t["why"] for t in self.json("status")[0]["waiting"] if t.get("why")]
        reason, = wait_for("the reason", why)
        self.assertIn("elsewhere.example.org", reason)
        self.assertIn(reason, self.ask("status").decode())
        other = self.repository("other", {"tests/a.sh": PASS})
        self.ask("submit", other.path, "main", "--wait")  # others go on
        self.runner("--repo", f"demo={repo.path}", name="runner2")
        self.assertEqual(tail.verdict(repo.head()), "passed")
        done, = tail.events("test_done", oid=repo.head())
        self.assertEqual(done["runner"], "runner2")
        self.assertTrue(first.running())

    def test_a_repository_that_is_gone_is_said(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        self.dispatcher()
        tail = self.tail()
        oid = repo.head()
        self.ask("submit", repo.path, "main")
        os.rename(repo.path, self.path("away"))
        self.runner()

        def why():
            return [t["why"] for t in self.json("status")[0]["waiting"] if t.get("why")]
        wait_for("the reason", lambda: any("reach" in w or "demo" in w for w in why()))
        os.rename(self.path("away"), repo.path)
        self.assertEqual(tail.verdict(oid), "passed")

    def test_hostile_names_stay_names(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        self.dispatcher()
        self.runner()
        tail = self.tail("--from", "start", "--results", self.path("results"))
        for name in ("../../evil", "-rf", "a b;touch x", ".hidden", "x" * 128):
            self.submit(repo=name, url=self.local(repo.path), oid=repo.head())
        time.sleep(1)
        builds = self.json("builds")
        for build in builds:
            wait_for("its end", lambda b=build: tail.events("build_done", build=b["build"]))
        found = {os.path.relpath(os.path.join(at, n), self.dir)
                 for at, _, names in os.walk(self.dir) for n in names if n in ("evil", "x")}
        self.assertEqual(found, set())
        self.assertFalse(os.path.exists(self.path("..", "evil")))


if __name__ == "__main__":
    harness.main()
