"""A broker hands a live connection to a backend: theirs to ours, ours to theirs, ours to ours.

The connection leads to a target of this process, which says one byte and reads the answer of whoever holds it.
"""

from harness import Contains, OneOf

SHORT = 400  # milliseconds: for scenarios in which a deadline has to pass
LONG = 20000

COMPLETED = {"outcome": "completed", "stage": None, "reason": None}
NO_PROOF = {"outcome": "fallback", "stage": "await-ack", "reason": "BackendAckTimeout"}
SERVED = {"backend": "adopted", "byte": "x", "served by the backend": True}
UNSERVED = {"byte": None}

# Theirs tells with 4.10.21 alone who may use the connection.
THEIR_REFUSAL = {"4.5.7": {}, "4.10.21": {"explicitly_rejected": True, "must_relinquish": False}}
THEIR_DOUBT = {"4.5.7": {}, "4.10.21": {"explicitly_rejected": False, "must_relinquish": True}}
THEIR_TIMEOUT = {"4.5.7": "Resource temporarily unavailable", "4.10.21": "timed out"}

SPOILED = {  # mode of a backend: the cause that ours sees
    "wrong-token": "ack-unrelated",
    "wrong-correlation": "ack-malformed",
    "wrong-request-id": "ack-malformed",
    "wrong-kind": "ack-malformed",
    "wrong-protocol": "ack-malformed",
    "malformed": "ack-malformed",
    "bad-framing": "ack-malformed",
    "close": "backend-closed",
}
SPOILED_BY_OURS = {**SPOILED, "wrong-ids": "ack-unrelated"}  # a whole answer, to another handoff
REFUSALS = {
    "refuse": "handoff token is not pending",
    "mismatch": "handoff token mismatch",
    "expired": "handoff token expired",
}


def play(broker, backend, mode, family="unix", timeout=LONG, delay=None, dial=False):
    def body(scene):
        target = scene.target(family)
        serving = scene.start_listening(backend, "backend", "handoff", mode=mode, delay_ms=delay)
        sending = scene.start(broker, "send", socket=scene.path("handoff"), target=target.address, dial=dial,
                              timeout_ms=None if dial else timeout)
        target.ask()
        seen = sending.line()
        sending.lines()
        got = serving.line()
        answer = target.answer()
        seen["backend"] = got.get("outcome")
        seen["offered"] = got.get("offer", {}).get("token") if got.get("offer") else got.get("token")
        seen["same token"] = seen["offered"] == seen.get("token")
        seen["acknowledged"] = got.get("ack_delivered")
        seen["byte"] = answer[0] if answer else None
        seen["served by the backend"] = bool(answer) and answer[1] == serving.pid
        seen["dropped offers"] = got.get("rejected_offers")
        seen["leaked"] = sum(line.get("descriptors_leaked", 0) for line in serving.lines())
        return seen

    return body


def run(table, ours, theirs):
    for peer in theirs:
        table.begin(f"their broker ({peer.release}), our backend")
        their_broker(table, ours, peer)
        table.begin(f"our broker, their backend ({peer.release})")
        our_broker(table, ours, peer)
    table.begin("our broker, our backend")
    among_ours(table, ours)


