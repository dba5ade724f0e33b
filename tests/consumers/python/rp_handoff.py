"""rp_handoff for Python, with nothing but ctypes. Made to be copied.

    library = rp_handoff.Library()

    with library.backend() as backend:                     # the process that will serve
        backend.listen("/run/user/1000/service/socket")
        offer = backend.next_offer()
        connection = socket.socket(fileno=offer.accept())

    with library.broker() as broker:                       # the process that has accepted a client's connection
        token = broker.issue("service")
        outcome = broker.execute(connection.fileno(), token, socket_path="/run/user/1000/service/socket")
        outcome.result == rp_handoff.COMPLETED

Calls that fail raise HandoffError. A fallback is no failure but an outcome: `outcome.ownership` says whose the
connection is. The manual is rp_handoff.h; structs here have the members of the header's, and its names without
RP_HANDOFF_. Sessions are in rp_handoff_session.py.
"""
import ctypes
import os
from ctypes import POINTER, c_char, c_char_p, c_int32, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

COMPLETED, FALLBACK = 1, 2
OWNER_BROKER, OWNER_BACKEND, OWNER_AMBIGUOUS = 1, 2, 3
TRUST_CREDENTIALS, TRUST_CALLER = 1, 2
CALLBACK_OK = 0x52504F4B
FOREVER = 2**64 - 1
TRANSPORT_SENT = 1
ACK_WAIT_ACCEPTED, ACK_WAIT_REFUSED, ACK_WAIT_FAILED = 1, 2, 3
KIND_RESPONSE = 1
ACK_UNDELIVERED = 1


class HandoffError(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


# ---- structs ---------------------------------------------------------------------------------------------------------


class Token(ctypes.Structure):
    _fields_ = [("bytes", c_uint8 * 16)]

    def __bytes__(self):
        return ctypes.string_at(ctypes.byref(self), 16)


class Sized(ctypes.Structure):
    """A struct that says its own size."""

    def __init__(self, **members):
        super().__init__(struct_size=ctypes.sizeof(self), **members)


class Error(Sized):
    _fields_ = [("struct_size", c_uint32), ("status", c_int32), ("os_error", c_int32), ("member", c_char * 64),
                ("text", c_char * 256)]


class ListenerOptions(Sized):
    _fields_ = [("struct_size", c_uint32), ("fd", c_int32), ("path", c_char_p), ("trust", c_int32),
                ("reserved", c_uint32)]


class Platform(Sized):
    _fields_ = [("struct_size", c_uint32), ("descriptor_passing", c_int32), ("in_flight_exempt", c_int32)]


NOW = ctypes.CFUNCTYPE(c_int32, c_void_p, POINTER(c_uint64))
WAIT = ctypes.CFUNCTYPE(c_int32, c_void_p, c_int32, c_int32, c_uint64, POINTER(c_int32))
RANDOM = ctypes.CFUNCTYPE(c_int32, c_void_p, POINTER(c_uint8), c_size_t)


class BrokerOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("peer_flags", c_uint32),
        ("peer_uids", POINTER(c_uint32)),
        ("peer_uids_length", c_size_t),
        ("token_ttl_ns", c_uint64),
        ("ack_deadline_ns", c_uint64),
        ("max_pending", c_uint32),
        ("collision_attempts", c_uint32),
        ("max_frame_bytes", c_uint32),
        ("in_flight_percent", c_uint32),
        ("now", NOW),
        ("wait", WAIT),
        ("time_user_data", c_void_p),
        ("random", RANDOM),
        ("random_user_data", c_void_p),
        ("max_failed_attempts", c_uint32),
        ("max_backends", c_uint32),
        ("failed_attempts_window_ns", c_uint64),
        ("recovery_accepts", c_uint32),
        ("reserved", c_uint32),
    ]


class BackendOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("peer_flags", c_uint32),
        ("peer_uids", POINTER(c_uint32)),
        ("peer_uids_length", c_size_t),
        ("token_policy", c_int32),
        ("max_connections", c_uint32),
        ("max_pending", c_uint32),
        ("max_frame_bytes", c_uint32),
        ("token_ttl_ns", c_uint64),
        ("io_timeout_ns", c_uint64),
        ("now", NOW),
        ("wait", WAIT),
        ("time_user_data", c_void_p),
    ]


class Outcome(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("result", c_int32),
        ("ownership", c_int32),
        ("stage", c_int32),
        ("reason", c_int32),
        ("cause", c_int32),
        ("os_error", c_int32),
        ("may_have_reached_backend", c_int32),
        ("correlation_id", c_uint64),
        ("waited_ns", c_uint64),
        ("elapsed_ns", c_uint64),
        ("detail", c_char * 256),
        ("retry_after_ns", c_uint64),
    ]


