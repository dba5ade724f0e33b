"""Holds the library's codec against Google's, in both directions, byte for byte.

Arguments: the library, the folder of the generated module, and optionally a seed. The seed is printed.

Where the two are known to differ the library follows prost, which the peers of this wire decode with:
- prost refuses a varint that overflows 64 bits in its tenth byte, Google's drops the surplus bits;
- prost refuses a key of more than 32 bits, Google's drops the surplus bits;
- prost refuses a known field of another wire type than its own, to Google's it is an unknown field;
- prost skips groups to a depth of 100.
"""
import random
import sys
import warnings

LIBRARY, GENERATED = sys.argv[1:3]
sys.path.insert(0, GENERATED)

try:
    import broker_v1_pb2 as pb
    from google.protobuf.message import DecodeError
except ImportError as problem:
    print(f"skipped: {problem}")
    sys.exit(77)

from library import Library

ROUNDS = 3000
REQUEST, RESPONSE, EVENT = 0, 1, 2
CONTROL, HANDOFF = 0, 0xD0FF
MALFORMED = -43

library = Library(LIBRARY)
seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(2**32)
rng = random.Random(seed)
print(f"seed {seed}")

# ---- random values ---------------------------------------------------------------------------------------------------


def u64():
    return rng.choice([0, 1, 127, 128, 2**32 - 1, 2**32, 2**63, 2**64 - 1, rng.getrandbits(rng.randrange(1, 65))])


def u32():
    return u64() & 0xFFFFFFFF


def i32():
    return rng.choice([0, 1, 2, 3, 4, -1, -(2**31), 2**31 - 1, rng.randrange(-(2**31), 2**31)])


def data():
    return rng.randbytes(rng.choice([0, 1, 15, 16, 17, 127, 128, 300]))


def text():
    alphabet = ["a", "/", "\0", "\n", "\x7f", "é", "€", "\U0001F600", "\ud7ff", "\ue000"]
    return "".join(rng.choice(alphabet) for _ in range(rng.choice([0, 1, 5, 127, 200])))


def token():
    return rng.choice([b"", rng.randbytes(16), data()])


def random_offer():
    return {"handle_value": u64(), "token": token(), "service_name": text(), "correlation_id": u64()}


def random_ack():
    return {"token": token(), "accepted": rng.randrange(2), "error_detail": text(), "correlation_id": u64()}


def random_frame():
    return {
        "envelope_version": u32(), "kind": i32(), "payload_protocol": u32(), "payload": data(), "request_id": u64(),
        "payload_encoding": i32(), "deadline_unix_ms": u64(), "traceparent": text(), "tracestate": text(),
    }


def random_hello():
    return {
        "client_min_protocol": u32(), "client_max_protocol": u32(), "service_name": text(), "wanted_version": text(),
        "client_version": text(), "client_capabilities": u64(), "auth_token": data(), "request_id": text(),
        "connection_id": u64(), "peer_pid": u32(), "client_lib_name": text(), "client_lib_version": text(),
        "peer_attestation_nonce": data(), "capability_token": data(), "client_keepalive_secs": u64(),
    }


def random_negotiated():
    return {
        "negotiated_protocol": u32(), "daemon_version": text(), "backend_pipe": text(),
        "warnings": [text() for _ in range(rng.randrange(4))], "server_capabilities": u64(),
        "keepalive_interval_secs": u64(), "handle_passed_token": token(), "connection_id": u64(),
    }


def random_refused():
    return {
        "reason": text(), "daemon_min_protocol": u32(), "daemon_max_protocol": u32(), "code": i32(),
        "details": {text(): text()} if rng.randrange(2) else {}, "retry_after_ms": u64(),
    }


# ---- comparing -------------------------------------------------------------------------------------------------------


