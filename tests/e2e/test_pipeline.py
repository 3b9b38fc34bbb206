"""What .volt.yml says is what runs: jobs, needs, matrices, branches; and a broken file is told."""
import json

import harness

FILE = ".volt.yml"


class Pipeline(harness.Case):
    def build(self, text, files=None, runner=()):
        """Tests a commit with that pipeline file; returns its build_done."""
        self.repo = self.repository(files={FILE: text, **(files or {})})
        self.tail_of = self.everything(self.repo, runner=runner)
        return self.tail_of.wait("build_done", oid=self.repo.head())[0]

    def next_build(self, text, files=None):
        oid = self.repo.commit({FILE: text, **(files or {})})
        return self.tail_of.wait("build_done", oid=oid)[0]

    def jobs(self, build=1):
        return {e["job"]: e["verdict"] for e in self.tail_of.events("job_done", build=build)}

    def log(self, what):
        return self.ask("log", what).decode()

    def test_a_job_runs_its_script_in_one_shell(self):
        done = self.build("""
env: {A: no, B: 3.10}
jobs:
  one:
    env: {B: "4 5", LANG: C}
    script:
      - X="$A $B"
      - cd sub
      - echo "$X in $(basename "$PWD") as $VOLT_JOB of $VOLT_REPO, $VOLT_BRANCH, $LANG"
  fails:
    script: |
      echo before
      false
      echo behind
""", {"sub/file": ""})
        self.assertEqual(done["verdict"], "failed")
        self.assertEqual(self.jobs(), {"one": "passed", "fails": "failed"})
        self.assertEqual(self.log("1/one"), "no 4 5 in sub as one of demo, main, C\n")
        self.assertEqual(self.log("1/fails"), "before\n")

    def test_what_always_runs_does_so_after_a_failure(self):
        done = self.build("""
jobs:
  first: {script: exit 3}
  next: {needs: first, script: "true"}
  report: {needs: [first, next], always: true, script: echo told}
""")
        self.assertEqual(done["verdict"], "failed")
        self.assertEqual(self.jobs(), {"first": "failed", "next": "skipped", "report": "passed"})
        self.assertEqual(self.log("1/report"), "told\n")

    def test_a_retry_runs_only_what_did_not_pass(self):
        ready = self.path("ready")
        self.build(f"""
jobs:
  good: {{script: echo once >> {self.path("runs")}}}
  bad: {{needs: good, script: test -e {ready}}}
  behind: {{needs: bad, script: "true"}}
""")
        self.assertEqual(self.jobs(), {"good": "passed", "bad": "failed", "behind": "skipped"})
        open(ready, "x").close()
        self.ask("retry", "1", "--wait")
        self.tail_of.wait("build_done", build=2)
        self.assertEqual(self.jobs(2), {"good": "passed", "bad": "passed", "behind": "passed"})
        with open(self.path("runs")) as f:
            self.assertEqual(f.read(), "once\n")
        self.assertIn("it passed in build 1", self.ask("build", "2").decode())
        self.ask("retry", "2", rc=5)

    def test_a_newer_push_cancels_older_builds_of_its_branch(self):
        file = "supersede: true\njobs: {long: {script: sleep 60}, none: {needs: long, script: 'true'}}\n"
        self.repo = self.repository(files={"README": "first"})
        self.tail_of = self.everything(self.repo)
        self.tail_of.wait("build_done", build=1)
        self.repo.git("checkout", "-q", "-b", "topic")
        old = self.repo.commit({FILE: file})
        self.tail_of.wait("running", oid=old, job="long")
        self.repo.commit({FILE: "supersede: true\njobs: {quick: {script: 'true'}}\n"})
        done = self.tail_of.wait("build_done", oid=old)[0]
        self.assertEqual(done["verdict"], "canceled")
        self.assertIn("superseded by build", done["why"])
        self.assertEqual(self.tail_of.wait("build_done", oid=self.repo.head())[0]["verdict"], "passed")

    def test_each_commit_of_the_default_branch_is_tested_whatever_supersedes(self):
        file = "supersede: true\njobs: {gate: {script: 'while [ ! -e %s ]; do sleep .05; done'}}\n"
        self.repo = self.repository(files={FILE: file % self.path("go")})
        self.tail_of = self.everything(self.repo, runner=("--slots", "2"))
        old = self.repo.head()
        self.tail_of.wait("running", oid=old, job="gate")
        new = self.repo.commit()
        self.tail_of.wait("running", oid=new, job="gate")
        open(self.path("go"), "x").close()
        self.assertEqual(self.tail_of.wait("build_done", oid=old)[0]["verdict"], "passed")
        self.assertEqual(self.tail_of.wait("build_done", oid=new)[0]["verdict"], "passed")

    def test_needs_in_a_circle_are_an_error_of_the_plan(self):
        done = self.build("jobs:\n  a: {script: x, needs: c}\n  b: {script: x, needs: a}\n"
                          "  c: {script: x, needs: b}\n  d: {script: 'true'}\n")
        self.assertEqual(done["verdict"], "errored")
        self.assertEqual(done["why"], ".volt.yml:3:25: these jobs need each other: a -> c -> b -> a")
        self.assertEqual(self.tail_of.events("leased", job="d"), [])
        self.volt("lint", f"{self.repo.path}/{FILE}", rc=2)
        self.assertIn("these jobs need each other", self.said)

    def test_needs_order_jobs_and_a_failure_skips_what_needs_it(self):
        done = self.build("""
jobs:
  last: {needs: [left, right], script: "true"}
  left: {needs: first, script: exit 3}
  right: {needs: first, script: "true"}
  first: {script: "true"}
  unneeded: {needs: right, script: "true"}
  behind: {needs: last, script: "true"}
""", runner=("--slots", "2"))
        self.assertEqual(done["verdict"], "failed")
        self.assertEqual(self.jobs(), {
            "first": "passed", "left": "failed", "right": "passed", "unneeded": "passed",
            "last": "skipped", "behind": "skipped"})
        skipped, = self.tail_of.events("job_done", job="last")
        self.assertEqual(skipped["why"], "job 'left' did not pass")
        first, = self.tail_of.events("job_done", job="first")
        for job in ("left", "right"):
            lease, = self.tail_of.events("leased", job=job)
            self.assertGreater(lease["seq"], first["seq"])

    def test_a_failure_that_is_allowed_stops_nothing(self):
        done = self.build("""
jobs:
  may: {allow_failure: true, script: exit 1}
  next: {needs: may, script: "true"}
""")
        self.assertEqual(done["verdict"], "passed")
        self.assertEqual(self.jobs(), {"may": "failed", "next": "passed"})

    def test_a_matrix_makes_a_job_of_each_combination(self):
        done = self.build("""
jobs:
  test:
    matrix:
      PY: [3.10, 3.12]
      OS: [a, b]
      exclude: [{PY: 3.10, OS: b}]
      include: [{PY: 4, OS: c, EXTRA: more}]
    script: echo $PY $OS $EXTRA; test $OS != b
  all: {needs: test, script: "true"}
  one: {needs: test/3.10/a, script: "true"}
""")
        self.assertEqual(done["verdict"], "failed")
        self.assertEqual(self.jobs(), {
            "test/3.10/a": "passed", "test/3.12/a": "passed", "test/3.12/b": "failed",
            "test/4/c/more": "passed", "all": "skipped", "one": "passed"})
        self.assertEqual(self.log("1/test/4/c/more"), "4 c more\n")

    def test_retries_and_timeouts_are_those_of_the_job(self):
        done = self.build(f"""
jobs:
  flaky: {{retry: 2, script: "echo x >> {self.path('tries')}; test $(wc -l < {self.path('tries')}) = 3"}}
  slow: {{timeout: 300ms, script: sleep 100}}
""")
        self.assertEqual(done["verdict"], "timeout")
        self.assertEqual(self.jobs(), {"flaky": "flaky", "slow": "timeout"})

    def test_labels_choose_the_runner(self):
        self.repo = self.repository(files={FILE: "jobs:\n  a: {labels: [gpu, big], script: x=1}\n"})
        self.dispatcher()
        self.runner("--labels", "gpu")
        self.runner("--labels", "gpu,big", name="both")
        tail = self.tail()
        self.observer(self.repo.path)
        self.assertEqual(tail.verdict(self.repo.head()), "passed")
        lease, = tail.events("leased", job="a")
        self.assertEqual(lease["runner"], "both")

    def test_files_of_tests_are_units(self):
        done = self.build("""
jobs:
  unit:
    env: {MODE: strict}
    tests:
      files: ["spec/**/*.t", "extra/one"]
      run: |
        echo "$MODE {}" && test "$VOLT_TEST_FILES" = {}
        sh {}
""", {"spec/a.t": "exit 0\n", "spec/deep/b c.t": "echo deep\n", "spec/no.t": "exit 4\n",
            "spec/test_x.py": "", "extra/one": "exit 0\n", "extra/two": "exit 1\n",
            "tests/run": harness.FAIL})
        self.assertEqual(done["verdict"], "failed")
        found = self.tail_of.tests(self.repo.head())
        self.assertEqual(found, {"spec/a.t": "passed", "spec/deep/b c.t": "passed",
                                 "spec/no.t": "failed", "extra/one": "passed"})
        no, = self.tail_of.events("test_done", file="spec/no.t")
        self.assertEqual(no["exit"], 4)
        self.assertEqual(self.log("1/unit/spec/a.t"), "strict spec/a.t\n")
        # The harmless name stands bare within the quotes, this one brings its own.
        self.assertIn("deep\n", self.log("1/unit/spec/deep/b c.t"))

    def test_python_files_run_by_a_command_pass_by_their_exit_status(self):
        done = self.build("jobs:\n  t: {tests: {files: test_*.py, run: \"python3 {}\"}}\n",
                          {"test_a.py": "print('plain')\n", "test_b.py": "raise SystemExit(5)\n"})
        self.assertEqual(done["verdict"], "failed")
        self.assertEqual(self.tail_of.tests(self.repo.head()),
                         {"test_a.py": "passed", "test_b.py": "failed"})

    def test_patterns_that_name_nothing_are_not_green(self):
        done = self.build("jobs:\n  t: {tests: {files: none/*, run: \"sh {}\"}}\n  s: {script: x=1}\n")
        self.assertEqual(done["verdict"], "no-tests")
        self.assertEqual(self.jobs(), {"t": "no-tests", "s": "passed"})

    def test_a_broken_file_is_told_whole(self):
        done = self.build("jobs:\n  a: {scirpt: make}\n  b: {script: x, needs: [c]}\n")
        self.assertEqual(done["verdict"], "errored")
        self.assertEqual(done["why"], ".volt.yml:2:7: unknown key 'scirpt' of a job; did you mean "
                                      "'script'? (and 1 more)")
        whole = (".volt.yml:2:7: unknown key 'scirpt' of a job; did you mean 'script'?\n"
                 "      a: {scirpt: make}\n          ^\n"
                 ".volt.yml:3:26: no job is named 'c'\n"
                 "      b: {script: x, needs: [c]}\n                             ^\n")
        self.assertEqual(self.log("1"), whole)
        row, = self.json("builds")
        self.assertEqual(row["why"], done["why"])
        self.volt("lint", f"{self.repo.path}/{FILE}", rc=2)
        self.assertEqual(self.said.replace(f"{self.repo.path}/", ""), whole)
        # What cannot be done is an error, not passed over; and a mended file is green.
        done = self.next_build("jobs:\n  a: {script: x=1, sandbox: container, image: b}\n")
        self.assertEqual(done["verdict"], "errored")
        self.assertIn("Volt starts no containers yet", done["why"])
        self.assertEqual(self.next_build("jobs:\n  a: {script: x=1}\n")["verdict"], "passed")
        done = self.next_build("a: [\n")
        self.assertEqual(done["why"], ".volt.yml:2:1: flow sequence without a closing bracket")
        done = self.next_build("#" * (1 << 20) + "\n")
        self.assertEqual(done["verdict"], "errored")
        self.repo.git("rm", "-q", FILE)
        self.repo.git("update-index", "--add", "--cacheinfo",
                      "120000," + self.repo.git("hash-object", "-w", "/dev/null") + "," + FILE)
        self.repo.git("commit", "-q", "-m", "a link")
        done = self.tail_of.wait("build_done", oid=self.repo.head())[0]
        self.assertEqual(done["verdict"], "errored")

    def test_once_shows_the_end_of_what_failed(self):
        repo = self.repository(files={
            FILE: "jobs:\n  a: {script: \"echo one; echo two; exit 3\", retry: 1}\n"
                  "  b: {tests: {files: t/*, run: \"sh {}\"}}\n", "t/no": "echo three; exit 1\n"})
        said = self.volt("up", "--once", repo.path, rc=1).decode()
        self.assertRegex(said, r"    failed a  \(exit 3, .*\)\n      \| one\n      \| two\n"
                               r"    failed t/no  \(b/0, exit 1, .*\)\n      \| three\n")
        repo.commit({FILE: "jobs: {a: {scirpt: x}}\n"})
        said = self.volt("up", "--once", repo.path, rc=1).decode()
        self.assertIn("      | jobs: {a: {scirpt: x}}\n".replace("| ", "|     "), said)

    def test_other_branches_are_skipped_with_the_reason(self):
        done = self.build("branches: [main, \"release/*\"]\njobs:\n  a: {script: x=1}\n"
                          "  deploy: {script: x=1, branches: main}\n  then: {script: x=1, needs: deploy}\n")
        self.assertEqual(done["verdict"], "passed")
        self.assertEqual(self.jobs(), {"a": "passed", "deploy": "passed", "then": "passed"})
        self.repo.git("checkout", "-q", "-b", "release/1")
        done = self.tail_of.wait("build_done", oid=self.repo.commit())[0]
        self.assertEqual((done["verdict"], set(self.jobs(done["build"]))), ("passed", {"a"}))
        self.repo.git("checkout", "-q", "-b", "dev")
        done = self.tail_of.wait("build_done", oid=self.repo.commit())[0]
        self.assertEqual((done["verdict"], done["why"]),
                         ("skipped", "'branches' of .volt.yml do not name refs/heads/dev"))
        self.assertEqual(self.jobs(done["build"]), {})

    def test_a_plan_of_many_files_comes_in_parts(self):
        files = {f"t/{i:05}-{'x' * 100}": "" for i in range(2500)}
        done = self.build("jobs:\n  a: {script: x=1}\n"
                          "  t: {matrix: {N: [1, 2]}, tests: {files: t, run: \": {}\"}}\n"
                          "  z: {script: x=1}\n", files, runner=("--slots", "2"))
        self.assertEqual(done["verdict"], "passed")
        self.assertEqual(self.jobs(), dict.fromkeys(("a", "t/1", "t/2", "z"), "passed"))
        for job in ("t/1", "t/2"):
            found = [e["file"] for e in self.tail_of.events("test_done", job=job)]
            self.assertEqual(sorted(found), sorted(files))

    def test_a_directory_below_the_top_is_as_good_as_the_top(self):
        below = self.path("demo/sub/deep")
        self.repository(files={FILE: "jobs: {a: {script: x=1}}\n", "sub/deep/n": "",
                               f"sub/{FILE}": "not this one"})
        self.dispatcher()
        for here in ((), (".",)):
            self.assertEqual(self.volt("lint", *here, cwd=below), b"../../.volt.yml: 1 job\n")
            self.assertEqual(self.volt("plan", *here, cwd=below), b"a\n    x=1\n")
            self.assertRegex(self.volt("up", "--once", *here, cwd=below), rb"passed +demo main ")
        self.ask("submit", ".", "HEAD", cwd=below)
        self.assertEqual([b["repo"] for b in self.json("builds")], ["demo"])
        self.volt("lint", rc=3)
        self.assertEqual(self.said, "volt lint: read '.volt.yml': No such file or directory\n")
        self.volt("plan", rc=2)
        self.assertEqual(self.said, "volt plan: '.' is not a git repository\n")

    def test_lint_and_plan_say_what_would_run(self):
        self.repo = self.repository(files={
            FILE: "jobs:\n  build: {script: [make, make install], labels: linux, secrets: [A, B], "
                  "sandbox: bwrap, network: false}\n"
                  "  t: {needs: build, tests: {files: t/*.sh, run: \"sh {}\"}}\n"
                  "  d: {script: x, branches: main}\n",
            "t/a.sh": "", "t/b.sh": "", "t/c": ""})
        path = self.repo.path
        self.assertEqual(self.volt("lint", f"{path}/{FILE}").decode(), f"{path}/{FILE}: 3 jobs\n")
        shown = "build  on linux  secrets A, B  in a sandbox  without network\n    make ...\nt  needs build\n    t/*.sh (2 files)\n"
        self.assertEqual(self.volt("plan", path).decode(), shown + "d\n    x\n")
        self.assertEqual(self.volt("plan", path, "HEAD", "--ref", "dev").decode(),
                         shown + "left out: d\n")
        said = json.loads(self.volt("plan", path, "--json"))
        self.assertEqual((said["ref"], said["oid"]), ("refs/heads/main", self.repo.head()))
        self.assertEqual([j["name"] for j in said["jobs"]], ["build", "t", "d"])
        self.assertEqual(said["jobs"][0]["script"], "make\nmake install")
        self.assertEqual([said["jobs"][0][k] for k in ("secrets", "sandbox", "network")],
                         [["A", "B"], "bwrap", False])
        self.assertEqual(said["jobs"][1]["files"], ["t/a.sh", "t/b.sh"])
        self.assertEqual(self.volt("plan", f"{path}/{FILE}").decode().splitlines()[3], "    t/*.sh ")
        self.volt("plan", path, "nonesuch", rc=3)
        self.volt("lint", f"{path}/nothing", rc=3)
        self.assertEqual(self.volt("lint", path).decode(), f"{path}/{FILE}: 3 jobs\n")
        self.repo.commit({FILE: "jobs: {a: {script: x, needs: b}}\n"})
        self.volt("plan", path, rc=2)
        self.assertIn("no job is named 'b'", self.said)
        self.volt("lint", f"{path}/{FILE}", "--json", rc=2)
        self.repo.commit({FILE: None, "tests/run": harness.PASS})
        self.assertEqual(self.volt("plan", path).decode(), "tests\n    tests/ (1 file)\n")
        self.repo.commit({"tests/run": None})
        self.assertIn("nothing to run", self.volt("plan", path).decode())
        self.assertEqual(self.said, "")
        with open(f"{path}/{FILE}", "w") as f:
            f.write("jobs: {a: {script: x}}\n")
        self.assertIn("nothing to run", self.volt("plan", path).decode())
        self.assertIn("the .volt.yml of the working tree is not that of HEAD", self.said)


if __name__ == "__main__":
    harness.main()
