"""scripts/bench --scale: many runners and many queued tasks on one dispatcher.

The runners are the real agents with a TCP connection each (bench_fleet.c); their executors only wait.
Work gets into the queue as it always does, by submissions and plans: half of it scripts, a job and a task
of its own each, half of it test files that are handed out one by one."""
import json
import os
import resource
import subprocess
import time

import __main__ as bench

SCRIPTS, UNITS = 1000, 100000  # at most so many a build (BUILD_JOBS_MAX, BUILD_UNITS_MAX)
JOIN_MS = 5000                 # runners are started over so long: their heartbeats are spread
IDLE_S, STEADY_S, FULL_S = 20, 15, 10
WEAR = 520                     # frames each way, after which a connection takes all the memory it ever will
WORK_MS = (2000, 8000)         # a task, when the fleet works: 2,000 of 10,000 runners end one each second
SPARE_FDS = 200


def need_descriptors(runners):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < runners + SPARE_FDS:
        raise bench.Failed(
            f"{runners} connections need {runners + SPARE_FDS} open files a process, and the hard limit is {hard}; "
            f"raise it ('ulimit -Hn {runners + SPARE_FDS}' as root, 'docker run --ulimit nofile=...'), or "
            f"take a smaller fleet with --scale RUNNERS,TASKS")


