"""Real processes, real repositories, free ports, temporary directories.

A test derives from Case.  Whatever it starts is ended by pid when it ends, also when it fails; what
the processes said is shown when it fails; and a test after whose orderly end a process is left over
fails.  Conditions are waited for, with a deadline that guards against a hang and is never reached.
"""
import collections
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

VOLT = os.environ.get("VOLT", "volt")
PATIENCE_S = 60  # guards against a hang
POLL_S = 0.02
POLL_MAX_S = 0.3
SHOWN_LINES = 60  # of each log of a test that failed
# A shell that runs us in the background has SIGINT ignored, and so would each process until it has its own
# handler: one that is sent while it starts would be lost.  A handler of ours is not inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Nothing of the machine's own configuration, of Volt or git.
ENVIRONMENT = {k: v for k, v in os.environ.items()
               if not k.startswith(("VOLT", "GIT_", "XDG_", "LC_"))}
ENVIRONMENT.update(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1", LANG="C.UTF-8",
                   GIT_AUTHOR_NAME="Ann Author", GIT_AUTHOR_EMAIL="ann@example.org",
                   GIT_COMMITTER_NAME="Ann Author", GIT_COMMITTER_EMAIL="ann@example.org")

PASS = "#!/bin/sh\necho fine\n"
FAIL = "#!/bin/sh\necho broken\nexit 1\n"
PYTHON_PASS = "import unittest\nclass T(unittest.TestCase):\n    def test(self): pass\n"
PYTHON_FAIL = PYTHON_PASS.replace("pass", "self.fail('no')")


def wait_for(what, condition, seconds=PATIENCE_S):
    """The first true answer of condition().  One that takes long, as a command does, is asked less often: it
    would keep a core from what is waited for."""
    end = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        found = condition()
        if found:
            return found
        now = time.monotonic()
        if now > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(min(max(POLL_S, 3 * (now - began)), POLL_MAX_S))


def short(line):
    """An event as people want it, else the beginning of a line."""
    if line.startswith("{"):
        try:
            event = json.loads(line)
        except ValueError:
            return line[:300]
        keep = {k: v for k, v in event.items() if k not in ("hist", "ep", "time_ms", "runner_id",
                                                            "ref", "author", "subject")}
        line = " ".join(f"{k}={v}" for k, v in keep.items())
    return line[:300]


def state_of(pid):
    """R, S, T ...; X when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().rsplit(b")", 1)[1].split()[0].decode()
    except OSError:
        return "X"


def alive(pid):
    """False for a zombie, too."""
    return state_of(pid) not in "ZX"


def processes_of(directory):
    """{pid: what it is} of all that work in a directory or were given it, but this process."""
    found = {}
    mark = os.fsencode(directory)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid() or not alive(pid):
            continue
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                command = f.read()
            with open(f"/proc/{pid}/environ", "rb") as f:
                environ = f.read()
            cwd = os.fsencode(os.readlink(f"/proc/{pid}/cwd"))
        except OSError:
            continue  # it ended, or is somebody else's
        if mark in command or mark in environ or mark in cwd:
            found[int(pid)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def parent_of(pid):
    """0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return int(f.read().rsplit(b")", 1)[1].split()[1])
    except OSError:
        return 0


def kill_points():
    """[(name, role)] of src/base/kill.def; none: this build of volt does not have them."""
    said = subprocess.run([VOLT, "status"], env={**ENVIRONMENT, "VOLT_KILL_AT": "?"},
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False).stderr
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)),
                           "../../src/base/kill.def")) as f:
        found = re.findall(r"^KILL\((\w+), (\w+),", f.read(), re.M)
    return found if b"VOLT_KILL_AT" in said else []