class Attempt(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("fd", c_int32),
        ("socket_path", c_char_p),
        ("connection_fd", c_int32),
        ("reserved", c_uint32),
        ("message", POINTER(c_uint8)),
        ("message_length", c_size_t),
        ("deadline_ns", c_uint64),
        ("token", POINTER(Token)),
        ("service_name", c_char_p),
        ("correlation_id", c_uint64),
    ]


class TransportResult(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("status", c_int32), ("os_error", c_int32), ("bytes_sent", c_uint32)]


class AckWait(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("connection_fd", c_int32),
        ("token", POINTER(Token)),
        ("correlation_id", c_uint64),
        ("deadline_ns", c_uint64),
    ]


class AckWaitResult(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("status", c_int32), ("observed_ns", c_uint64)]


TRANSPORT = ctypes.CFUNCTYPE(c_int32, c_void_p, POINTER(Attempt), POINTER(TransportResult))
AWAIT_ACK = ctypes.CFUNCTYPE(c_int32, c_void_p, POINTER(AckWait), POINTER(AckWaitResult))


class Request(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("fd", c_int32),
        ("token", Token),
        ("socket_path", c_char_p),
        ("connection_fd", c_int32),
        ("connection_trust", c_int32),
        ("correlation_id", c_uint64),
        ("transport", TRANSPORT),
        ("transport_user_data", c_void_p),
        ("await_ack", AWAIT_ACK),
        ("await_ack_user_data", c_void_p),
        ("subject", c_void_p),
        ("flags", c_uint32),
        ("reserved", c_uint32),
    ]


class OfferInfo(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("service_name", c_char_p),
        ("service_name_length", c_size_t),
        ("correlation_id", c_uint64),
        ("peer_pid", c_uint32),
        ("peer_uid", c_uint32),
        ("received_ns", c_uint64),
        ("token", Token),
        ("metadata", c_void_p),
        ("metadata_length", c_size_t),
        ("early", c_void_p),
        ("early_length", c_size_t),
        ("unwritten", c_void_p),
        ("unwritten_length", c_size_t),
    ]

    def part(self, name):
        """The bytes of "metadata", "early" or "unwritten"."""
        return ctypes.string_at(getattr(self, name) or b"", getattr(self, name + "_length"))


class WireAck(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("accepted", c_int32),
        ("token", POINTER(c_uint8)),
        ("token_length", c_size_t),
        ("error_detail", POINTER(c_char)),
        ("error_detail_length", c_size_t),
        ("correlation_id", c_uint64),
    ]


# ---- the library -----------------------------------------------------------------------------------------------------

FUNCTIONS = {
    "version": (c_uint32,),
    "version_string": (c_char_p,),
    "strerror": (c_char_p, c_int32),
    "get_platform": (c_int32, POINTER(Platform)),
    "broker_create": (c_int32, POINTER(BrokerOptions), POINTER(c_void_p), POINTER(Error)),
    "broker_destroy": (None, c_void_p),
    "broker_issue": (c_int32, c_void_p, c_char_p, c_uint32, POINTER(Token)),
    "broker_execute": (c_int32, c_void_p, POINTER(Request), POINTER(Outcome), POINTER(Error)),
    "broker_revoke": (c_int32, c_void_p, POINTER(Token)),
    "backend_create": (c_int32, POINTER(BackendOptions), POINTER(c_void_p), POINTER(Error)),
    "backend_destroy": (None, c_void_p),
    "listener_create": (c_int32, POINTER(ListenerOptions), POINTER(c_void_p), POINTER(Error)),
    "listener_destroy": (None, c_void_p),
    "backend_add_listener": (c_int32, c_void_p, c_void_p),
    "backend_add_connection": (c_int32, c_void_p, c_int32, c_int32),
    "backend_expect": (c_int32, c_void_p, POINTER(Token)),
    "backend_next_offer": (c_int32, c_void_p, c_uint64, POINTER(c_void_p)),
    "backend_get_fd": (c_int32, c_void_p),
    "backend_get_timeout": (c_int32, c_void_p, POINTER(c_uint64)),
    "backend_stop": (c_int32, c_void_p),
    "offer_get_info": (c_int32, c_void_p, POINTER(OfferInfo)),
    "offer_accept": (c_int32, c_void_p, POINTER(c_int32)),
    "offer_refuse": (c_int32, c_void_p, c_char_p),
    "offer_destroy": (None, c_void_p),
    "wire_decode_ack": (c_int32, c_char_p, c_size_t, c_int32, POINTER(WireAck), POINTER(c_size_t)),
}


