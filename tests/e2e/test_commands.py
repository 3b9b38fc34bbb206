"""The commands that ask and steer, against a dispatcher and a runner."""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

VOLT = os.environ.get("VOLT", "volt")
PATIENCE_S = 60  # guards against a hang, is not waited for

PASSING = """import unittest


class T(unittest.TestCase):
    def test(self):
        pass
"""
FAILING = PASSING.replace("pass\n", "self.assertEqual(1, 2)\n")
# Runs until the test lets it go, with output on the way.
HELD = """#!/bin/sh
echo begin
while [ ! -e %s ]; do sleep 0.05; done
echo end
"""
BYTES = bytes(range(256)) * 3


class CommandsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="volt-commands-")
        cls.processes = []
        cls.addClassCleanup(cls.clean)
        cls.env = {"PATH": os.environ["PATH"], "HOME": cls.dir, "LC_ALL": "C.UTF-8"}
        for name in ("AUTHOR", "COMMITTER"):
            cls.env[f"GIT_{name}_NAME"] = "Ann Author"
            cls.env[f"GIT_{name}_EMAIL"] = "ann@example.org"
        data = os.path.join(cls.dir, "data")
        cls.start("dispatcher", "--port", "0", "--data", data)
        endpoint = os.path.join(data, "endpoint")
        cls.until(lambda: os.path.exists(endpoint))
        with open(endpoint) as f:
            cls.server = f.read().split()[0]
        cls.env["VOLT_DISPATCHER_SERVER"] = cls.server
        cls.start("runner", "--name", "box", "--slots", "2", "--work", os.path.join(cls.dir, "work"))
        cls.until(lambda: cls.json("status").get("runners") == 1)
        cls.names = 0

    @classmethod
    def clean(cls):
        for process in reversed(cls.processes):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(cls.dir, ignore_errors=True)

    @classmethod
    def start(cls, *args):
        log = open(os.path.join(cls.dir, f"{args[0]}.log"), "ab")
        cls.processes.append(subprocess.Popen([VOLT, *args], env=cls.env, stderr=log, stdout=log))
        log.close()

    @staticmethod
    def until(condition):
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, "waited for too long"
            time.sleep(0.02)

    @classmethod
    def volt(cls, *args, code=0, **run):
        """Standard output; asserts the exit code."""
        run.setdefault("env", cls.env)
        got = subprocess.run([VOLT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             timeout=PATIENCE_S, **run)
        assert got.returncode == code, (args, got)
        cls.said = got.stderr.decode()
        return got.stdout

    @classmethod
    def json(cls, *args, **more):
        lines = cls.volt(*args, "--json", **more).splitlines()
        assert len(lines) == 1, lines
        return json.loads(lines[0])

    def git(self, repo, *args):
        return subprocess.run(["git", "-C", repo, *args], check=True, env=self.env,
                              stdout=subprocess.PIPE).stdout.decode().strip()

    def repo(self, files, name=None):
        """A repository with one commit on `main`; a dict of files, bytes are executables."""
        type(self).names += 1
        path = os.path.join(self.dir, name or f"repo{self.names}")
        os.makedirs(path)
        self.git(path, "init", "-q", "-b", "main")
        self.commit(path, files, "First commit")
        return path

    def commit(self, path, files, subject):
        for name, text in files.items():
            whole = os.path.join(path, name)
            os.makedirs(os.path.dirname(whole), exist_ok=True)
            with open(whole, "wb") as f:
                f.write(text if isinstance(text, bytes) else text.encode())
            os.chmod(whole, 0o755 if isinstance(text, bytes) else 0o644)
        self.git(path, "add", "-A")
        self.git(path, "commit", "-q", "--allow-empty", "-m", subject)
        return self.git(path, "rev-parse", "HEAD")

    def submit(self, *args, **more):
        return self.json("submit", *args, **more)["build"]

    # ---- submit ----

    def test_submit_waits_and_exits_with_the_verdict(self):
        repo = self.repo({"tests/test_a.py": PASSING})
        self.assertRegex(self.volt("submit", repo, "HEAD", "--wait").decode(),
                         r"^build \d+: accepted\nbuild \d+: passed\n$")
        self.commit(repo, {"tests/test_b.py": FAILING}, "Break it")
        self.assertRegex(self.volt("submit", repo, "main", "--wait", code=1).decode(),
                         r"build \d+: failed\n$")
        row = self.json("submit", repo, "main", "--wait", code=1)
        self.assertEqual((row["verdict"], row["subject"], row["author"], row["ref"]),
                         ("failed", "Break it", "Ann Author", "refs/heads/main"))

    def test_a_known_commit_is_answered_with_its_build_and_verdict(self):
        repo = self.repo({"tests/test_a.py": PASSING})
        first = self.submit(repo, "HEAD")
        self.volt("submit", repo, "HEAD", "--wait")
        self.assertEqual(self.volt("submit", repo, self.git(repo, "rev-parse", "HEAD")).decode(),
                         f"build {first}: known, passed\n")
        again = self.json("submit", os.path.join(repo, ".git"), "HEAD")
        self.assertEqual((again["build"], again["dup"], again["verdict"]), (first, True, "passed"))

    def test_the_ref_is_the_one_that_is_meant(self):
        repo = self.repo({"tests/test_a.py": PASSING})
        first = self.git(repo, "rev-parse", "HEAD")
        self.git(repo, "checkout", "-q", "-b", "side")
        second = self.commit(repo, {}, "On the side")
        self.git(repo, "tag", "v1")
        self.git(repo, "checkout", "-q", "main")

        def ref(*args):
            return self.json("build", str(self.submit(repo, *args)))["ref"]

        self.assertEqual(ref("HEAD"), "refs/heads/main")
        self.assertEqual(ref("side~1"), "refs/heads/main")  # the default branch has it
        self.assertEqual(ref(first), "refs/heads/main")
        self.assertEqual(ref(second), "refs/heads/side")
        self.assertEqual(ref("side"), "refs/heads/side")
        self.assertEqual(ref("v1"), "refs/tags/v1")
        self.assertEqual(ref(first, "--ref", "side"), "refs/heads/side")
        self.assertEqual(ref(first, "--ref", "refs/pull/1/head"), "refs/pull/1/head")

    def test_a_remote_is_asked_whether_it_has_the_ref(self):
        repo = self.repo({"tests/test_a.py": PASSING})
        oid = self.git(repo, "rev-parse", "HEAD")
        self.git(repo, "tag", "v1.0")
        ssh = os.path.join(self.dir, "ssh")
        with open(ssh, "w") as f:
            f.write('#!/bin/sh\nexec sh -c "$2"\n')
        os.chmod(ssh, 0o755)
        env = {**self.env, "GIT_SSH": ssh, "GIT_SSH_VARIANT": "simple"}
        for commit in (oid, "main"):
            self.volt("submit", f"ssh://there{repo}", commit, "--ref", "v1.1", code=3, env=env)
            self.assertEqual(self.said,
                             "volt submit: no branch or tag 'v1.1'; did you mean 'v1.0'?\n")
        build = str(self.submit(f"ssh://there{repo}", oid, "--ref", "v1.0", env=env))
        self.assertEqual(self.json("build", build)["ref"], "refs/tags/v1.0")
        self.volt("cancel", build)  # the runner has no such ssh

    def test_a_line_in_a_hook_is_a_trigger(self):
        bare = os.path.join(self.dir, "hooked.git")
        subprocess.run(["git", "init", "-q", "--bare", bare], check=True, env=self.env)
        hook = os.path.join(bare, "hooks", "post-receive")
        with open(hook, "w") as f:
            f.write("#!/bin/sh\nwhile read old new ref; do\n"
                    f'    {VOLT} submit . "$new" --ref "$ref"\ndone\n')
        os.chmod(hook, 0o755)
        repo = self.repo({"tests/test_a.py": PASSING})
        oid = self.git(repo, "rev-parse", "HEAD")
        self.git(repo, "push", "-q", bare, "HEAD:refs/heads/topic")
        rows = [json.loads(line) for line in
                self.volt("builds", "--repo", "hooked", "--json").splitlines()]
        self.assertEqual([(r["oid"], r["ref"]) for r in rows], [(oid, "refs/heads/topic")])
        self.git(repo, "push", "-q", bare, ":refs/heads/topic")  # a deletion is nothing to test

    def test_what_cannot_be_submitted_is_said(self):
        repo = self.repo({"tests/test_a.py": PASSING})
        oid = self.git(repo, "rev-parse", "HEAD")
        self.git(repo, "tag", "v1.0")
        plain = os.path.join(self.dir, "plain")
        os.makedirs(plain, exist_ok=True)
        for args, code, words in (
                ((repo, "nope"), 3, "no commit 'nope'"),
                ((plain, "HEAD"), 2, "not a git repository"),
                ((os.path.join(self.dir, "gone"), "HEAD"), 3, "gone"),
                ((f"a/b={repo}", "HEAD"), 3, "a/b="),
                ((repo, "HEAD", "--priority", "1001"), 2, "--priority"),
                ((repo, ""), 2, "COMMIT is empty"),
                ((repo, "HEAD", "--ref", ""), 2, "--ref is empty"),
                ((repo, "HEAD", "--ref", "mian"), 3, "no branch or tag 'mian'; did you mean 'main'?"),
                ((repo, oid, "--ref", "v1.o"), 3, "no branch or tag 'v1.o'; did you mean 'v1.0'?"),
                ((repo, oid, "--ref", "topic/x"), 3, "in full, as refs/heads/topic/x"),
                ((repo,), 2, "too few arguments")):
            self.volt("submit", *args, code=code)
            self.assertIn(words, self.said)
            self.assertTrue(self.said.startswith("volt submit: "), self.said)
            self.assertEqual(self.said.count("\n"), 1)
        self.volt("submit", f"web={repo}", "HEAD")
        other = self.repo({"tests/test_a.py": PASSING + "\n"})
        self.volt("submit", f"web={other}", "HEAD", code=5)
        self.assertIn("belongs to", self.said)

    # ---- reading ----

    def test_a_build_shows_what_failed_first(self):
        files = {f"tests/test_{i:02}.py": PASSING for i in range(30)}
        files["tests/test_20.py"] = FAILING
        repo = self.repo(files)
        self.volt("submit", repo, "HEAD", "--wait", code=1)
        build = str(self.submit(repo, "HEAD"))
        lines = self.volt("build", build).decode().splitlines()
        failed = next(i for i, line in enumerate(lines) if line.startswith("    failed"))
        self.assertRegex(lines[failed],
                         r"^    failed tests/test_20\.py  \(tests/20, exit 1, .*, on box\)$")
        self.assertRegex(lines[failed + 1], r"^      \| ")  # its output, before all else
        self.assertLess(failed, next(i for i, line in enumerate(lines) if line.startswith("STATE")))
        self.assertRegex(lines[3], r" of work in .* on \d slots?; at best .*: efficiency \d+ %$")
        self.assertIn("9 more", lines[-1])
        self.assertEqual(len(self.volt("build", build, "--all").decode().splitlines()),
                         len(lines) + 8)
        got = self.json("build", build)
        self.assertEqual(got["verdict"], "failed")
        self.assertEqual((got["units"], got["units_done"], got["units_bad"]), (30, 30, 1))
        self.assertEqual([t["file"] for t in got["tests"] if t["verdict"] != "passed"],
                         ["tests/test_20.py"])
        self.assertEqual(got["tasks"][0]["kind"], "plan")
        self.assertEqual(got["jobs"][0]["verdict"], "failed")

    def test_logs_come_byte_for_byte(self):
        repo = self.repo({"tests/bytes": b"#!/bin/sh\ncat \"$(dirname \"$0\")/data.bin\"\n",
                          "tests/more": b"#!/bin/sh\necho more; exit 4\n",
                          "tests/deep/more": b"#!/bin/sh\necho deep\n"})
        with open(os.path.join(repo, "tests", "data.bin"), "wb") as f:
            f.write(BYTES)
        self.commit(repo, {}, "With bytes")
        self.volt("submit", repo, "HEAD", "--wait", code=1)
        build = str(self.submit(repo, "HEAD"))
        self.assertEqual(self.volt("log", f"{build}/tests/tests/bytes"), BYTES)
        self.assertEqual(self.volt("log", f"{build}/tests/bytes"), BYTES)
        self.assertEqual(self.volt("log", f"{build}/bytes"), BYTES)
        self.assertEqual(self.volt("log", f"{build}/tests/0"), BYTES)
        self.assertEqual(self.volt("log", f"{build}/tests/deep/more"), b"deep\n")
        whole = self.volt("log", build)
        self.assertEqual(sorted(whole), sorted(BYTES + b"more\ndeep\n"))
        self.assertEqual(sorted(self.volt("log", f"{build}/tests")), sorted(whole))
        self.assertIn("==> task", self.said)
        self.assertIn("d_base64", self.json("log", f"{build}/tests/0"))
        self.volt("log", f"{build}/tests/more", code=2)  # two files end so
        self.assertIn("fits 2 units", self.said)
        self.volt("log", f"{build}/nothing", code=3)
        self.volt("log", "987654", code=3)

    def test_a_log_is_followed_while_it_grows(self):
        go = os.path.join(self.dir, "go-follow")
        repo = self.repo({"tests/held": (HELD % go).encode()})
        build = str(self.submit(repo, "HEAD"))
        for target in (build, f"{build}/tests/held"):
            if os.path.exists(go):
                os.unlink(go)
                build = str(self.json("rebuild", build)["build"])
                target = target.replace(target.split("/")[0], build, 1)
            follow = subprocess.Popen([VOLT, "log", target, "--follow"], env=self.env,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            self.assertEqual(follow.stdout.readline(), b"begin\n")
            open(go, "w").close()
            out, _ = follow.communicate(timeout=PATIENCE_S)
            self.assertEqual(out, b"end\n")
            self.assertEqual(follow.returncode, 0)

    def test_status_says_what_waits_and_why(self):
        go = os.path.join(self.dir, "go-status")
        repo = self.repo({f"tests/held{i}": (HELD % go).encode() for i in range(5)})
        build = self.submit(repo, "HEAD")
        self.until(lambda: self.json("status").get("busy", 0) == 2)
        got = self.json("status")
        self.assertEqual((got["runners"], got["slots"]), (1, 2))
        self.assertEqual({t["runner"] for t in got["running"]}, {"box"})
        text = self.volt("status").decode()
        self.assertIn(f"dispatcher at {self.server}: 1 runner, 2 of 2 slots busy", text)
        self.assertIn("Under way:", text)
        if got["waiting"]:
            self.assertTrue(all(t["why"] for t in got["waiting"]))
            self.assertIn("next for a free slot", text)
        task = self.json("task", str(got["running"][0]["task"]))
        self.assertEqual((task["build"], task["attempts"][0]["runner"]), (build, "box"))
        self.assertIn("of job tests", self.volt("task", str(task["task"])).decode())
        open(go, "w").close()
        self.volt("submit", repo, "HEAD", "--wait")
        idle = self.json("status")
        self.assertEqual((idle["running"], idle["waiting"]), ([], []))

    def test_builds_are_listed_newest_first_in_pages(self):
        repo = self.repo({"tests/test_a.py": PASSING}, "paged")
        builds = [self.submit(repo, "HEAD")]
        for _ in range(4):
            builds.append(self.json("rebuild", str(builds[-1]), "--wait")["build"])
        rows = [json.loads(line) for line in
                self.volt("builds", "--repo", "paged", "--json").splitlines()]
        self.assertEqual([r["build"] for r in rows], builds[::-1])
        rows = [json.loads(line) for line in
                self.volt("builds", "--repo", "paged", "-n", "2", "--before", str(builds[3]),
                          "--json").splitlines()]
        self.assertEqual([r["build"] for r in rows], [builds[2], builds[1]])
        text = self.volt("builds", "--repo", "paged").decode()
        self.assertEqual(len(text.splitlines()), 6)
        self.assertIn("again 4", text)
        self.assertEqual(self.volt("builds", "--repo", "paged", "--before", str(builds[0])), b"no build\n")
        self.volt("builds", "--repo", "nowhere", code=3)

    # ---- steering ----

    def test_a_build_is_canceled(self):
        repo = self.repo({"tests/held": (HELD % os.path.join(self.dir, "never")).encode()})
        build = str(self.submit(repo, "HEAD"))
        self.until(lambda: self.json("status").get("busy", 0) > 0)
        self.volt("cancel", build, "--why", "not wanted")
        row = self.json("submit", repo, "HEAD", "--wait", code=1)
        self.assertEqual((row["verdict"], row["why"]), ("canceled", "not wanted"))
        self.volt("cancel", build)  # the same again is no error
        passed = self.repo({"tests/test_a.py": PASSING})
        self.volt("submit", passed, "HEAD", "--wait")
        self.volt("cancel", str(self.submit(passed, "HEAD")), code=5)
        self.assertIn("ended already", self.said)
        self.volt("cancel", "987654", code=3)
        self.volt("cancel", "one", code=2)

    def test_a_runner_is_cordoned_and_resumed(self):
        repo = self.repo({"tests/test_a.py": PASSING})
        self.assertEqual(self.json("cordon", "box"),
                         {"runner": "box", "mode": "cordon", "msg": "stays and gets nothing new"})
        try:
            row = json.loads(self.volt("runners", "--json"))
            self.assertEqual((row["name"], row["mode"], row["slots"]), ("box", "cordon", 2))
            self.assertIn("cordon", self.volt("runners").decode())
            build = self.submit(repo, "HEAD")
            self.until(lambda: self.json("status")["waiting"])
            self.assertIn("cordoned", self.json("status")["waiting"][0]["why"])
        finally:
            self.volt("resume", row["id"])
        self.assertEqual(self.json("submit", repo, "HEAD", "--wait")["build"], build)
        self.volt("drain", "nobody", code=3)

    def test_a_drained_runner_leaves(self):
        self.start("runner", "--name", "passer-by", "--work", os.path.join(self.dir, "work2"))
        self.until(lambda: self.json("status").get("runners") == 2)
        self.volt("drain", "passer-by")
        self.assertEqual(self.processes[-1].wait(PATIENCE_S), 0)
        self.processes.pop()
        self.until(lambda: self.json("status").get("runners") == 1)
        rows = [json.loads(line) for line in self.volt("runners", "--all", "--json").splitlines()]
        self.assertIn(("passer-by", "gone"), [(r["name"], r["state"]) for r in rows])
        self.assertEqual(self.volt("resume", "passer-by"),
                         b"runner passer-by is gone; it takes tasks again when it comes back\n")

    # ---- whatever is asked ----

    def test_an_absent_dispatcher_is_explained(self):
        with socket.socket() as s:  # bound, not listening: nobody else takes it, nobody answers
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
            server = f"127.0.0.1:{port - 1}"
            self.volt("status", "--dispatcher-server", server, "--timeout", "300ms", code=4)
        self.assertEqual(self.said, f"volt status: cannot reach dispatcher at {server} (connection "
                                    "refused); is 'volt dispatcher' running?\n")
        self.volt("status", "--dispatcher-server", "no-such-host.invalid", code=4)
        self.assertIn("no-such-host.invalid", self.said)
        self.volt("status", "--dispatcher-server", "localhost:no", code=2)

    def test_colours_are_for_terminals(self):
        repo = self.repo({"tests/test_a.py": PASSING})
        self.volt("submit", repo, "HEAD", "--wait")
        self.assertNotIn(b"\x1b", self.volt("builds"))
        self.assertIn(b"\x1b[32mpassed\x1b[0m", self.volt("builds", "--color", "always"))
        self.assertNotIn(b"\x1b", self.volt("builds", "--color=never"))

    def test_subjects_do_not_command_the_terminal(self):
        repo = self.repo({"tests/test_a.py": PASSING}, "rude")
        self.commit(repo, {}, "Red \x1b[31m alert \u009b31m")
        self.submit(repo, "HEAD")
        self.assertIn("Red ?[31m alert ??31m",
                      self.volt("builds", "--repo", "rude").decode())

    def test_output_that_is_lost_is_an_error(self):
        build = str(self.submit(self.repo({"tests/test_a.py": PASSING}), "HEAD", "--wait"))
        red = self.repo({"tests/test_a.py": FAILING}, "red")
        for said, rc, *args in (
                ("volt: cannot write the output: No space left on device", 2, "--help"),
                ("volt: cannot write the output: No space left on device", 2, "--version"),
                ("volt: cannot write the output: No space left on device", 2, "help", "log"),
                ("volt log: cannot write the output: No space left on device", 2, "log", "--help"),
                ("volt runners: cannot write the output: No space left on device", 2, "runners"),
                ("volt log: cannot write the output", 2, "log", build),
                ("volt submit: cannot write the output: No space left on device", 1, "submit", red, "HEAD", "--wait")):
            with open("/dev/full", "w") as full:
                got = subprocess.run([VOLT, *args], env=self.env, stdout=full, stderr=subprocess.PIPE,
                                     timeout=PATIENCE_S)
            self.assertEqual((got.returncode, got.stderr.decode()), (rc, said + "\n"))

    def test_help_man_and_completion_know_every_command(self):
        text = self.volt("--help").decode()
        names = [line.split()[0] for line in
                 text.split("Commands:\n")[1].split("\n\n")[0].splitlines()
                 if not line.startswith("   ")]
        self.assertIn("status", names)
        man = self.volt("man").decode()
        for name in names:
            self.assertIn(f"Usage: volt {name} ", self.volt(name, "--help").decode())
            self.assertIn(f".SS \"volt {name}", man)
        script = self.volt("completion", "bash").decode()
        got = subprocess.run(["bash", "-c", script + "COMP_WORDS=(volt sta); COMP_CWORD=1; _volt; "
                              "echo ${COMPREPLY[@]}; COMP_WORDS=(volt log --fo); COMP_CWORD=2; "
                              "_volt; echo ${COMPREPLY[@]}"], stdout=subprocess.PIPE, check=True)
        self.assertEqual(got.stdout, b"status\n--follow\n")
        self.volt("statsu", code=2)
        self.assertEqual(self.said, "volt: unknown command 'statsu'; did you mean 'status'? "
                                    "(see 'volt --help')\n")
        self.assertRegex(self.volt("--version").decode(), r"^volt \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    unittest.main()