def cpu_s(pid):
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat", "rb") as f:
        fields = f.read().rsplit(b")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Process:
    """A volt that was started; standard error goes to NAME.log, output to NAME.out."""

    def __init__(self, case, name, args, environment=None, cwd=None):
        self.name = name
        self.log_path, self.out_path = case.path(name + ".log"), case.path(name + ".out")
        with open(self.log_path, "ab") as log, open(self.out_path, "ab") as out:
            self.said_before, self.out_before = log.tell(), out.tell()
            log.flush()
            self.popen = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                                          cwd=cwd or case.dir,
                                          env={**case.environment, **(environment or {})})
        self.pid = self.popen.pid
        case.processes.append(self)

    def running(self):
        return self.popen.poll() is None

    def said(self):
        """Its standard error so far."""
        with open(self.log_path, "rb") as f:
            f.seek(self.said_before)
            return f.read().decode(errors="replace")

    def output(self):
        with open(self.out_path, "rb") as f:
            f.seek(self.out_before)
            return f.read()

    def wait_said(self, text):
        def said():
            return text in self.said() or not self.running()
        wait_for(f"{self.name} to say {text!r}", said)
        if text not in self.said():
            raise AssertionError(f"{self.name} ended with {self.popen.returncode} without saying "
                                 f"{text!r}")

    def send(self, number):
        self.popen.send_signal(number)

    def wait(self, seconds=PATIENCE_S):
        """Its exit status."""
        return self.popen.wait(seconds)

    def stop(self, number=signal.SIGTERM):
        if self.running():
            self.send(number)
        return self.wait()

    def kill(self):
        self.popen.kill()
        self.popen.wait()


class Tail(Process):
    """A `volt tail --json`, whose lines are read as they come."""

    def __init__(self, case, name, *args, **kw):
        super().__init__(case, name, [VOLT, "tail", "--dispatcher-server", case.server, "--json",
                                      *args], **kw)

    def all(self):
        whole = self.output().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.split(b"\n")] if whole else []

    def events(self, kind=None, **fields):
        return [e for e in self.all() if (not kind or e["kind"] == kind)
                and all(e.get(k) == v for k, v in fields.items())]

    def wait(self, kind=None, n=1, **fields):
        """With a kind: the n events of it that are there; else the exit status."""
        if kind is None:
            return super().wait()
        what = f"{n} {kind} {fields}"
        return wait_for(what, lambda: (lambda e: e if len(e) >= n else None)(
            self.events(kind, **fields)))

    def verdict(self, oid, n=1):
        """Of the n-th build of a commit to end."""
        return self.wait("build_done", n, oid=oid)[n - 1]["verdict"]

    def tests(self, oid):
        """{file: verdict} of a commit."""
        return {e["file"]: e["verdict"] for e in self.events("test_done", oid=oid)}


class Repository:
    """One with a work tree, or a bare one that is written through a clone beside it."""

    def __init__(self, case, path, bare=False):
        self.case, self.path, self.bare = case, path, bare
        self.name = os.path.basename(path).removesuffix(".git")
        self.work = path + ".work" if bare else path
        if bare:
            self.run("git", "init", "-q", "--bare", "-b", "main", path)
            self.run("git", "clone", "-q", path, self.work)
            self.git("symbolic-ref", "HEAD", "refs/heads/main")
        else:
            self.run("git", "init", "-q", "-b", "main", path)

    def run(self, *args, **kw):
        p = subprocess.run(args, env=self.case.environment, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=PATIENCE_S, **kw)
        if p.returncode:
            raise AssertionError(f"{args}: {p.stderr.decode(errors='replace')}")
        return p.stdout.decode().strip()

    def git(self, *args):
        return self.run("git", "-C", self.work, *args)

    def write(self, files):
        """{path: text}; None deletes; what begins with #! is made executable."""
        for name, text in files.items():
            path = os.path.join(self.work, name)
            if text is None:
                os.unlink(path)
                if not os.listdir(os.path.dirname(path)):
                    os.rmdir(os.path.dirname(path))
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(text if isinstance(text, bytes) else text.encode())
            os.chmod(path, 0o755 if text[:2] in ("#!", b"#!") else 0o644)

    def commit(self, files=None, message=None, push=True):
        """Its id, which no other commit of the test has."""
        self.case.commits += 1
        message = message or f"commit {self.case.commits} of the test"
        self.write(files or {})
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        if self.bare and push:
            self.push()
        return self.head()

    def push(self, *args):
        self.git("push", "-q", *(args or ("origin", "HEAD")))

    def head(self):
        return self.git("rev-parse", "HEAD")


