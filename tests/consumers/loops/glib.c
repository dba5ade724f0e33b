/* A session in a main loop of GLib: one source with its descriptor, and its timeout as the source's ready time. */
#include "scenario.h"

#include <glib.h>

struct source {
    GSource base;
    GMainLoop *loop;
    struct side *side;
};

static gboolean dispatch(GSource *base, GSourceFunc unused, gpointer nothing) {
    struct source *source = (struct source *)base;
    rp_handoff_session *session = session_of(source->side);
    (void)unused;
    (void)nothing;
    check(rp_handoff_session_process(session) == RP_HANDOFF_OK, "process");
    if (!take_turn(source->side)) {
        g_main_loop_quit(source->loop);
        return G_SOURCE_REMOVE;
    }
    const int64_t left = milliseconds_left(session);
    g_source_set_ready_time(base, left < 0 ? -1 : g_get_monotonic_time() + left * 1000);
    return G_SOURCE_CONTINUE;
}

void drive(struct side *side) {
    static GSourceFuncs functions = {.dispatch = dispatch};
    GMainContext *context = g_main_context_new();
    GSource *base = g_source_new(&functions, sizeof(struct source));
    struct source *source = (struct source *)base;
    source->loop = g_main_loop_new(context, FALSE);
    source->side = side;
    /* poll(2)'s events are GLib's. */
    g_source_add_unix_fd(base, rp_handoff_session_get_fd(session_of(side)), G_IO_IN);
    g_source_attach(base, context);
    g_main_loop_run(source->loop);
    g_main_loop_unref(source->loop);
    g_source_unref(base);
    g_main_context_unref(context);
}
