"""The command-line tool does what its man page says: tool.py RP_HANDOFF VERSION"""
import re
import subprocess
import sys

TOOL, VERSION = sys.argv[1:3]


def run(*arguments):
    return subprocess.run([TOOL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          check=False)


def check(name, met):
    print(f"{'ok' if met else 'FAILED'}: {name}")
    return met


version = run("version")
platform = run("platform")
bench = run("bench", "--samples", "20")
rows = dict(re.findall(r"^(handoff|reconnect|ratio) +(\S+)", bench.stdout, re.M))
wrong = [run(*words) for words in ([], ["nothing"], ["version", "more"], ["bench", "more"], ["bench", "--samples", "9"],
                                   ["bench", "--samples", "1x"], ["bench", "--other"])]

results = [
    check("version tells the library's", version.returncode == 0 and version.stdout == f"rp_handoff {VERSION}\n"),
    check("platform tells whether descriptors pass and whether the limit holds", platform.returncode == 0
          and re.fullmatch(r"descriptor passing: (yes|no)\nexempt .*: (yes|no|unknown)\n", platform.stdout)),
    check("bench prints handoff, reconnect and their ratio", bench.returncode == 0 and len(rows) == 3
          and all(float(number) > 0 for number in rows.values())),
    check("a wrong command line is told so and ends with 2",
          all(w.returncode == 2 and w.stdout == "" and w.stderr.startswith("usage: ") for w in wrong)),
]
sys.exit(0 if all(results) else 1)
