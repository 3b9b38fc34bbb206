"""scripts/bench --tests: a suite of test files with skewed durations, spread over the slots of one runner, beside
other ways to spread the same files, and the least time that any of them could take."""
import contextlib
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import time

from table import Row
from testbed import Failed, program, run, script, volt_program, wait_for

SLOTS = (2, 4, 8)
MEAN_S, SIGMA, LONGEST = 0.1, 1.0, 30  # LONGEST: in times of the mean
FLOOR_FILES = 200  # timed bare, to learn what a process costs beside its sleep
EMPTY_SLOTS = 2
PIPELINE = "jobs: {suite: {tests: {files: 'suite/**/*.t', run: './{}'}}}\n"


class Suite:
    """Test files that sleep: what is measured is how they are spread, also on a machine with few cores."""

    def __init__(self, system, name, seconds):
        self.seconds = seconds
        self.names = [f"suite/d{i % 40:02}/t{i:05}.t" for i in range(len(seconds))]
        self.repo = system.repository(name, self.files)
        self.clone = system.path("repos", name + "-clone")
        run("git", "clone", "-q", self.repo.path, self.clone)
        began = time.monotonic()
        some = range(0, len(seconds), max(1, len(seconds) // FLOOR_FILES))
        for i in some:
            subprocess.run([os.path.join(self.clone, self.names[i])], check=True)
        self.process_s = (time.monotonic() - began - sum(seconds[i] for i in some)) / len(some)

    def files(self):
        text = "#!/bin/sh\n{}\n"
        return {".volt.yml": (0o644, PIPELINE.encode()),
                **{name: script(text.format(f"exec sleep {s:.4f}" if s else "exit 0"))
                   for name, s in zip(self.names, self.seconds)}}

    def least_s(self, slots):
        """max(work / slots, longest file)"""
        durations = [s + self.process_s for s in self.seconds]
        return max(sum(durations) / slots, max(durations))


def log_normal(files, mean):
    """Always the same; no file is longer than a twentieth of what eight slots need."""
    draw = random.Random(files)
    mu = math.log(mean) - SIGMA ** 2 / 2
    most = mean * min(LONGEST, files / max(SLOTS) / 20)
    return [min(draw.lognormvariate(mu, SIGMA), most) for _ in range(files)]


class Fleet:
    """A dispatcher that knows nothing yet, and a runner with so many slots."""

    def __init__(self, system, slots):
        self.processes, data = system.processes, system.path(f"suite-{slots}")
        endpoint = os.path.join(data, "endpoint")
        self.dispatcher = self.processes.start("suite-dispatcher", volt_program(), "dispatcher", "--data", data,
                                               "--port", "0")
        wait_for("the dispatcher", lambda: os.path.exists(endpoint) and os.path.getsize(endpoint))
        with open(endpoint) as f:
            self.server = f.read().split()[0]
        self.runner = self.processes.start("suite-runner", volt_program(), "runner", "--dispatcher-server",
                                           self.server, "--slots", str(slots), "--work", data + ".work")
        wait_for("the runner", lambda: '"up"' in self.ask("runners"))
        self.dirs = data, data + ".work"

    def ask(self, command, *args):
        return run(volt_program(), command, "--dispatcher-server", self.server, "--json", *args)

    def build(self, suite, oid):
        """From its submission to its verdict, seconds."""
        done = json.loads(self.ask("submit", suite.repo.path, oid, "--ref", "main", "--wait"))
        if done["verdict"] != "passed" or done["units_done"] != len(suite.names):
            raise Failed(f"{suite.repo.name}: {done['verdict']}, {done['units_done']} of {len(suite.names)} files")
        return (done["finished_ms"] - done["created_ms"]) / 1000

    def stop(self):
        self.processes.stop(self.runner, self.dispatcher)
        for path in self.dirs:
            shutil.rmtree(path, ignore_errors=True)


# ---- peers ----

def timed(command, cwd, text=None):
    began = time.monotonic()
    done = subprocess.run(command, input=text, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{command[0]}: {(done.stdout + done.stderr).strip()[-500:]}")
    return time.monotonic() - began


def by_xargs(suite, slots):
    return timed(["xargs", "-P", str(slots), "-n", "1", "sh", "-c", './"$0"'], suite.clone, "\n".join(suite.names))


def by_parallel(suite, slots):
    return timed(["parallel", "--will-cite", "-j", str(slots), "./{}"], suite.clone, "\n".join(suite.names))


def in_shards(suite, shards):
    """One loop of the shell for each list of files."""
    loop = 'while read -r f; do ./"$f" || exit 1; done'
    began = time.monotonic()
    loops = [subprocess.Popen(["sh", "-c", loop], cwd=suite.clone, stdin=subprocess.PIPE, text=True)
             for _ in shards]
    for p, names in zip(loops, shards):
        p.stdin.write("".join(name + "\n" for name in names))
        p.stdin.close()
    if any([p.wait() for p in loops]):
        raise Failed("a shard failed")
    return time.monotonic() - began


def by_count(suite, slots):
    """As a matrix of shards does it: each takes every n-th file."""
    return in_shards(suite, [suite.names[i::slots] for i in range(slots)])


def by_foresight(suite, slots):
    """The floor of this machine, which may have fewer cores than slots: every file's true duration is known, and it
    is dealt out before anything starts, the longest first, to whom has the least."""
    shards, work = [[] for _ in range(slots)], [0] * slots
    for seconds, name in sorted(zip(suite.seconds, suite.names), reverse=True):
        least = work.index(min(work))
        work[least] += seconds + suite.process_s
        shards[least].append(name)
    return in_shards(suite, [sorted(names) for names in shards])


def by_xdist(suite, slots):
    """The same files for pytest: each sleeps as long, in the process of its worker."""
    home = suite.clone + "-pytest"
    if not os.path.isdir(home):
        for i, s in enumerate(suite.seconds):
            path = os.path.join(home, f"d{i % 40:02}", f"test_{i:05}.py")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as f:
                f.write(f"import time\n\ndef test():\n    time.sleep({s:.4f})\n")
    return timed([python_with_xdist(), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(slots), "."], home)


def python_with_xdist():
    """The system's own comes second, for a distribution's packages are seen by it alone; None: neither has it."""
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            if subprocess.run([python, "-c", "import pytest, xdist"], capture_output=True).returncode == 0:
                return python
    return None


def peers():
    found = [("static shards by count", by_count)]
    if shutil.which("xargs"):
        found.append(("xargs -P", by_xargs))
    if shutil.which("parallel"):
        found.append(("GNU parallel -j", by_parallel))
    if python_with_xdist():
        found.append(("pytest-xdist -n", by_xdist))
    return found


# ---- rows ----

def spread_rows(system, suite, slots):
    """One run: a first build, whose durations nobody knows, and a second one."""
    print(f"bench: {len(suite.names)} files on {slots} slots", file=sys.stderr)
    fleet, least = Fleet(system, slots), suite.least_s(slots)
    oids = suite.repo.commits(2)
    first, second = [fleet.build(suite, oid) for oid in oids]
    fleet.stop()
    floors = [("the least, max(work / slots, longest)", [least]),
              ("loops of the shell, dealt with foresight", [by_foresight(suite, slots)])]
    beside = [(name, by(suite, slots)) for name, by in peers()]
    quickest = min(s for _, s in beside)
    for what, took, goal in (("first run", first, 1.15), ("second run, durations known", second, 1.05)):
        yield Row(f"{len(suite.names)} files on {slots} slots, {what}", "s", [took],
                  [*floors, *((n, [s]) for n, s in beside)],
                  f"<= {goal} x the least" + (", < all peers" if took is second else ""),
                  lambda r, took=took, goal=goal: took <= goal * least and (took is first or took < quickest))


def empty_rows(system, files, runs):
    suite = Suite(system, "empty", [0.0] * files)
    fleet = Fleet(system, EMPTY_SLOTS)
    took, bare = [], []
    for oid in suite.repo.commits(runs + 1):  # the first makes the workspaces
        took.append(1000 * EMPTY_SLOTS * fleet.build(suite, oid) / files)
        bare.append(1000 * EMPTY_SLOTS * by_count(suite, EMPTY_SLOTS) / files)
    fleet.stop()
    took, bare = took[1:], bare[1:]
    spawn = 1000 * EMPTY_SLOTS / program("floor", "spawn", EMPTY_SLOTS, files)["rate"]
    over = [t - statistics.median(bare) for t in took]
    yield Row(f"slot time a file, {files} empty ones in batches", "ms", took,
              [("the same in a loop of the shell", bare), ("posix_spawn of /bin/true", [spawn])])
    yield Row("of it above the loop", "ms", over, [], "<= 3 ms", lambda r: r.volt["median"] <= 3)


def rows(system, runs, files, mean, slots):
    yield from empty_rows(system, files, runs)
    suite = Suite(system, "skewed", log_normal(files, mean))
    for n in slots:
        yield from spread_rows(system, suite, n)
