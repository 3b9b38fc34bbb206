#!/usr/bin/python3
"""A round against a running dispatcher that has no other runner: live_round.py HOST PORT.

As observer submits a commit one way, as runner (one that runs nothing) plans it, reports its tests
and sends its logs, as subscriber follows it all, and as client asks about it.  Every message that
comes is checked by the tables of the specification.
"""
import os
import sys
import time

try:
    import zmq
    import volt_client
except ImportError as missing:
    print(missing)
    sys.exit(77)
from spec import Spec
from volt_client import Client, Refused, Subscriber, Work, encode, hex32

LIMIT_S = 60  # guards against a hang
FILES = ["tests/test_one.py", "tests/test_two.py", "tests/check.sh"]
VERDICTS = ["passed", "failed", "passed"]
LONG = b"a line of output with \xff, which is no UTF-8\n" * 2000  # longer than a result carries
SHORT = b"one short log\n"
spec = Spec()


def need(ok, what):
    if not ok:
        raise SystemExit(f"live_round: {what}")


def checked(message):
    """Its fields, with those that are absent as the specification says: 0, false or empty."""
    fields = spec.check(message)
    for field in spec.messages[message["t"]]:
        empty = {"integer": 0, "boolean": False, "text": "", "bytes": b""}
        fields.setdefault(field.key, [] if "list" in field.kind else empty.get(field.kind, ""))
    return {"t": message["t"], "r": message.get("r", 0), **fields}


class Runner(Work):
    """Takes what it is assigned and claims to have run it."""

    def __init__(self, host, port, slots=2):
        super().__init__(host, port)
        self.id, self.boot, self.slots = hex32(), hex32(), slots
        self.held, self.n, self.hb_at, self.hb_s, self.ep = {}, 0, 0.0, 1.0, 0
        self.window, self.done, self.late_fenced = 0, [], False

    def hello(self):
        self.send("hello", vmin=1, vmax=1, id=self.id, name="py", host="py.invalid", boot=self.boot,
                  slots=self.slots, held=self.list_held())
        self.hb_at = time.monotonic() + self.hb_s

    def list_held(self):
        return [{"task": t, "att": a, "state": h["state"]} for (t, a), h in self.held.items()]

    def beat(self):
        if time.monotonic() < self.hb_at:
            return
        self.n += 1
        self.send("hb", n=self.n, free=max(0, self.slots - len(self.held)) or None,
                  held=self.list_held())
        for key, held in self.held.items():  # what is not acknowledged is sent again
            if held["state"] == "done":
                self.say_result(*key)
        self.hb_at = time.monotonic() + self.hb_s

    def turn(self, timeout_s):
        self.beat()
        message = self.receive(timeout_s)
        if message:
            message = checked(message)
            getattr(self, "on_" + message["t"])(message)

    def on_who(self, _):
        self.hello()

    def on_welcome(self, m):
        need(m["ver"] == 1 and m["suspect_ms"] > m["hb_ms"], f"welcome {m}")
        self.hb_s, self.ep, self.window = m["hb_ms"] / 1000, m["ep"], m["window"]

    def on_hb_ok(self, m):
        need(m["n"] <= self.n and m["ep"] == self.ep, f"hb_ok {m}")
        for gone in m["drop"]:
            self.held.pop((gone["task"], gone["att"]), None)

    def on_assign(self, m):
        key = m["task"], m["att"]
        if key in self.held:
            return
        # Only while a log is streamed; the first batch streams, all others are short.
        long = m["kind"] == "tests" and not any(h["log"] is LONG for h in self.held.values()) \
            and not self.done.count("tests")
        self.held[key] = {"state": "running", "assign": m, "log": LONG if long else SHORT, "acked": 0}
        self.send("start", task=key[0], att=key[1])
        if m["kind"] == "plan":
            self.send("plan", task=key[0], att=key[1], jobs=[
                {"name": "tests", "tests": True, "files": FILES[:2]}])
            self.send("plan", task=key[0], att=key[1], part=1, last=True, jobs=[
                {"name": "tests", "tests": True, "files": FILES[2:]},
                {"name": "again", "needs": ["tests"], "spec": b"\x00\xff"}])
        elif m["kind"] == "tests":
            need(m["files"] and set(m["files"]) <= set(FILES), f"files {m['files']}")
            self.send("tests", task=key[0], att=key[1], items=self.items(m)[:1])
        if long:
            self.stream(key, 0, self.window)
        elif m["kind"] != "plan":
            self.end(key)

    def on_plan_ok(self, m):
        if m["next"] == 2 and (m["task"], m["att"]) in self.held:
            self.end((m["task"], m["att"]))

    def on_tests_ok(self, m):
        need(m["next"] >= 1, f"tests_ok {m}")

    @staticmethod
    def items(assign):
        """An outcome a file; the output of each is one byte of the log."""
        return [{"verdict": VERDICTS[FILES.index(f)], "duration_ms": 5, "log_off": i, "log_len": 1,
                 **({"exit": 1} if VERDICTS[FILES.index(f)] == "failed" else {})}
                for i, f in enumerate(assign["files"])]

    def stream(self, key, off, window):
        log, end = self.held[key]["log"], off + window
        while off < min(end, len(log)):
            piece = log[off:min(off + 30000, end)]
            self.send("log", task=key[0], att=key[1], off=off, d=piece,
                      eof=off + len(piece) == len(log) or None)
            off += len(piece)

    def on_log_ok(self, m):
        held = self.held.get((m["task"], m["att"]))
        if not held or held["log"] is SHORT:
            return
        held["acked"] = m["off"]
        if m["off"] == len(LONG) and held["state"] == "running":
            self.end((m["task"], m["att"]))

    def end(self, key):
        self.held[key]["state"] = "done"
        self.say_result(*key)

    def say_result(self, task, att):
        held = self.held[task, att]
        m, log = held["assign"], held["log"]
        items = self.items(m)[1:] if m["kind"] == "tests" else None
        bad = m["kind"] == "tests" and any(VERDICTS[FILES.index(f)] == "failed" for f in m["files"])
        self.send("result", task=task, att=att, ep=self.ep, verdict="failed" if bad else "passed",
                  log_bytes=len(log), log=SHORT if log is SHORT else None, duration_ms=20, cpu_ms=7,
                  **({"from": 1, "items": items} if items else {}))

    def on_result_ok(self, m):
        held = self.held.pop((m["task"], m["att"]), None)
        if held:
            self.done.append(held["assign"]["kind"])

    def on_fenced(self, m):
        self.late_fenced = True

    def on_mode(self, m):
        raise SystemExit(f"live_round: nobody changed a mode: {m}")

    def on_refuse(self, m):
        raise SystemExit(f"live_round: refused: {m}")


