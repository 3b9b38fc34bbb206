#!/usr/bin/env python3
"""Hunts the mutants of mutants.def with the simulator; see scripts/mutants.

hunt.py PROGRAM [--jobs N] [--only NAME]... [--seeds N]
    Each mutant runs with seeds 1..N (10000) until the simulator reports something, which it must not do
    with the same seed and no mutant.  Prints a table, records it in mutants.txt, exits 1 when one survives.
hunt.py PROGRAM --replay
    Each recorded seed must still kill its mutant, and be quiet without it.  A change of the simulator or of
    the product moves seeds about, so a mutant that outlives its seed is given seeds 1..200 before it fails.
"""
import argparse
import collections
import concurrent.futures
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RECORD = os.path.join(HERE, "mutants.txt")
REPLAY_SEEDS = 200

Kill = collections.namedtuple("Kill", "seed steps invariant text")


def catalogue():
    """The mutants' names in their order."""
    with open(os.path.join(HERE, "mutants.def"), encoding="utf-8") as f:
        return re.findall(r"^BUG\((\w+),", f.read(), re.M)


def run(program, mutant, first, last):
    """The Kill by the first of these seeds that reports something, or None."""
    args = [program, "--seeds", f"{first}..{last}"] + (["--mutant", mutant] if mutant else [])
    done = subprocess.run(args, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
                          check=False)
    if done.returncode == 0:
        return None
    said = re.search(r"^seed (\d+), at [\d.]+ s, step (\d+): ([^:]*): (.*)", done.stderr, re.M)
    if said:
        return Kill(int(said[1]), int(said[2]), said[3].replace(" ", "-"), said[4])
    died = re.search(r"in seed (\d+)", done.stderr)
    if died and done.returncode < 0:
        failed = re.search(r"Assertion.*", done.stderr)
        return Kill(int(died[1]), 0, "assert" if failed else "signal", failed[0] if failed else
                    f"signal {-done.returncode}")
    sys.exit(f"hunt.py: {' '.join(args)} ended with {done.returncode}:\n{done.stderr}")


def read_record():
    """name -> recorded seed, and name -> the line."""
    seeds, lines = {}, {}
    with open(RECORD, encoding="utf-8") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                name, seed = line.split()[:2]
                seeds[name], lines[name] = int(seed), line
    return seeds, lines


def write_record(lines):
    with open(RECORD, "w", encoding="utf-8") as f:
        f.write("# Written by scripts/mutants: mutant, the seed that kills it, after how many steps, what was broken.\n")
        f.writelines(lines[name] for name in catalogue() if name in lines)


def quiet(program, seeds):
    """Whether none of the seeds reports anything without a mutant."""
    loud = [kill for seed in sorted(seeds) if (kill := run(program, None, seed, seed))]
    for kill in loud:
        print(f"seed {kill.seed} reports a fault without any mutant: {kill.invariant}: {kill.text}")
    return not loud


def hunt(program, names, jobs, seeds):
    began = time.monotonic()
    lines = read_record()[1] if os.path.exists(RECORD) else {}
    survivors, killers = [], set()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        hunts = {pool.submit(run, program, name, 1, seeds): name for name in names}
        for done in concurrent.futures.as_completed(hunts):
            name, kill = hunts[done], done.result()
            lines.pop(name, None)
            if kill:
                lines[name] = f"{name:<24}{kill.seed:>6}{kill.steps:>8}  {kill.invariant}\n"
                killers.add(kill.seed)
                print(f"{name:<24}{kill.seed:>6}{kill.steps:>8}  {kill.invariant}: {kill.text}", flush=True)
            else:
                survivors.append(name)
                print(f"{name:<24}  survives {seeds} seeds", flush=True)
    good = quiet(program, killers)
    write_record(lines)
    print(f"{len(names)} mutants, {len(names) - len(survivors)} killed, in {time.monotonic() - began:.0f} s")
    if survivors:
        print("survivors:", *survivors)
    return good and not survivors


def replay(program):
    recorded, good, killers = read_record()[0], True, set()
    for name in catalogue():
        seed = recorded.get(name)
        kill = run(program, name, seed, seed) if seed else None
        if not kill:
            kill = run(program, name, 1, REPLAY_SEEDS)
        if kill:
            killers.add(kill.seed)
        else:
            good = False
            print(f"{name}: neither its seed ({seed or 'none is recorded'}) nor 1..{REPLAY_SEEDS} kills it;"
                  " run scripts/mutants", flush=True)
    return quiet(program, killers) and good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="volt-sim-mutants")
    parser.add_argument("--replay", action="store_true", help="replay the recorded seeds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants hunted at once")
    parser.add_argument("--only", action="append", metavar="NAME", help="only this mutant; may be repeated")
    parser.add_argument("--seeds", type=int, default=10000, help="seeds tried before a mutant counts as alive")
    args = parser.parse_args()
    names = catalogue()
    unknown = sorted(set(args.only or []) - set(names))
    if unknown:
        parser.error(f"mutants.def has no '{unknown[0]}'")
    if args.replay:
        good = replay(args.program)
    else:
        good = hunt(args.program, [n for n in names if not args.only or n in args.only], args.jobs, args.seeds)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
