"""Runs the tests of one file as `python3 -m unittest discover -s tests` would.

Started by the executor as `python3 -c THIS tests/.../test_x.py`, in the top of the checkout.  Loads
that file and no other: packages above it are imported, files beside it are not.  Where tests/__init__.py
makes a package of the directory, it is imported as one (`-t .`), so that `from .helper import x` works;
`import helper` still does.  Below a directory without __init__.py, where discover would not look, that
directory is a start directory of its own.

Exit status: 93 when a test ran and none failed, 5 when no test ran (as Python 3.12 has it), else 1.
Not 0 for success, so that a file that ends the process early (os._exit(0)) does not pass.
"""


def _volt_main():
    import os
    import sys
    import unittest

    top = os.path.abspath("tests")
    target = os.path.abspath(sys.argv[1])
    start = os.path.dirname(target)
    while start != top and os.path.isfile(os.path.join(start, "__init__.py")):
        start = os.path.dirname(start)

    class OneFile(unittest.TestLoader):
        def _find_test_path(self, full_path, *args, **kwargs):
            if full_path == target or target.startswith(full_path + os.sep):
                return super()._find_test_path(full_path, *args, **kwargs)
            return None, False

    # A line is in the log when it is written, in order with standard error.
    for stream in sys.stdout, sys.stderr:
        stream.reconfigure(line_buffering=True)
    sys.path[0] = os.getcwd()  # as -m has it
    sys.argv = ["python3 -m unittest", "discover", "-v", "-s", os.path.relpath(start)]
    if start != top:
        sys.path.insert(0, top)
    elif os.path.isfile(os.path.join(top, "__init__.py")):
        sys.path.insert(1, top)  # behind the product: tests/product/ often tests product/
        sys.argv += ["-t", "."]
    result = unittest.main(
        module=None, argv=sys.argv, testLoader=OneFile(), exit=False
    ).result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(93 if result.testsRun or result.skipped else 5)


_volt_main()
