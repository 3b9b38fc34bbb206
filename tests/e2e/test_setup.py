"""A job's setup: once a slot, what it starts lives as long as the slot stays; and files that are run again."""
import os
import signal

import harness
from harness import alive, wait_for

FILE = ".volt.yml"
FILES = {f"t/{c}": "" for c in "abcdefgh"}

# A server that answers whoever connects; its pid and port are where its slot's tests find them.
SERVER = """\
import os, socket
s = socket.create_server(("127.0.0.1", 0))
for name, value in (("pid", os.getpid()), ("port", s.getsockname()[1])):
    with open(name + ".new", "w") as f: f.write(str(value))
    os.rename(name + ".new", name)
while True:
    c, _ = s.accept()
    print("asked", flush=True)
    c.sendall(b"served")
    c.close()
"""
CLIENT = """\
import socket
with socket.create_connection(("127.0.0.1", int(open("port").read()))) as s: print(s.makefile().read())
"""


class Setup(harness.Case):
    def setUp(self):
        self.killed = False

    def build(self, tests, more="", files=None, slots=2, wait=True, dispatcher=()):
        """Tests a commit with one job of these lines below `tests:`."""
        text = "jobs:\n  unit:\n    tests:\n" + "".join(f"      {line}\n" for line in tests) + more
        self.repo = self.repository(files={FILE: text, "server.py": SERVER, "client.py": CLIENT,
                                           **(FILES if files is None else files)})
        self.tail_of = self.everything(self.repo, runner=("--slots", str(slots)), dispatcher=dispatcher)
        return self.tail_of.wait("build_done", oid=self.repo.head())[0] if wait else None

    def serving(self):
        """Lines of a setup that starts one and notes it outside, too."""
        return ["setup: |",
                "  python3 server.py &",
                "  until test -e port; do sleep .02; done",
                f"  echo $(cat pid) $VOLT_WORKSPACE >>{self.path('servers')}"]

    def servers(self):
        return [(int(pid), slot) for pid, slot in (line.split() for line in self.read("servers").splitlines())]

    def process(self, name):
        return next(p for p in self.processes if p.name == name)

    def log(self, what):
        return self.ask("log", what).decode()

    def test_a_server_of_the_setup_serves_all_batches_of_its_slot(self):
        done = self.build(["files: [t/*]", "batch: 1", "run: python3 client.py {} && sleep .2", *self.serving()])
        self.assertEqual(done["verdict"], "passed")
        servers = self.servers()
        slots = [slot for _, slot in servers]
        self.assertEqual(len(servers), 2)
        self.assertEqual(len(set(slots)), 2)  # once a slot
        self.assertEqual(len(self.tail_of.events("leased", job="unit")), 8)
        logs = [self.log(f"1/unit/{i}") for i in range(8)]
        self.assertEqual(logs, ["served\n"] * 8)  # nothing of setup or server in a file's part
        wait_for("servers to end", lambda: not any(alive(pid) for pid, _ in servers), 15)

    def test_the_setups_output_is_in_the_log_of_its_attempt(self):
        self.build(["files: [t/a]", "run: echo {}", "setup: [echo making, touch made]"])
        self.assertRegex(self.log("1/unit"), r"^volt: setup begins\nmaking\nvolt: setup ended after \S+ ?\w*\nt/a\n$")

    def test_another_job_of_the_slot_ends_what_the_last_ones_left(self):
        more = f"""
  next:
    needs: unit
    script: |
      read pid slot <{self.path("servers")}
      ! kill -0 $pid
"""
        done = self.build(["files: [t/*]", "run: python3 client.py {}", *self.serving()], more, slots=1)
        self.assertEqual(done["verdict"], "passed")

    def test_a_failed_one_ends_the_job_and_cancels_its_other_batches(self):
        bad = self.path("first")
        more = "  behind: {needs: unit, script: 'true'}\n  beside: {script: 'true'}\n"
        # The slot that comes first works until the other's setup has failed.
        self.build(["files: [t/*]", "batch: 1", "run: 'sleep 60 # {}'", "setup: |",
                    f"  if mkdir {bad} 2>/dev/null; then exit 0; fi",
                    "  echo no compiler here",
                    "  exit 3"], more, wait=False)
        done = self.tail_of.wait("build_done", oid=self.repo.head())[0]
        self.assertEqual(done["verdict"], "failed")
        jobs = {e["job"]: e for e in self.tail_of.events("job_done")}
        self.assertEqual({k: e["verdict"] for k, e in jobs.items()},
                         {"unit": "failed", "behind": "skipped", "beside": "passed"})
        self.assertEqual(jobs["unit"]["why"], "the setup failed with status 3")
        tasks = {e["verdict"]: e for e in self.tail_of.events("task_done", job="unit")}
        self.assertEqual(sorted(tasks), ["canceled", "failed"])
        self.assertIn("volt: setup begins\nno compiler here\nvolt: the setup failed with status 3\n",
                      self.log("1/unit"))
        self.assertLess(tasks["canceled"]["duration_ms"], 30000)
        shown = self.ask("build", "1", "--all").decode()
        self.assertIn("      | no compiler here\n      | volt: the setup failed with status 3\n", shown)
        self.assertIn("not-run", shown)
        self.assertEqual(self.json("build", "1")[0]["units_done"], 3)  # two files, and a script

    def test_one_that_takes_too_long_is_a_timeout(self):
        done = self.build(["files: [t/*]", "run: 'true {}'", "setup: sleep 600"], "    timeout: 300ms\n")
        self.assertEqual(done["verdict"], "timeout")

    def test_a_cancel_ends_what_it_left(self):
        self.build(["files: [t/*]", f"run: 'touch {self.path('in')} {{}}; sleep 600'", *self.serving()], wait=False)
        wait_for("a test", lambda: os.path.exists(self.path("in")))
        pids = [pid for pid, _ in self.servers()]
        self.ask("cancel", "1")
        self.assertEqual(self.tail_of.wait("build_done", build=1)[0]["verdict"], "canceled")
        self.assertFalse(any(map(alive, pids)))

    # ---- kills ----

    def begin_gated(self, *dispatcher):
        """One slot, whose test waits at a gate; returns the server's pid."""
        self.killed = True
        gate = self.gate().replace("#!/bin/sh\n", "")
        self.build(["files: [t/*]", "run: sh ./gate && python3 client.py {}", *self.serving()], slots=1,
                   files={"t/a": "", "gate": gate}, wait=False, dispatcher=dispatcher)
        self.wait_start()
        return self.servers()[0][0]

    def test_it_outlives_a_killed_agent(self):
        server = self.begin_gated()
        runner = self.process("runner")
        runner.kill()
        self.runner("--slots", "1")
        self.assertTrue(alive(server))
        self.go()
        self.assertEqual(self.tail_of.verdict(self.repo.head()), "passed")
        self.assertEqual(len(self.servers()), 1)
        wait_for("server to end", lambda: not alive(server), 15)

    def test_a_killed_executor_takes_it_along_and_another_one_runs_it_again(self):
        server = self.begin_gated()
        pid, = [pid for slot, pid in self.executors(self.process("runner")).items() if slot == 1]
        os.kill(pid, signal.SIGKILL)
        self.wait_start(n=2)
        self.assertFalse(alive(server))
        self.go()
        self.assertEqual(self.tail_of.verdict(self.repo.head()), "passed")
        self.assertEqual(len(self.servers()), 2)
        wait_for("server to end", lambda: not alive(self.servers()[1][0]), 15)

    # ---- files that are run again ----

    def test_a_file_that_passes_at_last_is_flaky_and_shown_so(self):
        runs = self.path("runs")
        done = self.build(["files: [t/*]", "retry: 2",
                           f"run: 'echo x >>{runs}.$(basename {{}}); echo at $(wc -l <{runs}.$(basename {{}}));"
                           f" sh {{}} $(wc -l <{runs}.$(basename {{}}))'"],
                          files={"t/good": "", "t/third": "test $1 = 3", "t/bad": "exit 7"})
        self.assertEqual(done["verdict"], "failed")
        found = {e["file"]: e for e in self.tail_of.events("test_done")}
        self.assertEqual({f: (e["verdict"], e.get("n"), e.get("exit")) for f, e in found.items()},
                         {"t/good": ("passed", None, None), "t/third": ("flaky", 3, None),
                          "t/bad": ("failed", 3, 7)})
        self.assertEqual(self.log(f"1/unit/{found['t/third']['i']}"),
                         "at 1\nvolt: t/third: run 2 of 3\nat 2\nvolt: t/third: run 3 of 3\nat 3\n")
        shown = self.ask("build", "1").decode()
        self.assertRegex(shown, r"flaky .* t/third .* 3 runs")
        self.assertRegex(shown, r"failed t/bad .*exit 7, 3 runs")
        told = self.ask("tail", "--from", "start", "--until-build", "1", rc=1).decode()
        self.assertIn("flaky  t/third, 3 runs", told)
        tests = {t["file"]: t.get("tries") for t in self.json("build", "1")[0]["tests"]}
        self.assertEqual(tests, {"t/good": None, "t/third": 3, "t/bad": 3})

        wait_for("the histories", lambda: {t["file"]: t.get("flaky", 0) for t in self.json("tests")}
                 == {"t/good": 0, "t/third": 1, "t/bad": 0})

    def test_flaky_alone_is_green(self):
        done = self.build(["files: [t/*]", "retry: 1", f"run: 'mkdir {self.path('once')} && exit 1; true {{}}'"],
                          files={"t/a": ""})
        self.assertEqual(done["verdict"], "passed")
        self.assertEqual(self.tail_of.events("job_done")[0]["verdict"], "flaky")


if __name__ == "__main__":
    harness.main()
