"""Sessions of rp_handoff for Python: many handoffs over one lasting connection, in any event loop.

    broker = library.broker()
    with rp_handoff_session.create_broker(broker, socket_path="/run/user/1000/service/socket") as session:
        outcome = session.execute(connection.fileno(), metadata=b"from 192.0.2.1")

    with rp_handoff_session.create_backend(library, connection_fd=control.detach()) as session:
        while session.wait():
            for event in session.events():
                if event.kind == rp_handoff_session.EVENT_OFFER:
                    with event.offer:
                        connection = socket.socket(fileno=event.offer.accept())

In an event loop: watch fileno() for input; when it is readable, and when timeout_ns() has passed, call process() and go
through all of events().
"""
import collections
import ctypes
import os
from ctypes import POINTER, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

import rp_handoff
from rp_handoff import FOREVER, NOW, WAIT, Error, Offer, Outcome, Sized, Token

EVENT_OPENED, EVENT_OUTCOME, EVENT_OFFER, EVENT_CLOSING, EVENT_CLOSED = 1, 2, 3, 4, 5
SUBMIT_DUPLICATE, SUBMIT_TOKEN, SUBMIT_READY_FOLLOWS = 1, 2, 4
OFFER_READY_FOLLOWS, OFFER_HAS_PROLOGUE = 1, 2
BATCH_MAX = 252
PIDFD_HELD = 1


class SessionOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("peer_flags", c_uint32),
        ("peer_uids", POINTER(c_uint32)),
        ("peer_uids_length", c_size_t),
        ("peer_pid", c_uint32),
        ("connection_fd", c_int32),
        ("socket_path", c_char_p),
        ("service_name", c_char_p),
        ("max_in_flight", c_uint32),
        ("max_queued_bytes", c_uint32),
        ("max_held_bytes", c_uint32),
        ("reserved", c_uint32),
        ("open_timeout_ns", c_uint64),
        ("now", NOW),
        ("wait", WAIT),
        ("time_user_data", c_void_p),
    ]


class EventStruct(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", c_int32),
        ("status", c_int32),
        ("ownership", c_int32),
        ("fd", c_int32),
        ("os_error", c_int32),
        ("id", c_uint64),
        ("user_data", c_uint64),
        ("offer", c_void_p),
        ("text", c_char_p),
        ("text_length", c_size_t),
    ]


class Submission(Sized):
    """Bytes given to it must not change until it was submitted."""
    _fields_ = [
        ("struct_size", c_uint32),
        ("fd", c_int32),
        ("flags", c_uint32),
        ("reserved", c_uint32),
        ("metadata", c_char_p),
        ("metadata_length", c_size_t),
        ("early", c_char_p),
        ("early_length", c_size_t),
        ("prologue", c_char_p),
        ("prologue_length", c_size_t),
        ("timeout_ns", c_uint64),
        ("correlation_id", c_uint64),
        ("user_data", c_uint64),
        ("token", Token),
    ]

    def __init__(self, fd, metadata=b"", early=b"", prologue=b"", **members):
        super().__init__(fd=fd, metadata=metadata, metadata_length=len(metadata), early=early, early_length=len(early),
                         prologue=prologue, prologue_length=len(prologue), **members)


class SessionPeer(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("pid", c_uint32),
        ("uid", c_uint32),
        ("gid", c_uint32),
        ("pidfd_state", c_int32),
        ("pidfd", c_int32),
        ("max_in_flight", c_uint32),
        ("reserved", c_uint32),
        ("service_name", c_char_p),
        ("service_name_length", c_size_t),
    ]


class SessionStatistics(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("in_flight", c_uint32),
        *((name, c_uint64) for name in ("submitted", "completed", "fallbacks", "offers", "accepted", "refused", "lost",
                                        "messages_sent", "messages_received")),
    ]


