"""Counts the system calls of a handoff in steady state, each side by itself, with strace(1)."""
import collections
import pathlib
import re
import subprocess
import tempfile

# The caller's own, what waits until something is there, and random bytes, which come by the pool.
OTHERS = {"close", "dup", "poll", "ppoll", "epoll_wait", "epoll_pwait", "select", "pselect6", "getrandom"}
MARK = re.compile(r'write\(-1, "(broker|backend) (begins|ends)"')
CALL = re.compile(r"^(\w+)\(")


def between_marks(lines):
    """The side that this process was, and the number of calls of each name between its marks."""
    side, inside, calls = None, False, collections.Counter()
    for line in lines:
        mark = MARK.match(line)
        if mark:
            side, inside = mark[1], mark[2] == "begins"
        elif inside and CALL.match(line):
            calls[CALL.match(line)[1]] += 1
    return side, calls


def trace(program, shape):
    """{"broker": calls by name, "backend": ...} of one run of `steady`."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["strace", "-f", "-ff", "-qq", "-o", f"{folder}/trace", program, shape], check=True, timeout=120,
                       stdout=subprocess.DEVNULL)
        sides = [between_marks(path.read_text(errors="replace").splitlines())
                 for path in pathlib.Path(folder).iterdir()]
    return {side: calls for side, calls in sides if side}


def counts(program, shape, handoffs, per_message):
    """Of each side: (counted calls, those of the target, the others by name), all of them per handoff."""
    sides = trace(program, shape)
    answers = sides["backend"]["sendmsg"] + sides["backend"]["sendto"] + sides["backend"]["write"]
    target = (handoffs / per_message + answers) / handoffs
    for side, calls in sorted(sides.items(), reverse=True):
        counted = sum(n for name, n in calls.items() if name not in OTHERS)
        yield side, counted / handoffs, target, {name: n / handoffs for name, n in calls.most_common()}
