"""Everything is killed, stopped and started while commits come; each gets exactly one verdict.

A seed decides what happens to whom and when; the machine decides the rest.  Then the faults stop,
and what was pushed is compared with the event table, what `volt tail` showed, the stored logs and
the result files.

    test_chaos.py [--seconds S] [--seed N] [--keep]

Not tried: daemons that a test leaves behind while agent and executor are killed at one blow, which
only a writable cgroup would end.
"""
import argparse
import collections
import glob
import heapq
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

try:
    import msgpack
except ImportError:
    sys.exit(77)

import harness
from harness import VOLT, Case, read_result, wait_for

SECONDS, SEED = 15, 1  # of faults; what follows them takes about as long
RUNNERS_MIN, RUNNERS_MAX = 2, 6
FAULT_EVERY_S, PUSH_EVERY_S = 0.35, 0.4
SETTLE_S = 120  # guards against a hang
LEASE_S = 2
TRIES_MAX = 3
# An agent that comes back within the lease, a drain, a stopped executor and anything that is done
# to dispatcher, observers and tail cost no attempt.  (Ctrl-C does when the runner's bye finds no
# dispatcher.)
COSTLY = {"agent away", "agent stopped long", "executor killed", "runner killed", "interrupted"}
REPOSITORIES = ("red", "blue")


def chance(rng, mean):
    return min(rng.expovariate(1 / mean), 4 * mean)


class Unit:
    """A test file, and what has to come of it; output None: it holds a duration."""

    def __init__(self, rng, key, starts):
        kind = rng.choices(("quick", "slow", "failing", "big", "python"), (4, 6, 2, 3, 1))[0]
        note = f"#!/bin/sh\necho $VOLT_TASK $VOLT_ATTEMPT {key} >>{starts}\n"
        self.name, self.verdict = f"tests/{kind}_{key}", "passed"
        self.output = f"{key} begins\n".encode()
        script = f"echo {key} begins\n"
        if kind == "slow":
            script += f"sleep {rng.uniform(0.1, 1.5):.2f}\necho ': it''s' ends\n"
            self.output += b": its ends\n"
        elif kind == "failing":
            script += "exit 3\n"
            self.verdict = "failed"
        elif kind == "big":
            first, half = rng.randrange(100000, 800000), rng.randrange(7000, 9000)
            script += (f"seq {first} {first + half - 1}\nsleep {rng.choice((0, 0.1, 0.4))}\n"
                       f"seq {first + half} {first + 2 * half - 1}\n")
            self.output += b"".join(b"%d\n" % i for i in range(first, first + 2 * half))
        elif kind == "python":
            self.name = f"tests/test_{key}.py"
            self.output = None
            if rng.random() < 0.3:
                self.verdict = "failed"
        self.text = (note + script if kind != "python" else
                     harness.PYTHON_PASS if self.verdict == "passed" else harness.PYTHON_FAIL)


class Tail:
    """What `volt tail` showed, though it was killed now and then: the lines of all its lives."""

    def __init__(self, case):
        self.case, self.lives = case, 0
        self.events, self.process, self.partial = [], None, b""
        self.ended = set()  # (repo, ref, oid) of builds that are done
        self.busy = {}  # {task: name of the runner that has it}

    def start(self):
        self.lives += 1
        self.partial, self.at = b"", 0
        self.process = self.case.start(
            f"tail{self.lives}", "tail", "--dispatcher-server", self.case.server, "--json", "--from",
            str(self.events[-1]["seq"] + 1) if self.events else "start",
            "--results", self.case.path("results"))

    def read(self):
        with open(self.process.out_path, "rb") as f:
            f.seek(self.at)
            new = f.read()
        self.at += len(new)
        lines = (self.partial + new).split(b"\n")
        self.partial = lines.pop()
        for line in lines:
            event = json.loads(line)
            self.events.append(event)
            if event["kind"] == "leased":
                self.busy[event["task"]] = event["runner"]
            elif event["kind"] in ("task_done", "requeued"):
                self.busy.pop(event["task"], None)
            elif event["kind"] == "build_done":
                self.ended.add((event["repo"], event["ref"], event["oid"]))

    def kill(self):
        self.process.kill()
        self.read()


