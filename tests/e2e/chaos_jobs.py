"""What the commits of a chaos run hold, and what has to come of each.

Scripts tell more than their verdict by lines in files of the directory of notes, which is nobody's
work directory: who was there, what it saw.  What a script writes into its checkout may find the disk
full; it says that there, too, and then nothing is expected of its build.
"""
import json

import harness

PIPELINES = 0.4  # of the commits
CUT_AT = 9  # characters of a secret before a pause


class Unit:
    """A test file, and what has to come of it; output None: it holds a duration; verdict None: it is
    not run."""

    def __init__(self, text, verdict="passed", output=None, tries=0, cases=(), bad=None):
        self.text, self.verdict, self.output, self.tries = text, verdict, output, tries
        self.cases, self.bad = list(cases), bad or {}  # names, in order; {number: message} of those that fail


class Job:
    """What .volt.yml says of a job, and what has to come of it."""

    def __init__(self, spec, verdict="passed", units=None, output=b"", tasks=None):
        self.spec, self.verdict = spec, verdict
        self.output = output  # how that of a script begins
        self.units = units or {}  # {file: Unit}
        self.tasks = tasks  # how many it takes; None: that depends
        self.needs = spec.get("needs", [])


class Work:
    """A commit: its files, its jobs as {name: Job}, and the verdict."""

    def __init__(self, files, jobs, env=()):
        self.files, self.jobs, self.env = files, jobs, list(env)
        found = {j.verdict for j in jobs.values() if not j.spec.get("allow_failure")}
        self.verdict = "failed" if "failed" in found else "passed"

    def units(self):
        return {(name, file): u for name, j in self.jobs.items() for file, u in j.units.items()}


class Shell:
    """Parts of scripts."""

    def __init__(self, notes):
        self.notes = notes
        self.full = f"full() {{ echo $VOLT_BUILD $VOLT_RUNNER $(date +%s%3N) >>{notes}/full; exit 9; }}\n"
        # A setup of this slot left $pid, which stands for $key; lives: it is still there.
        self.slot = (f"slot=${{VOLT_WORKSPACE%/*}} slot={notes}/slots/$VOLT_RUNNER.${{slot##*/}}\n"
                     "lives() { [ -e $slot ] && read pid key <$slot && [ -e /proc/$pid ] &&\n"
                     "cat /proc/$pid/cmdline 2>/dev/null | tr '\\0' ' ' | grep -q \"server_$key \"; }\n")

    def begin(self, name, served=False):
        """Of a script that runs once an attempt; with `served`, what a setup left is its own job's."""
        begin = f"echo $VOLT_TASK $VOLT_ATTEMPT {name} >>{self.notes}/starts\n{self.full}{self.slot}"
        return begin if served else begin + self.alone(name)

    def alone(self, name):
        return f"if lives; then {self.note('left', f'$key beside {name}')}fi\n"

    def note(self, name, words):
        return f"echo \"{words}\" >>{self.notes}/{name}\n"

    def fails_first(self, times):
        """Fails in the first tasks of a job; a task that is lost and runs again is still the same."""
        tried = f"{self.notes}/tried"
        return (f"echo $VOLT_BUILD $VOLT_JOB $VOLT_TASK >>{tried}\n"
                f"n=$(sort -u {tried} | grep \"^$VOLT_BUILD $VOLT_JOB \" | grep -vc \" $VOLT_TASK$\" || :)\n"
                f"test $n -ge {times}\n")


def pipeline(jobs, files=None, **kw):
    """The Work of jobs that are not made by a matrix."""
    text = json.dumps({"jobs": {name: j.spec for name, j in jobs.items()}}, indent=1)
    files = {**(files or {}), ".volt.yml": text}
    for j in jobs.values():
        files.update((file, u.text) for file, u in j.units.items())
    return Work(files, jobs, **kw)


def worst(units):
    """Of the verdicts of a job's test files."""
    found = {u.verdict for u in units.values()}
    return next((v for v in ("failed", "flaky") if v in found), "passed")


def suite(files="t/*", run="sh {}", **kw):
    return {"files": files, "run": run, **kw}


# ---- kinds ----

def plain_work(sh, rng, key):
    """Without a pipeline file: what is found below tests/."""
    units = dict(plain_unit(sh, rng, f"{key}_{k}") for k in range(rng.randint(1, 3)))
    return Work({file: u.text for file, u in units.items()}, {"tests": Job({}, worst(units), units)})


