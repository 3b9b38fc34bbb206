"""Memory runs out in each role at sampled allocations, once or for good, while a commit is under way;
what ends is started again.  The commit gets one verdict, its whole log and its result file, and the
events have no gap.

VOLT_NO_MEMORY_LIB is tests/fault/no_memory.c; VOLT_MEMORY_POINTS says how many allocations of each
role fail, once and for good each (default 2).
"""
import collections
import os
import random
import re
import signal
import struct
import sys
import time

import harness
from chaos_work import Tail
from harness import read_result, wait_for

LIBRARY = os.environ.get("VOLT_NO_MEMORY_LIB")
POINTS = int(os.environ.get("VOLT_MEMORY_POINTS", "2"))
PROGRAM = {"dispatcher": "dispatcher", "agent": "runner", "executor": "executor",
           "observer": "observer", "tail": "tail"}
LINES = 20000  # more than travels inside a result
DRY_S = 3      # one that has no memory any more, and has not ended, is ended after so long
OUT_OF_MEMORY = 70
OUT_OF_MEMORY_LINE = "volt: out of memory; nothing acknowledged is lost, start it again"
FRAME = re.compile(r"^(\S*?)\((\S*?)\) ?\[0x", re.M)


# glibc's lookups of names crash by themselves, or in their own asserts, when malloc fails.
LOOKUPS = ("getaddrinfo", "getproto")


def whose(said):
    """Module that raised a signal, as our library's list of frames has it.  What was called with a
    wrong argument is not to blame but its caller, so the C library is left out but for LOOKUPS."""
    frames, ended, _ = said.partition("no_memory: ended by a signal at\n")[2].partition(
        OUT_OF_MEMORY_LINE)
    for path, symbol in FRAME.findall(frames):
        name = os.path.basename(path)
        if name.startswith("libc.so") and symbol.startswith(LOOKUPS):
            return f"{name} {symbol.partition('+')[0]}"
        if not name.startswith(("libc.so", "libstdc++.so", "libno_memory")):
            return name
    return "cut short" if ended else "volt"  # another thread may end the process before its frames are listed


