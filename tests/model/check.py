"""Checks the model of the session protocol exhaustively, and that every broken variant of it is caught.

A configuration passes if the search was complete and found no error, and if just that occurred which should. A variant
passes if the property that it breaks was seen to break. Arguments: names of configurations or variants, to check only
these.
"""
import concurrent.futures
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULTS = dict(SESSIONS=1, SLOTS=1, CONNECTIONS=2, WORKERS=1, STREAM=1, ANSWERS=2, REUSE_AT_VERDICT=0, PARTIAL_SENDS=0,
                FAILED_SENDS=0, CARELESS_ANSWERS=0, CLOSES=0, FORKS=0, BACKEND_DIES=0, BACKEND_STOPS=0, BROKER_DIES=0,
                BROKER_STOPS=0, HOSTILE=0, FAIRNESS=0)
# Without partial order reduction, which is not sound where a process can be stopped from outside. More than -O1 takes
# longer to compile and does not search faster.
COMPILE = ("gcc", "-O1", "-w", "-DNOREDUCE", "-DMEMLIM=3000", "-o", "pan", "pan.c")
DEPTH = 10_000
TIMEOUT_S = 500

USUAL = {"completed", "completed without an answer", "refused", "revoked", "not sent", "revoked before the swap"}
RECYCLED = {"recycled before the look", "recycled before the swap"}
ORPHAN = {"adopted from a dead broker"}
FAILOVER = {"completed after failover"}
FOREIGN = {"a value that is none of ours"}


@dataclasses.dataclass
class Configuration:
    name: str
    occurs: set
    options: dict

    def __str__(self):
        return self.name


@dataclasses.dataclass
class Variant:
    switch: str
    configuration: str
    breaks: str  # the one property that is checked

    def __str__(self):
        return f"broken: {self.switch}, {self.configuration}"


ALL_MISFORTUNES = dict(BACKEND_DIES=1, BACKEND_STOPS=1, BROKER_DIES=1, BROKER_STOPS=1)
CONFIGURATIONS = [
    Configuration("every handoff ends", None, dict(HOSTILE=2, ANSWERS=1, FAIRNESS=1)),
    Configuration("more handoffs than slots", USUAL, dict(CONNECTIONS=3, ANSWERS=3, STREAM=2)),
    Configuration("two slots", USUAL, dict(CONNECTIONS=3, ANSWERS=3, STREAM=2, SLOTS=2)),
    Configuration("reuse under a stale offer", USUAL | RECYCLED,
                  dict(CONNECTIONS=3, ANSWERS=3, STREAM=2, REUSE_AT_VERDICT=1)),
    Configuration("two threads", USUAL | RECYCLED, dict(WORKERS=2, STREAM=2, SLOTS=2, REUSE_AT_VERDICT=1)),
    Configuration("answers early, twice, never", USUAL | RECYCLED, dict(CONNECTIONS=3, ANSWERS=6, CARELESS_ANSWERS=1)),
    Configuration("partial and failed sends", USUAL | RECYCLED,
                  dict(STREAM=2, PARTIAL_SENDS=1, FAILED_SENDS=1, REUSE_AT_VERDICT=1)),
    Configuration("deaths and stops", USUAL | RECYCLED | ORPHAN,
                  dict(PARTIAL_SENDS=1, FAILED_SENDS=1, REUSE_AT_VERDICT=1, **ALL_MISFORTUNES)),
    Configuration("closes", USUAL | RECYCLED, dict(CLOSES=1, PARTIAL_SENDS=1, REUSE_AT_VERDICT=1)),
    Configuration("fork of the broker", USUAL | ORPHAN, dict(FORKS=1, BROKER_DIES=1, BACKEND_DIES=1)),
    Configuration("fork of the backend", USUAL | ORPHAN, dict(FORKS=2, BROKER_DIES=1, BACKEND_DIES=1)),
    Configuration("failover", USUAL | FAILOVER, dict(SESSIONS=2)),
    Configuration("failover from the dead", USUAL | FAILOVER | ORPHAN,
                  dict(SESSIONS=2, CONNECTIONS=1, BROKER_DIES=1, BACKEND_DIES=1)),
    Configuration("failover from the stopped", USUAL | FAILOVER,
                  dict(SESSIONS=2, CONNECTIONS=1, BROKER_STOPS=1, BACKEND_STOPS=1)),
    Configuration("hostile backend", USUAL - {"revoked before the swap"} | FOREIGN, dict(HOSTILE=2, ANSWERS=1)),
    Configuration("hostile page of an honest backend", USUAL | RECYCLED | FOREIGN, dict(HOSTILE=1, CONNECTIONS=1)),
    Configuration("hostile backend beside an honest one", USUAL | FAILOVER | FOREIGN,
                  dict(HOSTILE=2, SESSIONS=2, CONNECTIONS=1, ANSWERS=1)),
]

