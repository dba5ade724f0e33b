"""What of the doorbell is searched: see README.md."""
from machinery import Configuration, Variant

MODEL = "doorbell.pml"
OPTIONS = ("-o3",)  # statements are not merged: what was merged is not told as unreached
MARKED = ("engine.pml", "threads.pml")
AUDITED = False  # it stays where it is for as long as nothing is wrong
SUBMIT, PROCESS, NEXT_EVENT, ANSWER = 1, 2, 4, 8
DEFAULTS = dict(LOOPS=0, HANDLERS=0, WAITERS=0, LOOP_ASKS=1, LOOP_TAKES=0, LOOP_SUBMITS=0, LOOP_ENDS=0, CALLS=0,
                HANDLER_IS_LOOP=0, EXECUTORS=0, LIMITS=0, FIXED_WATCH=0, SUBMITS=2, ARRIVALS=2, BOUND=2, FULL=1)

ROOM = {"output waited for room"}
LOOP = ROOM | {"the bell wakes a loop", "a deadline wakes a loop"}
LOOKOUT = ROOM | {"the bell wakes the lookout", "a deadline wakes the lookout"}
SLEEPER = {"a thread that sleeps is woken", "the office is passed on"}
STEALS = {"a handler takes an event"}
LATE = {"a loop submits after it asked"}

CONFIGURATIONS = [
    Configuration("loop and submitter", LOOP, dict(LOOPS=1, HANDLERS=1, CALLS=SUBMIT | ANSWER)),
    Configuration("loop and thief", LOOP | STEALS,
                  dict(LOOPS=1, HANDLERS=1, CALLS=SUBMIT | PROCESS | NEXT_EVENT | ANSWER)),
    Configuration("loop that takes one event a turn", LOOP | STEALS,
                  dict(LOOPS=1, HANDLERS=1, LOOP_TAKES=1, CALLS=SUBMIT | PROCESS | NEXT_EVENT | ANSWER)),
    Configuration("loop that never asks", LOOP - {"a deadline wakes a loop"} | STEALS,
                  dict(LOOPS=1, HANDLERS=1, LOOP_ASKS=0, LOOP_TAKES=1, CALLS=PROCESS | NEXT_EVENT | ANSWER)),
    Configuration("loop that submits", LOOP | LATE | STEALS,
                  dict(LOOPS=1, HANDLERS=1, LOOP_SUBMITS=3, CALLS=PROCESS | NEXT_EVENT)),
    Configuration("loop and other calls of its thread", LOOP | STEALS,
                  dict(LOOPS=1, HANDLERS=1, HANDLER_IS_LOOP=1, CALLS=SUBMIT | NEXT_EVENT | ANSWER)),
    Configuration("two loops", LOOP | STEALS | LATE,
                  dict(LOOPS=2, HANDLERS=1, LOOP_TAKES=1, LOOP_SUBMITS=3, CALLS=SUBMIT | PROCESS | NEXT_EVENT)),
    Configuration("two that wait", LOOKOUT | SLEEPER | STEALS,
                  dict(WAITERS=2, HANDLERS=1, LIMITS=1, CALLS=SUBMIT | PROCESS | NEXT_EVENT | ANSWER)),
    Configuration("three that wait", (LOOKOUT | SLEEPER) - ROOM,
                  dict(WAITERS=3, HANDLERS=1, LIMITS=1, SUBMITS=1, ARRIVALS=1, FULL=0, CALLS=SUBMIT)),
    Configuration("loop and waiter", LOOP | LOOKOUT | STEALS,
                  dict(LOOPS=1, HANDLERS=1, WAITERS=1, LIMITS=1, LOOP_TAKES=1,
                       CALLS=SUBMIT | PROCESS | NEXT_EVENT | ANSWER)),
    Configuration("waiter and executor", LOOKOUT | SLEEPER,
                  dict(HANDLERS=1, WAITERS=2, EXECUTORS=1, LIMITS=1, BOUND=1, CALLS=SUBMIT | PROCESS)),
    Configuration("two that execute, and a loop", LOOP | LOOKOUT | SLEEPER,
                  dict(LOOPS=1, WAITERS=2, EXECUTORS=2, LIMITS=1, ARRIVALS=1)),
    Configuration("two that wait on sockets as they were", LOOKOUT | SLEEPER | STEALS,
                  dict(WAITERS=2, HANDLERS=1, LIMITS=1, FIXED_WATCH=1, BOUND=1, CALLS=SUBMIT | PROCESS | NEXT_EVENT)),
]

VARIANTS = [
    Variant("SUBMIT_UNSETTLED", "loop and submitter", "DESCRIPTOR_TELLS"),
    Variant("SUBMIT_UNSETTLED", "two that wait", "LOOKOUT_SEES"),
    Variant("TOLD_THREAD_EXEMPT", "loop that submits", "DESCRIPTOR_TELLS"),
    Variant("TOLD_THREAD_EXEMPT", "loop and other calls of its thread", "DESCRIPTOR_TELLS"),
    Variant("ANY_PROCESS_CLEARS", "loop and thief", "DESCRIPTOR_TELLS"),
    Variant("ANY_PROCESS_LOWERS", "loop and thief", "DESCRIPTOR_TELLS"),
    Variant("OTHERS_EVENTS_UNRUNG", "loop and thief", "DESCRIPTOR_TELLS"),
    Variant("PUT_OFF_UNTOLD", "loop and submitter", "DESCRIPTOR_TELLS"),
    Variant("PUT_OFF_UNTOLD", "two that wait", "LOOKOUT_SEES"),
    Variant("LEFT_RAISED", "two loops", "NO_WAKE_WITHOUT_CAUSE"),
    Variant("ONE_BELL", "loop and waiter", "NO_WAKE_WITHOUT_CAUSE"),
    Variant("EARLIER_UNRUNG", "two that wait", "LOOKOUT_SEES"),
    Variant("LEFT_RUNG", "two that wait", "NO_WAKE_WITHOUT_CAUSE"),
    Variant("WATCH_UNRUNG", "two that wait on sockets as they were", "LOOKOUT_SEES"),
    Variant("STALLED_IS_WATCHED", "waiter and executor", "NO_WAKE_WITHOUT_CAUSE"),
    Variant("NEVER_PASSED", "two that wait", "NOTHING_IS_LOST"),
    Variant("LIMIT_PASSES_NOTHING", "two that wait", "NOTHING_IS_LOST"),
    Variant("NOT_APPOINTED", "three that wait", "NOTHING_IS_LOST"),
    Variant("WOKEN_BY_READER_ONLY", "two that wait", "WAIT_RETURNS"),
    Variant("ALL_ARE_WOKEN", "waiter and executor", "NO_WAKE_WITHOUT_CAUSE"),
]