def plain(value):
    """As the library's Python side gives values: bytes for text."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {plain(k): plain(v) for k, v in value.items()}
    return value


def framed(body):
    return b"\x01" + len(body).to_bytes(4, "little") + body


def envelope(payload, kind, protocol, request_id):
    frame = pb.Frame(
        envelope_version=1, kind=kind, payload_protocol=protocol, payload=payload, request_id=request_id)
    return framed(frame.SerializeToString(deterministic=True))


def same(ours, theirs, what):
    assert ours == theirs, f"{what}\n  ours:   {ours!r}\n  theirs: {theirs!r}"


def check_values(decoded, values, what):
    status, ours, _ = decoded
    assert status == 0, f"{what}: status {status}"
    for name, value in values.items():
        same(ours[name], plain(value), f"{what}, {name}")


def random_frames():
    for _ in range(ROUNDS):
        values = random_frame()
        wire = framed(pb.Frame(**values).SerializeToString())
        same(library.encode_frame(values), (0, wire), "frame, encoded")
        check_values(library.decode_frame(wire + data()), values, "frame, decoded")


def random_offers():
    for _ in range(ROUNDS):
        values = random_offer()
        wire = envelope(pb.HandoffOffer(**values).SerializeToString(), REQUEST, HANDOFF, values["correlation_id"])
        same(library.encode_offer(values), (0, wire), "offer, encoded")
        check_values(library.decode_offer(wire), values, "offer, decoded")


def random_acks():
    for _ in range(ROUNDS):
        values, kind = random_ack(), rng.choice([RESPONSE, EVENT])
        message = pb.HandoffAck(**{**values, "accepted": bool(values["accepted"])})
        wire = envelope(message.SerializeToString(), kind, HANDOFF, values["correlation_id"])
        same(library.encode_ack(values, kind), (0, wire), "ack, encoded")
        check_values(library.decode_ack(wire, kind), values, "ack, decoded")


def random_hellos():
    for _ in range(ROUNDS):
        values, request_id = random_hello(), u64()
        wire = envelope(pb.Hello(**values).SerializeToString(), REQUEST, CONTROL, request_id)
        same(library.encode_hello(values, request_id), (0, wire), "hello, encoded")
        check_values(library.decode_hello(wire), values, "hello, decoded")


def random_replies():
    for _ in range(ROUNDS):
        request_id = u64()
        if rng.randrange(2):
            values, choice = random_negotiated(), 1
            message = pb.HelloReply(negotiated=pb.Negotiated(**values))
        else:
            values, choice = random_refused(), 2
            message = pb.HelloReply(refused=pb.Refused(**values))
        wire = envelope(message.SerializeToString(), RESPONSE, CONTROL, request_id)
        values["choice"] = choice
        # A map's entry writes an empty key or value out in Google's codec and not in prost's; both read both.
        if all(k and v for k, v in values.get("details", {}).items()):
            same(library.encode_reply(values, request_id), (0, wire), "reply, encoded")
        check_values(library.decode_reply(wire), values, "reply, decoded")


# ---- mutations: both refuse, or both read the same -------------------------------------------------------------------


def key(tag, wire_type):
    return varint(tag << 3 | wire_type)


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def random_field():
    """A field of any tag and wire type, mostly well-formed."""
    known = rng.randrange(8) == 0
    tag = rng.randrange(1, 10) if known else rng.choice([10, 15, 16, 18999, 19000, 19999, 20000, 2**29 - 1])
    kind = rng.choice([0, 0, 1, 2, 2, 2, 3, 4] if rng.randrange(8) else [5])
    if kind == 0:
        return key(tag, 0) + varint(u64())
    if kind == 1:
        return key(tag, 1) + rng.randbytes(8)
    if kind == 2:
        value = rng.choice([data(), text().encode()])
        return key(tag, 2) + varint(len(value)) + value
    if kind == 3:
        return key(tag, 3) + b"".join(random_field() for _ in range(rng.randrange(3))) + key(tag, 4)
    if kind == 4:
        return key(tag, 5) + rng.randbytes(4)
    return rng.randbytes(rng.randrange(1, 4))


EXPECTED_TYPES = {
    "Frame": {1: 0, 2: 0, 3: 0, 4: 2, 5: 0, 6: 0, 7: 0, 8: 2, 9: 2},
    "HandoffOffer": {1: 0, 2: 2, 3: 2, 4: 0},
}


class Refused(Exception):
    """What prost does not take, though Google's codec does."""


