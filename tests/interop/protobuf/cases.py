"""Holds the library's decoder against Google's where they are easily wrong: hand-made messages, every truncation of random
ones, mutations; and both against the crate's own bytes.

Arguments: the library, the folder of the generated module, v1.json (vectors), and optionally a seed, which is printed.

The peer of this wire decodes with prost, so where Google's decoder and prost differ the library follows prost. Each
difference is shown by hand-made cases, in which Google's verdict is checked too:

  WRONG_TYPE    A known field with another wire type: prost refuses it, Google takes it for an unknown field.
  OVERFLOW      A varint whose tenth byte is more than 1, so that it exceeds 64 bits: prost refuses it, Google drops the bits.
  LONG_KEY      A key, or a length, with more than five bytes, padded with zeros: prost reads it, Google refuses it.
  WIDE_KEY      A key beyond 32 bits in five bytes: prost refuses it, Google drops the bits.
  GROUP_DEPTH   A hundred nested groups (and messages around them), the innermost with a field in it: prost counts that
                field as one level more.
  MAP_DEFAULT   (encoding) An entry of a map with an empty key or value: prost leaves defaults out, Google writes them. Both
                read both.
"""
import json
import os
import random
import sys
import warnings

LIBRARY, GENERATED, VECTORS = sys.argv[1:4]
sys.path.insert(0, GENERATED)

try:
    import broker_v1_pb2 as pb
    from google.protobuf.message import DecodeError
except ImportError as problem:
    print(f"skipped: {problem}")
    sys.exit(77)

from library import Library

ROUNDS = 3000
REQUEST, RESPONSE = 0, 1
CONTROL, HANDOFF = 0, 0xD0FF
INCOMPLETE, MALFORMED = -40, -43
REFUSED = "refused"


def silence_google():
    """Its decoder complains to standard error of each text that is not UTF-8."""
    sys.stderr = os.fdopen(os.dup(2), "w")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)


# ---- bytes -----------------------------------------------------------------------------------------------------------


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def padded_varint(value, length):
    """The same number in more bytes than it needs."""
    return bytes([value >> 7 * i & 0x7F | (0x80 if i < length - 1 else 0) for i in range(length)])


def key(tag, wire_type):
    return varint(tag << 3 | wire_type)


def field(tag, wire_type, data):
    return key(tag, wire_type) + data


def delimited(tag, data):
    return field(tag, 2, varint(len(data)) + data)


def number(tag, value):
    return field(tag, 0, varint(value))


def groups(tag, depth, inside=b""):
    return key(tag, 3) * depth + inside + key(tag, 4) * depth


def framed(body):
    return b"\x01" + len(body).to_bytes(4, "little") + body


# ---- messages of both sides as dictionaries, with bytes for text -----------------------------------------------------


def plain(value):
    return value.encode() if isinstance(value, str) else value


def as_dictionary(message):
    values = {}
    for member in message.DESCRIPTOR.fields:
        value = getattr(message, member.name)
        if member.message_type is None:
            repeated = member.label == member.LABEL_REPEATED
            values[member.name] = [plain(item) for item in value] if repeated else plain(value)
        elif member.message_type.GetOptions().map_entry:
            values[member.name] = {plain(k): plain(v) for k, v in value.items()}
        elif message.HasField(member.name):
            values[member.name] = as_dictionary(value)
    return values


def flat(reply):
    """A reply as the library's Python side takes it."""
    choice = 1 if "negotiated" in reply else 2
    return {**next(iter(reply.values())), "choice": choice}


def unflat(values):
    for choice, name in ((1, "negotiated"), (2, "refused")):
        if values["choice"] == choice:
            message = pb.HelloReply.DESCRIPTOR.fields_by_name[name].message_type
            return {name: {member.name: values[member.name] for member in message.fields}}
    return {}


