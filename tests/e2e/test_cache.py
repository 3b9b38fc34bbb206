"""What jobs keep on a runner between builds: caches by key, and homes."""
import os
import re
import signal

import harness

FILE = ".volt.yml"


class Kept(harness.Case):
    def begin(self, text, files=None, runner=(), **kw):
        self.repo = self.repository(files={FILE: text, **(files or {})})
        self.tail_of = self.everything(self.repo, runner=runner, **kw)
        return self.done()

    def next(self, files):
        self.repo.commit(files)
        return self.done()

    def done(self):
        """The number of the build of HEAD, which has passed."""
        event = self.tail_of.wait("build_done", oid=self.repo.head())[0]
        self.assertEqual(event["verdict"], "passed", event)
        return event["build"]

    def log(self, build, job="a"):
        return self.ask("log", f"{build}/{job}").decode()

    def caches(self):
        found = []
        for top, _, names in os.walk(self.path("runner.d", "cache")):
            found += [os.path.join(top, name) for name in names]
        return sorted(found)


class Cache(Kept):
    # Fails unless dep/ and ~/tool are both there, or neither.
    JOB = """
jobs:
  a:
    script:
      - if [ -e dep/x ]; then grep -h . dep/x ~/tool/y; else test ! -e ~/tool; echo make; fi
      - mkdir -p dep ~/tool; echo dep > dep/x; echo tool > ~/tool/y
    cache: {key: "*.lock", paths: [dep, ~/tool]}
"""

    def test_it_is_a_miss_and_then_a_hit_until_a_key_file_changes(self):
        first = self.begin(self.JOB, {"a.lock": "1"})
        said = self.log(first)
        self.assertRegex(said, r"\Avolt: cache: miss\nmake\nvolt: cache: saved, 4 files, 9 bytes "
                               r"packed into \d+, in \d+ ms\n\Z")
        said = self.log(self.next({"other": "1"}))
        self.assertRegex(said, r"\Avolt: cache: hit, 4 files, 9 bytes, restored in \d+ ms\n"
                               r"dep\ntool\n\Z")
        self.assertIn("miss\nmake\n", self.log(self.next({"a.lock": "2"})))
        self.assertIn("cache: hit", self.log(self.next({"a.lock": "1"})))
        self.assertEqual(len(self.caches()), 2)

    def test_a_failed_job_keeps_nothing(self):
        self.repo = self.repository(files={
            FILE: self.JOB.replace("tool/y\n    cache", "tool/y; exit 3\n    cache"), "a.lock": "1"})
        self.tail_of = self.everything(self.repo)
        self.assertEqual(self.tail_of.verdict(self.repo.head()), "failed")
        self.assertEqual(self.caches(), [])

    def test_a_damaged_one_is_thrown_away_and_made_anew(self):
        self.begin(self.JOB, {"a.lock": "1"})
        cache, = self.caches()
        with open(cache, "r+b") as f:
            f.seek(40)
            f.write(b"x")
        said = self.log(self.next({"other": "1"}))
        self.assertRegex(said, r"\Avolt: cache: thrown away, for '.*' is damaged: .*\n"
                               r"make\nvolt: cache: saved")
        with open(cache, "r+b") as f:
            f.truncate(100)
        self.assertIn("thrown away", self.log(self.next({"other": "2"})))
        self.assertIn("cache: hit", self.log(self.next({"other": "3"})))

    def test_one_that_does_not_fit_any_more_leaves_nothing_behind(self):
        job = ("jobs: {{a: {{script: 'ls -d b ~/h 2>/dev/null || mkdir -p x; mkdir -p b {0} ~/h; touch b/x {0}/x ~/h/x',"
               " cache: {{key: lock, paths: [b, \"d/*\", ~/h]}}}}}}\n")
        self.begin(job.format("d"), {"lock": "1"})
        os.symlink("elsewhere", self.path("demo", "d"))
        said = self.log(self.next({FILE: job.format("e")}))
        self.assertRegex(said, r"\Avolt: cache: not restored: unpack 'd/x': .*symlink.*\n\Z")

    def test_one_without_key_files_is_the_same_for_all_commits(self):
        self.begin(self.JOB)
        said = self.log(self.next({"other": "1"}))
        self.assertIn("no file of the commit is named by 'key'", said)
        self.assertIn("cache: hit", said)

    def test_those_used_longest_ago_make_room(self):
        job = ("jobs: {a: {script: 'test -e d/x || (mkdir d; head -c 100000 /dev/urandom > d/x)',"
               " cache: {key: lock, paths: d}}}\n")
        self.begin(job, {"lock": "1"}, runner=("--cache-bytes", "250000"))
        self.next({"lock": "2"})
        self.assertIn("hit", self.log(self.next({"lock": "1"})))
        self.next({"lock": "3"})
        self.assertIn("hit", self.log(self.next({"lock": "1"})))
        self.assertIn("miss", self.log(self.next({"lock": "2"})))
        self.assertEqual(len(self.caches()), 2)
        job = job.replace("100000", "300000")
        said = self.log(self.next({FILE: job, "lock": "4"}))
        self.assertRegex(said, r"not saved: its \d+ bytes are more than all caches may have")

    def test_a_runner_without_caches_says_so(self):
        said = self.log(self.begin(self.JOB, {"a.lock": "1"}, runner=("--cache-bytes", "0")))
        self.assertIn("this runner keeps no caches", said)
        self.assertEqual(self.caches(), [])

    def test_two_slots_that_save_at_once_leave_one_whole_cache(self):
        gate = self.path("both")
        self.begin(f"""
jobs:
  a:
    tests:
      files: "t/*"
      batch: 1
      run: |
        mkdir -p d; head -c 3000000 /dev/urandom > d/x
        echo {{}} >> {gate}; while [ $(wc -l < {gate}) -lt 2 ]; do sleep .02; done
    cache: {{key: lock, paths: d}}
""", {"lock": "1", "t/1": "", "t/2": ""}, runner=("--slots", "2"))
        cache, = self.caches()
        self.volt("archive", "list", cache)
        self.assertIn("hit", self.log(self.next({"other": "1"})))

    def test_a_save_that_is_killed_leaves_no_cache_and_fails_no_job(self):
        job = ("jobs: {a: {script: 'mkdir -p d; test -e d/x || head -c 300000000 /dev/urandom > d/x',"
               " cache: {key: lock, paths: d}}}\n")
        self.repo = self.repository(files={FILE: job, "lock": "1"})
        self.tail_of = self.everything(self.repo)

        def saver():
            """One that has its file already; it is stopped, so that it does not come to its end meanwhile."""
            for pid, line in harness.processes_of(self.path("runner.d")).items():
                if re.match(r"volt cache .* save ", line):
                    os.kill(pid, signal.SIGSTOP)
                    if self.caches():
                        return pid
                    os.kill(pid, signal.SIGCONT)
            return None
        os.kill(harness.wait_for("a save", saver), signal.SIGKILL)
        self.done()
        self.assertFalse([c for c in self.caches() if c.endswith(".zst")])
        self.next({FILE: job.replace("300000000", "3")})
        self.assertTrue([c for c in self.caches() if c.endswith(".zst")])

    def test_what_a_kept_workspace_has_is_not_restored_again(self):
        job = """
jobs:
  a:
    tests: {files: "t/*", batch: 1, run: "mkdir -p d; echo {} >> d/x; cat d/x"}
    cache: {key: lock, paths: d}
"""
        files = {"lock": "1", "t/1": "", "t/2": "", "t/3": ""}
        self.begin(job, files)
        build = self.next({"other": "1"})
        said = self.log(build)
        self.assertEqual(said.count("cache: hit"), 1, said)
        self.assertEqual(said.count("t/"), 2 + 3 + 4, said)  # the first saved one of its own


