"""What people are shown of a build: its jobs as a tree, how well the fleet was used, how far it is."""
import json
import os
import pty
import re
import subprocess

import harness
from harness import wait_for

FILE = ".volt.yml"
JOBS = """
jobs:
  report: {needs: [unit, lint], always: true, script: "true"}
  build: {script: sleep 0.1}
  lint: {script: exit 3, allow_failure: true}
  unit: {needs: build, tests: {files: "t/*", run: "sh {}"}}
"""


class Shown(harness.Case):
    def on_a_terminal(self, awaited, *args):
        """What a command writes to a terminal, both streams; asserts that it passes.  The gate opens when it has
        written what is awaited."""
        main, side = pty.openpty()
        child = subprocess.Popen([harness.VOLT, *args], stdin=subprocess.DEVNULL, stdout=side,
                                 stderr=side, env=self.environment, cwd=self.dir)
        os.close(side)
        said = b""
        while True:
            try:
                piece = os.read(main, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            said += piece
            if re.search(awaited, said.decode(errors="replace")):
                self.go()
        os.close(main)
        self.assertEqual(child.wait(60), 0, said)
        return said.decode()

    def six(self):
        """Files whose last ones wait at the gate."""
        return {FILE: "jobs: {unit: {tests: {files: 't/*', run: 'sh {}', batch: 1}}}",
                **{f"t/{i}": "sleep 0.2" if i < 2 else self.gate() for i in range(6)}}

    def test_jobs_are_a_tree_with_times(self):
        self.repo = self.repository(files={FILE: JOBS, "t/a": "sleep 0.2", "t/b": "sleep 0.1"})
        tail = self.everything(self.repo, runner=("--slots", "2"))
        self.assertEqual(tail.wait("build_done")[0]["verdict"], "passed")
        text = self.ask("build", "1").decode()
        names = re.findall(r"^( *)(build|unit|report|lint) +(\w+) +(\d+/\d+) ", text, re.M)
        self.assertEqual(names, [("", "build", "passed", "1/1"), ("  ", "unit", "passed", "2/2"),
                                 ("    ", "report", "passed", "1/1"), ("", "lint", "failed", "1/1")])
        self.assertRegex(text, r"failed lint  \(exit 3, .*, it may fail\)\n")
        self.assertRegex(text, r"(?m)^lint +failed .* it may fail$")
        self.assertRegex(text, r"of work in .* on 2 slots; at best .*: efficiency \d+ %")
        got = json.loads(self.ask("build", "1", "--json"))
        jobs = {j["name"]: j for j in got["jobs"]}
        self.assertEqual(got["slots"], 2)
        self.assertEqual(jobs["report"]["needs"], ["unit", "lint"])
        self.assertGreaterEqual(jobs["unit"]["work_ms"], 300)
        self.assertGreaterEqual(jobs["unit"]["longest_ms"], 200)
        self.assertLess(jobs["unit"]["longest_ms"], jobs["unit"]["work_ms"])
        self.assertLessEqual(jobs["build"]["ready_ms"], jobs["build"]["started_ms"])
        self.assertGreaterEqual(jobs["build"]["ended_ms"] - jobs["build"]["started_ms"], 100)
        self.assertGreaterEqual(jobs["unit"]["ready_ms"], jobs["build"]["ended_ms"])

    def test_test_files_are_listed_by_their_history(self):
        self.repo = self.repository(files={
            FILE: "jobs: {unit: {tests: {files: 't/*', run: 'sh {}'}}, "
                  "more: {needs: unit, tests: {files: 't/a', run: 'sh {}'}}}",
            "t/a": "sleep 0.3", "t/b": "true", "t/c": f"test -e {self.path('ready')}"})
        tail = self.everything(self.repo)
        self.assertEqual(tail.wait("build_done")[0]["verdict"], "failed")
        self.assertEqual(self.ask("tests", "--flaky").decode(), "no test file is flaky\n")
        open(self.path("ready"), "x").close()
        self.ask("rebuild", "1", "--wait")
        # They are counted when there is time for that.
        wait_for("the histories", lambda: sum(r["runs"] for r in self.json("tests", "demo")) == 7)
        rows = self.json("tests", "demo")
        self.assertEqual([(r["job"], r["file"], r["runs"]) for r in rows],
                         [("more", "t/a", 1), ("unit", "t/a", 2), ("unit", "t/b", 2), ("unit", "t/c", 2)])
        flaky, = self.json("tests", "--flaky")
        self.assertEqual((flaky["file"], flaky["failures"], flaky["flaky"], flaky["flaky_oid"]),
                         ("t/c", 1, 1, self.repo.head()))
        self.assertEqual([r["file"] for r in self.json("tests", "--slow")][:2], ["t/a", "t/a"])
        self.assertRegex(self.ask("tests", "--slow", "-n", "1").decode(),
                         r"(?s)^ +MEAN .*t/a\n… and 3 more; --max shows them\n$")
        self.ask("tests", "nowhere", rc=3)
        self.ask("log", "1/t/a", rc=2)
        self.assertIn("'t/a' fits 2 units; say which: 1/unit/0, 1/more/0", self.said)
        self.ask("tests", "--slow", "--flaky", rc=2)

    def test_who_waits_on_a_terminal_sees_how_far_it_is(self):
        self.repo = self.repository(files=self.six())
        self.everything(runner=("--slots", "2"))
        line = r"\r\x1b\[Kbuild 1: [1-5] of 6 on 2 slots, .*, about .* left"
        said = self.on_a_terminal(line, "submit", self.repo.path, "HEAD", "--wait",
                                  "--dispatcher-server", self.server)
        self.assertRegex(said, line)
        self.assertTrue(said.rstrip().endswith("build 1: \x1b[32mpassed\x1b[0m"), said)

    def test_up_keeps_its_lines_and_the_progress_apart(self):
        self.repo = self.repository(files=self.six())
        line = r"\r\x1b\[Kbuild 1: [1-5] of 6 on 2 slots"
        said = self.on_a_terminal(line, "up", "--once", "--runners", "2", self.repo.path)
        self.assertRegex(said, line)
        for line in said.split("\n"):
            shown = line.rstrip("\r").split("\r\x1b[K")[-1]
            self.assertNotRegex(shown, r"of 6 on .*(passed|given)", said)
        self.assertRegex(said, r"passed.* demo main \w+: 6 tests, 0 not passed")


if __name__ == "__main__":
    harness.main()
