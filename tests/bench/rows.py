"""What the records of the programs amount to: rows of a table, each with ours, the reference, their ratio, the target.

A record has for each side a list of what was seen in each round; ours and the reference took turns within the rounds. A
row shows the medians of the rounds, and as its ratio the median of the rounds' ratios.
"""
from dataclasses import asdict, dataclass
from statistics import median
from typing import Optional

UNITS = {"p50_ns": ("P50", "us", 1e3), "p99_ns": ("P99", "us", 1e3), "cpu_ns": ("CPU", "us", 1e3),
         "per_second": ("rate", "k/s", 1e3)}


@dataclass
class Row:
    what: str
    against: str
    pinning: str
    measure: str
    ours: Optional[float]
    reference: Optional[float] = None
    unit: str = ""
    ratio: Optional[float] = None
    target: Optional[str] = None  # with its sign; what it is about is `ratio` if there is one, `ours` if not
    holds: Optional[bool] = None
    note: str = ""

    def as_dict(self):
        return asdict(self)


def meets(value, target):
    sign, bound = target.split()
    return value <= float(bound) if sign == "<=" else value >= float(bound) if sign == ">=" else value < float(bound)


def merge(merged, record):
    """Adds the rounds of a run to those of the runs before."""
    key = record["row"], record["ours"]["name"], record["reference"]["name"]
    known = merged.setdefault(key, record)
    if known is not record:
        known["rounds"] += record["rounds"]
        for side in ("ours", "reference"):
            for member, values in record[side].items():
                if member != "name":
                    known[side][member] += values


def compared(record, member, target=None):
    measure, unit, divisor = UNITS[member]
    ours, reference = record["ours"][member], record["reference"][member]
    ratio = median(a / b for a, b in zip(ours, reference))
    return Row(f"{record['row']}: {record['ours']['name']}", record["reference"]["name"], record["pinning"], measure,
               median(ours) / divisor, median(reference) / divisor, unit, ratio, target,
               None if target is None else meets(ratio, target))


def counted(what, value, target, unit="", note="", against="", pinning=""):
    return Row(what, against, pinning, "count", value, unit=unit, target=target,
               holds=None if target is None else meets(value, target), note=note)


def not_run(what, why):
    return Row(what, "", "", "", None, note=f"not run: {why}")


# ---- the targets: record name -> member -> target, for both pinnings or by pinning -----------------------------------

TARGETS = {
    "blocking": {"p50_ns": "<= 1.10", "p99_ns": None, "cpu_ns": "<= 1.15"},
    "pipelined": {"per_second": ">= 0.85", "cpu_ns": None},
    "batches of 16": {"per_second": ">= 0.75", "cpu_ns": None},
    "batches of 64": {"per_second": ">= 0.75", "cpu_ns": None},
    "batches of 252": {"per_second": ">= 0.75", "cpu_ns": None},
    "client over TCP": {"p50_ns": "<= 0.65", "p99_ns": "<= 0.90"},
    "client over AF_UNIX": {"p50_ns": "<= 0.80", "p99_ns": None},
    "failed handoff": {"p50_ns": "<= 1.5"},
    "peers": {"p50_ns": "< 1.00"},
    "first handoffs": {"p50_ns": None},
}


def rows_of(record):
    """The rows of one record of two sides."""
    if record["row"] == "client that waits for ready":
        pinned_handoff = record["pinning"] == "one core" and record["ours"]["name"].startswith("written")
        target = "<= 1.00" if pinned_handoff else None
        return [compared(record, "p50_ns", target), compared(record, "p99_ns", target)]
    if record["ours"]["name"] == "backend dies with the offer": # what takes most of that is the end of a process
        return [compared(record, "p50_ns")]
    return [compared(record, member, target) for member, target in TARGETS[record["row"]].items()]


def rows_of_allocations(record):
    return [counted(f"heap allocations, {record['shape']}: {side}", record[side] / record["handoffs"], "<= 0",
                    "per handoff") for side in ("broker", "backend")]


def bar(row):
    """(label, ratio, target) for the plot, as time of ours by time of the reference; None if the row has no such."""
    if row.ratio is None or row.target is None:
        return None
    rate = row.unit == "k/s"
    target = float(row.target.split()[1])
    return (f"{row.what} / {row.against}, {row.pinning}, {row.measure}",
            1 / row.ratio if rate else row.ratio, 1 / target if rate else target)


# ---- the table -------------------------------------------------------------------------------------------------------


def text_of(value):
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}" if value < 1 else f"{value:.2f}"


def table(rows):
    head = ["what", "against", "pinning", "", "ours", "reference", "", "ratio", "target", "holds"]
    lines = [[row.what, row.against, row.pinning, row.measure, text_of(row.ours), text_of(row.reference), row.unit,
              "" if row.ratio is None else f"{row.ratio:.2f}", row.target or "",
              {None: "", True: "yes", False: "NO"}[row.holds]] for row in rows]
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    shown = []
    for line, note in zip([head, ["-" * width for width in widths], *lines], ["", "", *(row.note for row in rows)]):
        cells = [cell.rjust(width) if 4 <= i <= 7 and i != 6 else cell.ljust(width)
                 for i, (cell, width) in enumerate(zip(line, widths))]
        shown.append((" | ".join(cells) + (f"  {note}" if note else "")).rstrip())
    return "\n".join(shown)


# ---- the table of the README: what has a target, in Markdown ---------------------------------------------------------


def summed_up(rows):
    """The counts of all shapes and sides in a row or two."""
    heap = [row.ours for row in rows if row.what.startswith("heap allocations")]
    calls = {}
    for row in rows:
        if row.what.startswith("system calls, ") and row.ours is not None:
            calls.setdefault(row.what[len("system calls, "):].split(":")[0], []).append(f"{row.ours:.3g}")
    held = all(row.holds is not False for row in rows if row.what.startswith(("heap", "system")))
    yield ["heap allocations per handoff, the most of all shapes and sides", "", "", "", text_of(max(heap)), "", "", "0",
           "yes" if not max(heap) else "**no**"]
    yield ["system calls per handoff, broker + backend, " + ", ".join(calls), "", "", "",
           ", ".join(" + ".join(sides) for sides in calls.values()), "", "", "1 + 1 per message of answers, each",
           "yes" if held else "**no**"]


def markdown(rows):
    def shown(value, unit):
        return "" if value is None else f"{text_of(value)} {unit}".strip()

    lines = [["what", "against", "pinning", "", "ours", "theirs", "ratio", "target", "holds"], ["---"] * 9]
    lines += [[row.what, row.against, row.pinning, "" if row.measure == "count" else row.measure,
               shown(row.ours, row.unit), shown(row.reference, row.unit),
               "" if row.ratio is None else f"{row.ratio:.2g}" if row.ratio < 0.1 else f"{row.ratio:.2f}",
               row.target.replace("<=", "≤").replace(">=", "≥"), "yes" if row.holds else "**no**"]
              for row in rows if row.target and not row.what.startswith(("heap allocations", "system calls"))]
    lines += summed_up(rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
