/* A session in a loop of poll(2). */
#include "scenario.h"

#include <poll.h>

void drive(struct side *side) {
    rp_handoff_session *session = session_of(side);
    struct pollfd watched = {rp_handoff_session_get_fd(session), POLLIN, 0};
    do {
        check(poll(&watched, 1, (int)milliseconds_left(session)) >= 0, "poll");
        check(rp_handoff_session_process(session) == RP_HANDOFF_OK, "process");
    } while (take_turn(side));
}
