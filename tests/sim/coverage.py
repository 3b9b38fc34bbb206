#!/usr/bin/env python3
"""Branch coverage of src/core, from what gcov counted in a build with the preset `coverage`.

coverage.py BUILD [--min PERCENT] [--missing]
A branch is one way out of a condition as gcc makes it at -O0. Not counted are
  - branches on the lines of an assert: one that fails ends the process, so its other way cannot be taken;
  - what SLICE_ARG asks of an empty text, on lines that only print;
  - branches of code that macros make from messages.def (follow.c's copies of messages: one line, many types).
"""
import argparse
import glob
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CORE = os.path.join(ROOT, "src", "core")


def gcov(build):
    """The records of all files of src/core."""
    notes = glob.glob(os.path.join(build, "CMakeFiles", "volt_core.dir", "**", "*.gcda"), recursive=True)
    if not notes:
        sys.exit(f"coverage.py: nothing was counted in {build}")
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(["gcov", "--json-format", "--branch-probabilities"] + [os.path.abspath(n) for n in notes],
                       cwd=tmp, check=True, stdout=subprocess.DEVNULL)
        for name in glob.glob(os.path.join(tmp, "*.gcov.json.gz")):
            with gzip.open(name, "rt", encoding="utf-8") as f:
                yield from json.load(f)["files"]


def asserted(text):
    """The numbers of the lines that belong to an assert."""
    lines, depth = set(), 0
    for number, line in enumerate(text, 1):
        start = re.search(r"\bassert\(", line)
        if depth == 0 and not start:
            continue
        lines.add(number)
        part = line[start.start():] if depth == 0 else line
        depth += part.count("(") - part.count(")")
    return lines


def printed(text):
    return {n for n, line in enumerate(text, 1) if "SLICE_ARG(" in line and not re.search(r"\bif\b|[?]|&&", line)}


def count(build):
    """file -> {branch: how often it was taken}, file -> its lines"""
    files, text = {}, {}
    for record in gcov(build):
        path = os.path.normpath(os.path.join(build, record["file"]))
        if os.path.dirname(path) != CORE:
            continue
        name = os.path.basename(path)
        with open(path, encoding="utf-8") as f:
            text[name] = f.readlines()
        left_out = asserted(text[name]) | printed(text[name])
        seen = files.setdefault(name, {})
        for line in record["lines"]:
            number = line["line_number"]
            if number in left_out or line.get("function_name", "").startswith("keep_"):
                continue
            for i, branch in enumerate(line["branches"]):
                key = (number, line.get("function_name"), i)
                seen[key] = seen.get(key, 0) + branch["count"]
    return files, text


def main():
    args = argparse.ArgumentParser()
    args.add_argument("build")
    args.add_argument("--min", type=float, default=0)
    args.add_argument("--missing", action="store_true")
    args = args.parse_args()
    total = taken = 0
    files, text = count(os.path.abspath(args.build))
    for name, seen in sorted(files.items()):
        n, t = len(seen), sum(1 for c in seen.values() if c)
        total, taken = total + n, taken + t
        if n:
            print(f"{100 * t / n:6.1f} %  {t:5} of {n:5}  {name}")
        for number in sorted({key[0] for key, c in seen.items() if not c} if args.missing else ()):
            print(f"{name}:{number}: {text[name][number - 1].strip()}")
    percent = 100 * taken / total
    print(f"{percent:6.1f} %  {taken:5} of {total:5}  all")
    return percent < args.min


if __name__ == "__main__":
    sys.exit(main())
