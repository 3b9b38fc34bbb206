"""A disk that is full, or fails, under a dispatcher that nobody starts again."""
import os
import shutil
import subprocess

import harness
from harness import PASS, wait_for

MIB = 1 << 20


class Disk(harness.Case):
    def fill(self, path):
        with open(os.path.join(path, "filler"), "ab", buffering=0) as f:
            block = b"x" * 65536
            while block:
                try:
                    f.write(block)
                except OSError:
                    block = block[:len(block) // 2]

    def assert_whole_history(self, tail):
        """The tail's numbers have no gap, and what it saw is what is stored."""
        seen = tail.all()
        self.assertEqual([e["seq"] for e in seen], list(range(1, len(seen) + 1)))
        self.assertEqual(self.json("tail", "--from", "start", "--count", str(len(seen))), seen)

    def test_a_disk_that_is_full_for_a_while(self):
        repo = self.repository(files={"tests/a.sh": self.gate()})
        dispatcher = self.dispatcher()
        self.runner()
        tail = self.tail()
        waits = self.start("waits", "submit", "--dispatcher-server", self.server, repo.path, "main", "--wait")
        tail.wait("running")
        self.wait_start()
        self.limit_files(dispatcher, 4096)  # room for what it says, but not for a page of the store
        self.go()
        dispatcher.wait_said("trying again in 400 ms")
        self.ask("status", rc=5)
        self.assertIn("cannot use its data directory", self.said)
        self.ask("submit", repo.path, "main", rc=5)
        # What brings a job its inputs says "not now", so that the order is given back.
        self.ask("carry", "--", "in", "1", self.path("elsewhere"), "tests", rc=4)
        self.assertEqual(tail.events("build_done"), [])
        self.assertTrue(waits.running())
        self.limit_files(dispatcher)
        self.assertEqual(tail.verdict(repo.head()), "passed")
        dispatcher.wait_said("has room again")
        self.assertEqual(waits.wait(), 0)
        self.ask("rebuild", "1", "--wait")
        self.assertTrue(dispatcher.running())
        self.assertEqual([a["att"] for t in self.json("build", "1") for a in t.get("attempts", [])
                          if a["att"] > 1], [])
        self.assert_whole_history(tail)

    def test_a_log_for_which_there_is_no_room_waits(self):
        size = 6 * MIB
        repo = self.repository(files={
            "tests/a.sh": f"#!/bin/sh\nhead -c {size} /dev/zero | tr '\\0' x\n",
            "tests/b.sh": PASS})
        dispatcher = self.dispatcher()
        self.runner()
        tail = self.tail()
        self.limit_files(dispatcher, 5 * MIB)
        self.ask("submit", repo.path, "main")
        dispatcher.wait_said("it waits")
        wait_for("the word of it", lambda: "trouble" in self.json("status")[0])
        self.assertEqual(tail.events("build_done"), [])
        self.limit_files(dispatcher)
        self.assertEqual(tail.verdict(repo.head()), "passed")
        self.assertEqual(dispatcher.said().count("trying again"), 0)
        self.assertGreaterEqual(self.ask("log", "1").count(b"x"), size)
        self.ask("rebuild", "1", "--wait")
        self.assert_whole_history(tail)

    def test_starts_again_where_its_endpoint_cannot_be_written(self):
        self.dispatcher().stop()
        os.mkdir(self.path("dispatcher", "endpoint.new"))  # in the way, as no room would be
        self.dispatcher()
        self.ask("status")

    def test_a_full_tmpfs(self):
        data = self.small_disk("dispatcher", "150m")
        repo = self.repository(files={"tests/a.sh": self.gate()})
        dispatcher = self.dispatcher()
        self.runner()
        tail = self.tail()
        self.ask("submit", repo.path, "main")
        self.wait_start()
        wait_for("the ballast", lambda: os.path.exists(os.path.join(data, "ballast")))

        def fill_until(said):
            for n in range(1000):  # the store's files have some room of their own
                if said in dispatcher.said():
                    return
                self.fill(data)
                self.ask("cordon" if n % 2 else "resume", "runner", rc=None)
            self.fail(f"never said: {said}")
        fill_until("the ballast was given up")
        dispatcher.wait_said("goes on")
        self.ask("rebuild", "1", rc=5)
        self.ask("resume", "runner")
        self.go()  # results are taken to the last
        self.assertEqual(tail.verdict(repo.head()), "passed")
        fill_until("trying again in 200 ms")
        os.unlink(os.path.join(data, "filler"))
        dispatcher.wait_said("has room again")
        wait_for("the ballast", lambda: os.path.exists(os.path.join(data, "ballast")))
        self.ask("resume", "runner")
        self.ask("rebuild", "1", "--wait")
        self.assertTrue(dispatcher.running())
        self.assert_whole_history(tail)

    def job_that_fills_its_disk(self, after, left=0):
        """Lets a gated job go on where fewer bytes are left than it keeps; the tail, and the disk."""
        work = self.small_disk("runner.d", "24m")
        repo = self.repository(files={
            "gate": self.gate(after=after),
            ".volt.yml": "jobs:\n"
                         "  make: {script: 'head -c 300000 /dev/urandom > big; ./gate', artifacts: [big]}\n"
                         "  use: {needs: make, script: wc -c big}\n"})
        self.dispatcher()
        self.runner()
        tail = self.tail()
        self.ask("submit", repo.path, "main")
        self.wait_start()
        self.fill(work)
        filler = os.path.join(work, "filler")
        os.truncate(filler, os.path.getsize(filler) - left)
        self.go()
        return tail, work

    def test_a_job_whose_artifacts_find_no_room_runs_again(self):
        tail, work = self.job_that_fills_its_disk(f"rm -f {self.path('gate.go')}", left=1 << 17)
        back = tail.wait("requeued")[0]
        self.assertEqual((back["job"], back["code"]), ("make", "LOST"))
        self.assertRegex(back["why"], "^artifacts are not kept: .*: No space left on device$")
        self.wait_start(n=2)
        os.unlink(os.path.join(work, "filler"))
        self.go()
        tail.wait("build_done", verdict="passed")
        self.assertEqual(self.ask("log", "1/use").splitlines()[-1], b"300000 big")

    def test_a_job_whose_artifacts_never_find_room_is_lost(self):
        tail, _ = self.job_that_fills_its_disk("", left=1 << 17)
        tail.wait("build_done", verdict="lost")
        self.assertEqual(len(self.starts()), 3)
        done, = tail.events("job_done", job="make")
        self.assertEqual(done["verdict"], "lost")
        self.assertRegex(done["why"], "No space left on device .attempt 3 of 3.$")

    def test_a_job_that_failed_is_not_run_again_for_artifacts_without_room(self):
        tail, _ = self.job_that_fills_its_disk("head -c 300000 /dev/zero; exit 1")
        tail.wait("build_done", verdict="failed")
        done, = [e for e in tail.events("task_done") if e["task_kind"] == "script"]
        self.assertRegex(done["why"], "^its artifacts were not kept, and the log ends here: No space left on device; "
                                      "[0-9]+ bytes were thrown away$")

    def test_half_a_checkout_does_not_stay(self):
        work = self.small_disk("runner.d", "24m")
        repo = self.repository(files={"tests/a.sh": PASS, "large": "x" * 30_000_000})
        self.dispatcher()
        self.runner()
        tail = self.tail()
        self.ask("submit", repo.path, "main")
        self.assertEqual(tail.wait("requeued")[0]["code"], "DISK")
        self.assertEqual(os.listdir(os.path.join(work, "pool", "1")), [])
        subprocess.run(["mount", "-o", "remount,size=100m", work], check=True)
        self.assertEqual(tail.verdict(repo.head()), "passed")

    def test_a_runner_whose_disk_is_full(self):
        work = self.small_disk("runner.d", "24m")
        repo = self.repository(files={"tests/a.sh": self.gate(after="head -c 300000 /dev/zero")})
        dispatcher = self.dispatcher()
        runner = self.runner()
        tail = self.tail()
        self.ask("submit", repo.path, "main")
        self.wait_start()
        self.fill(work)
        dispatcher.kill()
        self.dispatcher()  # whose epoch the runner cannot note: it goes on, and waits with the rest
        runner.wait_said("nothing new is taken until it can be written")
        os.truncate(os.path.join(work, "filler"), 0)
        runner.wait_said("registered again")
        self.fill(work)  # while it runs: its output is cut, its verdict is not lost
        self.go()
        self.assertEqual(tail.verdict(repo.head()), "passed")
        self.assertEqual(tail.events("requeued"), [])
        done, = [e for e in tail.events("task_done") if e.get("task_kind") == "tests"]
        self.assertIn("thrown away", done["why"])

        os.unlink(os.path.join(work, "filler"))

        spool = os.path.join(work, "spool")  # no spool can be made: it waits until one can
        wait_for("an empty spool", lambda: not os.listdir(spool))
        shutil.rmtree(spool)
        with open(spool, "x"):
            pass
        self.ask("rebuild", "1")
        again = tail.wait("requeued")[0]
        self.assertEqual(again["code"], "DISK")
        os.unlink(spool)
        self.assertEqual(tail.verdict(repo.head(), 2), "passed")
        self.assert_whole_history(tail)


if __name__ == "__main__":
    harness.main()