class Case(unittest.TestCase):
    maxDiff = 4000

    def run(self, result=None):
        result = result if result is not None else self.defaultTestResult()
        bad = len(result.failures) + len(result.errors)
        self.dir = os.path.realpath(tempfile.mkdtemp(prefix="volt-e2e-"))
        self.processes = []
        self.commits = 0
        self.environment = {**ENVIRONMENT, "HOME": self.path("home"),
                            "XDG_STATE_HOME": self.path("xdg")}
        self.server = None
        self.killed = False  # a process that looks after others was killed: they may be left
        os.mkdir(self.path("home"))
        self.addCleanup(self._end)
        try:
            super().run(result)
            if len(result.failures) + len(result.errors) > bad:
                self._show_logs()
        finally:
            for pid in processes_of(self.dir):
                os.kill(pid, signal.SIGKILL)
            self._remove()
        return result

    def _end(self):
        """Runners first: they give back what runs and end it."""
        order = sorted((p for p in self.processes if p.running()),
                       key=lambda p: ("dispatcher" in p.name, "runner" not in p.name))
        for p in order:
            p.send(signal.SIGINT)
        end = time.monotonic() + 20
        stuck = []
        for p in order:
            try:
                p.popen.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                stuck.append(p.name)
                p.kill()
        if stuck:
            self.fail(f"not ended by SIGINT: {stuck}")
        if not self.killed:
            self.assert_nothing_left()

    def assert_nothing_left(self):
        left = {}

        def none():
            left.clear()
            left.update(processes_of(self.dir))
            return not left
        try:
            wait_for("the end of all processes", none, 10)
        except AssertionError:
            self.fail(f"left over: {left}")

    def _show_logs(self):
        for name in sorted(os.listdir(self.dir)):
            if not name.endswith((".log", ".out")):
                continue
            with open(self.path(name), "rb") as f:
                lines = f.read().decode(errors="replace").splitlines()
            print(f"---- {self.id()}: {name}" + (f", last {SHOWN_LINES} lines"
                                               if len(lines) > SHOWN_LINES else ""),
                  *map(short, lines[-SHOWN_LINES:]), sep="\n", file=sys.stderr)

    def _remove(self):
        def make_writable(function, path, _):
            os.chmod(os.path.dirname(path), 0o700)
            function(path)
        shutil.rmtree(self.dir, onerror=make_writable)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def read(self, *names):
        """The text of a file; empty when it is not there."""
        try:
            with open(self.path(*names), "rb") as f:
                return f.read().decode(errors="surrogateescape")
        except FileNotFoundError:
            return ""

    def write(self, name, text=""):
        with open(self.path(name), "w") as f:
            f.write(text)

    # ---- processes ----

    @property
    def port(self):
        return int(self.server.rsplit(":", 1)[1])

    def start(self, name, *args, **kw):
        return Process(self, name, [VOLT, *args], **kw)

    def dispatcher(self, *args, host="localhost", name="dispatcher", port=None, wait=True):
        """On free ports at first, on the same ones when it is started again."""
        again = self.server and name == "dispatcher"
        port = port if port is not None else self.port if again else 0
        p = self.start(name, "dispatcher", "--host", host, "--port", str(port),
                       "--data", self.path(name), *args)
        if wait:
            p.wait_said("ready at ")
            self.server = re.search(r"ready at (\S+),", p.said())[1]
        return p

    def reserve(self):
        """Names an address where nothing listens yet."""
        p = self.dispatcher(name="reserve")
        p.stop()
        return self.server

    def runner(self, *args, name="runner", wait=True, server=None, **kw):
        p = self.start(name, "runner", "--dispatcher-server", server or self.server,
                       "--work", self.path(name + ".d"), "--name", name, "--grace", "500ms",
                       *args, **kw)
        if wait:
            p.wait_said("registered")
        return p

    def observer(self, *args, name="observer", server=None, **kw):
        return self.start(name, "observer", "--dispatcher-server", server or self.server,
                          "--state", self.path(name + ".d"), "--interval", "300ms", *args, **kw)

    def tail(self, *args, name="tail", **kw):
        return Tail(self, name, *(args or ("--from", "start")), **kw)

    def everything(self, *repositories, runners=1, runner=(), dispatcher=()):
        """Dispatcher, runners, tail and, with repositories, an observer: what most tests need."""
        self.dispatcher(*dispatcher)
        for i in range(runners):
            self.runner(*runner, name="runner" if i == 0 else f"runner{i + 1}")
        tail = self.tail()
        if repositories:
            self.observer(*[r.path for r in repositories])
        return tail

    def volt(self, *args, rc=0, **kw):
        """A command that ends; its standard output, and `said` its standard error."""
        kw.setdefault("env", self.environment)
        kw.setdefault("cwd", self.dir)
        p = subprocess.run([VOLT, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=PATIENCE_S, **kw)
        self.said = p.stderr.decode(errors="replace")
        if rc is not None:
            self.assertEqual(p.returncode, rc, f"volt {' '.join(args)}: {self.said}"
                                               f"{p.stdout.decode(errors='replace')}")
        return p.stdout

    def ask(self, command, *args, **kw):
        """A command to the dispatcher."""
        return self.volt(command, "--dispatcher-server", self.server, *args, **kw)

    def json(self, command, *args, **kw):
        """The objects that it prints."""
        return [json.loads(line) for line in self.ask(command, "--json", *args, **kw).splitlines()]

    def executors(self, runner):
        """{slot: pid} of the executors of a runner, also of one that is gone."""
        found = {}
        for pid, command in processes_of(self.path(runner.name + ".d")).items():
            match = re.search(r" executor .*--slot (\d+)", command)
            if match:
                found[pid] = int(match[1])
        # A child that has not executed its program yet still looks like its executor.
        return {slot: pid for pid, slot in found.items() if parent_of(pid) not in found}

    def limit_files(self, process, size=resource.RLIM_INFINITY):
        """No file of the process grows beyond it: to the process, as good as a full disk."""
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def small_disk(self, name, size):
        """A directory of so many bytes ("24m")."""
        path = self.path(name)
        os.mkdir(path)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path],
                          stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("may not mount")
        self.addCleanup(subprocess.run, ["umount", "-l", path], check=False)
        return path

    # ---- repositories ----

    def repository(self, name="demo", files=None, bare=False, **kw):
        r = Repository(self, self.path(name), bare)
        if files is not None:
            r.commit(files, **kw)
        return r

    def gate(self, name="gate", after=""):
        """A unit that notes 'ATTEMPT PID' in NAME.starts, and ends when NAME.go is there."""
        return (f"#!/bin/sh\necho $VOLT_ATTEMPT $$ >>{self.path(name)}.starts\n"
                f"while [ ! -e {self.path(name)}.go ]; do sleep .05; done\n{after}\n")

    def starts(self, name="gate"):
        """[(attempt, pid)] of the units that came to the gate."""
        return [tuple(map(int, line.split())) for line in
                self.read(name + ".starts").splitlines()]

    def wait_start(self, name="gate", n=1):
        return wait_for(f"start {n} of {name}", lambda: len(self.starts(name)) >= n
                        and self.starts(name))

    def go(self, name="gate"):
        self.write(name + ".go")


