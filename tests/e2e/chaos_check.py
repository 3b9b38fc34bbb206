"""What must be true when a chaos run has come to its end."""
import collections
import os
import sqlite3

import msgpack

from chaos_faults import ALONE, COSTLY, EVERYBODY
from harness import read_result

LEASE_S = 4
TRIES_MAX = 3
# What the results of a build may say besides: all output is there, or a setup failed that was to.
NOTES = ("No space left", "gave it up after the outcomes of all its files", "the setup failed with status 3")


class Checks:
    def rows(self, sql):
        return [dict(r) for r in self.db.execute(sql)]

    def check(self):
        self.db = sqlite3.connect(self.path("data", "volt.db"))
        self.db.row_factory = sqlite3.Row
        self.addCleanup(self.db.close)
        self.check_streams()
        self.check_stories()
        self.check_starts()
        self.check_losses()
        self.check_tasks()
        self.find_no_room()
        self.check_builds()
        self.check_results()
        self.check_needs()
        self.check_notes()
        self.check_artifacts()
        self.check_env()
        self.check_secret()
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

    def check_stories(self):
        """Attempts of a task count up, only the newest one matters, and an end is an end."""
        newest, ended = {}, set()  # {task: attempt}; tasks, and builds as -build
        for e in self.chain.events:
            task, kind = e.get("task"), e["kind"]
            if not e.get("build") or kind == "stale_result":
                continue
            self.assertNotIn(-e["build"], ended, e)
            if kind == "build_done":
                ended.add(-e["build"])
            if not task:
                continue
            self.assertNotIn(task, ended, e)
            if kind == "leased":
                self.assertGreater(e["att"], newest.get(task, 0), e)
                newest[task] = e["att"]
            elif e.get("att"):
                self.assertEqual(e["att"], newest[task], e)
            if kind == "task_done":
                ended.add(task)

    def check_starts(self):
        starts = collections.Counter(self.read("notes", "starts").splitlines())
        twice = [line for line, n in starts.items() if n > 1]
        self.started = {line.split()[2] for line in starts}
        self.assertEqual(twice, [], "an attempt started a unit twice")

    def check_losses(self):
        """Each attempt that was lost was taken from its runner by a fault that may cost one."""
        started = {(e["task"], e["att"]) for e in self.chain.events if e["kind"] == "running"}
        alone = {r["task"] for r in self.rows("SELECT task FROM task JOIN job ON job.build = task.build "
                                              "AND job.idx = task.job WHERE job.concurrency != ''")}
        for a in self.rows("SELECT * FROM attempt WHERE code = 'LOST' OR verdict = 'lost'"):
            self.counts["attempts lost"] += 1
            whom = (EVERYBODY, a["runner_name"], *([ALONE] if a["task"] in alone else []))
            near = [what for begin, end, name, what in self.hurt
                    if name in whom and begin < a["ended_ms"] + 100
                    and end > a["leased_ms"] - 2 * LEASE_S * 1000]
            # A new agent that knows nothing of an assign on its way to the old one costs that attempt:
            # nothing tells whether it had started, so it counts as a try.  The `bye` of one that had
            # drained may be read after the next one's `hello`: they come by different connections.
            unheard = (a["task"], a["att"]) not in started
            self.assertTrue(any(what in COSTLY or (unheard and what.startswith(("agent", "drained")))
                                for what in near), (a, near))

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
        self.builds = {b["build"]: b for b in self.rows("SELECT * FROM build")}
        generations = collections.defaultdict(list)
        for b in self.builds.values():
            generations[b["repo"], b["ref"], b["oid"]].append(b["gen"])
        self.assertEqual(sorted(generations), sorted(self.expected))
        for key, found in generations.items():
            self.assertEqual(sorted(found), list(range(len(found))), key)
            self.assertLessEqual(len(found), 1 + self.rebuilt[key], key)
        self.counts["builds"] = len(self.builds)
        self.unknown = set()  # builds whose verdict is not that of their units
        for b in self.builds.values():
            self.assertEqual(b["state"], "final", b)
            self.check_build(b, self.expected[b["repo"], b["ref"], b["oid"]])

    def check_build(self, b, work):
        # That its files wait, and none is under way, leaves no task to be canceled: the reason is there.
        canceled = b["why"] == "chaos" or b["verdict"] == "canceled" or self.rows(
            f"SELECT * FROM task WHERE build = {b['build']} AND verdict = 'canceled' AND job NOT IN "
            f"(SELECT idx FROM job WHERE build = {b['build']} AND why LIKE 'the setup failed%')")
        if canceled:
            self.assertIn(b["build"], self.canceled, b)
            self.counts["canceled"] += 1
        may = {"lost", "errored"}
        if canceled:  # a script may have ended when that came
            may |= {"canceled", "failed", work.verdict}
        if b["build"] in self.no_room:
            may |= {"passed", "failed"}
        if any(j.spec.get("allow_failure") for j in work.jobs.values()):  # that one may be lost
            may.add(work.verdict)
        if canceled or b["build"] in self.no_room | self.lost:
            self.unknown.add(b["build"])
            self.assertIn(b["verdict"], may, b)
            return
        self.assertEqual(b["verdict"], work.verdict, b)
        self.check_jobs(b, work)
        self.check_units(b, work)

    def disk_was_full(self, row):
        """The attempt a row names says that its runner had no room for all of its log."""
        task, = self.rows(f"SELECT * FROM task WHERE task = {row['task']}")
        return "No space left" in task["why"]

    def check_results(self):
        for (repo, ref, oid), work in self.expected.items():
            path = self.path("results", repo, oid)
            self.assertTrue(os.path.exists(path), f"no result file of {repo} {oid}")
            self.assertEqual(os.readlink(self.path("results", oid)), f"{repo}/{oid}")
            result = read_result(path)
            b = self.builds[int(result.head["build"])]
            self.assertEqual((b["oid"], b["verdict"]), (oid, result.head["verdict"]), path)
            if b["build"] not in self.unknown:
                self.check_result(path, result, work)

    def check_result(self, path, result, work):
        units = work.units()
        cases = [f"{file}: failed {u.cases[n]}: {message}" for (_, file), u in units.items()
                 for n, message in u.bad.items()]
        told = [n for n in result.notes if not any(words in n for words in NOTES)]
        self.assertEqual(sorted(told), sorted(cases), path)
        seen = set()
        for (verdict, name, output), tags in zip(result.units, result.tags):
            u = units.get((tags["job"], name))
            if u:
                seen.add((tags["job"], name))
                self.assertIn(u.verdict, (None, verdict), (path, name))
                whole = u.output
            else:
                self.assertEqual(name, "script", path)
                whole = work.jobs[tags["job"]].output
                output = output[:len(whole)]  # lines of Volt's own may follow
            if whole is None or output == whole or u and u.verdict is None:
                continue
            cut = tags.get("why", "") + "".join(result.notes)
            self.assertTrue("No space left" in cut and whole.startswith(output),
                            f"{path}: {name}: {len(output)} bytes, not {len(whole)} as written")
            self.counts["logs cut by a full disk"] += 1
        self.assertEqual(seen, set(units), path)