class Kind:
    """A message type: how both sides encode and decode its payload."""

    def __init__(self, name, encode, decode, protocol, kind):
        self.name, self.type = name, getattr(pb, name)
        self._encode, self._decode, self.protocol, self.kind = encode, decode, protocol, kind

    def request_id(self, values):
        """What the library wants the frame's to be."""
        return values["correlation_id"] if "correlation_id" in values else 4711

    def wire(self, payload, request_id):
        if self.name == "Frame":
            return framed(payload)
        return framed(pb.Frame(envelope_version=1, kind=self.kind, payload_protocol=self.protocol, payload=payload,
                               request_id=request_id).SerializeToString())

    def encode(self, values):
        status, data = self._encode(values, self.request_id(values))
        assert status == 0, f"encoding {values!r}: status {status}"
        return data

    def decode(self, payload, like):
        """What the library makes of a payload whose ids are those of `like`: values, REFUSED, or another status."""
        data = self.wire(payload, self.request_id(like) if isinstance(like, dict) else 4711)
        status, values, consumed = self._decode(data + b"rest")
        if status == MALFORMED:
            return REFUSED
        if status != 0:
            return status
        assert consumed == len(data), (consumed, len(data))
        if "accepted" in values:
            values["accepted"] = values["accepted"] == 1
        return values

    def status_of(self, data):
        return self._decode(data)[0]

    def google_decodes(self, payload):
        message = self.type()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                message.ParseFromString(payload)
            except DecodeError:
                return REFUSED
        # Of a message that ends at field number zero, or with a group that did not begin, it only warns.
        return REFUSED if warned else as_dictionary(message)


def kinds_of(library):
    def decode_reply(data):
        status, values, consumed = library.decode_reply(data)
        return status, unflat(values) if status == 0 else None, consumed

    return {kind.name: kind for kind in (
        Kind("Frame", lambda values, _: library.encode_frame(values), library.decode_frame, 0, 0),
        Kind("HandoffOffer", lambda values, _: library.encode_offer(values), library.decode_offer, HANDOFF, REQUEST),
        Kind("HandoffAck", lambda values, _: library.encode_ack(values, RESPONSE),
             lambda data: library.decode_ack(data, RESPONSE), HANDOFF, RESPONSE),
        Kind("Hello", library.encode_hello, library.decode_hello, CONTROL, REQUEST),
        Kind("HelloReply", lambda values, id: library.encode_reply(flat(values), id), decode_reply, CONTROL, RESPONSE))}


# ---- random messages -------------------------------------------------------------------------------------------------


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def integer(self, bits):
        return self.random.choice([0, 1, 127, 128, 1 << bits - 1, (1 << bits) - 1, self.random.getrandbits(bits)])

    def length(self):
        return self.random.choice([0, 0, 1, 2, 16, 127, 128])

    def text(self):
        alphabet = "aZ09 /.\0\n\u007f\u0080\u00e9\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
        return "".join(self.random.choice(alphabet) for _ in range(self.length()))

    def value(self, member):
        if member.type == member.TYPE_STRING:
            return self.text()
        if member.type == member.TYPE_BYTES:
            return self.random.randbytes(self.length())
        if member.type == member.TYPE_BOOL:
            return self.random.random() < 0.5
        if member.type == member.TYPE_INT32:
            return self.random.choice([0, 1, 2, 3, 9, 17, 2**31 - 1, -1, -(2**31)])
        return self.integer(32 if member.type == member.TYPE_UINT32 else 64)

    def fill(self, message):
        for member in message.DESCRIPTOR.fields:
            if self.random.random() < 0.2:
                continue
            if member.message_type is not None:  # a map
                for _ in range(self.random.randrange(3)):
                    getattr(message, member.name)[self.text()] = self.text()
            elif member.label == member.LABEL_REPEATED:
                getattr(message, member.name).extend(self.text() for _ in range(self.random.randrange(4)))
            else:
                setattr(message, member.name, self.value(member))

    def message(self, kind):
        message = kind.type()
        if kind.name == "HelloReply":
            chosen = self.random.choice([message.negotiated, message.refused])
            chosen.SetInParent()
            self.fill(chosen)
        else:
            self.fill(message)
        return message

    def mutated(self, payload):
        data = bytearray(payload)
        for _ in range(self.random.randint(1, 3)):
            what, place = self.random.randrange(4), self.random.randrange(len(data) + 1)
            if what == 0:
                data[place:place] = self.random.randbytes(self.random.randint(1, 3))
            elif what == 1:
                del data[place:place + self.random.randint(1, 3)]
            elif place < len(data):
                data[place] = self.random.randrange(256) if what == 2 else data[place] ^ 1 << self.random.randrange(8)
        return bytes(data)


