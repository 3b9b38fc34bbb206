"""Everything is killed, stopped, cut off and started while commits come; each gets exactly one verdict.

A part of the commits have pipelines of all kinds, whose scripts note what they see (chaos_jobs.py).
A seed decides what happens to whom and when; the machine decides the rest.  Each process has a host
of its own behind a link that is cut, slow or lossy at times; where the machine allows no network
namespaces, all is on loopback and the links are well.  Then the faults stop, and what was pushed is
compared with the event table, what each `volt tail` showed, the stored logs and the result files.

    test_chaos.py [--seconds S] [--seed N] [--keep]
"""
import argparse
import collections
import contextlib
import glob
import heapq
import os
import random
import shutil
import signal
import sys
import time

try:
    import msgpack  # noqa: F401 - for chaos_check
except ImportError:
    sys.exit(77)

import harness
import lan
from chaos_check import LEASE_S, Checks
from chaos_job_check import JobChecks
from chaos_faults import RUNNERS_MAX, RUNNERS_MIN, Faults
from chaos_work import REPOSITORIES, Pushes, Tail
from harness import Case, wait_for

SECONDS, SEED = 30, 1  # of faults; what follows them takes about as long
FAULT_EVERY_S = 0.35
CLEAN_UP_S = 5  # until a new agent has ended what one before it left
CACHE_BYTES = 1 << 20  # so that some have to go
IDLE_MAX = 8  # looks, half a second apart, at free slots beside waiting work
SETTLE_S = 300  # without a build that ends: guards against a hang


