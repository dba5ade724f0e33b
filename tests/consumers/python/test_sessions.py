"""Sessions from Python: handoffs between two processes, a loop of selectors, and clocks and waits that break.

Arguments: library, layout.txt of the public structs.
"""
import os
import selectors
import socket
import subprocess
import sys

import rp_handoff_session
from cases import BROKEN, HERE, LIBRARY_PATH, Case, Connection, gives_nothing_but_success, library, now_in_python, \
    raises, run, wait_in_python
from rp_handoff import COMPLETED, FOREVER, OWNER_BACKEND, OWNER_BROKER, HandoffError
from rp_handoff_session import EVENT_CLOSED, EVENT_OPENED, EVENT_OUTCOME, SUBMIT_DUPLICATE, Submission

STAGE_SEND, STAGE_AWAIT_ACK = 1, 2
CAUSE_ACK_TIMED_OUT, CAUSE_BACKEND_REFUSED, CAUSE_CANCELLED = 12, 17, 27
ERR_TIMED_OUT, ERR_CLOSED, ERR_LIMIT_SESSION = -9, -10, -13
SOON_NS = 200_000_000


class SessionProcess:
    """A session of this process's broker with a backend in a process of its own."""

    def __init__(self, broker, **options):
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "session_backend.py"), LIBRARY_PATH,
                                             str(theirs.fileno())], pass_fds=[theirs.fileno()])
        self.session = rp_handoff_session.create_broker(broker, connection_fd=ours.detach(), **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session.close()
        assert self.process.wait() == 0


def outcomes(session, count):
    """So many of them, in a loop as a caller may have it."""
    found = []
    with selectors.DefaultSelector() as selector:
        selector.register(session, selectors.EVENT_READ)
        while len(found) < count:
            left_ns = session.timeout_ns()
            selector.select(None if left_ns == FOREVER else left_ns / 1e9)
            session.process()
            found += [event for event in session.events() if event.kind == EVENT_OUTCOME]
    return found


class Sessions(Case):
    def test_a_connection_is_served_by_the_process_at_the_other_end_of_the_session(self):
        with library.broker() as broker, SessionProcess(broker, service_name="caf\u00e9") as backend:
            for name in ("first", "second"):
                with Connection() as connection:
                    outcome = backend.session.execute(connection.accepted.fileno(), metadata=b"serve",
                                                      early=name.encode())
                    self.assertEqual((outcome.result, outcome.ownership), (COMPLETED, OWNER_BACKEND), outcome.detail)
                    self.assertEqual(connection.served(), f"serve {name} by {backend.process.pid}\n")
            peer = backend.session.peer()
            self.assertEqual((peer.pid, peer.uid), (backend.process.pid, os.getuid()))

    def test_a_prologue_is_the_first_that_the_client_reads(self):
        with library.broker() as broker, SessionProcess(broker) as backend, Connection() as connection:
            outcome = backend.session.execute(connection.accepted.fileno(), metadata=b"serve", prologue=b"welcome\0\n")
            self.assertEqual(outcome.result, COMPLETED, outcome.detail)
            self.assertEqual(connection.served(), f"welcome\0\nserve  by {backend.process.pid}\n")

    def test_many_that_are_submitted_at_once_have_an_outcome_each(self):
        with library.broker() as broker, SessionProcess(broker) as backend:
            connections = [Connection() for _ in range(40)]
            ids = backend.session.submit(*(Submission(connection.accepted.detach(), metadata=b"serve", user_data=number)
                                           for number, connection in enumerate(connections)))
            found = outcomes(backend.session, len(connections))
            self.assertEqual(sorted(event.id for event in found), sorted(ids))
            for event in found:
                self.assertEqual((event.ownership, event.fd), (OWNER_BACKEND, -1), event.outcome.detail)
                with connections[event.user_data] as connection:
                    self.assertEqual(connection.served(), f"serve  by {backend.process.pid}\n")
            self.assertLess(backend.session.statistics().messages_sent, len(connections))

    def test_a_refused_connection_comes_back_with_its_descriptor(self):
        with library.broker() as broker, SessionProcess(broker) as backend, Connection() as connection:
            backend.session.submit(Submission(connection.accepted.detach(), metadata=b"refuse"))
            event, = outcomes(backend.session, 1)
            self.assert_fallback(event.outcome, STAGE_AWAIT_ACK, CAUSE_BACKEND_REFUSED, OWNER_BROKER)
            self.assertIn(b"not today", event.outcome.detail)
            with socket.socket(fileno=event.fd) as connection.accepted:
                connection.accepted.sendall(b"served by the broker")
                self.assertEqual(connection.served(), "served by the broker")

    def test_a_handoff_that_is_not_answered_comes_back_at_its_deadline(self):
        with library.broker() as broker, SessionProcess(broker) as backend, Connection() as connection:
            self.assertTrue(backend.session.wait())  # open: the deadline is not for that
            backend.session.submit(Submission(connection.accepted.fileno(), metadata=b"hold", timeout_ns=SOON_NS,
                                              flags=SUBMIT_DUPLICATE))
            event, = outcomes(backend.session, 1)
            self.assert_fallback(event.outcome, STAGE_AWAIT_ACK, CAUSE_ACK_TIMED_OUT, OWNER_BROKER)
            self.assertEqual(event.fd, -1)
            connection.accepted.sendall(b"served by the broker")
            connection.accepted.shutdown(socket.SHUT_RDWR)  # the backend still has its duplicate
            self.assertEqual(connection.served(), "served by the broker")

    def test_a_submit_beyond_the_bound_says_which(self):
        with library.broker() as broker, SessionProcess(broker, max_in_flight=2) as backend, Connection() as connection:
            fd = connection.accepted.fileno()
            ids = backend.session.submit(*[Submission(fd, metadata=b"hold", flags=SUBMIT_DUPLICATE)] * 3)
            self.assertEqual(len(ids), 2)
            with self.assertRaises(HandoffError) as caught:
                backend.session.submit(Submission(fd, flags=SUBMIT_DUPLICATE))
            self.assertEqual(caught.exception.status, ERR_LIMIT_SESSION)
            self.assertTrue(backend.session.cancel(ids[0]))
            event, = outcomes(backend.session, 1)
            self.assertEqual((event.id, event.outcome.cause), (ids[0], CAUSE_CANCELLED))

    def test_a_session_ends_in_order(self):
        with library.broker() as broker, SessionProcess(broker) as backend, Connection() as connection:
            backend.session.submit(Submission(connection.accepted.detach(), metadata=b"serve"))
            backend.session.finish()
            with self.assertRaises(HandoffError) as caught:
                backend.session.submit(Submission(1, flags=SUBMIT_DUPLICATE))
            self.assertEqual(caught.exception.status, ERR_CLOSED)
            events = []
            while backend.session.wait():
                events += backend.session.events()
            self.assertEqual([event.kind for event in events], [EVENT_OPENED, EVENT_OUTCOME, EVENT_CLOSED])
            self.assertEqual((events[1].ownership, events[2].status, events[2].text), (OWNER_BACKEND, 0, ""))
            self.assertEqual(connection.served(), f"serve  by {backend.process.pid}\n")

    def test_a_session_that_never_opened_says_why_in_a_sentence(self):
        ours, theirs = socket.socketpair()
        with theirs, rp_handoff_session.create_backend(library, connection_fd=ours.detach()) as session:
            theirs.sendall(b"GET / HTTP/1.1\r\n\r\n" * 8)
            theirs.close()
            while session.wait():
                *_, last = session.events()
            self.assertEqual(last.kind, EVENT_CLOSED)
            self.assertLess(last.status, 0)
            self.assertRegex(last.text, "[a-z]+ [a-z]+")

    def test_a_wait_that_was_stopped_is_an_error(self):
        with library.broker() as broker, SessionProcess(broker) as backend:
            backend.session.stop()
            with self.assertRaises(HandoffError) as caught:
                while True:
                    backend.session.wait()
            self.assertEqual(caught.exception.status, ERR_CLOSED)

    def test_a_call_of_the_brokers_on_a_backends_session_is_one_on_another_handle(self):
        ours, theirs = socket.socketpair()
        with theirs, rp_handoff_session.create_backend(library, connection_fd=ours.detach()) as session:
            with self.assertRaisesRegex(HandoffError, "session is a backend"):
                session.submit(Submission(1, flags=SUBMIT_DUPLICATE))


class Sources(Case):
    """Whatever a clock or a wait does, nothing hangs, and nobody but one process has the connection."""

    def hand_over(self, broker):
        """Who served, by the outcome and by what the client read; None if nothing was submitted."""
        with SessionProcess(broker) as backend, Connection() as connection:
            try:
                outcome = backend.session.execute(connection.accepted.fileno(), metadata=b"serve")
            except HandoffError:
                return None
            if outcome.ownership == OWNER_BROKER:
                connection.accepted.sendall(b"broker")
            served = connection.served()
            self.assertEqual(served, "broker" if outcome.ownership == OWNER_BROKER else
                             f"serve  by {backend.process.pid}\n")
            return outcome

    def test_a_clock_and_a_wait_in_python_hand_over(self):
        with library.broker(now_in_python, wait_in_python) as broker:
            self.assertEqual(self.hand_over(broker).ownership, OWNER_BACKEND)
        self.assertEqual(self.raised, [])

    def test_a_clock_that_breaks_is_at_the_end_of_time(self):
        for broken in BROKEN:
            with self.subTest(broken.__name__), library.broker(broken, wait_in_python) as broker:
                outcome = self.hand_over(broker)
                if outcome is not None:
                    self.assertEqual((outcome.stage, outcome.ownership), (STAGE_SEND, OWNER_BROKER))

    def test_a_wait_that_breaks_has_timed_out(self):
        for broken in BROKEN:
            with self.subTest(broken.__name__), library.broker(now_in_python, broken) as broker:
                outcome = self.hand_over(broker)
                self.assertEqual((outcome.stage, outcome.ownership), (STAGE_SEND, OWNER_BROKER))

    def test_a_clock_or_a_wait_that_breaks_halfway_settles_the_handoff(self):
        def breaks_after(works, calls, broken):
            def source(*arguments):
                nonlocal calls
                calls -= 1
                return works(*arguments) if calls >= 0 else broken(*arguments)

            return source

        for broken in (raises, gives_nothing_but_success):
            for calls in range(10):
                for now, wait in ((breaks_after(now_in_python, calls, broken), wait_in_python),
                                  (now_in_python, breaks_after(wait_in_python, calls, broken))):
                    with self.subTest(f"{broken.__name__} after {calls}"), library.broker(now, wait) as broker:
                        self.hand_over(broker)

    def test_sources_of_a_backend_that_break_end_its_wait(self):
        for broken in BROKEN:
            for now, wait in ((broken, wait_in_python), (now_in_python, broken)):
                ours, theirs = socket.socketpair()
                with self.subTest(f"{broken.__name__}"), theirs, \
                        rp_handoff_session.create_backend(library, now, wait, connection_fd=ours.detach()) as session:
                    while session.wait():
                        events = list(session.events())
                    self.assertEqual([(event.kind, event.status) for event in events], [(EVENT_CLOSED, ERR_TIMED_OUT)])


class Module(Case):
    def test_the_structs_of_this_module_are_those_of_the_header(self):
        self.assert_layout({
            "session_options": rp_handoff_session.SessionOptions, "event": rp_handoff_session.EventStruct,
            "submission": rp_handoff_session.Submission, "session_peer": rp_handoff_session.SessionPeer,
            "session_statistics": rp_handoff_session.SessionStatistics})


if __name__ == "__main__":
    sys.exit(run(__name__))
