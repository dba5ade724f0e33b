/* A session in a loop of libuv: a poll handle for its descriptor and a timer for its timeout. */
#include "scenario.h"

#include <poll.h>
#include <uv.h>

struct watch {
    struct side *side;
    uv_loop_t loop;
    uv_poll_t readable;
    uv_timer_t due;
};

static void turn(struct watch *watch);

static void on_due(uv_timer_t *due) {
    turn(due->data);
}

static void on_readable(uv_poll_t *readable, int status, int events) {
    (void)events;
    check(status == 0, "uv_poll");
    turn(readable->data);
}

static void turn(struct watch *watch) {
    rp_handoff_session *session = session_of(watch->side);
    check(rp_handoff_session_process(session) == RP_HANDOFF_OK, "process");
    if (!take_turn(watch->side)) {
        uv_close((uv_handle_t *)&watch->readable, NULL);
        uv_close((uv_handle_t *)&watch->due, NULL);
        return;
    }
    const int64_t left = milliseconds_left(session);
    if (left < 0)
        uv_timer_stop(&watch->due);
    else
        check(uv_timer_start(&watch->due, on_due, (uint64_t)left, 0) == 0, "uv_timer_start");
}

void drive(struct side *side) {
    struct watch watch = {.side = side};
    check(uv_loop_init(&watch.loop) == 0, "uv_loop_init");
    check(uv_poll_init(&watch.loop, &watch.readable, rp_handoff_session_get_fd(session_of(side))) == 0, "uv_poll_init");
    check(uv_timer_init(&watch.loop, &watch.due) == 0, "uv_timer_init");
    watch.readable.data = watch.due.data = &watch;
    check(uv_poll_start(&watch.readable, UV_READABLE, on_readable) == 0, "uv_poll_start");
    check(uv_run(&watch.loop, UV_RUN_DEFAULT) == 0, "uv_run");
    check(uv_loop_close(&watch.loop) == 0, "uv_loop_close");
}
