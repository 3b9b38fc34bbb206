"""What one commit's tests leave behind, and what they see of the runner: nothing."""
import os

import harness
from harness import alive, wait_for

# Leaves whatever a test may leave in its workspace.
LITTER = r"""#!/bin/sh
set -e
echo x >untracked; mkdir -p empty/dir ignored; echo x >ignored.o; echo x >ignored/file
echo changed >tracked; rm deleted; chmod +x plain; rm -rf folder; echo now a file >folder
ln -sf /nowhere link; mkdir nested; git init -q nested; echo x >nested/file
(cd nested; git -c user.name=a -c user.email=b add file
 git -c user.name=a -c user.email=b commit -q -m nested)
git config core.bare true; git config alias.status '!exit 9'; git config core.hooksPath /nowhere
mkdir -p .git/hooks; echo 'exit 9' >.git/hooks/post-checkout; chmod +x .git/hooks/post-checkout
mkdir -p .git/info; echo tracked >.git/info/exclude; echo '* text eol=crlf' >.git/info/attributes
touch .git/index.lock; mkdir -p noaccess/below; chmod 0 noaccess
python3 -c 'import os
os.mkfifo("fifo")
open(b"odd \xff\n name", "w")'
echo "$HOME"; echo x >"$HOME/.profile"; echo x >"$HOME/.gitconfig"
"""
# Compares with what git says, without believing the workspace's own .git/config.
CLEAN = r"""#!/bin/sh
find . -path ./.git -prune -o -print | LC_ALL=C sort
echo; cat tracked plain folder/file deleted; ls -l plain | cut -c1-10; readlink link
test ! -e .git/hooks/post-checkout && test ! -e .git/index.lock || exit 3
test "$(git rev-parse HEAD)" = "$VOLT_COMMIT" || exit 4
git status --porcelain --ignored || exit 5
test -z "$(git status --porcelain --ignored)" || exit 6
test -z "$(ls -A "$HOME")" || { ls -A "$HOME"; exit 7; }
"""