FUNCTIONS = {
    "session_create_broker": (c_int32, c_void_p, POINTER(SessionOptions), POINTER(c_void_p), POINTER(Error)),
    "session_create_backend": (c_int32, POINTER(SessionOptions), POINTER(c_void_p), POINTER(Error)),
    "session_destroy": (None, c_void_p),
    "session_close": (c_int32, c_void_p),
    "session_get_fd": (c_int32, c_void_p),
    "session_get_timeout": (c_int32, c_void_p, POINTER(c_uint64)),
    "session_process": (c_int32, c_void_p),
    "session_wait": (c_int32, c_void_p, c_uint64),
    "session_stop": (c_int32, c_void_p),
    "session_next_event": (c_int32, c_void_p, POINTER(EventStruct), POINTER(Outcome)),
    "session_submit": (c_int32, c_void_p, POINTER(Submission), c_size_t, POINTER(c_uint64), POINTER(Error)),
    "session_cancel": (c_int32, c_void_p, c_uint64),
    "session_execute": (c_int32, c_void_p, POINTER(Submission), POINTER(Outcome), POINTER(Error)),
    "session_get_peer": (c_int32, c_void_p, POINTER(SessionPeer)),
    "session_get_statistics": (c_int32, c_void_p, POINTER(SessionStatistics)),
}

# offer: an Offer, of EVENT_OFFER. outcome: an Outcome, and fd: the descriptor that came back, or -1, of EVENT_OUTCOME.
# status, os_error and text: why the session ended, of EVENT_CLOSED.
Event = collections.namedtuple("Event", "kind status os_error text ownership fd id user_data offer outcome")


def create_broker(broker, **options):
    """The broker's side. Takes the descriptor if there is a `connection_fd`; the broker has to live longer."""
    session = Session(broker.library, options)
    session.kept = broker
    session.library.call(session.library.session_create_broker, broker.pointer, session.options, session.pointer)
    return session


def create_backend(library, now=None, wait=None, **options):
    """The backend's side."""
    session = Session(library, {**options, **rp_handoff.callbacks(now=now, wait=wait)})
    library.call(library.session_create_backend, session.options, session.pointer)
    return session


class Session(rp_handoff.Handle):
    def __init__(self, library, options):
        library.declare(FUNCTIONS)
        super().__init__(library, library.session_destroy)
        for name in ("socket_path", "service_name"):
            if name in options:
                options[name] = os.fsencode(options[name])
        self.options = SessionOptions(**options)  # kept, with its callbacks

    def submit(self, *submissions):
        """The ids of those that were submitted: perhaps fewer than were given, but at least one."""
        array = (Submission * len(submissions))(*submissions)
        ids = (c_uint64 * len(submissions))()
        count = self.library.call(self.library.session_submit, self.pointer, array, len(submissions), ids)
        return list(ids[:count])

    def execute(self, fd, **members):
        """Blocks until the outcome. Borrows the descriptor."""
        outcome = Outcome()
        self.library.call(self.library.session_execute, self.pointer, Submission(fd, **members), outcome)
        return outcome

    def cancel(self, handoff):
        return self.library.check(self.library.session_cancel(self.pointer, handoff)) == 1

    def events(self):
        """All that there are. To be gone through to the end, which sends what was answered meanwhile."""
        while (event := self.next_event()) is not None:
            yield event

    def next_event(self):
        event, outcome = EventStruct(), Outcome()
        if self.library.check(self.library.session_next_event(self.pointer, event, outcome)) == 0:
            return None
        offer = None
        if event.kind == EVENT_OFFER:
            offer = Offer(self.library)
            offer.pointer = c_void_p(event.offer)
        text = ctypes.string_at(event.text or b"", event.text_length).decode()
        return Event(event.kind, event.status, event.os_error, text, event.ownership, event.fd, event.id,
                     event.user_data, offer, outcome if event.kind == EVENT_OUTCOME else None)

    def fileno(self):
        return self.library.check(self.library.session_get_fd(self.pointer))

    def timeout_ns(self):
        timeout = c_uint64()
        self.library.check(self.library.session_get_timeout(self.pointer, timeout))
        return timeout.value

    def process(self):
        self.library.check(self.library.session_process(self.pointer))

    def wait(self, timeout_ns=FOREVER):
        """Whether there is an event."""
        return self.library.check(self.library.session_wait(self.pointer, timeout_ns)) == 1

    def stop(self):
        """Makes every wait fail from now on. Another thread's, too."""
        self.library.check(self.library.session_stop(self.pointer))

    def finish(self):
        """Begins an orderly end, after which EVENT_CLOSED comes."""
        self.library.check(self.library.session_close(self.pointer))

    def peer(self):
        peer = SessionPeer()
        self.library.check(self.library.session_get_peer(self.pointer, peer))
        return peer

    def statistics(self):
        statistics = SessionStatistics()
        self.library.check(self.library.session_get_statistics(self.pointer, statistics))
        return statistics
