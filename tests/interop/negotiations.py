"""A client asks a front door for a service: theirs at ours, ours at theirs, ours at ours.

The endpoint that clients reconnect to is served by this process.
"""

import os
import subprocess


SHORT = 400  # milliseconds: for scenarios in which a deadline has to pass
LONG = 20000
SERVICE = "demo"
VERSION = "1.0.0"
CLOSED = "closed or stopped"  # rp_handoff_strerror


class Visit:
    """A front door, a backend behind it (or none), an endpoint; and clients that come."""

    def __init__(self, scene, door, backend, backend_mode, delay=None, count=1, endpoint=True, wrapper=(),
                 session=False, **options):
        self.scene = scene
        self.endpoint = scene.endpoint() if endpoint else None
        self.backend = None
        if backend:
            self.backend = scene.start_listening(backend, "backend", "handoff", mode=backend_mode, delay_ms=delay,
                                                 count=count, session=session)
        settings = {"service": SERVICE, "version": VERSION, "backend_endpoint": scene.path("backend"),
                    "handoff_endpoint": scene.path("handoff"), "count": count, "session": session, **options}
        self.door = scene.start_listening(door, "broker" if door.release else "front-door", "broker", wrapper, **settings)

    def come(self, client, **options):
        settings = {"broker": self.scene.path("broker"), "service": SERVICE, "version": VERSION, **options}
        return self.scene.start(client, "client", **settings)

    def watch(self, ours):
        return self.scene.start(ours, "watch", stdin=subprocess.PIPE, broker=self.scene.path("broker"), service=SERVICE,
                                version=VERSION)

    def describe(self, client_line, met=True):
        """What client, front door and (if `met`) backend say, as one."""
        seen = {"client " + key: value for key, value in client_line.items()}
        seen["served by"] = self.who(client_line.get("served_by"))
        if "front-door" in self.door.command:
            seen.update({"door " + key: value for key, value in self.door.line().items()})
        if self.backend and met:
            line = self.backend.line()
            seen["backend"] = line.get("outcome")
            seen["backend read"] = line.get("served_byte")
        return seen

    def who(self, pid):
        if pid is None:
            return None
        if pid == os.getpid():
            return "endpoint"
        return "backend" if self.backend and pid == self.backend.pid else "door" if pid == self.door.pid else pid


HANDED_OVER = {"client route": "HandlePassed", "served by": "backend", "backend": "adopted", "backend read": ord("x")}
RECONNECTED = {"client route": "BrokerNegotiated", "served by": "endpoint"}
AT_OUR_DOOR = {"door result": "handed-off", "door ready_delivered": True, "door ownership": "backend"}


def fallback(cause, ownership, stage="await-ack", reason="BackendAckTimeout"):
    return {**RECONNECTED, "door result": "reconnect", "door ready_delivered": False, "door stage": stage,
            "door reason": reason, "door cause": cause, "door ownership": ownership}


def not_attempted():
    return {**RECONNECTED, "client token_exposed": False, "door result": "reconnect", "door attempted": False}


def refused(code, client):
    shown = {"client error_kind": "Refused"} if client.release else {"client route": "Refused"}
    return {**shown, "client refused_code": code, "door result": "refused", "door code": code}


def run(table, ours, theirs):
    for peer in theirs:
        table.begin(f"their client ({peer.release}), our front door")
        at_our_door(table, ours, peer, ours)
        behind_our_door(table, ours, peer, peer)
        table.begin(f"our client, their front door ({peer.release})")
        at_their_door(table, ours, peer)
    table.begin("our client, our front door")
    at_our_door(table, ours, ours, ours)
    for peer in theirs:
        behind_our_door(table, ours, ours, peer)
    only_our_client(table, ours)
    table.begin("what the broker writes to a client, and when")
    ready_frames(table, ours, theirs)


# ---- their client or ours at our door --------------------------------------------------------------------------------


