"""What the chaos run has tested, and what it sees of it: commits, their units, tails."""
import json
import random
import subprocess

import harness

REPOSITORIES = ("red", "blue")
PUSH_EVERY_S = 0.8  # in each repository; the two cores are others' too
BACKLOG_MAX = 60  # builds that are not done yet: pushes wait, so that disk and time are bounded


class Unit:
    """A test file, and what has to come of it; output None: it holds a duration."""

    def __init__(self, rng, key, starts):
        kind = rng.choices(("quick", "slow", "failing", "big", "python", "daemon", "long", "huge"),
                           (40, 60, 20, 30, 10, 10, 4, 2))[0]
        note = f"#!/bin/sh\necho $VOLT_TASK $VOLT_ATTEMPT {key} >>{starts}\n"
        self.name, self.verdict = f"tests/{kind}_{key}", "passed"
        self.output = f"{key} begins\n".encode()
        script = f"echo {key} begins\n"
        if kind in ("slow", "long"):
            seconds = rng.uniform(0.1, 1.5) if kind == "slow" else rng.uniform(3, 6)
            script += f"sleep {seconds:.2f}\necho ': it''s' ends\n"
            self.output += b": its ends\n"
        elif kind == "failing":
            script += "exit 3\n"
            self.verdict = "failed"
        elif kind in ("big", "huge"):
            first = rng.randrange(100000, 800000)
            half = rng.randrange(7000, 9000) if kind == "big" else rng.randrange(60000, 90000)
            script += (f"seq {first} {first + half - 1}\nsleep {rng.choice((0, 0.1, 0.4))}\n"
                       f"seq {first + half} {first + 2 * half - 1}\n")
            self.output += b"".join(b"%d\n" % i for i in range(first, first + 2 * half))
        elif kind == "daemon":  # it lets go of all that ties it to the test, and stays
            script += "setsid sh -c 'sleep 600 & sleep 601' </dev/null >/dev/null 2>&1 &\n"
        elif kind == "python":
            self.name = f"tests/test_{key}.py"
            self.output = None
            if rng.random() < 0.3:
                self.verdict = "failed"
        self.text = (note + script if kind != "python" else
                     harness.PYTHON_PASS if self.verdict == "passed" else harness.PYTHON_FAIL)


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
        if parent and rng.random() < 0.1:
            ref = f"refs/heads/topic-{self.pushed[name]}"
        stream, made = [], []
        for i in range(n):
            self.pushed[name] += 1
            number = self.pushed[name]
            units = [Unit(rng, f"{name}_{number}_{k}", self.path("starts"))
                     for k in range(rng.randint(1, 3))]
            message = f"Commit {number} of {name}"
            stream.append(f"commit {ref}\nmark :{i + 1}\ncommitter Ann <a@example.org> "
                          f"{1700000000 + number} +0000\ndata {len(message)}\n{message}\n")
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
