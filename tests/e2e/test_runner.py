"""volt runner with a real dispatcher and real executors, each of them stopped and killed."""
import os
import signal
import time

import harness
from harness import alive, wait_for


class Runner(harness.Case):
    def setUp(self):
        self.killed = True  # executors outlive a killed agent, for a lease

    def submit(self, script):
        """A commit whose only unit that is."""
        repo = self.repository(files={"tests/one.sh": script})
        self.ask("submit", repo.path, "main")
        return repo.head()

    def up(self):
        return [r for r in self.json("runners") if r["state"] == "up"]

    def test_outlives_a_killed_dispatcher(self):
        dispatcher = self.dispatcher()
        runner, tail = self.runner(), self.tail()
        oid = self.submit(self.gate())
        self.wait_start()
        dispatcher.kill()
        self.dispatcher()
        wait_for("the runner", self.up)
        self.go()
        self.assertEqual(tail.verdict(oid), "passed")
        self.assertEqual([a for a, _ in self.starts()], [1])
        self.assertIn("registered again", runner.said())

    def test_a_new_agent_takes_over_what_runs(self):
        self.dispatcher()
        first, tail = self.runner(), self.tail()
        oid = self.submit(self.gate())
        self.wait_start()
        old = self.executors(first)[1]
        first.kill()
        second = self.runner()
        self.go()
        self.assertEqual(tail.verdict(oid), "passed")
        self.assertEqual([a for a, _ in self.starts()], [1])
        wait_for("an empty spool", lambda: not os.listdir(self.path("runner.d", "spool")))
        wait_for("another executor, now that the old one is idle",
                 lambda: self.executors(second).get(1, old) != old)
        wait_for("the old executor's end", lambda: not alive(old))

    def test_a_killed_executors_task_runs_again_and_leaves_nothing(self):
        self.dispatcher()
        runner, tail = self.runner(), self.tail()
        gate = self.gate().replace("#!/bin/sh\n", "#!/bin/sh\n(setsid sh -c 'echo $$ >>"
                                   f"{self.path('daemons')}; exec sleep 1000' &)\n")
        oid = self.submit(gate)
        (_, test), = self.wait_start()
        daemon = wait_for("its daemon", lambda: self.read("daemons").split())[0]
        os.kill(self.executors(runner)[1], signal.SIGKILL)
        self.wait_start(n=2)
        self.assertFalse(alive(daemon))
        self.assertFalse(alive(test))
        self.go()
        self.assertEqual(tail.verdict(oid), "passed")

    def test_interrupted_gives_its_task_back(self):
        self.dispatcher()
        runner, tail = self.runner(), self.tail()
        oid = self.submit(self.gate())
        (_, test), = self.wait_start()
        self.assertEqual(runner.stop(signal.SIGINT), 130)
        self.assertFalse(alive(test))
        self.runner()
        self.wait_start(n=2)
        self.go()
        self.assertEqual(tail.verdict(oid), "passed")

    def test_terminated_finishes_first(self):
        self.dispatcher()
        runner, tail = self.runner(), self.tail()
        oid = self.submit(self.gate())
        self.wait_start()
        runner.send(signal.SIGTERM)
        runner.wait_said("draining")
        self.assertTrue(runner.running())
        self.go()
        self.assertEqual(runner.wait(), 0)
        self.assertEqual(tail.verdict(oid), "passed")

    def test_a_log_is_whole_after_kills_on_both_sides(self):
        dispatcher = self.dispatcher()
        runner, tail = self.runner(), self.tail()
        oid = self.submit(f"#!/bin/sh\necho 1 $$ >>{self.path('gate.starts')}; i=0\n"
                          "while [ $i -lt 30 ]; do seq $((i*3000)) $((i*3000+2999))\n"
                          "sleep .1; i=$((i+1)); done")
        self.wait_start()
        time.sleep(0.8)  # a part of it
        dispatcher.kill()
        self.dispatcher()
        wait_for("the runner", self.up)
        runner.kill()
        self.runner()
        self.assertEqual(tail.verdict(oid), "passed")
        self.assertEqual(len(self.starts()), 1)
        self.assertEqual(self.ask("log", "1"), b"".join(b"%d\n" % i for i in range(90000)))

    def test_one_agent_a_directory_and_one_runner_an_id(self):
        self.dispatcher()
        first = self.runner()
        second = self.start("second", "runner", "--dispatcher-server", self.server, "--work",
                            self.path("runner.d"))
        self.assertEqual(second.wait(), 5)
        self.assertIn("another 'volt runner' uses", second.said())
        os.mkdir(self.path("copy.d"))  # of the directory, as an image of a machine makes it
        self.write("copy.d/id", self.read("runner.d", "id"))
        self.runner(name="copy")
        self.assertEqual(first.wait(), 5)
        self.assertIn("REPLACED", first.said())

    def test_finds_the_address_that_answers(self):
        dispatcher = self.dispatcher(host="::1", wait=False)  # localhost is 127.0.0.1, too
        wait_for("the dispatcher", lambda: "ready at" in dispatcher.said()
                 or not dispatcher.running())
        if not dispatcher.running():
            self.skipTest(dispatcher.said())
        port = self.read("dispatcher", "endpoint").strip().rsplit(":", 1)[1]
        self.runner(server=f"localhost:{port}")
        self.assertEqual(dispatcher.stop(), 0)

    def test_says_what_is_wrong_with_its_flags(self):
        for args, said in ((["--repo", "x"], "NAME=PATH"),
                           (["--repo", "x=/nowhere"], "not a readable directory"),
                           (["--labels", "a,,b"], "a label has"),
                           (["--name", ""], "a name has"),
                           (["--dispatcher-server", "h:port"], "h:port"),
                           (["--work", "/proc/x"], "/proc/x")):
            with self.subTest(args=args):
                self.volt("runner", "--work", self.path("w"), *args, rc=2)
                self.assertIn(said, self.said)


if __name__ == "__main__":
    harness.main()
