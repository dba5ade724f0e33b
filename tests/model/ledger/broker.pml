/* The broker: one process for each handoff, which is the state machine of one connection, and one for each session,
 * which reads answers, finishes partial sends and closes. They run, stop and die together, being one process of the
 * system. What they do in their own memory is one step with what comes next; each thing that the other side can see is
 * a step by itself. */

#define in_session(s) session[s].handoff[c]
#define is_settled(one) (one.verdict != 0 && (REUSE_AT_VERDICT || one.answer != 0))
#define is_free(s, i) (session[s].user[i] == 0 || is_settled(session[s].handoff[session[s].user[i] - 1]))
#if SLOTS == 1
#define has_free_slot(s) is_free(s, 0)
#else
#define has_free_slot(s) (is_free(s, 0) || is_free(s, 1))
#endif
#define may_offer(s) (session[s].state == OPEN && in_session(s).ticket == 0 && has_free_slot(s))
#define may_send(s) (session[s].state == OPEN && backend_end_open(s) && empty(rest[s]))

/* Why a handoff is decided. A cancel is like a deadline here: both may come at any time. */
mtype = { ANSWERED, DEADLINE, SEND_FAILED, PEER_GONE, SESSION_CLOSED };

byte submitted; /* connections are numbered as they are submitted, which loses nothing: until then they are alike */

inline take_slot()
{
    do
    :: is_free(s, i) -> break
    :: else -> i++
    od;
    session[s].user[i] = c + 1;
    session[s].tickets++;
    ticket = session[s].tickets;
    in_session(s).ticket = ticket
}

proctype Handoff(byte c) provided (broker_runs)
{
    byte s, i, ticket;
    mtype cause;

    submitted == c;
queued:
    /* In no session, and it may stay so at any time: a deadline, a cancel, no session left. */
    atomic {
        if
        :: may_offer(0) -> s = 0; take_slot()
#if SESSIONS > 1
        :: may_offer(1) -> s = 1; take_slot()
#endif
        :: goto stays
        fi;
        submitted = (submitted == c -> c + 1 : submitted)
    };
    page[s].slot[i].token = token_of(s, ticket);
    d_step { page[s].slot[i].ticket = ticket; page[s].slot[i].state = PENDING };

    if /* the send */
    :: atomic { may_send(s) && nfull(offers[s]) -> offers[s]!i, ticket, token_of(s, ticket), c }
    :: atomic { PARTIAL_SENDS && may_send(s) -> rest[s]!i, ticket, token_of(s, ticket), c }
    :: atomic { /* it fails after bytes were moved, perhaps all of them; the stream is lost */
           FAILED_SENDS && may_send(s) ->
           if
           :: nfull(offers[s]) -> offers[s]!i, ticket, token_of(s, ticket), c
           :: true
           fi;
           session[s].state = CLOSED;
           cause = SEND_FAILED;
           goto decide
       }
    :: atomic { /* it fails, or is given up before its turn, with no byte moved: BROKER whatever the slot says */
           true ->
           if
#ifndef BROKEN_UNSENT_STAYS_PENDING
           :: word_is(s, i, ticket, PENDING) -> page[s].slot[i].state = REVOKED
#endif
           :: else
           fi;
           occurs("not sent\n");
           in_session(s).answer = LOST; /* none will come */
           say(s, c, BROKER);
           goto decided
       }
    fi;

    /* AWAITING_ACK, or SENDING for as long as the rest is not out. */
    atomic {
        if
        :: in_session(s).answer != 0 -> cause = ANSWERED
        :: session[s].state == BACKEND_GONE -> cause = PEER_GONE
        :: session[s].state == CLOSED -> cause = SESSION_CLOSED
#ifndef BROKEN_NO_DEADLINE
        :: cause = DEADLINE
#endif
        fi;
decide: /* One strong compare-and-swap, and if it fails, the value that it saw. A broken variant may also do worse. */
        if
#ifdef BROKEN_NO_SWAP
        :: cause == ANSWERED && in_session(s).answer == ACK -> say(s, c, BACKEND)
        :: else -> say(s, c, BROKER)
#else
#ifdef BROKEN_ACK_IS_PROOF
        :: cause == ANSWERED && in_session(s).answer == ACK -> say(s, c, BACKEND)
#endif
#ifdef BROKEN_FAILED_SEND
        :: cause == SEND_FAILED -> say(s, c, BROKER)
#endif
#ifdef BROKEN_DEAD_IS_BROKER
        :: cause == PEER_GONE -> say(s, c, BROKER)
#endif
#ifdef BROKEN_CLOSE_WITHOUT_SWAP
        :: cause == SESSION_CLOSED -> say(s, c, BROKER)
#endif
        :: word_is(s, i, ticket, PENDING) ->
           page[s].slot[i].state = REVOKED;
           occurs("revoked\n");
           say(s, c, BROKER)
        :: word_is(s, i, ticket, REFUSED) ->
           occurs("refused\n");
           check(REFUSED_IS_CLOSED, !in_session(s).held);
           say(s, c, BROKER)
        :: word_is(s, i, ticket, ADOPTED) ->
           occurs("completed\n");
           say(s, c, BACKEND)
        :: else ->
           occurs("a value that is none of ours\n");
           check(HONEST_IS_NOT_BLAMED, !honest(s));
           session[s].state = CLOSED;
           say(s, c, BACKEND)
#endif
        fi
    };
#ifdef BROKEN_READS_AGAIN
    atomic {
        if
        :: in_session(s).verdict == BROKER && word_is(s, i, ticket, ADOPTED) -> say(s, c, BACKEND)
        :: else
        fi
    };
#endif

decided:
    atomic {
        i = 0;
        ticket = 0;
        if
        :: in_session(s).verdict == BROKER -> cause = 0; goto queued
        :: else
        fi;
        if
        :: cause != ANSWERED -> occurs("completed without an answer\n")
        :: else
        fi;
        if
        :: honest(s) && session[SESSIONS - 1 - s].handoff[c].verdict == BROKER -> occurs("completed after failover\n")
        :: else
        fi;
        cause = 0;
        outcome[c] = BACKEND;
        goto done
    };
stays:
    atomic {
        submitted = (submitted == c -> c + 1 : submitted);
        outcome[c] = BROKER;
        serve(c, THE_BROKER, true)
    };
done:
    skip
}

