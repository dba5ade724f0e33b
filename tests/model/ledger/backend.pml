/* An honest backend, or one thread of it. It answers every offer, whatever became of it. */

#ifdef BROKEN_TICKET_FROM_SLOT
#define ticket_expected page[s].slot[i].ticket
#else
#define ticket_expected ticket
#endif

#ifdef BROKEN_MISMATCH_IS_VIOLATION
#define is_violation true
#else
#define is_violation word_is(s, i, ticket, PENDING)
#endif

#define at_end_of_stream(s) (empty(offers[s]) && !broker_end_open(s))

inline answer(kind)
{
    if
    :: answers[s]!kind, ticket
    :: CARELESS_ANSWERS
    fi
}

inline close_duplicate()
{
    session[s].handoff[c].held = false
}

inline touch()
{
    d_step { serve(c, BACKEND_OF(s), honest(s)) }
}

proctype Backend(byte s) provided (backend_runs[s])
{
    byte i, ticket, token, c;

next_offer:
    if
    :: atomic { backend_open[s] && nempty(offers[s]) ->
           offers[s]?i, ticket, token, c;
           session[s].handoff[c].held = honest(s)
       }
    :: at_end_of_stream(s) -> goto done
    :: !backend_open[s] -> goto done /* another thread has closed it */
    :: CLOSES && backend_open[s] -> backend_open[s] = false; goto done
    fi;
    if
    :: CARELESS_ANSWERS -> answers[s]!ACK, ticket
    :: true
    fi;

    if
    :: page[s].slot[i].token == token
    :: else -> /* the slot has been recycled, or the page is not what it should be: its word, read now, tells */
       if
       :: is_violation -> check(HONEST_IS_NOT_BLAMED, !honest(s)); backend_open[s] = false; goto done
       :: else -> occurs("recycled before the look\n"); goto lost
       fi
    fi;
    if
    :: goto adopt
    :: goto refuse
    fi;

adopt: /* The swap comes before the first touch. Reply and ACK may leave in any order. */
#ifdef BROKEN_TOUCHES_FIRST
    touch();
#endif
    atomic {
        if
        :: word_is(s, i, ticket_expected, PENDING) ->
           page[s].slot[i].state = ADOPTED;
           note_adoption(s, c);
           if
           :: !broker_lives -> occurs("adopted from a dead broker\n")
           :: else
           fi
        :: else ->
           if
           :: word_is(s, i, ticket, REVOKED) -> occurs("revoked before the swap\n")
           :: else -> occurs("recycled before the swap\n")
           fi;
           goto lost
        fi
    };
#ifdef BROKEN_TOUCHES_FIRST
    answer(ACK);
#else
    if
    :: touch(); answer(ACK)
    :: answer(ACK); touch()
    fi;
#endif
    goto answered;

refuse: /* The duplicate is closed first: from the swap on the broker may use the connection. */
#ifndef BROKEN_REFUSES_FIRST
    close_duplicate();
#endif
    atomic {
        if
        :: word_is(s, i, ticket, PENDING) -> page[s].slot[i].state = REFUSED
        :: else
        fi
    };
#ifdef BROKEN_REFUSES_FIRST
    close_duplicate();
#endif
    answer(NACK);
    goto answered;

lost:
    close_duplicate();
#ifndef BROKEN_LOST_UNANSWERED
    answer(LOST);
#endif

answered:
    atomic { i = 0; ticket = 0; token = 0; c = 0; goto next_offer };
done:
    skip
}
