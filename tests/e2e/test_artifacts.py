"""What a job leaves is kept, listed, fetched, and there for the jobs that need it."""
import hashlib
import os
import re
import signal
import sqlite3
import struct
import subprocess
import time

import harness

FILE = ".volt.yml"

BOTH = """
jobs:
  make:
    labels: [one]
    script: |
      mkdir -p dist/sub
      echo binary > dist/app
      chmod 755 dist/app
      echo text > dist/sub/notes
      ln -s app dist/link
      echo secret > left-out
    artifacts: ["dist/**"]
  use:
    labels: [two]
    needs: make
    script: |
      test -x dist/app
      test ! -e left-out
      cat dist/link dist/sub/notes
"""


class Artifacts(harness.Case):
    def build(self, text, files=None, **kw):
        """Tests a commit with that pipeline file; returns its build_done."""
        self.repo = self.repository(files={FILE: text, **(files or {})})
        self.tail_of = self.everything(self.repo, **kw)
        return self.tail_of.wait("build_done", oid=self.repo.head())[0]

    def jobs(self, build=1):
        return {e["job"]: e["verdict"] for e in self.tail_of.events("job_done", build=build)}

    def log(self, what):
        return self.ask("log", what).decode()

    def listed(self, what="1"):
        return {(f["job"], f["path"]): f["bytes"] for f in self.json("artifacts", what)}

    def kept(self):
        """Files of archives at the dispatcher."""
        return sorted(n for n in os.listdir(self.path("dispatcher/logs")) if "artifacts" in n)

    def test_a_job_has_the_artifacts_of_those_it_needs_on_another_runner(self):
        self.repo = self.repository(files={FILE: BOTH})
        self.dispatcher()
        self.runner("--labels", "one")
        self.runner("--labels", "two", name="runner2")
        self.tail_of = self.tail()
        self.observer(self.repo.path)
        self.tail_of.wait("build_done", build=1)
        self.assertEqual(self.jobs(), {"make": "passed", "use": "passed"})
        self.assertIn("binary\ntext\n", self.log("1/use"))
        self.assertIn("volt: restored artifacts of job 'make'", self.log("1/use"))
        self.assertEqual(self.listed(), {("make", "dist/app"): 7, ("make", "dist/sub"): 0,
                                         ("make", "dist/sub/notes"): 5, ("make", "dist/link"): 0})
        self.assertEqual(self.listed("1/make"), self.listed())
        self.ask("artifacts", "1/use", rc=3)
        self.ask("artifacts", "7", rc=3)
        self.assertIn("dist/sub/notes", self.ask("artifacts", "1").decode())
        self.assertRegex(self.ask("build", "1").decode(), r"1 job left artifacts, \d+ bytes packed: volt artifacts 1\n")

    def test_artifacts_are_fetched_into_a_directory(self):
        self.build(BOTH.replace("labels: [one]", "").replace("labels: [two]", ""))
        there = self.path("there")
        for _ in range(2):  # over what is there already
            self.ask("artifacts", "1", "--get", there)
            with open(os.path.join(there, "make/dist/sub/notes")) as f:
                self.assertEqual(f.read(), "text\n")
            self.assertTrue(os.access(os.path.join(there, "make/dist/app"), os.X_OK))
            self.assertEqual(os.readlink(os.path.join(there, "make/dist/link")), "app")
            os.unlink(os.path.join(there, "make/dist/app"))
            os.mkdir(os.path.join(there, "make/own"))
            os.rmdir(os.path.join(there, "make/own"))
        self.assertEqual(os.listdir(there), ["make"])  # nothing beside it is left

    def test_a_failed_job_leaves_its_artifacts_too(self):
        done = self.build("""
jobs:
  fails: {script: [echo why > report, exit 3], artifacts: [report]}
  tells: {needs: fails, always: true, script: cat report}
""")
        self.assertEqual(done["verdict"], "failed")
        self.assertEqual(self.jobs(), {"fails": "failed", "tells": "passed"})
        self.assertTrue(self.log("1/tells").endswith("why\n"))
        self.assertEqual(self.listed(), {("fails", "report"): 4})

    def test_a_glob_that_matches_nothing_is_told_and_fails_nothing(self):
        done = self.build("""
jobs:
  none: {script: echo done, artifacts: ["*.core", "dist/"]}
  next: {needs: none, script: echo next}
""")
        self.assertEqual(done["verdict"], "passed")
        self.assertEqual(self.log("1/none"), "done\nvolt: no artifacts: no file matches\n")
        self.assertEqual(self.log("1/next"), "next\n")
        self.ask("artifacts", "1", rc=3)
        self.assertEqual(self.kept(), [])

    def test_too_much_is_not_kept_and_fails_nothing(self):
        done = self.build("""
jobs:
  much: {script: head -c 2000000 /dev/zero > big, artifacts: [big]}
""", dispatcher=("--max-artifacts", "1M"))
        self.assertEqual(done["verdict"], "passed")
        self.assertIn("volt: artifacts are not kept: more than 1048576 bytes, with 'big'",
                      self.log("1/much"))
        task = self.json("build", "1")[0]["tasks"][-1]
        self.assertIn("artifacts were not kept", task["why"])
        self.ask("artifacts", "1", rc=3)

    def test_of_a_script_that_is_tried_again_the_newest_try_counts(self):
        self.build(f"""
jobs:
  two:
    retry: 1
    script: |
      echo x >> {self.path("tries")}
      n=$(wc -l < {self.path("tries")})
      echo $n > out$n
      test $n = 2
    artifacts: ["out*"]
  use: {{needs: two, script: ls out*}}
""")
        self.assertEqual(self.jobs(), {"two": "flaky", "use": "passed"})
        self.assertEqual(self.listed(), {("two", "out2"): 2})
        self.assertTrue(self.log("1/use").endswith("out2\n"))

    def test_each_batch_of_tests_leaves_its_own(self):
        done = self.build("""
jobs:
  suite:
    tests: {files: ["tests/*.sh"], run: "sh {}", batch: 1}
    artifacts: ["out/*"]
  use: {needs: suite, script: cat out/*}
""", {f"tests/{n}.sh": f"mkdir -p out; echo {n} > out/{n}\n" for n in "abcd"})
        self.assertEqual(done["verdict"], "passed")
        files = self.json("artifacts", "1")
        self.assertEqual(sorted(f["path"] for f in files), ["out/" + n for n in "abcd"])
        self.assertEqual(len({f["task"] for f in files}), 4)
        self.assertTrue(self.log("1/use").endswith("a\nb\nc\nd\n"))

    def test_a_retried_build_restores_what_passed_before(self):
        ready = self.path("ready")
        self.build(f"""
jobs:
  make: {{script: echo made > product, artifacts: [product]}}
  use: {{needs: make, script: "cat product; test -e {ready}"}}
""")
        self.assertEqual(self.jobs(), {"make": "passed", "use": "failed"})
        open(ready, "x").close()
        self.ask("retry", "1", "--wait")
        self.assertTrue(self.log("2/use").endswith("made\n"))
        self.assertEqual(self.listed("2"), {("make", "product"): 5})
        self.assertEqual(self.json("artifacts", "2")[0]["build"], 1)

    def big(self, mib=50):
        """A pipeline whose artifact does not get smaller, and is checked where it is needed."""
        return f"""
jobs:
  make:
    script: |
      head -c {mib << 20} /dev/urandom > big
      sha256sum big > sum
      if [ -e gate ]; then ./gate; fi
    artifacts: [big, sum]
  use: {{needs: make, script: sha256sum -c sum}}
"""

    def wait_stream(self, least=1 << 20):
        """Until some of the archive has come."""
        def some():
            directory = self.path("dispatcher/logs")
            return any(os.path.getsize(os.path.join(directory, n)) > least for n in self.kept())
        harness.wait_for("a piece of the archive", some)

    def test_fifty_megabytes_survive_the_death_of_every_process(self):
        self.killed = True
        self.repo = self.repository(files={FILE: self.big()})
        dispatcher = self.dispatcher()
        runner = self.runner()
        self.tail_of = self.tail()
        self.observer(self.repo.path)
        self.wait_stream()
        dispatcher.kill()
        dispatcher = self.dispatcher()
        self.wait_stream()
        runner.kill()
        time.sleep(0.2)
        self.runner(name="runner")
        self.tail_of.wait("build_done", build=1)
        self.assertEqual(self.jobs(), {"make": "passed", "use": "passed"})
        self.assertIn("big: OK", self.log("1/use"))
        self.ask("artifacts", "1", "--get", self.path("got"), "--timeout", "60s")
        with open(self.path("got/make/big"), "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        self.assertIn(digest, self.read("got/make/sum"))
        harness.wait_for("an empty spool", lambda: not os.listdir(self.path("runner.d/spool")))

    def test_files_told_by_a_lost_attempt_run_again_for_what_they_left(self):
        self.killed = True
        self.repo = self.repository(files={FILE: """
jobs:
  suite: {tests: {files: ["t/*"], run: "sh {}", batch: 2}, artifacts: ["out/*"]}
  use: {needs: suite, script: cat out/*}
""", "t/a": "mkdir -p out; echo $VOLT_ATTEMPT a > out/a\n",
                                            "t/b": self.gate(after="mkdir -p out; echo $VOLT_ATTEMPT b > out/b")})
        self.dispatcher()
        runner = self.runner()
        self.tail_of = self.tail()
        self.observer(self.repo.path)
        self.wait_start()
        self.tail_of.wait("test_done", file="t/a")
        os.kill(self.executors(runner)[1], signal.SIGKILL)
        self.go()
        self.tail_of.wait("build_done", build=1)
        self.assertEqual(self.jobs(), {"suite": "passed", "use": "passed"})
        self.assertTrue(self.log("1/use").endswith("2 a\n2 b\n"))
        self.assertEqual(len(self.tail_of.events("test_done", file="t/a")), 1)

    def test_a_runner_that_is_stopped_while_it_packs_gives_the_job_back(self):
        self.repo = self.repository(files={FILE: self.big(60), "gate": self.gate()})
        dispatcher = self.dispatcher()
        runner = self.runner()
        self.tail_of = self.tail()
        self.observer(self.repo.path)

        def packs():
            return any(re.search(r"^volt carry .* out ", line)
                       for line in harness.processes_of(self.path("runner.d")).values())
        self.wait_start()
        dispatcher.send(signal.SIGSTOP)  # it takes nothing, so that the packing does not end
        self.go()
        harness.wait_for("the packing", packs)
        runner.send(signal.SIGINT)
        harness.wait_for("its end", lambda: not packs())
        dispatcher.send(signal.SIGCONT)
        runner.wait()
        self.tail_of.wait("requeued", job="make")
        self.runner()
        self.tail_of.wait("build_done", build=1)
        self.assertEqual(self.jobs(), {"make": "passed", "use": "passed"})
        self.assertIn("big: OK", self.log("1/use"))

    def test_inputs_for_which_there_is_no_room_wait_or_go_elsewhere(self):
        work = self.small_disk("runner2.d", "24m")
        self.repo = self.repository(files={FILE: BOTH.replace("echo binary >", "head -c 30000000 /dev/urandom >")
                                           .replace("cat dist/link", "wc -c dist/app")})
        self.dispatcher()
        self.runner("--labels", "one")
        self.runner("--labels", "two", name="runner2")
        self.tail_of = self.tail()
        self.observer(self.repo.path)
        back = self.tail_of.wait("requeued", job="use")[0]
        self.assertEqual(back["code"], "DISK")
        self.assertTrue(back["why"])
        inputs = [os.path.join(base, f) for base, _, names in os.walk(work) for f in names if f.endswith(".part")]
        self.assertEqual(inputs, [])  # else all that the runner does would find no room
        subprocess.run(["mount", "-o", "remount,size=100m", work], check=True)
        self.tail_of.wait("build_done", build=1)
        self.assertEqual(self.jobs(), {"make": "passed", "use": "passed"})

    def test_inputs_that_find_no_room_when_unpacked_leave_no_checkout(self):
        work = self.small_disk("runner2.d", "24m")
        self.repo = self.repository(files={FILE: BOTH.replace("echo binary >", "head -c 30000000 /dev/zero >")
                                           .replace("cat dist/link", "wc -c dist/app")})
        self.dispatcher()
        self.runner("--labels", "one")
        self.runner("--labels", "two", name="runner2")
        self.tail_of = self.tail()
        self.observer(self.repo.path)
        self.assertEqual(self.tail_of.wait("requeued", job="use")[0]["code"], "DISK")
        self.assertEqual(os.listdir(os.path.join(work, "pool", "1")), [])
        subprocess.run(["mount", "-o", "remount,size=100m", work], check=True)
        self.tail_of.wait("build_done", build=1)
        self.assertEqual(self.jobs(), {"make": "passed", "use": "passed"})

    def test_an_attempt_without_its_inputs_is_errored_and_says_why(self):
        ready = self.path("ready")
        self.build(f"""
jobs:
  make: {{script: echo made > product, artifacts: [product]}}
  use: {{needs: make, script: "test -e {ready}"}}
""")
        os.unlink(self.path("dispatcher/logs", self.kept()[0]))
        self.ask("artifacts", "1", rc=3)
        self.assertIn("no longer kept", self.said)
        open(ready, "x").close()
        for name in os.listdir(self.path("runner.d/inputs")):
            os.unlink(self.path("runner.d/inputs", name))
        self.ask("retry", "1", "--wait", rc=1)
        done = self.tail_of.wait("job_done", job="use", build=2)[0]
        self.assertEqual(done["verdict"], "errored")
        self.assertIn("no longer kept", done["why"])

    def test_artifacts_go_with_their_build(self):
        self.build("jobs: {make: {script: echo x > y, artifacts: [y]}}\n")
        self.assertEqual(len(self.kept()), 1)
        for p in list(self.processes):
            if p.name == "dispatcher":
                p.stop()
        db = sqlite3.connect(self.path("dispatcher/volt.db"))
        with db:  # long ago
            db.execute("UPDATE build SET finished_ms = 1000, created_ms = 1000")
        db.close()
        self.dispatcher("--keep-days", "1")
        harness.wait_for("the archive to go", lambda: not self.kept())
        self.ask("artifacts", "1", rc=3)

    def test_what_no_attempt_has_is_removed_at_the_start(self):
        self.build("jobs: {make: {script: echo x > y, artifacts: [y]}}\n")
        mine = self.kept()
        for p in list(self.processes):
            if p.name == "dispatcher":
                p.stop()
        newer = ["999-1.artifacts", mine[0].replace("-1.", "-2.")]  # of a newer volt.db, perhaps
        for name in ["1-1.artifacts", *newer]:
            self.write(f"dispatcher/logs/{name}", "stray")
        db = sqlite3.connect(self.path("dispatcher/volt.db"))
        with db:  # its file stays behind when the dispatcher is killed just then
            db.execute("DELETE FROM task WHERE task = 1")
        db.close()
        self.write("dispatcher/logs/1-1", "stray")
        self.dispatcher()
        kept = set(os.listdir(self.path("dispatcher/logs"))) - {"2-1"}  # a log that was streamed
        self.assertEqual(kept, {*mine, *newer})

    def forge(self, *transform):
        """Puts an archive with a right digest in the place of the one that is kept."""
        archive = self.path("dispatcher/logs", self.kept()[0])
        subprocess.run(["tar", "--zstd", "-P", "-cf", archive, "-C", self.path("evil"), *transform],
                       check=True)
        with open(archive, "rb") as f:
            digest = hashlib.blake2b(f.read(), digest_size=32).digest()
        with open(archive, "ab") as f:  # src/exec/seal.h
            f.write(struct.pack("<II", 0x184D2A5E, len(digest)) + digest)
        for p in [p for p in self.processes if p.name == "dispatcher" and p.running()]:
            p.stop()
        db = sqlite3.connect(self.path("dispatcher/volt.db"))
        with db:
            db.execute("UPDATE task SET artifact_bytes = ? WHERE artifact_bytes > 0",
                       (os.path.getsize(archive),))
        db.close()
        self.dispatcher()

    def test_an_archive_made_by_an_enemy_writes_nothing_outside(self):
        self.build("jobs: {make: {script: echo x > y, artifacts: [y]}}\n")
        victim, got = self.path("victim"), self.path("got")
        self.write("victim", "untouched")
        os.makedirs(self.path("evil"))
        os.symlink(self.dir, self.path("evil/link"))
        self.write("evil/payload", "overwritten")
        self.forge("--transform", "s,payload,plain,", "payload")
        self.ask("artifacts", "1", "--get", got)  # what is forged this way is read
        self.assertEqual(self.read("got/make/plain"), "overwritten")
        for name in ("../../victim", victim, "link/victim", ".git/config", "a/../../../victim"):
            self.forge("--transform", f"s,^payload$,{name},", "link", "payload")
            self.ask("artifacts", "1", "--get", got, rc=None)
            self.assertEqual(self.read("victim"), "untouched", name)
            self.assertEqual(os.listdir(self.path("got/make")), ["plain"], name)
            self.assertEqual(os.listdir(got), ["make"], name)

    def test_a_link_that_leads_out_is_not_fetched(self):
        self.build("""
jobs:
  make:
    script: [mkdir d, ln -s /etc/passwd d/out, ln -s ../../x d/up, ln -s . d/here, echo f > d/f]
    artifacts: [d]
""")
        self.ask("artifacts", "1", "--get", self.path("got"))
        self.assertEqual(sorted(os.listdir(self.path("got/make/d"))), ["f", "here"])
        self.assertIn("2 symbolic links that lead out", self.said)


if __name__ == "__main__":
    harness.main()
