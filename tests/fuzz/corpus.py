"""Makes a small seed corpus of the wire vectors: corpus.py VECTORS.json STAMP, into corpus/ beside the stamp.

One folder for each fuzz target. The seeds of offer_receiver are in the form that offer_receiver.cpp describes.
"""
import json
import pathlib
import sys

STEP = 4  # look at the socket after this piece
ONE_DESCRIPTOR = 1
REQUEST, RESPONSE = 0, 1
REPLIES = {"Negotiated": 1, "Refused": 2}  # their tags in a HelloReply


def pieces(data, size, step):
    """The bytes in pieces of that size, the descriptor on the first."""
    script = bytearray([0])
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        script += bytes([step | (0 if start else ONE_DESCRIPTOR), len(piece)]) + piece
    return bytes(script)


def offer_scripts(offer):
    whole = bytes(range(16)) + offer
    return {
        "whole": pieces(whole, 255, STEP),
        "bytewise": pieces(whole, 1, STEP),
        "token-first": pieces(whole, 16, 0),
        "twice": pieces(whole, 255, STEP) + pieces(whole, 255, STEP)[1:],
        "cut": pieces(whole[:-1], 255, STEP),
    }


def field(tag, payload):
    """A delimited field of less than 128 bytes."""
    return bytes([tag << 3 | 2, len(payload)]) + payload


def control_frame(kind, payload):
    body = bytes([8, 1, 16, kind]) + field(4, payload)
    return bytes([1]) + len(body).to_bytes(4, "little") + body


def seeds(vectors):
    found = {"messages": {}, "wire_api": {}, "offer_receiver": {}}
    for vector in vectors:
        name, message = vector["name"].replace(" ", "-"), vector["message"]
        payload = bytes.fromhex(vector["payload"])
        found["messages"][name] = payload
        if message == "Hello":
            found["wire_api"][name] = control_frame(REQUEST, payload)
        if message in REPLIES:
            reply = field(REPLIES[message], payload)
            found["messages"][name + "-reply"] = reply
            found["wire_api"][name + "-reply"] = control_frame(RESPONSE, reply)
        if "wire" in vector:
            wire = bytes.fromhex(vector["wire"])
            found["wire_api"][name] = wire
            found["messages"][name + "-frame"] = wire[5:]
            if message == "HandoffOffer":
                found["offer_receiver"] = offer_scripts(wire)
    return found


def main(source, stamp):
    with open(source, encoding="utf-8") as f:
        vectors = json.load(f)["vectors"]
    for target, files in seeds(vectors).items():
        folder = pathlib.Path(stamp).parent / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    pathlib.Path(stamp).touch()


main(sys.argv[1], sys.argv[2])
