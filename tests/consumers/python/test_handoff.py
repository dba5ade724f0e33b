"""rp_handoff from Python: handoffs between two processes, and callbacks that do what Python's do when they go wrong.

Arguments: library, layout.txt of the public structs.
"""
import array
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
from rp_handoff import CALLBACK_OK, COMPLETED, FALLBACK, OWNER_AMBIGUOUS, OWNER_BACKEND, OWNER_BROKER, HandoffError

LIBRARY_PATH, LAYOUT_PATH = sys.argv[1:]
HERE = os.path.dirname(os.path.abspath(__file__))
STAGE_SEND, STAGE_AWAIT_ACK, STAGE_ACKNOWLEDGE = 1, 2, 3
CAUSE_ACK_TIMED_OUT, CAUSE_BACKEND_REFUSED, CAUSE_ACK_OVERDUE, CAUSE_CALLBACK_FAILED = 12, 17, 18, 20
ERR_RANDOM, ERR_TIMED_OUT, ERR_TOKEN_EXPIRED, ERR_TOKEN_NOT_PENDING = -7, -9, -24, -25

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
            broker.execute(0, token, socket_path="/nowhere/socket")
        self.assertEqual(caught.exception.status, ERR_TOKEN_NOT_PENDING)


class Handoffs(Case):
    def test_a_connection_is_served_by_the_process_that_it_was_handed_to(self):
        with BackendProcess() as backend, library.broker() as broker:
            for _ in range(3):
                with Connection() as connection:
                    token = broker.issue("caf\u00e9", backend.process.pid)
                    outcome = broker.execute(connection.accepted.fileno(), token, backend.path)
                    self.assertEqual(outcome.result, COMPLETED, outcome.detail)
                    self.assertEqual(outcome.ownership, OWNER_BACKEND)
                    self.assertEqual(connection.served(), f"caf\u00e9 from {backend.process.pid}\n")
                    self.assert_ended(broker, token)

    def test_a_connection_that_is_refused_is_still_the_brokers(self):
        with BackendProcess("refuse") as backend, library.broker() as broker, Connection() as connection:
            token = broker.issue("service")
            outcome = broker.execute(connection.accepted.fileno(), token, backend.path)
            self.assert_fallback(outcome, STAGE_AWAIT_ACK, CAUSE_BACKEND_REFUSED, OWNER_BROKER)
            self.assertIn(b"not today", outcome.detail)
            connection.accepted.sendall(b"served by the broker")
            self.assertEqual(connection.served(), "served by the broker")
            self.assert_ended(broker, token)

    def test_an_errno_shows_in_the_exception(self):
        with library.backend() as backend, self.assertRaisesRegex(HandoffError, "No such file or directory"):
            backend.listen("/nowhere/socket")


