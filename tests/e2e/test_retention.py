"""What of the builds that have ended is kept, and what stays when it is not."""
import os
import re
import signal

import harness
from harness import wait_for

PIPELINE = """
jobs:
  make: {script: [head -c 300000 /dev/urandom > big, seq 1 20000], artifacts: [big]}
  unit: {needs: make, tests: {files: "tests/*.sh", run: "sh {}"}}
"""


class Retention(harness.Case):
    def setUp(self):
        super().setUp()
        self.repo = self.repository(files={".volt.yml": PIPELINE, "tests/a.sh": "exit 0\n",
                                           "tests/b.sh": "exit 1\n"})
        self.process = self.dispatcher()
        self.runner()

    def builds(self, n):
        """So many of a commit each, which fail; oldest first."""
        for i in range(n):
            self.repo.commit({"n": f"{i}\n"})
            self.ask("submit", self.repo.path, "main", "--wait", rc=1)

    def restart(self, *args, number=signal.SIGTERM):
        self.process.stop(number)
        self.process = self.dispatcher(*args)

    def lines(self):
        """Newest first; those whose details are gone are negative."""
        return [-b["build"] if b.get("forgotten") else b["build"] for b in self.json("builds")]

    def runs(self):
        """Of the files in their histories, which are counted when there is time for that."""
        return {f["file"]: f["runs"] for f in self.json("tests")}

    def files(self):
        return {n: os.path.getsize(self.path("dispatcher/logs", n))
                for n in os.listdir(self.path("dispatcher/logs"))}

    def owners(self):
        """The tasks that have files.  (Which have: a task that takes long streams also a short log.)"""
        return {int(name.split("-")[0]) for name in self.files()}

    def tasks(self, *builds):
        return {t["task"] for b in builds for t in self.json("build", str(b))[0]["tasks"]}

    def assert_a_line_is_left(self, build):
        """Of a build that failed."""
        row, = self.json("build", str(build))
        self.assertEqual((row["verdict"], row["units"], row["units_bad"]), ("failed", 3, 1))
        self.assertEqual((row["jobs"], row["tasks"], row["tests"]), ([], [], []))
        self.assertIn("its details are no longer kept", self.ask("build", str(build)).decode())
        self.ask("log", str(build), rc=3)
        self.assertEqual(self.said, f"volt log: the logs of build {build} are no longer kept\n")
        self.ask("artifacts", str(build), rc=3)
        self.assertEqual(self.said, f"volt artifacts: the details of build {build} are no longer kept\n")
        self.ask("retry", str(build), rc=5)
        self.assertIn(f"'volt rebuild {build}' runs all of it again", self.said)
        self.ask("cancel", str(build), rc=5)
        self.assertIn("has ended already (failed)", self.said)

    def test_the_newest_builds_are_kept_and_a_line_of_each(self):
        self.builds(4)
        task = self.json("build", "1")[0]["tasks"][0]["task"]
        runs = {"tests/a.sh": 4, "tests/b.sh": 4}
        wait_for("the histories", lambda: self.runs() == runs)
        old, new = self.tasks(1, 2), self.tasks(3, 4)
        self.assertTrue(old & self.owners())
        self.restart("--keep-builds", "2")
        wait_for("the end of two", lambda: self.lines() == [4, 3, -2, -1])
        wait_for("the end of their files", lambda: not old & self.owners())
        self.assertTrue(new & self.owners())
        self.assertEqual(self.runs(), runs)
        self.assert_a_line_is_left(1)
        table = self.ask("builds").decode()
        self.assertEqual(re.findall(r"(?m)^ +(\d) +(failed\S*) ", table),
                         [("4", "failed"), ("3", "failed"), ("2", "failed*"), ("1", "failed*")])
        self.assertTrue(table.endswith("\n* its details are no longer kept\n"))
        self.assertNotIn("*", self.ask("builds", "-n", "2").decode())
        self.ask("task", str(task), rc=3)
        self.assertEqual(self.said, f"volt task: task {task} is no longer kept\n")
        self.ask("artifacts", "4", "--get", self.path("got"))
        self.assertEqual(os.path.getsize(self.path("got/make/big")), 300000)
        self.assertIn(b"\n20000\n", self.ask("log", "3/make"))

    def test_a_forgotten_build_is_rebuilt_but_its_commit_does_not_run_again(self):
        self.builds(2)
        old = self.repo.git("rev-parse", "HEAD~1")
        self.restart("--keep-builds", "1")
        wait_for("the end of one", lambda: self.lines() == [2, -1])
        self.ask("submit", self.repo.path, old, "--ref", "refs/heads/main", "--wait", rc=1)
        self.assertEqual(self.lines(), [2, -1])
        self.ask("rebuild", "1", "--wait", rc=1)
        self.assertEqual(self.lines(), [3, 2, -1])
        self.ask("retry", "3", "--wait", rc=1)
        self.assertEqual({j["name"]: j["verdict"] for j in self.json("build", "4")[0]["jobs"]},
                         {"make": "passed", "unit": "failed"})

    def test_data_that_takes_too_much_loses_the_oldest_builds(self):
        self.builds(5)
        tasks = {b: self.tasks(b) for b in range(1, 6)}
        self.assertGreater(sum(self.files().values()), 5 * 400000)
        self.restart("--keep-bytes", "1200K", number=signal.SIGKILL)
        self.restart("--keep-bytes", "1200K", number=signal.SIGKILL)  # maybe in the middle of it
        wait_for("room", lambda: sum(self.files().values()) < 1200 * 1024 and -3 in self.lines())
        self.restart()
        kept = [b for b in self.lines() if b > 0]
        self.assertEqual(self.lines(), sorted(kept, reverse=True) + [-b for b in range(5 - len(kept), 0, -1)])
        self.assertIn(len(kept), (1, 2))
        self.assertEqual(self.owners() - set().union(*(tasks[b] for b in kept)), set())
        for build in kept:
            self.assertEqual(self.json("artifacts", str(build))[0]["bytes"], 300000)
            self.assertIn(b"\n20000\n", self.ask("log", f"{build}/make"))
        self.assert_a_line_is_left(3)
        wait_for("the histories", lambda: set(self.runs().values()) == {5})

    def test_what_a_running_build_takes_over_is_kept(self):
        self.repo.commit({"tests/b.sh": self.gate(after="exit 1")})
        self.go()
        self.builds(1)
        os.unlink(self.path("gate.go"))
        self.ask("retry", "1")
        self.wait_start(n=2)
        self.restart("--keep-bytes", "1")
        self.process.wait_said("takes more than --keep-bytes")
        self.assertEqual(self.lines(), [2, 1])
        self.assertEqual(self.json("artifacts", "2/make")[0]["build"], 1)
        self.go()
        wait_for("the end of the retry", lambda: self.json("builds")[0].get("verdict") == "failed")
        self.restart("--keep-bytes", "1")
        wait_for("the end of both", lambda: self.lines() == [-2, -1] and not self.files())

    def test_tail_says_which_results_are_gone(self):
        self.builds(2)
        self.restart("--keep-builds", "1")
        wait_for("the end of one", lambda: self.lines() == [2, -1])
        self.tail("--results", self.path("results"), "--from", "start", name="late")
        names = [os.path.join("results/demo", self.repo.git("rev-parse", rev))
                 for rev in ("HEAD~1", "HEAD")]
        old, new = (wait_for(name, lambda name=name: self.read(name)) for name in names)
        self.assertIn("the dispatcher no longer keeps this build", old)
        self.assertIn("verdict: failed", old)
        self.assertNotIn("no longer keeps", new)

    def test_results_that_were_written_outlive_the_details(self):
        def results():
            path = self.path("results/demo")
            return [n for n in os.listdir(path) if n[0] != "."] if os.path.isdir(path) else []
        self.builds(2)
        early = self.tail("--results", self.path("results"), "--from", "start", name="early")
        wait_for("two results", lambda: len(results()) == 2)
        early.stop()
        file = os.path.join("results/demo", self.repo.git("rev-parse", "HEAD~1"))
        before = self.read(file)
        self.assertIn("tests/b.sh", before)
        self.restart("--keep-builds", "1")
        wait_for("the end of one", lambda: self.lines() == [2, -1])
        self.builds(1)
        self.tail("--results", self.path("results"), "--from", "start", name="late")
        wait_for("three results", lambda: len(results()) == 3)
        self.assertEqual(self.read(file), before)


if __name__ == "__main__":
    harness.main()
