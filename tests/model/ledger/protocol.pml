/* What all sides share: the pages, the streams, the broker's memory, and the properties. No behaviour of anybody: that
 * is in broker.pml, backend.pml and world.pml.
 *
 * A configuration gives a number to each of these, a broken variant defines one BROKEN_... more; check.py has them all.
 *
 *   SESSIONS, SLOTS, CONNECTIONS  how many there are; a session has one backend and one page
 *   WORKERS           threads of a backend; they take offers in turn and may finish them in any order
 *   STREAM, ANSWERS   offers, answers that fit into a session's socket
 *   REUSE_AT_VERDICT  the broker reuses a slot from its own verdict on, and not only after the answer
 *   PARTIAL_SENDS     a send may move a part of the offer; the rest follows later
 *   FAILED_SENDS      a send may fail after it has moved bytes: some, or all of them
 *   CARELESS_ANSWERS  a backend may answer early, twice, or never
 *   CLOSES            either side may close the session at any time
 *   FORKS             1 the broker, 2 the backend forks a child that destroys the handles which it inherited
 *   BACKEND_DIES, BACKEND_STOPS, BROKER_DIES, BROKER_STOPS  between any two steps; see world.pml
 *   HOSTILE           session 0's page is written, and answers are sent in it, by somebody who wishes us ill: 1 beside
 *                     an honest backend, 2 in place of one
 *   FAIRNESS          the property is that every handoff ends, however long the rest of the world goes on
 */
#if HOSTILE
#define honest(s) (s != 0)
#else
#define honest(s) true
#endif

/* What must have happened somewhere in a configuration, or it has shown nothing. */
#define occurs(what) printf(what)

/* ---- The page, which broker and backend have mapped. Ticket and state are one word, written and swapped as one. */
mtype = { PENDING, ADOPTED, REFUSED, REVOKED };

typedef Slot { byte ticket; mtype state; byte token };
typedef Page { Slot slot[SLOTS] };
Page page[SESSIONS];

#ifdef BROKEN_NO_TICKET
#define word_is(s, i, its_ticket, its_state) (page[s].slot[i].state == its_state)
#else
#define word_is(s, i, its_ticket, its_state) \
    (page[s].slot[i].ticket == its_ticket && page[s].slot[i].state == its_state)
#endif

/* Tickets never repeat in a session, tokens nowhere; 0 is none of either. */
#define token_of(s, its_ticket) ((s) * CONNECTIONS + its_ticket)

/* ---- The streams of a session: offers {slot, ticket, token, connection}, of which the last is the descriptor, and
 * answers {kind, ticket}. An offer whose bytes did not all fit into the socket is in `rest`: its descriptor went with
 * the first byte, but no honest backend acts on it before the last. */
mtype = { ACK, NACK, LOST };

chan offers[SESSIONS] = [STREAM] of { byte, byte, byte, byte };
chan rest[SESSIONS] = [1] of { byte, byte, byte, byte };
chan answers[SESSIONS] = [ANSWERS] of { mtype, byte };

/* ---- The broker's own memory. A connection is offered once at most in each session. Two members are not the broker's
 * to know: `held`, an honest backend has the duplicate; `adopted`, it has swapped to ADOPTED for this connection. */
mtype = { BROKER, BACKEND };            /* verdicts */
mtype = { OPEN, BACKEND_GONE, CLOSED }; /* states of a session */

typedef HandoffRecord { byte ticket; mtype answer; mtype verdict; bool held; bool adopted };
typedef SessionRecord { mtype state = OPEN; byte tickets; byte user[SLOTS]; HandoffRecord handoff[CONNECTIONS] };
SessionRecord session[SESSIONS];
mtype outcome[CONNECTIONS];             /* what the broker's caller was told in the end */

/* ---- Who moves, and which ends of the streams are open. */
bool broker_lives = true;
bool broker_runs = true;
bool backend_runs[SESSIONS] = true;
bool broker_open[SESSIONS] = true;
bool backend_open[SESSIONS] = true;
bool child_open;                        /* a forked child has copies of its parent's */

#define broker_end_open(s) (broker_open[s] || (FORKS == 1 && child_open))
#define backend_end_open(s) (backend_open[s] || (FORKS == 2 && child_open))

/* ---- The properties. Each has a name and is checked here, or at the place that it is about. ONLY is 0, which checks
 * all, or the name of the one that a broken variant has to break. */
#define ONE_OWNER 1               /* a client's connection is touched by one process at most */
#define NO_ADOPTION_AFTERWARDS 2  /* none after BROKER was said, nor twice */
#define VERDICT_IS_A_FACT 3       /* BROKER only of what no backend has adopted, BACKEND only of what one has */
#define VERDICT_IS_FINAL 4        /* it is said once */
#define HAS_AN_OUTCOME 5          /* every handoff of a broker that runs */
#define NOTHING_STAYS_PENDING 6   /* no slot of a handoff that has its verdict */
#define ALL_ARE_ANSWERED 7        /* all offers, by a backend that runs */
#define REFUSED_IS_CLOSED 8       /* the duplicate of what was refused, when the broker sees that it was */
#define HONEST_IS_NOT_BLAMED 9    /* nobody ends a session for a violation that was none */

#define check(property, holds) assert((ONLY != 0 && ONLY != property) || (holds))

#define NOBODY 0
#define THE_BROKER 1
#define BACKEND_OF(s) (2 + s)
byte server[CONNECTIONS];

/* Before a process touches the client's connection. What a backend makes of a hostile page does not count. */
inline serve(which, who, counts)
{
    check(ONE_OWNER, !(counts) || server[which] == NOBODY);
    server[which] = (counts -> who : server[which])
}

inline say(s, which, what)
{
    check(VERDICT_IS_FINAL, session[s].handoff[which].verdict == 0);
    check(VERDICT_IS_A_FACT, !honest(s) || (what == BACKEND) == session[s].handoff[which].adopted);
    session[s].handoff[which].verdict = what
}

inline note_adoption(s, which)
{
    check(NO_ADOPTION_AFTERWARDS, !honest(s) || (session[s].handoff[which].verdict == 0 &&
                                                !session[s].handoff[which].adopted));
    session[s].handoff[which].adopted = honest(s)
}

#if CONNECTIONS == 1
#define all_have_outcomes (outcome[0] != 0)
#elif CONNECTIONS == 2
#define all_have_outcomes (outcome[0] != 0 && outcome[1] != 0)
#elif CONNECTIONS == 3
#define all_have_outcomes (outcome[0] != 0 && outcome[1] != 0 && outcome[2] != 0)
#endif

#if FAIRNESS
ltl every_handoff_ends { <> all_have_outcomes }
#else
/* Once nothing moves any more, and unless the broker is dead or was stopped for good. */
active proctype Audit()
{
    byte c, s, i;

    timeout;
    d_step {
        broker_runs;
        check(HAS_AN_OUTCOME, all_have_outcomes);
        for (c : 0 .. CONNECTIONS - 1) {
            check(ONE_OWNER, (outcome[c] == BROKER) == (server[c] == THE_BROKER))
        }
        for (s : 0 .. SESSIONS - 1) {
            for (i : 0 .. SLOTS - 1) {
                check(NOTHING_STAYS_PENDING, !honest(s) || page[s].slot[i].state != PENDING)
            }
            for (c : 0 .. CONNECTIONS - 1) {
                check(ALL_ARE_ANSWERED, session[s].handoff[c].ticket == 0 || session[s].handoff[c].answer != 0 ||
                                        session[s].state != OPEN || !honest(s) || CARELESS_ANSWERS || !backend_runs[s])
            }
        }
    }
}
#endif
