"""What the rows of scripts/bench are measured on: programs of a build, processes, repositories, and a
dispatcher with runners and an observer."""
import json
import os
import re
import signal
import socket
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOST = socket.gethostname()
_build = os.path.join(ROOT, "build", "release")


class Failed(Exception):
    pass


def use(build):
    """Measures what is built in that directory, not the release preset."""
    global _build
    _build = build


def volt_program():
    return os.path.join(_build, "volt")


def tool(name):
    """The program of tests/bench."""
    return os.path.join(_build, "tests", "bench", "bench_" + name)


# ---- processes ----

class Processes:
    """What was started, to be ended by its own id."""

    def __init__(self, work):
        self.work = work
        self.running = []

    def start(self, name, *command, **more):
        log = open(os.path.join(self.work, name + ".log"), "ab")
        with log:
            p = subprocess.Popen(command, stderr=log, cwd=self.work, **{"stdin": subprocess.DEVNULL, **more})
        p.bench_name = name
        self.running.append(p)
        return p

    def stop(self, *some):
        for p in some:
            if p.poll() is None:
                p.send_signal(signal.SIGINT)
        for p in some:
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
            self.running.remove(p)

    def stop_all(self):
        self.stop(*reversed(self.running))

    def said(self, p):
        with open(os.path.join(self.work, p.bench_name + ".log"), errors="replace") as f:
            return f.read()[-2000:]


def run(*command, text=None, cwd=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        raise Failed(f"{os.path.basename(command[0])} {' '.join(command[1:3])}: {done.stderr.strip()[-500:]}")
    return done.stdout


def program(name, *args, text=None):
    """Runs one of tests/bench; what it says as a dictionary of numbers."""
    out = run(tool(name), *map(str, args), text=text)
    words = out.split()
    if len(words) == 1:
        return float(words[0])
    return {k: float(v) for k, v in zip(words[::2], words[1::2])}


def wait_for(what, condition, patience_s=30):
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise Failed(f"waited in vain for {what}")


def descendants(pid):
    """The process and what it started, with their command lines."""
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        found = [(pid, f.read().decode().split("\0"))]
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        for child in f.read().split():
            found += descendants(int(child))
    return found


def rss_mib(pid, what="VmRSS"):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(what)) / 1024


def private_mib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return sum(int(m) for m in re.findall(r"^Private_\w+:\s+(\d+) kB", f.read(), re.M)) / 1024


def cpu_ns(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


def status(server):
    return json.loads(run(volt_program(), "status", "--dispatcher-server", server, "--json"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- repositories ----

class Repository:
    """Made by git fast-import; each commit changes the file `n` only."""

    def __init__(self, path, files, bare=False):
        self.path = path
        self.name = os.path.basename(path)
        self.url = f"local:{HOST}:{path}"
        self.made = 0
        run("git", "init", "-q", "-b", "main", *(["--bare"] if bare else []), path)
        self.commits(1, files)

    def git(self, *args, text=None):
        return run("git", "-C", self.path, *args, text=text)

    def commits(self, count, files=()):
        """The ids of `count` new ones."""
        parts = []
        for i in range(count):
            self.made += 1
            parts.append(f"commit refs/heads/main\nmark :{i + 1}\n"
                         f"committer bench <bench@example.org> {1700000000 + self.made} +0000\ndata 0\n")
            if i == 0 and not files:
                parts.append("from refs/heads/main^0\n")
            changed = dict(files) if i == 0 else {}
            changed["n"] = (0o644, f"{self.made}\n".encode())
            for name, (mode, content) in changed.items():
                parts.append(f"M 100{mode:o} inline {name}\ndata {len(content)}\n".encode() + content + b"\n")
        stream = b"".join(p if isinstance(p, bytes) else p.encode() for p in parts)
        marks = self.path + ".marks"
        done = subprocess.run(["git", "-C", self.path, "fast-import", "--quiet", f"--export-marks={marks}"],
                              input=stream, capture_output=True)
        if done.returncode:
            raise Failed("git fast-import: " + done.stderr.decode(errors="replace")[-500:])
        with open(marks) as f:
            pairs = [line.split() for line in f]
        return [oid for _, oid in sorted(pairs, key=lambda p: int(p[0][1:]))]


def script(text):
    return (0o755, text.encode())


# ---- the system under test ----

class System:
    """A dispatcher, runners and an observer, started as rows need them and kept for the next."""

    def __init__(self, work):
        self.work = work
        self.processes = Processes(work)
        self.dispatcher = None
        self.runners = []
        self.batch = None
        self.observer = None
        self.repositories = {}
        self.server = None

    def path(self, *names):
        return os.path.join(self.work, *names)

    def need_dispatcher(self):
        if self.dispatcher:
            return self.server
        endpoint = self.path("data", "endpoint")
        self.dispatcher = self.processes.start("dispatcher", volt_program(), "dispatcher", "--data", self.path("data"),
                                               "--port", "0")
        wait_for("the dispatcher", lambda: os.path.exists(endpoint) and os.path.getsize(endpoint))
        with open(endpoint) as f:
            self.server = f.read().split()[0]
        return self.server

    def need_runners(self, batch=0):
        self.need_dispatcher()
        if self.runners and self.batch == batch:
            return
        self.stop_runners()
        self.batch = batch
        for i in (1, 2):
            self.runners.append(self.processes.start(
                f"runner-{i}", volt_program(), "runner", "--dispatcher-server", self.server, "--name", f"bench-{i}",
                "--work", self.path(f"runner-{i}"), "--batch", str(batch)))
        wait_for("the runners", lambda: self.up().count("bench-") == 2)

    def up(self):
        return run(volt_program(), "runners", "--dispatcher-server", self.server, "--json")

    def stop_runners(self):
        if self.runners:
            self.processes.stop(*self.runners)
            self.runners = []
            wait_for("the runners to leave", lambda: self.up().count("bench-") == 0)

    def repository(self, name, files, **more):
        if name not in self.repositories:
            self.repositories[name] = Repository(self.path("repos", name), files(), **more)
        return self.repositories[name]

    def builds(self, repo, oids):
        got = program("builds", self.server, repo.name, repo.url, "rate", text="\n".join(oids))
        if got["passed"] != len(oids):
            raise Failed(f"{repo.name}: {got['passed']:.0f} of {len(oids)} builds passed")
        return got

    def probe_files(self):
        with open(tool("probe"), "rb") as f:
            probe = f.read()
        return {"tests/probe": (0o755, probe), "socket": (0o644, self.path("probe").encode() + b"\n")}
