"""Proves that the fixture reports every way in which a test case can go wrong. Argument: the program of fixture_cases.cpp.

The output is read to its end, which comes only when every process that the program started is gone.
"""
import subprocess
import sys

GOOD = ["passes", "passes, with a comma in its name", "ends a child that it started"]
BAD = {
    "leaves a descriptor open": "descriptors after",
    "closes a descriptor that is not its own": "descriptors after",
    "puts another file in a descriptor's place": "descriptors after",
    "never ends": "the watchdog",
    "crashes": "",
    "is killed": "ended by signal 9",
    "fails a check": "1 == 2",
    "fails a requirement": "1 == 2",
    "throws": "on purpose",
    "leaves a child behind": "left a child behind",
}


def run(program, *arguments):
    done = subprocess.run([program, "--timeout", "2", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60, text=True, errors="replace", check=False)
    return done.returncode, done.stdout


def last_line(output):
    return output.strip().splitlines()[-1]


def is_reported(program, name, reason):
    status, output = run(program, name)
    return status == 1 and f"FAILED: {name}\n" in output and reason in output and last_line(output) == "0 passed, 1 failed"


def checks(program):
    for name in GOOD[1:]:
        yield f"good: {name}", run(program, name) == (0, "1 passed, 0 failed\n")
    for name, reason in BAD.items():
        yield f"reported: {name}", is_reported(program, name, reason)
    status, output = run(program)
    yield "all", status == 1 and last_line(output) == f"{len(GOOD)} passed, {len(BAD)} failed"
    yield "none is not enough", run(program, "no such case")[0] == 2
    status, output = run(program, "--list")
    yield "list", status == 0 and sorted(output.splitlines()) == sorted([*GOOD, *BAD])


def main(program):
    results = list(checks(program))
    for name, good in results:
        if not good:
            print(f"FAILED: {name}")
    failed = sum(not good for _, good in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main(sys.argv[1]))