def sides_of(client, door, backend):
    def side(peer):
        return "their" if peer.release else "our"

    return f"{side(client)} client, {side(door)} door, {side(backend)} backend" if backend else \
        f"{side(client)} client, {side(door)} door"


def release_of(*peers):
    releases = dict.fromkeys(peer.release for peer in peers if peer and peer.release)
    return "+".join(releases)


def one_visit(table, ours, client, name, expected, backend=None, mode="accept", met=True, adopt=True, delay=None,
              ready=LONG, service=SERVICE, version=VERSION, **door):
    def body(scene):
        visit = Visit(scene, ours, backend, mode, delay, **door)
        line = visit.come(client, adopt=adopt, ready_timeout_ms=ready, service=service, version=version).line()
        return visit.describe(line, met)

    table.scenario(sides_of(client, ours, backend), release_of(client, backend), name, expected, body)


def at_our_door(table, ours, client, backend):
    """What depends on the client and the door alone."""
    def row(name, expected, **options):
        one_visit(table, ours, client, name, expected, **options)

    row("adopting, accepted", {**HANDED_OVER, **AT_OUR_DOOR}, backend=backend)
    if client.release:  # it says that it could keep the connection, and will not
        row("not adopting", {**RECONNECTED, "door result": "handed-off", "backend": "adopted", "backend read": None},
            backend=backend, adopt=False)
    else:
        row("not adopting", not_attempted(), backend=backend, met=False, adopt=False)
    row("adopting, refused by the backend", fallback("backend-refused", "broker"), backend=backend, mode="refuse")
    row("adopting, the backend is silent", fallback("ack-timed-out", "ambiguous"), backend=backend, mode="silent",
        timeout_ms=SHORT, ready=3 * SHORT)
    row("adopting, the backend closes", fallback("backend-closed", "ambiguous"), backend=backend, mode="close")
    row("adopting, nobody is there", fallback("backend-unavailable", "broker", "send"))
    row("adopting, handoffs are disabled", not_attempted(), disabled=True)
    row("adopting, no handoff endpoint", not_attempted(), handoff_endpoint=None)
    row("adopting, the backend was inherited", not_attempted(), adopted_backend=True)
    row("an unknown service", refused(2, client), service="other")
    row("a blocked version", refused(8, client), version="1.0.1", allow="1.0.0")
    under_pressure(table, ours, client, backend)


def under_pressure(table, ours, client, backend):
    """Without descriptors at the first visit; its end is seen at the third accept(2) after it."""
    expected = {"routes": "BrokerNegotiated, refused 9, refused 9, HandlePassed", "cause": "descriptor-pressure",
                "reason": "FdPressureDisabled", "ownership": "broker", "retry after": 1000}

    def route(line):
        return line.get("route") if line.get("route") not in (None, "Refused") else f"refused {line.get('refused_code')}"

    def body(scene):
        visit = Visit(scene, ours, backend, "accept", count=4, starve=True)
        lines, doors = [], []
        for _ in range(4):
            lines.append(visit.come(client, adopt=True, ready_timeout_ms=LONG).line())
            doors.append(visit.door.line())
        return {**doors[0], "routes": ", ".join(map(route, lines)), "retry after": lines[1].get("retry_after_ms")}

    table.scenario(sides_of(client, ours, backend), release_of(client), "adopting, out of descriptors", expected, body)


def behind_our_door(table, ours, client, backend):
    """What depends on the backend: theirs."""
    def row(name, expected, mode, **options):
        one_visit(table, ours, client, name, expected, backend=backend, mode=mode, **options)

    row("adopting, accepted", {**HANDED_OVER, **AT_OUR_DOOR}, "accept")
    row("adopting, refused by the backend", fallback("backend-refused", "broker"), "refuse")
    row("adopting, the backend is silent", fallback("ack-timed-out", "ambiguous"), "silent", timeout_ms=SHORT,
        ready=3 * SHORT)
    row("adopting, an answer with another token", fallback("ack-unrelated", "ambiguous"), "wrong-token")