# ---- what Google's decoder takes and prost does not ------------------------------------------------------------------


class Walker:
    """Walks over a payload that Google's decoder has taken, and tells whether prost refuses it."""

    def __init__(self, data):
        self.data, self.position = data, 0

    def varint(self):
        """A varint's value, and whether it exceeds 64 bits."""
        value = shift = 0
        while True:
            byte = self.data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value & (1 << 64) - 1, value >> 64 != 0

    def is_refused(self, descriptor):
        while self.position < len(self.data):
            tag, wide = self.varint()
            if wide or tag > 0xFFFFFFFF or self.field_is_refused(descriptor.fields_by_number.get(tag >> 3), tag):
                return True
        return False

    def field_is_refused(self, known, tag):
        wire_type = tag & 7
        if known is not None and wire_type != expected_wire_type(known):
            return True
        if wire_type == 0:
            return self.varint()[1]
        if wire_type in (1, 5):
            self.position += 8 if wire_type == 1 else 4
            return False
        if wire_type == 3:
            return self.group_is_refused()
        length, wide = self.varint()
        start, self.position = self.position, self.position + length
        inner = known.message_type if known is not None else None
        return wide or inner is not None and Walker(self.data[start:self.position]).is_refused(inner)

    def group_is_refused(self):
        while True:
            tag, wide = self.varint()
            if wide or tag > 0xFFFFFFFF:
                return True
            if tag & 7 == 4:
                return False
            if self.field_is_refused(None, tag):
                return True


def expected_wire_type(member):
    return 2 if member.type in (member.TYPE_STRING, member.TYPE_BYTES, member.TYPE_MESSAGE) else 0


def may_have_long_key(payload):
    return any(all(byte >= 0x80 for byte in payload[i:i + 5]) for i in range(len(payload) - 5))


# ---- by hand: (words, kind, payload, what the library makes of it, what Google makes of it unless that is the same) --


def replaced(of, /, **values):
    """The default message with these values."""
    return {**as_dictionary(of.type()), **values}


NEGOTIATED, REFUSAL = as_dictionary(pb.Negotiated()), as_dictionary(pb.Refused())


def negotiated(**values):
    return {"negotiated": {**NEGOTIATED, **values}}


def refusal(**values):
    return {"refused": {**REFUSAL, **values}}


def unknown_fields(kinds):
    offer, reply = kinds["HandoffOffer"], kinds["HelloReply"]
    name = delimited(3, b"name")
    inside = number(1, 5) + delimited(2, b"x") + field(3, 1, b"8" * 8) + field(4, 5, b"4" * 4)
    unknown = {"varint": number(9, 2**64 - 1), "fixed64": field(9, 1, b"\xff" * 8), "bytes": delimited(9, b"\xff\xfe"),
               "no bytes": delimited(9, b""), "fixed32": field(9, 5, b"\xff" * 4), "group": groups(9, 1),
               "group with fields": groups(9, 1, inside), "group in a group": groups(9, 1, groups(8, 2, number(1, 1))),
               "largest tag": number(2**29 - 1, 1), "tag that protobuf reserves": number(19000, 1)}
    for words, data in unknown.items():
        yield f"{words} alone", offer, data, replaced(offer), None
        yield f"{words} around a known field", offer, data + name + data, replaced(offer, service_name=b"name"), None
        yield f"{words} in a message", reply, delimited(1, data + number(8, 7)), negotiated(connection_id=7), None
        yield (f"{words} in an entry", reply, delimited(2, delimited(5, data + delimited(1, b"k") + data)),
               refusal(details={b"k": b""}), None)
        for length in range(1, len(data)):
            yield f"{words} cut at {length}", offer, data[:length], REFUSED, None