class Fleet:
    """bench_fleet, told what to do line by line."""

    def __init__(self, system, server, runners, *more):
        self.process = system.processes.start(
            "fleet", os.path.join(bench.BUILD, "tests", "bench", "bench_fleet"), server, str(runners), *more,
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
        raise bench.Failed(f"the fleet ended at '{words[0]}'")

    def measure(self, pid, seconds):
        """Its figures, and the CPU of the process `pid` in per cent of a core."""
        before, began = bench.cpu_ns(pid), time.monotonic()
        got = self.tell("measure", seconds)
        got["cpu"] = (bench.cpu_ns(pid) - before) / (time.monotonic() - began) / 1e7
        return got

    def end(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.system.processes.running.remove(self.process)


def rss_mib(pid, what="VmRSS"):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(what)) / 1024


def echoes(system, runners, every_ms, join_ms, idle_s, wear):
    """The same connections on a bare ROUTER that only sends back."""
    p = system.processes.start("echo", os.path.join(bench.BUILD, "tests", "bench", "bench_floor"), "echo",
                               stdout=subprocess.PIPE, text=True)
    port = int(p.stdout.readline().rsplit(":", 1)[1]) - 1  # the fleet connects to the one behind
    fleet = Fleet(system, f"127.0.0.1:{port}", runners, str(every_ms))
    got = fleet.tell("join", join_ms)
    got.update(fleet.measure(p.pid, idle_s))
    fleet.tell("wear", wear)
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
        self.process = self.system.processes.start("dispatcher", bench.VOLT, "dispatcher", "--host", "127.0.0.1",
                                                   "--data", data, "--port", port)
        if not self.server:
            bench.wait_for("the dispatcher", lambda: os.path.exists(endpoint) and os.path.getsize(endpoint))
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
        return json.loads(bench.run(bench.VOLT, "status", "--dispatcher-server", self.server, "--json"))["queued"]


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
            raise bench.Failed(f"{dispatcher.queued()} of {want} tasks were queued after 300 s")
    return want, time.monotonic() - began


def restart(fleet, dispatcher):
    """kill -9; seconds from the new process' start to an answer, and until all runners are back."""
    dispatcher.kill()
    began = dispatcher.start()
    answered = fleet.tell("answers")["answered_ns"]
    back = fleet.tell("back", dispatcher.epoch)["back_ns"]
    return (answered - began) / 1e9, (back - began) / 1e9


def rows(system, runs, runners, tasks):
    need_descriptors(runners)
    Row = bench.Row
    short = runners < 1000
    idle_s, steady_s, full_s, join_ms = (1, 1, 1, 300) if short else (IDLE_S, STEADY_S, FULL_S, JOIN_MS)
    say = lambda what: bench.sys.stderr.write(f"bench: scale: {what}\n")

    wear = 16 if short else WEAR

    say("floor: echo")
    floor = echoes(system, runners, 1000 if short else 5000, join_ms, idle_s, wear)
    dispatcher = Dispatcher(system)
    dispatcher.start()
    fleet = Fleet(system, dispatcher.server, runners)
    say(f"{runners} runners")
    joined = fleet.tell("join", join_ms)
    fleet.tell("measure", 6 if not short else 1)  # all have taken the pace of a large fleet
    idle = fleet.measure(dispatcher.pid, idle_s)
    idle_rss = rss_mib(dispatcher.pid)
    yield Row(f"{runners} runners join over {join_ms / 1000:g} s, all registered after", "s", [joined["up_s"]],
              [("connected to a bare ROUTER", [floor["up_s"]])])
    yield Row(f"idle fleet of {runners}, a heartbeat each {runners * idle_s / idle['beat_n']:.1f} s: CPU", "%",
              [idle["cpu"]], [("bare ROUTER echo", [floor["cpu"]])], "< 10 %", lambda r: r.volt["median"] < 10)
    yield Row("heartbeat's answer, idle fleet, p50", "ms", [idle["beat_p50_ms"]],
              [("bare ROUTER echo", [floor["beat_p50_ms"]])])
    yield Row("heartbeat's answer, idle fleet, p99", "ms", [idle["beat_p99_ms"]],
              [("bare ROUTER echo", [floor["beat_p99_ms"]])])
    say("many heartbeats")
    fleet.tell("wear", wear)
    yield Row("dispatcher's RSS, idle fleet", "MiB", [rss_mib(dispatcher.pid)], [("bare ROUTER echo", [floor["rss"]])],
              note=f"{idle_rss:.0f} at first")

    say(f"{tasks} tasks")
    queued, took = fill(fleet, dispatcher, runners, tasks)
    yield Row(f"{queued + runners} tasks from submissions to the queue", "tasks/s", [(queued + runners) / took])
    fleet.tell("work", *((200, 600) if short else WORK_MS))
    fleet.tell("measure", 1 if short else WORK_MS[1] // 1000)
    say("steady work")
    steady = [fleet.measure(dispatcher.pid, steady_s) for _ in range(runs)]
    yield Row(f"{steady[0]['results_s']:.0f} tasks/s on {runners} runners, {tasks} queued: slot freed -> assign, p50",
              "ms", [s["assign_p50_ms"] for s in steady], [("bare ROUTER echo, p50", [floor["beat_p50_ms"]])])
    yield Row("slot freed -> assign, p99", "ms", [s["assign_p99_ms"] for s in steady],
              [("bare ROUTER echo, p99", [floor["beat_p99_ms"]])], "< 100 ms", lambda r: r.volt["median"] < 100)
    yield Row("heartbeat's answer meanwhile, p50", "ms", [s["beat_p50_ms"] for s in steady],
              [("bare ROUTER echo, p50", [floor["beat_p50_ms"]])])
    yield Row("heartbeat's answer meanwhile, p99", "ms", [s["beat_p99_ms"] for s in steady],
              [("bare ROUTER echo, p99", [floor["beat_p99_ms"]])])
    yield Row("CPU meanwhile", "%", [s["cpu"] for s in steady])
    if not short and dispatcher.queued() < tasks:
        raise bench.Failed(f"only {dispatcher.queued()} tasks are left in the queue")
    yield Row(f"dispatcher's RSS, {tasks} queued, {runners} runners at work", "MiB", [rss_mib(dispatcher.pid)],
              [("bare ROUTER echo", [floor["rss"]])], "< 1.5 GB",
              lambda r: r.volt["median"] * 1.048576 < 1500)

    restarts, reads = [], []
    for i in range(runs):
        say(f"kill -9, restart {i + 1} of {runs}")
        if i:
            fleet.tell("measure", 1 if short else 5)
        restarts.append(restart(fleet, dispatcher))
    after = fleet.measure(dispatcher.pid, steady_s)
    rss_after = rss_mib(dispatcher.pid)
    highest = rss_mib(dispatcher.pid, "VmHWM")
    say("full load")
    fleet.tell("work", 0, 0)
    full = [fleet.measure(dispatcher.pid, full_s) for _ in range(runs)]
    commits = [bench.program("floor", "sqlite", 20000 if not short else 1000, system.work)["rate"] for _ in range(runs)]
    fleet.end()
    dispatcher.stop()
    for _ in range(runs):
        reads.append(bench.program("floor", "read", system.path("scale", "volt.db"), "build", "job", "task", "test"))
    yield Row(f"restart after kill -9 with {tasks} queued, until it answers", "s", [r[0] for r in restarts],
              [(f"SQLite reads those {reads[0]['rows']:.0f} rows", [r["s"] for r in reads])], "< 10 s",
              lambda r: r.volt["median"] < 10)
    yield Row(f"... until all {runners} runners are back", "s", [r[1] for r in restarts],
              [], "< 30 s", lambda r: r.volt["median"] < 30)
    yield Row("slot freed -> assign after that, p99", "ms", [after["assign_p99_ms"]])
    yield Row("dispatcher's RSS after that", "MiB", [rss_after], note=f"highest {highest:.0f}")
    yield Row(f"durable results, all {runners} runners without a pause", "tasks/s", [s["results_s"] for s in full],
              [("SQLite, a row a commit", commits)])
    yield Row("slot freed -> assign under that load, p99", "ms", [s["assign_p99_ms"] for s in full])
