"""Rows of the in-process stores: runs the program `stores`, and the released crate's stores if there is rp-peer."""
import json
import subprocess
from statistics import median

from rows import Row, counted, meets

ROUND = "issue + register + acknowledge"
PENDING = (0, 1000, 10000, 20000, 100000, 1000000)


def seen(program, pattern, repetitions):
    """Of each benchmark that matches, by name, what its repetitions saw; they take turns."""
    command = [program, f"--benchmark_filter={pattern}", f"--benchmark_repetitions={repetitions}",
               "--benchmark_enable_random_interleaving=true", "--benchmark_format=json"]
    text = subprocess.run(command, check=True, timeout=600, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True).stdout
    found = {}
    for run in json.loads(text)["benchmarks"]:
        if run["run_type"] == "iteration":
            name = run["run_name"].split("/iterations:")[0].split("/real_time")[-1]
            found.setdefault(name, []).append(run)
    return found


def middle(runs, member):
    return median(run[member] for run in runs)


def rounds(program, repetitions):
    rows = []
    for ends, target in ("newest", "<= 500"), ("oldest", None):
        found = seen(program, f"^stores/round/{ends}/", repetitions)
        for pending in PENDING:
            runs = found[f"stores/round/{ends}/pending:{pending}"]
            wanted = target if pending == max(PENDING) else None
            rows.append(counted(f"{ROUND}, {pending} pending, the {ends} ends", middle(runs, "real_time"), wanted, "ns"))
        most = max(run["allocations_per_round"] for runs in found.values() for run in runs)
        rows.append(counted(f"heap allocations of a round, the {ends} ends", most, "<= 0", "per round"))
    return rows


def ratio_row(what, against, pairs, unit, target):
    ours, reference = zip(*pairs)
    ratio = median(a / b for a, b in pairs)
    return Row(what, against, "unpinned", "", median(ours), median(reference), unit, ratio, target, meets(ratio, target))


def crate_rows(program, rp_peer, repetitions):
    """The released stores and ours take turns."""
    pairs = []
    for _ in range(repetitions):
        command = [rp_peer, "stores", "--pending", "20000", "--iterations", "5000"]
        theirs = json.loads(subprocess.run(command, check=True, timeout=120, stdout=subprocess.PIPE, text=True).stdout)
        ours = seen(program, "^stores/round_of_core/newest/pending:20000/", 1)["stores/round_of_core/newest/pending:20000"]
        pairs.append((ours[0]["real_time"], theirs["ns_per_round"]))
    return [ratio_row(f"{ROUND}, 20000 pending, without the C API", "the released crate's stores", pairs, "ns", "<= 0.01")]


def thread_rows(program, repetitions):
    found = seen(program, "^stores/rounds_on_one_handle/", repetitions)
    rates = {threads: [run["items_per_second"] / 1e3 for run in found[f"/threads:{threads}"]] for threads in (1, 4)}
    return [ratio_row("rounds on one broker handle: four threads", "one thread", list(zip(rates[4], rates[1])), "k/s",
                      ">= 1.00")]


def longest(runs):
    """CPU time of the longest call, in ms: of the calmest repetition, since it is the code that is asked about."""
    return min(run["longest_call_cpu_us"] for run in runs) / 1e3


def expiry_rows(program, repetitions):
    found = seen(program, "^stores/(growth|sweep|issue_over_expired)/", repetitions)
    rows = []
    for pending in 10000, 100000, 1000000:
        runs = found[f"stores/sweep/pending:{pending}"]
        rows.append(counted(f"sweep of {pending} overdue, for each", 1e6 * middle(runs, "real_time") / pending, None, "ns"))
    most = str(max(PENDING))
    rows.append(counted(f"longest call: sweep of {most} overdue", longest(runs), "<= 1", "ms"))
    runs = found[f"stores/growth/pending:{most}"]
    rows.append(counted(f"longest call: issue while growing to {most}", longest(runs), "<= 1", "ms"))
    rows.append(counted(f"memory per pending handoff, {most} pending", middle(runs, "bytes_per_pending"), "<= 160", "B"))
    runs = found[f"stores/issue_over_expired/pending:{most}"]
    rows.append(counted(f"longest call: issue while {most} have expired", longest(runs), "<= 1", "ms"))
    return rows


def rows(program, repetitions, rp_peer=None):
    return (rounds(program, repetitions) + (crate_rows(program, rp_peer, repetitions) if rp_peer else []) +
            expiry_rows(program, repetitions) + thread_rows(program, repetitions))
