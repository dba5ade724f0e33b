/*
 * What the programs of this folder share: two processes with one session between them, and what they do with it. Each
 * program adds its loop.
 *
 * The broker hands over more connections than may be in flight, in batches; then one that is refused, one that is never
 * answered, so that its deadline passes, and one more; then it closes the session. Every client checks who answers.
 */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <rp_handoff.h>

/* The broker's process or the backend's. */
struct side;

/* What a program adds: drives the session until take_turn answers 0, level-triggered, with nothing but
 * rp_handoff_session_get_fd, ..._events, ..._timeout and ..._process. */
void drive(struct side *side);

rp_handoff_session *session_of(struct side *side);

/* Takes all events and begins what comes next; to be called after each process. 0 after the last event. */
int take_turn(struct side *side);

/* The halves of take_turn, for a thread each, one at a time. */
int take_events(struct side *side);
void begin_next(struct side *side);

/* Of rp_handoff_session_get_timeout, rounded up; -1 for none. */
int64_t milliseconds_left(rp_handoff_session *session);

/* Ends this process with status 1 unless `ok`. */
void check(int ok, const char *what);

#endif
