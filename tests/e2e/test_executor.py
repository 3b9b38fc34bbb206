"""volt executor as its agent sees it: the socket, agents that come and go, being killed."""
import os
import signal
import socket
import struct
import subprocess
import sys
import time

try:
    import msgpack
except ImportError:
    sys.exit(77)

import harness
from harness import PATIENCE_S, VOLT, alive, wait_for


class Agent:
    """One connection to an executor."""

    def __init__(self, work, slot):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.buffer = b""
        try:
            self.socket.connect(f"{work}/slots/{slot}.sock")
        except OSError:
            self.socket.close()
            raise

    def close(self):
        self.socket.close()

    def send(self, t, **fields):
        frame = msgpack.packb({"v": 1, "t": t, **fields}, use_bin_type=True)
        self.socket.sendall(struct.pack("<I", len(frame)) + frame)

    def recv(self):
        """The next message, None at the end."""
        while True:
            if len(self.buffer) >= 4:
                n = struct.unpack("<I", self.buffer[:4])[0]
                if len(self.buffer) >= 4 + n:
                    frame, self.buffer = self.buffer[4 : 4 + n], self.buffer[4 + n :]
                    return msgpack.unpackb(frame, raw=False)
            got = self.socket.recv(1 << 20)
            if not got:
                return None
            self.buffer += got

    def recv_until(self, *types):
        while True:
            m = self.recv()
            if m is None or m["t"] in types:
                return m


