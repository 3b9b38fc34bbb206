"""volt runner with a real dispatcher and real executors, each of them stopped and killed."""
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../clients"))
try:
    import zmq

    import volt_client
except ImportError:
    sys.exit(77)

VOLT = os.environ.get("VOLT", "volt")
PATIENCE_S = 60  # guards against a hang, is not waited for


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


def alive(pid):
    """False for a zombie, too."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        found = f.read().split()
    return [int(child) for child in found]


def slot_of(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        args = f.read().split(b"\0")
    return int(args[args.index(b"--slot") + 1]) if b"--slot" in args else None


class RunnerTest(unittest.TestCase):
    def setUp(self):
        self.temp = tempfile.TemporaryDirectory()
        self.addCleanup(self.temp.cleanup)
        self.dir = os.path.realpath(self.temp.name)
        self.processes = []
        self.addCleanup(self.end)
        self.port = None

    def end(self):
        for p in self.processes:
            if p.poll() is None:
                p.send_signal(signal.SIGINT)
        for p in self.processes:
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def read(self, *names):
        try:
            with open(self.path(*names)) as f:
                return f.read()
        except FileNotFoundError:
            return ""

    # ---- processes ----

    def start(self, log, *args):
        with open(self.path(log), "a") as err:
            p = subprocess.Popen([VOLT, *args], cwd=self.dir, stderr=err,
                                 stdin=subprocess.DEVNULL)
        self.processes.append(p)
        return p

    def dispatcher(self, host="localhost"):
        endpoint = self.path("data", "endpoint")
        if os.path.exists(endpoint):
            os.unlink(endpoint)
        p = self.start("dispatcher.log", "dispatcher", "--host", host, "--data", "data",
                       "--port", str(self.port or 0))
        said = wait_for("the dispatcher", lambda: self.read("data", "endpoint").strip()
                        or p.poll() is not None)
        if said is True:
            raise unittest.SkipTest(self.read("dispatcher.log"))
        self.port = int(said.rsplit(":", 1)[1])
        return p

    def runner(self, *args, work="work", log="runner.log"):
        return self.start(log, "runner", "--dispatcher-server", f"localhost:{self.port}",
                          "--work", work, *args)

    def executor(self, runner, slot):
        return wait_for("an executor", lambda: [c for c in children(runner.pid)
                                                if slot_of(c) == slot])[0]

    # ---- what is built ----

    def repository(self, **scripts):
        """A commit whose units are tests/NAME.sh."""
        os.makedirs(self.path("repo", "tests"))
        for name, text in scripts.items():
            script = self.path("repo", "tests", name + ".sh")
            with open(script, "w") as f:
                f.write(f"#!/bin/sh\n{text}\n")
            os.chmod(script, 0o755)
        git = ["git", "-C", self.path("repo"), "-c", "user.name=a", "-c", "user.email=a@b"]
        for args in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "one"]):
            subprocess.run(git + args, check=True)
        head = subprocess.run(git + ["rev-parse", "HEAD"], check=True, capture_output=True)
        self.oid = head.stdout.decode().strip()

    def waiting_test(self):
        """A unit that notes its start in `starts`, and ends when `go` is there."""
        self.repository(one=f"echo $$ >>{self.dir}/starts\n"
                            f"while [ ! -e {self.dir}/go ]; do sleep .02; done\necho went")

    def starts(self):
        return self.read("starts").split()

    def go(self):
        with open(self.path("go"), "w"):
            pass

    def submit(self):
        context = zmq.Context()
        push = context.socket(zmq.PUSH)
        push.connect(f"tcp://127.0.0.1:{self.port}")
        push.send(volt_client.encode(
            "submit", sid=volt_client.hex32(), obs=volt_client.hex32(), repo="repo",
            url=f"local:{socket.gethostname()}:{self.path('repo')}", oid=self.oid,
            ref="refs/heads/main", default_branch="main"))
        push.close(linger=5000)
        context.term()

    def ask(self, *args, **fields):
        client = volt_client.Client("localhost", self.port)
        try:
            return client.ask(*args, **fields)
        finally:
            client.close()

    def verdict(self):
        def final():
            rows = self.ask("builds").get("rows", [])
            return rows and rows[0].get("verdict")
        return wait_for("a verdict", final)

    def up(self):
        return [r for r in self.ask("runners").get("rows", []) if r["state"] == "up"]

    def log_of(self, task):
        text = b""
        while True:
            piece = self.ask("get", task=task, off=len(text), max=131072)
            text += piece.get("d", b"")
            if piece.get("eof") or not piece.get("d"):
                return text

    # ---- the tests ----

    def test_outlives_a_killed_dispatcher(self):
        self.waiting_test()
        dispatcher = self.dispatcher()
        self.runner()
        self.submit()
        wait_for("the test's start", self.starts)
        dispatcher.kill()
        dispatcher.wait()
        self.dispatcher()
        wait_for("the runner", self.up)
        self.go()
        self.assertEqual(self.verdict(), "passed")
        self.assertEqual(len(self.starts()), 1)
        self.assertIn("registered again", self.read("runner.log"))

    def test_a_new_agent_takes_over_what_runs(self):
        self.waiting_test()
        self.dispatcher()
        first = self.runner()
        self.submit()
        wait_for("the test's start", self.starts)
        old = self.executor(first, 1)
        first.kill()
        first.wait()
        second = self.runner()
        wait_for("the runner", lambda: self.read("runner.log").count("registered") == 2)
        self.go()
        self.assertEqual(self.verdict(), "passed")
        self.assertEqual(len(self.starts()), 1)
        wait_for("an empty spool", lambda: not os.listdir(self.path("work", "spool")))
        self.assertNotEqual(self.executor(second, 1), old)  # idle, it was replaced
        wait_for("the old executor's end", lambda: not alive(old))

    def test_a_killed_executors_task_runs_again_and_leaves_nothing(self):
        self.repository(one=f"(setsid sh -c 'echo $$ >>{self.dir}/daemons; exec sleep 1000' &)\n"
                            f"echo $$ >>{self.dir}/starts\n"
                            f"while [ ! -e {self.dir}/go ]; do sleep .02; done")
        self.dispatcher()
        runner = self.runner()
        self.submit()
        wait_for("the test's start", self.starts)
        daemon = wait_for("its daemon", lambda: self.read("daemons").split())[0]
        os.kill(self.executor(runner, 1), signal.SIGKILL)
        wait_for("the second start", lambda: len(self.starts()) == 2)
        self.assertFalse(alive(daemon))
        self.assertFalse(alive(self.starts()[0]))
        self.go()
        self.assertEqual(self.verdict(), "passed")

    def test_interrupted_gives_its_task_back(self):
        self.waiting_test()
        self.dispatcher()
        runner = self.runner()
        self.submit()
        test = wait_for("the test's start", self.starts)[0]
        runner.send_signal(signal.SIGINT)
        self.assertEqual(runner.wait(PATIENCE_S), 130)
        self.assertFalse(alive(test))
        self.runner()
        wait_for("the second start", lambda: len(self.starts()) == 2)
        self.go()
        self.assertEqual(self.verdict(), "passed")

    def test_terminated_finishes_first(self):
        self.waiting_test()
        self.dispatcher()
        runner = self.runner()
        self.submit()
        wait_for("the test's start", self.starts)
        runner.send_signal(signal.SIGTERM)
        wait_for("the drain", lambda: "draining" in self.read("runner.log"))
        self.assertIsNone(runner.poll())
        self.go()
        self.assertEqual(runner.wait(PATIENCE_S), 0)
        self.assertEqual(self.verdict(), "passed")

    def test_a_log_is_whole_after_kills_on_both_sides(self):
        self.repository(one=f"echo $$ >>{self.dir}/starts; i=0\n"
                            "while [ $i -lt 30 ]; do seq $((i*3000)) $((i*3000+2999))\n"
                            "sleep .1; i=$((i+1)); done")
        dispatcher = self.dispatcher()
        runner = self.runner()
        self.submit()
        wait_for("the test's start", self.starts)
        time.sleep(0.8)  # a part of it
        dispatcher.kill()
        dispatcher.wait()
        self.dispatcher()
        wait_for("the runner", self.up)
        runner.kill()
        runner.wait()
        self.runner()
        self.assertEqual(self.verdict(), "passed")
        self.assertEqual(len(self.starts()), 1)
        self.assertEqual(self.log_of(2), b"".join(b"%d\n" % i for i in range(90000)))

    def test_one_agent_a_directory_and_one_runner_an_id(self):
        self.dispatcher()
        first = self.runner()
        wait_for("the runner", self.up)
        second = self.runner(log="second.log")
        self.assertEqual(second.wait(PATIENCE_S), 5)
        self.assertIn("another 'volt runner' uses", self.read("second.log"))
        os.mkdir(self.path("copy"))  # of the directory, as an image of a machine makes it
        with open(self.path("copy", "id"), "w") as f:
            f.write(self.read("work", "id"))
        self.runner(work="copy")
        self.assertEqual(first.wait(PATIENCE_S), 5)
        self.assertIn("REPLACED", self.read("runner.log"))

    def test_finds_the_address_that_answers(self):
        self.repository(one="true")
        try:
            dispatcher = self.dispatcher("::1")  # localhost is 127.0.0.1, too
        except unittest.SkipTest:
            raise unittest.SkipTest("no IPv6 here")
        self.runner()
        wait_for("the runner", lambda: "registered" in self.read("runner.log"))
        dispatcher.terminate()
        self.assertEqual(dispatcher.wait(PATIENCE_S), 0)

    def test_says_what_is_wrong_with_its_flags(self):
        for args, said in ((["--repo", "x"], "NAME=PATH"),
                           (["--repo", "x=/nowhere"], "not a readable directory"),
                           (["--labels", "a,,b"], "a label has"),
                           (["--dispatcher-server", "h:port"], "h:port"),
                           (["--work", "/proc/x"], "/proc/x")):
            with self.subTest(args=args):
                p = subprocess.run([VOLT, "runner", "--work", self.path("w"), *args],
                                   capture_output=True, text=True, timeout=PATIENCE_S)
                self.assertEqual(p.returncode, 2, p.stderr)
                self.assertIn(said, p.stderr)


if __name__ == "__main__":
    unittest.main()
