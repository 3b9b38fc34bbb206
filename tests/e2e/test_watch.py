"""From a push to its result: what is watched, over which roads, and what moves how."""
import http.server
import os
import signal
import socket
import subprocess
import threading
import time

import harness
from harness import FAIL, PASS, wait_for
from ports import free_triple


class Watch(harness.Case):
    def system(self, *args, **kw):
        self.dispatcher()
        self.runner()
        self.tail_of = self.tail()
        if args:
            return self.observer(*args, **kw)
        return None

    def submitted(self, repo=None):
        """[(branch, commit)]"""
        return [(e["ref"].removeprefix("refs/heads/"), e["oid"])
                for e in self.tail_of.events("submitted") if repo in (None, e["repo"])]

    def verdict(self, oid):
        return self.tail_of.verdict(oid)

    def settled(self):
        """Nothing more is submitted than was: a look at every repository lies between."""
        before = len(self.submitted())
        time.sleep(1)
        return len(self.submitted()) == before

    # ---- what moves ----

    def test_latest_and_every(self):
        repo = self.repository(files={"tests/a.sh": PASS}, bare=True)
        self.dispatcher()
        self.runner()
        self.tail_of = self.tail()
        every = self.observer("--policy", "every", "every=" + repo.path, name="observer2")
        self.observer("latest=" + repo.path)
        first = repo.head()
        self.tail_of.wait("build_done", 2, oid=first)
        oids = [repo.commit({"n": str(i)}, push=False) for i in range(4)]
        broken = repo.commit({"tests/a.sh": FAIL}, push=False)
        fixed = repo.commit({"tests/a.sh": PASS}, push=False)
        repo.push()  # six commits at once
        self.tail_of.wait("build_done", 2, oid=fixed)
        self.assertEqual(self.submitted("every"), [("main", o) for o in
                                                   [first, *oids, broken, fixed]])
        self.assertEqual(self.submitted("latest"), [("main", first), ("main", fixed)])
        self.assertEqual(self.verdict(broken), "failed")
        self.assertTrue(every.running())

    def test_branches_come_move_and_go(self):
        repo = self.repository(files={"tests/a.sh": PASS}, bare=True)
        self.system("--policy", "every", repo.path)
        first = repo.head()
        want = [("main", first)]
        self.verdict(first)
        repo.git("checkout", "-q", "-b", "topic/one")
        for i in range(2):  # a new branch: what no other branch has
            want.append(("topic/one", repo.commit({"n": str(i)}, push=False)))
        repo.push()
        self.verdict(want[-1][1])
        self.assertEqual(self.submitted(), want)
        repo.git("reset", "-q", "--hard", first)  # a forced push: another history
        for i in range(2):
            want.append(("topic/one", repo.commit({"m": str(i)}, push=False)))
        repo.push("--force", "origin", "HEAD")
        self.verdict(want[-1][1])
        self.assertEqual(self.submitted(), want)
        repo.push("--force", "origin", f"{first}:refs/heads/topic/one")  # back: on this branch
        want.append(("topic/one", first))                                # it was not tested
        self.tail_of.wait("build_done", 2, oid=first)
        repo.push("origin", ":topic/one")  # gone
        self.assertTrue(self.settled())
        repo.push("origin", "HEAD:topic/one")  # there again, with commits that are known
        self.assertTrue(self.settled())
        repo.git("checkout", "-q", "main")
        want.append(("main", repo.commit({"a": "b"})))
        self.verdict(want[-1][1])
        self.assertEqual(self.submitted(), want)
        self.assertEqual(len(self.json("builds")), len(want))

    def test_a_restart_in_the_middle(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        observer = self.system("--policy", "every", repo.path)
        oids = [repo.head()]
        self.verdict(oids[0])
        for i in range(3):
            self.assertIn(observer.stop(), (0, -signal.SIGTERM))  # it has just been started
            oids += [repo.commit({"n": f"{i} {j}"}) for j in range(3)]
            observer = self.observer("--policy", "every", repo.path)
            if i == 1:
                observer.kill()
                observer = self.observer("--policy", "every", repo.path)
        for oid in oids:
            self.assertEqual(self.verdict(oid), "passed")
        self.assertEqual(self.submitted(), [("main", oid) for oid in oids])

    def test_from_now_and_once(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        observer = self.system("--from-now", repo.path)
        observer.wait_said("is there")
        self.assertTrue(self.settled())
        second = repo.commit({"n": "2"})
        self.verdict(second)
        self.assertEqual(self.submitted(), [("main", second)])
        once = self.observer("--once", "again=" + repo.path, name="once")
        self.assertEqual(once.wait(), 0)
        self.tail_of.wait("submitted", repo="again")
        self.assertEqual(self.submitted("again"), [("main", second)])

    def test_a_push_is_seen_at_once(self):
        repo = self.repository(files={"tests/a.sh": PASS}, bare=True)
        self.dispatcher()
        self.runner()
        self.tail_of = self.tail()
        observer = self.start("observer", "observer", "--dispatcher-server", self.server, "--state",
                              self.path("observer.d"), "--interval", "1h", repo.path)
        observer.wait_said("build 1")
        for i in range(3):
            oid = repo.commit({"n": str(i)})
            self.assertEqual(self.verdict(oid), "passed")

    # ---- which repositories ----

    def test_several_repositories_bare_and_not(self):
        repos = [self.repository(f"r{i}{'.git' if i % 2 else ''}", {"tests/a.sh": PASS, "n": str(i)},
                                 bare=bool(i % 2)) for i in range(4)]
        self.system(*[r.path for r in repos])
        for repo in repos:
            self.assertEqual(self.verdict(repo.head()), "passed")
            moved = repo.commit({"n": "x" + repo.name})
            self.assertEqual(self.verdict(moved), "passed")
            self.assertEqual([o for _, o in self.submitted(repo.name)][-1], moved)
        self.assertEqual({e["repo"] for e in self.tail_of.events("submitted")},
                         {"r0", "r1", "r2", "r3"})

    def test_a_worktree_and_a_relative_path(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        repo.git("worktree", "add", "-q", self.path("tree"), "-b", "side")
        self.system("./demo/", cwd=self.dir)
        self.assertEqual(self.verdict(repo.head()), "passed")
        self.observer("side=tree", name="observer2", cwd=self.dir)
        wait_for("the worktree's branch", lambda: ("side", repo.head()) in self.submitted("side"))

    def test_two_of_one_name(self):
        one = self.repository("one/same", {"tests/a.sh": PASS, "n": "1"})
        two = self.repository("two/same", {"tests/a.sh": PASS, "n": "2"})
        self.dispatcher()
        self.runner()
        self.tail_of = self.tail()
        self.volt("observer", "--dispatcher-server", self.server, "--state", self.path("s"),
                  one.path, two.path, rc=2)
        self.assertIn("same", self.said)
        first = self.observer(one.path, "--once", name="first")
        self.assertEqual(first.wait(), 0)
        other = self.observer(two.path, name="second")  # from elsewhere: the dispatcher notices
        other.wait_said("NAME_TAKEN")
        self.tail_of.wait("submitted")
        self.assertEqual(self.submitted(), [("main", one.head())])
        third = self.observer("other=" + two.path, name="third")
        self.assertEqual(self.verdict(two.head()), "passed")
        self.assertTrue(third.running())

    def test_the_same_repository_twice(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        self.system(repo.path)
        self.observer(repo.path, name="observer2")  # as after a move to another machine
        self.verdict(repo.head())
        second = repo.commit({"n": "2"})
        self.verdict(second)
        self.assertTrue(self.settled())
        self.assertEqual(len(self.submitted()), 2)
        self.volt("observer", "--dispatcher-server", self.server, "--state", self.path("s"),
                  repo.path, repo.path, "--once", rc=None)
        self.assertEqual(len(self.json("builds")), 2)

    def test_bad_ones_are_named_and_the_others_go_on(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        os.mkdir(self.path("plain"))
        self.write("file")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            dead = f"http://127.0.0.1:{s.getsockname()[1]}/far.git"
            observer = self.system(self.path("plain"), self.path("missing"), self.path("file"),
                                   dead, repo.path)
            self.assertEqual(self.verdict(repo.head()), "passed")
            for name in ("plain", "missing", "file", "far"):
                observer.wait_said(f"{name}: ")
            time.sleep(1)  # three more looks
            for name in ("plain", "missing", "file", "far"):
                self.assertEqual(observer.said().count(f"{name}: "), 1, observer.said())
        late = self.repository("missing", {"tests/a.sh": PASS, "n": "late"})
        self.assertEqual(self.verdict(late.head()), "passed")

    # ---- over which roads ----

    def follow_url(self, url, repo):
        self.system("--policy", "every", url)
        self.assertEqual(self.verdict(repo.head()), "passed")
        self.assertEqual(self.ask("log", "1/tests/a.sh"), b"fine\n")
        oids = [repo.commit({"n": str(i)}, push=False) for i in range(2)]
        oids.append(repo.commit({"tests/a.sh": FAIL}, push=False))
        repo.push()
        self.assertEqual([self.verdict(oid) for oid in oids], ["passed", "passed", "failed"])
        repo.git("commit", "-q", "--amend", "-m", "amended")
        repo.push("--force", "origin", "HEAD")
        self.assertEqual(self.verdict(repo.head()), "failed")
        self.assertEqual({e["repo"] for e in self.tail_of.events("submitted")}, {"far"})

    def test_a_file_url(self):
        repo = self.repository("far.git", {"tests/a.sh": PASS}, bare=True)
        self.follow_url("file://" + repo.path, repo)

    def test_a_git_url(self):
        repo = self.repository("far.git", {"tests/a.sh": PASS}, bare=True)
        port = free_triple()
        daemon = subprocess.Popen(
            ["git", "daemon", f"--port={port}", "--listen=127.0.0.1", "--export-all",
             "--reuseaddr", "--base-path=" + self.dir, self.dir], start_new_session=True,
            env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)

        def end():
            os.killpg(daemon.pid, signal.SIGTERM)
            daemon.wait(10)
        self.addCleanup(end)

        def there():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0
        wait_for("git daemon", there)
        self.follow_url(f"git://127.0.0.1:{port}/far.git", repo)

    def test_an_http_url(self):
        repo = self.repository("far.git", {"tests/a.sh": PASS}, bare=True)
        environment = {**self.environment, "GIT_PROJECT_ROOT": self.dir,
                       "GIT_HTTP_EXPORT_ALL": "1"}

        class Backend(http.server.BaseHTTPRequestHandler):
            """git http-backend, by the book (RFC 3875)."""

            def answer(self):
                path, _, query = self.path.partition("?")
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                p = subprocess.run(["git", "http-backend"], input=body, stdout=subprocess.PIPE, env={
                    **environment, "PATH_INFO": path, "QUERY_STRING": query,
                    "REQUEST_METHOD": self.command, "CONTENT_LENGTH": str(len(body)),
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}, check=False)
                head, _, content = p.stdout.partition(b"\r\n\r\n")
                fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
                self.send_response(next((int(v[:3]) for k, v in fields if k == "Status"), 200))
                for k, v in fields:
                    if k != "Status":
                        self.send_header(k, v)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer

            def log_message(self, *_):
                pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def end():
            server.shutdown()
            server.server_close()
            thread.join()
        self.addCleanup(end)
        self.follow_url(f"http://127.0.0.1:{server.server_port}/far.git", repo)


if __name__ == "__main__":
    harness.main()
