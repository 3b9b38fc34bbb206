"""Subscribers that start late, are stopped, do not read, or are killed, under a flood of events.

A runner made of tests/clients tells the outcomes of huge builds in a few messages, so that events
come faster than any of the subscribers can take them.
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../clients"))
try:
    import zmq

    import volt_client
except ImportError:
    sys.exit(77)

import harness
from harness import VOLT, wait_for

BATCH = 1000  # units told of in one message
PART = 4000   # files told of in one part of a plan
UNITS = 15000 # of a build; four are 20 MB of events, more than all buffers on their way can hold


class Runner:
    """One that runs nothing and says that it passed, in a thread of its own."""

    def __init__(self, host, port, units):
        self.work = volt_client.Work(host, port)
        self.units = units  # of each build
        self.held = {}
        self.ended = threading.Event()
        self.work.send("hello", vmin=1, vmax=1, id=volt_client.hex32(), boot=volt_client.hex32(),
                       name="flood", slots=1, host="nowhere")
        while self.work.receive(harness.PATIENCE_S)["t"] != "welcome":
            pass
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        beat, n = 0, 0
        while not self.ended.is_set():
            if time.monotonic() > beat:
                beat, n = time.monotonic() + 0.5, n + 1
                self.work.send("hb", n=n, free=1)
            m = self.work.receive(0.1)
            if m and m["t"] == "assign":
                self.answer(m)

    def answer(self, m):
        about = {"task": m["task"], "att": m["att"]}
        if m["kind"] == "plan":
            for part, at in enumerate(range(0, self.units, PART)):
                files = [f"tests/unit/test_{i:06}.py" for i in range(at, min(at + PART, self.units))]
                self.work.send("plan", part=part, last=at + PART >= self.units, **about,
                               jobs=[dict(name="tests", tests=True, batch=BATCH, files=files)])
            self.work.send("result", verdict="passed", **about)
        else:
            self.work.send("start", **about)
            self.work.send("result", verdict="passed", duration_ms=1, **{"from": m.get("from", 0)},
                           items=[dict(verdict="passed", duration_ms=i % 100)
                                  for i in range(len(m["files"]))], **about)

    def stop(self):
        if not self.ended.is_set():
            self.ended.set()
            self.thread.join()
            self.work.send("bye")
            self.work.close()


class SlowReader:
    """A tail whose output is read in small bites, with pauses, until it is told to hurry."""

    def __init__(self, case, *args):
        self.text, self.hurry = b"", threading.Event()
        self.popen = subprocess.Popen([VOLT, "tail", "--dispatcher-server", case.server, "--json",
                                       *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      env=case.environment, cwd=case.dir)
        case.addCleanup(self.close)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while True:
            some = os.read(self.popen.stdout.fileno(), 65536)
            if not some:
                return
            self.text += some
            if not self.hurry.is_set():
                time.sleep(0.02)

    def close(self):
        self.popen.kill()
        self.popen.wait()
        self.thread.join()
        self.popen.stdout.close()


def whole_lines(text):
    return text[:text.rfind(b"\n") + 1]


class Subscribers(harness.Case):

    def fill(self, builds, units):
        """Builds of so many units, as fast as the dispatcher takes them.  Events a second."""
        runner = Runner("127.0.0.1", self.port, units)
        client = volt_client.Client("127.0.0.1", self.port)
        try:
            before, began = client.ask("status")["last"], time.monotonic()
            for _ in range(builds):
                self.commits += 1
                client.ask("submit", sid=volt_client.hex32(), repo="flood",
                           url="https://flood.invalid/flood.git", oid=f"{self.commits:040x}",
                           ref=f"refs/heads/b{self.commits}", obs=volt_client.hex32())
            wait_for("the builds", lambda: not client.ask("status").get("builds"))
            rate = (client.ask("status")["last"] - before) / (time.monotonic() - began)
            runner.stop()
            wait_for("its end", lambda: not client.ask("status").get("runners"))
            return rate
        finally:
            client.close()
            runner.stop()

    def table(self, start=1):
        """What the dispatcher keeps, by a client that shares no code with volt's."""
        client = volt_client.Client("127.0.0.1", self.port)
        found, at = [], start
        while True:
            page = client.ask("replay", **{"from": at})
            found += map(volt_client.decode, page.get("items", []))
            at = page["next"]
            if at > page["last"]:
                client.close()
                return found

    def assert_is_history(self, text, table, what):
        """Byte by byte the events, one a line, once each and in order."""
        lines = text.splitlines(keepends=True)
        for line, event in zip(lines, table):
            want = {k: v for k, v in event.items() if k not in ("v", "t")}
            got = json.loads(line)
            if got != want:
                self.fail(f"{what} has {got} instead of {want}")
        self.assertEqual(len(lines), len(table), what)

    def settle(self, tail, last):
        def is_there():
            with open(tail.out_path, "rb") as f:
                f.seek(max(0, os.path.getsize(tail.out_path) - 4096))
                return f'"seq":{last},'.encode() in f.read()
        wait_for(f"event {last} in {tail.name}", is_there)

    def test_a_flood_reaches_every_subscriber_whole(self):
        dispatcher = self.dispatcher()
        prompt, stopped = self.tail(name="prompt"), self.tail(name="stopped")
        slow = SlowReader(self, "--from", "start")
        parts, seen, rates = [self.tail(name="part0")], b"", []

        def flood():
            rates.append(self.fill(1, UNITS))

        def go_on():
            """The last part has ended; the next one starts behind what it printed."""
            nonlocal seen
            seen += whole_lines(parts[-1].output())
            parts.append(self.tail("--from", str(seen.count(b"\n") + 1), name=f"part{len(parts)}"))

        wait_for("all to be there", lambda: all(t.output() for t in (prompt, stopped, parts[0])))
        stopped.send(signal.SIGSTOP)
        flood()
        parts[-1].kill()
        late = self.tail(name="late")
        flood()
        go_on()
        flood()
        dispatcher.kill()
        dispatcher = self.dispatcher()
        flood()
        dispatcher.kill()
        parts[-1].kill()
        self.dispatcher()
        go_on()
        stopped.send(signal.SIGCONT)
        slow.hurry.set()
        table = self.table()
        last = table[-1]["seq"]
        for tail in (prompt, stopped, late, parts[-1]):
            self.settle(tail, last)
        wait_for("the slow one", lambda: slow.text.count(b"\n") >= last)
        print("events/s:", *(f"{r:.0f}" for r in rates), file=sys.stderr)
        whole = prompt.output()
        self.assert_is_history(whole, table, "prompt")
        for name, text in (("stopped", stopped.output()), ("late", late.output()),
                           ("slow", slow.text), ("parts", seen + parts[-1].output())):
            self.assertTrue(text == whole, f"{name} differs from prompt")

    def rss_mib(self, pid):
        with open(f"/proc/{pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024

    def test_those_who_do_not_read_cost_little_memory_and_no_time(self):
        """100 subscribers and 100 clients whose processes are stopped."""
        dispatcher = self.dispatcher()
        self.fill(1, UNITS)
        before = self.rss_mib(dispatcher.pid)
        context, deaf = zmq.Context(), []
        self.addCleanup(lambda: [s.close(linger=0) for s in deaf] and context.term())
        for i in range(200):  # a queue of one message, and nobody takes it out
            s = context.socket(zmq.SUB if i % 2 else zmq.DEALER)
            s.setsockopt(zmq.RCVHWM, 1)
            s.setsockopt(zmq.RCVBUF, 4096)
            if i % 2:
                s.subscribe(b"")
            s.connect(f"tcp://127.0.0.1:{self.port + (2 if i % 2 else 1)}")
            deaf.append(s)
        for s in deaf[::2]:
            for r in range(1, 17):
                s.send(volt_client.encode("replay", r, **{"from": r}))
        time.sleep(0.5)
        tail = self.tail("--from", "start")
        self.fill(1, UNITS)
        for s in deaf[::2]:
            for r in range(17, 33):
                s.send(volt_client.encode("replay", r, **{"from": r}))
        last = self.table()[-1]["seq"]
        self.settle(tail, last)
        grown = self.rss_mib(dispatcher.pid) - before
        print(f"{grown:.0f} MiB more", file=sys.stderr)
        self.assertLess(grown, 150)
        client = volt_client.Client("127.0.0.1", self.port)
        self.addCleanup(client.close)
        began = time.monotonic()
        for _ in range(20):
            client.ask("status")
        self.assertLess(time.monotonic() - began, harness.PATIENCE_S / 4)

    def test_who_does_not_read_logs_costs_neither_memory_nor_the_others(self):
        size = 40 << 20
        unit = f"#!/bin/sh\nyes 'a line of the output that a test writes' | head -c {size}\n"
        repo = self.repository(files={"tests/a.sh": unit})
        dispatcher = self.dispatcher()
        self.runner()
        tails = [self.tail("--from", "start", "--logs", name=name) for name in ("deaf", "prompt")]
        wait_for("both", lambda: all(t.output() for t in tails))
        before = self.rss_mib(dispatcher.pid)
        tails[0].send(signal.SIGSTOP)
        self.ask("submit", repo.path, "main", "--wait")
        grown = self.rss_mib(dispatcher.pid) - before
        print(f"{grown:.0f} MiB more", file=sys.stderr)
        self.assertLess(grown, 32)
        tails[0].send(signal.SIGCONT)
        for t in tails:
            wait_for(f"all output in {t.name}", lambda t=t: os.path.getsize(t.out_path) >= size
                     and self.is_whole(t.events("log", task=2), size))

    def is_whole(self, pieces, size):
        """Each piece behind the one before it, and nothing but the line again and again."""
        text, line = "".join(e["text"] for e in pieces), "a line of the output that a test writes\n"
        at = 0
        for e in pieces:
            self.assertEqual(e["off"], at)
            at += len(e["text"])
        self.assertTrue((line * (len(text) // len(line) + 1)).startswith(text))
        return len(text) == size


if __name__ == "__main__":
    harness.main()
