"""Each role dies at each point of src/base/kill.def, between one step and the next, and is started
again: the commit that was under way gets one verdict and its whole log, no attempt starts twice."""
import collections
import os
import re
import signal
import sys

import harness
from harness import wait_for

POINTS = harness.kill_points()
LINES = 20000  # more than travels inside a result


class KillPoints(harness.Case):
    def setUp(self):
        self.killed = True
        self.repo = self.repository(files={"tests/a.sh": self.unit()})
        self.up = {}
        for role in ("dispatcher", "agent", "observer"):
            self.begin(role)
        self.seen = self.tail()
        self.assertEqual(self.seen.verdict(self.repo.head()), "passed")

    def unit(self):
        return (f"#!/bin/sh\necho $VOLT_TASK $VOLT_ATTEMPT >>{self.path('starts')}\n"
                f"seq 1 {LINES}\n# {self.commits}\n")

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
        else:
            self.up[role] = self.observer("--policy", "every", self.repo.path,
                                          environment=environment)

    def again(self, role, **environment):
        """Ends it in good order and starts it anew."""
        self.up[role].send(signal.SIGTERM)
        self.up[role].wait()
        self.begin(role, **environment)

    def die(self, name, role):
        mark = self.path(name)
        process = "agent" if role == "executor" else role
        if role == "agent":
            self.again("dispatcher")  # a new epoch for it to note
        self.again(process, VOLT_KILL_AT=f"{name}:1:{mark}")
        oid = self.repo.commit({"tests/a.sh": self.unit()})
        wait_for(f"the death at {name}", lambda: os.path.exists(mark))
        if role != "executor":  # of those the agent takes care
            self.assertEqual(self.up[role].wait(), -signal.SIGKILL)
            self.begin(role)
        self.assertEqual(self.seen.verdict(oid), "passed")
        self.assertEqual(len(self.seen.events("build_done", oid=oid)), 1)
        build = str(self.seen.events("build_done", oid=oid)[0]["build"])
        self.assertEqual(self.ask("log", build), b"".join(b"%d\n" % i for i in range(1, LINES + 1)))

    def test_each_point(self):
        for name, role in POINTS:
            with self.subTest(name):
                self.die(name, role)
        starts = collections.Counter(self.read("starts").splitlines())
        self.assertEqual(set(starts.values()), {1})
        seen = [e["seq"] for e in self.seen.events()]
        self.assertEqual(seen, list(range(1, len(seen) + 1)))
        self.assertEqual(len(self.seen.events("build_done")), 1 + len(POINTS))
        wait_for("empty spools", lambda: not os.listdir(self.path("runner.d", "spool")))


if __name__ == "__main__":
    if not POINTS:
        sys.exit(77)
    harness.main()