def plain_unit(sh, rng, key):
    kind = rng.choices(("quick", "slow", "failing", "big", "python", "daemon", "long", "huge"),
                       (40, 60, 20, 30, 10, 10, 4, 2))[0]
    verdict, output = "passed", f"{key} begins\n".encode()
    script = f"#!/bin/sh\n{sh.begin(key)}echo {key} begins\n"
    if kind in ("slow", "long"):
        seconds = rng.uniform(0.1, 1.5) if kind == "slow" else rng.uniform(3, 6)
        script += f"sleep {seconds:.2f}\necho ': it''s' ends\n"
        output += b": its ends\n"
    elif kind == "failing":
        script += "exit 3\n"
        verdict = "failed"
    elif kind in ("big", "huge"):
        first = rng.randrange(100000, 800000)
        half = rng.randrange(7000, 9000) if kind == "big" else rng.randrange(60000, 90000)
        script += (f"seq {first} {first + half - 1}\nsleep {rng.choice((0, 0.1, 0.4))}\n"
                   f"seq {first + half} {first + 2 * half - 1}\n")
        output += b"".join(b"%d\n" % i for i in range(first, first + 2 * half))
    elif kind == "daemon":  # it lets go of all that ties it to the test, and stays
        script += "setsid sh -c 'sleep 600 & sleep 601' </dev/null >/dev/null 2>&1 &\n"
    elif kind == "python":
        if rng.random() < 0.3:
            verdict = "failed"
        return f"tests/test_{key}.py", Unit(harness.PYTHON_PASS if verdict == "passed" else
                                            harness.PYTHON_FAIL, verdict)
    return f"tests/{kind}_{key}", Unit(script, verdict, output)