VARIANTS = [
    Variant("NO_SWAP", "more handoffs than slots", "ONE_OWNER"),
    Variant("NO_SWAP", "failover", "NO_ADOPTION_AFTERWARDS"),
    Variant("TICKET_FROM_SLOT", "reuse under a stale offer", "ONE_OWNER"),
    Variant("TICKET_FROM_SLOT", "answers early, twice, never", "NO_ADOPTION_AFTERWARDS"),
    Variant("NO_TICKET", "reuse under a stale offer", "ONE_OWNER"),
    Variant("NO_TICKET", "answers early, twice, never", "NO_ADOPTION_AFTERWARDS"),
    Variant("FAILED_SEND", "partial and failed sends", "ONE_OWNER"),
    Variant("UNSENT_STAYS_PENDING", "more handoffs than slots", "NOTHING_STAYS_PENDING"),
    Variant("DEAD_IS_BROKER", "deaths and stops", "VERDICT_IS_A_FACT"),
    Variant("DEAD_IS_BROKER", "failover from the dead", "ONE_OWNER"),
    Variant("CLOSE_WITHOUT_SWAP", "closes", "ONE_OWNER"),
    Variant("ACK_IS_PROOF", "answers early, twice, never", "VERDICT_IS_A_FACT"),
    Variant("TOUCHES_FIRST", "more handoffs than slots", "ONE_OWNER"),
    Variant("REFUSES_FIRST", "more handoffs than slots", "REFUSED_IS_CLOSED"),
    Variant("MISMATCH_IS_VIOLATION", "reuse under a stale offer", "HONEST_IS_NOT_BLAMED"),
    Variant("CHILD_SWAPS", "fork of the broker", "VERDICT_IS_A_FACT"),
    Variant("CHILD_SWAPS", "fork of the backend", "REFUSED_IS_CLOSED"),
    Variant("READS_AGAIN", "hostile backend", "VERDICT_IS_FINAL"),
    Variant("LOST_UNANSWERED", "more handoffs than slots", "ALL_ARE_ANSWERED"),
    Variant("NO_DEADLINE", "deaths and stops", "HAS_AN_OUTCOME"),
    Variant("NO_DEADLINE", "every handoff ends", "HAS_AN_OUTCOME"),
]


def markers():
    """All that can occur."""
    found = set()
    for name in ("broker.pml", "backend.pml"):
        with open(os.path.join(HERE, name), encoding="utf-8") as file:
            found |= set(re.findall(r'occurs\("(.*)\\n"\)', file.read()))
    return found


def search(configuration, *defines, compile_with=()):
    """What pan, the program that spin makes of the model, says."""
    options = DEFAULTS | configuration.options
    assert options.keys() == DEFAULTS.keys()
    parameters = [f"-D{name}={value}" for name, value in options.items()]
    steps = [("spin", *parameters, *defines, "-a", os.path.join(HERE, "session.pml"))]
    if options["FAIRNESS"]:
        steps += [(*COMPILE, *compile_with), ("./pan", f"-m{DEPTH}", "-a", "-f")]
    else:
        steps += [(*COMPILE, *compile_with, "-DSAFETY"), ("./pan", f"-m{DEPTH}", "-E")]
    with tempfile.TemporaryDirectory() as directory:
        for step in steps:
            done = subprocess.run(step, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT_S)
            output = done.stdout + done.stderr
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(step)}\n{output}")
        return output


INCOMPLETE = re.compile(r"search not completed|too small|truncated|out of memory|memlim|vectorsz|aborting"
                        r"|bit statespace|hash.compact|interrupted|warning", re.I)


def problems_of_search(configuration, output):
    problems = [f"said {text!r}" for text in INCOMPLETE.findall(output)]
    if "Full statespace search for:" not in output:
        problems.append("not a search of the full state space")
    if not re.search(r"assertion violations\s+\+", output):
        problems.append("assertions were not checked")
    if not re.search(r"^State-vector .* errors: 0$", output, re.M):
        problems.append("errors: " + " ".join(re.findall(r"^pan:\d+: .*", output, re.M)))
    if configuration.occurs is None:
        if not re.search(r"acceptance\s+cycles\s+\+ \(fairness enabled\)", output):
            problems.append("cycles were not looked for under fairness")
        return problems
    if not re.search(r"^unreached in proctype Audit\n\t\(0 of \d+ states\)", output, re.M):
        problems.append("the audit was not reached")
    occurred = markers() - set(re.findall(r"printf\('(.*)\\n'\)", output))
    problems += [f"did not occur: {name}" for name in sorted(configuration.occurs - occurred)]
    problems += [f"should not occur: {name}" for name in sorted(occurred - configuration.occurs)]
    return problems


def check_configuration(configuration):
    output = search(configuration, "-DONLY=0")
    states = re.search(r"^ *(\S+) states, stored", output, re.M)
    problems = problems_of_search(configuration, output)
    return problems, f"{int(float(states.group(1)))} states" if states else "no states"


def check_variant(variant):
    """Compiled in a hurry, for an error is soon found."""
    configuration = next(one for one in CONFIGURATIONS if one.name == variant.configuration)
    output = search(configuration, f"-DBROKEN_{variant.switch}", f"-DONLY={variant.breaks}", compile_with=["-O0"])
    error = "acceptance cycle" if configuration.options.get("FAIRNESS") else "assertion violated .*"
    caught = re.search(rf"^pan:1: {error} \(at depth \d+\)$", output, re.M) and re.search("errors: 1$", output, re.M)
    return [] if caught else [f"not caught:\n{output}"], f"breaks {variant.breaks}"


def timed(check, subject):
    """Whether it passed, and the lines that say so."""
    started = time.monotonic()
    try:
        problems, result = check(subject)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        problems, result = [str(error)], "not searched"
    head = f"{'failed' if problems else 'passed'}: {subject}: {result}, {time.monotonic() - started:.1f} s"
    return not problems, "\n  ".join([head, *problems])


def main(names):
    for tool in ("spin", "gcc"):
        if shutil.which(tool) is None:
            print(f"skipped: {tool} is missing")
            return 77
    work = [(check_configuration, one) for one in CONFIGURATIONS if not names or one.name in names]
    work += [(check_variant, one) for one in VARIANTS if not names or one.switch in names]
    results = []
    with concurrent.futures.ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for passed, line in pool.map(lambda one: timed(*one), work):
            print(line, flush=True)
            results.append(passed)
    failed = results.count(False)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 0 if results and not failed else 1


sys.exit(main(sys.argv[1:]))