def nested_groups(kinds):
    offer, reply = kinds["HandoffOffer"], kinds["HelloReply"]
    places = ((offer, lambda data: data, 100, replaced(offer)),
              (reply, lambda data: delimited(1, data), 99, negotiated()),
              (reply, lambda data: delimited(2, delimited(5, data)), 98, refusal(details={b"": b""})))
    for kind, around, most, expected in places:
        for depth in (1, most - 1, most):
            yield f"{depth} groups of {most}", kind, around(groups(9, depth)), expected, None
        one_less, full = (around(groups(9, depth, number(1, 1))) for depth in (most - 1, most))
        yield f"{most - 1} groups of {most} and a field", kind, one_less, expected, None
        yield f"{most} groups and a field", kind, full, REFUSED, expected  # GROUP_DEPTH
        for depth in (most + 1, 10000):
            yield f"{depth} groups of {most}", kind, around(groups(9, depth)), REFUSED, None
    yield "groups side by side", offer, groups(9, 1) * 1000, replaced(offer), None
    yield "the end of a group that did not begin", offer, key(9, 4), REFUSED, None
    yield "the end of another group", offer, key(9, 3) + key(8, 4), REFUSED, None
    yield "groups that cross", offer, key(9, 3) + key(8, 3) + key(9, 4) + key(8, 4), REFUSED, None
    yield "a group without an end", offer, key(9, 3) + number(4, 1), REFUSED, None
    yield "a group that ends outside of its message", reply, delimited(1, key(9, 3)) + key(9, 4), REFUSED, None


def repeated_fields(kinds):
    offer, reply = kinds["HandoffOffer"], kinds["HelloReply"]
    name = delimited(3, b"name")
    yield "the last number wins", offer, number(4, 1) + number(4, 2), replaced(offer, correlation_id=2), None
    yield "an explicit default wins too", offer, number(4, 1) + number(4, 0), replaced(offer), None
    yield "the last text wins", offer, delimited(3, b"longer") + name, replaced(offer, service_name=b"name"), None
    yield "an empty text wins too", offer, name + delimited(3, b""), replaced(offer), None
    yield "any order", offer, number(4, 9) + number(1, 3), replaced(offer, correlation_id=9, handle_value=3), None
    warned = b"".join(delimited(4, warning) for warning in (b"a", b"", b"a"))
    yield "a list keeps all", reply, delimited(1, warned), negotiated(warnings=[b"a", b"", b"a"]), None


def choices(kinds):
    reply = kinds["HelloReply"]
    first = delimited(1, number(8, 7) + delimited(4, b"w") + delimited(2, b"v"))
    again = delimited(1, number(1, 1) + delimited(4, b"x") + delimited(2, b"u"))
    detail = delimited(5, delimited(1, b"k") + delimited(2, b"v"))
    merged = {"negotiated_protocol": 1, "daemon_version": b"u", "connection_id": 7, "warnings": [b"w", b"x"]}
    anew = {"negotiated_protocol": 1, "daemon_version": b"u", "warnings": [b"x"]}
    for words, payload, expected in (
            ("no choice", b"", {}),
            ("an empty choice", delimited(1, b""), negotiated()),
            ("a choice that comes again is merged", first + again, negotiated(**merged)),
            ("another choice replaces the first", first + delimited(2, b""), refusal()),
            ("a choice that comes back starts anew", first + delimited(2, detail) + again, negotiated(**anew)),
            ("details are merged", delimited(2, detail) + delimited(2, delimited(5, delimited(1, b"l"))),
             refusal(details={b"k": b"v", b"l": b""})),
            ("the last value of a key wins", delimited(2, detail + delimited(5, delimited(1, b"k") + delimited(2, b"w"))),
             refusal(details={b"k": b"w"})),
            ("an empty entry", delimited(2, delimited(5, b"")), refusal(details={b"": b""})),
            ("a value before its key", delimited(2, delimited(5, delimited(2, b"v") + delimited(1, b"k"))),
             refusal(details={b"k": b"v"})),
            ("a key that comes twice", delimited(2, delimited(5, delimited(1, b"j") + delimited(1, b"k"))),
             refusal(details={b"k": b""})),
            ("a malformed choice after a good one", first + delimited(2, b"\x07"), REFUSED)):
        yield words, reply, payload, expected, None


