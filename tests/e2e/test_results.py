"""The result stream, its files and the commands that ask, with the whole system."""
import json
import os
import re
import signal
import sqlite3
import time

import harness
from harness import FAIL, PASS, PYTHON_FAIL, alive, processes_of, wait_for

# What each event has at least, by kind (besides seq and kind).
OF_BUILD = {"build", "repo", "oid", "ref"}
OF_TASK = OF_BUILD | {"task", "att", "runner"}
FIELDS = {"epoch": {"n"}, "runner_up": {"runner"}, "submitted": OF_BUILD, "planned": OF_BUILD,
          "queued": OF_BUILD | {"job"}, "leased": OF_TASK, "running": OF_TASK,
          "test_done": OF_TASK | {"job", "file", "verdict", "duration_ms"},
          "task_done": OF_TASK | {"verdict"}, "job_done": OF_BUILD | {"job", "verdict"},
          "build_done": OF_BUILD | {"verdict", "duration_ms"}}


class Results(harness.Case):
    def seqs(self, tail):
        return [e["seq"] for e in tail.events()]

    # ---- the stream ----

    def test_events_have_their_fields(self):
        repo = self.repository(files={"tests/a.sh": PASS, "tests/test_b.py": PYTHON_FAIL})
        tail = self.everything(repo)
        self.assertEqual(tail.verdict(repo.head()), "failed")
        seen = {e["kind"] for e in tail.events()}
        # Only a log that was streamed, because its task took over 200 ms, has an end of its own.
        self.assertEqual(seen - {"log_end"}, set(FIELDS))
        for event in tail.events():
            self.assertEqual((FIELDS.get(event["kind"], OF_TASK | {"log_bytes"}) | {"seq", "kind"}) - set(event), set(),
                             event)
            if event.get("task_kind") == "tests":
                self.assertEqual(event["job"], "tests")
        at = {}
        for event in tail.events():
            at.setdefault((event["kind"], event.get("task_kind")), event["seq"])
        story = [("submitted", None), ("leased", "plan"), ("task_done", "plan"), ("planned", None),
                 ("leased", "tests"), ("running", "tests"), ("test_done", "tests"),
                 ("task_done", "tests"), ("job_done", None), ("build_done", None)]
        self.assertEqual(sorted(story, key=at.get), story)

    def test_is_gapless_over_restarts_of_both_ends(self):
        repo = self.repository(files={f"tests/t{i}.sh": PASS for i in range(5)})
        dispatcher = self.dispatcher()
        self.runner()
        whole = self.tail(name="whole")
        seen, start, oids = [], "start", []
        for i in range(4):
            part = self.tail("--from", start, name=f"part{i}")
            oids.append(repo.commit({"n": str(i)}))
            self.ask("submit", repo.path, "main")
            if i % 2:
                dispatcher.kill()
                dispatcher = self.dispatcher()
            part.verdict(oids[-1])
            part.kill() if i == 2 else part.stop()
            seen += part.events()
            start = str(seen[-1]["seq"] + 1)
        whole.verdict(oids[-1])
        last = len(seen)
        wait_for("the rest", lambda: len(whole.events()) >= last)
        self.assertEqual(whole.events()[:last], seen)
        self.assertEqual([e["seq"] for e in seen], list(range(1, last + 1)))
        again = self.tail("--from", "start", "--count", str(last), name="again")
        self.assertEqual(again.wait(), 0)
        self.assertEqual(again.events(), seen)

    def test_a_new_history_is_told(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        dispatcher = self.dispatcher()
        runner, tail = self.runner(), self.tail()
        observer = self.observer(repo.path)
        tail.verdict(repo.head())
        dispatcher.stop()
        os.rename(self.path("dispatcher"), self.path("away"))
        self.dispatcher()
        second = repo.commit({"tests/a.sh": FAIL})
        self.assertEqual(tail.verdict(second), "failed")
        self.assertEqual(len({e["hist"] for e in tail.events()}), 2)
        self.assertTrue(runner.running() and observer.running() and tail.running())

    def test_repo_and_until_build_and_count(self):
        one = self.repository("one", {"tests/a.sh": PASS})
        two = self.repository("two", {"tests/a.sh": FAIL, "n": "2"})
        tail = self.everything()
        self.ask("submit", one.path, "main", "--wait")
        self.ask("submit", two.path, "main", "--wait", rc=1)
        only = self.json("tail", "--from", "start", "--repo", "two", "--until-build", "2", rc=1)
        self.assertEqual({e["repo"] for e in only if e.get("build")}, {"two"})
        self.assertEqual(only[-1]["kind"], "build_done")
        self.json("tail", "--from", "start", "--until-build", "1")
        self.assertEqual([e["seq"] for e in self.json("tail", "--from", "3", "-n", "2")], [3, 4])
        self.assertTrue(tail.running())

    def test_files_are_written_replaced_and_written_again(self):
        repo = self.repository(files={"tests/a.sh": PASS, "tests/b.sh":
                                      f"#!/bin/sh\necho out; test ! -e {self.path('broken')}\n"})
        self.write("broken")
        self.dispatcher()
        self.runner()
        results = self.path("results")
        tail = self.tail("--from", "start", "--results", results)
        oid = repo.head()
        self.ask("submit", repo.path, "main", "--wait", rc=1)
        file = os.path.join(results, "demo", oid)
        wait_for("the file", lambda: os.path.exists(file))
        first = harness.read_result(file)
        self.assertEqual(first.head["verdict"], "failed")
        self.assertEqual(first.head["commit"], oid)
        self.assertEqual([u for u in first.units], [("passed", "tests/a.sh", b"fine\n"),
                                                    ("failed", "tests/b.sh", b"out\n")])
        os.unlink(self.path("broken"))
        self.ask("rebuild", "1", "--wait")
        wait_for("the new file", lambda: harness.read_result(file).head["verdict"] == "passed")
        wait_for("its flat name", lambda: sorted(os.listdir(results)) == sorted([oid, "demo"]))
        self.assertEqual(os.listdir(os.path.join(results, "demo")), [oid])
        self.assertEqual(harness.read_result(os.path.join(results, oid)),
                         harness.read_result(file))
        tail.stop()
        os.unlink(file)
        os.unlink(os.path.join(results, oid))
        self.tail("--from", "start", "--results", results, name="again")
        wait_for("the file again", lambda: os.path.exists(os.path.join(results, oid)))
        wait_for("the newest one", lambda: harness.read_result(file).head["build"] == "2")

    def test_a_unit_in_a_batch_is_followed(self):
        """The last one as it writes; one in the middle when it has ended, and no byte too many."""
        def held(name):
            return self.gate(name, f"echo {name} ends").replace(
                "#!/bin/sh\n", f"#!/bin/sh\necho {name} begins\n")
        repo = self.repository(files={"tests/a.sh": PASS, "tests/b.sh": held("b"),
                                      "tests/c.sh": held("c")})
        self.dispatcher()
        self.runner("--batch", "3")
        self.ask("submit", repo.path, "main")
        b, c = (self.start(name, "log", f"1/tests/{name}.sh", "--follow", "--dispatcher-server",
                           self.server) for name in "bc")
        self.wait_start("b")
        time.sleep(0.5)  # long enough for its first line to be known
        self.assertEqual(b.output() + c.output(), b"")
        self.go("b")
        wait_for("the first line of the last unit", lambda: c.output() == b"c begins\n")
        self.assertEqual(b.wait(), 0)
        self.assertEqual(b.output(), b"b begins\nb ends\n")
        self.go("c")
        self.assertEqual(c.wait(), 0)
        self.assertEqual(c.output(), b"c begins\nc ends\n")
        self.assertEqual({e["task"] for e in self.json("tail", "--from", "start", "--until-build", "1")
                          if e["kind"] == "test_done"}, {2})  # it was one batch

    def test_a_unit_that_runs_again_is_followed_anew(self):
        gate = self.gate(after="echo ends").replace("#!/bin/sh\n", "#!/bin/sh\necho begins\n")
        repo = self.repository(files={"tests/a.sh": gate})
        self.dispatcher()
        runner = self.runner()
        self.ask("submit", repo.path, "main")
        follow = self.start("follow", "log", "1/tests/a.sh", "--follow", "--dispatcher-server",
                            self.server)
        wait_for("the first line", lambda: follow.output() == b"begins\n")
        os.kill(self.executors(runner)[1], signal.SIGKILL)
        self.wait_start(n=2)
        self.go()
        self.assertEqual(follow.wait(), 0)
        self.assertEqual(follow.output(), b"begins\nbegins\nends\n")
        self.assertIn("try 2", follow.said())

    def test_a_command_is_run_at_each_finished_build(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        self.dispatcher()
        self.runner()
        self.tail("--results", self.path("results"), "--exec",
                  f"echo $VOLT_REPO $VOLT_BRANCH $VOLT_VERDICT $VOLT_COMMIT >>{self.path('mails')}; "
                  f"head -1 \"$VOLT_RESULT\" >>{self.path('mails')}", "--from", "start")
        first = repo.head()
        self.ask("submit", repo.path, "main", "--wait")
        second = repo.commit({"tests/a.sh": FAIL})
        self.ask("submit", repo.path, "main", "--wait", rc=1)
        want = (f"demo main passed {first}\nverdict: passed\n"
                f"demo main failed {second}\nverdict: failed\n")
        wait_for("two mails", lambda: len(self.read("mails")) >= len(want))
        self.assertEqual(self.read("mails"), want)

    def test_keep_days_bounds_what_is_kept(self):
        repo = self.repository(files={"tests/a.sh": "#!/bin/sh\nseq 1 20000\n"})
        dispatcher = self.dispatcher()
        self.runner()
        self.tail()
        old = repo.head()
        self.ask("submit", repo.path, "main", "--wait")
        new = repo.commit({"n": "2"})
        self.ask("submit", repo.path, "main", "--wait")
        self.assertEqual(dispatcher.stop(), 0)
        with sqlite3.connect(self.path("dispatcher", "volt.db")) as db:  # three days go by
            for table, column in (("build", "created_ms"), ("build", "finished_ms"),
                                  ("event", "time_ms"), ("attempt", "ended_ms")):
                where = {"build": "build = 1", "event": "build = 1 OR seq < 4",
                         "attempt": "task IN (SELECT task FROM task WHERE build = 1)"}[table]
                db.execute(f"UPDATE {table} SET {column} = {column} - 3 * 86400000 WHERE {where}")
        db.close()
        self.dispatcher("--keep-days", "2")
        wait_for("the end of the old build", lambda: [
            b["oid"] for b in self.json("builds") if not b.get("forgotten")] == [new])
        self.assertIn("no longer kept", self.ask("build", "1").decode())
        self.ask("log", "1", rc=3)
        self.assertEqual(len(self.ask("log", "2").splitlines()), 20000)

        def logs():
            return sum(len(files) for _, _, files in os.walk(self.path("dispatcher", "logs")))
        wait_for("the end of the old log", lambda: logs() == 1)
        wait_for("the old events' end", lambda: not [e for e in self.json(
            "tail", "--from", "start", "--until-build", "2") if e.get("build") == 1])
        self.assertNotEqual(old, new)
        tail = self.tail("--from", "2", name="late")
        tail.verdict(new)
        seen = self.seqs(tail)
        self.assertEqual(seen, list(range(seen[0], seen[0] + len(seen))))
        self.assertEqual(tail.said().splitlines(),
                         [f"volt tail: events 2 to {seen[0] - 1} are no longer kept"])

    # ---- the commands ----

    def test_answers_of_an_empty_dispatcher(self):
        self.dispatcher()
        status, = self.json("status")
        self.assertEqual((status.get("runners", 0), status["running"], status["waiting"]),
                         (0, [], []))
        self.assertEqual(self.json("builds"), [])
        self.assertEqual(self.json("runners"), [])
        for command in ("status", "builds", "runners"):
            self.assertNotIn(b"\x1b", self.ask(command))
        for command in ("build", "log", "task", "rebuild", "cancel"):
            self.ask(command, "7", rc=3)
            self.assertRegex(self.said, r"^volt \w+: there is no (build|task) 7\n$")
        for command in ("drain", "resume", "cordon"):
            self.ask(command, "nobody", rc=3)

    def test_answers_about_builds(self):
        repo = self.repository(files={"tests/a.sh": PASS, "tests/b.sh": FAIL})
        tail = self.everything(repo)
        tail.verdict(repo.head())
        row, = self.json("builds")
        self.assertEqual({k: row[k] for k in ("build", "repo", "ref", "oid", "state", "verdict",
                                              "author", "units", "units_done", "units_bad")},
                         {"build": 1, "repo": "demo", "ref": "refs/heads/main", "oid": repo.head(),
                          "state": "final", "verdict": "failed", "author": "Ann Author",
                          "units": 2, "units_done": 2, "units_bad": 1})
        build, = self.json("build", "1")
        self.assertEqual({t["file"]: t["verdict"] for t in build["tests"]},
                         {"tests/a.sh": "passed", "tests/b.sh": "failed"})
        self.assertEqual([j["name"] for j in build["jobs"]], ["tests"])
        for task in build["tasks"]:
            asked, = self.json("task", str(task["task"]))
            self.assertEqual(asked["verdict"], task["verdict"])
            self.assertEqual([a["att"] for a in asked["attempts"]], [1])
        self.assertEqual(self.ask("log", "1/tests/1"), b"broken\n")
        self.assertEqual(self.ask("log", "1/tests/b.sh"), b"broken\n")
        self.ask("log", "1/tests/7", rc=3)
        self.ask("log", "1/nojob", rc=3)
        self.ask("log", "x", rc=2)
        runner, = self.json("runners")
        self.assertEqual({k: runner.get(k) for k in ("name", "state", "mode", "slots")},
                         {"name": "runner", "state": "up", "mode": "run", "slots": 1})

    def test_a_queued_and_a_running_build_are_canceled(self):
        one = self.repository("one", {"tests/a.sh": self.gate("a", "exit 1"), "tests/b.sh": PASS})
        two = self.repository("two", {"tests/c.sh": self.gate("c")})
        tail = self.everything()
        self.ask("submit", one.path, "main")
        (_, pid), = self.wait_start("a")
        started, = tail.wait("running", task_kind="tests")
        task, = self.json("task", str(started["task"]))
        self.assertEqual([a["state"] for a in task["attempts"]], ["running"])
        self.ask("submit", two.path, "main")
        tail.wait("planned", 2)
        self.ask("cancel", "2", "--why", "not now")
        self.assertEqual(tail.verdict(two.head()), "canceled")
        self.ask("cancel", "1", "--json")
        self.assertEqual(tail.verdict(one.head()), "canceled")
        wait_for("the end of the test", lambda: not alive(pid))
        self.assertEqual([c for c in processes_of(self.path("runner.d")).values()
                          if "a.sh" in c], [])
        self.assertFalse(self.starts("c"))
        self.ask("cancel", "1")  # canceled is canceled
        shown = self.ask("build", "2").decode()
        self.assertIn("not now", shown)
        self.assertIn("not-run", shown)
        self.assertNotIn("waiting", shown)
        self.tail("--from", "start", "--results", self.path("results"), "--until-build", "2",
                  name="files").wait()
        never, = harness.read_result(self.path("results", two.head())).units
        self.assertEqual(never, ("not-run", "tests/c.sh", b""))
        third = one.commit({"tests/a.sh": PASS, "tests/b.sh": PASS})  # the slot is free again
        self.ask("submit", one.path, "main", "--wait")
        self.assertEqual(tail.verdict(third), "passed")

    def test_a_log_that_was_cut_is_noted(self):
        repo = self.repository(files={"tests/a.sh": f"#!/bin/sh\nhead -c {65 << 20} /dev/zero\n"})
        self.everything(repo)
        self.tail("--results", self.path("results"), "--from", "start", "--until-build", "1",
                  name="files").wait()
        result = harness.read_result(self.path("results", repo.head()))
        self.assertEqual(result.notes, [f"attempt 2/1 on runner: the log was cut at its limit; "
                                        f"{1 << 20} bytes were thrown away"])

    def test_rebuild_makes_a_new_build(self):
        repo = self.repository(files={"tests/a.sh":
                                      f"#!/bin/sh\ntest -e {self.path('fixed')}\n"})
        tail = self.everything(repo)
        self.assertEqual(tail.verdict(repo.head()), "failed")
        self.write("fixed")
        self.assertIn(b"build 2", self.ask("rebuild", "1", "--wait"))
        self.assertEqual(tail.verdict(repo.head(), 2), "passed")
        self.assertEqual([b["verdict"] for b in self.json("builds")], ["passed", "failed"])

    def test_drain_lets_a_runner_finish(self):
        one = self.repository("one", {"tests/a.sh": self.gate()})
        two = self.repository("two", {"tests/b.sh": PASS})
        self.dispatcher()
        runner, tail = self.runner(), self.tail()
        self.ask("submit", one.path, "main")
        self.wait_start()
        self.ask("drain", "runner")
        self.ask("submit", two.path, "main")
        time.sleep(0.5)
        self.assertTrue(runner.running())
        self.go()
        self.assertEqual(runner.wait(), 0)
        self.assertEqual(tail.verdict(one.head()), "passed")
        self.assertEqual(tail.events("build_done", oid=two.head()), [])
        status, = self.json("status")
        self.assertTrue(status["waiting"] and all(t["why"] for t in status["waiting"]), status)
        other = self.runner(name="runner2")
        self.assertEqual(tail.verdict(two.head()), "passed")
        self.ask("cordon", "runner2")
        three = one.commit({"tests/a.sh": PASS})
        self.ask("submit", one.path, "main")
        time.sleep(0.5)
        self.assertEqual(tail.events("build_done", oid=three), [])
        self.assertTrue(other.running())
        self.ask("resume", "runner2")
        self.assertEqual(tail.verdict(three), "passed")

    def test_every_command_says_that_nobody_is_there(self):
        self.reserve()
        repo = self.repository(files={"tests/a.sh": PASS})
        for args in (["status"], ["builds"], ["build", "1"], ["log", "1"], ["task", "1"],
                     ["runners"], ["cancel", "1"], ["rebuild", "1"], ["drain", "x"],
                     ["resume", "x"], ["cordon", "x"], ["submit", repo.path, "main"]):
            with self.subTest(args=args):
                self.ask(*args, "--timeout", "300ms", rc=4)
                self.assertEqual(self.said, f"volt {args[0]}: cannot reach dispatcher at "
                                 f"{self.server} (connection refused); is 'volt dispatcher' "
                                 "running?\n")

    def test_wrong_flags_are_said(self):
        for command in ("up", "dispatcher", "observer", "runner", "tail", "submit", "status",
                        "builds", "build", "task", "log", "runners", "cancel", "rebuild", "drain"):
            self.assertIn(b"Usage: volt " + command.encode(), self.volt(command, "--help"))
            with self.subTest(command=command):
                self.volt(command, "--no-such-flag", rc=2)
                self.assertIn("--no-such-flag", self.said)
                self.assertIn(f"volt {command}", self.said)
        for args in (["build"], ["build", "x"], ["build", "1", "2"], ["task", "0"], ["cancel"],
                     ["submit"], ["submit", "a"], ["status", "extra"], ["builds", "-n", "x"],
                     ["dispatcher", "--port", "x"], ["dispatcher", "--port", "65535"],
                     ["dispatcher", "--lease", "0"], ["runner", "--slots", "0"],
                     ["runner", "--slots", "-1"], ["tail", "--from", "x"],
                     ["observer", "--interval", "soon", "."], ["observer"], ["nonsense"], []):
            with self.subTest(args=args):
                self.volt(*args, rc=2)
                self.assertRegex(self.said, r"^(volt|Usage)")
        self.assertRegex(self.volt("--version").decode(), r"^volt \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    harness.main()
