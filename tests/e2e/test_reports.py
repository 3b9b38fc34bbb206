"""`tests: report:` reads what a test file reports beside its exit status: JUnit's XML, or TAP."""
import signal
import sqlite3

import harness

FILE = ".volt.yml"
JUNIT = ("jobs: {t: {tests: {files: 'tests/*', run: 'python3 run.py {}', "
         "report: 'junit:out/**/*.xml'}}}\n")
TAP = "jobs: {t: {tests: {files: 'tests/*', run: 'sh {}', report: tap}}}\n"

# Runs unittest and writes what pytest, surefire and others write.
XML_RUNNER = '''
import os, sys, time, unittest
from xml.sax.saxutils import quoteattr
path = sys.argv[1]
class Result(unittest.TestResult):
    rows = []
    def say(self, test, inner=""):
        name = test.id().rpartition(".")
        self.rows.append(f"<testcase classname={quoteattr(name[0])} name={quoteattr(name[2])} "
                         f"time='0.002'>{inner}</testcase>")
    def addSuccess(self, test):
        self.say(test)
    def addFailure(self, test, e):
        self.say(test, f"<failure type='AssertionError' message={quoteattr(str(e[1]))}/>")
        super().addFailure(test, e)
    def addSkip(self, test, why):
        self.say(test, f"<skipped message={quoteattr(why)}/>")
name = os.path.basename(path)[:-3]
sys.path.insert(0, os.path.dirname(path))
result = Result()
unittest.defaultTestLoader.loadTestsFromName(name).run(result)
os.makedirs("out/deep", exist_ok=True)
with open(f"out/deep/{name}.xml", "w") as f:
    f.write(f"<testsuite name='{name}'>{''.join(result.rows)}</testsuite>")
sys.exit(0 if "careless" in name else not result.wasSuccessful())
'''
MIXED = '''
import unittest
class T(unittest.TestCase):
    def test_adds(self): self.assertEqual(1 + 1, 2)
    def test_breaks(self): self.assertEqual(1, 2)
    @unittest.skip("not here")
    def test_skips(self): pass
'''


