"""What is found below `tests`, how it is run, and what it is called in the end."""
import harness
from harness import FAIL, PASS, PYTHON_FAIL, PYTHON_PASS

# Prints what runs, and where from, so that the log tells.
NAMED = """import unittest
class T(unittest.TestCase):
    def test_%s(self): print("ran %s")
"""


class Units(harness.Case):
    def build(self, files, verdict, runner=(), dispatcher=()):
        """{file: verdict} of a commit."""
        self.repo = self.repository(files=files)
        self.tail_of = self.everything(self.repo, runner=runner, dispatcher=dispatcher)
        oid = self.repo.head()
        self.assertEqual(self.tail_of.verdict(oid), verdict, self.tail_of.tests(oid))
        return self.tail_of.tests(oid)

    def log(self, file):
        return self.ask("log", f"1/tests/{file}").decode()

    def test_python_files_at_all_depths(self):
        found = self.build({
            "tests/test_top.py": NAMED % ("top", "top"),
            "tests/testless.py": NAMED % ("less", "less"),
            "tests/plain/test_plain.py": NAMED % ("plain", "plain"),
            "tests/plain/deep/er/test_deep.py": NAMED % ("deep", "deep"),
            "tests/package/__init__.py": "",
            "tests/package/test_in.py": "from . import helper\n" + NAMED % ("in", "in"),
            "tests/package/helper.py": "X = 1\n",
            "tests/helper.py": "def test_not_one(): raise SystemExit(1)\n",
            "tests/not_a_test.py": "raise SystemExit(1)\n",
            "tests/data/test-data.py": "raise SystemExit(1)\n",
            "test_outside.py": "raise SystemExit(1)\n",
            "other/tests/test_other.py": "raise SystemExit(1)\n"}, "passed")
        self.assertEqual(found, dict.fromkeys((
            "tests/test_top.py", "tests/testless.py", "tests/plain/test_plain.py",
            "tests/plain/deep/er/test_deep.py", "tests/package/test_in.py"), "passed"))
        for file, name in (("test_top.py", "top"), ("plain/deep/er/test_deep.py", "deep"),
                           ("package/test_in.py", "in")):
            said = self.log("tests/" + file)
            self.assertIn(f"ran {name}\n", said)
            self.assertIn("Ran 1 test ", said)

    def test_helpers_are_imported_as_discover_does(self):
        found = self.build({
            "code.py": "VALUE = 'of the top'\n",
            "library/__init__.py": "NAME = 'library'\n",
            "tests/__init__.py": "",
            "tests/sibling.py": "VALUE = 'sibling'\n",
            "tests/test_sibling.py": "import sibling\n" + NAMED % ("a", "a"),
            "tests/test_top.py": "import library\n" + NAMED % ("b", "b"),
            "tests/nested/helper.py": "VALUE = 'helper'\n",
            "tests/nested/test_nested.py": "import helper\nimport sibling\n" + NAMED % ("c", "c"),
            "tests/package/__init__.py": "from sibling import VALUE\n",
            "tests/package/below/__init__.py": "",
            "tests/package/below/test_below.py":
                "from package import VALUE\nimport package.below\n" + NAMED % ("d", "d"),
            "tests/package/below/test_file.py":
                "import os, unittest\nclass T(unittest.TestCase):\n    def test(self):\n"
                "        self.assertEqual(__name__, 'tests.package.below.test_file')\n"
                "        self.assertTrue(os.path.samefile(os.getcwd(), os.environ['VOLT_WORKSPACE']))\n"
                "        self.assertTrue(os.path.exists('code.py'))\n"}, "passed")
        self.assertEqual(len(found), 5)

    def test_load_tests_and_fixtures(self):
        found = self.build({
            "tests/test_load.py":
                "import unittest\nclass T(unittest.TestCase):\n"
                "    def test_yes(self): print('yes')\n    def test_no(self): self.fail()\n"
                "def load_tests(loader, tests, pattern):\n"
                "    return unittest.TestSuite([T('test_yes')])\n",
            "tests/test_fixture.py":
                "import unittest\ndef setUpModule(): print('module up')\n"
                "def tearDownModule(): print('module down')\n"
                "class T(unittest.IsolatedAsyncioTestCase):\n"
                "    async def test(self):\n        with self.subTest(1): pass\n",
            "tests/test_skipped.py":
                "import unittest\n@unittest.skip('not here')\n"
                "class T(unittest.TestCase):\n    def test(self): self.fail()\n",
            "tests/test_expected.py":
                "import unittest\nclass T(unittest.TestCase):\n"
                "    @unittest.expectedFailure\n    def test(self): self.fail()\n"}, "passed")
        self.assertEqual(set(found.values()), {"passed"})
        self.assertIn("Ran 1 test ", self.log("tests/test_load.py"))
        self.assertIn("module down", self.log("tests/test_fixture.py"))

    def test_bad_python_files(self):
        found = self.build({
            "tests/test_none.py": "X = 1\n",
            "tests/test_pytest.py": "def test_one():\n    assert 1 == 2\n",
            "tests/test_empty.py": "",
            "tests/test_import.py": "import no_such_module\n" + PYTHON_PASS,
            "tests/test_syntax.py": "def f(:\n",
            "tests/test_exit.py": "import os\nos._exit(0)\n",
            "tests/test_sys_exit.py": "import sys\nsys.exit(0)\n",
            "tests/test_signal.py": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
            "tests/test_unexpected.py": "import unittest\nclass T(unittest.TestCase):\n"
                                        "    @unittest.expectedFailure\n    def test(self): pass\n",
            "tests/test_good.py": PYTHON_PASS}, "failed")
        self.assertEqual(found, {
            "tests/test_none.py": "no-tests", "tests/test_pytest.py": "no-tests",
            "tests/test_empty.py": "no-tests", "tests/test_import.py": "failed",
            "tests/test_syntax.py": "failed", "tests/test_exit.py": "failed",
            "tests/test_sys_exit.py": "failed", "tests/test_signal.py": "failed",
            "tests/test_unexpected.py": "failed", "tests/test_good.py": "passed"})
        self.assertIn("no_such_module", self.log("tests/test_import.py"))
        signals = self.tail_of.events("test_done", file="tests/test_signal.py")
        self.assertEqual(signals[0].get("signal"), 11)

    def test_a_file_without_tests_is_not_green(self):
        self.assertEqual(self.build({"tests/test_a.py": PYTHON_PASS, "tests/test_b.py": ""},
                                    "no-tests"),
                         {"tests/test_a.py": "passed", "tests/test_b.py": "no-tests"})

    def test_executables(self):
        found = self.build({
            "tests/ok": PASS, "tests/no": FAIL, "tests/deep/er/ok.sh": PASS,
            "tests/python": "#!/usr/bin/env python3\nprint('python')\n",
            "tests/signal": "#!/bin/sh\nkill -9 $$\n",
            "tests/nowhere": "#!/no/such/interpreter\n",
            "tests/with space;$(x)": PASS,
            "tests/where": "#!/bin/sh\ntest -d tests && test -n \"$VOLT_WORKSPACE\" && "
                           "test \"$(pwd -P)\" = \"$VOLT_WORKSPACE\"\n",
            "tests/not_executable.sh": "exit 1\n", "run": FAIL}, "errored")
        self.assertEqual(found, {
            "tests/ok": "passed", "tests/no": "failed", "tests/deep/er/ok.sh": "passed",
            "tests/nowhere": "errored", "tests/python": "passed", "tests/signal": "failed", "tests/with space;$(x)": "passed",
            "tests/where": "passed"})
        done, = self.tail_of.events("test_done", file="tests/no")
        self.assertEqual((done["exit"], done.get("signal")), (1, None))
        done, = self.tail_of.events("test_done", file="tests/signal")
        self.assertEqual(done["signal"], 9)

    def test_an_interpreter_that_is_missing_is_named(self):
        env = "#!/usr/bin/env -S A=1 no-such-ruby -w\n"
        found = self.build({"tests/a.rb": env, "tests/b.rb": "#!/opt/no-such-ruby\n", "tests/test_c.py": env,
                            "tests/d": "#!/usr/bin/env sh\nexit 127\n", "tests/e": "#!/bin/sh\nexit 127\n"}, "errored")
        self.assertEqual(found, {"tests/a.rb": "failed", "tests/b.rb": "errored", "tests/test_c.py": "no-tests",
                                 "tests/d": "failed", "tests/e": "failed"})
        word = ("volt: {}: '{}', which its first line names, is not on this runner: install it there, "
                "or say in .volt.yml what is tested")
        self.assertEqual(self.log("tests/a.rb").splitlines()[-1], word.format("tests/a.rb", "no-such-ruby"))
        self.assertEqual(self.log("tests/b.rb").splitlines()[-1], word.format("tests/b.rb", "/opt/no-such-ruby"))
        self.assertEqual((self.log("tests/d"), self.log("tests/e")), ("", ""))

    def test_nothing_to_run_is_not_green(self):
        repo = self.repository(files={"README": "no tests here\n"})
        self.dispatcher()
        self.runner()
        tail = self.tail()
        self.observer("--policy", "every", repo.path)
        self.assertEqual(tail.verdict(repo.head()), "no-tests")
        for files in ({"tests/README": "none\n", "tests/helper.py": "X = 1\n"},
                      {"tests/README": None, "tests/helper.py": None, "tests": "a file\n"},
                      {"tests": None, "README": None}):
            oid = repo.commit(files)
            self.assertEqual(tail.verdict(oid), "no-tests", files)
        self.assertEqual(repo.git("ls-files"), "")
        self.volt("up", "--once", repo.path, rc=1)

    def test_units_of_many_files_run_once_each(self):
        files = {f"tests/d{i % 7}/t{i}": f"#!/bin/sh\necho {i}\n" for i in range(150)}
        found = self.build(files, "passed", runner=("--slots", "4"))
        self.assertEqual(found, dict.fromkeys(files, "passed"))
        self.assertEqual(len(self.tail_of.events("test_done")), 150)
        self.assertEqual(self.log("tests/d6/t97"), "97\n")
        row, = self.json("builds")
        self.assertEqual((row["units"], row["units_done"], row.get("units_bad", 0)),
                         (150, 150, 0))

    def test_units_are_shared_by_two_runners(self):
        repo = self.repository(files={f"tests/t{i}": "#!/bin/sh\nsleep .2\n" for i in range(8)})
        tail = self.everything(runners=2)
        self.observer(repo.path)
        self.assertEqual(tail.verdict(repo.head()), "passed")
        self.assertEqual({e["runner"] for e in tail.events("test_done")}, {"runner", "runner2"})

    def test_a_failing_test_says_what_and_where(self):
        self.build({"tests/test_a.py": PYTHON_FAIL, "tests/test_b.py": PYTHON_PASS}, "failed")
        said = self.ask("build", "1").decode()
        self.assertLess(said.index("tests/test_a.py"), said.index("tests/test_b.py"))
        self.assertIn("AssertionError: no", self.log("tests/test_a.py"))


if __name__ == "__main__":
    harness.main()
