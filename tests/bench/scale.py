"""scripts/bench --scale: many runners and many queued tasks on one dispatcher.

The runners are the real agents with a TCP connection each (bench_fleet.c); their executors only wait.
Work gets into the queue as it always does, by submissions and plans: half of it scripts, a job and a task
of its own each, half of it test files that are handed out one by one."""
import os
import resource
import subprocess
import sys
import time

from table import Row
from testbed import Failed, cpu_ns, program, rss_mib, status, tool, volt_program, wait_for

SCRIPTS, UNITS = 1000, 100000  # at most so many a build (BUILD_JOBS_MAX, BUILD_UNITS_MAX)
SPARE_FDS = 200
ECHO = "bare ROUTER echo"


def need_descriptors(runners):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < runners + SPARE_FDS:
        raise Failed(
            f"{runners} connections need {runners + SPARE_FDS} open files a process, and the hard limit is {hard}; "
            f"raise it ('ulimit -Hn {runners + SPARE_FDS}' as root, 'docker run --ulimit nofile=...'), or "
            f"take a smaller fleet with --scale RUNNERS,TASKS")


class Fleet:
    """bench_fleet, told what to do line by line."""

    def __init__(self, system, server, runners, *more):
        self.process = system.processes.start(
            "fleet", tool("fleet"), server, str(runners), *more,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.system = system

    def tell(self, *words):
        try:
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
        except BrokenPipeError:
            pass  # its last words are in its log
        said = {}
        for line in self.process.stdout:
            if line == "done\n":
                return said
            name, value = line.split()
            said[name] = float(value)
        raise Failed(f"the fleet ended at '{words[0]}'")

    def measure(self, pid, seconds):
        """Its figures, and the CPU of the process `pid` in per cent of a core."""
        before, began = cpu_ns(pid), time.monotonic()
        got = self.tell("measure", seconds)
        got["cpu"] = (cpu_ns(pid) - before) / (time.monotonic() - began) / 1e7
        return got

    def end(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.system.processes.running.remove(self.process)


def echoes(system, runners, sizes):
    """The same connections on a bare ROUTER that only sends back."""
    p = system.processes.start("echo", tool("floor"), "echo",
                               stdout=subprocess.PIPE, text=True)
    port = int(p.stdout.readline().rsplit(":", 1)[1]) - 1  # the fleet connects to the one behind
    fleet = Fleet(system, f"127.0.0.1:{port}", runners, str(sizes.beat_ms))
    got = fleet.tell("join", sizes.join_ms)
    got.update(fleet.measure(p.pid, sizes.idle_s))
    fleet.tell("wear", sizes.wear)
    got["rss"] = rss_mib(p.pid)
    fleet.end()
    system.processes.stop(p)
    return got


class Dispatcher:
    def __init__(self, system):
        self.system = system
        self.epoch = 0
        self.server = None

    def start(self):
        data = self.system.path("scale")
        endpoint = os.path.join(data, "endpoint")
        port = self.server.rsplit(":", 1)[1] if self.server else "0"
        if os.path.exists(endpoint):
            os.unlink(endpoint)
        self.epoch += 1
        began = time.monotonic_ns()
        self.process = self.system.processes.start("dispatcher", volt_program(), "dispatcher", "--host", "127.0.0.1",
                                                   "--data", data, "--port", port)
        if not self.server:
            wait_for("the dispatcher", lambda: os.path.exists(endpoint) and os.path.getsize(endpoint))
            with open(endpoint) as f:
                self.server = f.read().split()[0]
        return began

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.system.processes.running.remove(self.process)

    def stop(self):
        self.system.processes.stop(self.process)

    def queued(self):
        return status(self.server)["queued"]


def fill(fleet, dispatcher, runners, tasks):
    """`tasks` queued beside those that run, and some more for what is worked off meanwhile; how many
    wait then, and how long it took."""
    scripts = max(tasks // 2 // SCRIPTS, 1)
    each = min(UNITS, tasks // 2)
    files = -(-(tasks - scripts * SCRIPTS + runners + tasks // 8) // each)
    began = time.monotonic()
    fleet.tell("work", 10 ** 7, 10 ** 7)
    fleet.tell("submit", scripts, f"scripts-{SCRIPTS}", 0)
    fleet.tell("submit", files, f"units-{each}", scripts)
    want = scripts * SCRIPTS + files * each - runners
    while dispatcher.queued() < want:
        fleet.tell("measure", 1)
        if time.monotonic() - began > 300:
            raise Failed(f"{dispatcher.queued()} of {want} tasks were queued after 300 s")
    return want, time.monotonic() - began


def restart(fleet, dispatcher):
    """kill -9; seconds from the new process' start to an answer, and until all runners are back."""
    dispatcher.kill()
    began = dispatcher.start()
    answered = fleet.tell("answers")["answered_ns"]
    back = fleet.tell("back", dispatcher.epoch)["back_ns"]
    return (answered - began) / 1e9, (back - began) / 1e9


def say(what):
    print(f"bench: scale: {what}", file=sys.stderr)


class Sizes:
    """How long each part is measured; a small fleet only shows that the measuring works."""

    def __init__(self, runners):
        small = runners < 1000
        self.join_ms, self.beat_ms, self.settle_s, self.idle_s = (300, 1000, 1, 1) if small else (5000, 5000, 6, 20)
        self.wear = 16 if small else 520  # frames each way, after which a connection has taken all memory it will
        self.work_ms = (200, 600) if small else (2000, 8000)  # a task: of 10,000 runners 2,000 end one each second
        self.steady_s, self.full_s, self.commits = (1, 1, 500) if small else (15, 10, 5000)


def idle_rows(fleet, dispatcher, floor, runners, sizes):
    joined = fleet.tell("join", sizes.join_ms)
    fleet.tell("measure", sizes.settle_s)  # all have taken the pace of a large fleet
    idle = fleet.measure(dispatcher.pid, sizes.idle_s)
    fresh = rss_mib(dispatcher.pid)
    fleet.tell("wear", sizes.wear)
    yield Row(f"{runners} runners join over {sizes.join_ms / 1000:g} s, all registered after", "s", [joined["up_s"]],
              [("connected to a bare ROUTER", [floor["up_s"]])])
    yield Row(f"idle fleet of {runners}, a heartbeat each {runners * sizes.idle_s / idle['beat_n']:.1f} s: CPU", "%",
              [idle["cpu"]], [(ECHO, [floor["cpu"]])], "< 10 %", lambda r: r.volt["median"] < 10)
    for part in "p50", "p99":
        yield Row(f"heartbeat's answer, idle fleet, {part}", "ms", [idle[f"beat_{part}_ms"]],
                  [(ECHO, [floor[f"beat_{part}_ms"]])])
    yield Row(f"dispatcher's RSS, idle fleet, {fresh:.0f} MiB at first", "MiB", [rss_mib(dispatcher.pid)],
              [(ECHO, [floor["rss"]])])


def steady_rows(fleet, dispatcher, floor, runs, runners, tasks, sizes):
    fleet.tell("work", *sizes.work_ms)
    fleet.tell("measure", -(-sizes.work_ms[1] // 1000))
    steady = [fleet.measure(dispatcher.pid, sizes.steady_s) for _ in range(runs)]
    left = dispatcher.queued()
    if left < tasks and runners >= 1000:
        raise Failed(f"only {left} tasks are left in the queue")
    rate = sum(s["assigned_s"] for s in steady) / runs
    for what, name in ("slot freed -> assign", "assign"), ("heartbeat's answer", "beat"):
        for part in "p50", "p99":
            goal = ("< 100 ms", lambda r: r.volt["median"] < 100) if (name, part) == ("assign", "p99") else ()
            yield Row(f"{rate:.0f} tasks/s, {tasks} queued: {what}, {part}", "ms",
                      [s[f"{name}_{part}_ms"] for s in steady],
                      [("heartbeat of a " + ECHO, [floor[f"beat_{part}_ms"]])], *goal)
    yield Row("CPU meanwhile", "%", [s["cpu"] for s in steady])
    yield Row(f"dispatcher's RSS, {tasks} queued, {runners} runners at work", "MiB", [rss_mib(dispatcher.pid)],
              [(ECHO, [floor["rss"]])], "< 1.5 GB", lambda r: r.volt["median"] * 1.048576 < 1500)


def restart_rows(fleet, dispatcher, runs, runners, tasks, sizes):
    times = []
    for i in range(runs):
        say(f"kill -9, restart {i + 1} of {runs}")
        times.append(restart(fleet, dispatcher))
        fleet.tell("measure", sizes.settle_s)
    after = fleet.measure(dispatcher.pid, sizes.steady_s)
    yield Row(f"restart after kill -9 with {tasks} queued, until it answers", "s", [t[0] for t in times], [],
              "< 10 s", lambda r: r.volt["median"] < 10)
    yield Row(f"... until all {runners} runners are back", "s", [t[1] for t in times], [], "< 30 s",
              lambda r: r.volt["median"] < 30)
    yield Row("slot freed -> assign after that, p99", "ms", [after["assign_p99_ms"]])
    yield Row("dispatcher's RSS after that, and the highest", "MiB",
              [rss_mib(dispatcher.pid), rss_mib(dispatcher.pid, "VmHWM")])


def full_rows(system, fleet, dispatcher, runs, runners, sizes):
    fleet.tell("work", 0, 0)
    full = [fleet.measure(dispatcher.pid, sizes.full_s) for _ in range(runs)]
    commits = [program("floor", "sqlite", sizes.commits, system.work)["rate"] for _ in range(runs)]
    yield Row(f"durable results, all {runners} runners without a pause", "tasks/s", [s["results_s"] for s in full],
              [("SQLite, a row a commit", commits)])
    waits = [s["assign_p99_ms"] for s in full if "assign_p99_ms" in s]
    if waits:  # a small queue is empty by then
        yield Row("slot freed -> assign under that load, p99", "ms", waits)


def rows(system, runs, runners, tasks):
    need_descriptors(runners)
    sizes = Sizes(runners)
    say("floor: echo")
    floor = echoes(system, runners, sizes)
    dispatcher = Dispatcher(system)
    dispatcher.start()
    fleet = Fleet(system, dispatcher.server, runners)
    say(f"{runners} runners")
    yield from idle_rows(fleet, dispatcher, floor, runners, sizes)
    say(f"{tasks} tasks")
    queued, took = fill(fleet, dispatcher, runners, tasks)
    yield Row(f"{queued + runners} tasks from submissions to the queue", "tasks/s", [(queued + runners) / took])
    say("steady work")
    yield from steady_rows(fleet, dispatcher, floor, runs, runners, tasks, sizes)
    yield from restart_rows(fleet, dispatcher, runs, runners, tasks, sizes)
    say("full load")
    yield from full_rows(system, fleet, dispatcher, runs, runners, sizes)
    fleet.end()
    dispatcher.stop()
    read = [program("floor", "read", system.path("scale", "volt.db"), "build", "job", "task", "test")
            for _ in range(runs)]
    yield Row(f"floor of the restart: SQLite reads those {read[0]['rows']:.0f} rows", "s", [r["s"] for r in read])
