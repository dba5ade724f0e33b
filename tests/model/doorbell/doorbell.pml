/* A session's doorbell: who is told that there is something to do. What spin is given; check.py has the numbers.
 *
 * The rules, and the properties by name. engine.pml is what there can be to do, threads.pml who does it. Whatever a
 * thread does with the session's lock held is one step here, and everybody else may move between two of those.
 *
 *   LOOPS, HANDLERS, WAITERS  how many threads there are of each kind: threads.pml
 *   LOOP_ASKS         loops ask for the timeout, or else they rely on the descriptor alone
 *   LOOP_TAKES        how many events a loop takes in one turn; 0: until there are none
 *   LOOP_SUBMITS      when a loop submits: 1 between process and timeout, 2 between timeout and poll, 3 either
 *   LOOP_ENDS         a loop may end, at the end of a turn
 *   CALLS             what handlers may call, any number of times: sums of SUBMIT, PROCESS, NEXT_EVENT, ANSWER
 *   HANDLER_IS_LOOP   the first handler's calls come from the thread that asked for the loop's timeout: a pool,
 *                     goroutines, coroutines
 *   EXECUTORS         how many of the waiters, the first, wait for the outcome of a handoff of their own
 *   LIMITS            waits may have limits
 *   FIXED_WATCH       the lookout cannot be told of other sockets, or of output, while it waits: poll(2), recvmsg(2)
 *   SUBMITS, ARRIVALS how many there are at most, in all
 *   BOUND             so many events at most may be queued by reading: with more, nothing is read
 *   FULL              the socket may be full at first
 */
#define SUBMIT 1
#define PROCESS 2
#define NEXT_EVENT 4
#define ANSWER 8

#define THREADS (LOOPS + HANDLERS + WAITERS) /* numbered in this order */
#define FIRST_HANDLER LOOPS
#define FIRST_WAITER (LOOPS + HANDLERS)
#define NOBODY 255

#define occurs(what) printf(what)

/* ---- Time. Deadlines are later than 0. An instant that has passed is due. */
#define AT_ONCE 0
#define UNASKED 1 /* no deadline is earlier, but what is at once is */
#define LAST 2
#define FOREVER 3
byte now;
#define is_due(instant) ((instant) <= now)
#define earlier(a, b) ((a) < (b) -> (a) : (b))
#define in_future(by) (now + by <= LAST -> now + by : FOREVER)

/* ---- Threads. */
mtype = { AWAKE, POLLING, WATCHING, SLEEPING, GONE };
mtype = { NOTHING, AN_EVENT, ITS_OUTCOME }; /* what a thread that waits waits for */
mtype is[THREADS];
mtype wants[THREADS];
byte until[THREADS];      /* it wakes by itself then */
bool woken[THREADS];      /* SLEEPING: its condition variable was signalled */
bool has_outcome[THREADS];

#include "engine.pml"

/* ---- The doorbell. */
bool loop_bell;
bool lookout_bell;
byte told = UNASKED;   /* what timeout answered last; AT_ONCE from its asker's process on, which is awake then */
byte told_to = NOBODY; /* the thread that asked */
byte lookout = NOBODY; /* the one of those that wait which waits on the sockets */
bool watch_input;      /* FIXED_WATCH: what it looks for, */
bool watch_output;     /* as it was when it began */

#define holds(i) ((wants[i] == AN_EVENT && events > 0) || (wants[i] == ITS_OUTCOME && has_outcome[i]))

/* An event that is queued is a deadline that is due, for a loop; so is all that the engine has put off. */
#ifdef BROKEN_PUT_OFF_UNTOLD
#define work_at deadline
#else
#define work_at (put_off -> AT_ONCE : deadline)
#endif
#define next_at (events > 0 -> AT_ONCE : work_at)
#define is_stale (next_at < told)

#if FIXED_WATCH
#define watch_differs (watch_input != wants_input || watch_output != wants_output)
#define input_seen(i) (arrived > 0 && (is[i] == POLLING -> wants_input : watch_input))
#define output_seen(i) (room && (is[i] == POLLING -> wants_output : watch_output))
#else
#define watch_differs false
#define input_seen(i) (arrived > 0 && wants_input)
#define output_seen(i) (room && wants_output)
#endif
#define sockets_ready(i) (input_seen(i) || output_seen(i))

#ifdef BROKEN_EARLIER_UNRUNG
#define lookout_oversleeps false
#else
#define lookout_oversleeps (work_at < until[lookout])
#endif
#ifdef BROKEN_WATCH_UNRUNG
#define lookout_is_needed (holds(lookout) || lookout_oversleeps)
#else
#define lookout_is_needed (holds(lookout) || lookout_oversleeps || watch_differs)
#endif

#ifdef BROKEN_ONE_BELL
#define rings_for_loop (loop_bell || lookout_bell)
#define rings_for_lookout (loop_bell || lookout_bell)
#else
#define rings_for_loop loop_bell
#define rings_for_lookout lookout_bell
#endif

#define may_wake(i) \
    (is[i] == AWAKE || (is[i] == POLLING && (rings_for_loop || sockets_ready(i) || is_due(until[i]))) || \
     (is[i] == WATCHING && (rings_for_lookout || sockets_ready(i) || is_due(until[i]))) || \
     (is[i] == SLEEPING && (woken[i] || is_due(until[i]))))

/* At the end of whatever a thread did with the lock held: the bells as they should be, rung or lowered, and those who
 * sleep woken if what they wait for is there. */
inline settle(thread)
{
#ifdef BROKEN_TOLD_THREAD_EXEMPT
    loop_bell = (thread == told_to -> loop_bell : is_stale);
#else
    loop_bell = is_stale;
#endif
    settle_waiters(thread)
}