def wire_types(kinds):
    offer, reply = kinds["HandoffOffer"], kinds["HelloReply"]
    for tag in (1, 2, 3, 4):
        for wire_type, data in ((0, b"\x05"), (1, b"8" * 8), (2, b"\x01x"), (5, b"4" * 4), (3, key(tag, 4))):
            if wire_type != (2 if tag in (2, 3) else 0):
                yield f"field {tag} as {wire_type}", offer, field(tag, wire_type, data), REFUSED, replaced(offer)
    yield "a choice as a varint", reply, number(1, 5), REFUSED, {}  # all of these: WRONG_TYPE
    for wire_type in (6, 7):
        yield f"wire type {wire_type}", offer, key(9, wire_type) + b"\0" * 16, REFUSED, None
        yield f"wire type {wire_type} in a group", offer, groups(9, 1, key(9, wire_type)), REFUSED, None


def texts(kinds):
    offer, reply = kinds["HandoffOffer"], kinds["HelloReply"]
    for bad in (b"\xff", b"\x80", b"\xc3", b"\xc3(", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf",
                b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80",
                b"\xe2\x82", b"\xf0\x9f\x98", b"ok\xfe"):
        yield f"text {bad!r}", offer, delimited(3, bad), REFUSED, None
        yield f"text {bad!r} before a good one", offer, delimited(3, bad) + delimited(3, b"good"), REFUSED, None
        yield f"bytes {bad!r}", offer, delimited(2, bad), replaced(offer, token=bad), None
        yield f"warning {bad!r}", reply, delimited(1, delimited(4, bad)), REFUSED, None
        for place in (1, 2):
            yield f"detail {bad!r}", reply, delimited(2, delimited(5, delimited(place, bad))), REFUSED, None
    for good in "\0\u007f\u0080\u07ff\u0800\ud7ff\ue000\ufffe\uffff\U00010000\U0010ffff\ufeff":
        yield f"text {good!r}", offer, delimited(3, good.encode()), replaced(offer, service_name=good.encode()), None


def varints(kinds):
    offer, ack, hello, frame = (kinds[name] for name in ("HandoffOffer", "HandoffAck", "Hello", "Frame"))
    five = replaced(offer, correlation_id=5)
    for length in range(1, 11):
        yield f"5 in {length} bytes", offer, key(4, 0) + padded_varint(5, length), five, None
        yield f"unknown 5 in {length} bytes", offer, key(9, 0) + padded_varint(5, length), replaced(offer), None
    yield "the largest", offer, number(4, 2**64 - 1), replaced(offer, correlation_id=2**64 - 1), None
    for last, low in ((2, 2**63 - 1), (3, 2**64 - 1), (0x7F, 2**64 - 1)):
        data = b"\xff" * 9 + bytes([last])
        yield f"a tenth byte {last}", offer, key(4, 0) + data, REFUSED, replaced(offer, correlation_id=low)  # OVERFLOW
        yield f"an unknown tenth byte {last}", offer, key(9, 0) + data, REFUSED, replaced(offer)  # OVERFLOW
    for tag in (4, 9):
        yield "eleven bytes", offer, key(tag, 0) + b"\x80" * 10 + b"\0", REFUSED, None
    yield "32 bits are kept", hello, number(1, 2**32 + 5), replaced(hello, client_min_protocol=5), None
    yield "a negative one", hello, number(10, 2**64 - 1), replaced(hello, peer_pid=2**32 - 1), None
    for value, kept in ((77, 77), (2**64 - 1, -1), (2**32 - 1, -1), (2**32 + 3, 3), (2**31, -(2**31))):
        yield f"enumerator {value}", frame, number(2, value), replaced(frame, kind=kept), None
    for value in (1, 2, 2**32, 2**63):
        yield f"{value} is true", ack, number(2, value), replaced(ack, accepted=True), None
    yield "zero in ten bytes is false", ack, key(2, 0) + padded_varint(0, 10), replaced(ack), None


