"""What the chaos run has tested, and what it sees of it: commits that are pushed, and tails."""
import json
import random
import subprocess

from chaos_jobs import Shell, env_work, some_work

REPOSITORIES = ("red", "blue")
PUSH_EVERY_S = 0.8  # in each repository; the two cores are others' too
BY_HAND = 0.04  # of the pushes: a commit that no observer sees is submitted with variables
BACKLOG_MAX = 60  # builds that are not done yet: pushes wait, so that disk and time are bounded


class Tail:
    """What `volt tail` showed, though it was killed now and then: the lines of all its lives."""

    def __init__(self, case, name, *args):
        self.case, self.name, self.args = case, name, args
        self.events, self.process, self.partial = [], None, b""
        self.foreign = ()  # beginnings of lines that are not volt's
        self.builds = {}  # {build: (repo, ref, oid)}
        self.done = set()  # builds
        self.ended = set()  # (repo, ref, oid) of builds that are done
        self.busy = {}  # {task: name of the runner that has it}

    def start(self, environment=None):
        self.partial = b""
        self.process = self.case.start(
            self.name, "tail", "--dispatcher-server", self.case.server, "--json", "--from",
            str(self.events[-1]["seq"] + 1) if self.events else "start", *self.args,
            environment=environment)
        self.at = self.process.out_before

    def read(self):
        with open(self.process.out_path, "rb") as f:
            f.seek(self.at)
            new = f.read()
        self.at += len(new)
        lines = (self.partial + new).split(b"\n")
        self.partial = lines.pop()
        for line in lines:
            if line.startswith(self.foreign):
                continue
            event = json.loads(line)
            self.events.append(event)
            if event["kind"] == "leased":
                self.busy[event["task"]] = event["runner"]
            elif event["kind"] in ("task_done", "requeued"):
                self.busy.pop(event["task"], None)
            elif event["kind"] == "submitted":
                self.builds[event["build"]] = (event["repo"], event["ref"], event["oid"])
            elif event["kind"] == "build_done":
                self.done.add(event["build"])
                self.ended.add((event["repo"], event["ref"], event["oid"]))

    def all_done(self):
        return len(self.done) == len(self.builds)

    def kill(self):
        self.process.kill()
        self.read()


class Pushes:
    """Commits that come all the time: the n-th of a repository is the same in each run of a seed."""

    def begin_repository(self, name):
        self.repositories[name] = self.repository(name + ".git", bare=True)
        self.dice[name] = random.Random(f"{self.seed} {name}")
        self.pushed[name] = 0
        self.push(name, 1)

    def pushes(self, name):
        if len(self.expected) - len(self.chain.ended) < BACKLOG_MAX:
            self.push(name, self.dice[name].choices((1, 2, 5), (6, 3, 1))[0])
        else:
            self.counts["pauses of pushing"] += 1
        self.later(min(self.dice[name].expovariate(1 / PUSH_EVERY_S), 4 * PUSH_EVERY_S),
                   self.pushes, name)

    def push(self, name, n):
        """n commits that appear at once, on the main branch or on a new one."""
        rng, ref = self.dice[name], "refs/heads/main"
        parent = f"{ref}^0" if self.pushed[name] else None
        make, kind = some_work, rng.random()
        if parent and kind < 0.1:
            ref = f"refs/heads/topic-{self.pushed[name]}"
        elif parent and kind < 0.1 + BY_HAND:
            ref, n, make = f"refs/pull/{self.pushed[name]}/head", 1, env_work
        stream, made = [], []
        for i in range(n):
            self.pushed[name] += 1
            number = self.pushed[name]
            work = make(Shell(self.path("notes")), rng, f"{name}_{number}")
            message = f"Commit {number} of {name}"
            stream.append(f"commit {ref}\nmark :{i + 1}\ncommitter Ann <a@example.org> "
                          f"{1700000000 + number} +0000\ndata {len(message)}\n{message}\n")
            if i == 0 and parent:
                stream.append(f"from {parent}\n")
            stream.append("deleteall\n")
            for file, text in work.files.items():
                mode = "755" if text.startswith("#!") else "644"
                stream.append(f"M {mode} inline {file}\ndata {len(text)}\n{text}\n")
            stream.append(f"\nget-mark :{i + 1}\n")
            made.append(work)
        p = subprocess.run(["git", "-C", self.repositories[name].path, "fast-import", "--quiet",
                            "--date-format=raw"], input="".join(stream).encode(),
                           stdout=subprocess.PIPE, env=self.environment, check=True)
        for oid, work in zip(p.stdout.decode().split(), made):
            self.expected[name, ref, oid] = work
            if work.env:
                self.submit(name, ref, oid)

    def submit(self, name, ref, oid):
        """By hand, so often until the dispatcher has it; after each answer that got lost, once more."""
        env = [word for text in self.expected[name, ref, oid].env for word in ("--env", text)]
        p = self.command("submit", self.repositories[name].path, oid, "--ref", ref, *env)
        self.when_ended(p, self.submitted, p, name, ref, oid)

    def submitted(self, p, *what):
        if p.popen.returncode not in (0, 1):  # 1: it was known, and has failed
            self.counts["submissions again"] += 1
            self.later(1, self.submit, *what)