class Transports(Case):
    def setUp(self):
        super().setUp()
        self.socket = None

    def send(self, _, attempt, result):
        attempt = attempt.contents
        self.socket = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.socket.close)
        self.socket.connect(attempt.socket_path)
        message = ctypes.string_at(attempt.message, attempt.message_length)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [attempt.fd]))]
        assert self.socket.sendmsg([message], rights) == len(message)
        result.contents.status = rp_handoff.TRANSPORT_SENT
        return CALLBACK_OK

    def await_ack(self, _, awaited, result):
        answer = self.socket.recv(4096)
        ack = rp_handoff.WireAck()
        consumed = ctypes.c_size_t()
        library.check(library.wire_decode_ack(answer, len(answer), rp_handoff.KIND_RESPONSE, ack, consumed))
        assert ctypes.string_at(ack.token, ack.token_length) == bytes(awaited.contents.token.contents)
        assert ack.correlation_id == awaited.contents.correlation_id
        result.contents.status = rp_handoff.AWAIT_ACCEPTED if ack.accepted else rp_handoff.AWAIT_REFUSED
        result.contents.observed_ns = time.monotonic_ns()
        return CALLBACK_OK

    def test_a_transport_and_a_waiter_in_python_hand_over(self):
        with BackendProcess() as backend, library.broker() as broker, Connection() as connection:
            outcome = broker.execute(connection.accepted.fileno(), broker.issue("service"), backend.path,
                                     transport=self.send, await_ack=self.await_ack)
            self.assertEqual(outcome.result, COMPLETED, outcome.detail)
            self.assertEqual(connection.served(), f"service from {backend.process.pid}\n")
        self.assertEqual(self.raised, [])

    def test_a_refusal_that_a_waiter_in_python_reads_is_one(self):
        with BackendProcess("refuse") as backend, library.broker() as broker, Connection() as connection:
            outcome = broker.execute(connection.accepted.fileno(), broker.issue("service"), backend.path,
                                     transport=self.send, await_ack=self.await_ack)
            self.assert_fallback(outcome, STAGE_AWAIT_ACK, CAUSE_BACKEND_REFUSED, OWNER_BROKER)

    def test_a_transport_that_breaks_is_a_fallback_and_its_token_revoked(self):
        waits = []
        for broken in BROKEN:
            with self.subTest(broken.__name__), library.broker() as broker:
                token = broker.issue("service")
                outcome = broker.execute(0, token, "/nowhere/socket", transport=broken, await_ack=waits.append)
                self.assert_fallback(outcome, STAGE_SEND, CAUSE_CALLBACK_FAILED, OWNER_AMBIGUOUS)
                self.assert_ended(broker, token)
        self.assertEqual(waits, [])
        self.assertIn(RuntimeError, [raised.exc_type for raised in self.raised])

    def test_a_transport_that_sends_and_then_raises_is_a_fallback_too(self):
        def send_and_raise(*arguments):
            self.send(*arguments)
            raises()

        with BackendProcess() as backend, library.broker() as broker, Connection() as connection:
            token = broker.issue("service")
            outcome = broker.execute(connection.accepted.fileno(), token, backend.path, transport=send_and_raise,
                                     await_ack=self.await_ack)
            self.assert_fallback(outcome, STAGE_SEND, CAUSE_CALLBACK_FAILED, OWNER_AMBIGUOUS)
            self.assert_ended(broker, token)
        self.assertEqual([raised.exc_type for raised in self.raised], [RuntimeError])

    def test_a_waiter_that_breaks_is_a_fallback_and_its_token_revoked(self):
        for broken in BROKEN:
            with self.subTest(broken.__name__), BackendProcess() as backend, library.broker() as broker, \
                    Connection() as connection:
                token = broker.issue("service")
                outcome = broker.execute(connection.accepted.fileno(), token, backend.path, await_ack=broken)
                self.assert_fallback(outcome, STAGE_AWAIT_ACK, CAUSE_CALLBACK_FAILED, OWNER_AMBIGUOUS)
                self.assert_ended(broker, token)

    def test_a_waiter_that_does_not_say_when_has_seen_it_too_late(self):
        def accepts_at_no_time(_, __, result):
            result.contents.status = rp_handoff.AWAIT_ACCEPTED
            return CALLBACK_OK

        with BackendProcess() as backend, library.broker() as broker, Connection() as connection:
            token = broker.issue("service")
            outcome = broker.execute(connection.accepted.fileno(), token, backend.path, await_ack=accepts_at_no_time)
            self.assert_fallback(outcome, STAGE_ACKNOWLEDGE, CAUSE_ACK_OVERDUE, OWNER_AMBIGUOUS)
            self.assert_ended(broker, token)


