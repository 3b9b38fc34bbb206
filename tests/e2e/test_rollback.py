"""An old copy of the dispatcher's data directory is put back: it stands still until an operator has decided."""
import os
import shutil
import signal

import harness
from harness import PASS, wait_for


class Rollback(harness.Case):
    def setUp(self):
        self.killed = True

    def restart(self, *args):
        """The dispatcher on what its directory has now, at the address that all know."""
        return self.dispatcher(*args)

    def copy(self, to):
        shutil.copytree(self.path("dispatcher"), self.path(to))

    def put_back(self, which):
        shutil.rmtree(self.path("dispatcher"))
        shutil.move(self.path(which), self.path("dispatcher"))

    def begin(self):
        """A build before the copy, two after it, of which the last one runs."""
        repo = self.repository(files={"tests/a.sh": PASS})
        dispatcher, tail = self.dispatcher(), self.tail()
        runner = self.runner()
        observer = self.observer(repo.path)
        tail.verdict(repo.head())
        dispatcher.stop()
        self.copy("old")
        dispatcher = self.restart()
        tail.verdict(repo.commit({"n": "1"}))
        repo.commit({"tests/a.sh": self.gate()})
        self.wait_start()
        dispatcher.stop()
        self.copy("newest")
        self.put_back("old")
        dispatcher = self.restart()
        wait_for("the runner to tell", lambda: self.json("status")[0].get("trouble"))
        return repo, dispatcher, runner, observer, tail

    def test_it_stands_still_until_the_newest_is_back(self):
        repo, dispatcher, runner, observer, tail = self.begin()
        trouble = self.json("status")[0]["trouble"]
        self.assertIn("old copy", trouble)
        self.assertIn("--accept-rollback", trouble)
        dispatcher.wait_said("old copy")
        runner.wait_said("STALE_DB")
        later = repo.commit({"tests/a.sh": PASS})
        wait_for("the refusal", lambda: "STALE_DB" in observer.said())
        self.ask("cancel", "1", rc=5)
        self.assertEqual(len(self.json("builds")), 1)
        dispatcher.stop()
        self.put_back("newest")
        self.restart()
        self.go()  # it ran all the time
        self.assertEqual(tail.verdict(later), "passed")
        self.assertEqual(self.starts()[0][0], 1)
        self.assertEqual(len(self.starts()), 1)
        again = self.tail("--from", "start", name="tail2")
        again.wait("build_done", 4)
        seen = [e["seq"] for e in again.events()]
        self.assertEqual(seen, list(range(1, len(seen) + 1)))
        self.assertEqual([b["verdict"] for b in self.json("builds")], ["passed"] * 4)

    def test_it_goes_on_as_a_new_history_when_it_is_told_to(self):
        repo, dispatcher, runner, observer, tail = self.begin()
        before = self.json("status")[0]["hist"]
        observer.stop()  # so that it does not see the history change
        dispatcher.stop()
        dispatcher = self.restart("--accept-rollback")
        self.assertIn("new history", dispatcher.said())
        after = self.json("status")[0]
        self.assertNotEqual(after["hist"], before)
        self.assertFalse(after.get("trouble"))
        self.go()
        observer = self.observer(repo.path, name="observer")
        # What the copy does not have is offered again, also what is not the branch's newest.
        tail = self.tail("--from", "start", name="tail2")
        self.assertEqual(tail.verdict(repo.head()), "passed")
        self.assertEqual(tail.verdict(repo.git("rev-parse", "HEAD~1").strip()), "passed")
        self.assertEqual([b["verdict"] for b in self.json("builds")], ["passed"] * 3)
        later = repo.commit({"tests/a.sh": PASS})
        self.assertEqual(tail.verdict(later), "passed")
        self.assertEqual({e["hist"] for e in tail.events()}, {after["hist"]})
        dispatcher.stop()
        self.restart()
        self.assertEqual(self.json("status")[0]["hist"], after["hist"])
        self.assertTrue(runner.running() and observer.running())

    def test_what_an_old_copy_accepted_comes_to_the_newest(self):
        """Before a runner has proven that it is old, it accepts commits, and is put aside with them."""
        repo = self.repository(files={"tests/a.sh": PASS})
        dispatcher, tail = self.dispatcher(), self.tail()
        runner = self.runner()
        observer = self.observer("--policy", "every", repo.path)
        tail.verdict(repo.head())
        dispatcher.stop()
        self.copy("old")
        dispatcher = self.restart()
        tail.verdict(repo.commit({"n": "1"}))
        runner.send(signal.SIGSTOP)
        dispatcher.stop()
        self.copy("newest")
        self.put_back("old")
        dispatcher = self.restart()
        lost = [repo.commit({"n": n}) for n in "234"]
        for oid in lost:
            wait_for("the old copy to accept it",
                     lambda oid=oid: oid in [b["oid"] for b in self.json("builds")])
        observer.stop()
        self.observer("--policy", "every", repo.path)
        runner.send(signal.SIGCONT)
        wait_for("the runner to tell", lambda: self.json("status")[0].get("trouble"))
        dispatcher.stop()
        self.put_back("newest")
        self.restart()
        for oid in lost:
            self.assertEqual(tail.verdict(oid), "passed")
        self.assertEqual([b["verdict"] for b in self.json("builds")], ["passed"] * 5)

    def test_an_idle_runner_tells_too(self):
        """The usual way to make a copy: each side of it is the second start, and nothing runs."""
        repo = self.repository(files={"tests/a.sh": PASS})
        dispatcher, tail = self.dispatcher(), self.tail()
        self.runner()
        self.observer(repo.path)
        tail.verdict(repo.head())
        dispatcher.stop()
        self.copy("old")
        dispatcher = self.restart()
        tail.verdict(repo.commit({"n": "1"}))
        dispatcher.kill()
        self.put_back("old")
        dispatcher = self.restart()
        wait_for("the runner to tell", lambda: self.json("status")[0].get("trouble"))
        dispatcher.wait_said("old copy")


if __name__ == "__main__":
    harness.main()