# ---- our client at their door ----------------------------------------------------------------------------------------


def at_their_door(table, ours, peer):
    def row(mode, backend, name, expected, backend_mode="accept", met=True, adopt=True):
        def body(scene):
            serve = mode == "serve"
            visit = Visit(scene, peer, backend, backend_mode, endpoint=not serve, mode=mode, separate_backend=not serve)
            return visit.describe(visit.come(ours, adopt=adopt, ready_timeout_ms=LONG).line(), met)

        table.scenario(sides_of(ours, peer, backend) + f" ({mode})", release_of(peer, backend), name, expected, body)

    for mode in ("hook", "serve"):
        home = {"client route": "BrokerNegotiated", "served by": "door" if mode == "serve" else "endpoint"}
        for backend in (ours, peer):
            row(mode, backend, "adopting, accepted", HANDED_OVER)
            row(mode, backend, "not adopting: nothing is handed over", {**home, "client token_exposed": False}, met=False,
                adopt=False)
            row(mode, backend, "adopting, refused by the backend", {**home, "backend": "refused"}, "refuse")


# ---- ours alone ------------------------------------------------------------------------------------------------------


def only_our_client(table, ours):
    def hung_up(times):
        def body(scene):
            visit = Visit(scene, ours, ours, "accept", count=2, hang_up=times)
            line = visit.come(ours, adopt=True, ready_timeout_ms=LONG).line()
            visits = [visit.door.line().get("result") for _ in range(2)]
            return {"client": line.get("route") or line.get("error"), "visits": ", ".join(visits)}

        return body

    sides = "our client, our door, our backend"
    table.scenario(sides, None, "the end before the reply is tried once more",
                   {"client": "HandlePassed", "visits": "hung-up, handed-off"}, hung_up(1))
    table.scenario(sides, None, "but not twice", {"client": CLOSED, "visits": "hung-up, hung-up"}, hung_up(2))

    def cached(scene):
        endpoint = scene.endpoint()
        line = scene.start(ours, "client", broker=scene.path("nobody"), service=SERVICE, version=VERSION,
                           cached=endpoint.path).line()
        return {**line, "served by this process": line.get("served_by") == os.getpid()}

    table.scenario("our client", None, "a cached endpoint needs no broker",
                   {"route": "HelloSkip", "served by this process": True}, cached)


# ---- the ready frame -------------------------------------------------------------------------------------------------


def watched(ours, door, backend, backend_mode, **options):
    """A client that only looks, and what the broker wrote to it by the end of its visit."""
    def body(scene):
        visit = Visit(scene, door, backend, backend_mode, **options)
        watch = visit.watch(ours)
        visit.door.line()
        watch.process.stdin.close()
        watch.process.stdin = None
        seen = watch.line()
        seen["served by"] = visit.who(seen.get("served_by"))
        return seen

    return body


def ready_frames(table, ours, theirs):
    silent = {"negotiated": True, "token_issued": True, "ready": False, "other_bytes": 0}
    told = {"negotiated": True, "token_issued": True, "ready": True, "other_bytes": 0, "served by": "backend"}
    cases = {"accept": told, "refuse": silent, "silent": silent, "close": silent, "wrong-token": silent,
             "malformed": silent}
    for mode, expected in cases.items():
        table.scenario("watch, our door, our backend", None, f"the backend's answer: {mode}", expected,
                       watched(ours, ours, ours, mode, timeout_ms=SHORT if mode == "silent" else LONG))
    table.scenario("watch, our door", None, "nobody is there", silent, watched(ours, ours, None, None))
    for peer in theirs:
        table.scenario("watch, their door, our backend", peer.release, "the backend's answer: accept", told,
                       watched(ours, peer, ours, "accept", mode="hook", separate_backend=True))
