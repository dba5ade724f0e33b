/* A backend that is reached through a session: one broker, one session, in the modes `accept`, `refuse`, `hold` and `greet`. */
#include "rp_ours.h"

#include <string.h>
#include <unistd.h>

struct backend {
    const struct options *options;
    rp_handoff_session *session;
    int seen; /* offers */
    int ended;
};

static int is_mode(const struct backend *backend, const char *mode) {
    return strcmp(backend->options->mode, mode) == 0;
}

/* The answer leaves before the conversation, which may take its time. */
static void converse(struct backend *backend, struct report *report, int client) {
    rp_handoff_session_flush(backend->session);
    if (is_mode(backend, "greet"))
        dprintf(client, "g%d\n", (int)getpid());
    serve(report, client, backend->options->timeout_ms);
}

static int32_t answer(struct backend *backend, rp_handoff_offer *offer, struct report *report, int32_t *client) {
    static const char *const outcomes[] = {"adopted", "refused", "revoked", "failed"};
    const int refuse = is_mode(backend, "refuse");
    const int32_t status =
        refuse ? rp_handoff_offer_refuse(offer, "the backend is full") : rp_handoff_offer_accept(offer, client);
    const int outcome = status >= 0 ? refuse : status == RP_HANDOFF_ERR_REVOKED ? 2 : 3;
    report_text(report, "outcome", outcomes[outcome]);
    report_text(report, "status", rp_handoff_strerror(status));
    return status;
}

static void take_offer(struct backend *backend, rp_handoff_offer *offer) {
    struct report report;
    int32_t client = -1;
    report_begin(&report, "backend");
    report_text(&report, "mode", backend->options->mode);
    describe_offer(&report, offer);
    backend->seen++;
    if (is_mode(backend, "hold")) {
        report_text(&report, "outcome", "held"); /* for as long as this process lives */
    } else {
        answer(backend, offer, &report, &client);
        if (client >= 0)
            converse(backend, &report, client);
        rp_handoff_offer_destroy(offer);
    }
    report_print(&report);
}

static void take_event(struct backend *backend, const rp_handoff_event *event) {
    if (event->kind == RP_HANDOFF_EVENT_OFFER)
        take_offer(backend, event->offer);
    if (event->kind == RP_HANDOFF_EVENT_CLOSED)
        backend->ended = 1;
}

static int connect_session(struct backend *backend) {
    rp_handoff_session_options settings = {.struct_size = sizeof settings};
    rp_handoff_listener_options at = RP_HANDOFF_LISTENER_OPTIONS_INIT;
    rp_handoff_listener *listener;
    at.path = backend->options->path;
    if (rp_handoff_listener_create(&at, &listener, NULL) != RP_HANDOFF_OK)
        return 0;
    const int connected =
        rp_handoff_listener_accept(listener, RP_HANDOFF_FOREVER, &settings.connection_fd) == RP_HANDOFF_OK;
    rp_handoff_listener_destroy(listener);
    return connected && rp_handoff_session_create_backend(&settings, &backend->session, NULL) == RP_HANDOFF_OK;
}

int run_session_backend(const struct options *options) {
    struct backend backend = {.options = options};
    if (!connect_session(&backend))
        return 1;
    while (!backend.ended && backend.seen < options->count) {
        rp_handoff_event event = {.struct_size = sizeof event};
        rp_handoff_session_wait(backend.session, RP_HANDOFF_FOREVER);
        while (rp_handoff_session_next_event(backend.session, &event, NULL) == 1)
            take_event(&backend, &event);
    }
    while (!backend.ended && is_mode(&backend, "hold"))
        pause();
    rp_handoff_session_destroy(backend.session);
    return 0;
}
