"""What must be true when a chaos run has come to its end."""
import collections
import os
import sqlite3

import msgpack

from chaos_faults import COSTLY, EVERYBODY
from harness import read_result

LEASE_S = 2
TRIES_MAX = 3


class Checks:
    def rows(self, sql):
        return [dict(r) for r in self.db.execute(sql)]

    def check(self):
        self.db = sqlite3.connect(self.path("data", "volt.db"))
        self.db.row_factory = sqlite3.Row
        self.addCleanup(self.db.close)
        self.check_streams()
        self.check_starts()
        self.check_losses()
        self.check_left()
        self.check_tasks()
        self.check_builds()
        self.check_results()
        for name in os.listdir(self.dir):
            if name.endswith(".log"):
                self.assertNotRegex(self.read(name), "Sanitizer|runtime error|Assertion", name)

    def check_streams(self):
        """The events have no gap, and each tail showed all of them, once, in order, as they are."""
        table = self.rows("SELECT * FROM event ORDER BY seq")
        self.assertEqual([r["seq"] for r in table], list(range(1, len(table) + 1)))
        for tail in self.tails:
            self.assertEqual([e["seq"] for e in tail.events], [r["seq"] for r in table], tail.name)
        for i, row in enumerate(table):
            kept = msgpack.unpackb(row["bytes"], raw=False)
            for tail in self.tails:
                shown = tail.events[i]
                for key in set(kept) - {"v", "t", "r"}:
                    self.assertEqual(shown.get(key, 0), kept[key], (tail.name, key, shown, kept))
                for key in ("kind", "build", "task", "att", "verdict"):
                    self.assertEqual(shown.get(key) or None, row[key] or None, (key, shown))

    def check_starts(self):
        starts = collections.Counter(self.read("starts").splitlines())
        twice = [line for line, n in starts.items() if n > 1]
        self.assertEqual(twice, [], "an attempt started a unit twice")

    def check_losses(self):
        """Each attempt that was lost was taken from its runner by a fault that may cost one."""
        started = {(e["task"], e["att"]) for e in self.chain.events if e["kind"] == "running"}
        for a in self.rows("SELECT * FROM attempt WHERE code = 'LOST' OR verdict = 'lost'"):
            self.counts["attempts lost"] += 1
            near = [what for begin, end, name, what in self.hurt
                    if name in (EVERYBODY, a["runner_name"]) and begin < a["ended_ms"] + 100
                    and end > a["leased_ms"] - 2 * LEASE_S * 1000]
            # A new agent that knows nothing of an assign on its way to the old one costs that attempt:
            # nothing tells whether it had started, so it counts as a try.  The `bye` of one that had
            # drained may be read after the next one's `hello`: they come by different connections.
            unheard = (a["task"], a["att"]) not in started
            self.assertTrue(any(what in COSTLY or (unheard and what.startswith(("agent", "drained")))
                                for what in near), (a, near))

    def check_left(self):
        """Only of attempts that were lost something may be left, where no cgroup is to be had."""
        lost = {(a["task"], a["att"]) for a in
                self.rows("SELECT * FROM attempt WHERE code = 'LOST' OR verdict = 'lost'")}
        self.assertEqual([left for left in self.left if left[:2] not in lost], [])
        self.counts["processes of lost attempts left"] = len(self.left)

    def check_tasks(self):
        done = collections.Counter(e["build"] for e in self.chain.events
                                   if e["kind"] == "build_done")
        final = collections.Counter(e["task"] for e in self.chain.events
                                    if e["kind"] == "task_done")
        self.assertEqual(set(done.values()), {1})
        self.assertEqual(set(final.values()), {1})
        self.counts["attempts"] = len(self.rows("SELECT task FROM attempt"))
        self.counts["requeued"] = sum(e["kind"] == "requeued" for e in self.chain.events)
        self.assertEqual(self.rows("SELECT * FROM attempt WHERE ended_ms = 0 OR ended_ms IS NULL"),
                         [], "an attempt that never ended")
        self.lost = set()  # builds of which a task was lost
        for t in self.rows("SELECT * FROM task"):
            self.assertEqual(t["state"], "final", t)
            self.assertLessEqual(t["tries"], TRIES_MAX, t)
            if t["verdict"] == "lost":
                self.lost.add(t["build"])
                self.counts["tasks lost"] += 1
                losses = self.rows(f"SELECT * FROM attempt WHERE task = {t['task']} AND "
                                   "(code = 'LOST' OR verdict = 'lost')")
                self.assertGreaterEqual(len(losses), TRIES_MAX, t)

    def check_builds(self):
        builds = self.rows("SELECT * FROM build")
        self.assertEqual(sorted((b["repo"], b["ref"], b["oid"]) for b in builds),
                         sorted(self.expected))
        self.counts["builds"] = len(builds)
        self.unknown = set()  # commits whose verdict is not that of their units
        for b in builds:
            units = self.expected[b["repo"], b["ref"], b["oid"]]
            self.assertEqual((b["state"], b["gen"]), ("final", 0), b)
            if b["build"] in self.lost:
                self.assertIn(b["verdict"], ("lost", "errored"), b)
                self.unknown.add(b["oid"])
                continue
            verdicts = {u.verdict for u in units.values()}
            self.assertEqual(b["verdict"], "failed" if "failed" in verdicts else "passed", b)
            self.check_units(b, units)

    def check_units(self, b, units):
        rows = {r["file"]: r for r in
                self.rows(f"SELECT * FROM test WHERE build = {b['build']}")}
        self.assertEqual({f: r["verdict"] for f, r in rows.items()},
                         {f: u.verdict for f, u in units.items()}, b)
        for name, u in units.items():
            if u.output is not None:
                self.assertEqual(rows[name]["log_len"], len(u.output), rows[name])

    def check_results(self):
        for (repo, ref, oid), units in self.expected.items():
            path = self.path("results", repo, oid)
            self.assertTrue(os.path.exists(path), f"no result file of {repo} {oid}")
            self.assertEqual(os.readlink(self.path("results", oid)), f"{repo}/{oid}")
            if oid in self.unknown:
                continue
            result = read_result(path)
            verdicts = {u.verdict for u in units.values()}
            self.assertEqual(result.head["verdict"], "failed" if "failed" in verdicts else "passed")
            self.assertEqual(result.notes, [], path)
            self.assertEqual({name: verdict for verdict, name, _ in result.units},
                             {name: u.verdict for name, u in units.items()}, path)
            for _, name, output in result.units:
                if units[name].output is not None:
                    self.assertTrue(output == units[name].output,
                                    f"{path}: {name}: {len(output)} bytes, not "
                                    f"{len(units[name].output)} as written")
