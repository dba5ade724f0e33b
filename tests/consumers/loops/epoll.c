/* A session in a loop of epoll(7), level-triggered, its descriptor registered once. */
#include "scenario.h"

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

void drive(struct side *side) {
    rp_handoff_session *session = session_of(side);
    struct epoll_event event = {.events = EPOLLIN};
    const int loop = epoll_create1(EPOLL_CLOEXEC);
    check(epoll_ctl(loop, EPOLL_CTL_ADD, rp_handoff_session_get_fd(session), &event) == 0, "epoll_ctl");
    do {
        check(epoll_wait(loop, &event, 1, (int)milliseconds_left(session)) >= 0, "epoll_wait");
        check(rp_handoff_session_process(session) == RP_HANDOFF_OK, "process");
    } while (take_turn(side));
    close(loop);
}
