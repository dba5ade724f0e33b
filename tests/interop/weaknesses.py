"""Where the crate misbehaves: a row that shows it, and next to it one that shows ours in the same situation.

The numbers are those of WEAKNESSES.md.
"""

import re
import shutil
import statistics

from exchanges import play
from harness import PATIENCE, Scene
from negotiations import LONG, RECONNECTED, Visit

HOOK = {"mode": "hook", "separate_backend": True}
THE_CRATE = "the crate: "
SAMPLES = 40
WHO = {None: "nobody", 1: "the first client", 2: "the second client"}


def run(table, ours, theirs):
    table.begin("weaknesses of the crate, and ours in the same place")
    traced = shutil.which("strace") is not None
    if not traced:
        table.skip("interop: W08 and W20, system calls", "strace is missing")
    for peer in theirs:
        false_ready(table, ours, peer)
        correlation_ids(table, ours, peer)
        invisible_opt_in(table, ours, peer)
        abandoned_socket(table, ours, peer)
        late_acceptance(table, ours, peer)
        blocked_door(table, ours, peer)
    for peer in [*theirs, ours]:
        if traced:
            sleeping_calls(table, ours, peer)
            separate_writes(table, ours, peer)
    times(table, ours, theirs)


def door_options(door):
    return HOOK if door.release else {}


def false_ready(table, ours, peer):
    """W01: the backend closes instead of answering, and an adopting client is told that it is ready."""
    def at(door):
        def body(scene):
            visit = Visit(scene, door, ours, "close", **door_options(door))
            return visit.describe(visit.come(peer, adopt=True, ready_timeout_ms=LONG).line())

        return body

    unserved = {"client route": "HandlePassed", "served by": None}
    table.scenario("their client, their door, our backend", peer.release, THE_CRATE + "W01 no answer from the backend",
                   unserved if peer.release == "4.10.21" else RECONNECTED, at(peer))
    table.scenario("their client, our door, our backend", peer.release, "W01 no answer from the backend", RECONNECTED,
                   at(ours))


def correlation_ids(table, ours, peer):
    """W11: two clients, one after the other."""
    def at(door):
        def body(scene):
            options = {"mode": "serve"} if door.release else {}
            visit = Visit(scene, door, ours, "accept", count=2, endpoint=not door.release, **options)
            ids = []
            for _ in range(2):
                visit.come(peer, adopt=True, ready_timeout_ms=LONG).line()
                ids.append(visit.backend.line().get("correlation"))
            return {"all are 1": ids == [1, 1], "all differ": len(set(ids)) == 2}

        return body

    table.scenario("their client, their door, our backend", peer.release, THE_CRATE + "W11 correlation ids of two clients",
                   {"all are 1": True, "all differ": False}, at(peer))
    table.scenario("their client, our door, our backend", peer.release, "W11 correlation ids of two clients",
                   {"all are 1": False, "all differ": True}, at(ours))


def invisible_opt_in(table, ours, peer):
    """W12: a client that does not adopt."""
    def at(client, met):
        def body(scene):
            visit = Visit(scene, peer, ours, "accept", **HOOK)
            return visit.describe(visit.come(client).line(), met)

        return body

    table.scenario("their client, their door, our backend", peer.release, THE_CRATE + "W12 a client that does not adopt",
                   {**RECONNECTED, "client token_exposed": True, "backend": "adopted", "backend read": None},
                   at(peer, True))
    table.scenario("our client, their door, our backend", peer.release, "W12 a client that does not adopt",
                   {**RECONNECTED, "client token_exposed": False}, at(ours, False))


def abandoned_socket(table, ours, peer):
    """W13: the client gives up waiting while the backend still holds its connection without a word. Whether the backend
    sees the end of that connection while the client, reconnected, lives on."""
    def by(one, patience):
        def body(scene):
            visit = Visit(scene, one, ours, "hold", **(door_options(one) or {"timeout_ms": LONG}))
            visit.endpoint.hold()
            limits = {"reply_timeout_ms": LONG} if one.release else {"timeout_ms": LONG}
            client = visit.come(one, adopt=True, ready_timeout_ms=300, **limits)
            visit.endpoint.visited.wait(PATIENCE)
            seen_early = not visit.backend.is_silent(patience)
            visit.endpoint.let_go()
            line = client.line()
            return {"route": line.get("route"), "served by": visit.who(line.get("served_by")),
                    "the backend sees the end": "at once" if seen_early else "with the client's process"}

        return body

    expected = {"route": "BrokerNegotiated", "served by": "endpoint"}
    table.scenario("their client, their door, our backend", peer.release, THE_CRATE + "W13 the ready frame does not come",
                   {**expected, "the backend sees the end": "with the client's process"}, by(peer, 2))
    table.scenario("our client, our door, our backend", None, "W13 the ready frame does not come",
                   {**expected, "the backend sees the end": "at once"}, by(ours, PATIENCE / 4))


def late_acceptance(table, ours, peer):
    """W13: the backend accepts between the client's patience and the broker's. On this wire nobody can prevent that; the
    client is served all the same, and the backend sees the end of what it adopted."""
    def by(one):
        def body(scene):
            visit = Visit(scene, one, ours, "accept", delay=1500, **door_options(one))
            return visit.describe(visit.come(one, adopt=True, ready_timeout_ms=300).line())

        return body

    expected = {**RECONNECTED, "backend": "adopted", "backend read": None}
    table.scenario("their client, their door, our backend", peer.release, THE_CRATE + "W13 accepted too late", expected,
                   by(peer))
    table.scenario("our client, our door, our backend", None, "W13 accepted too late", expected, by(ours))