class Sources(Case):
    def now(self, _, out):
        out[0] = time.monotonic_ns()
        return CALLBACK_OK

    def wait(self, _, fd, events, until_ns, ready):
        poll = select.poll()
        poll.register(fd, events)
        ready[0] = 1 if poll.poll(max(0, until_ns - time.monotonic_ns()) / 1e6) else 0
        return CALLBACK_OK

    def test_a_clock_and_random_bytes_in_python_hand_over(self):
        def random(_, out, length):
            ctypes.memmove(out, os.urandom(length), length)
            return CALLBACK_OK

        with BackendProcess() as backend, library.broker(self.now, self.wait, random) as broker, \
                Connection() as connection:
            outcome = broker.execute(connection.accepted.fileno(), broker.issue("service"), backend.path)
            self.assertEqual(outcome.result, COMPLETED, outcome.detail)
            self.assertEqual(connection.served(), f"service from {backend.process.pid}\n")
        self.assertEqual(self.raised, [])

    def test_a_clock_that_breaks_is_at_the_end_of_time(self):
        for broken in BROKEN:
            with self.subTest(broken.__name__), library.broker(broken, self.wait) as broker:
                token = broker.issue("service")
                with self.assertRaises(HandoffError) as caught:
                    broker.execute(0, token, "/nowhere/socket")
                self.assertEqual(caught.exception.status, ERR_TOKEN_EXPIRED)
                self.assert_ended(broker, token)

    def test_a_wait_that_breaks_has_timed_out(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for broken in BROKEN:
                with self.subTest(broken.__name__), library.broker(self.now, broken) as broker, \
                        Connection() as connection:
                    token = broker.issue("service")
                    outcome = broker.execute(connection.accepted.fileno(), token, connection_fd=ours.fileno(),
                                             trust=rp_handoff.TRUST_CALLER)
                    self.assert_fallback(outcome, STAGE_AWAIT_ACK, CAUSE_ACK_TIMED_OUT, OWNER_AMBIGUOUS)
                    self.assert_ended(broker, token)

    def test_a_random_source_that_breaks_gives_no_token(self):
        for broken in BROKEN:
            with self.subTest(broken.__name__), library.broker(random=broken) as broker:
                with self.assertRaises(HandoffError) as caught:
                    broker.issue("service")
                self.assertEqual(caught.exception.status, ERR_RANDOM)

    def test_sources_of_a_backend_that_break_end_its_wait(self):
        for broken in BROKEN:
            for now, wait in ((broken, self.wait), (self.now, broken)):
                with self.subTest(f"{now.__name__} {wait.__name__}"), library.backend(now, wait) as backend:
                    with self.assertRaises(HandoffError) as caught:
                        backend.next_offer(10**18 if wait is broken else rp_handoff.FOREVER)
                    self.assertEqual(caught.exception.status, ERR_TIMED_OUT)


class Module(Case):
    def test_the_structs_of_this_module_are_those_of_the_header(self):
        names = {"token": rp_handoff.Token, "platform": rp_handoff.Platform, "broker_options": rp_handoff.BrokerOptions,
                 "backend_options": rp_handoff.BackendOptions, "outcome": rp_handoff.Outcome,
                 "attempt": rp_handoff.Attempt, "transport_result": rp_handoff.TransportResult,
                 "await": rp_handoff.Await, "await_result": rp_handoff.AwaitResult, "request": rp_handoff.Request,
                 "offer_info": rp_handoff.OfferInfo, "wire_ack": rp_handoff.WireAck}
        with open(LAYOUT_PATH, encoding="utf-8") as file:
            layout = file.read()
        for name, struct in names.items():
            fields = [getattr(struct, field) for field, _ in struct._fields_]
            lines = [f"rp_handoff_{name} {ctypes.sizeof(struct)}"]
            lines += [f"  {name} {field.offset} {field.size}" for (name, _), field in zip(struct._fields_, fields)]
            self.assertIn("\n".join(lines) + "\nr", layout.replace("\nRP_", "\nrp_"))

    def test_the_library_can_be_loaded_and_unloaded_twice(self):
        done = subprocess.run([sys.executable, os.path.join(HERE, "load_twice.py"), LIBRARY_PATH],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, "loaded and unloaded twice\n"), done.stderr)


if __name__ == "__main__":
    result = unittest.TextTestRunner(stream=sys.stdout).run(unittest.defaultTestLoader.loadTestsFromModule(
        sys.modules["__main__"]))
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    sys.exit(0 if failed == 0 and result.testsRun > 0 else 1)
