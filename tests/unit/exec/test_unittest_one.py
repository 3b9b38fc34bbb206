"""unittest_one.py finds and runs what `python3 -m unittest discover -s tests` does, file by file."""

import os
import re
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../..")
with open(os.path.join(SOURCE, "src/exec/unittest_one.py")) as f:
    SHIM = f.read()

PASSED, FAILED, NO_TESTS = 93, 1, 5

CASE = """
import unittest
class T(unittest.TestCase):
    def test_it(self):
        {}
"""


def case(body, head=""):
    return head + CASE.format(body)


class Checkout(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="volt-one-")
        self.addCleanup(scratch.cleanup)
        self.dir = scratch.name

    def write(self, path, text=""):
        path = os.path.join(self.dir, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as out:
            out.write(text)

    def python(self, *args):
        return subprocess.run(
            [sys.executable, *args],
            cwd=self.dir,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )

    def one(self, path):
        return self.python("-c", SHIM, path)

    def discover(self):
        package = os.path.exists(os.path.join(self.dir, "tests/__init__.py"))
        top = ["-t", "."] if package else []
        return self.python("-m", "unittest", "discover", "-v", "-s", "tests", *top)

    def assertOne(self, path, status):
        got = self.one(path)
        self.assertEqual(got.returncode, status, got.stdout)
        return got.stdout

    @staticmethod
    def outcomes(text):
        """The lines "name (where) ... ok" without what tests print."""
        return sorted(re.findall(r"^(\w+ \([\w.]+\)).* \.\.\. .*?(ok|FAIL|ERROR|skipped)", text, re.M))

    def assertSameAsDiscover(self, *paths):
        """All files, one by one, have the outcomes that discover has at once."""
        want = self.outcomes(self.discover().stdout)
        self.assertTrue(want)
        got = []
        for path in paths:
            got += self.outcomes(self.one(path).stdout)
        self.assertEqual(sorted(got), want)


class Layouts(Checkout):
    def test_flat_with_helpers_beside_and_in_the_top_directory(self):
        self.write("tests/helper.py", "x = 1\n")
        self.write("product.py", "y = 2\n")
        self.write("tests/test_a.py", case("self.assertEqual(helper.x, 1)", "import helper\n"))
        self.write("tests/test_b.py", case("self.assertEqual(product.y, 3)", "import product\n"))
        self.assertOne("tests/test_a.py", PASSED)
        self.assertOne("tests/test_b.py", FAILED)
        self.assertSameAsDiscover("tests/test_a.py", "tests/test_b.py")

    def test_packages_below(self):
        self.write("tests/a/__init__.py", "imported = 'a'\n")
        self.write("tests/a/b/__init__.py")
        self.write("tests/a/b/near.py", "z = 3\n")
        self.write(
            "tests/a/b/test_x.py",
            case("self.assertEqual((near.z, __name__), (3, 'a.b.test_x'))", "from . import near\n"),
        )
        self.write("tests/a/test_y.py", case("self.assertEqual(__package__, 'a')"))
        self.assertOne("tests/a/b/test_x.py", PASSED)
        self.assertSameAsDiscover("tests/a/b/test_x.py", "tests/a/test_y.py")

    def test_without_init_the_top_directory_is_no_package(self):
        self.write("tests/other.py")
        self.write("tests/test_x.py", case("pass", "from . import other\n"))
        self.assertOne("tests/test_x.py", FAILED)
        self.assertSameAsDiscover("tests/test_x.py")

    def test_with_init_the_top_directory_is_a_package(self):
        self.write("tests/__init__.py", "v = 1\n")
        self.write("tests/other.py")
        self.write("tests/a/__init__.py")
        self.write(
            "tests/test_x.py",
            case("self.assertEqual((v, __name__), (1, 'tests.test_x'))", "from . import other, v\n"),
        )
        self.write("tests/a/test_y.py", case("pass", "from .. import other\nfrom ..test_x import T\n"))
        self.write("tests/test_z.py", case("self.fail()", "import tests.other\n"))
        self.assertOne("tests/test_x.py", PASSED)
        self.assertOne("tests/a/test_y.py", PASSED)
        self.assertOne("tests/test_z.py", FAILED)
        self.assertSameAsDiscover("tests/test_x.py", "tests/a/test_y.py", "tests/test_z.py")

    def test_of_a_package_what_stands_in_it_is_also_imported_without_its_name(self):
        self.write("tests/__init__.py", "import other\n")
        self.write("tests/other.py", "x = 1\n")
        self.write("tests/plain/test_y.py", case("pass", "import other\nfrom tests.other import x\n"))
        self.write("tests/test_x.py", case("pass", "from other import x\n"))
        self.assertOne("tests/test_x.py", PASSED)
        self.assertOne("tests/plain/test_y.py", PASSED)

    def test_in_a_package_the_product_comes_before_the_tests_named_after_it(self):
        self.write("product/__init__.py", "y = 2\n")
        self.write("tests/__init__.py")
        self.write("tests/product/__init__.py")
        self.write("tests/product/test_x.py", case("pass", "from product import y\n"))
        self.assertOne("tests/product/test_x.py", PASSED)
        self.assertSameAsDiscover("tests/product/test_x.py")

    def test_what_init_says_wrong_fails(self):
        self.write("tests/__init__.py", "import nowhere\n")
        self.write("tests/test_x.py", case("pass"))
        self.assertIn("No module named 'nowhere'", self.assertOne("tests/test_x.py", FAILED))

    def test_files_beside_are_not_imported(self):
        self.write("tests/p/__init__.py")
        self.write("tests/p/test_ok.py", case("pass"))
        self.write("tests/p/test_loud.py", "print('loud')\n" + case("pass"))
        self.write("tests/q/__init__.py", "print('loud')\n")
        self.write("tests/test_loud.py", "print('loud')\n")
        self.assertNotIn("loud", self.assertOne("tests/p/test_ok.py", PASSED))

    def test_a_directory_without_init_is_a_start_of_its_own(self):
        self.write("tests/common.py", "c = 1\n")
        self.write("product.py", "y = 2\n")
        self.write("tests/unit/beside.py", "b = 2\n")
        self.write("tests/unit/sub/__init__.py")
        head = "import beside, common, product\n"
        self.write("tests/unit/test_x.py", case("self.assertEqual(__name__, 'test_x')", head))
        self.write(
            "tests/unit/sub/test_y.py", case("self.assertEqual(__name__, 'sub.test_y')", head)
        )
        self.assertOne("tests/unit/test_x.py", PASSED)
        self.assertOne("tests/unit/sub/test_y.py", PASSED)

    def test_names_of_other_scripts_and_links(self):
        self.write("tests/test_ä.py", case("pass"))
        self.write("lib/real.py", case("pass"))
        os.symlink("../lib/real.py", os.path.join(self.dir, "tests/test_link.py"))
        self.assertOne("tests/test_ä.py", PASSED)
        self.assertEqual(
            self.one("tests/test_link.py").returncode == PASSED,
            "test_link" in self.discover().stdout and "ImportError" not in self.discover().stdout,
        )

    def test_a_checkout_behind_a_symbolic_link(self):
        self.write("real/tests/test_x.py", case("pass"))
        os.symlink("real", os.path.join(self.dir, "link"))
        self.dir = os.path.join(self.dir, "link")
        self.assertOne("tests/test_x.py", PASSED)

    def test_the_path_and_arguments_of_discover(self):
        self.write("tests/test_x.py", case("print('PATH', sys.path[:2], sys.argv[0])", "import sys\n"))
        line = [re.findall("PATH.*", t.stdout) for t in (self.discover(), self.one("tests/test_x.py"))]
        self.assertIn("tests", line[0][0])
        self.assertEqual(line[0][0].split("]")[0], line[1][0].split("]")[0])


class LoadTests(Checkout):
    def test_of_a_module(self):
        self.write(
            "tests/test_x.py",
            case("self.fail()")
            + "class Good(unittest.TestCase):\n    def test_good(self): pass\n"
            + "def load_tests(loader, tests, pattern):\n"
            + "    return loader.loadTestsFromTestCase(Good)\n",
        )
        self.assertOne("tests/test_x.py", PASSED)
        self.assertSameAsDiscover("tests/test_x.py")

    def test_of_a_package_that_discovers(self):
        self.write(
            "tests/p/__init__.py",
            "import os\n"
            "def load_tests(loader, tests, pattern):\n"
            "    here = os.path.dirname(__file__)\n"
            "    tests.addTests(loader.discover(start_dir=here, pattern=pattern))\n"
            "    return tests\n",
        )
        self.write("tests/p/test_x.py", case("pass"))
        self.write("tests/p/test_y.py", case("self.fail()"))
        self.assertOne("tests/p/test_x.py", PASSED)
        self.assertOne("tests/p/test_y.py", FAILED)
        self.assertSameAsDiscover("tests/p/test_x.py", "tests/p/test_y.py")


class Outcomes(Checkout):
    def run_one(self, text):
        self.write("tests/test_x.py", text)
        return self.one("tests/test_x.py")

    def assertStatus(self, text, status):
        got = self.run_one(text)
        self.assertEqual(got.returncode, status, got.stdout)
        return got.stdout

    def test_no_test_ran(self):
        self.assertStatus("", NO_TESTS)
        self.assertStatus("def test_in_the_style_of_pytest():\n    assert False\n", NO_TESTS)
        self.assertStatus("import unittest\nclass T(unittest.TestCase): pass\n", NO_TESTS)

    def test_skipped_counts_as_run(self):
        self.assertStatus(case("self.skipTest('not here')"), PASSED)
        self.assertStatus("import unittest\nraise unittest.SkipTest('not here')\n", PASSED)
        self.assertStatus(
            case("pass") + "    @classmethod\n    def setUpClass(cls):\n"
            "        raise unittest.SkipTest('not here')\n",
            PASSED,
        )

    def test_failures(self):
        self.assertStatus(case("self.fail()"), FAILED)
        self.assertStatus(case("raise Exception"), FAILED)
        self.assertStatus(case("with self.subTest(1): self.fail()"), FAILED)
        self.assertStatus("import unittest\ndef setUpModule(): 1/0\n" + case("pass"), FAILED)
        self.assertStatus(
            case("pass").replace("    def", "    @unittest.expectedFailure\n    def"), FAILED
        )

    def test_an_expected_failure_passes(self):
        self.assertStatus(
            case("self.fail()").replace("    def", "    @unittest.expectedFailure\n    def"), PASSED
        )

    def test_what_cannot_be_imported_fails_with_its_traceback(self):
        self.assertIn("No module named 'nowhere'", self.assertStatus("import nowhere\n", FAILED))
        self.assertIn("SyntaxError", self.assertStatus("def\n", FAILED))
        self.assertIn("SystemExit", self.assertStatus("import sys\nsys.exit(0)\n", FAILED))

    def test_leaving_in_a_test_fails(self):
        self.assertStatus(case("raise SystemExit(0)"), FAILED)
        self.assertNotEqual(self.run_one(case("import os; os._exit(0)")).returncode, PASSED)
        self.assertNotEqual(self.run_one("import os; os._exit(0)\n").returncode, PASSED)
        self.assertNotEqual(
            self.run_one("import sys\ndef load_tests(*a): sys.exit(0)\n").returncode, PASSED
        )

    def test_output_keeps_its_order(self):
        text = self.assertStatus(
            case("print('one'); print('two', file=sys.stderr); print('three')", "import sys\n"), PASSED
        )
        self.assertIn("one\ntwo\nthree\n", text)

    def test_child_processes_of_multiprocessing_work(self):
        self.assertStatus(
            "import multiprocessing as m\ndef f(q): q.put(7)\n"
            + case(
                "c = m.get_context('spawn'); q = c.Queue(); p = c.Process(target=f, args=(q,));"
                " p.start(); self.assertEqual(q.get(timeout=50), 7); p.join()"
            ),
            PASSED,
        )


if __name__ == "__main__":
    unittest.main()