def blocked_door(table, ours, peer):
    """W09: a second client comes while the first one's backend is silent."""
    def at(door):
        def body(scene):
            options = HOOK if door.release else {"threads": 2, "timeout_ms": LONG}
            visit = Visit(scene, door, ours, "silent", count=2, **options)
            visit.come(peer, adopt=True, ready_timeout_ms=LONG)
            scene.await_connection("handoff", visit.door)
            second = visit.come(ours).line()
            return {"second client": second.get("route"), "done first": WHO[visit.door.line().get("connection_id")]}

        return body

    table.scenario("their client, then ours, their door", peer.release, THE_CRATE + "W09 a silent backend",
                   {"second client": "BrokerNegotiated", "done first": "the first client"}, at(peer))
    table.scenario("their client, then ours, our door", peer.release, "W09 a silent backend",
                   {"second client": "BrokerNegotiated", "done first": "the second client"}, at(ours))


# ---- system calls ----------------------------------------------------------------------------------------------------


def strace(log, calls):
    return ["strace", "-f", "-qq", "-yy", "-e", "trace=" + calls, "-o", log]


def sleeping_calls(table, ours, peer):
    """W08: sends to a backend that takes 30 ms to answer, and counts the calls that only sleep."""
    def body(scene):
        target = scene.target("unix")
        scene.start_listening(ours, "backend", "handoff", delay_ms=30)
        log = scene.path("log")
        sending = scene.start(peer, "send", strace(log, "nanosleep,clock_nanosleep"), socket=scene.path("handoff"),
                              target=target.address)
        target.ask()
        outcome = sending.line().get("outcome")
        sending.lines()
        with open(log, encoding="utf-8") as calls:
            return {"outcome": outcome, "sleeps": "sleep" in calls.read()}

    quantised = peer.release == "4.10.21"
    prefix = THE_CRATE if peer.release else ""
    table.scenario("their send, our backend" if peer.release else "our send, our backend", peer.release,
                   prefix + "W08 waiting for the answer", {"outcome": "completed", "sleeps": quantised}, body)


def separate_writes(table, ours, peer):
    """W20: the writes of a front door during one adopted visit."""
    def body(scene):
        log = scene.path("log")
        visit = Visit(scene, peer, ours, "accept", wrapper=strace(log, "write,writev,sendto,sendmsg"),
                      **door_options(peer))
        route = visit.come(ours, adopt=True, ready_timeout_ms=LONG).line().get("route")
        visit.door.lines()
        with open(log, encoding="utf-8") as calls:
            return {"route": route, **count_writes(calls.readlines())}

    offer, ready = (3, 2) if peer.release else (1, 1)
    prefix = THE_CRATE if peer.release else ""
    table.scenario("our client, their door, our backend" if peer.release else "our client, our door, our backend",
                   peer.release, prefix + "W20 writes of the door",
                   {"route": "HandlePassed", "for descriptor, token and offer": offer, "for the ready frame": ready}, body)


def count_writes(calls):
    """The ready frame is what comes after the descriptor on another connection."""
    control, offer, ready = None, 0, 0
    for call in calls:
        connection = re.search(r"\(\d+<UNIX-STREAM:\[(\d+)", call)
        if not connection:
            continue
        if "SCM_RIGHTS" in call:
            control = connection[1]
        if control is not None:
            offer += connection[1] == control
            ready += connection[1] != control
    return {"for descriptor, token and offer": offer, "for the ready frame": ready}


# ---- times -----------------------------------------------------------------------------------------------------------


def times(table, ours, theirs):
    """W08: 40 handoffs each, all to our backend, from before the dial to the verdict. The medians are information. A
    backend that takes 1 ms to answer tells who sleeps in steps: the fastest of them needs a whole step."""
    def samples(peer, delay):
        with Scene() as scene:
            target = scene.target("unix")
            scene.start_listening(ours, "backend", "handoff", count=SAMPLES, delay_ms=delay)
            micros = []
            for _ in range(SAMPLES):
                sending = scene.start(peer, "send", socket=scene.path("handoff"), target=target.address)
                target.ask()
                line = sending.line()
                sending.lines()
                target.connection.close()
                micros.append(line.get("call_micros", line["micros"]))
            return micros

    def sides(peer):
        return "their send, our backend" if peer.release else "our send, our backend"

    for peer in [*theirs, ours]:
        table.information(sides(peer), peer.release, f"W08 median of {SAMPLES}",
                          f"{statistics.median(samples(peer, None)):.0f} us")
    own = min(samples(ours, 1))
    for peer in theirs:
        their = min(samples(peer, 1))
        what = "W08 the fastest handoff with an answer after 1 ms"
        table.information("their send or ours, our backend", peer.release, what, f"theirs {their:.0f} us, ours {own:.0f} us")
        if peer.release == "4.10.21":
            table.row("their send or ours, our backend", peer.release, THE_CRATE + what,
                      {"theirs takes at least twice as long": True}, {"theirs takes at least twice as long": their >= 2 * own})