class Reports(harness.Case):
    def build(self, text, files, **kw):
        self.repo = self.repository(files={FILE: text, **files})
        self.tail_of = self.everything(self.repo, **kw)
        return self.tail_of.wait("build_done", oid=self.repo.head())[0]

    def units(self, build=1):
        return {u["file"]: u for u in self.json("build", str(build))[0]["tests"]}

    def log(self, unit):
        return self.ask("log", unit).decode()

    def test_junit_files_make_cases(self):
        done = self.build(JUNIT, {
            "run.py": XML_RUNNER, "tests/mixed.py": MIXED, "tests/careless.py": MIXED,
            "tests/good.py": harness.PYTHON_PASS, "tests/empty.py": ""})
        self.assertEqual(done["verdict"], "failed")
        units = self.units()
        mixed = units["tests/mixed.py"]
        self.assertEqual((mixed["verdict"], mixed["cases"], mixed["bad"]), ("failed", 3, 1))
        self.assertEqual([(c["name"], c["verdict"], c.get("message")) for c in mixed["test_cases"]], [
            ("mixed.T.test_adds", "passed", None),
            ("mixed.T.test_breaks", "failed", "AssertionError: 1 != 2"),
            ("mixed.T.test_skips", "skipped", "not here")])
        self.assertEqual(mixed["test_cases"][0]["duration_ms"], 2)
        # A failed case counts although the process ended with 0.
        self.assertEqual(units["tests/careless.py"]["verdict"], "failed")
        self.assertEqual(units["tests/good.py"]["verdict"], "passed")
        self.assertEqual(units["tests/good.py"]["test_cases"][0]["name"], "good.T.test")
        self.assertEqual(units["tests/empty.py"]["verdict"], "no-tests")
        shown = self.ask("build", "1").decode()
        self.assertIn("failed mixed.T.test_breaks: AssertionError: 1 != 2", shown)
        self.assertIn("failed careless.T.test_breaks", shown)
        self.assertRegex(self.ask("tail", "--until-build", "1", "--from", "start", rc=1).decode(),
                         "failed  tests/careless.py, 1 of 3 cases failed")
        self.ask("tail", "--until-build", "1", "--from", "start", "--results", self.path("results"),
                 rc=1)
        self.assertEqual(sorted(harness.read_result(self.path("results", self.repo.head())).notes), [
            f"tests/{f}.py: failed {f}.T.test_breaks: AssertionError: 1 != 2"
            for f in ("careless", "mixed")])
        event, = self.tail_of.events("test_done", file="tests/mixed.py")
        self.assertEqual((event["cases"], event["bad"]), (3, 1))

    def test_a_report_belongs_to_the_unit_that_wrote_it(self):
        """Three write the same file with the same length, one none; the repository has one as well."""
        write = ("mkdir -p out; echo \"<testsuite><testcase name='$(basename {})'/></testsuite>\""
                 ">out/r.xml")
        self.build("jobs:\n  t:\n    tests:\n      files: tests/*\n      report: junit:out/*.xml\n"
                   "      run: |\n        if sh {}; then " + write + "; fi\n",
                   {"out/old.xml": "<testsuite><testcase name='old'/></testsuite>",
                    "tests/a": "", "tests/b": "", "tests/c": "", "tests/n": "exit 1"})
        units = self.units()
        for name in "abc":
            unit = units[f"tests/{name}"]
            self.assertEqual(unit["verdict"], "passed")
            self.assertEqual([c["name"] for c in unit["test_cases"]], [name])
        self.assertEqual(units["tests/n"]["verdict"], "errored")
        self.assertNotIn("test_cases", units["tests/n"])
        self.assertIn("volt: tests/n: no report: it wrote nothing that 'out/*.xml' names",
                      self.log(f"1/t/{units['tests/n'].get('i', 0)}"))

    def test_a_broken_report_is_errored(self):
        done = self.build("jobs: {t: {tests: {files: 'tests/*', run: 'cp {} x.xml', "
                          "report: 'junit:*.xml'}}}\n",
                          {"tests/cut": "<testsuite>\n<testcase name='a'/>\n",
                           "tests/doctype": "<!DOCTYPE a [<!ENTITY b 'c'>]><testsuite name='&b;'/>"})
        self.assertEqual(done["verdict"], "errored")
        units = self.units()
        self.assertEqual([units[f]["verdict"] for f in sorted(units)], ["errored", "errored"])
        self.assertEqual(units["tests/cut"]["cases"], 1)
        self.assertIn("volt: tests/cut: x.xml: line 3, column 1: no element found", self.log("1/t/0"))
        self.assertIn("it has a DOCTYPE, which is refused", self.log("1/t/1"))

    def test_tap_is_read_from_the_output(self):
        done = self.build(TAP, {
            "tests/good": "echo hello; echo 1..2; echo ok 1 - a; echo 'ok 2 - b # SKIP no' >&2",
            "tests/bad": "echo ok 1 - a; echo not ok 2 - b; echo '  ---'; echo '  message: oh';"
                         " echo '  ...'; echo 1..2",
            "tests/cut": "echo 1..3; echo ok 1 - a; echo ok 2 - b",
            "tests/crash": "echo 1..1; echo ok 1 - a; kill -SEGV $$",
            "tests/bail": "echo 1..1; echo 'Bail out! no disk'",
            "tests/skipped": "echo '1..0 # SKIP not on this machine'",
            "tests/none": "echo hello"})
        self.assertEqual(done["verdict"], "failed")
        units = self.units()
        self.assertEqual({f[6:]: u["verdict"] for f, u in units.items()}, {
            "good": "passed", "bad": "failed", "cut": "failed", "crash": "failed",
            "bail": "failed", "skipped": "passed", "none": "no-tests"})
        self.assertEqual([(c["name"], c["verdict"], c.get("message"))
                          for c in units["tests/bad"]["test_cases"]],
                         [("a", "passed", None), ("b", "failed", "oh")])
        for file, line in (("cut", "its plan is 1..3, and 2 tests came"),
                           ("crash", "no case failed, but signal 11 ended it"),
                           ("bail", "Bail out! no disk"),
                           ("none", "there is no test in its output")):
            unit = units[f"tests/{file}"]
            self.assertIn(f"volt: tests/{file}: {line}", self.log(f"1/t/{unit.get('i', 0)}"))

    def test_three_thousand_cases_in_one_file(self):
        self.build(TAP, {"tests/many": "i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); "
                                       "echo \"ok $i - case number $i of a file with very many\"; done; "
                                       "echo 1..3000", "tests/one": "echo 1..1; echo ok 1 - one"})
        units = self.units()
        many = units["tests/many"]
        self.assertEqual(many["cases"], 3000)
        self.assertEqual([c["name"] for c in many["test_cases"]],
                         [f"case number {i} of a file with very many" for i in range(1, 3001)])
        self.assertEqual(units["tests/one"]["cases"], 1)

    def test_a_batch_lost_midway_leaves_no_doubles(self):
        """The executor dies in the second file; another tells fewer cases of it."""
        many = "n=$((VOLT_ATTEMPT == 1 ? 400 : 3)); i=0; while [ $i -lt $n ]; do i=$((i + 1)); " \
               "echo ok $i - $VOLT_ATTEMPT/$i; done; echo 1..$n\n"
        self.repo = self.repository(files={
            FILE: TAP.replace("report: tap", "report: tap, batch: 3"),
            "tests/a": many, "tests/b": self.gate() + many, "tests/c": many})
        dispatcher = self.dispatcher()
        runner = self.runner()
        tail = self.tail()
        self.observer(self.repo.path)
        self.wait_start()
        harness.wait_for("the first outcome", lambda: tail.events("test_done"))
        harness.os.kill(self.executors(runner)[1], signal.SIGKILL)
        self.go()
        done, = tail.wait("build_done", oid=self.repo.head())
        self.assertEqual(done["verdict"], "passed")
        units = self.units()
        self.assertEqual({f: [c["name"] for c in u["test_cases"]] for f, u in units.items()}, {
            "tests/a": [f"1/{i}" for i in range(1, 401)],
            "tests/b": ["2/1", "2/2", "2/3"], "tests/c": ["2/1", "2/2", "2/3"]})
        dispatcher.stop()
        db = sqlite3.connect(self.path("dispatcher", "volt.db"))
        self.assertEqual(db.execute("SELECT count(*) FROM test_case").fetchone(), (406,))
        db.close()


if __name__ == "__main__":
    harness.main()
