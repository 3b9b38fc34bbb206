"""Directories that are deleted under the process that works in them."""
import os
import shutil
import signal

import harness
from harness import PASS, wait_for


class Deleted(harness.Case):
    def delete(self, process, *names):
        """All of it, before the process makes some of it again."""
        process.send(signal.SIGSTOP)
        wait_for("the stop", lambda: harness.state_of(process.pid) == "T")
        shutil.rmtree(self.path(*names))
        process.send(signal.SIGCONT)

    def test_an_idle_dispatcher_ends(self):
        dispatcher = self.dispatcher()
        self.delete(dispatcher, "dispatcher")
        self.assertEqual(dispatcher.wait(), 3)
        self.assertIn("was deleted", dispatcher.said().splitlines()[-1])

    def test_a_dispatcher_without_its_logs_ends(self):
        size = 1 << 20
        repo = self.repository(files={"tests/a.sh": self.gate(after=f"head -c {size} /dev/zero")})
        dispatcher = self.dispatcher()
        self.runner()
        tail = self.tail()
        self.ask("submit", repo.path, "main")
        self.wait_start()
        self.delete(dispatcher, "dispatcher", "logs")
        self.assertEqual(dispatcher.wait(), 3)
        self.assertIn("'logs'", dispatcher.said().splitlines()[-1])
        self.dispatcher()
        self.go()
        self.assertEqual(tail.verdict(repo.head()), "passed")
        self.assertEqual(self.ask("log", "1").count(b"\0"), size)

    def test_a_dispatcher_acknowledges_nothing_more(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        dispatcher = self.dispatcher()
        self.runner()
        self.ask("submit", repo.path, "main", "--wait")
        os.rename(self.path("dispatcher"), self.path("aside"))
        self.ask("rebuild", "1", "--timeout", "2s", rc=4)
        self.assertEqual(dispatcher.wait(), 3)
        os.rename(self.path("aside"), self.path("dispatcher"))  # it closed what was there
        self.dispatcher()
        self.assertEqual([b["verdict"] for b in self.json("builds")], ["passed"])
        self.ask("rebuild", "1", "--wait")

    def test_a_dispatcher_in_trouble_makes_no_empty_store(self):
        dispatcher = self.dispatcher()
        self.ask("status")
        self.limit_files(dispatcher, 4096)
        self.ask("cordon", "nobody", rc=None)
        self.runner(wait=False)  # its row does not go into the store
        dispatcher.wait_said("trying again")
        self.delete(dispatcher, "dispatcher")
        self.limit_files(dispatcher)
        self.assertEqual(dispatcher.wait(), 3)
        self.assertIn("was deleted", dispatcher.said().splitlines()[-1])

    def test_a_runner_makes_its_directory_again(self):
        repo = self.repository(files={"tests/a.sh": self.gate()})
        self.dispatcher()
        runner = self.runner()
        tail = self.tail()
        before = self.read("runner.d", "id"), self.read("runner.d", "state")
        self.ask("submit", repo.path, "main")
        self.wait_start()
        self.delete(runner, "runner.d")
        runner.wait_said("was made again")
        self.assertEqual((self.read("runner.d", "id"), self.read("runner.d", "state")), before)
        self.go()
        self.assertEqual(tail.verdict(repo.head()), "passed")
        self.assertEqual(len(tail.events("requeued")), 1)
        self.volt("runner", "--work", self.path("runner.d"), rc=5)  # it holds the new lock
        os.rename(self.path("runner.d", "pool"), self.path("pool"))  # its executor may be tidying up there
        wait_for("the pool", lambda: runner.said().count("was made again") == 2)
        self.ask("rebuild", "1", "--wait")
        self.assertEqual(runner.said().count("was made again"), 2)

    def test_a_runner_that_cannot_make_it_ends(self):
        self.dispatcher()
        runner = self.runner()
        runner.send(signal.SIGSTOP)
        os.rename(self.path("runner.d"), self.path("aside"))
        self.write("runner.d")
        runner.send(signal.SIGCONT)
        self.assertEqual(runner.wait(), 2)
        self.assertIn("cannot be made again", runner.said().splitlines()[-1])

    def test_an_observer_makes_its_state_again(self):
        repo = self.repository(files={"tests/a.sh": PASS})
        self.dispatcher()
        self.runner()
        tail = self.tail()
        args = ("--policy", "every")
        observer = self.observer(repo.path, *args)
        self.assertEqual(tail.verdict(repo.head()), "passed")
        self.delete(observer, "observer.d")
        observer.wait_said("is made again")
        observer.stop()
        behind = [repo.commit({"tests/a.sh": PASS + f"# {i}\n"}) for i in range(3)]
        observer = self.observer(repo.path, *args)  # which knows how far it was
        for commit in behind:
            self.assertEqual(tail.verdict(commit), "passed")
        observer.send(signal.SIGSTOP)
        shutil.rmtree(self.path("observer.d"))
        self.write("observer.d")
        observer.send(signal.SIGCONT)
        self.assertEqual(observer.wait(), 2)
        self.assertIn("cannot be made again", observer.said().splitlines()[-1])


if __name__ == "__main__":
    harness.main()
