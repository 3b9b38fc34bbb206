"""What happens to whom in a chaos run, and what is asked of the dispatcher meanwhile.

Each method named <group>_<what> of Faults is one kind of fault; False: there is nobody it could
happen to now."""
import contextlib
import os
import random
import signal
import time

import lan
from chaos_work import REPOSITORIES

RUNNERS_MIN, RUNNERS_MAX = 2, 6
# Kinds and how often they come, in proportion.
WEIGHTS = {
    "kill_dispatcher": 2, "kill_agent": 4, "kill_executor": 4, "kill_runner": 3,
    "kill_observer": 2, "kill_tail": 2,
    "stop_dispatcher": 1, "stop_agent": 2, "stop_executor": 2, "stop_observer": 1, "stop_tail": 1,
    "end_dispatcher": 1, "end_drained": 2, "end_interrupted": 1,
    "scale_up": 2, "scale_down": 1,
    "ask_cancel": 2, "ask_rebuild": 2, "ask_drain": 1, "ask_cordon": 1,
}
POINT_WEIGHTS = {"arm_dispatcher": 3, "arm_agent": 2, "arm_executor": 2, "arm_observer": 1}
HOST_WEIGHTS = {  # what asks for network namespaces, and mounts
    "cut_both_ways": 3, "cut_one_way": 3, "cut_unplugged": 1, "cut_partition": 1, "cut_reset": 2,
    "weather_slow": 2, "weather_lossy": 2, "weather_disorder": 2,
    "disk_dispatcher": 2, "disk_runner": 2, "disk_observer": 1,
}
# An agent that comes back within the lease, a drain, a stopped executor, a connection that is reset
# and anything that is done to dispatcher, observers and tails cost no attempt.  (Ctrl-C does when
# the runner's bye finds no dispatcher.)
COSTLY = {"agent away", "agent stopped long", "executor killed", "runner killed", "interrupted",
          "cut", "weather", "disk", "dispatcher away"}
EVERYBODY = None  # whom a fault of the dispatcher's link hurts
ALONE = ""  # what is in a concurrency group, and ends when the dispatcher is silent for a lease
ARMED_S = 30  # who has not come to the point where it is to die by then lives on
FOREVER_S = 10**6
AFTER_S = 6  # a connection whose packets were lost may be silent for so long, by TCP's backoff


