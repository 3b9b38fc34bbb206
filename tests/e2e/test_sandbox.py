"""Sandboxes: what runs in one writes only its own, meets no other process, and ends like any other."""
import os
import shutil
import signal
import socket
import subprocess
import sys

import harness
from harness import wait_for

FILE = ".volt.yml"
CONNECT = """import socket, sys
s = socket.socket()
s.settimeout(20)
print('rc', s.connect_ex(('127.0.0.1', int(sys.argv[1]))))
"""


class Sandbox(harness.Case):
    def begin(self, text, files=None, runner=(), **kw):
        self.repo = self.repository(files={FILE: text, **(files or {})})
        self.dispatcher()
        self.runner(*runner, **kw)
        self.events = self.tail()
        self.observer(self.repo.path)
        return self.repo.head()

    def done(self, oid):
        return self.events.wait("build_done", oid=oid)[0]

    def log(self, what):
        return self.ask("log", what).decode()

    def listen(self):
        """A port of this machine's loopback that answers."""
        s = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(s.close)
        return s.getsockname()[1]

    def without_bwrap(self):
        """A PATH with all there is but bwrap."""
        os.mkdir(self.path("bin"))
        for name in os.listdir("/usr/bin"):
            if name != "bwrap":
                os.symlink(f"/usr/bin/{name}", self.path("bin", name))
        return {"PATH": self.path("bin")}

    def processes_inside(self):
        """Those of jobs: they have their workspace in the environment."""
        found = {}
        for pid, command in harness.processes_of(self.dir).items():
            try:
                with open(f"/proc/{pid}/environ", "rb") as f:
                    if b"VOLT_WORKSPACE=" in f.read():
                        found[pid] = command
            except OSError:
                pass
        return found

    # ---- files and processes ----

    def test_only_its_own_directories_are_writable(self):
        os.mkdir(self.path("secrets"), 0o700)
        with open(os.open(self.path("secrets", "TOKEN"), os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
            f.write("hunter2hunter2")
        home = os.path.expanduser("~")
        oid = self.begin(f"""
jobs:
  a:
    sandbox: bwrap
    secrets: TOKEN
    script: |
      for d in . "$HOME" "$TMPDIR" "$VOLT_OUTPUT" /tmp /dev/shm; do
        echo x > "$d/new-file" && test -s "$d/new-file"
      done
      for d in / /usr /etc /var/tmp {home} "$VOLT_SECRETS_DIR"; do
        if (echo x > "$d/new-file") 2> /dev/null; then echo "wrote $d"; fi
      done
      echo x > {self.path("outside")}
      mount -o remount,rw / 2> /dev/null && echo remounted
      cat {self.path("secrets")}/* {self.path("secrets")} {self.path("runner.d")}/id 2> /dev/null && echo read
      ls {self.path("runner.d")} {self.path("runner.d")}/home/1
      test "$(cat "$VOLT_SECRETS_DIR/TOKEN")" = "$TOKEN"
      git log --format=%s
      test "$PWD" = "$VOLT_WORKSPACE"
      test $(ls -d /proc/[0-9]* | wc -l) -lt 10
""", runner=("--secrets", self.path("secrets")))
        done = self.done(oid)
        self.assertEqual(self.log("1/a"), f"{self.path('runner.d')}:\nhome\npool\n\n"
                         f"{self.path('runner.d')}/home/1:\nhome\noutput\ntmp\n"
                         "commit 1 of the test\n")
        self.assertEqual(done["verdict"], "passed")
        self.assertFalse(os.path.exists(self.path("outside")))
        for d in ("/", "/usr", "/etc", "/var/tmp", home):
            self.assertFalse(os.path.exists(os.path.join(d, "new-file")))

    def test_the_runner_says_where_jobs_run_that_do_not(self):
        out = self.path("outside")
        oid = self.begin(f"jobs:\n  a: {{script: 'test $$ -lt 10; echo x > {out}.a'}}\n"
                         f"  b: {{sandbox: host, script: 'test $$ -gt 10; echo x > {out}.b'}}\n"
                         "  t: {tests: {files: t/*, run: \"test $$ -lt 10; ./{}\"}}\n",
                         {"t/a": "#!/bin/sh\necho $PPID\n"}, runner=("--sandbox", "bwrap"))
        self.assertEqual(self.done(oid)["verdict"], "passed")
        self.assertFalse(os.path.exists(out + ".a"))
        self.assertTrue(os.path.exists(out + ".b"))
        oid = self.repo.commit({FILE: None, "t/a": None, "tests/test_a.py": harness.PYTHON_PASS,
                                "tests/test_b.py": harness.PYTHON_FAIL, "tests/run":
                                "#!/bin/sh\ntest $$ -lt 10\n", "tests/bare": b"#!\ntest $$ -lt 10\n"})
        self.done(oid)
        self.assertEqual(self.events.tests(oid),
                         {"tests/test_a.py": "passed", "tests/test_b.py": "failed",
                          "tests/run": "passed", "tests/bare": "passed"})

    # ---- the end ----

    def test_all_that_a_job_started_ends_with_it(self):
        daemon = "(setsid sh -c \"trap '' TERM HUP; while :; do sleep 1; done\" > /dev/null 2>&1 &)"
        oid = self.begin(f"""
jobs:
  leaves:
    sandbox: bwrap
    script: |
      {daemon}
      sleep .2
  slow:
    sandbox: bwrap
    timeout: 3s
    script: |
      {daemon}
      trap 'echo asked to end; exit 3' TERM
      while :; do sleep .1; done
  hangs:
    sandbox: bwrap
    network: false
    script: |
      {daemon}
      {self.gate().replace("#!/bin/sh", "")[1:].replace(chr(10), chr(10) + "      ")}
""", runner=("--slots", "3"))
        self.events.wait("job_done", job="leaves", verdict="passed")
        self.events.wait("job_done", job="slow", verdict="timeout")
        self.assertIn("asked to end", self.log("1/slow").splitlines())
        self.events.wait("running", job="hangs")
        wait_for("what hangs", lambda: [c for c in self.processes_inside().values() if "trap" in c])
        self.ask("cancel", "1")
        self.done(oid)
        self.events.wait("job_done", job="hangs", verdict="canceled")
        self.assertEqual(self.processes_inside(), {})

    def test_what_a_setup_leaves_stays_in_its_own_sandbox(self):
        oid = self.begin("""
jobs:
  t:
    sandbox: bwrap
    tests:
      files: t/*
      batch: 1
      setup: |
        test $$ -lt 10
        echo made > made
        echo once >> setups
        (while echo ok; do sleep .05; done > /dev/null; touch died) &
        echo $! > pid
        python3 serve.py &
        while [ ! -e port ]; do sleep .05; done
      run: |
        test $$ -lt 10; test -e made; test "$(cat setups)" = once; test ! -e died
        python3 ask.py; sh {}
""", {"t/a": "exit 0\n", "t/b": "exit 0\n", "t/c": "exit 3\n",
            "serve.py": "import socket, time\ns = socket.create_server(('127.0.0.1', 0))\n"
            "open('port.new', 'w').write(str(s.getsockname()[1]))\n"
            "import os\nos.rename('port.new', 'port')\nwhile True: s.accept()[0].send(b'hello')\n",
            "ask.py": "import socket\nport = int(open('port').read())\n"
            "assert socket.create_connection(('127.0.0.1', port)).recv(9) == b'hello'\n"})
        self.done(oid)
        self.assertEqual(self.events.tests(oid), {"t/a": "passed", "t/b": "passed", "t/c": "failed"})
        self.assertTrue([c for c in self.processes_inside().values() if "serve.py" in c])
        oid = self.repo.commit({FILE: "jobs: {a: {sandbox: bwrap, script: x=1}}\n"})
        self.assertEqual(self.done(oid)["verdict"], "passed")
        self.assertEqual(self.processes_inside(), {})

    def test_a_killed_executor_takes_its_sandbox_along(self):
        self.begin("jobs: {a: {sandbox: bwrap, script: \"(setsid sleep 1000 &); sleep 1000\"}}\n")
        runner = next(p for p in self.processes if p.name == "runner")
        wait_for("the job", lambda: [c for c in self.processes_inside().values() if c == "sleep 1000 "])
        first = self.processes_inside()
        os.kill(self.executors(runner)[1], signal.SIGKILL)
        wait_for("the end of all of it", lambda: not any(map(harness.alive, first)))

    # ---- the network ----

    def test_without_network_there_is_a_loopback_of_its_own(self):
        port = self.listen()
        own = CONNECT + """
t = socket.create_server(('127.0.0.1', 0))
print('own', socket.socket().connect_ex(t.getsockname()))
print([name for _, name in socket.if_nameindex()])
"""
        check = f"python3 own.py {port}"
        oid = self.begin(f"jobs:\n  open: {{script: {check}}}\n"
                         f"  off: {{network: false, script: \"{check}; echo x > {self.path('outside')}\"}}\n"
                         f"  closed: {{sandbox: bwrap, script: {check}}}\n"
                         f"  both: {{sandbox: bwrap, network: false, script: {check}}}\n",
                         {"own.py": own})
        self.assertEqual(self.done(oid)["verdict"], "passed")
        for job in ("open", "closed"):
            self.assertTrue(self.log(f"1/{job}").startswith("rc 0\nown 0\n"), job)
        for job in ("off", "both"):
            self.assertEqual(self.log(f"1/{job}"), "rc 111\nown 0\n['lo']\n", job)
        self.assertTrue(os.path.exists(self.path("outside")))  # files are as on the host

    # ---- runners that cannot ----

    def test_a_runner_that_cannot_says_so(self):
        oid = self.begin("jobs:\n  a: {sandbox: bwrap, script: x=1}\n  b: {script: x=1}\n"
                         "  c: {network: false, script: x=1}\n", environment=self.without_bwrap())
        wait_for("the reason", lambda: b"gave it back" in self.ask("status"))
        self.assertEqual(self.done(oid)["verdict"], "errored")
        why = {e["job"]: e.get("why") for e in self.events.events("job_done")}
        self.assertEqual(why, {
            "a": "runner: this runner cannot do 'sandbox: bwrap': bubblewrap (bwrap) is not installed "
                 "there", "b": None,
            "c": "runner: this runner cannot do 'network: false': bubblewrap (bwrap) is not installed "
                 "there"})
        # Once it is there and works, it can.
        with open(self.path("bin", "bwrap"), "w") as f:
            f.write("#!/bin/sh\necho No permissions >&2\nexit 1\n")
        os.chmod(self.path("bin", "bwrap"), 0o755)
        self.assertEqual(self.done(self.repo.commit())["verdict"], "errored")
        self.assertEqual(self.events.events("job_done", job="a")[-1]["why"],
                         "runner: this runner cannot do 'sandbox: bwrap': bwrap does not work here: "
                         "No permissions")
        os.unlink(self.path("bin", "bwrap"))
        os.symlink(shutil.which("bwrap"), self.path("bin", "bwrap"))
        self.assertEqual(self.done(self.repo.commit())["verdict"], "passed")

    def test_another_runner_is_asked_when_one_cannot(self):
        self.begin("jobs: {a: {script: x=1}}\n", environment=self.without_bwrap())
        self.runner(name="able")
        self.ask("cordon", "able")
        oid = self.repo.commit({FILE: "jobs:\n  a: {sandbox: bwrap, script: test $VOLT_RUNNER = able}\n"})
        self.events.wait("requeued", oid=oid, code="UNABLE")
        self.ask("resume", "able")  # before the other one has given it back three times
        self.assertEqual(self.done(oid)["verdict"], "passed")

    def test_a_runner_does_not_start_with_a_sandbox_that_it_cannot_do(self):
        self.volt("runner", "--dispatcher-server", "localhost:1", "--work", self.path("r"),
                  "--sandbox", "bwrap", rc=2, env={**self.environment, **self.without_bwrap()})
        self.assertEqual(self.said, "volt runner: --sandbox bwrap: bubblewrap (bwrap) is not installed "
                                    "there\n")


if __name__ == "__main__":
    if subprocess.run(["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
                       "--unshare-pid", "--unshare-net", "true"], check=False,
                      stderr=subprocess.DEVNULL).returncode if shutil.which("bwrap") else True:
        print("bwrap is not installed, or does not work here", file=sys.stderr)
        sys.exit(77)
    harness.main()