class Follower:
    """Applies each event once and in order; holes are filled by replay."""

    def __init__(self, host, port, obs):
        self.live = Subscriber(host, port, "e.", "h.", "l.", f"a.{obs}.")
        self.head, self.answers, self.events, self.logs = None, [], {}, b""

    def turn(self, timeout_s):
        got = self.live.next(timeout_s)
        while got:
            topic, message = got[0], checked(got[1])
            if message["t"] == "event":
                need(topic == f"e.{message['kind']}.", f"topic {topic}")
                self.events[message["seq"]] = message
            elif message["t"] == "head":
                need(topic == "h.", f"topic {topic}")
                self.head = message
            elif message["t"] == "log":
                need(topic == f"l.{message['build']}.", f"topic {topic}")
                self.logs += message["d"]
            else:
                self.answers.append(message)
            got = self.live.next(0)


def wait(what, ready, *parts):
    end = time.monotonic() + LIMIT_S
    while not ready():
        need(time.monotonic() < end, f"no {what} within {LIMIT_S} s")
        for part in parts:
            part.turn(0.02)


def submit(host, port, obs, fields):
    push = zmq.Context.instance().socket(zmq.PUSH)
    push.setsockopt(zmq.IPV6, 1)
    push.connect(volt_client._endpoint(host, port))
    push.send(encode("submit", obs=obs, **fields))
    push.close(linger=1000)


def replay(client, hist):
    events, want = [], 1
    while True:
        page = checked(client.ask("replay", hist=hist, **{"from": want}))
        events += [checked(volt_client.decode(item)) for item in page["items"]]
        want = page["next"]
        if page["next"] > page["last"]:
            return events