def keys_and_lengths(kinds):
    offer, reply = kinds["HandoffOffer"], kinds["HelloReply"]
    five, named = replaced(offer, correlation_id=5), replaced(offer, service_name=b"name")
    for length in range(1, 11):
        google = None if length <= 5 else REFUSED  # LONG_KEY
        yield f"a key in {length} bytes", offer, padded_varint(4 << 3, length) + b"\x05", five, google
        yield f"a length in {length} bytes", offer, key(3, 2) + padded_varint(4, length) + b"name", named, google
    yield "a key beyond 32 bits", offer, varint(2**32 | 4 << 3) + b"\x05", REFUSED, five  # WIDE_KEY
    for words, data in (("alone", b"\0"), ("as a number", number(0, 1)), ("as bytes", delimited(0, b"x")),
                        ("in a group", groups(9, 1, number(0, 1)))):
        yield f"field number zero {words}", offer, data, REFUSED, None
    for length in (5, 127, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1):
        for tag in (3, 9):
            yield f"four bytes of {length}", offer, key(tag, 2) + varint(length) + b"name", REFUSED, None
    yield "a message longer than there is", reply, key(1, 2) + b"\x03" + number(8, 7), REFUSED, None
    yield "a field longer than its message", reply, delimited(1, key(2, 2) + b"\x05abc") + b"de", REFUSED, None


BY_HAND = [unknown_fields, nested_groups, repeated_fields, choices, wire_types, texts, varints, keys_and_lengths]


# ---- the checks ------------------------------------------------------------------------------------------------------


class Checks:
    def __init__(self):
        self.count = self.failures = 0

    def equal(self, words, got, expected):
        self.count += 1
        if got != expected:
            self.failures += 1
            if self.failures <= 20:
                print(f"FAILED: {words}\n  got      {got!r:.600}\n  expected {expected!r:.600}")


def check_by_hand(checks, kinds):
    for family in BY_HAND:
        for words, kind, payload, expected, google in family(kinds):
            words = f"{family.__name__}: {words}"
            checks.equal(words, kind.decode(payload, expected), expected)
            checks.equal(f"{words}, Google", kind.google_decodes(payload), expected if google is None else google)


