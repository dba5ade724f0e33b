"""A session in a loop of asyncio: what scenario.h says, in Python. Argument: library."""
import asyncio
import os
import socket
import sys

import rp_handoff
import rp_handoff_session
from rp_handoff import FOREVER, OWNER_BACKEND, OWNER_BROKER
from rp_handoff_session import EVENT_CLOSED, EVENT_OFFER, EVENT_OUTCOME, Submission

MANY, BATCH, IN_FLIGHT = 1000, 24, 64
CAUSE_ACK_TIMED_OUT, CAUSE_BACKEND_REFUSED = 12, 17
ERR_LIMIT_SESSION, ERR_REVOKED = -13, -51

# Orders, how many, the timeout of each, whose they are in the end, and why.
ACTS = [(b"serve", MANY, 0, OWNER_BACKEND, 0), (b"refuse", 1, 0, OWNER_BROKER, CAUSE_BACKEND_REFUSED),
        (b"hold", 1, 200_000_000, OWNER_BROKER, CAUSE_ACK_TIMED_OUT), (b"let go", 1, 0, OWNER_BACKEND, 0)]


class Driver:
    """Runs a session's callbacks until its end: a reader for its descriptor, and a timer for its timeout."""

    def __init__(self, session, on_event, after_events=lambda: None):
        self.session, self.on_event, self.after_events = session, on_event, after_events
        self.loop = asyncio.get_running_loop()
        self.over = self.loop.create_future()
        self.timer = None
        self.loop.add_reader(session.fileno(), self.turn)

    def turn(self):
        try:
            self.session.process()
            end = self.take_events()
            self.set_timer()
        except Exception as error:  # pylint: disable=broad-except # which the loop would only report
            self.stop()
            self.over.set_exception(error)
        else:
            if end is not None:
                self.stop()
                self.over.set_result(end)

    def take_events(self):
        """The last event, if the session is over."""
        end = None
        for event in self.session.events():
            if event.kind == EVENT_CLOSED:
                end = event
            else:
                self.on_event(event)
        self.after_events()
        return end

    def set_timer(self):
        if self.timer is not None:
            self.timer.cancel()
        left_ns = self.session.timeout_ns()
        self.timer = None if left_ns == FOREVER else self.loop.call_later(left_ns / 1e9, self.turn)

    def stop(self):
        self.loop.remove_reader(self.session.fileno())
        if self.timer is not None:
            self.timer.cancel()


def assert_in_order(end):
    assert end.status == 0, f"{end.status}: {end.text}"


def serve(fd, name):
    with socket.socket(fileno=fd) as connection:
        connection.sendall(name + b" " + connection.recv(16))
        connection.shutdown(socket.SHUT_RDWR)  # a duplicate may lie with the backend


class Backend:
    def __init__(self):
        self.held = None

    def on_event(self, event):
        if event.kind != EVENT_OFFER:
            return
        order = event.offer.info().part("metadata")
        if order == b"hold":
            self.held = event.offer
            return
        with event.offer:
            if order == b"refuse":
                event.offer.refuse("as ordered")
            else:
                serve(event.offer.accept(), b"backend")
        if order == b"let go":
            self.let_go()

    def let_go(self):
        with self.held:
            try:
                self.held.accept()
            except rp_handoff.HandoffError as error:
                assert error.status == ERR_REVOKED, error
            else:
                raise AssertionError("the broker had given up")


class Broker:
    def __init__(self, session):
        self.session = session
        self.acts = list(ACTS)
        self.submitted = self.ended = self.limited = 0
        self.clients = {}

    def on_event(self, event):
        if event.kind != EVENT_OUTCOME:
            return
        _, _, _, owner, cause = self.acts[0]
        assert (event.ownership, event.outcome.cause) == (owner, cause), event.outcome.detail
        if owner == OWNER_BROKER:
            serve(event.fd, b"broker")
        with self.clients.pop(event.user_data) as client:
            name = b"broker" if owner == OWNER_BROKER else b"backend"
            assert client.recv(32, socket.MSG_WAITALL) == name + b" %d" % event.user_data
        self.ended += 1

    def after_events(self):
        if self.acts and self.ended == self.acts[0][1]:
            self.submitted = self.ended = 0
            self.acts.pop(0)
            if not self.acts:
                assert self.limited > 0
                assert self.session.statistics().messages_sent < MANY
                self.session.finish()
        while self.acts and self.submitted < self.acts[0][1] and self.submit_batch():
            pass

    def submit_batch(self):
        """Whether more can follow at once."""
        order, count, timeout_ns, _, _ = self.acts[0]
        pairs = [socket.socketpair() for _ in range(min(BATCH, count - self.submitted))]
        for number, (client, _) in enumerate(pairs, self.submitted):
            client.sendall(b"%d" % number)
        done = self.submit([Submission(end.fileno(), metadata=order, timeout_ns=timeout_ns, user_data=number)
                            for number, (_, end) in enumerate(pairs, self.submitted)])
        for client, end in pairs[done:]:
            client.close()
            end.close()
        for number, (client, end) in enumerate(pairs[:done], self.submitted):
            self.clients[number] = client
            end.detach()
        self.submitted += done
        self.limited += done < len(pairs)
        return done == len(pairs)

    def submit(self, submissions):
        try:
            return len(self.session.submit(*submissions))
        except rp_handoff.HandoffError as error:
            assert error.status == ERR_LIMIT_SESSION, error
            return 0


async def drive_backend(library, fd):
    with rp_handoff_session.create_backend(library, connection_fd=fd, max_in_flight=IN_FLIGHT) as session:
        assert_in_order(await Driver(session, Backend().on_event).over)


async def drive_broker(library, fd):
    with library.broker() as broker, \
            rp_handoff_session.create_broker(broker, connection_fd=fd, max_in_flight=IN_FLIGHT) as session:
        state = Broker(session)
        assert_in_order(await Driver(session, state.on_event, state.after_events).over)
        assert not state.acts and not state.clients


def main():
    ours, theirs = socket.socketpair()
    child = os.fork()
    (ours if child == 0 else theirs).close()
    library = rp_handoff.Library(sys.argv[1])
    if child == 0:
        asyncio.run(drive_backend(library, theirs.detach()))
    else:
        asyncio.run(drive_broker(library, ours.detach()))
        assert os.waitpid(child, 0) == (child, 0)
        print(f"{sum(count for _, count, _, _, _ in ACTS)} handoffs")


main()