class Workspace(harness.Case):
    def files(self, script):
        return {"tests/unit.sh": script, "tracked": "tracked\n", "deleted": "deleted\n",
                "plain": "plain\n", "folder/file": "in a folder\n", ".gitignore": "*.o\nignored\n"}

    def build(self, script):
        """The output of a unit."""
        repo = self.repository(files={"tests/unit.sh": script})
        self.tail_of = tail = self.everything(repo)
        self.assertEqual(tail.verdict(repo.head()), "passed")
        return self.ask("log", "1/tests/unit.sh").decode()

    def newest_log(self):
        return self.ask("log", str(self.json("builds", "-n", "1")[0]["build"])).decode()

    # ---- a clean workspace ----

    def test_is_clean_of_what_the_last_commit_left(self):
        repo = self.repository()
        os.symlink("folder/file", os.path.join(repo.path, "link"))
        clean = repo.commit(self.files(CLEAN))
        self.dispatcher()
        self.runner()
        tail = self.tail()
        self.observer("--policy", "every", repo.path)
        self.assertEqual(tail.verdict(clean), "passed")
        fresh = self.newest_log()
        for _ in range(2):
            littered = repo.commit(self.files(LITTER))
            self.assertEqual(tail.verdict(littered), "passed", self.newest_log())
            clean = repo.commit(self.files(CLEAN))
            self.assertEqual(tail.verdict(clean), "passed", self.newest_log())
            self.assertEqual(self.newest_log(), fresh)

    def test_of_another_repository_is_another_one(self):
        one = self.repository("one", {"tests/unit.sh": "#!/bin/sh\ntouch left; ls; pwd\n"})
        two = self.repository("two", {"tests/unit.sh": "#!/bin/sh\nls; pwd\n"})
        tail = self.everything(one, two)
        for repo in (one, two):
            self.assertEqual(tail.verdict(repo.head()), "passed")
        build = {b["repo"]: str(b["build"]) for b in self.json("builds")}
        said = {repo: self.ask("log", build[repo]).decode().split() for repo in ("one", "two")}
        self.assertEqual(said["two"][:-1], ["tests"])
        self.assertNotEqual(said["one"][-1], said["two"][-1])

    def test_the_users_repository_is_never_touched(self):
        repo = self.repository(files={"tests/unit.sh": "#!/bin/sh\n" "git config core.bare true\n"
                                      "git tag made && git branch made-too && git gc -q; exit 0\n",
                                      "tests/test_py.py": harness.PYTHON_PASS})

        def state():
            found = {}
            for at, _, names in os.walk(repo.path):
                for name in names:
                    with open(os.path.join(at, name), "rb") as f:
                        found[os.path.join(at, name)] = f.read()
            return found
        before = state()
        tail = self.everything(repo)
        self.assertEqual(tail.verdict(repo.head()), "passed")
        self.assertEqual(state(), before)

    # ---- nothing of the runner's ----

    def test_the_runners_environment_does_not_leak(self):
        secrets = {"AWS_SECRET_ACCESS_KEY": "hush-1", "GITHUB_TOKEN": "hush-2",
                   "SSH_AUTH_SOCK": "/tmp/hush-3", "PYTHONPATH": "/hush-4", "LD_LIBRARY_PATH":
                   "/hush-5", "GIT_DIR": "/hush-6", "BASH_ENV": "/hush-7", "VOLT_KEY": "hush-8",
                   "http_proxy": "http://hush-9", "TZ": "Etc/GMT-3"}
        repo = self.repository(files={"tests/unit.sh": "#!/bin/sh\nenv | sort\n"})
        self.dispatcher()
        self.runner(environment=secrets)
        tail = self.tail()
        self.ask("submit", repo.path, "main")
        self.assertEqual(tail.verdict(repo.head()), "passed")
        said = self.ask("log", "1").decode()
        self.assertNotIn("hush", said)
        environment = dict(line.partition("=")[::2] for line in said.splitlines())
        want = {"CI": "true", "VOLT": "true", "VOLT_REPO": "demo", "VOLT_COMMIT": repo.head(),
                "VOLT_BRANCH": "main", "VOLT_REF": "refs/heads/main", "VOLT_BUILD": "1",
                "VOLT_JOB": "tests", "VOLT_ATTEMPT": "1", "VOLT_RUNNER": "runner",
                "TZ": "Etc/GMT-3", "PATH": os.environ["PATH"]}
        self.assertEqual({k: environment.get(k) for k in want}, want)
        self.assertTrue(environment["HOME"].startswith(self.path("runner.d")), environment["HOME"])
        known = set(want) | {"VOLT_TASK", "VOLT_WORKSPACE", "VOLT_OUTPUT", "VOLT_TEST_FILES",
                             "HOME", "LANG", "PWD", "OLDPWD", "SHLVL", "_", "TMPDIR"}
        self.assertEqual(set(environment) - known, set())

    def test_a_task_has_no_descriptors_of_the_executors(self):
        said = self.build("#!/usr/bin/python3\nimport os\n"
                          "for fd in range(3, 200):\n"
                          "    try: print(fd, os.readlink(f'/proc/self/fd/{fd}'))\n"
                          "    except OSError: pass\n"
                          "print(os.readlink('/proc/self/fd/0'))\n"
                          "import signal\n"
                          "print([s for s in range(1, 32) if s not in (9, 19) and "
                          "signal.getsignal(s) == signal.SIG_IGN and s not in (13, 25)])\n"
                          "print(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n")
        self.assertEqual(said, "/dev/null\n[]\nset()\n")

    # ---- nothing goes on ----

    def test_a_daemon_that_was_left_is_gone(self):
        pids = self.path("pids")
        self.build("#!/usr/bin/python3\nimport os, signal, time\n"
                   "def note():\n"
                   f"    with open({pids!r}, 'a') as f: f.write(f'{{os.getpid()}}\\n')\n"
                   "for stubborn in (False, True):\n"
                   "    if os.fork() == 0:\n"
                   "        os.setsid()\n"
                   "        if os.fork(): os._exit(0)\n"
                   "        os.setsid(); os.chdir('/')\n"
                   "        for fd in range(3): os.close(fd)\n"
                   "        if stubborn: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
                   "        note(); time.sleep(1000)\n"
                   "    os.wait()\n"
                   f"while len(open({pids!r}).readlines() if os.path.exists({pids!r}) else []) < 2:\n"
                   "    time.sleep(.02)\n")
        found = [int(pid) for pid in self.read("pids").split()]
        self.assertEqual(len(found), 2)
        self.assertEqual([pid for pid in found if alive(pid)], [])

    def test_a_background_process_that_holds_the_output(self):
        said = self.build(f"#!/bin/sh\n(echo $$; sleep 1000) & echo $! >{self.path('pid')}\n"
                          "sleep .1; echo done\n")
        self.assertIn("done\n", said)
        self.assertFalse(alive(int(self.read("pid"))))
        self.assertLess(self.tail_of.events("test_done")[0]["duration_ms"], 5000)

    def test_a_fork_bomb_of_sleepers_is_gone(self):
        self.build("#!/bin/sh\ni=0; while [ $i -lt 60 ]; do setsid sleep 1000 & i=$((i+1)); done\n"
                   "(trap '' TERM; while :; do sleep 1; done) &\nexit 0\n")
        wait_for("their end", lambda: not [c for c in harness.processes_of(
            self.path("runner.d")).values() if "sleep" in c])

    # ---- output ----

    def test_big_output_comes_whole(self):
        sizes = {"small": 100, "at": 16384, "over": 16385, "big": 300_000, "huge": 3_000_000}
        repo = self.repository(files={
            f"tests/{name}": "#!/usr/bin/python3\nimport sys\n"
                             f"sys.stdout.write('{name[0]}' * 99 + '\\n' * 1)\n"
                             f"sys.stdout.write(('{name}' * {size})[:{size - 100}])\n"
            for name, size in sizes.items()})
        tail = self.everything(repo)
        self.start("files", "tail", "--dispatcher-server", self.server, "--results",
                   self.path("results"), "--from", "start")
        oid = repo.head()
        self.assertEqual(tail.verdict(oid), "passed")
        self.assertEqual({e["file"]: e["log_len"] for e in tail.events("test_done")},
                         {f"tests/{n}": s for n, s in sizes.items()})
        path = self.path("results", "demo", oid)
        wait_for("the file", lambda: os.path.exists(path))
        result = {name: output for _, name, output in harness.read_result(path).units}
        for name, size in sizes.items():
            want = (name[0] * 99 + "\n" + (name * size)[:size - 100]).encode()
            self.assertEqual(len(want), size)
            self.assertTrue(result[f"tests/{name}"] == want, name)
            self.assertTrue(self.ask("log", f"1/tests/tests/{name}") == want, name)

    def test_output_is_streamed_while_it_runs(self):
        repo = self.repository(files={"tests/a.sh": "#!/bin/sh\nseq 1 9000\n" +
                                      self.gate(after="seq 9001 9009")})
        self.dispatcher()
        self.runner()
        tail = self.tail("--logs", "--from", "start")
        self.ask("submit", repo.path, "main")
        want = b"".join(b"%d\n" % i for i in range(1, 9010))

        def text():
            pieces = sorted((e.get("off", 0), e["text"].encode()) for e in tail.events("log"))
            return b"".join(piece for _, piece in pieces)
        wait_for("output before the end", lambda: b"\n9000\n" in text())
        self.assertEqual(tail.events("test_done"), [])
        self.go()
        tail.verdict(repo.head())
        wait_for("the end of the output", lambda: text() == want)


if __name__ == "__main__":
    harness.main()
