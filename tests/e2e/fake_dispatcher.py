"""As much of a dispatcher as a subscriber sees: an event table, a PUB, a ROUTER, kept logs.

It can be stopped and started again on its ports, and it can publish less than it committed.
"""
import threading
import time

import msgpack
import zmq

from ports import free_triple

HEAD_S = 0.2  # a real one beats each second; the tests are in a hurry


class FakeDispatcher:
    def __init__(self, hist="a" * 32, port=None, ep=1, events=()):
        self.hist = hist
        self.ep = ep
        self.events = list(events)  # encoded; number i + 1 at i
        self.floor = 1
        self.page = 1000
        self.builds = {}  # id -> {"row", "jobs", "tasks", "units"}
        self.logs = {}  # (task, att) -> bytes
        self.ended = set()  # (task, att) whose log is whole
        self.asked = []  # types of the questions so far
        self.busy = 0  # questions to refuse as BUSY
        self.deaf = False  # do not answer
        self.lock = threading.RLock()
        self.context = zmq.Context()
        self.pub = self.context.socket(zmq.PUB)
        self.router = self.context.socket(zmq.ROUTER)
        for s in (self.pub, self.router):
            s.linger = 0
        self.port = port or free_triple()
        for s, offset in ((self.router, 1), (self.pub, 2)):
            end = time.monotonic() + 10
            while True:  # the last one may be letting go of it still
                try:
                    s.bind(f"tcp://127.0.0.1:{self.port + offset}")
                    break
                except zmq.ZMQError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.02)
        self.stopping = False
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    @property
    def server(self):
        return f"127.0.0.1:{self.port}"

    def close(self):
        self.stopping = True
        self.thread.join()
        self.context.destroy(linger=0)

    # ---- what happens ----

    def event(self, kind, publish=True, **fields):
        with self.lock:
            seq = len(self.events) + 1
            message = dict(v=1, t="event", hist=self.hist, seq=seq, ep=self.ep, kind=kind,
                           time_ms=1700000000000 + seq, **fields)
            self.events.append(msgpack.packb(message))
            if publish:
                self.pub.send_multipart([f"e.{kind}.".encode(), self.events[-1]])
            return seq

    def piece(self, build, task, att, data, job="tests", publish=True, eof=False):
        """Appends to an attempt's log."""
        with self.lock:
            log = self.logs.get((task, att), b"")
            self.logs[task, att] = log + data
            message = dict(v=1, t="log", task=task, att=att, off=len(log), d=data, build=build,
                           job=job)
            if eof:
                self.ended.add((task, att))
            if publish:
                self.pub.send_multipart([f"l.{build}.".encode(), msgpack.packb(message)])

    def build(self, number, repo="seed", ref="refs/heads/main", oid=None, verdict="failed",
              units=(), subject="Break it", publish=True, tasks=(), jobs=()):
        """A whole build with units of (file, verdict, output), all of one attempt."""
        oid = oid or f"{number:040x}"
        about = dict(build=number, repo=repo, ref=ref, oid=oid)
        log = b"".join(output for _, _, output in units)
        rows, off = [], 0
        for i, (file, unit_verdict, output) in enumerate(units):
            rows.append(dict(job="tests", i=i, file=file, verdict=unit_verdict, duration_ms=5 + i,
                             task=number, att=1, log_off=off, log_len=len(output), runner="box-1"))
            off += len(output)
        with self.lock:
            self.logs[number, 1] = log
            self.ended.add((number, 1))
            self.builds[number] = dict(
                row=dict(about, state="final", verdict=verdict, subject=subject,
                         created_ms=1700000000000, finished_ms=1700000005000, units=len(rows)),
                units=rows, tasks=list(tasks), jobs=list(jobs))
        self.event("submitted", publish, subject=subject, **about)
        self.event("running", publish, task=number, att=1, runner="box-1", job="tests", **about)
        for row in rows:
            self.event("test_done", publish, file=row["file"], verdict=row["verdict"],
                       duration_ms=row["duration_ms"], task=number, att=1, job="tests",
                       runner="box-1", **about)
        if len(log) > 16384:  # a shorter one comes within the result
            self.event("log_end", publish, task=number, att=1, log_bytes=len(log), job="tests",
                       **about)
        self.event("task_done", publish, task=number, att=1, log_bytes=len(log), job="tests",
                   verdict=verdict, **about)
        self.event("build_done", publish, verdict=verdict, duration_ms=5000, subject=subject,
                   **about)

    # ---- answers ----

    def _serve(self):
        beat = 0
        while not self.stopping:
            with self.lock:
                if time.monotonic() >= beat:
                    beat = time.monotonic() + HEAD_S
                    self.pub.send_multipart([b"h.", msgpack.packb(
                        dict(v=1, t="head", hist=self.hist, ep=self.ep, last=len(self.events)))])
            if self.router.poll(20):
                peer, frame = self.router.recv_multipart()
                question = msgpack.unpackb(frame)
                with self.lock:
                    self.asked.append(question["t"])
                    if self.deaf:
                        continue
                    answer = getattr(self, "_" + question["t"])(question)
                    if self.busy:
                        self.busy -= 1
                        answer = dict(t="err", code="BUSY")
                    self.router.send_multipart(
                        [peer, msgpack.packb(dict(answer, v=1, r=question["r"]))])

    def _replay(self, q):
        first = max(q["from"] if q.get("hist", self.hist) == self.hist else 1, self.floor)
        most = min(q.get("max") or 1000, self.page)
        items = self.events[first - 1:first - 1 + most]
        return dict(t="events", hist=self.hist, floor=self.floor, last=len(self.events),
                    next=first + len(items), items=items)

    def _builds(self, q):
        older = sorted((b for b in self.builds if b < (q.get("before") or b + 1)), reverse=True)
        most = min(q.get("max") or 50, 500)
        return dict(t="builds_are", rows=[self.builds[b]["row"] for b in older[:most]],
                    more=len(older) > most)

    def _build(self, q):
        b = self.builds.get(q["build"])
        if not b:
            return dict(t="err", code="NOT_FOUND")
        return dict(t="build_is", rows=[b["row"]], jobs=b["jobs"], tasks=b["tasks"])

    def _units(self, q):
        b = self.builds.get(q["build"])
        if not b:
            return dict(t="err", code="NOT_FOUND")
        first, most = q.get("from", 0), min(q.get("max") or 1000, self.page)
        return dict(t="units_are", rows=b["units"][first:first + most],
                    more=first + most < len(b["units"]))

    def _get(self, q):
        key = q["task"], q.get("att", 1)
        if key not in self.logs:
            return dict(t="err", code="NOT_FOUND")
        off, log = q.get("off", 0), self.logs[key]
        data = log[off:off + min(q.get("max") or 65536, 65536)]
        return dict(t="chunk", task=key[0], att=key[1], off=off, d=data,
                    eof=key in self.ended and off + len(data) >= len(log))