def artifacts_work(sh, rng, key):
    """Files of all sizes; whoever needs them sees them whole, as the try left them that counts."""
    sizes = [rng.choice((0, 1, 700, 5000, 100000)) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.3:
        sizes.append(rng.randrange(1 << 20, 5 << 20))
    verdict, retried = rng.choices(("passed", "failed", "flaky"), (7, 2, 2))[0], {}
    make = sh.begin(f"make_{key}") + "mkdir -p out/deep || full\n"
    make += "".join(f"head -c {size} /dev/urandom >out/deep/{i} || full\n" for i, size in enumerate(sizes))
    make += ("echo $VOLT_TASK $VOLT_ATTEMPT >out/who || full\n"
             "sha256sum out/who out/deep/* >out/sums || full\n"
             + sh.note("made", "$VOLT_BUILD $VOLT_TASK $VOLT_ATTEMPT $(sha256sum <out/sums)"))
    if verdict == "failed":
        make += "exit 4\n"
    elif verdict == "flaky":
        retried = {"retry": 1}
        make += sh.fails_first(1)
    use = (sh.begin(f"use_{key}_$VOLT_JOB") + "sha256sum --quiet -c out/sums\n"
           + sh.note("used", "$VOLT_BUILD $(cat out/who) $(sha256sum <out/sums)"))
    jobs = {"make": Job({"script": make, "artifacts": ["out/**"], **retried}, verdict,
                        tasks=2 if verdict == "flaky" else 1)}
    for i in range(rng.randint(1, 2)):
        jobs[f"use{i}"] = Job({"script": use, "needs": ["make"], "always": True}, tasks=1)
    return pipeline(jobs)


def parts_work(sh, rng, key):
    """Each file of a suite leaves an artifact; all of them are there in the end."""
    names = [f"{key}_{i}" for i in range(rng.randint(2, 7))]
    units = {f"t/{n}": Unit(sh.begin(n) + f"sleep {rng.choice((0, 0.1, 0.5))}\nmkdir -p out || full\n"
                            f"echo {n} >out/{n} || full\n", output=b"") for n in names}
    use = sh.begin(f"use_{key}") + f"test \"$(cat out/*)\" = \"$(cat want)\"\n"
    return pipeline({
        "parts": Job({"tests": suite(batch=rng.choice(("auto", 1, 2, 4))), "artifacts": ["out/*"]},
                     units=units),
        "use": Job({"script": use, "needs": ["parts"]}, tasks=1)}, {"want": "\n".join(names) + "\n"})


def setup_work(sh, rng, key):
    """What a setup starts lives as long as its slot stays with the job, and no longer."""
    good = rng.random() < 0.85
    setup = (sh.slot + sh.alone(key) + sh.note("setups", f"$VOLT_TASK $VOLT_ATTEMPT {key}")
             + f"sh -c 'while :; do {rng.choice((':', 'echo tick'))}; sleep .2; done' server_{key} &\n"
             f"echo $! {key} >$slot\n" + ("" if good else "echo no\nexit 3\n"))
    served = "lives || echo it is gone\necho served by $key\n"
    units = {f"t/{key}_{i}": Unit(
        sh.begin(f"{key}_{i}", served=True) + f"sleep {rng.choice((0, 0.1, 0.6))}\n{served}",
        "passed" if good else None, f"served by {key}\n".encode()) for i in range(rng.randint(2, 6))}
    job = Job({"tests": suite(batch=rng.choice(("auto", 1, 2)), setup=setup)},
              "passed" if good else "failed", units)
    return pipeline({"served": job})


def flaky_work(sh, rng, key):
    """Files that fail at first, in each attempt anew, and run again at once."""
    retry = rng.randint(1, 3)
    units = {}
    for i in range(rng.randint(1, 4)):
        fails = rng.choice((0, 0, 1, retry, retry + 1))
        ran = f"{sh.notes}/ran/$VOLT_TASK.$VOLT_ATTEMPT.{key}_{i}"
        text = (f"echo x >>{ran}\nn=$(wc -l <{ran})\necho run $n\nsleep {rng.choice((0, 0.2))}\n"
                f"test $n -gt {fails}\n")
        runs = min(fails, retry) + 1
        output = "run 1\n" + "".join(f"volt: t/{key}_{i}: run {n} of {retry + 1}\nrun {n}\n"
                                     for n in range(2, runs + 1))
        units[f"t/{key}_{i}"] = Unit(text, "failed" if fails > retry else "flaky" if fails else "passed",
                                     output.encode(), runs if runs > 1 else 0)
    return pipeline({"shaky": Job({"tests": suite(retry=retry, batch=rng.choice(("auto", 1)))},
                                  worst(units), units)})


def junit_work(sh, rng, key):
    """Reports with cases, some more than one message holds."""
    units = {}
    for i in range(rng.randint(1, 3)):
        n, name = rng.choice((1, 3, 40, 1500)), f"{key}_{i}"
        bad = {n - 1: "no"} if rng.random() < 0.3 else {}
        text = (sh.begin(name) + "mkdir -p out || full\n"
                f"{{ echo '<testsuite>' && seq -f '<testcase name=\"{name} %.0f\"/>' {n - len(bad)} &&\n"
                + "".join(f"echo '<testcase name=\"{name} {b + 1}\"><failure message=\"no\"/></testcase>' &&\n"
                          for b in bad)
                + f"echo '</testsuite>'; }} >out/{i}.xml || full\n")
        units[f"t/{name}"] = Unit(text, "failed" if bad else "passed", b"",
                                  cases=[f"{name} {k + 1}" for k in range(n)], bad=bad)
    return pipeline({"report": Job({"tests": suite(report="junit:out/*.xml", batch=rng.choice(("auto", 1)))},
                                   worst(units), units)})


def group_work(sh, rng, key):
    """Never two of a group at once, not even beside what a lost attempt left behind.

    The kernel keeps the lock while any process has it open."""
    group = key.split("_")[0] + rng.choice("ab")
    lock = f"{sh.notes}/group_{group}"
    # Some last longer than their runner may let them when it hears nothing, and some than the group is held.
    seconds = rng.uniform(0.1, 1) if rng.random() < 0.85 else rng.uniform(5, 11)
    beside = sh.note("beside", f"$VOLT_TASK $(date +%s%3N) $(tail -n 1 {lock})")
    script = (sh.begin(f"alone_{key}") + f"exec 9>>{lock}\nflock -n 9 || {beside}"
              f"echo $VOLT_TASK $VOLT_RUNNER >&9\nsleep {seconds:.2f}\n")
    if rng.random() < 0.3:  # has the lock as long as it lives
        script += "setsid sh -c 'sleep 600 & sleep 601' </dev/null >/dev/null 2>&1 &\n"
    return pipeline({"alone": Job({"script": script, "concurrency": group}, tasks=1)})


def cache_work(sh, rng, key):
    """What is restored is whole, and what the key's file stands for."""
    value, size = rng.choice("xy") + str(int(key.split("_")[1]) // 60), rng.choice((100, 20000, 400000))
    script = sh.begin(f"cached_{key}") + (
        "if [ -e dep ]; then\n(cd dep; sha256sum --quiet -c sums)\n"
        f"test \"$(cat dep/value)\" = {value}\n{sh.note('cache', 'hit')}"
        f"else\n{sh.note('cache', 'miss')}mkdir dep || full\necho {value} >dep/value || full\n"
        f"head -c {size} /dev/urandom >dep/blob || full\n(cd dep; sha256sum value blob >sums) || full\nfi\n")
    return pipeline({"cached": Job({"script": script, "cache": {"key": ["lock"], "paths": ["dep"]}}, tasks=1)},
                    {"lock": value + "\n"})


def secret_work(sh, rng, key):
    """Printed whole, in pieces and in other words, it is *** before it is anywhere."""
    pause = rng.choice((0, 0.1, 0.4))
    says = ("echo its $TOKEN here\nprintf 'cut: '\n"
            f"printf %s \"$TOKEN\" | head -c {CUT_AT}\nsleep {pause}\n"
            f"printf %s \"$TOKEN\" | tail -c +{CUT_AT + 1}\necho\ncat $VOLT_SECRETS_DIR/TOKEN\n")
    output = b"its *** here\ncut: ***\n***\n"
    if rng.random() < 0.5:
        text = sh.begin(f"secret_{key}") + says + "printf %s \"$TOKEN\" | base64\n"
        return pipeline({"secret": Job({"script": text, "secrets": ["TOKEN"]}, output=output, tasks=1)})
    says += ("echo \"<testsuite><testcase name='$TOKEN'><failure message='$TOKEN!'/></testcase></testsuite>\" "
             ">report.xml || full\n")
    units = {f"t/{key}_{i}": Unit(sh.begin(f"{key}_{i}") + says, "failed", output, cases=["***"],
                                  bad={0: "***!"}) for i in range(rng.randint(1, 3))}
    return pipeline({"secret": Job({"tests": suite(report="junit:report.xml"), "secrets": ["TOKEN"]},
                                   "failed", units)})


def retry_work(sh, rng, key):
    """A script that is tried again: as often as it failed, and no more."""
    retry = rng.randint(1, 3)
    fails = rng.randint(1, retry + 1)
    script = sh.begin(f"again_{key}") + sh.fails_first(fails)
    return pipeline({"again": Job({"script": script, "retry": retry}, "failed" if fails > retry else "flaky",
                                  tasks=min(fails, retry) + 1)})


def graph_work(sh, rng, key):
    """Needs, a matrix, failures that are allowed, and what runs always."""
    def script(bad):
        return sh.begin(f"{key}_$VOLT_JOB") + f"sleep {rng.choice((0, 0.1, 0.3))}\n" + (
            "exit 5\n" if bad else "")

    base_bad, may_bad = rng.random() < 0.15, rng.random() < 0.5
    cell_bad = rng.choice((None, "2y", "1x"))
    cells = [a + b for a in "12" for b in "xy" if a + b != "1y"]
    m_verdicts = {c: "skipped" if base_bad else "failed" if c == cell_bad else "passed" for c in cells}
    m = {"matrix": {"A": ["1", "2"], "B": ["x", "y"], "exclude": [{"A": "1", "B": "y"}]},
         "needs": ["base"], "script": script(False) + f"echo at $A$B\ntest $A$B != {cell_bad}\n"}
    after = "passed" if set(m_verdicts.values()) == {"passed"} else "skipped"
    specs = {"base": {"script": script(base_bad)}, "m": m,
             "may": {"script": script(may_bad), "allow_failure": True},
             "after": {"needs": ["m", "may"], "script": script(False)},
             "clean": {"needs": ["after", "may"], "always": True, "script": script(False)}}
    jobs = {"base": Job(specs["base"], "failed" if base_bad else "passed"),
            "may": Job(specs["may"], "failed" if may_bad else "passed"),
            "after": Job({"needs": ["may", *(f"m/{c[0]}/{c[1]}" for c in cells)]}, after),
            "clean": Job(specs["clean"])}
    for c, verdict in m_verdicts.items():
        jobs[f"m/{c[0]}/{c[1]}"] = Job({"needs": ["base"]}, verdict, output=f"at {c}\n".encode())
    for j in jobs.values():
        j.tasks = 0 if j.verdict == "skipped" else 1
    return Work({".volt.yml": json.dumps({"jobs": specs}, indent=1)}, jobs)


def env_work(sh, rng, key):
    """What a submission gives is what its scripts and test files see."""
    env = [f"WHAT={key}", "TEXT=" + rng.choice(("", "two  words", "it's \"$HOME\"; \\n", "gr\u00fc\u00df=1"))]
    says = "printf '%s|%s\\n' \"$WHAT\" \"$TEXT\"\n"
    output = f"{key}|{env[1][5:]}\n".encode()
    units = {f"t/{key}_{i}": Unit(sh.begin(f"{key}_{i}") + says, output=output)
             for i in range(rng.randint(1, 2))}
    return pipeline({"suite": Job({"tests": suite()}, units=units),
                     "script": Job({"script": sh.begin(f"{key}_script") + says}, output=output, tasks=1)},
                    env=env)


# Kinds and how often they come, in proportion; env_work is for submissions by hand.
KINDS = {artifacts_work: 4, parts_work: 3, setup_work: 4, flaky_work: 3, junit_work: 3, group_work: 6,
         cache_work: 3, secret_work: 3, retry_work: 2, graph_work: 3}


def some_work(sh, rng, key):
    if rng.random() > PIPELINES:
        return plain_work(sh, rng, key)
    return rng.choices(list(KINDS), list(KINDS.values()))[0](sh, rng, key)
