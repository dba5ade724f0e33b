"""Loads the library, uses it, unloads it, twice. Between the two nothing of it is mapped and no descriptor open.

Argument: library.
"""
import _ctypes
import os
import socket
import sys

import rp_handoff
import rp_handoff_session


def is_mapped():
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return "librp_handoff" in maps.read()


def use_session(library):
    """The same in a session."""
    ours, theirs = socket.socketpair()
    connection, client = socket.socketpair()
    with library.broker() as broker, connection, client, \
            rp_handoff_session.create_broker(broker, connection_fd=ours.detach()) as session, \
            rp_handoff_session.create_backend(library, connection_fd=theirs.detach()) as other:
        session.submit(rp_handoff_session.Submission(connection.fileno(), flags=rp_handoff_session.SUBMIT_DUPLICATE))
        outcome = None
        while outcome is None:
            for side in (session, other):
                side.process()
            for event in other.events():
                if event.kind == rp_handoff_session.EVENT_OFFER:
                    with event.offer:
                        os.close(event.offer.accept())
            for event in session.events():
                outcome = event.outcome or outcome
        assert outcome.result == rp_handoff.COMPLETED, outcome.detail


def use(library):
    """A handoff within this process: the transport's other end accepts while the broker waits."""
    def await_ack(_, awaited, result):
        with backend.next_offer() as offer:
            os.close(offer.accept())
        result.contents.status = rp_handoff.ACK_WAIT_ACCEPTED
        result.contents.observed_ns = awaited.contents.deadline_ns - 1
        return rp_handoff.CALLBACK_OK

    ours, theirs = socket.socketpair()
    connection, client = socket.socketpair()
    with library.broker() as broker, library.backend() as backend, ours, connection, client:
        backend.add_connection(theirs.detach(), rp_handoff.TRUST_CALLER)
        outcome = broker.execute(connection.fileno(), broker.issue("service"), connection_fd=ours.fileno(),
                                 trust=rp_handoff.TRUST_CALLER, await_ack=await_ack)
        assert outcome.result == rp_handoff.COMPLETED, outcome.detail


for _ in range(2):
    before = os.listdir("/proc/self/fd")
    assert not is_mapped()
    library = rp_handoff.Library(sys.argv[1])
    assert is_mapped()
    use(library)
    use_session(library)
    _ctypes.dlclose(library.dll._handle)
    assert not is_mapped()
    assert len(os.listdir("/proc/self/fd")) == len(before)
print("loaded and unloaded twice")
