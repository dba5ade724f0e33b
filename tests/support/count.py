"""Adds up a Meson test log: one line "N passed, N failed, N skipped", after the names of what failed or was skipped.

A program that ends with a line "N passed, N failed" counts with its own cases, any other as one. It has failed, whatever
it says, if a sanitizer or valgrind reported anything: also of a child that was killed, or whose status nobody looked at.
"""
import json
import re
import sys

OWN_LINE = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")
REPORT = re.compile(r"^==\d+==|^WARNING: ThreadSanitizer|: runtime error: ", re.MULTILINE)


def own_counts(output):
    lines = output.strip().splitlines()
    match = OWN_LINE.match(lines[-1]) if lines else None
    return [int(n or 0) for n in match.groups()] if match else None


def counts_of(test):
    if test["result"] == "SKIP":
        return [0, 0, 1]
    own = own_counts(test.get("stdout", ""))
    reported = REPORT.search(test.get("stdout", "") + "\n" + test.get("stderr", ""))
    good = test["result"] in ("OK", "EXPECTEDFAIL") and not reported
    if own and good == (own[1] == 0):
        return own
    return [1, 0, 0] if good else [0, 1, 0]


def main(path):
    total = [0, 0, 0]
    with open(path, encoding="utf-8") as log:
        for line in log:
            test = json.loads(line)
            counts = counts_of(test)
            total = [a + b for a, b in zip(total, counts)]
            if counts[1]:
                print(f"FAILED: {test['name']} ({test['result']})")
                print(test.get("stdout", "")[-4000:])
                print(test.get("stderr", "")[-4000:])
            if counts[2]:
                print(f"skipped: {test['name']}")
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")


main(sys.argv[1])