def check_truncations(checks, kinds, generator):
    for kind in kinds.values():
        for _ in range(ROUNDS // 300):
            payload = generator.message(kind).SerializeToString()
            for length in range(len(payload)):
                google = kind.google_decodes(payload[:length])
                checks.equal(f"{kind.name}: {payload.hex()} cut at {length}", kind.decode(payload[:length], google), google)
            data = kind.wire(payload, 0)
            for length in range(len(data)):
                checks.equal(f"{kind.name}: {length} of {len(data)} bytes", kind.status_of(data[:length]), INCOMPLETE)


def check_mutations(checks, kinds, generator):
    """Google's verdict, unless prost refuses what Google has taken. What Google alone refuses (LONG_KEY) is left out."""
    taken = 0
    for kind in kinds.values():
        for _ in range(ROUNDS):
            payload = generator.mutated(generator.message(kind).SerializeToString()[:200])
            expected = kind.google_decodes(payload)
            if expected == REFUSED and may_have_long_key(payload):
                continue
            if expected != REFUSED and Walker(payload).is_refused(kind.type.DESCRIPTOR):
                expected = REFUSED
            taken += expected != REFUSED
            checks.equal(f"{kind.name}: {payload.hex()}", kind.decode(payload, expected), expected)
    checks.equal("enough mutations are messages all the same", taken > ROUNDS // 2, True)


def check_map_defaults(checks, kinds):
    """MAP_DEFAULT."""
    reply = kinds["HelloReply"]
    for name, value in (("", ""), ("k", ""), ("", "v")):
        message = pb.HelloReply()
        message.refused.details[name] = value
        entry = (delimited(1, name.encode()) if name else b"") + (delimited(2, value.encode()) if value else b"")
        short = delimited(2, delimited(5, entry))
        values = as_dictionary(message)
        checks.equal("a map's defaults are left out", reply.encode(values), reply.wire(short, 4711))
        checks.equal("Google writes them", message.SerializeToString() != short, True)
        for payload in (short, message.SerializeToString()):
            checks.equal("the library reads both", reply.decode(payload, values), values)
            checks.equal("Google reads both", reply.google_decodes(payload), values)


def check_many_details(checks, kinds, generator):
    """A map of several entries has no order of its own; the library's is by rising key."""
    reply = kinds["HelloReply"]
    for _ in range(100):
        message = pb.HelloReply()
        for _ in range(generator.random.randint(2, 20)):
            message.refused.details[generator.text()] = generator.text()
        values = as_dictionary(message)
        checks.equal("many details, decoded", reply.decode(message.SerializeToString(), values), values)
        frame = pb.Frame.FromString(reply.encode(values)[5:])
        checks.equal("many details, encoded", reply.google_decodes(frame.payload), values)
        order = list(reply.decode(frame.payload, values)["refused"]["details"])
        checks.equal("many details, in order", order, sorted(order))


def fill_from_vector(message, value):
    """Bytes, and integers of 64 bits, may be hexadecimal text."""
    for name, item in value.items():
        member = message.DESCRIPTOR.fields_by_name[name]
        if member.message_type is not None:
            getattr(message, name).update(item)
        elif member.label == member.LABEL_REPEATED:
            getattr(message, name).extend(item)
        elif member.type == member.TYPE_BYTES:
            setattr(message, name, bytes.fromhex(item))
        else:
            is_hex = isinstance(item, str) and member.type != member.TYPE_STRING
            setattr(message, name, int(item, 16) if is_hex else item)


def check_vectors(checks, kinds):
    """The crate's own bytes: Google and the library agree with them, both ways."""
    with open(VECTORS, encoding="utf-8") as file:
        vectors = json.load(file)["vectors"]
    for vector in vectors:
        choice = {"Negotiated": "negotiated", "Refused": "refused"}.get(vector["message"])
        kind = kinds["HelloReply" if choice else vector["message"]]
        message = kind.type()
        fill_from_vector(getattr(message, choice) if choice else message, vector["value"])
        payload = bytes.fromhex(vector["payload"])
        payload = delimited(1 if choice == "negotiated" else 2, payload) if choice else payload
        values, words = as_dictionary(message), f"vector {vector['name']}"
        checks.equal(f"{words}, Google", message.SerializeToString().hex(), payload.hex())
        checks.equal(f"{words}, decoded", kind.decode(payload, values), values)
        checks.equal(f"{words}, encoded", kind.encode(values), kind.wire(payload, kind.request_id(values)))
    names = {vector["name"] for vector in vectors}
    checks.equal("there are vectors of the first contact", {"hello", "negotiated", "refused"} <= names, True)


def main():
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(2**32)
    print(f"seed {seed}")
    silence_google()
    checks, kinds, generator = Checks(), kinds_of(Library(LIBRARY)), Generator(seed)
    check_vectors(checks, kinds)
    check_by_hand(checks, kinds)
    check_map_defaults(checks, kinds)
    check_many_details(checks, kinds, generator)
    check_truncations(checks, kinds, generator)
    check_mutations(checks, kinds, generator)
    print(f"{checks.count - checks.failures} passed, {checks.failures} failed")
    sys.exit(1 if checks.failures else 0)


main()
