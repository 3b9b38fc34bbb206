"""Secrets: given to jobs that may have them, as variables and files, and never seen anywhere else."""
import base64
import os
import signal
import urllib.parse

import harness
from harness import wait_for

FILE = ".volt.yml"
TOKEN = "t0ps3cret/T0ken+of=ours"
KEY = "-----BEGIN KEY-----\nMIIBOgIBAAJBAKj34GkxFhD90v\nabc\n-----END KEY-----\n"


class Secrets(harness.Case):
    def put(self, **secrets):
        """A file each, in the directory that runners are told of."""
        where = self.path("secrets")
        os.makedirs(where, 0o700, exist_ok=True)
        for name, text in secrets.items():
            fd = os.open(os.path.join(where, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(fd, text.encode())
            os.close(fd)
        return where

    def begin(self, text, files=None, runner=None):
        self.repo = self.repository(files={FILE: text, **(files or {})})
        if runner is None:
            runner = ("--secrets", self.put(TOKEN=TOKEN + "\n", KEY=KEY))
        self.dispatcher()
        self.runner(*runner)
        self.events = self.tail()
        self.tail("--from", "start", "--logs", name="live").wait("runner_up")
        self.observer(self.repo.path)
        return self.repo.head()

    def done(self, oid):
        return self.events.wait("build_done", oid=oid)[0]

    def next_build(self, text, files=None):
        return self.done(self.repo.commit({FILE: text, **(files or {})}))

    def log(self, what):
        return self.ask("log", what).decode()

    def places(self, runner="runner.d"):
        """Where secrets' files may be while a task runs."""
        st = os.stat(self.path(runner))
        return [place for slot in (1, 2)
                for place in (f"/dev/shm/volt-{st.st_dev:x}-{st.st_ino:x}-{slot}",
                              self.path(runner, "home", str(slot), "secrets"))]

    def assert_nowhere(self, *texts):
        """Not in any file of the test, but the secrets themselves; nor in anybody's arguments."""
        texts = [t.encode() for t in texts]
        own = [self.path("secrets"), *self.places()]
        for top, _, names in os.walk(self.dir):
            if any(top.startswith(place) for place in own):
                continue
            for name in names:
                try:
                    with open(os.path.join(top, name), "rb") as f:
                        found = f.read()
                except OSError:
                    continue  # a socket, or gone
                for text in texts:
                    self.assertNotIn(text, found, os.path.join(top, name))
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    command = f.read()
            except OSError:
                continue
            for text in texts:
                self.assertNotIn(text, command)

    # ---- given, and hidden ----

    def test_a_secret_is_a_variable_and_a_file_and_shows_nowhere(self):
        gate = self.gate().replace("#!/bin/sh\n", "")
        oid = self.begin(f"""
env: {{TOKEN: plain}}
jobs:
  deploy:
    secrets: [TOKEN, KEY]
    script: |
      echo "token is $TOKEN, $(printf %s "$TOKEN" | wc -c) bytes"
      echo "$KEY" | sed 's/^/> /'
      cat "$VOLT_SECRETS_DIR/KEY"
      wc -c < "$VOLT_SECRETS_DIR/TOKEN"
      stat -c %a "$VOLT_SECRETS_DIR" "$VOLT_SECRETS_DIR/KEY"
      echo "$VOLT_SECRETS_DIR" > {self.path("where")}
      {gate.replace(chr(10), chr(10) + "      ")}
  other:
    script: env | grep -c SECRET && exit 1; test "$TOKEN" = plain
""", runner=("--slots", "2", "--secrets", self.put(TOKEN=TOKEN + "\n", KEY=KEY)))
        self.wait_start()
        where = self.read("where").strip()
        self.assertIn(where, self.places())
        self.assertTrue(os.path.exists(where))
        parts = (TOKEN, "MIIBOgIBAAJBAKj34GkxFhD90v", "BEGIN KEY",
                 base64.b64encode(TOKEN.encode()).decode()[:-4])
        wait_for("the live log", lambda: "token is ***" in self.read("live.out"))
        self.assert_nowhere(*parts)
        self.go()
        self.assertEqual(self.done(oid)["verdict"], "passed")
        self.assertEqual(self.log("1/deploy"), f"token is ***, {len(TOKEN)} bytes\n"
                         f"> ***\n> ***\n> abc\n> ***\n***\n{len(TOKEN) + 1}\n700\n600\n")
        self.assertFalse(os.path.exists(where))
        self.assert_nowhere(*parts)

    def test_a_secret_is_hidden_however_it_is_written(self):
        shows = """import base64, os, sys, time, urllib.parse
t = os.environ['TOKEN']
for c in 'by bytes: ' + t + '!\\n':
    os.write(1, c.encode())
    time.sleep(.002)
b = lambda s: base64.b64encode(s.encode()).decode()
print(b(t), b('x' + t), b('xy' + t + 'z'), base64.urlsafe_b64encode(t.encode()).decode())
print(urllib.parse.quote(t), urllib.parse.quote(t, safe=''), urllib.parse.quote_plus(t))
print(os.environ['KEY'].splitlines()[1])
print(base64.encodebytes(os.environ['LONG'].encode()).decode(), end='')
sys.stdout.flush()
os.write(2, b'x' * 70000 + t.encode() + b'y' * 70000 + b'\\n')
os.write(1, t.encode()[:-1])
"""
        long = "".join(f"{i:x}." for i in range(300))
        oid = self.begin("jobs:\n  a: {secrets: [TOKEN, KEY, LONG], script: python3 show.py}\n",
                         {"show.py": shows},
                         runner=("--secrets", self.put(TOKEN=TOKEN, KEY=KEY, LONG=long)))
        self.assertEqual(self.done(oid)["verdict"], "passed")
        log = self.log("1/a")
        b = base64.b64encode(TOKEN.encode()).decode()
        self.assert_nowhere(TOKEN, b[:-4], urllib.parse.quote(TOKEN, safe=""), "MIIBOg",
                            *(base64.b64encode(long.encode()).decode()[i:i + 60]
                              for i in range(0, 800, 60)))
        lines = log.splitlines()
        self.assertEqual(lines[0], "by bytes: ***!")
        for word in lines[1].split():  # some bits of the first and last bytes are left
            self.assertRegex(word, r"^\w{0,3}\*\*\*[\w=]{0,4}$")
        self.assertEqual(lines[2], "*** *** ***")
        self.assertEqual(lines[3], "***")
        self.assertEqual(lines[4:-3], ["***"] * (len(lines) - 7))
        self.assertRegex(lines[-3], r"^\*\*\*[\w=]{0,3}$")
        self.assertEqual(lines[-2], "x" * 70000 + "***" + "y" * 70000)
        self.assertEqual(lines[-1], TOKEN[:-1])  # not one of ours: it is not whole

    def test_a_report_that_quotes_one_is_hidden_too(self):
        oid = self.begin("""
jobs:
  t:
    secrets: [TOKEN]
    tests: {files: "t/*", run: "sh {}", report: "junit:report.xml"}
""", {"t/a": """
echo "<testsuite><testcase name='says $TOKEN'><failure message='got $TOKEN'/></testcase></testsuite>" > report.xml
"""})
        self.assertEqual(self.done(oid)["verdict"], "failed", self.ask("build", "1").decode())
        case, = self.json("build", "1")[0]["tests"][0]["test_cases"]
        self.assertEqual((case["name"], case["message"]), ("says ***", "got ***"))
        for name in os.listdir(self.path("dispatcher")):
            path = self.path("dispatcher", name)
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    self.assertNotIn(TOKEN.encode(), f.read(), name)

    def test_the_parts_of_a_log_stay_right(self):
        files = {f"t/{i}": f"echo {i} $TOKEN; printf %s $TOKEN\n" for i in range(5)}
        oid = self.begin("jobs:\n  a: {secrets: TOKEN, tests: {files: t/*, run: \"sh {}\"}}\n", files)
        self.assertEqual(self.done(oid)["verdict"], "passed")
        for i in range(5):
            self.assertEqual(self.log(f"1/a/t/{i}"), f"{i} ***\n***")
        self.assert_nowhere(TOKEN)

    def test_a_prompt_shows_before_its_line_ends(self):
        gate = self.gate().replace("#!/bin/sh\n", "").replace("\n", "\n      ")
        oid = self.begin("jobs:\n  a:\n    secrets: TOKEN\n    script: |\n"
                         f"      printf 'go on? '\n      {gate}\n")
        self.wait_start()
        wait_for("the prompt", lambda: self.read("runner.d", "spool", "2-1.log") == "go on? ")
        self.go()
        self.assertEqual(self.done(oid)["verdict"], "passed")

    def test_files_of_a_killed_executor_are_removed(self):
        gate = self.gate().replace("#!/bin/sh\n", "").replace("\n", "\n      ")
        oid = self.begin(f"jobs:\n  a:\n    secrets: TOKEN\n    script: |\n"
                         f"      ls -d $VOLT_SECRETS_DIR/TOKEN > {self.path('where')}\n      {gate}\n")
        self.wait_start()
        where = self.read("where").strip()
        self.assertTrue(os.path.exists(where))
        runner = next(p for p in self.processes if p.name == "runner")
        os.kill(self.executors(runner)[1], signal.SIGKILL)
        self.wait_start(n=2)
        self.go()
        self.assertEqual(self.done(oid)["verdict"], "passed")
        self.assertFalse(os.path.exists(where))

    # ---- whose they are ----

    def test_only_the_default_branch_has_them_unless_more_is_said(self):
        text = "jobs: {a: {secrets: TOKEN, script: test -n \"$TOKEN\"}}\n"
        self.assertEqual(self.done(self.begin(text))["verdict"], "passed")
        self.repo.git("checkout", "-q", "-b", "topic")
        oid = self.repo.commit()
        self.events.wait("requeued", oid=oid, code="UNABLE")
        wait_for("the reason", lambda: b"only the default branch gets secrets"
                 in self.ask("status"))
        self.assertEqual(self.done(oid)["verdict"], "errored")
        done, = self.events.events("job_done", oid=oid)
        self.assertEqual(done["why"], "runner: secret 'TOKEN' is not for topic of demo at this "
                         "runner: only the default branch gets secrets; --secrets-for 'demo:topic' "
                         "would allow it")
        self.assertEqual(len(self.events.events("requeued", oid=oid, code="UNABLE")), 2)
        self.runner("--secrets", self.path("secrets"), "--secrets-for", "demo:main",
                    "--secrets-for", "d*:to*", name="generous")
        self.assertEqual(self.done(self.repo.commit())["verdict"], "passed")
        oid = self.repo.commit(push=False)
        self.repo.git("checkout", "-q", "main")
        self.repo.git("update-ref", "refs/pull/1/head", oid)
        self.volt("submit", "--dispatcher-server", self.server, "--ref", "refs/pull/1/head",
                  self.repo.path, oid)
        done = wait_for("the pull request", lambda: self.events.events("build_done", ref="refs/pull/1/head"))
        self.assertEqual(done[0]["verdict"], "errored")

    def test_another_runner_is_asked_when_one_has_it_not(self):
        self.repo = self.repository(files={
            FILE: "jobs: {a: {secrets: TOKEN, script: \"test $VOLT_RUNNER = rich\"}}\n"})
        self.dispatcher()
        self.runner(name="poor")
        self.runner("--secrets", self.put(TOKEN=TOKEN), name="rich")
        self.ask("cordon", "rich")
        self.events = self.tail()
        self.observer(self.repo.path)
        oid = self.repo.head()
        refused = self.events.wait("requeued", oid=oid)[0]
        self.assertEqual((refused["code"], refused["why"]),
                         ("UNABLE", "this runner has no secrets, and 'TOKEN' is wanted: start it with "
                                    "--secrets PATH"))
        self.ask("resume", "rich")  # before the poor one has given it back three times
        self.assertEqual(self.done(oid)["verdict"], "passed")

    def test_what_is_missing_or_too_short_is_errored_with_the_reason(self):
        done = self.done(self.begin("jobs: {a: {secrets: [TOKEN, NONE], script: x=1}}\n"))
        self.assertEqual(done["verdict"], "errored")
        self.assertEqual(self.events.events("job_done")[-1]["why"],
                         "runner: this runner has no secret 'NONE'")
        self.put(NONE="12345")
        self.assertEqual(self.next_build("jobs: {a: {secrets: NONE, script: x=1}}\n")["verdict"], "errored")
        self.assertIn("'NONE' is shorter than 6 characters", self.events.events("job_done")[-1]["why"])
        os.chmod(self.path("secrets", "TOKEN"), 0o644)
        self.assertEqual(self.next_build("jobs: {a: {secrets: TOKEN, script: x=1}}\n")["verdict"], "errored")
        self.assertIn("open to other users (mode 644)", self.events.events("job_done")[-1]["why"])

    def test_a_secret_may_change_while_the_runner_runs(self):
        text = "jobs: {a: {secrets: TOKEN, script: \"echo $TOKEN; printf %s $TOKEN | sha256sum\"}}\n"
        logs = []
        self.begin(text, runner=("--secrets", self.put(TOKEN="first-value")))
        self.assertEqual(self.done(self.repo.head())["verdict"], "passed")
        logs.append(self.log("1/a"))
        self.put(TOKEN="second-value")
        self.assertEqual(self.done(self.repo.commit())["verdict"], "passed")
        logs.append(self.log("2/a"))
        self.assertNotEqual(logs[0], logs[1])
        for log in logs:
            self.assertEqual(log.splitlines()[0], "***")
        self.assert_nowhere("first-value", "second-value")

    def test_one_file_of_lines_does_too(self):
        fd = os.open(self.path("secrets"), os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, b"# ours\nTOKEN=hunter2hunter2\n")
        os.close(fd)
        oid = self.begin("jobs: {a: {secrets: TOKEN, script: \"echo a${TOKEN}b\"}}\n",
                         runner=("--secrets", self.path("secrets")))
        self.assertEqual(self.done(oid)["verdict"], "passed")
        self.assertEqual(self.log("1/a"), "a***b\n")

    def test_up_hands_them_to_its_runners(self):
        text = "jobs: {a: {secrets: TOKEN, script: \"echo $TOKEN; exit 1\"}}\n"
        repo = self.repository(files={FILE: text})
        said = self.volt("up", "--once", "--secrets", self.put(TOKEN=TOKEN), repo.path, rc=1)
        self.assertIn(b"      | ***\n", said)
        said = self.volt("up", "--once", "--secrets", self.put(TOKEN=TOKEN), "--secrets-for", "demo:x",
                         "--secrets-for", "other", repo.path, rc=1)
        self.assertIn(b"its --secrets-for do not name it", said)

    def test_a_runner_does_not_start_with_secrets_that_others_can_read(self):
        where = self.put(TOKEN=TOKEN)
        self.server = "localhost:1"

        def refused(says, *more):
            self.volt("runner", "--dispatcher-server", self.server, "--work", self.path("r"),
                      "--secrets", where, *more, rc=2)
            self.assertEqual(self.said.count("\n"), 1, self.said)
            self.assertIn(says, self.said)
        os.chmod(where, 0o750)
        refused(f"--secrets: secrets '{where}' are open to other users (mode 750): chmod go= '{where}'")
        os.chmod(where, 0o700)
        self.put(SHORT="abc")
        refused("secret 'SHORT' is shorter than 6 characters")
        os.unlink(os.path.join(where, "SHORT"))
        refused("give REPO or REPO:BRANCH", "--secrets-for", ":x")
        if os.geteuid() == 0:
            os.chown(where, 4242, 0)
            refused("belong to user 4242")
        where = self.path("nowhere")
        refused("No such file or directory")


if __name__ == "__main__":
    harness.main()
