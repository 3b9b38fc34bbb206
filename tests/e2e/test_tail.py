"""volt tail against a dispatcher that loses, forgets and restarts."""
import base64
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest

try:
    import msgpack  # noqa: F401
    import zmq  # noqa: F401
except ImportError:
    sys.exit(77)

from fake_dispatcher import FakeDispatcher

VOLT = os.environ.get("VOLT", "volt")
PATIENCE_S = 60  # guards against a hang, is not waited for


def read_result(path):
    """A result file's head and its units as (fields, output), by counting bytes."""
    with open(path, "rb") as f:
        text = f.read()
    head, _, rest = text.partition(b"\n\n")
    units, notes = [], []
    while rest:
        line, _, rest = rest.partition(b"\n")
        if line.startswith(b"--- note: "):
            notes.append(line[10:].decode())
            continue
        match = re.fullmatch(rb"--- (\S+) +(\d+) bytes +(\d+) ms  (.*)", line)
        assert match, line
        n = int(match[2])
        assert rest[n:n + 1] == b"\n", (line, rest[n:n + 20])
        units.append((match[1].decode(), match[4].decode(), rest[:n]))
        rest = rest[n + 1:]
    head = [line.partition(": ")[::2] for line in head.decode().split("\n")]
    return dict(head), units, notes


class Tail:
    def __init__(self, server, *args, **popen):
        popen.setdefault("stdout", subprocess.PIPE)
        popen.setdefault("bufsize", 0)
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen([VOLT, "tail", "--dispatcher-server", server, *args],
                                        stderr=self.errors, **popen)

    def wait(self):
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        return out

    def objects(self):
        return [json.loads(line) for line in self.wait().splitlines()]

    def line(self):  # unbuffered, so that communicate() has the rest
        return self.process.stdout.readline()

    def said(self):
        self.errors.seek(0)
        return self.errors.read().decode()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        self.errors.close()