class Home(Kept):
    def test_a_kept_home_is_there_for_the_next_build_of_the_repository(self):
        job = "jobs:\n  a: {home: kept, script: 'ls ~; echo x > ~/was; test ! -e $TMPDIR/x; echo >$TMPDIR/x'}\n"
        self.assertEqual(self.log(self.begin(job)), "")
        self.assertEqual(self.log(self.next({"other": "1"})), "was\n")
        other = self.next({FILE: "jobs: {a: {script: 'ls ~'}}\n"})
        self.assertEqual(self.log(other), "")
        repo = self.repository("second", files={FILE: job})
        self.observer(repo.path, name="observer2")
        done = self.tail_of.wait("build_done", oid=repo.head())[0]
        self.assertEqual(self.log(done["build"]), "")

    def test_one_that_was_replaced_by_a_link_is_made_anew(self):
        self.begin("jobs: {a: {home: kept, script: 'cd /; h=$HOME; rm -r $h; ln -s /etc $h'}}\n")
        build = self.next({FILE: "jobs: {a: {home: kept, script: 'ls -a ~'}}\n"})
        self.assertEqual(self.log(build), ".\n..\n")

    def test_two_slots_do_not_share_one(self):
        both = self.path("both")
        script = (f"echo $HOME >> {both}; while [ $(wc -l < {both}) -lt 2 ]; do sleep .02; done")
        self.begin(f"jobs:\n  a: {{home: kept, script: '{script}'}}\n"
                   f"  b: {{home: kept, script: '{script}'}}\n", runner=("--slots", "2"))
        self.assertEqual(len(set(self.read("both").split())), 2)


if __name__ == "__main__":
    harness.main()