class Library:
    def __init__(self, path="librp_handoff.so.0"):
        self.dll = ctypes.CDLL(path, use_errno=True)
        self.declare(FUNCTIONS)

    def declare(self, functions):
        for name, (result, *arguments) in functions.items():
            function = getattr(self.dll, "rp_handoff_" + name)
            function.restype = result
            function.argtypes = arguments
            setattr(self, name, function)

    def check(self, status):
        """The status if it is a success."""
        if status < 0:
            text = self.strerror(status).decode()
            error = ctypes.get_errno()
            raise HandoffError(status, f"{text}: {os.strerror(error)}" if status == -5 else text)
        return status

    def call(self, function, *arguments):
        """The same, of a function whose last parameter is an Error."""
        error = Error()
        status = function(*arguments, error)
        if status < 0:
            raise HandoffError(status, f"{error.member.decode()} {error.text.decode()}".strip())
        return status

    def broker(self, now=None, wait=None, random=None, **options):
        return Broker(self, now, wait, random, options)

    def backend(self, now=None, wait=None, **options):
        return Backend(self, now, wait, options)


class Handle:
    """Ends with its `with` block, or by close()."""

    def __init__(self, library, destroy):
        self.library = library
        self.destroy = destroy
        self.pointer = c_void_p()

    def close(self):
        pointer, self.pointer = self.pointer, c_void_p()
        self.destroy(pointer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def callbacks(**functions):
    """Each as its C type, without those that are None."""
    types = {"now": NOW, "wait": WAIT, "random": RANDOM, "transport": TRANSPORT, "await_ack": AWAIT_ACK}
    return {name: types[name](function) for name, function in functions.items() if function is not None}


class Broker(Handle):
    def __init__(self, library, now, wait, random, options):
        super().__init__(library, library.broker_destroy)
        self.callbacks = callbacks(now=now, wait=wait, random=random)  # kept for as long as they can be called
        library.call(library.broker_create, BrokerOptions(**options, **self.callbacks), self.pointer)

    def issue(self, service_name, backend_pid=0):
        token = Token()
        self.library.check(self.library.broker_issue(self.pointer, service_name.encode(), backend_pid, token))
        return token

    def execute(self, fd, token, socket_path=None, connection_fd=-1, trust=0, transport=None, await_ack=None,
                correlation_id=0):
        kept = callbacks(transport=transport, await_ack=await_ack)
        request = Request(fd=fd, token=token, socket_path=socket_path and os.fsencode(socket_path),
                          connection_fd=connection_fd, connection_trust=trust, correlation_id=correlation_id, **kept)
        outcome = Outcome()
        self.library.call(self.library.broker_execute, self.pointer, request, outcome)
        return outcome

    def revoke(self, token):
        return self.library.check(self.library.broker_revoke(self.pointer, token)) == 1


class Backend(Handle):
    def __init__(self, library, now, wait, options):
        super().__init__(library, library.backend_destroy)
        self.callbacks = callbacks(now=now, wait=wait)
        library.call(library.backend_create, BackendOptions(**options, **self.callbacks), self.pointer)

    def listen(self, path):
        listener = Handle(self.library, self.library.listener_destroy)
        self.library.call(self.library.listener_create, ListenerOptions(fd=-1, path=os.fsencode(path)), listener.pointer)
        with listener:  # its socket lasts as long as the backend
            self.library.check(self.library.backend_add_listener(self.pointer, listener.pointer))

    def add_connection(self, fd, trust):
        """Takes the descriptor."""
        self.library.check(self.library.backend_add_connection(self.pointer, fd, trust))

    def expect(self, token):
        self.library.check(self.library.backend_expect(self.pointer, token))

    def next_offer(self, timeout_ns=FOREVER):
        offer = Offer(self.library)
        self.library.check(self.library.backend_next_offer(self.pointer, timeout_ns, offer.pointer))
        return offer

    def fileno(self):
        """For selectors and asyncio: readable when next_offer(0) has something to do."""
        return self.library.check(self.library.backend_get_fd(self.pointer))

    def timeout_ns(self):
        timeout = c_uint64()
        self.library.check(self.library.backend_get_timeout(self.pointer, timeout))
        return timeout.value

    def stop(self):
        self.library.check(self.library.backend_stop(self.pointer))


class Offer(Handle):
    def __init__(self, library):
        super().__init__(library, library.offer_destroy)

    def info(self):
        info = OfferInfo()
        self.library.check(self.library.offer_get_info(self.pointer, info))
        return info

    def accept(self):
        """The connection's descriptor, which is the caller's to close."""
        fd = c_int32(-1)
        self.library.check(self.library.offer_accept(self.pointer, fd))
        return fd.value

    def refuse(self, text=None):
        self.library.check(self.library.offer_refuse(self.pointer, text and text.encode()))
