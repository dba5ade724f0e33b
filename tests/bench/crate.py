"""The released crate hands connections over, by turns with ours on the same v1 wire and to the same backend, its own.

Each handoff is of a broker process of its own, dials, and is timed by that process, from before the dial to the
verdict: the crate's program has no other way, and ours does the same here. So these are first handoffs of a process, cold
ones. A session does not dial, and is warm.
"""
import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "interop"))
from harness import PATIENCE, is_listening  # noqa: E402


def percentile(values, percent):
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def run_one(program, path, member, target):
    """The microseconds of one handoff, completed and served."""
    port = target.getsockname()[1]
    command = [program, "send", "--socket", path, "--target", f"127.0.0.1:{port}"]
    output = subprocess.run(command, check=True, timeout=30, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            text=True).stdout
    with target.accept()[0] as client:
        client.sendall(b"?")
        client.recv(64)
    report = json.loads(output.splitlines()[-1])
    if report["outcome"] != "completed":
        raise RuntimeError(f"{program}: {report}")
    return report[member]


@contextlib.contextmanager
def backend(program, path, count):
    process = subprocess.Popen([program, "backend", "--listen", path, "--count", str(count)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + PATIENCE
        while not is_listening(path):
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{program} does not listen")
            time.sleep(0.002)
        yield
    finally:
        process.kill()
        process.wait()


def compare(ours, crate, rounds, samples):
    """Two sides: ours, and the crate's."""
    programs = {"v1 wire, one process each": (ours, "call_micros"), "running-process": (crate, "micros")}
    sides = {name: {"name": name, "p50_ns": [], "p99_ns": []} for name in programs}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        target = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        path = f"{folder}/offers"
        stack.enter_context(backend(crate, path, 2 * rounds * samples))
        for _ in range(rounds):
            micros = {name: [] for name in programs}
            for _ in range(samples):
                for name, (program, member) in programs.items():
                    micros[name].append(run_one(program, path, member, target))
            for name, values in micros.items():
                sides[name]["p50_ns"].append(percentile(values, 50) * 1000)
                sides[name]["p99_ns"].append(percentile(values, 99) * 1000)
    return sides.values()
