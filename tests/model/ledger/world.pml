/* What befalls broker and backends, between any two of their steps: death, SIGSTOP, a forked child, a hostile page. */

/* Whoever is stopped may be continued, or be killed then, or never move again. The ends of the dead are closed. */
#define is_up(s) (backend_open[s] && backend_runs[s])
#define is_stopped(s) (backend_open[s] && !backend_runs[s])

proctype Fate()
{
    do
    :: d_step { BACKEND_DIES && backend_open[0] -> backend_runs[0] = false; backend_open[0] = false }
    :: BACKEND_STOPS && is_up(0) -> backend_runs[0] = false
    :: BACKEND_STOPS && is_stopped(0) -> backend_runs[0] = true
#if SESSIONS > 1
    :: d_step { BACKEND_DIES && backend_open[1] -> backend_runs[1] = false; backend_open[1] = false }
    :: BACKEND_STOPS && is_up(1) -> backend_runs[1] = false
    :: BACKEND_STOPS && is_stopped(1) -> backend_runs[1] = true
#endif
    :: d_step { BROKER_DIES && broker_lives ->
           broker_lives = false;
           broker_runs = false;
           broker_open[0] = false;
#if SESSIONS > 1
           broker_open[1] = false
#endif
       }
    :: BROKER_STOPS && broker_lives && broker_runs -> broker_runs = false
    :: BROKER_STOPS && broker_lives && !broker_runs -> broker_runs = true
    :: break
    od
}

/* Destroys the handles which it inherited. That touches neither page nor socket. Or it lives on with its copies. */
proctype ForkedChild()
{
    atomic { (FORKS == 1 -> broker_runs : is_up(0)) -> child_open = true };
#ifdef BROKEN_CHILD_SWAPS
    atomic {
        if
        :: page[0].slot[0].state == PENDING -> page[0].slot[0].state = (FORKS == 1 -> REVOKED : REFUSED)
        :: else
        fi
    };
#endif
    if
    :: child_open = false
    :: skip
    fi
}

/* Writes what he likes, when he likes: any ticket with any state is within his reach, step by step. */
proctype Hostile(byte s)
{
    byte i, ticket, token, c;

    do
    :: page[s].slot[0].ticket = (page[s].slot[0].ticket + 1) % (CONNECTIONS + 1)
    :: page[s].slot[0].state = PENDING
    :: page[s].slot[0].state = ADOPTED
    :: page[s].slot[0].state = REFUSED
    :: page[s].slot[0].state = REVOKED
    :: HOSTILE == 1 -> page[s].slot[0].token = 0
    :: answers[s]!ACK, page[s].slot[0].ticket
    :: d_step { HOSTILE == 2 && nempty(offers[s]) ->
           offers[s]?i, ticket, token, c;
           i = 0; ticket = 0; token = 0; c = 0
       }
    :: HOSTILE == 2 && backend_open[s] -> backend_open[s] = false
#if !FAIRNESS
    :: break
#endif
    od
}

init
{
    byte n;
    atomic {
        for (n : 0 .. SESSIONS - 1) {
            run SessionEngine(n);
#if HOSTILE == 2
            if
            :: n != 0 -> run Backend(n)
            :: else
            fi
#else
            run Backend(n);
#if WORKERS > 1
            run Backend(n)
#endif
#endif
        }
        for (n : 0 .. CONNECTIONS - 1) {
            run Handoff(n)
        }
#if HOSTILE
        run Hostile(0);
#endif
#if BACKEND_DIES || BACKEND_STOPS || BROKER_DIES || BROKER_STOPS
        run Fate();
#endif
#if FORKS
        run ForkedChild();
#endif
        n = 0
    }
}
