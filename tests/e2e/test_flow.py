"""What runs when: concurrency groups, parameters of a submission, whose turn is next."""
import os
import signal

import harness

FILE = ".volt.yml"
LEASE_S = 3
QUICK = ("--lease", f"{LEASE_S}s", "--heartbeat", "300ms")


class Flow(harness.Case):
    def deploy(self, until="false", more=""):
        """A job that writes build and attempt again and again, until the condition holds."""
        return (f"jobs:\n  deploy:\n    concurrency: deploy\n    script: |\n"
                f"      echo $$ >{self.path('pid')}.$VOLT_BUILD.$VOLT_ATTEMPT\n"
                f"      while ! {until}; do echo $VOLT_BUILD.$VOLT_ATTEMPT >>{self.path('ticks')}; sleep .02; done\n"
                f"      echo $VOLT_BUILD.$VOLT_ATTEMPT >>{self.path('ticks')}\n{more}")

    def turns(self):
        """Who wrote, in order.  One that comes twice ran beside another, and fails the test."""
        turns = []
        for tick in self.read("ticks").split():
            if not turns or turns[-1] != tick:
                self.assertNotIn(tick, turns, "two deploys ran at the same time")
                turns.append(tick)
        return turns

    def wait_turn(self, who):
        harness.wait_for(f"{who} to run", lambda: who in self.turns())

    def wait_end(self, who):
        pid = int(self.read(f"pid.{who}"))
        harness.wait_for(f"the end of {who}", lambda: not harness.alive(pid))

    def wait_why(self, text):
        def why():
            status, = self.json("status")
            return text in " ".join(row.get("why", "") for row in status["waiting"])
        harness.wait_for(f"something that waits because {text!r}", why)

    def go(self, who):
        self.write(f"go.{who}")

    def until_go(self):
        return f"test -e {self.path('go')}.$VOLT_BUILD.$VOLT_ATTEMPT"

    def runner_of(self, tail, build):
        lease = [e for e in tail.events("leased", job="deploy", build=build)][-1]
        return next(p for p in self.processes if p.name == lease["runner"] and p.running())

    # ---- concurrency ----

    def test_one_task_of_a_group_runs_at_a_time_the_older_build_first(self):
        repo = self.repository(files={FILE: self.deploy(self.until_go())})
        tail = self.everything(repo, runners=2, runner=("--slots", "2"))
        self.wait_turn("1.1")
        for n in (2, 3):
            repo.commit()
            tail.wait("planned", build=n)
        self.wait_why("concurrency group 'deploy' is held by build 1 job deploy (running)")
        why = self.ask("build", "3").decode()
        self.assertIn("concurrency group 'deploy' is held by build 1 job deploy", why)
        for n in (1, 2, 3):
            self.wait_turn(f"{n}.1")
            self.go(f"{n}.1")
            self.assertEqual(tail.wait("build_done", build=n)[0]["verdict"], "passed")
        self.assertEqual(self.turns(), ["1.1", "2.1", "3.1"])
        self.assertIn("deploy  alone in deploy\n", self.volt("plan", repo.path).decode())

    def test_a_group_is_of_one_repository(self):
        one = self.repository("one", files={FILE: self.deploy(self.until_go())})
        two = self.repository("two", files={FILE: "jobs:\n  d: {concurrency: deploy, script: 'true'}\n"})
        tail = self.everything(one, runner=("--slots", "2"))
        self.wait_turn("1.1")
        self.ask("submit", two.path, "HEAD", "--wait")
        self.assertEqual(tail.events("build_done", repo="one"), [])
        self.go("1.1")
        tail.wait("build_done", repo="one")

    def test_batches_of_a_group_run_one_at_a_time(self):
        files = {f"t/{i}": "" for i in range(12)}
        ticks = self.path("ticks")
        repo = self.repository(files={FILE: f"""
jobs:
  t:
    concurrency: db
    tests:
      files: t/*
      batch: 3
      run: for i in 1 2 3; do echo {{}} >>{ticks}; sleep .03; done
""", **files})
        tail = self.everything(repo, runners=2, runner=("--slots", "2"))
        self.assertEqual(tail.verdict(repo.head()), "passed")
        self.assertEqual(sorted(self.turns()), sorted(files))
        self.assertEqual(len(tail.events("leased", job="t")), 4)

    def test_a_lost_attempt_is_over_before_the_next_begins(self):
        repo = self.repository(files={FILE: self.deploy(self.until_go())})
        tail = self.everything(repo, runners=2, dispatcher=QUICK)
        self.wait_turn("1.1")
        repo.commit()
        tail.wait("planned", build=2)
        stopped = self.runner_of(tail, 1)
        stopped.send(signal.SIGSTOP)  # the agent alone: its executor and the deploy go on
        tail.wait("requeued", build=1)
        self.wait_why("concurrency group 'deploy' is held by a lost attempt of build 1 job deploy, for at most")
        self.wait_turn("1.2")
        self.assertEqual(self.turns(), ["1.1", "1.2"])
        stopped.send(signal.SIGCONT)
        self.go("1.2")
        self.wait_turn("2.1")
        self.go("2.1")
        self.assertEqual(tail.wait("build_done", build=2)[0]["verdict"], "passed")
        self.assertEqual(tail.wait("build_done", build=1)[0]["verdict"], "passed")
        self.assertEqual(self.turns(), ["1.1", "1.2", "2.1"])

    def test_a_lost_attempt_holds_its_group_beyond_the_death_of_the_dispatcher(self):
        repo = self.repository(files={FILE: self.deploy(self.until_go())})
        tail = self.everything(repo, runners=2, dispatcher=QUICK)
        dispatcher = self.processes[0]
        self.wait_turn("1.1")
        stopped = self.runner_of(tail, 1)
        stopped.send(signal.SIGSTOP)
        tail.wait("requeued", build=1)
        dispatcher.kill()
        self.dispatcher(*QUICK)
        self.wait_why("concurrency group 'deploy' is held by an attempt lost before the dispatcher's start")
        self.wait_turn("1.2")
        self.go("1.2")
        self.assertEqual(tail.wait("build_done", build=1)[0]["verdict"], "passed")
        self.assertEqual(self.turns(), ["1.1", "1.2"])
        stopped.send(signal.SIGCONT)

    def test_a_runner_that_hears_nothing_ends_a_deploy_and_not_other_work(self):
        other = f"  other:\n    script: while [ ! -e {self.path('go.other')} ]; do sleep .05; done\n"
        repo = self.repository(files={FILE: self.deploy(self.until_go(), other)})
        tail = self.everything(repo, runner=("--slots", "2"), dispatcher=QUICK)
        dispatcher = self.processes[0]
        self.wait_turn("1.1")
        tail.wait("running", job="other")
        dispatcher.kill()
        self.wait_end("1.1")
        self.dispatcher(*QUICK)
        self.wait_turn("1.2")
        self.go("1.2")
        self.go("other")
        self.assertEqual(tail.wait("build_done", build=1)[0]["verdict"], "passed")
        self.assertEqual(self.turns(), ["1.1", "1.2"])
        lease, = tail.events("leased", job="other")
        self.assertEqual(lease["att"], 1)

    def test_a_short_absence_of_the_dispatcher_disturbs_no_deploy(self):
        repo = self.repository(files={FILE: self.deploy(self.until_go())})
        tail = self.everything(repo, dispatcher=("--lease", "30s", "--heartbeat", "300ms"))
        dispatcher = self.processes[0]
        self.wait_turn("1.1")
        dispatcher.kill()
        self.dispatcher("--lease", "30s", "--heartbeat", "300ms")
        harness.wait_for("the runner", lambda: self.json("runners")[0]["state"] == "up")
        self.go("1.1")
        self.assertEqual(tail.wait("build_done", build=1)[0]["verdict"], "passed")
        self.assertEqual(self.turns(), ["1.1"])

    def test_what_surely_ended_leaves_its_group_at_once(self):
        # With this lease, a group that is held until it is over would outlast the test's patience.
        repo = self.repository(files={FILE: self.deploy(self.until_go())})
        tail = self.everything(repo, runners=2, dispatcher=("--lease", "1h", "--heartbeat", "300ms"))
        self.wait_turn("1.1")
        self.runner_of(tail, 1).stop(signal.SIGINT)  # says bye
        self.wait_turn("1.2")
        last = self.runner_of(tail, 1)
        executors = self.executors(last)
        last.kill()
        for pid in executors.values():
            os.kill(pid, signal.SIGKILL)
        self.wait_end("1.2")
        self.killed = True
        self.runner(name=last.name)  # a new process, which does not have it
        self.wait_turn("1.3")
        self.ask("cancel", "1")
        tail.wait("build_done", build=1)
        repo.commit()
        self.wait_turn("2.1")
        self.go("2.1")
        self.assertEqual(tail.wait("build_done", build=2)[0]["verdict"], "passed")
        self.assertEqual(self.turns(), ["1.1", "1.2", "1.3", "2.1"])

    # ---- submit --env ----

    def test_a_submission_gives_variables_to_all_tasks(self):
        repo = self.repository(files={
            FILE: "env: {A: file, B: file}\njobs:\n  s: {script: 'echo $A $B $C'}\n"
                  "  bad: {needs: s, script: 'test \"$C\" = \"x y\" && false'}\n"})
        tail = self.everything()

        def submit(*env, rc=1):
            args = [a for e in env for a in ("--env", e)]
            return self.ask("submit", repo.path, "HEAD", "--wait", *args, rc=rc)
        submit()
        submit("A=own", "C=x y")
        self.assertEqual(self.ask("log", "2/s").decode(), "own file x y\n")
        self.assertEqual(self.ask("log", "1/s").decode(), "file file\n")
        # The same once more is the same build; without any, a known commit stays what it is.
        submit("A=own", "C=x y")
        submit()
        self.assertEqual(len(tail.events("submitted")), 2)
        submit("A=other")
        done, = tail.wait("build_done", build=3)
        self.assertEqual((done["gen"], done["oid"]), (2, repo.head()))
        self.assertEqual(self.ask("log", "3/s").decode(), "other file\n")
        self.ask("retry", "2", "--wait", rc=1)
        self.ask("rebuild", "2", "--wait", rc=1)
        self.assertEqual(self.ask("log", "5/s").decode(), "own file x y\n")
        self.assertIn("\n  with A=own C=x y\n", self.ask("build", "4").decode())
        row, = self.json("build", "5")
        self.assertEqual(row["env"], ["A=own", "C=x y"])

    def test_variables_that_cannot_be_are_refused(self):
        repo = self.repository(files={"a": ""})
        self.reserve()
        for env, why in (("A", "is no NAME=VALUE"), ("1A=x", "is no variable's name"),
                         ("VOLT_X=1", "is Volt's own"), ("CI=", "is Volt's own"),
                         ("A=" + "x" * 9000, "at most 8192")):
            self.volt("submit", repo.path, "HEAD", "--env", env, rc=2)
            self.assertIn(why, self.said)
        self.volt("submit", repo.path, "HEAD", "--env", "A=1", "--env", "A=2", rc=2)
        self.assertIn("given twice", self.said)

    # ---- whose turn is next ----

    def test_a_repository_with_much_work_does_not_hold_up_another(self):
        files = {f"t/{i:04}": "" for i in range(2000)}
        many = self.repository("many", files={
            FILE: "jobs:\n  t: {labels: [a], tests: {files: t/*, batch: 1, run: 'sleep .05; : {}'}}\n"
                  "  u: {tests: {files: t/*, batch: 1, run: 'sleep .05; : {}'}}\n", **files})
        few = self.repository("few", files={FILE: "jobs:\n  one: {script: 'true'}\n"})
        self.dispatcher()
        self.runner("--labels", "a")
        tail = self.tail()
        self.ask("submit", many.path, "HEAD")
        tail.wait("test_done", n=3)
        self.ask("submit", few.path, "HEAD", "--wait")
        self.assertLess(len(tail.events("test_done")), 1000)
        self.ask("cancel", "1")


if __name__ == "__main__":
    harness.main()
