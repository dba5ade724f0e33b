"""A client, theirs or ours, at our front door, which reaches its backend through a session.

The reply to the client's Hello waits for the verdict: an adopted client gets reply and ready frame from its backend, any
other a reply without a token from the broker.
"""

from negotiations import AT_OUR_DOOR, HANDED_OVER, LONG, RECONNECTED, SERVICE, VERSION, Visit, not_attempted, release_of, \
    sides_of, watched

VERDICT_MICROS = 500_000  # so long at most does a client wait for its reply


def fallback(cause, stage="await-ack"):
    """The broker's own, told at once and without a token."""
    return {**RECONNECTED, "client token_exposed": False, "door result": "reconnect", "door stage": stage,
            "door reason": "BackendAckTimeout", "door cause": cause, "door ownership": "broker"}


def run(table, ours, theirs):
    for peer in theirs:
        table.begin(f"their client ({peer.release}), our front door, a session behind it")
        at_our_door(table, ours, peer)
    table.begin("our client, our front door, a session behind it")
    at_our_door(table, ours, ours)
    table.begin("what comes to a client whose broker has a session, and when")
    replies(table, ours)


def at_our_door(table, ours, client):
    def row(name, expected, body):
        table.scenario(sides_of(client, ours, ours), release_of(client), name, expected, body)

    row("adopting, accepted", {**HANDED_OVER, **AT_OUR_DOOR}, one_visit(ours, client, "accept"))
    if client.release:  # it says that it could keep the connection, and will not
        row("not adopting", {**RECONNECTED, "door result": "handed-off", "backend": "adopted", "backend read": None},
            one_visit(ours, client, "accept", adopt=False))
    else:
        row("not adopting", not_attempted(), one_visit(ours, client, "accept", met=False, adopt=False))
    row("adopting, refused by the backend", {**fallback("backend-refused"), "backend": "refused"},
        one_visit(ours, client, "refuse"))
    row("adopting, a backend that speaks first", {**HANDED_OVER, **AT_OUR_DOOR, "client greeted": True},
        one_visit(ours, client, "greet"))
    row("adopting, the backend is dead", {**fallback("session-lost", "send"), "next": "BrokerNegotiated"},
        dead_backend(ours, client))
    row("adopting, the backend dies before it answers", fallback("session-lost"), dying_backend(ours, client))
    row("adopting, the backend is stopped", {**fallback("ack-timed-out"), "backend": "revoked", "waited for ready": False},
        stopped_backend(table, ours, client))
    row("three clients in a row, one session", {"served by": ["backend"] * 3, "routes": ["HandlePassed"] * 3},
        many_visits(ours, client, 3))


def come(visit, client, adopt=True):
    return visit.come(client, adopt=adopt, ready_timeout_ms=LONG)


def one_visit(ours, client, mode, met=True, adopt=True):
    def body(scene):
        visit = Visit(scene, ours, ours, mode, session=True)
        line = come(visit, client, adopt).line()
        seen = visit.describe(line, met)
        seen["client greeted"] = (line.get("reply") or "").startswith("g")
        return seen

    return body


def dead_backend(ours, client):
    """And the session is known to be over at the next visit."""
    def body(scene):
        visit = Visit(scene, ours, ours, "accept", count=2, session=True)
        visit.backend.kill()
        seen = visit.describe(come(visit, client).line(), met=False)
        seen["next"] = come(visit, client).line().get("route")
        return seen

    return body


def dying_backend(ours, client):
    def body(scene):
        visit = Visit(scene, ours, ours, "hold", session=True)
        coming = come(visit, client)
        visit.backend.line()  # it has the offer
        visit.backend.kill()
        return visit.describe(coming.line(), met=False)

    return body


def stopped_backend(table, ours, client):
    """The verdict does not wait for the client's ready timeout, and the backend finds the offer revoked."""
    def body(scene):
        visit = Visit(scene, ours, ours, "accept", count=2, session=True)
        come(visit, client).line()
        visit.door.line()
        visit.backend.line()
        visit.backend.stop()
        line = come(visit, client).line()
        visit.backend.go_on()
        seen = visit.describe(line)
        seen["waited for ready"] = line.get("connect_micros") >= LONG * 1000
        table.information(sides_of(client, ours, ours), release_of(client), "microseconds to the verdict, to the connection",
                          f"{seen.get('door micros')} (at most {VERDICT_MICROS} are meant), {line.get('connect_micros')}")
        return seen

    return body


def many_visits(ours, client, count):
    def body(scene):
        visit = Visit(scene, ours, ours, "accept", count=count, session=True)
        lines = [come(visit, client).line() for _ in range(count)]
        return {"routes": [line.get("route") for line in lines],
                "served by": [visit.who(line.get("served_by")) for line in lines]}

    return body


def replies(table, ours):
    """A client that only looks. A fallback's reply names no token: there is nothing to wait for."""
    told = {"negotiated": True, "token_issued": True, "ready": True, "other_bytes": 0, "served by": "backend"}
    fell_back = {"negotiated": True, "token_issued": False, "ready": False, "other_bytes": 0}
    for mode, expected in (("accept", told), ("refuse", fell_back), ("hold", fell_back)):
        table.scenario("watch, our door, our backend", None, f"a session's backend: {mode}", expected,
                       watched(ours, ours, ours, mode, session=True))