RESULT_UNIT = re.compile(rb"--- (\S+) +(\d+) bytes +(\d+) ms"
                         rb"((?:  (?:exit|signal|job|attempt|runner) \S+)*)(?:  why (.*))?  (.*)")
ResultFile = collections.namedtuple("ResultFile", "head units notes tags")


def read_result(path):
    """A result file: {name: value}, [(verdict, file, output)], [note], and what else it says of each
    unit, {job: ..., attempt: ..., ...}.  Output by counting bytes."""
    with open(path, "rb") as f:
        head, _, rest = f.read().partition(b"\n\n")
    units, notes, tags = [], [], []
    while rest:
        line, _, rest = rest.partition(b"\n")
        if line.startswith(b"--- note: "):
            notes.append(line[10:].decode())
            continue
        match = RESULT_UNIT.fullmatch(line)
        if not match:
            raise AssertionError(f"{path}: {line}")
        n = int(match[2])
        if rest[n:n + 1] != b"\n":
            raise AssertionError(f"{path}: no end of line after the output of {match[6]}")
        units.append((match[1].decode(), match[6].decode(), rest[:n]))
        words = match[4].decode().split()
        tags.append(dict(zip(words[::2], words[1::2]), why=(match[5] or b"").decode()))
        rest = rest[n + 1:]
    fields = [line.partition(": ")[::2] for line in head.decode().split("\n")]
    return ResultFile(dict(fields), units, notes, tags)


def main():
    unittest.main(verbosity=2)