class ChaosTest(Case):
    seconds, seed, keep = SECONDS, SEED, False

    def test_each_commit_gets_exactly_one_verdict(self):
        self.rng = random.Random(self.seed)
        self.killed = True  # looked at below, with more patience
        self.counts = collections.Counter()
        self.plan, self.plan_n = [], 0  # what is to be done when
        self.stopped = {}  # {pid: process or None}
        self.hurt = []  # (wall ms, runner, what) of all that may cost an attempt
        self.expected = {}  # {(repo, ref, oid): {file: Unit}}
        self.commits_n = 0
        try:
            self.set_up_all()
            self.rage()
            self.settle()
            self.stop_all()
            self.check()
        except BaseException:
            self.report()
            if self.keep:
                kept = f"/tmp/volt-chaos-{self.seed}-{os.getpid()}"
                shutil.copytree(self.dir, kept, symlinks=True,  # sockets cannot be copied
                                ignore=lambda path, names: [n for n in names if n.endswith(".sock")])
                print(f"kept: {kept}", file=sys.stderr)
            raise
        self.report()

    def report(self):
        faults = ", ".join(f"{n} {what}" for what, n in sorted(self.counts.items()))
        print(f"seed {self.seed}: {self.commits_n} commits; {faults}", file=sys.stderr)

    # ---- processes ----

    def set_up_all(self):
        self.environment["ASAN_OPTIONS"] = "detect_leaks=0"  # kills leave none to look
        self.repositories = {name: self.repository(name + ".git", bare=True)
                             for name in REPOSITORIES}
        self.start_dispatcher(0)
        self.boss.wait_said("ready at ")
        self.server = self.boss.said().split("ready at ")[1].split(",")[0]
        self.watchers, self.agents, self.wanted, self.slots = {}, {}, set(), {}
        self.chain = Tail(self)
        self.chain.start()
        for name in REPOSITORIES:
            self.push(name, 1)
            self.start_observer(name)
        for _ in range(3):
            self.new_runner()
        # The first sight of a repository is its newest commit, so all others come after it.
        wait_for("the first builds", lambda: self.chain.read() or len(self.chain.ended) == 2)

    def start_dispatcher(self, port):
        self.boss = self.start("dispatcher", "dispatcher", "--port", str(port), "--data",
                               self.path("data"), "--heartbeat", "200ms", "--lease", f"{LEASE_S}s")

    def start_observer(self, name):
        self.watchers[name] = self.observer("--policy", "every", self.repositories[name].path,
                                            name="observer-" + name)

    def new_runner(self):
        name = f"runner{len(self.slots) + 1}"
        self.slots[name] = self.rng.randint(1, 3)
        self.wanted.add(name)
        self.start_agent(name)

    def start_agent(self, name):
        self.agents[name] = self.runner("--slots", str(self.slots[name]), name=name, wait=False)

    def workdir(self, name):
        return self.path(name + ".d")

    def live(self):
        return sorted(n for n in self.wanted if n in self.agents and self.agents[n].running())

    # ---- the plan ----

    def later(self, seconds, what, *args):
        self.plan_n += 1
        heapq.heappush(self.plan, (time.monotonic() + seconds, self.plan_n, what, args))

    def rage(self):
        end = time.monotonic() + self.seconds
        self.later(0, self.fault)
        for name in REPOSITORIES:
            self.later(0, self.pushes, name)
        while time.monotonic() < end:
            if self.plan and self.plan[0][0] <= time.monotonic():
                _, _, what, args = heapq.heappop(self.plan)
                what(*args)
            else:
                time.sleep(0.01)
            self.look()

    def look(self):
        """Nothing may end that was not told to."""
        self.chain.read()
        for what, p in (("dispatcher", self.boss), ("tail", self.chain.process),
                        *self.watchers.items(), *self.agents.items()):
            if p is None or p.running() or getattr(p, "told", False):
                continue
            self.fail(f"{what} ended by itself with {p.popen.returncode}")

    def kill(self, p):
        p.told = True
        self.stopped.pop(p.pid, None)
        p.kill()

    def tell(self, p, number):
        p.told = True
        p.send(number)

    def when_ended(self, p, then, *args):
        """Calls then(*args) soon after p's end."""
        if p.running():
            self.later(0.05, self.when_ended, p, then, *args)
        else:
            then(*args)

    def pause(self, pid, seconds):
        try:
            os.kill(pid, signal.SIGSTOP)
        except ProcessLookupError:
            return
        self.stopped[pid] = True
        self.later(seconds, self.go_on, pid)

    def go_on(self, pid):
        if self.stopped.pop(pid, None):
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass

    # ---- commits ----

    def pushes(self, name):
        self.push(name, self.rng.choices((1, 2, 5), (6, 3, 1))[0])
        self.later(chance(self.rng, PUSH_EVERY_S * len(REPOSITORIES)), self.pushes, name)

    def push(self, name, n):
        """n commits that appear at once, on the main branch or on a new one."""
        ref = "refs/heads/main"
        parent = f"{ref}^0" if any(k[0] == name for k in self.expected) else None
        if parent and self.rng.random() < 0.1:
            ref = f"refs/heads/topic-{self.commits_n}"
        stream, made = [], []
        for i in range(n):
            self.commits_n += 1
            units = [Unit(self.rng, f"{self.commits_n}_{k}", self.path("starts"))
                     for k in range(self.rng.randint(1, 3))]
            message = f"Commit {self.commits_n}"
            stream.append(f"commit {ref}\nmark :{i + 1}\ncommitter Ann <a@example.org> "
                          f"{1700000000 + self.commits_n} +0000\ndata {len(message)}\n{message}\n")
            if i == 0 and parent:
                stream.append(f"from {parent}\n")
            stream.append("deleteall\n")
            for u in units:
                mode = "644" if u.name.endswith(".py") else "755"
                stream.append(f"M {mode} inline {u.name}\ndata {len(u.text)}\n{u.text}\n")
            stream.append(f"\nget-mark :{i + 1}\n")
            made.append(units)
        p = subprocess.run(["git", "-C", self.repositories[name].path, "fast-import", "--quiet",
                            "--date-format=raw"], input="".join(stream).encode(),
                           stdout=subprocess.PIPE, env=self.environment, check=True)
        for oid, units in zip(p.stdout.decode().split(), made):
            self.expected[name, ref, oid] = {u.name: u for u in units}

    # ---- faults ----

    def fault(self):
        kinds = {self.dispatcher_killed: 2, self.dispatcher_ended: 1, self.dispatcher_stopped: 1,
                 self.agent_killed: 4, self.executor_killed: 4, self.runner_killed: 3,
                 self.runner_drained: 2, self.runner_interrupted: 1, self.agent_stopped: 2,
                 self.executor_stopped: 2, self.runner_new: 2, self.runner_left: 1,
                 self.observer_killed: 2, self.observer_stopped: 1, self.tail_killed: 2,
                 self.tail_stopped: 1}
        what = self.rng.choices(list(kinds), list(kinds.values()))[0]
        if what() is not False:
            self.counts[what.__name__.replace("_", " ")] += 1
        self.later(chance(self.rng, FAULT_EVERY_S), self.fault)

    def hurts(self, name, what):
        self.hurt.append((int(time.time() * 1000), name, what))

    def dispatcher_killed(self):
        if getattr(self.boss, "told", False):
            return False
        self.kill(self.boss)
        self.later(self.rng.choice((0, 0, 0.5, 2)), self.start_dispatcher, self.port)

    def dispatcher_ended(self):
        if getattr(self.boss, "told", False) or self.boss.pid in self.stopped:
            return False
        self.tell(self.boss, signal.SIGTERM)
        self.when_ended(self.boss, self.start_dispatcher, self.port)

    def dispatcher_stopped(self):
        if getattr(self.boss, "told", False):
            return False
        self.pause(self.boss.pid, self.rng.choice((0.2, 1, 3)))

    def victim(self):
        """A runner whose agent is there and was not told to go, rather a busy one, or None."""
        names = [n for n in self.live() if not getattr(self.agents[n], "told", False)]
        busy = [n for n in names if n in self.chain.busy.values()]
        if busy and self.rng.random() < 0.7:
            names = busy
        return self.rng.choice(names) if names else None

    def agent_killed(self):
        name = self.victim()
        if not name:
            return False
        away = self.rng.choice((0, 0, 0.3, 1, 3))
        self.hurts(name, "agent away" if away >= 1 else "agent killed")
        self.kill(self.agents[name])
        self.later(away, self.start_agent, name)

    def pick_executor(self, name):
        found = self.executors(self.agents[name])
        return found[self.rng.choice(sorted(found))] if found else None

    def executor_killed(self):
        name = self.victim()
        pid = self.pick_executor(name) if name else None
        if not pid:
            return False
        self.hurts(name, "executor killed")
        os.kill(pid, signal.SIGKILL)

    def kill_runner(self, name):
        self.hurts(name, "runner killed")
        executors = self.executors(self.agents[name])
        if self.rng.random() < 0.5:
            self.kill(self.agents[name])
        for pid in executors.values():
            self.stopped.pop(pid, None)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.agents[name].running():
            self.kill(self.agents[name])

    def runner_killed(self):
        name = self.victim()
        if not name:
            return False
        self.kill_runner(name)
        self.later(self.rng.choice((0, 0, 0.3, 1, 3)), self.start_agent, name)

    def runner_left(self):
        """It comes back only when the faults are over."""
        name = self.victim()
        if not name or len(self.wanted) <= RUNNERS_MIN:
            return False
        self.kill_runner(name)
        self.wanted.remove(name)

    def runner_new(self):
        if len(self.wanted) >= RUNNERS_MAX:
            return False
        self.new_runner()

    def runner_drained(self):
        name = self.victim()
        if not name or self.agents[name].pid in self.stopped:
            return False
        self.hurts(name, "drained")
        self.tell(self.agents[name], signal.SIGTERM)
        self.when_ended(self.agents[name], self.start_agent, name)

    def runner_interrupted(self):
        name = self.victim()
        if not name or self.agents[name].pid in self.stopped:
            return False
        self.hurts(name, "interrupted")
        self.tell(self.agents[name], signal.SIGINT)
        self.when_ended(self.agents[name], self.start_agent, name)

    def agent_stopped(self):
        name = self.victim()
        if not name:
            return False
        seconds = self.rng.choice((0.3, 1, 3))
        self.hurts(name, "agent stopped long" if seconds >= 1 else "agent stopped")
        self.pause(self.agents[name].pid, seconds)

    def executor_stopped(self):
        name = self.victim()
        pid = self.pick_executor(name) if name else None
        if not pid:
            return False
        seconds = self.rng.choice((0.3, 1))
        self.hurts(name, "executor stopped")
        self.pause(pid, seconds)

    def observer_killed(self):
        name = self.rng.choice(REPOSITORIES)
        if getattr(self.watchers[name], "told", False):
            return False
        self.kill(self.watchers[name])
        self.later(self.rng.choice((0, 0.3, 1.5)), self.start_observer, name)

    def observer_stopped(self):
        name = self.rng.choice(REPOSITORIES)
        if getattr(self.watchers[name], "told", False):
            return False
        self.pause(self.watchers[name].pid, self.rng.choice((0.3, 1)))

    def tail_killed(self):
        if getattr(self.chain.process, "told", False):
            return False
        self.chain.process.told = True
        self.stopped.pop(self.chain.process.pid, None)
        self.chain.kill()
        self.later(self.rng.choice((0, 0.5, 2)), self.chain.start)

    def tail_stopped(self):
        if getattr(self.chain.process, "told", False):
            return False
        self.pause(self.chain.process.pid, self.rng.choice((0.3, 1, 3)))

    # ---- the end ----

    def settle(self):
        """No more faults, everybody is there: all must come true."""
        for pid in list(self.stopped):
            self.go_on(pid)
        again = {self.start_dispatcher, self.start_observer, self.start_agent, self.chain.start,
                 self.when_ended}
        due, self.plan = sorted(self.plan), []
        for _, _, what, args in due:
            if what in again:
                self.later(0, what, *args)
        for name in set(self.agents) - self.wanted:
            self.wanted.add(name)
            self.start_agent(name)
        began = time.monotonic()

        def all_done():
            while self.plan and self.plan[0][0] <= time.monotonic():
                _, _, what, args = heapq.heappop(self.plan)
                what(*args)
            self.look()
            self.resume_cordoned()
            return not self.plan and self.chain.ended >= set(self.expected)

        try:
            wait_for("the end of all builds", all_done, SETTLE_S)
        except AssertionError:
            self.show_status()
            missing = sorted(set(self.expected) - self.chain.ended)
            raise AssertionError(f"no verdict for {len(missing)} commits: {missing[:5]}")
        self.counts["s to settle"] = int(time.monotonic() - began)
        wait_for("empty spools", lambda: not self.spools(), 30)

    def spools(self):
        return glob.glob(self.path("*.d", "spool", "*"))

    def resume_cordoned(self):
        """A runner that five attempts in a row were lost on is cordoned: here it is not its fault."""
        for e in self.chain.events[getattr(self, "modes_seen", 0):]:
            if e["kind"] == "runner_mode" and e.get("mode") == "cordon":
                self.counts["cordoned"] += 1
                self.ask("resume", e["runner"], rc=None)
        self.modes_seen = len(self.chain.events)

    def show_status(self):
        for command in ("status", "runners"):
            print(self.ask(command, rc=None).decode(), file=sys.stderr)

    def stop_all(self):
        for p in self.agents.values():
            p.wait_said("registered")  # else SIGTERM may come before it can be told anything
        for p in self.agents.values():
            self.tell(p, signal.SIGTERM)
        for name, p in self.agents.items():
            self.assertEqual(p.wait(30), 0, name)
        for name, p in self.watchers.items():
            self.tell(p, signal.SIGTERM)
            self.assertEqual(p.wait(30), 0, name)

        def quiet():
            n = len(self.chain.events)
            time.sleep(1.2)  # a head beat tells it what it has missed
            self.chain.read()
            return n == len(self.chain.events)
        wait_for("the last event", quiet)
        self.tell(self.boss, signal.SIGTERM)
        self.assertEqual(self.boss.wait(30), 0)
        self.tell(self.chain.process, signal.SIGTERM)
        self.assertEqual(self.chain.process.wait(30), 0)
        self.chain.read()
        self.assert_nothing_left()

    # ---- what must be true ----

    def rows(self, sql):
        return [dict(r) for r in self.db.execute(sql)]

    def check(self):
        self.db = sqlite3.connect(self.path("data", "volt.db"))
        self.db.row_factory = sqlite3.Row
        self.addCleanup(self.db.close)
        self.check_stream()
        self.check_starts()
        self.check_builds()
        self.check_results()
        for name in os.listdir(self.dir):
            if name.endswith(".log"):
                self.assertNotRegex(self.read(name), "Sanitizer|runtime error|Assertion", name)

    def check_stream(self):
        """The events have no gap, and tail showed all of them, once, in order, as they are."""
        table = self.rows("SELECT * FROM event ORDER BY seq")
        self.assertEqual([r["seq"] for r in table], list(range(1, len(table) + 1)))
        self.assertEqual([e["seq"] for e in self.chain.events], [r["seq"] for r in table])
        for shown, row in zip(self.chain.events, table):
            kept = msgpack.unpackb(row["bytes"], raw=False)
            for key in set(kept) - {"v", "t", "r"}:
                self.assertEqual(shown.get(key, 0), kept[key], (key, shown, kept))
            for key in ("kind", "build", "task", "att", "verdict"):
                self.assertEqual(shown.get(key) or None, row[key] or None, (key, shown))

    def check_starts(self):
        starts = collections.Counter(self.read("starts").splitlines())
        twice = [line for line, n in starts.items() if n > 1]
        self.assertEqual(twice, [], "an attempt started a unit twice")

    def check_builds(self):
        builds = self.rows("SELECT * FROM build")
        self.assertEqual(sorted((b["repo"], b["ref"], b["oid"]) for b in builds),
                         sorted(self.expected))
        done = collections.Counter(e["build"] for e in self.chain.events
                                   if e["kind"] == "build_done")
        final = collections.Counter(e["task"] for e in self.chain.events
                                    if e["kind"] == "task_done")
        self.assertEqual(set(done.values()), {1})
        self.assertEqual(set(final.values()), {1})
        lost = {}
        self.check_losses()
        self.counts["attempts"] = len(self.rows("SELECT task FROM attempt"))
        self.counts["requeued"] = sum(e["kind"] == "requeued" for e in self.chain.events)
        for t in self.rows("SELECT * FROM task"):
            self.assertEqual(t["state"], "final", t)
            self.assertLessEqual(t["tries"], TRIES_MAX, t)
            if t["verdict"] == "lost":
                lost.setdefault(t["build"], []).append(t["task"])
                self.counts["tasks lost"] += 1
                losses = self.rows(f"SELECT * FROM attempt WHERE task = {t['task']} AND "
                                   "(code = 'LOST' OR verdict = 'lost')")
                self.assertGreaterEqual(len(losses), TRIES_MAX, t)
        self.bad = set()
        for b in builds:
            units = self.expected[b["repo"], b["ref"], b["oid"]]
            self.assertEqual((b["state"], b["gen"]), ("final", 0), b)
            if b["build"] in lost:
                self.assertIn(b["verdict"], ("lost", "errored"), b)
                self.bad.add(b["oid"])
                continue
            verdicts = {u.verdict for u in units.values()}
            self.assertEqual(b["verdict"], "failed" if "failed" in verdicts else "passed", b)
            self.check_units(b, units)

    def check_losses(self):
        """Each attempt that was lost was taken from its runner by a fault that may cost one."""
        started = {(e["task"], e["att"]) for e in self.chain.events if e["kind"] == "running"}
        for a in self.rows("SELECT * FROM attempt WHERE code = 'LOST' OR verdict = 'lost'"):
            self.counts["attempts lost"] += 1
            near = [(at, what) for at, name, what in self.hurt if name == a["runner_name"] and
                    a["leased_ms"] - 2 * LEASE_S * 1000 < at < a["ended_ms"] + 100]
            # A new agent that knows nothing of an assign on its way to the old one costs that attempt:
            # nothing tells whether it had started, so it counts as a try.
            unheard = (a["task"], a["att"]) not in started
            self.assertTrue(any(what in COSTLY or (unheard and what.startswith("agent"))
                                for _, what in near), (a, near))

    def check_units(self, b, units):
        rows = {r["file"]: r for r in
                self.rows(f"SELECT * FROM test WHERE build = {b['build']}")}
        self.assertEqual({f: r["verdict"] for f, r in rows.items()},
                         {f: u.verdict for f, u in units.items()}, b)
        for name, u in units.items():
            if u.output is not None:
                self.assertEqual(rows[name]["log_len"], len(u.output), rows[name])

    def check_results(self):
        for (repo, ref, oid), units in self.expected.items():
            path = self.path("results", repo, oid)
            self.assertTrue(os.path.exists(path), f"no result file of {repo} {oid}")
            self.assertEqual(os.readlink(self.path("results", oid)), f"{repo}/{oid}")
            if oid in self.bad:
                continue
            result = read_result(path)
            verdicts = {u.verdict for u in units.values()}
            self.assertEqual(result.head["verdict"], "failed" if "failed" in verdicts else "passed")
            self.assertEqual(result.notes, [], path)
            self.assertEqual({name: verdict for verdict, name, _ in result.units},
                             {name: u.verdict for name, u in units.items()}, path)
            for _, name, output in result.units:
                if units[name].output is not None:
                    self.assertTrue(output == units[name].output,
                                    f"{path}: {name}: {len(output)} bytes, not "
                                    f"{len(units[name].output)} as written")


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--keep", action="store_true", help="keep the directory of a failed run")
    o, rest = parser.parse_known_args()
    ChaosTest.seconds, ChaosTest.seed, ChaosTest.keep = o.seconds, o.seed, o.keep
    sys.argv[1:] = rest


if __name__ == "__main__":
    options()
    harness.main()
