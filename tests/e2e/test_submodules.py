"""Submodules in the checkouts of jobs that want them: at all depths, moved and removed with commits."""
import os

import harness

FILE = ".volt.yml"
JOB = "jobs:\n  a: {submodules: true, script: 'cat lib/f lib/deep/d'}\n"


class Submodules(harness.Case):
    def setUp(self):
        self.environment["GIT_ALLOW_PROTOCOL"] = "file"  # the harness's git refuses it for submodules
        self.deep = self.repository("deep", {"d": "deep\n"})
        self.lib = self.repository("lib", {"f": "1\n"})
        self.add(self.lib, "../deep", "deep")
        self.repo = self.repository("demo", {FILE: JOB})
        self.add(self.repo, "../lib", "lib")

    def add(self, repo, url, path):
        repo.git("-c", "protocol.file.allow=always", "submodule", "-q", "add", url, path)
        repo.commit()

    def begin(self, **kw):
        self.tail_of = self.everything(self.repo, **kw)
        return self.done()

    def next(self, files=None):
        self.repo.commit(files)
        return self.done()

    def done(self, verdict="passed"):
        event = self.tail_of.wait("build_done", oid=self.repo.head())[0]
        self.assertEqual(event["verdict"], verdict, event)
        return event

    def log(self, build, job="a"):
        return self.ask("log", f"{build['build']}/{job}").decode()

    def update_lib(self, text):
        self.lib.commit({"f": text})
        work = os.path.join(self.repo.work, "lib")
        self.repo.run("git", "-C", work, "pull", "-q")

    def test_they_are_there_at_all_depths_and_move_with_the_commit(self):
        self.assertEqual(self.log(self.begin()), "1\ndeep\n")
        self.update_lib("2\n")
        self.assertEqual(self.log(self.next()), "2\ndeep\n")
        self.repo.git("mv", "lib", "moved")
        build = self.next({FILE: JOB.replace("cat lib/f", "test ! -e lib; cat moved/f")
                           .replace("lib/deep", "moved/deep")})
        self.assertEqual(self.log(build), "2\ndeep\n")
        self.repo.git("rm", "-q", "moved")
        build = self.next({FILE: JOB.replace("cat lib/f lib/deep/d", "ls; git status --porcelain")})
        self.assertEqual(self.log(build), "")

    def test_git_of_the_job_knows_them(self):
        build = self.begin()
        build = self.next({FILE: JOB.replace("cat lib/f lib/deep/d",
                                             "git status --porcelain; git -C lib log --format=%s;"
                                             " git submodule status --recursive | cut -c1")})
        self.assertRegex(self.log(build), r"\A(commit \d of the test\n)+ \n \n\Z")

    def test_a_job_that_does_not_want_them_has_empty_places(self):
        self.begin()
        build = self.next({FILE: JOB + "  b: {needs: a, script: 'ls -A lib | wc -l'}\n"
                                       "  c: {needs: b, submodules: true, script: cat lib/deep/d}\n"})
        self.assertEqual(self.log(build, "b"), "0\n")
        self.assertEqual(self.log(build, "c"), "deep\n")

    def test_what_a_job_changed_in_them_is_made_good(self):
        self.begin()
        self.next({FILE: JOB.replace("cat", "echo x > lib/f; echo x > lib/deep/new; rm lib/deep/d; true")})
        self.assertEqual(self.log(self.next({FILE: JOB.replace("cat", "ls lib/deep; cat")})),
                         "d\n1\ndeep\n")

    def test_one_that_cannot_be_reached_is_named_and_the_build_errored(self):
        os.rename(self.lib.path, self.lib.path + ".gone")
        self.tail_of = self.everything(self.repo)
        self.done("errored")
        job = self.tail_of.wait("task_done", job="a")[0]
        why = f"submodule 'lib': repository '{self.lib.path}': No such file or directory"
        self.assertEqual(job["why"], why)
        self.assertEqual(self.log({"build": 1}), f"{why}\n")
        os.rename(self.lib.path + ".gone", self.lib.path)
        self.ask("rebuild", "1", "--wait")

    def test_test_files_have_them_too(self):
        tests = ('jobs:\n  a: {submodules: true, tests: {files: "t/*", batch: 1,'
                 ' run: "cat lib/f {}"}}\n')
        build_of = self.begin()
        build_of = self.next({FILE: tests, "t/1": "x\n", "t/2": "y\n", "t/3": "z\n"})
        self.assertEqual(sorted(self.log(build_of).split()), ["1", "1", "1", "x", "y", "z"])


if __name__ == "__main__":
    harness.main()