/* An answer only wakes. One for a ticket that is not in flight, or a second one, is passed over. */
inline note_answer(kind, its_ticket)
{
    for (c : 0 .. CONNECTIONS - 1) {
        if
        :: its_ticket != 0 && in_session(s).ticket == its_ticket && in_session(s).answer == 0 ->
           in_session(s).answer = kind
        :: else
        fi
    }
}

#define is_decided(s, c) (session[s].handoff[c].ticket == 0 || session[s].handoff[c].verdict != 0)
#if CONNECTIONS == 1
#define all_decided(s) is_decided(s, 0)
#elif CONNECTIONS == 2
#define all_decided(s) (is_decided(s, 0) && is_decided(s, 1))
#elif CONNECTIONS == 3
#define all_decided(s) (is_decided(s, 0) && is_decided(s, 1) && is_decided(s, 2))
#endif

proctype SessionEngine(byte s) provided (broker_runs)
{
    byte c, i, ticket, token;
    mtype kind;

    do
    :: d_step { session[s].state == OPEN && nempty(answers[s]) ->
           answers[s]?kind, ticket;
           note_answer(kind, ticket);
           kind = 0; ticket = 0; c = 0
       }
    :: d_step { session[s].state == OPEN && nempty(rest[s]) && nfull(offers[s]) ->
           rest[s]?i, ticket, token, c;
           offers[s]!i, ticket, token, c;
           i = 0; ticket = 0; token = 0; c = 0
       }
    :: session[s].state == OPEN && !backend_end_open(s) -> session[s].state = BACKEND_GONE
    :: CLOSES && session[s].state == OPEN -> session[s].state = CLOSED
    :: session[s].state != OPEN -> break
    od;
    all_decided(s); /* every PENDING slot has been swapped before the socket is closed */
    broker_open[s] = false
}