class ChaosTest(Pushes, Faults, Checks, JobChecks, Case):
    seconds, seed, keep = SECONDS, SEED, False

    def test_each_commit_gets_exactly_one_verdict(self):
        self.rng = random.Random(self.seed)
        self.killed = True  # looked at below, with more patience
        self.counts = collections.Counter()
        self.plan, self.plan_n = [], 0  # what is to be done when
        self.stopped = {}  # {pid: True}
        self.hurt = []  # [from, until in wall ms, runner, what] of all that may cost an attempt
        self.deserted = {}  # {runner: its item of hurt} of those that left without ending their tasks
        self.unwell = set()  # hosts whose link is not as it should be
        self.disks = {}  # {process: (directory, size of its file system)}
        self.filled, self.full = set(), {}  # processes whose disk is full; {process: until when}
        self.points = collections.defaultdict(list)  # {role: [point of kill.def]}
        for name, role in harness.kill_points():
            self.points[role].append(name)
        self.armed, self.points_n = {}, 0  # {mark: (process, point, hurt or None)}
        self.died = set()  # of these, those that have died and were not seen yet
        self.asked = []  # commands that may not have ended
        self.canceled = set()  # builds that somebody asked to cancel
        self.rebuilt = collections.Counter()  # {(repo, ref, oid): times it was asked for}
        self.drained = set()  # runners that may leave
        self.said_at_end = collections.Counter()  # {(role, words): of those that a full disk ended}
        self.idle, self.status_at = [], 0  # what was seen of free slots, when next looked
        self.resume_at = 0
        self.modes_seen = 0  # events looked through for cordoned runners
        self.expected = {}  # {(repo, ref, oid): Work}
        self.repositories, self.dice, self.pushed = {}, {}, {}
        for name in ("ran", "slots"):  # what is noted in files of its own
            os.makedirs(self.path("notes", name))
        self.make_secret()
        self.environment["ASAN_OPTIONS"] = "detect_leaks=0"  # kills leave none to look
        self.set_up_network()
        try:
            self.set_up_all()
            self.rage()
            self.settle()
            self.stop_all()
            self.check()
        except BaseException:
            self.report(1)
            if self.keep:
                self.keep_directory()
            raise
        self.report(0)

    def keep_directory(self):
        kept = f"/tmp/volt-chaos-{self.seed}-{os.getpid()}"
        shutil.copytree(self.dir, kept, symlinks=True,  # sockets cannot be copied
                        ignore=lambda path, names: [n for n in names if n.endswith(".sock")])
        print(f"kept: {kept}", file=sys.stderr)

    def report(self, violations):
        kinds = collections.defaultdict(list)
        for what, n in sorted(self.counts.items()):
            kind, _, rest = what.partition(" ")
            if kind in ("kill", "arm", "point", "stop", "end", "scale", "cut", "weather", "disk", "ask"):
                kinds[kind].append(f"{n} {rest}")
            else:
                kinds[""].append(f"{n} {what}")
        faults = "; ".join(f"{kind}: {', '.join(v)}" if kind else ", ".join(v)
                           for kind, v in sorted(kinds.items()))
        print(f"seed {self.seed}, {self.seconds:g} s: {len(self.expected)} commits, {faults}; "
              f"{violations} violations", file=sys.stderr)
        for (role, *said), n in self.said_at_end.items():
            print(f"a full disk ended {n} {role}: {' '.join(said)}", file=sys.stderr)
        if violations:
            preset = os.path.basename(os.path.dirname(harness.VOLT)) or "debug"
            print(f"again: scripts/chaos --minutes {self.seconds / 60:g} --seed {self.seed} "
                  f"--preset {preset} --keep", file=sys.stderr)

    # ---- hosts and processes ----

    def set_up_network(self):
        self.lan = None
        try:
            lan.isolate()
            self.lan = lan.Lan()
            for name in ("dispatcher", "desk", "tail", "steady",
                         *(f"observer-{name}" for name in REPOSITORIES),
                         *(f"runner{i}" for i in range(1, RUNNERS_MAX + 1))):
                self.lan.host(name)
        except OSError as e:
            self.lan = None
            print(f"no network namespaces here ({e}): all on loopback, no link is cut",
                  file=sys.stderr)
            return
        self.lan.start(self.seed)
        self.addCleanup(self.end_network)
        self.set_up_disks()

    def set_up_disks(self):
        """Those that are filled have a file system of their own, in memory."""
        self.disks["dispatcher"] = (self.path("data"), 1 << 30)
        for name in self.lan.hosts:
            if name.startswith(("runner", "observer")):
                self.disks[name] = (self.path(name + ".d"), 256 << 20)
        for path, size in self.disks.values():
            os.mkdir(path)
            lan.mount_tmpfs(path, size)
            self.addCleanup(lan.unmount, path)

    def end_network(self):
        if self.lan:
            counts = self.lan.close()
            print("packets: " + ", ".join(f"{n} {what}" for what, n in counts.items()),
                  file=sys.stderr)

    def host(self, name):
        """Where the process of this name lives."""
        if not self.lan:
            return contextlib.nullcontext()
        return self.lan.hosts.get(name) or self.lan.hosts["desk"]

    def start(self, name, *args, **kw):
        with self.host(name):
            return super().start(name, *args, **kw)

    def volt(self, *args, **kw):
        with self.host("desk"):
            return super().volt(*args, **kw)

    def set_up_all(self):
        self.start_dispatcher(0)
        self.boss.wait_said("ready at ")
        self.server = self.boss.said().split("ready at ")[1].split(",")[0]
        self.watchers, self.agents, self.wanted = {}, {}, set()
        self.slots = {f"runner{i}": self.rng.randint(1, 3) for i in range(1, RUNNERS_MAX + 1)}
        self.chain = Tail(self, "tail", "--results", self.path("results"))  # killed and stopped
        self.steady = Tail(self, "steady")  # only stopped
        self.tails = [self.chain, self.steady]
        for tail in self.tails:
            tail.start()
        for name in REPOSITORIES:
            self.begin_repository(name)
            self.start_observer(name)
        for name in list(self.slots)[:RUNNERS_MIN + 1]:
            self.new_runner(name)
        # The first sight of a repository is its newest commit, so all others come after it.
        wait_for("the first builds", lambda: self.chain.read() or len(self.chain.ended) == 2)

    def start_dispatcher(self, port, environment=None):
        self.boss = self.start("dispatcher", "dispatcher", "--port", str(port), "--host",
                               self.lan.hosts["dispatcher"].address if self.lan else "localhost",
                               "--data", self.path("data"), "--heartbeat", "200ms",
                               "--lease", f"{LEASE_S}s", environment=environment)

    def start_observer(self, name, environment=None):
        self.watchers[name] = self.observer("--policy", "every", self.repositories[name].path,
                                            name="observer-" + name, environment=environment)

    def new_runner(self, name):
        self.wanted.add(name)
        self.start_agent(name)

    def start_agent(self, name, environment=None):
        if name not in self.wanted or (name in self.agents and self.agents[name].running()):
            return  # it left meanwhile, or has come back
        if name in self.deserted:
            self.deserted.pop(name)[1] = int((time.time() + CLEAN_UP_S) * 1000)
        self.agents[name] = self.runner(
            "--slots", str(self.slots[name]), "--cache-bytes", str(CACHE_BYTES), "--secrets",
            self.path("secrets"), "--secrets-for", "*:*", name=name, wait=False, environment=environment)

    def live(self):
        return sorted(n for n in self.wanted if n in self.agents and self.agents[n].running())

    # ---- the plan ----

    def later(self, seconds, what, *args):
        self.plan_n += 1
        heapq.heappush(self.plan, (time.monotonic() + seconds, self.plan_n, what, args))

    def do_what_is_due(self):
        while self.plan and self.plan[0][0] <= time.monotonic():
            _, _, what, args = heapq.heappop(self.plan)
            what(*args)

    def rage(self):
        end = time.monotonic() + self.seconds
        self.schedule(self.seconds, FAULT_EVERY_S)
        for name in REPOSITORIES:
            self.later(0, self.pushes, name)
        while time.monotonic() < end:
            self.do_what_is_due()
            self.look()
            self.resume_cordoned()
            time.sleep(0.02)

    def resume_cordoned(self):
        """A runner that five attempts in a row were lost on is cordoned: here it is not its fault."""
        for e in self.chain.events[self.modes_seen:]:
            if e["kind"] == "runner_mode" and e.get("mode") == "cordon" and e["why"] != "chaos":
                self.counts["cordoned"] += 1
                self.later(2, self.resume, e["runner"])
        self.modes_seen = len(self.chain.events)

    def look(self):
        """Nothing may end that was not told to."""
        self.look_for_secret()
        for tail in self.tails:
            tail.read()
        self.asked = [p for p in self.asked if p.running()]
        self.look_at_points()
        for p in (self.boss, *(t.process for t in self.tails), *self.watchers.values(),
                  *self.agents.values()):
            if not p.running() and not self.told(p) and not self.ended(p.name, p):
                self.fail(f"{p.name} ended by itself with {p.popen.returncode}")

    # ---- the end ----

    def settle(self):
        """No more faults, everybody is there: all must come true."""
        for pid in list(self.stopped):
            self.go_on(pid)
        again = {self.restart, self.chain.start, self.when_ended, self.mend, self.replug,
                 self.resume, self.disk_freed, self.submit}
        due, self.plan = sorted(self.plan, key=lambda at: at[:2]), []
        for _, _, what, args in due:
            if what in again:
                self.later(0, what, *args)
        for name in set(self.agents) - self.wanted:
            self.wanted.add(name)
            self.when_ended(self.agents[name], self.restart, name)
        for mark in list(self.armed):  # nobody shall die at the very end
            self.disarm(mark)
        self.wait_for_builds()
        wait_for("all runners", lambda: self.resume_all() or self.all_up())
        wait_for("empty spools", lambda: not self.spools(), 60)
        self.check_rest()
        late = Tail(self, "late")
        late.start()
        self.tails.append(late)

    def all_up(self):
        self.look()
        self.do_what_is_due()
        runners = self.json("runners", rc=None)
        return {r["name"] for r in runners if r["state"] == "up" and r.get("mode") == "run"
                } >= set(self.agents)

    def resume_all(self):
        """Commands have no order among themselves: a `drain` may have come behind its `resume`.  On a
        busy machine those of the last time may still be under way."""
        if time.monotonic() > self.resume_at and not self.asked:
            self.resume_at = time.monotonic() + 5
            for name in self.agents:
                self.resume(name)

    def wait_for_builds(self):
        began = moved = time.monotonic()
        done = 0
        while (self.plan or self.asked or not self.chain.all_done()
               or not self.chain.ended >= set(self.expected)):
            self.do_what_is_due()
            self.look()
            self.resume_all()
            self.look_for_idle_slots()
            if len(self.chain.done) != done:
                done, moved = len(self.chain.done), time.monotonic()
            if time.monotonic() > moved + SETTLE_S:
                self.show_status()
                missing = sorted(set(self.expected) - self.chain.ended)
                going = sorted(set(self.chain.builds) - self.chain.done)
                self.fail(f"no verdict for {len(missing)} commits: {missing[:5]}, and for builds {going[:5]}")
            time.sleep(0.05)
        self.counts["s to settle"] = int(time.monotonic() - began)

    def look_for_idle_slots(self):
        """Now that nothing hinders anybody, no test waits for a slot while one is free."""
        if time.monotonic() < self.status_at:
            return
        self.status_at = time.monotonic() + 0.5
        status = self.json("status", rc=None)
        waits = status and [w for w in status[0]["waiting"] if w["kind"] != "plan"
                            and "for a free slot" in w["why"]]
        if not waits or status[0]["busy"] >= status[0]["slots"] or not self.all_up():
            self.idle = []
            return
        self.idle.append(status[0])
        if len(self.idle) > IDLE_MAX:
            self.fail(f"slots are free, and work waits for them: {self.idle[0]} {self.idle[-1]}")

    def check_rest(self):
        """Nobody holds anything any more."""
        status, = self.json("status")
        self.assertEqual([status[k] for k in ("busy", "builds", "queued", "running", "waiting")],
                         [0, 0, 0, [], []])
        self.assertGreater(status["slots"], 0)

    def spools(self):
        return glob.glob(self.path("*.d", "spool", "*"))

    def show_status(self):
        for command in ("status", "runners"):
            print(self.ask(command, rc=None).decode(), file=sys.stderr)

    def stop_all(self):
        for p in self.agents.values():
            p.wait_said("registered")  # else SIGTERM may come before it can be told anything
        for p in self.agents.values():
            self.tell(p, signal.SIGTERM)
        for name, p in self.agents.items():
            self.assertEqual(p.wait(60), 0, name)
        for name, p in self.watchers.items():
            self.tell(p, signal.SIGTERM)
            self.assertEqual(p.wait(60), 0, name)

        def quiet():
            seen = [len(t.events) for t in self.tails]
            time.sleep(1.2)  # a head beat tells it what it has missed
            for tail in self.tails:
                tail.read()
            return seen == [len(t.events) for t in self.tails] and len(set(seen)) == 1
        wait_for("the last event", quiet)
        self.tell(self.boss, signal.SIGTERM)
        self.assertEqual(self.boss.wait(60), 0)
        for tail in self.tails:
            self.tell(tail.process, signal.SIGTERM)
            self.assertEqual(tail.process.wait(60), 0)
            tail.read()
        self.assert_nothing_left()


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