class Faults:
    def schedule(self, seconds, every_s):
        """The same for a seed on each machine: when which kind, and a number for its choices."""
        rng = random.Random(f"{self.seed} faults")
        weights = {**WEIGHTS, **(POINT_WEIGHTS if self.points else {}),
                   **(HOST_WEIGHTS if self.lan else {})}
        at = 0
        while True:
            at += min(rng.expovariate(1 / every_s), 4 * every_s)
            if at >= seconds:
                return
            kind = rng.choices(list(weights), list(weights.values()))[0]
            self.later(at, self.fault, kind, rng.getrandbits(32))

    def fault(self, kind, number):
        self.rng = random.Random(number)
        self.note(kind)
        if getattr(self, kind)() is not False:
            self.counts[kind.replace("_", " ", 1).replace("_", " ")] += 1

    def hurts(self, name, what, seconds=0):
        now = int(time.time() * 1000)
        self.note("  hurts", name, what, seconds)
        self.hurt.append([now, now + int(seconds * 1000), name, what])
        return self.hurt[-1]

    def misses_dispatcher(self, seconds):
        self.hurts(ALONE, "dispatcher away", seconds + AFTER_S)

    def note(self, *what):
        """In the diary of the run, for those who look into a kept directory."""
        with open(self.path("diary"), "a") as f:
            print(int(time.time() * 1000), *what, file=f)

    # ---- how ----

    def told(self, p):
        return getattr(p, "told", False)

    def kill(self, p):
        self.note("  kill", p.name, p.pid)
        p.told = True
        self.stopped.pop(p.pid, None)
        p.kill()

    def tell(self, p, number):
        self.note("  signal", p.name, p.pid, number)
        p.told = True
        p.send(number)

    def when_ended(self, p, then, *args):
        """Calls then(*args) soon after p's end."""
        if p.running():
            self.later(0.05, self.when_ended, p, then, *args)
        else:
            then(*args)

    def pause(self, pid, seconds):
        self.note("  stop", pid, seconds)
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

    def restart(self, name, **environment):
        """Starts a process of this name again, unless somebody else has."""
        if name == "dispatcher":
            self.misses_dispatcher(0)
            if not self.boss.running():
                self.start_dispatcher(self.port, environment)
        elif name in self.slots:
            self.start_agent(name, environment)
        elif not self.watchers[name.removeprefix("observer-")].running():
            self.start_observer(name.removeprefix("observer-"), environment)

    def ended(self, name, p):
        """A process has ended that was not told to: true when it may."""
        self.look_at_points()
        if name in self.died:
            self.died.remove(name)
            p.told = True
            self.later(random.choice((0, 0, 0.5)), self.restart, name)
        elif time.monotonic() < self.full.get(name, 0) + AFTER_S:
            p.told = True
            said = p.said().replace(self.dir, "").splitlines()[-1:]
            self.note("ended on a full disk", name, said)
            self.said_at_end[name.rstrip("0123456789"), *said] += 1
            self.later(1, self.restart, name)
        elif name in self.drained and p.popen.returncode == 0:
            p.told = True
            self.later(0.5, self.restart, name)
        return self.told(p)

    # ---- points ----

    def arm(self, name, role):
        """The process is started again so that it dies at some point."""
        at, mean = self.rng.choice(self.points[role]), 20 if role == "dispatcher" else 3
        number = 1 + int(self.rng.expovariate(1 / mean))
        self.points_n += 1
        mark = self.path(f"point{self.points_n}")
        hurt = self.hurts(name, "executor killed", ARMED_S) if role == "executor" else None
        self.armed[mark] = (name, at, hurt)
        self.later(ARMED_S, self.disarm, mark)
        self.note("  arm", name, at, number)
        self.restart(name, VOLT_KILL_AT=f"{at}:{number}:{mark}")

    def look_at_points(self):
        """Takes note of those that have died where they were to die."""
        for mark, (name, at, hurt) in list(self.armed.items()):
            if os.path.exists(mark):
                del self.armed[mark]
                self.counts[f"point {at}"] += 1
                self.note("died at", at, name)
                if hurt:
                    hurt[1] = int(time.time() * 1000) + 1000
                else:
                    self.died.add(name)
                    if name in self.slots:
                        self.hurts(name, "agent killed")

    def disarm(self, mark):
        """Where the mark is there already, the process lives on."""
        try:
            open(mark, "x").close()
        except FileExistsError:
            return  # it has died
        if mark in self.armed:
            hurt = self.armed.pop(mark)[2]
            if hurt:
                hurt[1] = int(time.time() * 1000)

    def arm_dispatcher(self):
        if self.told(self.boss):
            return False
        self.kill(self.boss)
        self.arm("dispatcher", "dispatcher")

    def arm_agent(self):
        name = self.victim()
        if not name:
            return False
        self.hurts(name, "agent killed")
        self.kill(self.agents[name])
        self.arm(name, "agent")

    def arm_executor(self):
        name = self.victim()
        if not name:
            return False
        self.kill_whole(name)
        self.arm(name, "executor")

    def arm_observer(self):
        name = self.rng.choice(REPOSITORIES)
        if self.told(self.watchers[name]):
            return False
        self.kill(self.watchers[name])
        self.arm("observer-" + name, "observer")

    # ---- the dispatcher ----

    def kill_dispatcher(self):
        if self.told(self.boss):
            return False
        self.kill(self.boss)
        away = self.rng.choice((0, 0, 0.5, 2))
        self.misses_dispatcher(away)
        self.later(away, self.restart, "dispatcher")

    def end_dispatcher(self):
        """An upgrade."""
        if self.told(self.boss) or self.boss.pid in self.stopped:
            return False
        self.misses_dispatcher(0)
        self.tell(self.boss, signal.SIGTERM)
        self.when_ended(self.boss, self.restart, "dispatcher")

    def stop_dispatcher(self):
        if self.told(self.boss):
            return False
        seconds = self.rng.choice((0.2, 1, 3))
        self.misses_dispatcher(seconds)
        self.pause(self.boss.pid, seconds)

    # ---- runners ----

    def victim(self):
        """A runner whose agent is there and was not told to go, rather a busy one, or None."""
        names = [n for n in self.live() if not self.told(self.agents[n])]
        busy = [n for n in names if n in self.chain.busy.values()]
        if busy and self.rng.random() < 0.7:
            names = busy
        return self.rng.choice(names) if names else None

    def kill_agent(self):
        name = self.victim()
        if not name:
            return False
        away = self.rng.choice((0, 0, 0.3, 1, 3))
        self.hurts(name, "agent away" if away >= 1 else "agent killed")
        self.kill(self.agents[name])
        self.later(away, self.restart, name)

    def pick_executor(self, name):
        found = self.executors(self.agents[name])
        return found[self.rng.choice(sorted(found))] if found else None

    def kill_executor(self):
        name = self.victim()
        pid = self.pick_executor(name) if name else None
        if not pid:
            return False
        self.note("  kill executor", pid)
        self.hurts(name, "executor killed")
        self.stopped.pop(pid, None)
        with contextlib.suppress(ProcessLookupError):  # it may have died at a point just now
            os.kill(pid, signal.SIGKILL)

    def kill_whole(self, name):
        """What its tasks started goes on, until an agent comes back and ends it."""
        self.hurts(name, "runner killed")
        if name not in self.deserted:
            self.deserted[name] = self.hurts(name, "deserted", FOREVER_S)
        executors = self.executors(self.agents[name])
        if self.rng.random() < 0.5:
            self.kill(self.agents[name])
        for pid in executors.values():
            self.note("  kill executor", pid)
            self.stopped.pop(pid, None)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.agents[name].running():
            self.kill(self.agents[name])

    def kill_runner(self):
        name = self.victim()
        if not name:
            return False
        self.kill_whole(name)
        self.later(self.rng.choice((0, 0, 0.3, 1, 3)), self.restart, name)

    def scale_down(self):
        """To few at one blow: those that go come back with a later scale_up, or at the end."""
        names = [n for n in self.live() if not self.told(self.agents[n])]
        going = names[:self.rng.randint(0, max(0, len(self.wanted) - RUNNERS_MIN))]
        for name in going:
            self.wanted.remove(name)
            if self.rng.random() < 0.5 and self.agents[name].pid not in self.stopped:
                self.hurts(name, "drained")
                self.tell(self.agents[name], signal.SIGTERM)
            else:
                self.kill_whole(name)
        return bool(going)

    def scale_up(self):
        coming = [n for n in self.slots if n not in self.wanted
                  and not (n in self.agents and self.agents[n].running())]
        coming = coming[:self.rng.randint(1, RUNNERS_MAX)]
        for name in coming:
            self.new_runner(name)
        return bool(coming)

    def end_drained(self):
        name = self.victim()
        if not name or self.agents[name].pid in self.stopped:
            return False
        self.hurts(name, "drained")
        self.tell(self.agents[name], signal.SIGTERM)
        self.when_ended(self.agents[name], self.restart, name)

    def end_interrupted(self):
        name = self.victim()
        if not name or self.agents[name].pid in self.stopped:
            return False
        self.hurts(name, "interrupted")
        self.tell(self.agents[name], signal.SIGINT)
        self.when_ended(self.agents[name], self.restart, name)

    def stop_agent(self):
        name = self.victim()
        if not name:
            return False
        seconds = self.rng.choice((0.3, 1, 3, 6))
        self.hurts(name, "agent stopped long" if seconds >= 1 else "agent stopped", seconds)
        self.pause(self.agents[name].pid, seconds)

    def stop_executor(self):
        name = self.victim()
        pid = self.pick_executor(name) if name else None
        if not pid:
            return False
        seconds = self.rng.choice((0.3, 1))
        self.hurts(name, "executor stopped", seconds)
        self.pause(pid, seconds)

    # ---- observers and tails ----

    def kill_observer(self):
        name = self.rng.choice(REPOSITORIES)
        if self.told(self.watchers[name]):
            return False
        self.kill(self.watchers[name])
        self.later(self.rng.choice((0, 0.3, 1.5)), self.restart, "observer-" + name)

    def stop_observer(self):
        name = self.rng.choice(REPOSITORIES)
        if self.told(self.watchers[name]):
            return False
        self.pause(self.watchers[name].pid, self.rng.choice((0.3, 1, 6)))

    def kill_tail(self):
        if self.told(self.chain.process):
            return False
        self.chain.process.told = True
        self.stopped.pop(self.chain.process.pid, None)
        self.chain.kill()
        self.later(self.rng.choice((0, 0.5, 2)), self.chain.start)

    def stop_tail(self):
        tail = self.rng.choice((self.chain, self.steady))
        if self.told(tail.process):
            return False
        self.pause(tail.process.pid, self.rng.choice((0.3, 1, 3, 10)))

    # ---- what people ask ----

    def command(self, *args):
        """Nobody waits for it; what it cannot reach in time does not happen."""
        self.note("  ask", *args)
        self.asked.append(self.start("desk", args[0], "--dispatcher-server", self.server,
                                     *args[1:]))
        return self.asked[-1]

    def ask_cancel(self):
        going = sorted(set(self.chain.builds) - self.chain.done)
        if not going:
            return False
        build = self.rng.choice(going)
        self.canceled.add(build)
        self.command("cancel", str(build), "--why", "chaos")

    def ask_rebuild(self):
        if not self.chain.done:
            return False
        build = self.rng.choice(sorted(self.chain.done))
        self.rebuilt[self.chain.builds[build]] += 1
        self.command("rebuild", str(build))

    def ask_drain(self):
        name = self.victim()
        if not name:
            return False
        self.hurts(name, "drained", 20)
        self.drained.add(name)
        self.command("drain", name)
        self.later(self.rng.choice((1, 3, 10)), self.resume, name)

    def ask_cordon(self):
        name = self.victim()
        if not name:
            return False
        self.command("cordon", name, "--why", "chaos")
        self.later(self.rng.choice((1, 3, 10)), self.resume, name)

    def resume(self, name):
        self.command("resume", name)

    # ---- disks ----

    def disk(self, name, rooms):
        """No more than `room` bytes can be added for some seconds."""
        path, size = self.disks[name]
        if name in self.filled:
            return False
        now = os.statvfs(path)
        used = (now.f_blocks - now.f_bfree) * now.f_frsize
        room, seconds = self.rng.choice(rooms), self.rng.choice((1, 3, 8))
        self.note("  disk", name, used, room, seconds)
        try:
            lan.resize_tmpfs(path, max(used + room, 4096))  # 0 would be no limit, which stays
        except OSError:  # it has grown meanwhile
            return False
        self.filled.add(name)
        self.full[name] = time.monotonic() + seconds
        self.later(seconds, self.disk_freed, name)
        return seconds

    def disk_freed(self, name):
        lan.resize_tmpfs(*self.disks[name])
        self.filled.discard(name)
        self.full[name] = time.monotonic()

    def disk_dispatcher(self):
        """Below the watermark, below what a log needs, or full."""
        seconds = self.disk("dispatcher", (20 << 20, 1 << 20, 0))
        if seconds:
            self.misses_dispatcher(seconds)
        return seconds

    def disk_runner(self):
        name = self.victim()
        seconds = self.disk(name, (1 << 20, 100 << 10, 0)) if name else False
        if seconds:
            self.hurts(name, "disk", seconds + AFTER_S)
        return seconds

    def disk_observer(self):
        return self.disk("observer-" + self.rng.choice(REPOSITORIES), (8 << 10, 0))

    # ---- the network ----

    def place(self):
        """A host whose link is well; the dispatcher's, on which all depend, less often."""
        hosts = [h for h in self.lan.hosts if h not in self.unwell and h != "desk"]
        live = set(self.live())
        hosts = [h for h in hosts if not h.startswith("runner") or h in live]
        weights = [0.7 if h == "dispatcher" else 1 for h in hosts]
        return self.rng.choices(hosts, weights)[0] if hosts else None

    def hurts_link(self, host, what, seconds):
        if host == "dispatcher":
            self.hurts(EVERYBODY, what, seconds + AFTER_S)
        elif host in self.slots:
            self.hurts(host, what, seconds + AFTER_S)

    def spoil(self, host, seconds, what, way="both", **how):
        self.note("  link", host, f"{seconds:.2f}", way, how)
        self.unwell.add(host)
        self.hurts_link(host, what, seconds)
        self.lan.link(host, way, **how)
        self.later(seconds, self.mend, host)

    def mend(self, host):
        if host in self.unwell:
            self.unwell.remove(host)
            self.lan.link(host)

    def cut(self, way):
        host = self.place()
        if not host:
            return False
        self.spoil(host, self.rng.choice((0.3, 1, 3, 8)), "cut", way, cut=True)

    def cut_both_ways(self):
        """No answer at all: TCP hangs."""
        return self.cut("both")

    def cut_one_way(self):
        return self.cut(self.rng.choice(("up", "down")))

    def cut_partition(self):
        """Some of the hosts see nobody else, not each other either."""
        hosts = [h for h in self.lan.hosts if h not in self.unwell and h not in ("desk", "dispatcher")]
        seconds = self.rng.choice((1, 3, 8))
        for host in self.rng.sample(hosts, len(hosts) // 2):
            self.spoil(host, seconds, "cut", cut=True)

    def cut_unplugged(self):
        host = self.place()
        if not host:
            return False
        seconds = self.rng.choice((0.3, 1, 3))
        self.unwell.add(host)
        self.hurts_link(host, "cut", seconds)
        with self.lan.hosts[host] as h:
            h.plug(False)
        self.later(seconds, self.replug, host)

    def replug(self, host):
        with self.lan.hosts[host] as h:
            h.plug(True)
        self.unwell.discard(host)

    def cut_reset(self):
        host = self.place()
        if not host:
            return False
        self.spoil(host, self.rng.choice((0.3, 1)), "reset", reset=True)

    def weather(self, **how):
        host = self.place()
        if not host:
            return False
        self.spoil(host, self.rng.uniform(1, 10), "weather",
                   self.rng.choice(("both", "both", "up", "down")), **how)

    def weather_slow(self):
        return self.weather(delay=self.rng.choice((0.01, 0.05, 0.2)),
                            jitter=self.rng.choice((0, 0.05, 0.2)),
                            rate=self.rng.choice((0, 1000000, 100000)))

    def weather_lossy(self):
        return self.weather(loss=self.rng.choice((0.01, 0.05, 0.2)),
                            delay=self.rng.choice((0, 0.02)))

    def weather_disorder(self):
        return self.weather(delay=0.02, jitter=0.02, reorder=self.rng.choice((0.05, 0.3)),
                            duplicate=self.rng.choice((0.02, 0.3)))