inline settle_waiters(thread)
{
    if
    :: lookout != NOBODY && is[lookout] == WATCHING -> lookout_bell = lookout_is_needed
    :: else
    fi;
    for (n : 0 .. THREADS - 1) {
        if
#ifdef BROKEN_WOKEN_BY_READER_ONLY
        :: is[n] == SLEEPING && holds(n) && thread == lookout -> woken[n] = true
#elif defined BROKEN_ALL_ARE_WOKEN
        :: is[n] == SLEEPING -> woken[n] = true; was_needed[n] = was_needed[n] || holds(n)
#else
        :: is[n] == SLEEPING && holds(n) -> woken[n] = true; was_needed[n] = true
#endif
        :: else
        fi
    }
    n = 0
}

/* timeout: whoever asked last is told, and the bell is for what changes from here on. */
inline ask(loop, thread)
{
    told = (is_due(next_at) -> AT_ONCE : next_at);
    told_to = thread;
    last_to_ask = loop;
#ifndef BROKEN_LEFT_RAISED
    loop_bell = false
#endif
}

/* process. The thread that was told is awake now and will ask again, so nothing rings for it until then. Another's
 * process takes nothing from it. */
inline process(thread)
{
    read_input();
    advance();
    if
#ifdef BROKEN_ANY_PROCESS_CLEARS
    :: true -> told = AT_ONCE
#else
    :: told_to == thread -> told = AT_ONCE
#endif
    :: else
    fi;
#ifdef BROKEN_OTHERS_EVENTS_UNRUNG
    if
    :: told_to == thread -> loop_bell = is_stale
    :: else
    fi;
    settle_waiters(thread);
#else
    settle(thread);
#endif
#ifdef BROKEN_ANY_PROCESS_LOWERS
    loop_bell = false
#endif
}

/* Leaving a wait, for whatever reason: the office goes to one of those who sleep, who holds it from this step on. */
inline leave(me)
{
    wants[me] = NOTHING;
#ifdef BROKEN_LIMIT_PASSES_NOTHING
    pass = lookout == me && !limit_reached;
#else
    pass = lookout == me;
#endif
    if
    :: lookout == me -> lookout = NOBODY
    :: else
    fi;
    for (n : 0 .. THREADS - 1) {
        if
#ifndef BROKEN_NEVER_PASSED
        :: pass && is[n] == SLEEPING ->
           woken[n] = true;
           was_needed[n] = true;
#ifndef BROKEN_NOT_APPOINTED
           lookout = n;
#endif
           pass = false
#endif
        :: else
        fi
    }
    n = 0;
    pass = false;
    settle(me)
}

/* ---- The properties. ONLY is 0, which checks all, or the name of the one that a broken variant has to break. */
#define DESCRIPTOR_TELLS 1      /* the loop that asked last does not sleep while there is something to do or to take */
#define LOOKOUT_SEES 2          /* nor does the lookout, while there is something to do or what it waits for is there */
#define WAIT_RETURNS 3          /* nobody sleeps in a wait while what he waits for is there */
#define NOTHING_IS_LOST 4       /* not everybody sleeps while there is something to do, or to take for one of them */
#define NO_WAKE_WITHOUT_CAUSE 5 /* whoever wakes was needed, or its time has come */

byte last_to_ask = NOBODY;
bool was_needed[THREADS]; /* SLEEPING: what it waits for was there, or the office was given to it */

#define is_checked(property) (ONLY == 0 || ONLY == property)
#define check(property, what) assert(!is_checked(property) || (what))

#define is_deaf(i) (is[i] != AWAKE && is[i] != GONE && !may_wake(i))
#define loop_is_deaf(i) (is[i] == POLLING && last_to_ask == i && is_deaf(i) && (has_work || events > 0))
#define lookout_is_deaf(i) (is[i] == WATCHING && is_deaf(i) && (has_work || holds(i)))
#define sleeper_is_deaf(i) (is[i] == SLEEPING && is_deaf(i) && holds(i))
#define is_missed(i) (is_deaf(i) && (has_work || holds(i) || (is[i] == POLLING && events > 0)))

#if THREADS == 2
#define any(what) (what(0) || what(1))
#define nobody_may_wake (!may_wake(0) && !may_wake(1))
#elif THREADS == 3
#define any(what) (what(0) || what(1) || what(2))
#define nobody_may_wake (!may_wake(0) && !may_wake(1) && !may_wake(2))
#elif THREADS == 4
#define any(what) (what(0) || what(1) || what(2) || what(3))
#define nobody_may_wake (!may_wake(0) && !may_wake(1) && !may_wake(2) && !may_wake(3))
#endif

#define check_wake(me) \
    check(NO_WAKE_WITHOUT_CAUSE, is_due(until[me]) || has_work || holds(me) || \
          (is[me] == POLLING && (events > 0 || is_stale)) || \
          (is[me] == WATCHING && (work_at < until[me] || watch_differs)) || (is[me] == SLEEPING && was_needed[me]))

active proctype Audit()
{
    if
    :: atomic { is_checked(DESCRIPTOR_TELLS) && any(loop_is_deaf) -> assert(false) }
    :: atomic { is_checked(LOOKOUT_SEES) && any(lookout_is_deaf) -> assert(false) }
    :: atomic { is_checked(WAIT_RETURNS) && any(sleeper_is_deaf) -> assert(false) }
    :: atomic { is_checked(NOTHING_IS_LOST) && nobody_may_wake && any(is_missed) -> assert(false) }
    fi
}

#include "threads.pml"
