#! /usr/bin/env python3
"""Holds WEAKNESSES.md against the tests: a row for each of the 34, and every name where it is said to be.

usage: check_weaknesses.py WEAKNESSES.md ROOT
"""

import os
import re
import sys

NAMES = r'`(tests/[^`]+)` ((?:"[^"]+"(?:, )?)+)'


def names_in(path):
    """All of a file's text, with string literals in several pieces put together."""
    with open(path, encoding="utf-8") as file:
        return re.sub(r'"\s*\n\s*"', "", file.read()).replace('\\"', '"')


def problems(table, root):
    rows = re.findall(r"^\| (W\d\d) \|.*\| ([^|]+) \|$", table, re.MULTILINE)
    if [number for number, _ in rows] != [f"W{i:02}" for i in range(1, 35)]:
        yield "not the rows W01 to W34, in this order: " + ", ".join(number for number, _ in rows)
    for number, proof in rows:
        cited = re.findall(NAMES, proof)
        if not cited:
            yield f"{number}: no proof"
        for path, names in cited:
            text = names_in(os.path.join(root, path)) if os.path.exists(os.path.join(root, path)) else ""
            for name in re.findall('"([^"]+)"', names):
                if f'"{name}"' not in text:
                    yield f"{number}: {path} has no {name!r}"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        found = list(problems(file.read(), sys.argv[2]))
    print("\n".join(found))
    sys.exit(1 if found else 0)


main()