class TailTest(unittest.TestCase):
    def setUp(self):
        self.d = FakeDispatcher()
        self.addCleanup(lambda: self.d.close())
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.dir = directory.name

    def tail(self, *args, **popen):
        t = Tail(self.d.server, *args, **popen)
        self.addCleanup(t.close)
        self.addCleanup(lambda: self.assertNotIn("Sanitizer", t.said()))
        return t

    def until(self, condition):
        end = time.monotonic() + PATIENCE_S
        while not condition():
            self.assertLess(time.monotonic(), end, "waited in vain")
            time.sleep(0.02)

    def test_replays_in_pages_then_goes_on_live_without_a_gap(self):
        self.d.page = 7
        for _ in range(50):
            self.d.event("runner_up", publish=False, runner="box-1")
        t = self.tail("--json", "--from", "start", "--count", "70")
        first = json.loads(t.line())
        for i in range(20):
            self.d.event("runner_up", publish=i % 3 != 0, runner="box-1")
        rest = t.objects()
        self.assertEqual([first["seq"]] + [o["seq"] for o in rest], list(range(1, 71)))
        self.assertEqual(t.process.returncode, 0)

    def test_begins_where_it_is_told_to(self):
        for _ in range(10):
            self.d.event("runner_up", publish=False, runner="box-1")
        t = self.tail("--json", "--from", "8", "--count", "3")
        self.assertEqual([o["seq"] for o in t.objects()], [8, 9, 10])

    def test_shows_only_what_is_new_when_not_told(self):
        self.d.event("runner_up", publish=False, runner="old")
        t = self.tail("--json", "--count", "2")
        self.until(lambda: self.poke_until_heard(t))
        numbers = [o["seq"] for o in t.objects()]
        self.assertEqual(numbers[1], numbers[0] + 1)
        self.assertGreater(numbers[0], 1)

    def poke_until_heard(self, t):
        self.d.event("runner_up", runner="new")
        return t.process.poll() is not None

    def test_objects_have_the_fields_of_the_protocol(self):
        self.d.build(7, units=[("tests/test_a.py", "failed", b"no\n")], publish=False)
        t = self.tail("--json", "--from", "start", "--count", "5")
        objects = t.objects()
        for o in objects:
            for key in ("seq", "kind", "build", "repo", "oid", "ref"):
                self.assertIn(key, o)
        done = objects[2]
        self.assertEqual((done["kind"], done["job"], done["task"], done["att"], done["verdict"],
                          done["duration_ms"], done["runner"]),
                         ("test_done", "tests", 7, 1, "failed", 5, "box-1"))
        self.assertEqual(objects[4]["verdict"], "failed")

    def test_lines_are_for_people_and_command_no_terminal(self):
        self.d.build(7, units=[("tests/\x1b[2J", "failed", b"")], publish=False,
                     subject="Say \x1b]0;hello\x07")
        t = self.tail("--from", "start", "--until-build", "7")
        text = t.wait().decode()
        self.assertIn("#7 seed main 0000000000", text)
        self.assertIn("build failed (5.0 s)", text)
        self.assertNotIn("\x1b", text)
        self.assertEqual(t.process.returncode, 1)

    def test_filters_by_repository(self):
        self.d.build(1, repo="one", publish=False)
        self.d.build(2, repo="two", publish=False)
        t = self.tail("--json", "--from", "start", "--repo", "two", "--until-build", "2")
        self.assertEqual({o["repo"] for o in t.objects()}, {"two"})

    def test_a_build_that_ended_before_is_not_waited_for(self):
        self.d.build(1, verdict="passed", publish=False)
        self.d.build(2, publish=False)
        for number, args, code, words in ((1, (), 0, "passed"), (2, (), 1, "failed"),
                                          (1, ("--from", "8"), 0, "passed"),
                                          (1, ("--from", "100"), 0, "passed")):
            t = self.tail("--json", "--until-build", str(number), *args)
            seen = [o["seq"] for o in t.objects()]
            self.assertEqual((t.process.returncode, seen), (code, [8] if "8" in args else []))
            self.assertTrue(t.said().endswith(f"tail: build {number} has ended already: {words}\n"))

    def test_a_build_whose_end_is_no_longer_kept_is_not_waited_for(self):
        self.d.build(1, publish=False)
        self.d.floor = 5
        t = self.tail("--json", "--from", "start", "--until-build", "1")
        self.assertEqual(t.objects(), [])
        self.assertEqual(t.process.returncode, 1)
        self.assertIn("build 1 has ended already: failed", t.said())

    def test_a_build_whose_end_is_lost_while_it_is_waited_for(self):
        self.d.event("runner_up", publish=False, runner="box-1")
        t = self.tail("--json", "--from", "start", "--until-build", "1")
        self.assertEqual(json.loads(t.line())["seq"], 1)
        self.until(lambda: "builds" in self.d.asked)
        with self.d.lock:
            self.d.build(1, verdict="passed", publish=False)
            self.d.event("runner_up", publish=False, runner="box-2")
            self.d.floor = len(self.d.events)
        self.assertEqual([o["runner"] for o in t.objects()], ["box-2"])
        self.assertEqual(t.process.returncode, 0)
        self.assertIn("build 1 has ended already: passed", t.said())

    def test_a_build_to_come_is_waited_for_whatever_is_shown(self):
        self.d.build(1, publish=False)
        for number, args, kinds in ((2, (), {"build_done"}), (3, ("--repo", "other"), set())):
            self.d.asked.clear()
            t = self.tail("--json", "--until-build", str(number), "--from", "5", *args)
            self.until(lambda: "builds" in self.d.asked)
            self.d.build(number, verdict="passed")
            self.assertEqual({o["kind"] for o in t.objects() if o["kind"] == "build_done"}, kinds)
            self.assertEqual((t.process.returncode, t.said()), (0, ""))

    def test_waits_for_a_dispatcher_and_outlives_it(self):
        port = self.d.port
        self.d.close()
        t = self.tail("--json", "--from", "start", "--count", "4")
        self.until(lambda: "waiting" in t.said())
        self.d = FakeDispatcher(port=port)
        self.d.event("runner_up", publish=False, runner="1")
        self.d.event("runner_up", publish=False, runner="2")
        self.assertEqual(json.loads(t.line())["seq"], 1)
        self.assertEqual(json.loads(t.line())["seq"], 2)
        events = self.d.events
        self.d.close()
        self.d = FakeDispatcher(port=port, ep=2, events=events)
        self.d.event("runner_up", publish=False, runner="3")
        self.d.event("runner_up", publish=False, runner="4")
        self.assertEqual([o["seq"] for o in t.objects()], [3, 4])
        self.assertEqual(t.said().count("waiting"), 1)

    def test_starts_anew_with_another_history(self):
        t = self.tail("--json", "--from", "start", "--count", "3")
        self.d.event("runner_up", publish=False, runner="1")
        self.d.event("runner_up", publish=False, runner="2")
        self.assertEqual(json.loads(t.line())["seq"], 1)
        self.assertEqual(json.loads(t.line())["seq"], 2)
        with self.d.lock:
            self.d.hist, self.d.events = "b" * 32, []
        self.d.event("runner_up", publish=False, runner="new")
        self.assertEqual([(o["hist"], o["seq"]) for o in t.objects()], [("b" * 32, 1)])
        self.assertIn("another history", t.said())

    def test_says_what_is_no_longer_kept(self):
        for _ in range(10):
            self.d.event("runner_up", publish=False, runner="1")
        self.d.floor = 6
        t = self.tail("--json", "--from", "2", "--count", "5")
        self.assertEqual([o["seq"] for o in t.objects()], [6, 7, 8, 9, 10])
        self.assertIn("events 2 to 5 are no longer kept", t.said())

    def test_says_that_it_waits_for_a_number_still_to_come(self):
        """It may have been kept of another dispatcher's history."""
        self.d.event("runner_up", publish=False, runner="1")
        t = self.tail("--json", "--from", "3", "--count", "2")
        self.until(lambda: t.said())
        self.assertIn("is 1; waiting for 3", t.said())
        for _ in range(3):
            self.d.event("runner_up", runner="2")
        self.assertEqual([o["seq"] for o in t.objects()], [3, 4])
        self.assertEqual(t.said().count("waiting"), 1)

    def test_catches_up_after_it_was_stopped(self):
        t = self.tail("--json", "--from", "start", "--count", "20000")
        self.d.event("runner_up", runner="1")
        t.line()
        t.process.send_signal(signal.SIGSTOP)
        for _ in range(19999):
            self.d.event("runner_up", runner="box", why="w" * 200)
        t.process.send_signal(signal.SIGCONT)
        self.assertEqual([o["seq"] for o in t.objects()], list(range(2, 20001)))

    def test_loses_nothing_when_nobody_reads_its_output(self):
        t = self.tail("--json", "--from", "start", "--count", "20000")
        for _ in range(20000):
            self.d.event("runner_up", runner="box", why="w" * 200)
        time.sleep(0.5)
        self.assertEqual([o["seq"] for o in t.objects()], list(range(1, 20001)))

    def test_can_be_interrupted_while_nobody_reads(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 0)):
            t = self.tail("--json", "--from", "start")
            for _ in range(2000):
                self.d.event("runner_up", publish=False, runner="box", why="w" * 200)
            t.line()
            t.process.send_signal(number)
            self.assertEqual(t.process.wait(PATIENCE_S), code)

    def test_ends_on_signals(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 0)):
            t = self.tail("--json", "--from", "start")
            self.d.event("runner_up", runner="1")
            t.line()
            t.process.send_signal(number)
            self.assertEqual(t.process.wait(PATIENCE_S), code)
            self.assertEqual(t.said(), "")

    def test_ends_quietly_when_its_reader_is_gone(self):
        t = self.tail("--json", "--from", "start")
        self.d.event("runner_up", runner="1")
        t.line()
        t.process.stdout.close()
        self.assertEqual(t.process.wait(PATIENCE_S), 0)
        self.assertEqual(t.said(), "")

    def test_refuses_a_wrong_beginning(self):
        t = self.tail("--from", "yesterday")
        t.wait()
        self.assertEqual(t.process.returncode, 2)
        self.assertIn("'yesterday'", t.said())

    # ---- output ----

    def log_text(self, objects, task):
        text = b""
        for o in objects:
            if o.get("kind") == "log" and o["task"] == task:
                data = base64.b64decode(o["base64"]) if "base64" in o else o["text"].encode()
                self.assertEqual(o["off"], len(text))
                text += data
        return text

    def test_output_is_whole_though_pieces_are_lost(self):
        t = self.tail("--json", "--from", "start", "--logs", "--until-build", "1")
        about = dict(build=1, repo="seed", ref="refs/heads/main", oid="1" * 40)
        self.d.event("running", task=3, att=1, job="tests", **about)
        t.line()
        expected = b""
        for i in range(200):
            data = f"{i} \u20ac\n".encode()[:-2 if i % 7 == 0 else None] + b"x" * (i * 5)
            expected += data
            self.d.piece(1, 3, 1, data, publish=i % 5 != 0)
        self.d.piece(1, 3, 1, b"\xff\x00end", eof=True, publish=False)
        expected += b"\xff\x00end"
        self.d.event("log_end", task=3, att=1, job="tests", log_bytes=len(expected), **about)
        self.d.event("build_done", verdict="passed", **about)
        self.assertEqual(self.log_text(t.objects(), 3), expected)

    def test_output_of_old_builds_is_shown_with_them(self):
        output = b"".join(b"line %d\n" % i for i in range(30000))
        self.d.build(5, units=[("tests/a", "passed", output)], publish=False)
        t = self.tail("--from", "start", "--logs", "--until-build", "5", "--repo", "seed")
        lines = [line for line in t.wait().decode().splitlines() if line.startswith("#5 tests/5 |")]
        self.assertEqual(lines, [f"#5 tests/5 | line {i}" for i in range(30000)])

    def test_short_output_is_shown_once(self):
        self.d.build(5, units=[("tests/a", "passed", b"a\nb")], publish=False)
        self.d.build(6, units=[("tests/a", "passed", b"\xff\n")], publish=False)
        t = self.tail("--json", "--from", "start", "--logs", "--until-build", "6")
        logs = [(o["build"], o["text"]) for o in t.objects() if o["kind"] == "log"]
        self.assertEqual(logs, [(5, "a\nb"), (6, "\ufffd\n")])

    def test_pieces_of_other_repositories_are_not_shown(self):
        t = self.tail("--json", "--from", "start", "--logs", "--repo", "two", "--until-build", "2")
        self.d.event("runner_up", runner="1")
        for _ in range(20):  # as long as nothing tells whose they are
            self.d.piece(1, 11, 1, b"one\n")
            self.d.piece(2, 12, 1, b"two\n")
            time.sleep(0.02)
        for build, repo in ((1, "one"), (2, "two")):
            about = dict(build=build, repo=repo, ref="refs/heads/main", oid="1" * 40)
            self.d.event("running", task=build + 10, att=1, job="tests", **about)
            self.d.ended.add((build + 10, 1))
            self.d.event("log_end", task=build + 10, att=1, job="tests", log_bytes=80, **about)
            self.d.event("build_done", verdict="passed", **about)
        objects = t.objects()
        self.assertEqual(self.log_text(objects, 12), b"two\n" * 20)
        self.assertEqual(self.log_text(objects, 11), b"")

    # ---- result files ----

    def test_result_files_have_every_byte(self):
        outputs = [b"plain\n", b"", b"no newline", b"--- passed 3 bytes\nfake", bytes(range(256)),
                   b"y" * 300000, b"\n\n"]
        units = [(f"tests/test_{i}.py", "failed" if i == 2 else "passed", output)
                 for i, output in enumerate(outputs)]
        self.d.page = 3
        self.d.build(4, units=units, publish=False)
        t = self.tail("--json", "--from", "start", "--results", self.dir, "--until-build", "4")
        t.wait()
        oid = f"{4:040x}"
        head, found, notes = read_result(f"{self.dir}/seed/{oid}")
        self.assertEqual([(v, n.split("  ")[-1], o) for v, n, o in found],
                         [(v, f, o) for f, v, o in units])
        self.assertEqual((head["verdict"], head["ref"], head["subject"], head["build"]),
                         ("failed", "refs/heads/main", "Break it", "4"))
        self.assertEqual(notes, [])
        self.assertEqual(os.readlink(f"{self.dir}/{oid}"), f"seed/{oid}")
        self.assertEqual(sorted(os.listdir(f"{self.dir}/seed")), [oid])
        self.assertEqual(sorted(os.listdir(self.dir)), sorted(["seed", oid]))

    def test_a_build_is_shown_when_its_file_is_there(self):
        self.d.deaf = True
        t = self.tail("--json", "--results", self.dir)
        self.until(lambda: self.poke_until_shown(t))
        self.d.build(4, units=[("tests/a", "passed", b"fine\n")])
        kinds = []
        while "task_done" not in kinds:
            last = json.loads(t.line())
            kinds.append(last["kind"])
        self.d.event("runner_up", runner="later")
        t.process.kill()  # the dispatcher did not tell what the file needs
        self.assertEqual(t.wait(), b"")
        self.d.deaf = False
        t = self.tail("--json", "--from", str(last["seq"] + 1), "--results", self.dir,
                      "--count", "2")
        self.assertEqual([o["kind"] for o in t.objects()], ["build_done", "runner_up"])
        self.assertEqual(read_result(f"{self.dir}/seed/{4:040x}")[1][0][2], b"fine\n")

    def poke_until_shown(self, t):
        self.d.event("runner_up", runner="new")
        return select.select([t.process.stdout], [], [], 0)[0]

    def test_units_of_many_batches_are_fetched_in_few_questions(self):
        self.d.build(1, units=[(f"t{i}", "passed", b"o%d\n" % i) for i in range(3000)],
                     publish=False)
        t = self.tail("--json", "--from", "start", "--results", self.dir, "--until-build", "1")
        t.wait()
        _, found, _ = read_result(f"{self.dir}/{1:040x}")
        self.assertEqual([o for _, _, o in found], [b"o%d\n" % i for i in range(3000)])
        self.assertLess(self.d.asked.count("get"), 5)

    def test_the_newest_build_of_a_commit_has_the_file(self):
        oid = "c" * 40
        self.d.build(1, oid=oid, verdict="failed", publish=False)
        self.d.build(2, oid=oid, verdict="passed", ref="refs/heads/other", publish=False)
        for _ in range(2):  # the second time, the file of build 2 stands all the while
            t = self.tail("--json", "--from", "start", "--results", self.dir, "--until-build", "2")
            t.wait()
            head, _, _ = read_result(f"{self.dir}/{oid}")
            self.assertEqual((head["verdict"], head["build"], head["ref"]),
                             ("passed", "2", "refs/heads/other"))

    def test_scripts_and_broken_plans_are_in_the_file(self):
        plan = dict(task=30, build=3, kind="plan", state="final", verdict="errored", att=2,
                    runner="box-1", log_bytes=9, why="unknown key 'jbos'")
        self.d.logs[30, 2] = b"line 3: ?"
        self.d.build(3, verdict="errored", tasks=[plan], publish=False,
                     jobs=[dict(name="lint", state="final", verdict="skipped", why="needs build")])
        t = self.tail("--json", "--from", "start", "--results", self.dir, "--until-build", "3")
        t.wait()
        head, found, _ = read_result(f"{self.dir}/{3:040x}")
        self.assertEqual([(v, o) for v, _, o in found], [("errored", b"line 3: ?")])
        self.assertIn("why unknown key 'jbos'", found[0][1])
        self.assertEqual(head["job"], "skipped lint: needs build")

    def test_names_of_repositories_stay_inside(self):
        repos = "../../evil", "..", ".hidden", "a/b", "d" * 40, "new\nline"
        for number, repo in enumerate(repos, 1):
            self.d.build(number, repo=repo, publish=False)
        t = self.tail("--json", "--from", "start", "--results", self.dir + "/deep/er",
                      "--until-build", "6")
        t.wait()
        self.assertEqual(os.listdir(self.dir), ["deep"])
        names = {n for n in os.listdir(self.dir + "/deep/er") if not n.startswith("0")}
        self.assertEqual(names, {"%2E.%2F..%2Fevil", "%2E.", "%2Ehidden", "a%2Fb",
                                 "%64" + "d" * 39, "new%0Aline"})

    def test_says_when_a_log_or_a_build_is_gone(self):
        self.d.build(1, units=[("a", "passed", b"x" * 10), ("b", "passed", b"y" * 10)],
                     publish=False)
        self.d.logs[1, 1] = b"x" * 10 + b"y" * 4
        self.d.build(2, publish=False)
        del self.d.builds[2]
        t = self.tail("--json", "--from", "start", "--results", self.dir, "--until-build", "2")
        t.wait()
        _, found, notes = read_result(f"{self.dir}/{1:040x}")
        self.assertEqual([o for _, _, o in found], [b"x" * 10, b"y" * 4])
        self.assertEqual(notes, ["6 more bytes of this output are no longer kept"])
        head, found, notes = read_result(f"{self.dir}/{2:040x}")
        self.assertEqual((head["verdict"], found), ("failed", []))
        self.assertIn("no longer keeps this build", notes[0])

    def test_asks_again_when_refused_or_not_answered(self):
        self.d.build(1, units=[("a", "passed", b"x" * 10)], publish=False)
        self.d.busy = 2
        t = self.tail("--json", "--from", "start", "--results", self.dir, "--until-build", "1")
        t.wait()
        _, found, _ = read_result(f"{self.dir}/{1:040x}")
        self.assertEqual([o for _, _, o in found], [b"x" * 10])

    def test_more_builds_than_it_holds_at_once(self):
        for number in range(1, 601):
            self.d.build(number, units=[("a", "passed", b"%d" % number)], publish=False)
        t = self.tail("--json", "--from", "start", "--results", self.dir, "--until-build", "600")
        self.assertEqual([o["seq"] for o in t.objects()], list(range(1, 3001)))
        for number in range(1, 601):
            _, found, _ = read_result(f"{self.dir}/{number:040x}")
            self.assertEqual([o for _, _, o in found], [b"%d" % number])

    def test_an_unwritable_directory_is_an_error(self):
        path = self.dir + "/file"
        open(path, "w").close()
        t = self.tail("--results", path)
        t.wait()
        self.assertNotEqual(t.process.returncode, 0)
        self.assertIn(path, t.said())

    def test_a_full_disk_ends_it_and_going_on_loses_nothing(self):
        """A limit on the size of files stands for the disk."""
        outputs = {1: b"small\n", 2: b"x" * 300000, 3: b"small\n"}
        for number, output in outputs.items():
            self.d.build(number, units=[("tests/a", "passed", output)], publish=False)

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        t = self.tail("--json", "--from", "start", "--results", self.dir, preexec_fn=limit)
        shown = t.objects()
        self.assertEqual(t.process.returncode, 1)
        self.assertRegex(t.said(), "(?s)results of build 2: .*File too large.* go on with --from 11")
        self.assertEqual([o["seq"] for o in shown], list(range(1, 11)))
        self.assertEqual(sorted(os.listdir(f"{self.dir}/seed")), [f"{1:040x}"])

        t = self.tail("--json", "--from", "11", "--results", self.dir, "--until-build", "3")
        shown += t.objects()
        self.assertEqual([o["seq"] for o in shown], list(range(1, len(self.d.events) + 1)))
        for number, output in outputs.items():
            _, found, _ = read_result(f"{self.dir}/seed/{number:040x}")
            self.assertEqual([o for _, _, o in found], [output])

    def test_a_full_disk_behind_its_output_is_an_error(self):
        self.d.build(1, publish=False)
        with open("/dev/full", "wb") as full:
            t = self.tail("--json", "--from", "start", stdout=full)
        self.assertEqual(t.process.wait(PATIENCE_S), 1)
        self.assertIn("No space left", t.said())

    def test_a_name_that_makes_no_file_is_said_and_passed_over(self):
        self.d.build(1, repo="/" * 100, publish=False)
        self.d.build(2, publish=False)
        t = self.tail("--json", "--from", "start", "--results", self.dir, "--until-build", "2")
        self.assertEqual(len(t.objects()), len(self.d.events))
        self.assertIn("makes no file name", t.said())
        self.assertEqual(read_result(f"{self.dir}/seed/{2:040x}")[0]["verdict"], "failed")

    def test_a_build_that_ended_before_has_its_file(self):
        """And no command, which old builds have with --from only."""
        self.d.build(1, units=[("tests/a", "passed", b"one\n")], verdict="passed", publish=False)
        self.d.build(2, repo="two", publish=False)
        t = self.tail("--until-build", "1", "--results", self.dir + "/r", "--exec", "touch ran", cwd=self.dir)
        self.assertEqual((t.wait(), t.process.returncode), (b"", 0))
        head, units, notes = read_result(f"{self.dir}/r/seed/{1:040x}")
        self.assertEqual([head[k] for k in ("verdict", "build", "subject", "history", "finished")],
                         ["passed", "1", "Break it", self.d.hist, "2023-11-14T22:13:25Z"])
        self.assertEqual((len(units), notes), (1, []))
        t = self.tail("--until-build", "2", "--results", self.dir + "/r", "--repo", "seed")
        self.assertEqual((t.wait(), t.process.returncode), (b"", 1))
        self.assertEqual(sorted(os.listdir(self.dir + "/r")), [f"{1:040x}", "seed"])
        self.assertEqual(os.listdir(self.dir), ["r"])

    # ---- --exec ----

    def test_runs_the_command_at_each_finished_build_in_order(self):
        for number in (1, 2, 3):
            self.d.build(number, verdict="passed", subject="Say 'it'; $HOME", publish=False)
        t = self.tail("--json", "--from", "start", "--until-build", "3", "--results", self.dir + "/r",
                      "--exec", 'sleep 0.1; head -1 "$VOLT_RESULT" >> log; printf "%s\\n" '
                      '"$VOLT_BUILD $VOLT_REPO $VOLT_BRANCH $VOLT_VERDICT $VOLT_SUBJECT" >> log',
                      cwd=self.dir)
        t.wait()
        with open(self.dir + "/log") as f:
            self.assertEqual(f.read(), "".join(
                f"verdict: passed\n{n} seed main passed Say 'it'; $HOME\n" for n in (1, 2, 3)))

    def test_a_failing_command_is_said_and_does_not_hold_up_the_stream(self):
        self.d.build(1, publish=False)
        self.d.build(2, publish=False)
        t = self.tail("--json", "--from", "start", "--until-build", "2", "--exec",
                      "while [ ! -e go ]; do sleep .02; done; echo out; exit 3", cwd=self.dir)
        shown = [json.loads(t.line())["seq"] for _ in self.d.events]
        self.assertEqual(shown, list(range(1, len(self.d.events) + 1)))
        open(self.dir + "/go", "x").close()
        self.assertEqual(t.wait(), b"")
        self.assertIn("--exec for build 1 exited with 3", t.said())
        self.assertIn("out\n", t.said())

    def test_a_command_that_hangs_is_ended_with_its_children(self):
        self.d.build(1, publish=False)
        t = self.tail("--json", "--from", "start", "--exec-limit", "1500ms", "--until-build", "1",
                      "--exec", "echo $$ > pid; sleep 600 & echo $! >> pid; wait", cwd=self.dir)
        t.wait()
        self.assertIn("--exec for build 1 took longer than 1500 ms", t.said())
        with open(self.dir + "/pid") as f:
            for pid in f.read().split():
                self.until(lambda: not os.path.exists(f"/proc/{pid}/exe"))


if __name__ == "__main__":
    unittest.main()
