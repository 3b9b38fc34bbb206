"""volt observer with real git repositories and a real dispatcher, which may be absent or killed."""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from ports import free_triple

VOLT = os.environ.get("VOLT", "volt")
PATIENCE_S = 60  # guards against a hang, is not waited for
GIT_ENV = {
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org",
}


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.02)
    raise AssertionError("waited in vain for " + what)


class Repo:
    def __init__(self, path, bare=False):
        self.path = path
        os.makedirs(path)
        self.git("init", "-q", "-b", "main", *(["--bare"] if bare else []))

    def git(self, *args):
        done = subprocess.run(["git", "-C", self.path, *args], env={**os.environ, **GIT_ENV},
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 0, (args, done.stderr)
        return done.stdout.decode().strip()

    def commit(self, subject):
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")


class Process:
    def __init__(self, log, *args):
        self.log = log
        self.out = open(log, "ab")
        self.process = subprocess.Popen([VOLT, *args], stdout=self.out, stderr=self.out,
                                        stdin=subprocess.DEVNULL)

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait_said(self, text):
        wait_for(f"'{text}' in {self.said()}", lambda: text in self.said())

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.out.close()
        return self.process.wait(PATIENCE_S)


class ObserverTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="volt-observer-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.port = free_triple()
        self.server = f"localhost:{self.port}"
        self.logs = 0
        self.dispatcher = None
        self.repo = Repo(os.path.join(self.dir, "demo"))

    def path(self, name):
        return os.path.join(self.dir, name)

    def start(self, *args):
        self.logs += 1
        p = Process(self.path(f"log-{self.logs}"), *args)
        self.addCleanup(p.end, signal.SIGKILL)
        return p

    def start_dispatcher(self):
        self.dispatcher = self.start("dispatcher", "--port", str(self.port), "--data",
                                     self.path("data"))
        self.dispatcher.wait_said("ready")

    def observe(self, *args):
        return self.start("observer", "--dispatcher-server", self.server, "--state",
                          self.path("state"), "--interval", "600s", *args)

    def observe_to_end(self, *args):
        p = self.observe(*args)
        p.process.wait(PATIENCE_S)
        return p

    def builds(self):
        """(ref, commit) of each build, the first one first."""
        done = subprocess.run([VOLT, "builds", "--json", "--max", "500", "--dispatcher-server",
                               self.server],
                              stdout=subprocess.PIPE, check=False)
        if done.returncode:
            return []
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        if len(rows) == 1 and "rows" in rows[0]:
            rows = rows[0]["rows"]
        return [(r["ref"].removeprefix("refs/heads/"), r["oid"])
                for r in sorted(rows, key=lambda r: r["build"])]

    def wait_builds(self, expected):
        wait_for(f"{expected}, there are {self.builds()}", lambda: self.builds() == expected)

    def spooled(self):
        return [os.path.join(d, f) for d, _, files in os.walk(self.path("state"))
                for f in files if os.path.basename(d) == "spool"]

    # ---- what is submitted ----

    def test_latest_submits_head_once_and_then_what_moves(self):
        first = self.repo.commit("first")
        self.repo.git("branch", "old")
        self.start_dispatcher()
        p = self.observe(self.repo.path)
        expected = [("main", first)]
        self.wait_builds(expected)
        # by inotify, for the interval is ten minutes
        self.repo.git("checkout", "-q", "-b", "feature/deep/x")
        expected.append(("feature/deep/x", first))
        self.wait_builds(expected)
        expected.append(("feature/deep/x", self.repo.commit("x1")))
        self.wait_builds(expected)
        self.repo.git("pack-refs", "--all", "--prune")
        self.repo.git("checkout", "-q", "main")
        expected.append(("main", self.repo.commit("after packing")))
        self.wait_builds(expected)
        self.repo.git("branch", "-D", "feature/deep/x")
        self.repo.git("branch", "feature/flat")
        expected.append(("feature/flat", expected[-1][1]))
        self.wait_builds(expected)
        # made again at the same commit: asked again, and it is the same build
        self.repo.git("branch", "feature/deep/x", expected[2][1])
        p.wait_said("(known)")
        self.assertEqual(self.builds(), expected)
        wait_for("an empty spool", lambda: not self.spooled())
        self.assertEqual(p.end(), 0)

    def test_a_push_to_a_bare_repository_is_seen(self):
        bare = Repo(self.path("central.git"), bare=True)
        first = self.repo.commit("first")
        self.repo.git("push", "-q", bare.path, "main")
        self.start_dispatcher()
        p = self.observe(bare.path)
        self.wait_builds([("main", first)])
        p.wait_said(" central main ")
        self.repo.commit("second")
        third = self.repo.commit("third")
        self.repo.git("push", "-q", bare.path, "main", "main:refs/heads/topic")
        wait_for("both branches", lambda: sorted(self.builds()[1:]) ==
                 [("main", third), ("topic", third)])

    def test_what_has_no_commit_at_its_head_is_said_and_waited_for(self):
        empty = Repo(self.path("empty.git"), bare=True)
        headless = Repo(self.path("headless.git"), bare=True)
        first = self.repo.commit("first")
        self.repo.git("push", "-q", headless.path, "main:trunk")
        self.start_dispatcher()
        for args, then in ((["--once"], ""), ([], "; waiting for a push")):
            p = self.observe(*args, empty.path, headless.path)
            p.wait_said(f"empty: no commit yet{then}\n")
            p.wait_said(f"headless: HEAD names 'refs/heads/main', which is not there{then}\n")
            if args:
                self.assertEqual(p.process.wait(PATIENCE_S), 3)
                shutil.rmtree(self.path("state"))
        self.assertEqual(self.builds(), [])
        self.repo.git("push", "-q", empty.path, "main")
        self.wait_builds([("main", first)])
        second = self.repo.commit("second")
        self.repo.git("push", "-q", headless.path, "main")
        self.wait_builds([("main", first), ("main", second)])
        self.assertEqual(p.end(), 0)
        p = self.observe_to_end("--once", empty.path, headless.path)
        self.assertEqual((p.process.returncode, p.said()), (0, ""))

    def test_every_submits_each_commit_in_order(self):
        first = self.repo.commit("first")
        self.repo.commit("second")
        self.start_dispatcher()
        p = self.observe("--policy", "every", self.repo.path)
        expected = [("main", self.repo.git("rev-parse", "HEAD"))]
        self.wait_builds(expected)
        self.assertEqual(p.end(), 0)

        expected += [("main", self.repo.commit(f"c{i}")) for i in range(20)]
        fork = expected[-1][1]
        p = self.observe("--policy", "every", self.repo.path)
        self.wait_builds(expected)
        # a new branch, which is seen when it has commits: what main has not
        self.assertEqual(p.end(), 0)
        self.repo.git("checkout", "-q", "-b", "topic")
        topic = [("topic", self.repo.commit(f"t{i}")) for i in range(3)]
        p = self.observe("--policy", "every", self.repo.path)
        expected += topic
        self.wait_builds(expected)
        # a force push: what is new since the merge base
        self.assertEqual(p.end(), 0)
        self.repo.git("reset", "-q", "--hard", topic[0][1])
        expected += [("topic", self.repo.commit(f"u{i}")) for i in range(2)]
        p = self.observe("--policy", "every", self.repo.path)
        self.wait_builds(expected)
        # set back: the tip, which is known
        self.repo.git("reset", "-q", "--hard", fork)
        expected.append(("topic", fork))
        self.wait_builds(expected)
        self.assertNotIn(first, [oid for _, oid in self.builds()])

    def test_first_parent_and_all_parents(self):
        self.repo.commit("first")
        self.start_dispatcher()
        self.assertEqual(self.observe_to_end("--once", "--policy", "every", "--branch", "main",
                                             self.repo.path).process.returncode, 0)
        self.repo.git("checkout", "-q", "-b", "side")
        side = self.repo.commit("side")
        self.repo.git("checkout", "-q", "main")
        mine = self.repo.commit("mine")
        self.repo.git("merge", "-q", "--no-ff", "-m", "merge", "side")
        merge = self.repo.git("rev-parse", "HEAD")
        shutil.copytree(self.path("state"), self.path("state-before"))
        self.observe_to_end("--once", "--policy", "every", "--branch", "main", self.repo.path)
        self.assertEqual([oid for _, oid in self.builds()[1:]], [mine, merge])
        shutil.rmtree(self.path("state"))
        os.rename(self.path("state-before"), self.path("state"))
        self.observe_to_end("--once", "--policy", "every", "--branch", "main", "--all-parents",
                            self.repo.path)
        self.assertEqual([oid for _, oid in self.builds()[1:]], [mine, merge, side])

    def test_globs_choose_refs(self):
        commit = self.repo.commit("first")
        self.start_dispatcher()
        self.assertEqual(self.observe_to_end("--once", "--branch", "release/*", "--ref", "tags/v*",
                                             self.repo.path).process.returncode, 0)
        self.assertEqual(self.builds(), [])
        self.repo.git("tag", "-a", "v1", "-m", "annotated")
        self.repo.git("tag", "other")
        self.repo.git("branch", "release/1")
        self.repo.commit("second")
        self.observe_to_end("--once", "--branch", "release/*", "--ref", "tags/v*", self.repo.path)
        self.assertEqual(sorted(self.builds()), [("refs/tags/v1", commit), ("release/1", commit)])
        # more refs watched than before: they do not all count as new
        self.observe_to_end("--once", self.repo.path)
        self.assertEqual(len(self.builds()), 3)
        self.assertEqual(self.builds()[-1][0], "main")

    def test_from_now_and_detached_head(self):
        self.repo.commit("first")
        self.start_dispatcher()
        self.assertEqual(self.observe_to_end("--once", "--from-now", self.repo.path)
                         .process.returncode, 0)
        self.assertEqual(self.builds(), [])
        other = Repo(self.path("other"))
        commit = other.commit("first")
        other.git("checkout", "-q", "--detach")
        self.observe_to_end("--once", other.path)
        self.assertEqual(self.builds(), [("HEAD", commit)])

    # ---- nothing is lost ----

    def test_waits_for_a_dispatcher_and_outlives_its_end(self):
        commits = [self.repo.commit("first")]
        p = self.observe("--policy", "every", self.repo.path)
        p.wait_said("no sign of a dispatcher")
        commits.append(self.repo.commit("second"))
        wait_for("two in the spool", lambda: len(self.spooled()) == 2)
        self.start_dispatcher()
        self.wait_builds([("main", c) for c in commits])
        wait_for("an empty spool", lambda: not self.spooled())
        self.dispatcher.end(signal.SIGKILL)
        commits += [self.repo.commit(f"c{i}") for i in range(5)]
        wait_for("five in the spool", lambda: len(self.spooled()) == 5)
        self.start_dispatcher()
        self.wait_builds([("main", c) for c in commits])
        self.assertEqual(p.said().count("no sign of a dispatcher"), p.said().count("is there"))

    def test_is_killed_at_any_time(self):
        commits = [self.repo.commit("first")]
        self.start_dispatcher()
        p = self.observe("--policy", "every", self.repo.path)
        self.wait_builds([("main", commits[0])])
        for i in range(8):
            if i == 3:
                self.dispatcher.end(signal.SIGKILL)
            if i == 5:
                self.start_dispatcher()
            commits += [self.repo.commit(f"{i}.{k}") for k in range(4)]
            time.sleep(0.01 * i)  # here and there in what it does
            p.end(signal.SIGKILL)
            commits.append(self.repo.commit(f"{i} meanwhile"))
            p = self.observe("--policy", "every", self.repo.path)
        self.wait_builds([("main", c) for c in commits])
        wait_for("an empty spool", lambda: not self.spooled())

    def test_an_unsent_commit_of_a_deleted_branch_is_kept(self):
        first = self.repo.commit("first")
        p = self.observe(self.repo.path)
        wait_for("one in the spool", lambda: len(self.spooled()) == 1)
        self.repo.git("checkout", "-q", "-b", "short")
        second = self.repo.commit("second")

        def holds(path):
            try:
                with open(path, "rb") as f:
                    return second.encode() in f.read()
            except FileNotFoundError:  # what it replaces
                return False
        wait_for("it in the spool", lambda: any(map(holds, self.spooled())))
        self.repo.git("checkout", "-q", "main")
        self.repo.git("branch", "-D", "short")
        time.sleep(0.1)
        p.end(signal.SIGKILL)
        self.start_dispatcher()
        self.observe_to_end("--once", self.repo.path)
        self.assertIn(("short", second), self.builds())
        self.assertIn(("main", first), self.builds())

    def test_a_full_disk_loses_nothing(self):
        state = self.path("state")
        os.mkdir(state)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", state],
                                 stderr=subprocess.DEVNULL, check=False).returncode == 0
        if not mounted:
            self.skipTest("may not mount")
        self.addCleanup(subprocess.run, ["umount", "-l", state], check=False)
        commits = [self.repo.commit("first")]
        self.start_dispatcher()
        p = self.observe("--policy", "every", self.repo.path)
        self.wait_builds([("main", commits[0])])
        wait_for("an empty spool", lambda: not self.spooled())
        with open(os.path.join(state, "ballast"), "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 4096)
            except OSError:
                pass
        commits += [self.repo.commit(f"c{i}") for i in range(5)]
        p.wait_said("No space left")
        time.sleep(0.2)
        self.assertEqual(len(self.builds()), 1)
        os.remove(os.path.join(state, "ballast"))
        self.wait_builds([("main", c) for c in commits])

    # ---- repositories and options that are wrong ----

    def test_bad_repositories_are_named_and_the_others_go_on(self):
        commit = self.repo.commit("first")
        os.mkdir(self.path("plain"))
        self.start_dispatcher()
        p = self.observe("--interval", "100ms", self.path("missing"), self.path("plain"),
                         "git://127.0.0.1:1/far", self.repo.path)
        self.wait_builds([("main", commit)])
        for name in ("missing", "plain", "far"):
            p.wait_said(f"{name}: ")
        late = Repo(self.path("missing"))
        later = late.commit("late")
        self.wait_builds([("main", commit), ("main", later)])
        self.assertIn("missing: can be read again", p.said())
        self.assertEqual(p.said().count("'" + self.path("plain") + "'"), 1)
        # removed and made again
        shutil.rmtree(late.path)
        wait_for("the loss to be told", lambda: p.said().count("missing: ") >= 3)
        late = Repo(self.path("missing"))
        again = late.commit("again")
        self.wait_builds([("main", commit), ("main", later), ("main", again)])

    def test_once_with_a_bad_repository_exits_3(self):
        commit = self.repo.commit("first")
        self.start_dispatcher()
        p = self.observe_to_end("--once", self.path("missing"), self.repo.path)
        self.assertEqual(p.process.returncode, 3)
        self.assertIn("No such file", p.said())
        self.assertNotIn("looking again", p.said())
        self.assertEqual(self.builds(), [("main", commit)])

    def test_names(self):
        a, b = Repo(self.path("a/same")), Repo(self.path("b/same.git"))
        commits = [a.commit("a"), b.commit("b")]
        self.start_dispatcher()
        p = self.observe_to_end("--once", a.path, b.path)
        self.assertEqual(p.process.returncode, 2)
        self.assertIn("NAME=", p.said())
        p = self.observe_to_end("--once", a.path, "second=" + b.path)
        self.assertEqual(p.process.returncode, 0)
        self.assertEqual(sorted(c for _, c in self.builds()), sorted(commits))
        # a name that the dispatcher knows for another repository is refused for good
        p = self.observe_to_end("--once", "second=" + a.path)
        self.assertEqual(p.process.returncode, 5)
        self.assertIn("NAME_TAKEN", p.said())

    def test_wrong_options_exit_2_and_a_second_observer_5(self):
        self.repo.commit("first")
        for args in ([], ["--policy", "some", "x"], ["--interval", "0", "x"], ["--name", "a.b", "x"],
                     ["--dispatcher-server", "a:b", "x"], ["--no-such", "x"], [""]):
            done = subprocess.run([VOLT, "observer", "--state", self.path("state"), *args],
                                  stderr=subprocess.PIPE, timeout=PATIENCE_S, check=False)
            self.assertEqual(done.returncode, 2, (args, done.stderr))
        p = self.observe(self.repo.path)
        wait_for("the spool", self.spooled)
        second = self.observe_to_end(self.repo.path)
        self.assertEqual(second.process.returncode, 5)
        self.assertIn("another observer", second.said())
        self.assertEqual(p.end(signal.SIGINT), 0)

    # ---- remotes, addresses, cost ----

    def serve(self):
        """The temporary directory behind a git:// URL."""
        port = free_triple()
        daemon = subprocess.Popen(
            ["git", "daemon", f"--port={port}", "--listen=127.0.0.1", "--export-all",
             "--reuseaddr", "--base-path=" + self.dir, self.dir], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def end():
            os.killpg(daemon.pid, signal.SIGTERM)
            daemon.wait(PATIENCE_S)
        self.addCleanup(end)

        def there():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        wait_for("git daemon", there)
        return f"git://127.0.0.1:{port}/"

    def test_a_remote_with_latest(self):
        self.start_dispatcher()
        url = self.serve() + "demo"
        expected = [("main", self.repo.commit("first"))]
        self.repo.git("branch", "other")
        self.observe("--interval", "100ms", url)
        self.wait_builds(expected)
        self.repo.commit("second")
        expected.append(("main", self.repo.commit("third")))
        wait_for("the tip", lambda: self.builds()[-1] == expected[-1])
        self.assertNotIn("other", [ref for ref, _ in self.builds()])

    def test_a_remote_with_every(self):
        self.start_dispatcher()
        url = self.serve() + "demo"
        expected = [("main", self.repo.commit("first"))]
        p = self.observe("--policy", "every", "--interval", "100ms", url)
        self.wait_builds(expected)
        self.assertEqual(p.end(), 0)
        expected += [("main", self.repo.commit(f"c{i}")) for i in range(10)]
        self.repo.git("checkout", "-q", "-b", "topic")
        topic = [("topic", self.repo.commit(f"t{i}")) for i in range(3)]
        p = self.observe("--policy", "every", "--interval", "100ms", url)
        wait_for("all", lambda: len(self.builds()) == 14)
        builds = self.builds()
        self.assertEqual([b for b in builds if b[0] == "main"], expected)
        self.assertEqual([b for b in builds if b[0] == "topic"], topic)
        p.wait_said(" c9: build")

    def test_any_form_of_address(self):
        self.repo.commit("first")
        self.start_dispatcher()
        try:
            with socket.socket(socket.AF_INET6) as s:
                s.bind(("::1", 0))
            hosts = ("127.0.0.1", "[::1]", "localhost")
        except OSError:  # no IPv6 on this machine
            hosts = ("127.0.0.1", "localhost")
        for host in hosts:
            self.server = f"{host}:{self.port}"
            commit = self.repo.commit(host)
            p = self.observe_to_end("--once", self.repo.path)
            self.assertEqual(p.process.returncode, 0, p.said())
            self.assertIn(("main", commit), self.builds())

    def test_an_idle_one_uses_no_cpu(self):
        self.repo.commit("first")
        self.start_dispatcher()
        p = self.observe("--interval", "1s", self.repo.path)
        wait_for("its build", self.builds)
        time.sleep(0.5)

        def cpu_ticks():
            with open(f"/proc/{p.process.pid}/stat", encoding="ascii") as f:
                fields = f.read().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])
        before = cpu_ticks()
        time.sleep(3)
        self.assertLess(cpu_ticks() - before, 15)  # of 300


if __name__ == "__main__":
    unittest.main()
