"""What must be true of the jobs of a chaos run's pipelines."""
import base64
import collections
import glob
import os
import random
import time

SPOOLS_EVERY_S = 2


class JobChecks:
    def notes(self, name):
        """The lines that scripts left under a name, each as a list of words."""
        return [line.split() for line in self.read("notes", name).splitlines()]

    def job_names(self, build):
        return {r["idx"]: r["name"] for r in
                self.rows(f"SELECT idx, name FROM job WHERE build = {build}")}

    def log_of(self, task, att):
        row = self.rows(f"SELECT bytes FROM log WHERE task = {task} AND att = {att}")
        text = row[0]["bytes"] if row else self.read("data", "logs", f"{task}-{att}")
        return text.decode(errors="replace") if isinstance(text, bytes) else text

    # ---- disks ----

    def find_no_room(self):
        """Builds whose scripts found their runner's disk full, which they may tell only of one that was."""
        self.no_room = set()
        for build, runner, ms in self.notes("full"):
            self.assertTrue(any(what == "disk" and name == runner and begin - 100 < int(ms) < end + 100
                                for begin, end, name, what in self.hurt), (build, runner, ms))
            self.no_room.add(int(build))
        for t in self.rows("SELECT * FROM task WHERE why LIKE 'its artifacts were not kept%'"):
            self.assertIn("No space left", t["why"] + self.log_of(t["task"], t["att"]), t)
            self.no_room.add(t["build"])
        self.counts["builds without room"] = len(self.no_room)

    # ---- jobs ----

    def check_jobs(self, b, work):
        """Verdicts, and how many tasks that took."""
        jobs = self.rows(f"SELECT * FROM job WHERE build = {b['build']}")
        self.assertEqual({j["name"]: j["verdict"] for j in jobs},
                         {name: j.verdict for name, j in work.jobs.items()}, b)
        tasks = collections.Counter(t["job"] for t in self.rows(
            f"SELECT job FROM task WHERE build = {b['build']} AND kind != 'plan'"))
        for j in jobs:
            wanted = work.jobs[j["name"]].tasks
            self.assertIn(wanted, (None, tasks[j["idx"]]), j)
        self.counts["pipelines"] += ".volt.yml" in work.files

    def check_units(self, b, work):
        names, units = self.job_names(b["build"]), work.units()
        rows = {(names[r["job"]], r["file"]): r for r in
                self.rows(f"SELECT * FROM test WHERE build = {b['build']}")}
        self.assertEqual(set(rows), set(units), b)
        for key, u in units.items():
            row = rows[key]
            if u.verdict is None:
                self.assertNotIn(key[1].rpartition("/")[2], self.started, row)
                continue
            self.assertEqual((row["verdict"], row["tries"]), (u.verdict, u.tries), row)
            if u.output is not None and not self.disk_was_full(row):
                self.assertEqual(row["log_len"], len(u.output), row)
            self.check_cases(row, u)
            if row["tries"]:
                ran = self.read("notes", "ran", f"{row['task']}.{row['att']}.{key[1][2:]}")
                self.assertEqual(ran.count("x"), row["tries"], row)

    def check_cases(self, row, u):
        """In their order, each once."""
        cases = self.rows(f"SELECT * FROM test_case WHERE build = {row['build']} AND "
                          f"job = {row['job']} AND i = {row['i']} ORDER BY n")
        self.assertEqual([c["n"] for c in cases], list(range(len(u.cases))), row)
        self.assertEqual([(c["name"], c["verdict"], c["message"] or None) for c in cases],
                         [(name, "failed" if n in u.bad else "passed", u.bad.get(n))
                          for n, name in enumerate(u.cases)], row)
        self.assertEqual((row["cases"], row["bad"]), (len(u.cases), len(u.bad)), row)
        self.counts["cases"] += len(cases)

    def check_needs(self):
        """Nothing is handed out before all that it needs has ended."""
        ended = set()
        for e in self.chain.events:
            if e["kind"] == "job_done":
                ended.add((e["build"], e["job"]))
            elif e["kind"] == "leased" and e.get("job"):
                job = self.expected[self.chain.builds[e["build"]]].jobs[e["job"]]
                for need in job.needs:
                    self.assertIn((e["build"], need), ended, e)

    # ---- what scripts saw ----

    def check_notes(self):
        for task, ms, other, runner in self.notes("beside"):
            # What nobody can end: it was killed with all that would.
            self.assertTrue(any(name == runner and what == "deserted" and begin < int(ms) < end
                                for begin, end, name, what in self.hurt),
                            f"task {task} at {ms} beside {other} of its concurrency group on {runner}")
            self.counts["beside what nobody ends"] += 1
        self.assertEqual(self.notes("left"), [], "a setup's process outlived its slot's job")
        setups = collections.Counter(map(tuple, self.notes("setups")))
        self.assertEqual([s for s, n in setups.items() if n > 1], [], "an attempt was set up twice")
        self.counts["setups"] = len(setups)
        for path in glob.glob(self.path("notes", "group_*")):
            self.counts["alone"] += len(self.notes(os.path.basename(path)))
        for word, n in collections.Counter(words[0] for words in self.notes("cache")).items():
            self.counts[f"cache {word}"] = n

    def check_artifacts(self):
        """Who needed them saw those of the try that counts; and all that are kept are whole."""
        made = {(build, task, att): digest for build, task, att, digest, _ in self.notes("made")}
        for build, task, att, digest, _ in self.notes("used"):
            self.counts["artifacts used"] += 1
            self.assertEqual(made.get((build, task, att)), digest, (build, task, att))
            newest = self.rows(f"SELECT task, att FROM task WHERE build = {build} AND job = (SELECT idx FROM "
                               f"job WHERE build = {build} AND name = 'make') ORDER BY task DESC")[0]
            self.assertEqual((int(task), int(att)), (newest["task"], newest["att"]), build)
        files = {f"{a['task']}-{a['att']}.artifacts": a["artifact_bytes"] for a in
                 self.rows("SELECT * FROM attempt WHERE artifact_bytes > 0")}
        logs = self.path("data", "logs")
        self.assertEqual({n: os.path.getsize(os.path.join(logs, n)) for n in os.listdir(logs)
                          if n.endswith(".artifacts")}, files)
        self.counts["archives"] = len(files)

    def check_env(self):
        for b in self.builds.values():
            env = self.expected[b["repo"], b["ref"], b["oid"]].env
            kept = [line.replace("\\\\", "\\") for line in (b["env"] or "").splitlines()]
            self.assertEqual(kept, env, b)

    # ---- secrets ----

    def make_secret(self):
        self.secret = f"tok-{random.Random(f'{self.seed} secret').getrandbits(160):x}"
        os.mkdir(self.path("secrets"), 0o700)
        fd = os.open(self.path("secrets", "TOKEN"), os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, self.secret.encode() + b"\n")
        os.close(fd)
        self.spools_at = 0

    def assert_no_secret(self, path):
        try:
            with open(path, "rb") as f:
                found = f.read()
        except OSError:
            return  # a socket, or gone
        self.assertNotIn(self.secret.encode(), found, path)
        self.assertNotIn(base64.b64encode(self.secret.encode())[:-4], found, path)

    def look_for_secret(self):
        """What is spooled is soon deleted, so it is looked at all the time."""
        if time.monotonic() < self.spools_at:
            return
        self.spools_at = time.monotonic() + SPOOLS_EVERY_S
        for path in self.spools():
            self.assert_no_secret(path)

    def check_secret(self):
        """It is nowhere but in its file, and in checkouts where scripts put it."""
        looked = 0
        for top, directories, names in os.walk(self.dir):
            if top == self.dir:
                directories.remove("secrets")
            if os.path.dirname(top) == self.dir and os.path.basename(top).startswith("runner"):
                directories[:] = [d for d in directories if d in ("spool", "inputs", "cache", "kept")]
            for name in names:
                looked += 1
                self.assert_no_secret(os.path.join(top, name))
        self.assertGreater(looked, 0)
        for path in glob.glob("/dev/shm/volt-*/*"):
            self.assert_no_secret(path)