def check_as_prost(message, body):
    at, types = 0, EXPECTED_TYPES[message]
    while at < len(body):
        tag, wire_type, at = read_key(body, at)
        if types.get(tag, wire_type) != wire_type:
            raise Refused
        at = skip(body, at, tag, wire_type)


def read_key(body, at):
    value, at = read_varint(body, at)
    if value > 0xFFFFFFFF:
        raise Refused
    return value >> 3, value & 7, at


def read_varint(body, at):
    value = shift = 0
    while True:
        byte = body[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def skip(body, at, tag, wire_type):
    if wire_type == 0:
        return read_varint(body, at)[1]
    if wire_type == 1:
        return at + 8
    if wire_type == 5:
        return at + 4
    if wire_type == 2:
        length, at = read_varint(body, at)
        return at + length
    while True:
        inner_tag, inner_type, at = read_key(body, at)
        if inner_type == 4:
            return at
        at = skip(body, at, inner_tag, inner_type)


def overflows(body):
    """A ten-byte varint whose last byte holds more than the 64th bit."""
    run = 0
    for byte in body:
        run = run + 1 if byte >= 0x80 else 0
        if run >= 9:
            return True
    return False


def read_frame(body):
    """What Google's codec reads, or None if it, or prost, refuses. Of an end tag without a group it only warns."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            frame = pb.Frame.FromString(body)
        except DecodeError:
            return None
    if warned:
        return None
    try:
        check_as_prost("Frame", body)
    except Refused:
        return None
    return frame


def mutated_frames():
    agreed = 0
    for _ in range(ROUNDS * 3):
        body = pb.Frame(**random_frame()).SerializeToString() if rng.randrange(2) else b""
        for _ in range(rng.randrange(1, 5)):
            body += random_field()
        if rng.randrange(4) == 0:
            body = body[: rng.randrange(len(body) + 1)]
        if overflows(body):
            continue
        theirs = read_frame(body)
        readable = theirs is not None
        status, ours, _ = library.decode_frame(framed(body))
        same(status, 0 if readable else MALFORMED, f"whether {body.hex()} is a frame")
        if readable:
            agreed += 1
            for field in pb.Frame.DESCRIPTOR.fields:
                same(ours[field.name], plain(getattr(theirs, field.name)), f"{field.name} of {body.hex()}")
    assert agreed > ROUNDS // 2, "too few of the random frames were readable to prove much"


# ---- by hand ---------------------------------------------------------------------------------------------------------


def status_of_offer(payload):
    return library.decode_offer(envelope(payload, REQUEST, HANDOFF, 0))[0]


def truncations():
    body = pb.Frame(**random_frame()).SerializeToString() or key(1, 0) + b"\x01"
    wire = framed(body)
    for length in range(len(wire)):
        same(library.decode_frame(wire[:length])[0], -40, f"{length} of {len(wire)} bytes")
    for length in range(len(body)):
        expected = MALFORMED if read_frame(body[:length]) is None else 0
        same(library.decode_frame(framed(body[:length]))[0], expected, f"a body cut to {length} bytes")


def last_one_wins():
    payload = key(2, 2) + b"\x01a" + key(2, 2) + b"\x02bc" + key(1, 0) + b"\x05" + key(1, 0) + b"\x00"
    _, offer, _ = library.decode_offer(envelope(payload, REQUEST, HANDOFF, 0))
    same((offer["token"], offer["handle_value"]), (b"bc", 0), "the last one")


def merged_messages_and_a_switched_choice():
    first = pb.HelloReply(negotiated=pb.Negotiated(daemon_version="1", warnings=["a"], connection_id=7))
    second = pb.HelloReply(negotiated=pb.Negotiated(daemon_version="2", warnings=["b"]))
    refused = pb.HelloReply(refused=pb.Refused(reason="no", details={"k": "1"}))
    again = pb.HelloReply(refused=pb.Refused(code=3, details={"k": "2"}))
    for parts in ([first, second], [first, refused], [refused, again], [refused, first], [first, refused, second]):
        payload = b"".join(part.SerializeToString() for part in parts)
        theirs = pb.HelloReply.FromString(payload)
        status, ours, _ = library.decode_reply(envelope(payload, RESPONSE, CONTROL, 0))
        same(status, 0, "a reply in parts")
        chosen = theirs.WhichOneof("reply")
        same(ours["choice"], {"negotiated": 1, "refused": 2}[chosen], "the choice")
        message = getattr(theirs, chosen)
        for field in message.DESCRIPTOR.fields:
            value = getattr(message, field.name)
            value = dict(value) if field.name == "details" else list(value) if field.name == "warnings" else value
            same(ours[field.name], plain(value), field.name)


def an_empty_reply_has_no_choice():
    status, ours, _ = library.decode_reply(envelope(b"", RESPONSE, CONTROL, 0))
    same((status, ours["choice"]), (0, 0), "an empty reply")


def text_that_is_not_utf8():
    for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"a\x80"):
        payload = key(3, 2) + varint(len(bad)) + bad
        same(status_of_offer(payload), MALFORMED, f"text {bad.hex()}")
        same(status_of_offer(key(2, 2) + varint(len(bad)) + bad), 0, f"bytes {bad.hex()}")
        same(status_of_offer(key(100, 2) + varint(len(bad)) + bad), 0, f"an unknown field of {bad.hex()}")


def wrong_wire_types():
    for tag, expected in EXPECTED_TYPES["HandoffOffer"].items():
        values = {0: b"\x00", 1: bytes(8), 2: b"\x00", 5: bytes(4)}
        for wire_type, value in values.items():
            status = status_of_offer(key(tag, wire_type) + value)
            same(status, 0 if wire_type == expected else MALFORMED, f"field {tag} as wire type {wire_type}")


def varints_at_their_limit():
    longest = b"\xff" * 9
    cases = {longest + b"\x01": 0, longest + b"\x02": MALFORMED, longest + b"\x81\x00": MALFORMED,
             b"\x80" * 9 + b"\x00": 0, b"\x80" * 10 + b"\x00": MALFORMED, b"\x80": MALFORMED}
    for value, expected in cases.items():
        same(status_of_offer(key(1, 0) + value), expected, f"varint {value.hex()}")


def keys_that_are_none():
    for bad in (b"\x00\x00", key(1, 6) + b"\x00", key(1, 7) + b"\x00", key(1, 4), varint(2**32 | 8) + b"\x00"):
        same(status_of_offer(bad), MALFORMED, f"key {bad.hex()}")


def groups_to_a_depth_of_a_hundred():
    for depth, expected in ((1, 0), (99, 0), (100, 0), (101, MALFORMED)):
        payload = key(100, 3) * depth + key(100, 4) * depth
        same(status_of_offer(payload), expected, f"{depth} groups")


def explicit_defaults():
    same(status_of_offer(b"\x08\x00"), 0, "a default that is written out")


CASES = [
    random_frames, random_offers, random_acks, random_hellos, random_replies, mutated_frames, truncations,
    last_one_wins, merged_messages_and_a_switched_choice, an_empty_reply_has_no_choice, text_that_is_not_utf8,
    wrong_wire_types, varints_at_their_limit, keys_that_are_none, groups_to_a_depth_of_a_hundred, explicit_defaults,
]

failed = 0
for case in CASES:
    try:
        case()
    except AssertionError as problem:
        failed += 1
        print(f"FAILED: {case.__name__.replace('_', ' ')}: {problem}")
print(f"{len(CASES) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