def check_answers(client, build, oid):
    """What clients are told of the build that has ended."""
    row = checked(client.ask("build", build=build))
    need(row["rows"][0]["oid"] == oid and row["rows"][0]["verdict"] == "failed", f"build {row}")
    need({j["name"]: j["verdict"] for j in row["jobs"]} == {"tests": "failed", "again": "skipped"},
         f"jobs {row['jobs']}")
    units = checked(client.ask("units", build=build))["rows"]
    need([(u["file"], u["verdict"]) for u in units if u["job"] == "tests"] ==
         list(zip(FILES, VERDICTS)), f"units {units}")
    logs = set()
    for task in row["tasks"]:
        log, chunk = b"", None
        while not chunk or not chunk["eof"]:
            chunk = checked(client.ask("get", task=task["task"], off=len(log) or None, max=50000))
            need(chunk["off"] == len(log), f"chunk at {chunk['off']}")
            log += chunk["d"]
        logs.add(log)
        view = checked(client.ask("task", task=task["task"]))
        need(view["rows"][0]["state"] == "final" and view["attempts"], f"task {view}")
    need(logs == {SHORT, LONG}, f"logs of {[len(log) for log in logs]} bytes")
    need(any(b["build"] == build for b in checked(client.ask("builds"))["rows"]), "builds")
    need(any(r["name"] == "py" for r in checked(client.ask("runners"))["rows"]), "runners")
    for wrong in (("build", {"build": 2 ** 53 - 1}), ("submission", {"sid": hex32()})):
        try:
            client.ask(wrong[0], **wrong[1])
            need(False, f"an answer to {wrong}")
        except Refused as e:
            need(e.code == "NOT_FOUND", f"{wrong}: {e}")


def check_events(follower, client, build):
    history = replay(client, follower.head["hist"])
    seqs = [e["seq"] for e in history]
    need(seqs == list(range(seqs[0], seqs[0] + len(seqs))), f"gaps in {seqs}")
    by_seq = {e["seq"]: e for e in history}
    for seq, event in follower.events.items():
        need(by_seq[seq] == event, f"event {seq} is published and kept differently")
    kinds = [e["kind"] for e in history if e["build"] == build]
    need(kinds[0] == "submitted" and kinds[-1] == "build_done", f"kinds {kinds}")
    need(kinds.count("test_done") == len(FILES) and kinds.count("build_done") == 1, f"kinds {kinds}")


def main(host, port):
    obs, oid = "py-" + hex32()[:8], os.urandom(20).hex()
    fields = {"sid": hex32(), "repo": "live-py", "url": "https://example.invalid/live-py.git",
              "oid": oid, "ref": "refs/heads/main", "subject": "a “subject”"}
    client, follower, runner = Client(host, port), Follower(host, port, obs), Runner(host, port)

    wait("head", lambda: follower.head, follower)
    need(checked(client.ask("status"))["hist"] == follower.head["hist"], "status")
    submit(host, port, obs, fields)
    wait("accepted", lambda: follower.answers, follower)
    build = follower.answers[0]["build"]
    need(follower.answers[0]["t"] == "accepted" and build, f"answer {follower.answers[0]}")
    submit(host, port, obs, fields)
    wait("second answer", lambda: len(follower.answers) == 2, follower)
    need(follower.answers[1]["build"] == build and follower.answers[1]["dup"], "the duplicate")
    need(checked(client.ask("submission", sid=fields["sid"]))["build"] == build, "submission")

    runner.hello()
    wait("build_done", lambda: any(e["kind"] == "build_done" and e["build"] == build
                                   for e in follower.events.values()), runner, follower)
    wait("result_ok", lambda: not runner.held, runner, follower)
    need(runner.done.count("plan") == 1 and runner.done.count("tests") >= 1, f"ran {runner.done}")
    need(LONG in follower.logs, "the live log")
    check_answers(client, build, oid)
    check_events(follower, client, build)

    runner.send("result", task=10 ** 9, att=1, verdict="passed")  # of a task that is not ours
    wait("fenced", lambda: runner.late_fenced, runner)
    runner.send("bye", why="the round is over")
    again = checked(client.ask("rebuild", sid=hex32(), build=build))
    need(again["t"] == "accepted" and again["build"] > build, f"rebuild {again}")
    need(checked(client.ask("cancel_build", build=again["build"]))["t"] == "ok", "cancel_build")
    client.socket.send(b"\xc1 this is no message")
    need((client.receive(5) or {}).get("code") == "BAD_MSG", "an answer to garbage")
    print(f"build {build}: {len(follower.events)} events, {len(runner.done)} tasks, all as specified")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
