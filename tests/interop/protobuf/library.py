"""The library's wire functions through ctypes: dictionaries to frames and back.

Text is str or bytes on the way in, bytes on the way out. Functions answer (status, value, consumed).
"""
import ctypes
from ctypes import POINTER, byref, c_char_p, c_int32, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

LIST_CAPACITY = 64


class Text(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("length", c_size_t)]


class Detail(ctypes.Structure):
    _fields_ = [("key", Text), ("value", Text)]


def split(*names):
    """A pointer and a length as two members."""
    return [member for name in names for member in ((name, c_void_p), (name + "_length", c_size_t))]


class Frame(ctypes.Structure):
    _fields_ = (
        [("struct_size", c_uint32), ("envelope_version", c_uint32), ("kind", c_int32), ("payload_protocol", c_uint32)]
        + split("payload")
        + [("request_id", c_uint64), ("payload_encoding", c_int32), ("reserved", c_uint32)]
        + [("deadline_unix_ms", c_uint64)]
        + split("traceparent", "tracestate")
    )


class Offer(ctypes.Structure):
    _fields_ = (
        [("struct_size", c_uint32), ("reserved", c_uint32), ("handle_value", c_uint64)]
        + split("token", "service_name")
        + [("correlation_id", c_uint64)]
    )


class Ack(ctypes.Structure):
    _fields_ = (
        [("struct_size", c_uint32), ("accepted", c_int32)]
        + split("token", "error_detail")
        + [("correlation_id", c_uint64)]
    )


class Hello(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("client_min_protocol", c_uint32), ("client_max_protocol", c_uint32),
        ("peer_pid", c_uint32), *split("service_name", "wanted_version", "client_version"),
        ("client_capabilities", c_uint64), *split("auth_token", "request_id"), ("connection_id", c_uint64),
        *split("client_lib_name", "client_lib_version", "peer_attestation_nonce", "capability_token"),
        ("client_keepalive_secs", c_uint64),
    ]


class Reply(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("choice", c_int32), *split("daemon_version", "backend_pipe"),
        ("server_capabilities", c_uint64), ("keepalive_interval_secs", c_uint64), *split("handle_passed_token"),
        ("connection_id", c_uint64), ("negotiated_protocol", c_uint32), ("code", c_int32), *split("reason"),
        ("daemon_min_protocol", c_uint32), ("daemon_max_protocol", c_uint32), ("retry_after_ms", c_uint64),
        ("warnings", POINTER(Text)), ("warnings_length", c_size_t), ("warnings_capacity", c_size_t),
        ("details", POINTER(Detail)), ("details_length", c_size_t), ("details_capacity", c_size_t),
    ]


class Keeper:
    """Holds what C structs point to."""

    def __init__(self):
        self.held = []

    def pointer(self, data):
        buffer = ctypes.create_string_buffer(data, max(len(data), 1))
        self.held.append(buffer)
        return ctypes.cast(buffer, c_void_p).value

    def text(self, value):
        data = as_bytes(value)
        return Text(self.pointer(data), len(data))


def as_bytes(value):
    return value.encode() if isinstance(value, str) else bytes(value)


def fill(struct, values, keeper):
    struct.struct_size = ctypes.sizeof(struct)
    kinds = dict(struct._fields_)
    for name, value in values.items():
        if name + "_length" in kinds:
            data = as_bytes(value)
            setattr(struct, name, keeper.pointer(data))
            setattr(struct, name + "_length", len(data))
        else:
            setattr(struct, name, value)
    return struct


def read(struct):
    kinds = dict(struct._fields_)
    values = {}
    for name, kind in kinds.items():
        value = getattr(struct, name)
        if name in ("struct_size", "reserved") or name.endswith(("_length", "_capacity")):
            continue
        if kind in (POINTER(Text), POINTER(Detail)):
            continue
        if name + "_length" in kinds:
            values[name] = ctypes.string_at(value or 0, getattr(struct, name + "_length")) if value else b""
        else:
            values[name] = value
    return values


def string(text):
    return ctypes.string_at(text.data, text.length) if text.length else b""


class Library:
    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        self.c.rp_handoff_strerror.restype = c_char_p

    def encode(self, function, struct, *extra):
        length = c_size_t()
        call = getattr(self.c, "rp_handoff_wire_encode_" + function)
        status = call(byref(struct), *extra, None, c_size_t(0), byref(length))
        if status != 0:
            return status, None
        out = (c_uint8 * max(length.value, 1))()
        status = call(byref(struct), *extra, out, c_size_t(length.value), byref(length))
        return status, bytes(out[: length.value])

    def decode(self, function, struct, data, *extra_in, outs=()):
        consumed = c_size_t()
        struct.struct_size = ctypes.sizeof(struct)
        self.data = ctypes.create_string_buffer(data, max(len(data), 1))  # the struct's texts point into it
        call = getattr(self.c, "rp_handoff_wire_decode_" + function)
        status = call(self.data, c_size_t(len(data)), *extra_in, byref(struct), *outs, byref(consumed))
        return status, consumed.value

    def encode_frame(self, values):
        return self.encode("frame", fill(Frame(), values, keeper := Keeper()))

    def decode_frame(self, data):
        struct = Frame()
        status, consumed = self.decode("frame", struct, data)
        return status, read(struct) if status == 0 else None, consumed

    def encode_offer(self, values):
        return self.encode("offer", fill(Offer(), values, keeper := Keeper()))

    def decode_offer(self, data):
        struct = Offer()
        status, consumed = self.decode("offer", struct, data)
        return status, read(struct) if status == 0 else None, consumed

    def encode_ack(self, values, kind):
        return self.encode("ack", fill(Ack(), values, keeper := Keeper()), c_int32(kind))

    def decode_ack(self, data, kind):
        struct = Ack()
        status, consumed = self.decode("ack", struct, data, c_int32(kind))
        return status, read(struct) if status == 0 else None, consumed

    def encode_hello(self, values, request_id):
        return self.encode("hello", fill(Hello(), values, keeper := Keeper()), c_uint64(request_id))

    def decode_hello(self, data):
        struct, request_id = Hello(), c_uint64()
        status, consumed = self.decode("hello", struct, data, outs=(byref(request_id),))
        return status, read(struct) if status == 0 else None, consumed

    def encode_reply(self, values, request_id):
        values, keeper = dict(values), Keeper()
        warnings = [keeper.text(warning) for warning in values.pop("warnings", [])]
        details = [Detail(keeper.text(k), keeper.text(v)) for k, v in values.pop("details", {}).items()]
        struct = fill(Reply(), values, keeper)
        struct.warnings = (Text * max(len(warnings), 1))(*warnings)
        struct.warnings_length = len(warnings)
        struct.details = (Detail * max(len(details), 1))(*details)
        struct.details_length = len(details)
        return self.encode("reply", struct, c_uint64(request_id))

    def decode_reply(self, data):
        struct, request_id = Reply(), c_uint64()
        warnings, details = (Text * LIST_CAPACITY)(), (Detail * LIST_CAPACITY)()
        struct.warnings, struct.warnings_capacity = warnings, LIST_CAPACITY
        struct.details, struct.details_capacity = details, LIST_CAPACITY
        status, consumed = self.decode("reply", struct, data, outs=(byref(request_id),))
        if status != 0:
            return status, None, consumed
        values = read(struct)
        values["warnings"] = [string(warnings[i]) for i in range(struct.warnings_length)]
        values["details"] = {string(details[i].key): string(details[i].value) for i in range(struct.details_length)}
        return status, values, consumed
