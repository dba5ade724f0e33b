"""Checks the models exhaustively: the session protocol, the doorbell; and that every broken variant of them is caught.

A configuration passes if the search was complete and found no error, and if just that occurred which should. A variant
passes if the property that it breaks was seen to break. Arguments: names of models, configurations or variants, to
check only these.
"""
import concurrent.futures
import os
import shutil
import subprocess
import sys
import time

from machinery import Model

MODELS = ("ledger", "doorbell")


def timed(check, subject):
    """Whether it passed, and the lines that say so."""
    started = time.monotonic()
    try:
        problems, result = check(subject)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        problems, result = [str(error)], "not searched"
    head = f"{'failed' if problems else 'passed'}: {subject}: {result}, {time.monotonic() - started:.1f} s"
    return not problems, "\n  ".join([head, *problems])


def work_of(name, wanted):
    model = Model(name)
    whole = not wanted or name in wanted
    work = [(model.check_configuration, one) for one in model.has.CONFIGURATIONS if whole or one.name in wanted]
    return work + [(model.check_variant, one) for one in model.has.VARIANTS if whole or one.switch in wanted]


def main(wanted):
    for tool in ("spin", "gcc"):
        if shutil.which(tool) is None:
            print(f"skipped: {tool} is missing")
            return 77
    work = [one for name in MODELS for one in work_of(name, wanted)]
    results = []
    with concurrent.futures.ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for passed, line in pool.map(lambda one: timed(*one), work):
            print(line, flush=True)
            results.append(passed)
    failed = results.count(False)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 0 if results and not failed else 1


sys.exit(main(sys.argv[1:]))
