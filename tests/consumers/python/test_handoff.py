"""rp_handoff from Python: handoffs between two processes, and callbacks that do what Python's do when they go wrong.

Arguments: library, layout.txt of the public structs.
"""
import array
import ctypes
import os
import socket
import subprocess
import sys
import time

import rp_handoff
from cases import BROKEN, HERE, LIBRARY_PATH, BackendProcess, Case, Connection, library, now_in_python, raises, run, \
    wait_in_python
from rp_handoff import CALLBACK_OK, COMPLETED, OWNER_AMBIGUOUS, OWNER_BACKEND, OWNER_BROKER, HandoffError

STAGE_SEND, STAGE_AWAIT_ACK, STAGE_ACKNOWLEDGE = 1, 2, 3
CAUSE_ACK_TIMED_OUT, CAUSE_BACKEND_REFUSED, CAUSE_ACK_OVERDUE, CAUSE_CALLBACK_FAILED = 12, 17, 18, 20
ERR_RANDOM, ERR_TIMED_OUT, ERR_TOKEN_EXPIRED = -7, -9, -24


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
        result.contents.status = rp_handoff.ACK_WAIT_ACCEPTED if ack.accepted else rp_handoff.ACK_WAIT_REFUSED
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
                outcome = broker.execute(1, token, "/nowhere/socket", transport=broken, await_ack=waits.append)
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
            result.contents.status = rp_handoff.ACK_WAIT_ACCEPTED
            return CALLBACK_OK

        with BackendProcess() as backend, library.broker() as broker, Connection() as connection:
            token = broker.issue("service")
            outcome = broker.execute(connection.accepted.fileno(), token, backend.path, await_ack=accepts_at_no_time)
            self.assert_fallback(outcome, STAGE_ACKNOWLEDGE, CAUSE_ACK_OVERDUE, OWNER_AMBIGUOUS)
            self.assert_ended(broker, token)


class Sources(Case):
    def test_a_clock_and_random_bytes_in_python_hand_over(self):
        def random(_, out, length):
            ctypes.memmove(out, os.urandom(length), length)
            return CALLBACK_OK

        with BackendProcess() as backend, library.broker(now_in_python, wait_in_python, random) as broker, \
                Connection() as connection:
            outcome = broker.execute(connection.accepted.fileno(), broker.issue("service"), backend.path)
            self.assertEqual(outcome.result, COMPLETED, outcome.detail)
            self.assertEqual(connection.served(), f"service from {backend.process.pid}\n")
        self.assertEqual(self.raised, [])

    def test_a_clock_that_breaks_is_at_the_end_of_time(self):
        for broken in BROKEN:
            with self.subTest(broken.__name__), library.broker(broken, wait_in_python) as broker:
                token = broker.issue("service")
                with self.assertRaises(HandoffError) as caught:
                    broker.execute(1, token, "/nowhere/socket")
                self.assertEqual(caught.exception.status, ERR_TOKEN_EXPIRED)
                self.assert_ended(broker, token)

    def test_a_wait_that_breaks_has_timed_out(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for broken in BROKEN:
                with self.subTest(broken.__name__), library.broker(now_in_python, broken) as broker, \
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
            for now, wait in ((broken, wait_in_python), (now_in_python, broken)):
                with self.subTest(f"{now.__name__} {wait.__name__}"), library.backend(now, wait) as backend:
                    with self.assertRaises(HandoffError) as caught:
                        backend.next_offer(10**18 if wait is broken else rp_handoff.FOREVER)
                    self.assertEqual(caught.exception.status, ERR_TIMED_OUT)


class Module(Case):
    def test_the_structs_of_this_module_are_those_of_the_header(self):
        self.assert_layout({
            "token": rp_handoff.Token, "platform": rp_handoff.Platform, "broker_options": rp_handoff.BrokerOptions,
            "backend_options": rp_handoff.BackendOptions, "outcome": rp_handoff.Outcome, "attempt": rp_handoff.Attempt,
            "transport_result": rp_handoff.TransportResult, "ack_wait": rp_handoff.AckWait,
            "ack_wait_result": rp_handoff.AckWaitResult, "request": rp_handoff.Request,
            "offer_info": rp_handoff.OfferInfo, "wire_ack": rp_handoff.WireAck})

    def test_the_library_can_be_loaded_and_unloaded_twice(self):
        done = subprocess.run([sys.executable, os.path.join(HERE, "load_twice.py"), LIBRARY_PATH],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, "loaded and unloaded twice\n"), done.stderr)


if __name__ == "__main__":
    sys.exit(run(__name__))