def their_broker(table, ours, peer):
    def row(name, expected, mode, **options):
        table.scenario("their send, our backend", peer.release, name, expected, play(peer, ours, mode, **options))

    done = {"tokens_pending": 0, "acks_pending": 0}
    for family in ("tcp", "unix"):
        row(f"accept, a {family} connection",
            {**COMPLETED, **SERVED, **done, "must_relinquish": True, "same token": True, "leaked": 0}, "accept",
            family=family)
        row(f"refuse, a {family} connection",
            {**NO_PROOF, **UNSERVED, **done, **THEIR_REFUSAL[peer.release], "backend": "refused", "leaked": 0,
             "detail": Contains("backend refused the handoff: the backend is full")}, "refuse", family=family)
    row("silent until their deadline",
        {**NO_PROOF, **UNSERVED, **done, **THEIR_DOUBT[peer.release], "backend": "silent",
         "detail": Contains(THEIR_TIMEOUT[peer.release])}, "silent", timeout=SHORT)
    row("acceptance after their deadline",
        {**NO_PROOF, **SERVED, **done, **THEIR_DOUBT[peer.release], "acknowledged": False,
         "leaked": 0}, "accept", timeout=SHORT, delay=5 * SHORT)
    for mode in SPOILED_BY_OURS:
        row(f"answer: {mode}", {**NO_PROOF, **UNSERVED, **done, **THEIR_DOUBT[peer.release], "backend": mode}, mode)
    row("16 bytes without an offer, then the end",
        {"outcome": "sent", "backend": "dropped", "dropped offers": 1, **UNSERVED, "leaked": 0}, "accept", dial=True)


def our_broker(table, ours, peer):
    def row(name, expected, mode, **options):
        table.scenario("our send, their backend", peer.release, name, expected, play(ours, peer, mode, **options))

    done = {"tokens_pending": 0, "acks_pending": 0}
    doubt = {**NO_PROOF, **done, "ownership": "ambiguous", "fd_reached": True}
    for family in ("tcp", "unix"):
        row(f"accept, a {family} connection",
            {**COMPLETED, **SERVED, **done, "cause": None, "ownership": "backend", "same token": True}, "accept",
            family=family)
    for mode, text in REFUSALS.items():
        row(mode, {**NO_PROOF, **UNSERVED, **done, "cause": "backend-refused", "ownership": "broker",
                   "backend": "refused", "detail": "backend refused the handoff: " + text}, mode)
    row("silent until our deadline",
        {**doubt, **UNSERVED, "cause": "ack-timed-out", "backend": "silent", "detail": Contains("timed out")}, "silent",
        timeout=SHORT)
    # Theirs loses what it has accepted if it cannot say so.
    row("acceptance after our deadline",
        {**doubt, **UNSERVED, "cause": "ack-timed-out", "detail": Contains("timed out"), "backend": "failed"}, "late",
        timeout=SHORT, delay=5 * SHORT)
    for mode, cause in SPOILED.items():
        row(f"answer: {mode}", {**doubt, **UNSERVED, "cause": cause,
                                "backend": "closed" if mode == "close" else "sabotaged"}, mode)
    row("adopts on the 16 bytes, never reads the offer", {**doubt, **SERVED, "cause": "backend-closed"}, "sideband")
    # It takes the token's bytes for a client's, and answers unless the first of them looks like a frame's.
    row("an endpoint that knows no handoffs",
        {**doubt, **UNSERVED, "cause": OneOf(("ack-malformed", "backend-closed"))}, "plain")


def among_ours(table, ours):
    def row(name, expected, mode, **options):
        table.scenario("our send, our backend", None, name, expected, play(ours, ours, mode, **options))

    done = {"tokens_pending": 0, "acks_pending": 0}
    doubt = {**NO_PROOF, **done, "ownership": "ambiguous", "fd_reached": True}
    for family in ("tcp", "unix"):
        row(f"accept, a {family} connection",
            {**COMPLETED, **SERVED, **done, "ownership": "backend", "same token": True, "leaked": 0}, "accept",
            family=family)
    row("refuse", {**NO_PROOF, **UNSERVED, **done, "cause": "backend-refused", "ownership": "broker",
                   "backend": "refused", "leaked": 0}, "refuse")
    row("silent until the deadline", {**doubt, **UNSERVED, "cause": "ack-timed-out", "backend": "silent"}, "silent",
        timeout=SHORT)
    row("acceptance after the deadline",
        {**doubt, **SERVED, "cause": "ack-timed-out", "acknowledged": False, "leaked": 0},
        "accept", timeout=SHORT, delay=5 * SHORT)
    for mode, cause in SPOILED_BY_OURS.items():
        row(f"answer: {mode}", {**doubt, **UNSERVED, "cause": cause, "backend": mode}, mode)