class ExecutorTest(harness.Case):
    def setUp(self):
        self.work = self.path("work")
        os.mkdir(self.work)
        self.repo = self.repository("repo", {})
        self.oid = self.repo.head()

    def start(self, *args, slot=1):
        p = subprocess.Popen(
            [VOLT, "executor", "--slot", str(slot), "--work", self.work, *args],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=self.environment,
        )
        self.addCleanup(p.stderr.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        return p

    def connect(self, slot=1):
        def attempt():
            try:
                return Agent(self.work, slot)
            except OSError:
                return None

        agent = wait_for("the executor's socket", attempt)
        self.addCleanup(agent.close)
        return agent

    def script(self, text, task=1, **fields):
        url = f"local:{socket.gethostname()}:{self.repo.path}"
        return dict(
            task=task, att=1, ep=1, kind="script", build=1, job="j", repo="r", url=url,
            oid=self.oid, ref="refs/heads/main",
            spec=msgpack.packb({"v": 1, "t": "spec", "level": 1, "script": text}), **fields,
        )  # fmt: skip

    def log(self, task=1):
        try:
            with open(f"{self.work}/spool/{task}-1.log") as f:
                return f.read()
        except OSError:
            return ""

    def begin(self, agent, text, **fields):
        """Starts a script that writes its process id first, and returns that."""
        self.assertEqual(agent.recv()["t"], "hb")
        agent.send("assign", **self.script("echo $$; " + text, **fields))
        self.assertEqual(agent.recv()["t"], "start")
        return int(wait_for("the task's first line", lambda: "\n" in self.log() and self.log()))

    def test_runs_what_the_agent_gives_and_ends_at_bye(self):
        p = self.start()
        agent = self.connect()
        self.assertEqual(agent.recv(), {"v": 1, "t": "hb", "n": 1, "free": 1})
        agent.send("assign", **self.script("echo $VOLT_COMMIT"))
        result = agent.recv_until("result", "nack")
        self.assertEqual((result["t"], result["verdict"]), ("result", "passed"))
        self.assertEqual(self.log(), self.oid + "\n")
        agent.send("bye")
        self.assertIsNone(agent.recv())
        self.assertEqual(p.wait(PATIENCE_S), 0)

    def test_bye_ends_a_task_first(self):
        p = self.start()
        agent = self.connect()
        task = self.begin(agent, "sleep 1000")
        agent.send("bye")
        self.assertEqual(agent.recv()["verdict"], "canceled")
        self.assertEqual(p.wait(PATIENCE_S), 0)
        self.assertFalse(alive(task))

    def test_an_idle_one_ends_with_its_agent(self):
        p = self.start()
        agent = self.connect()
        agent.recv()
        agent.close()
        self.assertEqual(p.wait(PATIENCE_S), 0)

    def test_one_that_nobody_comes_to_ends_after_a_lease(self):
        self.assertEqual(self.start("--lease", "100ms").wait(PATIENCE_S), 0)

    def test_a_task_outlives_its_agent_and_the_next_one_adopts_it(self):
        self.start()
        first = self.connect()
        task = self.begin(first, f"while [ ! -e {self.dir}/go ]; do sleep 0.01; done; echo on")
        first.close()
        second = self.connect()
        held = second.recv()["held"]
        self.assertEqual(held[0], {**held[0], "task": 1, "att": 1, "state": "running"})
        self.assertTrue(alive(task))
        open(self.dir + "/go", "w").close()
        self.assertEqual(second.recv()["verdict"], "passed")
        self.assertIn("on", self.log())

    def test_the_newest_agent_counts(self):
        self.start()
        first, second = self.connect(), None
        first.recv()
        second = self.connect()
        self.assertEqual(second.recv()["t"], "hb")
        self.assertIsNone(first.recv())

    def test_without_an_agent_for_a_lease_the_task_ends(self):
        p = self.start("--lease", "2s")  # in which we are to come for the first time
        agent = self.connect()
        task = self.begin(agent, "sleep 1000 & sleep 1000")
        agent.close()
        self.assertEqual(p.wait(PATIENCE_S), 0)
        self.assertFalse(alive(task))
        with open(f"{self.work}/spool/1-1", "rb") as f:
            self.assertIn(b"\xa6result", f.read())

    def test_term_ends_the_task_and_the_executor(self):
        p = self.start()
        agent = self.connect()
        task = self.begin(agent, "sleep 1000")
        p.send_signal(signal.SIGTERM)
        self.assertEqual(agent.recv()["verdict"], "canceled")
        self.assertEqual(p.wait(PATIENCE_S), 0)
        self.assertFalse(alive(task))

    def test_its_task_dies_with_a_killed_one(self):
        p = self.start()
        task = self.begin(self.connect(), "exec sleep 1000")
        p.kill()
        p.wait()
        wait_for("the task's end", lambda: not alive(task))
        self.start()  # the socket of the killed one is no hindrance
        self.assertNotIn("held", self.connect().recv())

    def test_a_slot_has_one_executor(self):
        self.start()
        agent = self.connect()
        task = self.begin(agent, "exec sleep 1000")
        second = self.start()
        self.assertEqual(second.wait(PATIENCE_S), 5)
        self.assertRegex(second.stderr.read(), "^volt executor: slot 1 of .* has another executor$")
        agent.send("hb", n=1)  # and the first one's agent has not lost it by that
        self.assertEqual(agent.recv_until("hb")["held"][0]["state"], "running")
        self.assertTrue(alive(task))

    def test_garbage_costs_the_connection_only(self):
        self.start()
        agent = self.connect()
        task = self.begin(agent, "exec sleep 1000")  # dies with a killed executor
        agent.socket.sendall(b"\xff" * 64)
        self.assertIsNone(agent.recv())
        other = self.connect()
        self.assertEqual(other.recv()["held"][0]["state"], "running")
        other.socket.sendall(struct.pack("<I", 3) + b"abc")
        self.assertIsNone(other.recv())
        self.assertTrue(alive(task))
        self.assertEqual(self.connect().recv()["held"][0]["state"], "running")

    def test_plans_are_slot_0(self):
        self.start(slot=0)
        agent = self.connect(slot=0)
        agent.recv()
        plan = {**self.script(""), "kind": "plan", "job": ""}
        del plan["spec"]
        agent.send("assign", **plan)
        self.assertEqual([agent.recv()["t"] for _ in range(3)], ["start", "plan", "result"])
        agent.send("assign", **self.script("true", task=2))
        self.assertEqual(agent.recv()["code"], "BUSY")

    def test_an_idle_one_costs_no_time(self):
        p = self.start()
        agent = self.connect()
        agent.recv()
        agent.send("assign", **self.script("true"))
        agent.recv_until("result")

        def used():
            with open(f"/proc/{p.pid}/status") as f:
                return [line for line in f if "ctxt_switches" in line]

        def rests():
            before = used()
            time.sleep(1.5)  # it sweeps once, a second after its last task
            return used() == before

        wait_for("its rest", rests)

    def test_a_task_has_nothing_of_the_executors_environment(self):
        self.environment["VOLT_TEST_SECRET"] = "x"
        agent = (self.start(), self.connect())[1]
        agent.recv()
        agent.send("assign", **self.script("env; ls /proc/self/fd"))
        agent.recv_until("result")
        self.assertNotIn("SECRET", self.log())
        self.assertTrue(self.log().endswith("\n0\n1\n2\n3\n"))  # 3 is ls' own


if __name__ == "__main__":
    harness.main()
