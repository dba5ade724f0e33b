"""What of the session protocol is searched: see README.md."""
from machinery import Configuration, Variant

MODEL = "session.pml"
OPTIONS = ()
MARKED = ("broker.pml", "backend.pml")
AUDITED = True
DEFAULTS = dict(SESSIONS=1, SLOTS=1, CONNECTIONS=2, WORKERS=1, STREAM=1, ANSWERS=2, REUSE_AT_VERDICT=0, PARTIAL_SENDS=0,
                FAILED_SENDS=0, CARELESS_ANSWERS=0, CLOSES=0, FORKS=0, BACKEND_DIES=0, BACKEND_STOPS=0, BROKER_DIES=0,
                BROKER_STOPS=0, HOSTILE=0, FAIRNESS=0)

USUAL = {"completed", "completed without an answer", "refused", "revoked", "not sent", "revoked before the swap"}
RECYCLED = {"recycled before the look", "recycled before the swap"}
ORPHAN = {"adopted from a dead broker"}
FAILOVER = {"completed after failover"}
FOREIGN = {"a value that is none of ours"}
ALL_MISFORTUNES = dict(BACKEND_DIES=1, BACKEND_STOPS=1, BROKER_DIES=1, BROKER_STOPS=1)
CONFIGURATIONS = [
    Configuration("every handoff ends", None, dict(HOSTILE=2, ANSWERS=1, FAIRNESS=1)),
    Configuration("more handoffs than slots", USUAL, dict(CONNECTIONS=3, ANSWERS=3, STREAM=2)),
    Configuration("two slots", USUAL, dict(CONNECTIONS=3, ANSWERS=3, STREAM=2, SLOTS=2)),
    Configuration("reuse under a stale offer", USUAL | RECYCLED,
                  dict(CONNECTIONS=3, ANSWERS=3, STREAM=2, REUSE_AT_VERDICT=1)),
    Configuration("two threads", USUAL | RECYCLED, dict(WORKERS=2, STREAM=2, SLOTS=2, REUSE_AT_VERDICT=1)),
    Configuration("answers early, twice, never", USUAL | RECYCLED, dict(CONNECTIONS=3, ANSWERS=6, CARELESS_ANSWERS=1)),
    Configuration("partial and failed sends", USUAL | RECYCLED,
                  dict(STREAM=2, PARTIAL_SENDS=1, FAILED_SENDS=1, REUSE_AT_VERDICT=1)),
    Configuration("deaths and stops", USUAL | RECYCLED | ORPHAN,
                  dict(PARTIAL_SENDS=1, FAILED_SENDS=1, REUSE_AT_VERDICT=1, **ALL_MISFORTUNES)),
    Configuration("closes", USUAL | RECYCLED, dict(CLOSES=1, PARTIAL_SENDS=1, REUSE_AT_VERDICT=1)),
    Configuration("fork of the broker", USUAL | ORPHAN, dict(FORKS=1, BROKER_DIES=1, BACKEND_DIES=1)),
    Configuration("fork of the backend", USUAL | ORPHAN, dict(FORKS=2, BROKER_DIES=1, BACKEND_DIES=1)),
    Configuration("failover", USUAL | FAILOVER, dict(SESSIONS=2)),
    Configuration("failover from the dead", USUAL | FAILOVER | ORPHAN,
                  dict(SESSIONS=2, CONNECTIONS=1, BROKER_DIES=1, BACKEND_DIES=1)),
    Configuration("failover from the stopped", USUAL | FAILOVER,
                  dict(SESSIONS=2, CONNECTIONS=1, BROKER_STOPS=1, BACKEND_STOPS=1)),
    Configuration("hostile backend", USUAL - {"revoked before the swap"} | FOREIGN, dict(HOSTILE=2, ANSWERS=1)),
    Configuration("hostile page of an honest backend", USUAL | RECYCLED | FOREIGN, dict(HOSTILE=1, CONNECTIONS=1)),
    Configuration("hostile backend beside an honest one", USUAL | FAILOVER | FOREIGN,
                  dict(HOSTILE=2, SESSIONS=2, CONNECTIONS=1, ANSWERS=1)),
]

VARIANTS = [
    Variant("NO_SWAP", "more handoffs than slots", "ONE_OWNER"),
    Variant("NO_SWAP", "failover", "NO_ADOPTION_AFTERWARDS"),
    Variant("TICKET_FROM_SLOT", "reuse under a stale offer", "ONE_OWNER"),
    Variant("TICKET_FROM_SLOT", "answers early, twice, never", "NO_ADOPTION_AFTERWARDS"),
    Variant("NO_TICKET", "reuse under a stale offer", "ONE_OWNER"),
    Variant("NO_TICKET", "answers early, twice, never", "NO_ADOPTION_AFTERWARDS"),
    Variant("FAILED_SEND", "partial and failed sends", "ONE_OWNER"),
    Variant("UNSENT_STAYS_PENDING", "more handoffs than slots", "NOTHING_STAYS_PENDING"),
    Variant("DEAD_IS_BROKER", "deaths and stops", "VERDICT_IS_A_FACT"),
    Variant("DEAD_IS_BROKER", "failover from the dead", "ONE_OWNER"),
    Variant("CLOSE_WITHOUT_SWAP", "closes", "ONE_OWNER"),
    Variant("ACK_IS_PROOF", "answers early, twice, never", "VERDICT_IS_A_FACT"),
    Variant("TOUCHES_FIRST", "more handoffs than slots", "ONE_OWNER"),
    Variant("REFUSES_FIRST", "more handoffs than slots", "REFUSED_IS_CLOSED"),
    Variant("MISMATCH_IS_VIOLATION", "reuse under a stale offer", "HONEST_IS_NOT_BLAMED"),
    Variant("CHILD_SWAPS", "fork of the broker", "VERDICT_IS_A_FACT"),
    Variant("CHILD_SWAPS", "fork of the backend", "REFUSED_IS_CLOSED"),
    Variant("READS_AGAIN", "hostile backend", "VERDICT_IS_FINAL"),
    Variant("LOST_UNANSWERED", "more handoffs than slots", "ALL_ARE_ANSWERED"),
    Variant("NO_DEADLINE", "deaths and stops", "HAS_AN_OUTCOME"),
    Variant("NO_DEADLINE", "every handoff ends", "HAS_AN_OUTCOME"),
]
