"""What the tests of the bindings share: a backend's process, a client's connection, and callbacks that break."""
import ctypes
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import rp_handoff
from rp_handoff import CALLBACK_OK, FALLBACK, HandoffError

LIBRARY_PATH, LAYOUT_PATH = sys.argv[1:]
HERE = os.path.dirname(os.path.abspath(__file__))
ERR_TOKEN_NOT_PENDING = -25

library = rp_handoff.Library(LIBRARY_PATH)


class BackendProcess:
    def __init__(self, answer="accept"):
        self.directory = tempfile.TemporaryDirectory(prefix="rp-handoff-python-")
        self.path = os.path.join(self.directory.name, "socket")
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "backend.py"), LIBRARY_PATH, self.path,
                                         answer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "listening\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()
        assert self.process.returncode == 0
        self.directory.cleanup()


class Connection:
    """Of a client, over TCP: the end that the broker accepted, and the client's."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = socket.create_connection(listener.getsockname())
            self.accepted, _ = listener.accept()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.accepted.close()

    def served(self):
        """What the client reads until the end, once the broker has let go."""
        self.accepted.close()
        with self.client.makefile("r") as lines:
            return lines.read()


# What a Python callback may do instead of its work. Each is called as the callback is.


def raises(*_):
    raise RuntimeError("raised in a callback")


def gives_none(*_):
    return None


def gives_nothing_but_success(*_):
    return CALLBACK_OK


def gives_garbage(*_):
    return 1


def gives_text(*_):
    return "success"


def gives_a_huge_number(*_):
    return 2**40


BROKEN = (raises, gives_none, gives_garbage, gives_text, gives_a_huge_number, gives_nothing_but_success)


class Case(unittest.TestCase):
    def setUp(self):
        # Where ctypes reports what a callback raised.
        self.raised = []
        hook = sys.unraisablehook
        sys.unraisablehook = self.raised.append
        self.addCleanup(setattr, sys, "unraisablehook", hook)

    def assert_fallback(self, outcome, stage, cause, ownership):
        self.assertEqual((outcome.result, outcome.stage, outcome.cause, outcome.ownership),
                         (FALLBACK, stage, cause, ownership), outcome.detail)
        self.assertNotEqual(outcome.detail, b"")

    def assert_ended(self, broker, token):
        self.assertFalse(broker.revoke(token))
        with self.assertRaises(HandoffError) as caught:
            broker.execute(1, token, socket_path="/nowhere/socket")
        self.assertEqual(caught.exception.status, ERR_TOKEN_NOT_PENDING)

    def assert_layout(self, structs):
        """Each struct has the members of the header's."""
        with open(LAYOUT_PATH, encoding="utf-8") as file:
            layout = file.read()
        for name, struct in structs.items():
            fields = [getattr(struct, field) for field, _ in struct._fields_]
            lines = [f"rp_handoff_{name} {ctypes.sizeof(struct)}"]
            lines += [f"  {name} {field.offset} {field.size}" for (name, _), field in zip(struct._fields_, fields)]
            self.assertIn("\n".join(lines) + "\nr", layout.replace("\nRP_", "\nrp_"))


# Time as Python has it.


def now_in_python(_, out):
    out[0] = time.monotonic_ns()
    return CALLBACK_OK


def wait_in_python(_, fd, events, until_ns, ready):
    poll = select.poll()
    poll.register(fd, events)
    left_ms = None if until_ns == rp_handoff.FOREVER else max(0, until_ns - time.monotonic_ns()) / 1e6
    ready[0] = 1 if poll.poll(left_ms) else 0
    return CALLBACK_OK


def run(module):
    """The tests of that module; the status to exit with."""
    result = unittest.TextTestRunner(stream=sys.stdout).run(unittest.defaultTestLoader.loadTestsFromModule(
        sys.modules[module]))
    broken = {getattr(case, "test_case", case).id() for case, _ in result.failures + result.errors}  # subtests: once
    failed = len(broken)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return 0 if failed == 0 and result.testsRun > 0 else 1