class Memory(harness.Case):
    def setUp(self):
        self.killed = True
        self.counts = collections.Counter()
        self.repo = self.repository(files={"tests/a.sh": self.unit()})
        self.up = {}
        self.seen = Tail(self, "tail", "--results", self.path("results"))
        self.seen.foreign = (b"Fatal: file mem.c",)  # libpgm's last word, on standard output
        for role in ("dispatcher", "agent", "observer", "tail"):
            self.begin(role)
        self.wait_verdict(self.repo.head(), lambda: None)

    def unit(self):
        return f"#!/bin/sh\nseq 1 {LINES}\n# {self.commits}\n"

    def begin(self, role, **environment):
        if role == "dispatcher":
            self.up[role] = self.start(role, "dispatcher", "--port",
                                       str(self.port if self.server else 0), "--data",
                                       self.path(role), "--lease", "3s", "--heartbeat", "300ms",
                                       environment=environment)
            if not self.server:
                self.up[role].wait_said("ready at ")
                self.server = re.search(r"ready at (\S+),", self.up[role].said())[1]
        elif role == "agent":
            self.up[role] = self.runner(name="runner", wait=False, environment=environment)
        elif role == "observer":
            self.up[role] = self.observer("--policy", "every", self.repo.path,
                                          environment=environment)
        else:
            self.seen.start(environment)
            self.up[role] = self.seen.process

    def end(self, role, number=signal.SIGTERM):
        """In good order."""
        self.up[role].stop(number)
        self.seen.read()

    def wait_verdict(self, oid, look):
        def there():
            self.seen.read()
            look()
            return [e for e in self.seen.events if e["kind"] == "build_done" and e["oid"] == oid]
        return wait_for(f"the verdict of {oid}", there)[0]

    # ---- one failure ----

    def fail_at(self, role, number, for_good):
        """Starts `role` so that its allocation `number` fails while a commit is tested.  Returns how
        many allocations there were."""
        process = "agent" if role == "executor" else role
        calls = self.path("calls")
        self.end(process)
        if os.path.exists(calls):
            os.unlink(calls)
        sign = "+" if for_good else ""
        self.begin(process, LD_PRELOAD=LIBRARY,
                   VOLT_NO_MEMORY=f"{PROGRAM[role]}:{number}{sign}:{calls}")
        first, self.dry_since = self.up[process], None
        oid = self.repo.commit({"tests/a.sh": self.unit()})
        self.wait_verdict(oid, lambda: self.look_after(role, process, first, calls, for_good))
        made, denied = self.calls(calls)
        self.counts[role, "reached" if denied else "not reached"] += 1
        if for_good and denied and process == role and first.running():
            first.kill()  # whether it would leave in good order, with nothing left, is not asked
        self.look_after(role, process, first, calls, for_good)
        if not self.up[process].running():
            self.begin(process)
        self.note_signal(role, first.said())
        if role == "executor" and OUT_OF_MEMORY_LINE in first.said():
            self.counts[role, "ended with 70"] += 1
        self.check(oid)
        return made

    @staticmethod
    def calls(path):
        """How many there were, and the process whose failed."""
        try:
            with open(path, "rb") as f:
                return struct.unpack("=QQ", f.read(16))
        except (FileNotFoundError, struct.error):
            return 0, 0

    def look_after(self, role, process, first, calls, for_good):
        """Starts again what has ended, as a supervisor does."""
        p = self.up[process]
        if p.running():
            denied = self.calls(calls)[1]
            if for_good and denied and process == role and p is first:
                self.dry_since = self.dry_since or time.monotonic()
                if time.monotonic() > self.dry_since + DRY_S:
                    self.counts[role, "ended by us"] += 1
                    p.kill()
            return
        code = p.popen.returncode
        self.assertIs(p, first, f"{process} ended though its memory was all there")
        self.assertTrue(self.calls(calls)[1], f"{process} ended with {code} by itself")
        if process == role and code != -signal.SIGKILL:
            self.note_end(role, code, p.said())
        self.seen.read()
        self.begin(process)

    def note_end(self, role, code, said):
        self.assertNotEqual(code, 0, "a process without memory says that all is well")
        if code == OUT_OF_MEMORY:
            self.assertIn(OUT_OF_MEMORY_LINE, said)
        elif code > 0:
            self.assertTrue(said.strip(), f"{role} ends with {code} without a word")
            self.counts[role, "said what failed"] += 1
            self.counts[said.strip().splitlines()[-1].replace(self.dir, "")] += 1
            return
        self.counts[role, "ended with 70" if code > 0 else "ended by a signal"] += 1
        if code < 0:
            self.assertIn("no_memory: ended by a signal", said)

    def note_signal(self, role, said):
        """Also of an executor, whose words are in its agent's log."""
        if "no_memory: ended by a signal" not in said:
            return
        module = whose(said)
        self.assertFalse(module.startswith("volt"), f"{role}: {said}")
        words = said.partition("no_memory:")[0].strip().splitlines()
        self.counts[f"{module}: {words[-1] if words else ''}"] += 1

    def check(self, oid):
        done = [e for e in self.seen.events if e["kind"] == "build_done" and e["oid"] == oid]
        self.assertEqual([e["verdict"] for e in done], ["passed"])
        whole = b"".join(b"%d\n" % i for i in range(1, LINES + 1))
        self.assertEqual(self.ask("log", str(done[0]["build"])), whole)
        wait_for("the result file", lambda: self.read("results", oid).endswith("\n"))
        self.assertEqual([u[2] for u in read_result(self.path("results", oid)).units], [whole])

    # ---- all of them ----

    def points(self, made):
        """Some of `made` allocations: one of each of POINTS parts."""
        rng = random.Random(made)
        bounds = [made * i // POINTS for i in range(POINTS + 1)]
        return [rng.randint(a + 1, max(a + 1, b)) for a, b in zip(bounds, bounds[1:])]

    def test_each_role(self):
        for role in PROGRAM:
            made = self.fail_at(role, 0, False)
            for number in self.points(made):
                for for_good in (False, True):
                    with self.subTest(role, number=number, of=made, for_good=for_good):
                        self.fail_at(role, number, for_good)
        self.seen.read()
        seen = [e["seq"] for e in self.seen.events]
        self.assertEqual(seen, list(range(1, len(seen) + 1)))
        done = collections.Counter(e["oid"] for e in self.seen.events if e["kind"] == "build_done")
        self.assertEqual(set(done.values()), {1})
        self.assertEqual(len(done), self.commits)
        wait_for("empty spools", lambda: not os.listdir(self.path("runner.d", "spool")))
        for what, n in sorted(self.counts.items(), key=str):
            print(f"{n:5}  {what if isinstance(what, str) else ': '.join(what)}")


if __name__ == "__main__":
    if not LIBRARY:
        sys.exit(77)
    harness.main()
