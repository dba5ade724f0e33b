/* The threads: loops, handlers, those that wait. */

inline submit_and_settle(thread)
{
    submit();
#ifndef BROKEN_SUBMIT_UNSETTLED
    settle(thread)
#endif
}

/* next_event: one, or none, and then what was put off is sent. */
inline next_event(thread)
{
    if
    :: events > 0 -> events--
    :: else -> flush()
    fi;
    settle(thread)
}

/* timeout, poll, process, next_event. */
proctype Loop(byte me)
{
    byte n, taken;

    do
    :: atomic {
           if
           :: LOOP_ASKS -> ask(me, me); until[me] = told
           :: else -> last_to_ask = me; until[me] = FOREVER
           fi
       };
       if
       :: LOOP_SUBMITS >= 2 ->
          atomic { submits_left > 0 -> submit_and_settle(me); occurs("a loop submits after it asked\n") }
       :: true
       fi;
       is[me] = POLLING;
       atomic {
           may_wake(me) ->
           if
           :: loop_bell -> occurs("the bell wakes a loop\n")
           :: until[me] != AT_ONCE && is_due(until[me]) -> occurs("a deadline wakes a loop\n")
           :: else
           fi;
           check_wake(me);
           is[me] = AWAKE;
           until[me] = AT_ONCE
       };
       atomic { process(me) };
       do
       :: atomic { events > 0 && (LOOP_TAKES == 0 || taken < LOOP_TAKES) -> taken++; next_event(me) }
       :: atomic { events == 0 -> next_event(me); break }
       :: atomic { LOOP_TAKES != 0 && taken == LOOP_TAKES -> break }
       od;
       atomic {
           taken = 0;
           if
           :: LOOP_ENDS -> is[me] = GONE; break
           :: (LOOP_SUBMITS & 1) && submits_left > 0 -> submit_and_settle(me)
           :: true
           fi
       }
    od
}

/* Any calls, in any order. */
proctype Handler(byte me; byte thread)
{
    byte n;

    do
    :: atomic { (CALLS & SUBMIT) && submits_left > 0 -> submit_and_settle(thread) }
    :: atomic { CALLS & PROCESS -> process(thread) }
    :: atomic { (CALLS & NEXT_EVENT) && events > 0 ->
           next_event(thread);
           occurs("a handler takes an event\n")
       }
    :: atomic { (CALLS & ANSWER) && submits_left > 0 ->
           submits_left--;
           send(true);
           settle(thread)
       }
    :: atomic { is[me] = GONE; break }
    od
}

/* It returns, or waits as the lookout, or sleeps. */
inline look(me)
{
    limit_reached = is_due(limit);
    if
    :: holds(me) || limit_reached -> leave(me)
    :: else ->
       if
       :: lookout == NOBODY || lookout == me ->
          lookout = me;
          until[me] = earlier(limit, work_at);
          watch_input = wants_input;
          watch_output = wants_output;
          is[me] = WATCHING
       :: else ->
          until[me] = limit;
          woken[me] = false;
          was_needed[me] = false;
          is[me] = SLEEPING
       fi
    fi
}

/* wait, and then next_event; or execute. Again and again, or not. */
proctype Waiter(byte me; bool executes)
{
    byte n, limit;
    bool pass, limit_reached;

    do
    :: atomic {
           if
           :: limit = FOREVER
           :: LIMITS && now < LAST -> limit = now + 1
           fi;
           if
           :: executes ->
              submits_left > 0;
              submit();
              wants[me] = ITS_OUTCOME;
              has_outcome[me] = false
           :: else -> wants[me] = AN_EVENT
           fi;
           read_input();
           advance();
           settle(me);
           look(me)
       };
       do
       :: atomic { is[me] != AWAKE && may_wake(me) ->
              if
              :: is[me] == WATCHING && lookout_bell -> occurs("the bell wakes the lookout\n")
              :: is[me] == WATCHING && is_due(until[me]) -> occurs("a deadline wakes the lookout\n")
              :: is[me] == SLEEPING && woken[me] && lookout != me -> occurs("a thread that sleeps is woken\n")
              :: is[me] == SLEEPING && lookout == me -> occurs("the office is passed on\n")
              :: else
              fi;
              check_wake(me);
              is[me] = AWAKE;
              until[me] = AT_ONCE
          };
          atomic {
              if
              :: lookout == me ->
#ifndef BROKEN_LEFT_RUNG
                 lookout_bell = false;
#endif
                 read_input();
                 advance();
                 settle(me)
              :: else
              fi;
              look(me)
          }
       :: is[me] == AWAKE -> break
       od;
       atomic {
           limit = 0;
           limit_reached = false;
           if
           :: !executes && events > 0 -> next_event(me)
           :: true
           fi
       }
    :: is[me] = GONE; break
    od
}

init
{
    byte i;
    atomic {
        for (i : 0 .. THREADS - 1) {
            is[i] = AWAKE;
            wants[i] = NOTHING;
            if
            :: i < FIRST_HANDLER -> run Loop(i)
            :: i >= FIRST_HANDLER && i < FIRST_WAITER ->
              run Handler(i, (HANDLER_IS_LOOP && i == FIRST_HANDLER -> 0 : i))
            :: i >= FIRST_WAITER -> run Waiter(i, i < FIRST_WAITER + EXECUTORS)
            fi
        }
        if
        :: FULL -> room = false
        :: skip
        fi;
        run World();
        i = 0
    }
}
