"""python_peers.py LIBRARY ROUNDS SAMPLES: a connected socket passes from Python to Python, and the giver learns of it.

socket.send_fds with an answer of one byte; multiprocessing.reduction's send_handle with one over the Connection; and
ours, one blocking handoff over a session, through ctypes. By turns; prints a JSON record for each that is not ours. The
latencies of all are taken in the same way, by the giving side.
"""
import ctypes
import json
import multiprocessing
import os
import pathlib
import signal
import socket
import sys
import time
from ctypes import POINTER, byref, c_int32, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p, sizeof
from multiprocessing import reduction

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "consumers" / "python"))
import rp_handoff  # noqa: E402
from rp_handoff import FOREVER, Outcome, Sized, Token  # noqa: E402
from rp_handoff_session import EventStruct, SessionOptions  # noqa: E402

EVENT_OFFER = 3


class Submission(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("fd", c_int32),
        ("flags", c_uint32),
        ("reserved", c_uint32),
        ("metadata", POINTER(c_uint8)),
        ("metadata_length", c_size_t),
        ("early", POINTER(c_uint8)),
        ("early_length", c_size_t),
        ("prologue", POINTER(c_uint8)),
        ("prologue_length", c_size_t),
        ("timeout_ns", c_uint64),
        ("correlation_id", c_uint64),
        ("user_data", c_uint64),
        ("token", Token),
    ]


SESSION_FUNCTIONS = {
    "session_create_broker": (c_void_p, POINTER(SessionOptions), POINTER(c_void_p), POINTER(rp_handoff.Error)),
    "session_create_backend": (POINTER(SessionOptions), POINTER(c_void_p), POINTER(rp_handoff.Error)),
    "session_wait": (c_void_p, c_uint64),
    "session_next_event": (c_void_p, POINTER(EventStruct), POINTER(Outcome)),
    "session_execute": (c_void_p, POINTER(Submission), POINTER(Outcome), POINTER(rp_handoff.Error)),
}


def load(path):
    library = rp_handoff.Library(path)
    for name, arguments in SESSION_FUNCTIONS.items():
        function = getattr(library.dll, "rp_handoff_" + name)
        function.restype = c_int32
        function.argtypes = arguments
        setattr(library, name, function)
    return library


def untyped(library, name):
    """For loops: ctypes is faster with arguments of the right types already than when it has to see to them."""
    return library.dll["rp_handoff_" + name]


# ---- who takes: each in a process of its own, until it is killed -----------------------------------------------------


def take_offers(library, end):
    session, adopted, event = c_void_p(), c_int32(), EventStruct()
    out_event, out_adopted, forever = byref(event), byref(adopted), c_uint64(FOREVER)
    wait, next_event, accept, destroy = (untyped(library, name) for name in (
        "session_wait", "session_next_event", "offer_accept", "offer_destroy"))
    library.check(library.session_create_backend(SessionOptions(connection_fd=end.detach()), session, None))
    while True:
        wait(session, forever)  # which sends the last answer
        if next_event(session, out_event, None) == 1 and event.kind == EVENT_OFFER:
            offer = c_void_p(event.offer)
            library.check(accept(offer, out_adopted))
            os.close(adopted.value)
            destroy(offer)


def take_fds(end):
    while True:
        _, fds, _, _ = socket.recv_fds(end, 1, 1)
        os.close(fds[0])
        end.send(b"k")


def take_handles(connection):
    while True:
        os.close(reduction.recv_handle(connection))
        connection.send_bytes(b"k")


# ---- who gives -------------------------------------------------------------------------------------------------------


def giver_of_offers(library, broker, end, fd):
    session, outcome, submission = c_void_p(), Outcome(), Submission(fd=fd)
    given, out_outcome, execute = byref(submission), byref(outcome), untyped(library, "session_execute")
    library.check(library.session_create_broker(broker.pointer, SessionOptions(connection_fd=end.detach()), session, None))

    def give():
        library.check(execute(session, given, out_outcome, None))
        assert outcome.result == rp_handoff.COMPLETED

    return give


def giver_of_fds(end, fd):
    def give():
        socket.send_fds(end, [b"d"], [fd])
        assert end.recv(1) == b"k"

    return give


def giver_of_handles(connection, fd, pid):
    def give():
        reduction.send_handle(connection, fd, pid)
        assert connection.recv_bytes() == b"k"

    return give


def in_a_process(body, *arguments):
    pid = os.fork()
    if pid == 0:
        try:
            body(*arguments)
        finally:
            os._exit(1)
    return pid


class Side:
    def __init__(self, name, give):
        self.name, self.give = name, give
        self.p50_ns, self.p99_ns = [], []

    def round(self, samples):
        elapsed, give, now = [], self.give, time.monotonic_ns
        for _ in range(samples):
            start = now()
            give()
            elapsed.append(now() - start)
        elapsed.sort()
        self.p50_ns.append(elapsed[-(-samples * 50 // 100) - 1])
        self.p99_ns.append(elapsed[-(-samples * 99 // 100) - 1])

    def json(self):
        return {"name": self.name, "p50_ns": self.p50_ns, "p99_ns": self.p99_ns}


def tcp_connection():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return client, listener.accept()[0]


def main(path, rounds, samples):
    library = load(path)
    connection = tcp_connection()
    fd = connection[1].fileno()
    (giving, taking), (giving_fds, taking_fds) = socket.socketpair(), socket.socketpair()
    giving_handles, taking_handles = multiprocessing.Pipe()
    pids = [in_a_process(take_offers, library, taking), in_a_process(take_fds, taking_fds),
            in_a_process(take_handles, taking_handles)]
    try:
        with library.broker() as broker:
            ours, *others = sides = [
                Side("session, from Python", giver_of_offers(library, broker, giving, fd)),
                Side("Python socket.send_fds", giver_of_fds(giving_fds, fd)),
                Side("Python multiprocessing.reduction", giver_of_handles(giving_handles, fd, pids[2]))]
            for side in sides:
                side.give()
            for _ in range(rounds):
                for side in sides:
                    side.round(samples)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    for other in others:
        print(json.dumps({"row": "peers", "rounds": rounds, "samples": samples,
                          "ours": ours.json(), "reference": other.json()}))


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
