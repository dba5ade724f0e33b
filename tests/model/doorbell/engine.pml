/* What there can be to do in a session, and the world that makes it: input, room for output, the time. No rule about
 * bells is here. */

byte events;             /* queued, for next_event */
byte deadline = FOREVER; /* the nearest; when it is due, process makes an outcome of it */
byte arrived;            /* messages that nobody has read */
bool unsent;             /* output that met a full socket */
bool room = true;        /* the socket would take some */
bool put_off;            /* output that waits for the next process, or for next_event to answer 0 */

byte submits_left = SUBMITS;
byte arrivals_left = ARRIVALS;

#ifdef BROKEN_STALLED_IS_WATCHED
#define wants_input true
#else
#define wants_input (events < BOUND)
#endif
#define wants_output unsent

/* process would do something. */
#define has_work ((arrived > 0 && events < BOUND) || (unsent && room) || is_due(deadline) || put_off)

/* Of a handoff that a thread executes, or else an event. */
inline make_outcome()
{
    if
    :: events++
#if EXECUTORS > 0
    :: wants[FIRST_WAITER] == ITS_OUTCOME && !has_outcome[FIRST_WAITER] ->
       has_outcome[FIRST_WAITER] = true
#endif
#if EXECUTORS > 1
    :: wants[FIRST_WAITER + 1] == ITS_OUTCOME && !has_outcome[FIRST_WAITER + 1] -> has_outcome[FIRST_WAITER + 1] = true
#endif
    fi
}

/* Deadlines go with the handoffs that they are of. */
inline read_input()
{
    do
    :: arrived > 0 && events < BOUND ->
       arrived--;
       make_outcome();
       if
       :: deadline = FOREVER
       :: skip
       fi
    :: else -> break
    od
}

inline send(later)
{
    if
    :: room
    :: !room -> unsent = true
    :: later -> put_off = true
    fi
}

inline flush()
{
    if
    :: put_off -> put_off = false; send(false)
    :: else
    fi;
    unsent = unsent && !room
}

inline advance()
{
    if
    :: is_due(deadline) -> deadline = FOREVER; make_outcome()
    :: else
    fi;
    flush()
}

inline submit()
{
    submits_left--;
    if
    :: deadline = earlier(deadline, in_future(1))
    :: deadline = earlier(deadline, in_future(2))
    fi;
    send(true)
}

proctype World()
{
    do
    :: atomic { arrivals_left > 0 && arrived < 2 -> arrivals_left--; arrived++ }
    :: atomic {
           !room ->
           if
           :: unsent -> occurs("output waited for room\n")
           :: else
           fi;
           room = true
       }
    :: now < LAST -> now++
    od
}
