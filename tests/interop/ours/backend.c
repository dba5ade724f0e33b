/* A backend that adopts or refuses, in the modes `accept` and `refuse`. */
#include "rp_ours.h"

#include <string.h>

struct rejections {
    uint64_t peers, tokens, offers;
};

static struct rejections rejections_of(rp_handoff_backend *backend) {
    rp_handoff_backend_statistics statistics = {.struct_size = sizeof statistics};
    rp_handoff_backend_get_statistics(backend, &statistics);
    return (struct rejections){statistics.rejected_peers, statistics.rejected_tokens, statistics.rejected_offers};
}

static void begin(struct report *report, const struct options *options) {
    report_begin(report, "backend");
    report_text(report, "mode", options->mode);
}

void describe_offer(struct report *report, rp_handoff_offer *offer) {
    rp_handoff_offer_info info = {.struct_size = sizeof info};
    rp_handoff_offer_get_info(offer, &info);
    report_text(report, "service", info.service_name);
    report_number(report, "correlation", info.correlation_id);
    report_number(report, "broker_pid", info.peer_pid);
    report_token(report, "token", info.token.bytes, sizeof info.token.bytes);
}

static void answer(const struct options *options, rp_handoff_offer *offer) {
    struct report report;
    begin(&report, options);
    int32_t client = -1;
    describe_offer(&report, offer);
    pause_ms(options->delay_ms);
    const int refuse = strcmp(options->mode, "refuse") == 0;
    const int32_t status =
        refuse ? rp_handoff_offer_refuse(offer, "the backend is full") : rp_handoff_offer_accept(offer, &client);
    report_text(&report, "outcome", status < 0 ? "failed" : refuse ? "refused" : "adopted");
    report_text(&report, "status", rp_handoff_strerror(status));
    report_flag(&report, "ack_delivered", status == RP_HANDOFF_OK);
    if (client >= 0)
        serve(&report, client, options->timeout_ms);
    report_print(&report);
}

static void report_dropped(const struct options *options, struct rejections all, struct rejections before) {
    struct report report;
    begin(&report, options);
    report_text(&report, "outcome", "dropped");
    report_number(&report, "rejected_peers", all.peers - before.peers);
    report_number(&report, "rejected_tokens", all.tokens - before.tokens);
    report_number(&report, "rejected_offers", all.offers - before.offers);
    report_print(&report);
}

/* One offer, or one that the library itself turned away. */
static int take(const struct options *options, rp_handoff_backend *backend) {
    const struct rejections before = rejections_of(backend);
    for (;;) {
        rp_handoff_offer *offer;
        const int32_t status = rp_handoff_backend_next_offer(backend, 0, &offer);
        if (status == RP_HANDOFF_OK) {
            answer(options, offer);
            rp_handoff_offer_destroy(offer);
            return 0;
        }
        const struct rejections now = rejections_of(backend);
        if (memcmp(&now, &before, sizeof now) != 0) {
            report_dropped(options, now, before);
            return 0;
        }
        if (status != RP_HANDOFF_ERR_TIMED_OUT || !await_input(rp_handoff_backend_get_fd(backend), options->timeout_ms))
            return 1;
    }
}

static int32_t listen_for_offers(rp_handoff_backend *backend, const char *path) {
    rp_handoff_listener_options options = RP_HANDOFF_LISTENER_OPTIONS_INIT;
    rp_handoff_listener *listener = NULL;
    options.path = path;
    int32_t status = rp_handoff_listener_create(&options, &listener, NULL);
    if (status == RP_HANDOFF_OK)
        status = rp_handoff_backend_add_listener(backend, listener);
    rp_handoff_listener_destroy(listener);
    return status;
}

static int take_all(const struct options *options) {
    rp_handoff_backend *backend;
    if (rp_handoff_backend_create(NULL, &backend, NULL) != RP_HANDOFF_OK)
        return 1;
    int failed = listen_for_offers(backend, options->path) != RP_HANDOFF_OK;
    for (int i = 0; i < options->count && !failed; i++)
        failed = take(options, backend);
    rp_handoff_backend_destroy(backend);
    return failed;
}

int run_backend(const struct options *options) {
    if (options->session)
        return run_session_backend(options);
    if (strcmp(options->mode, "accept") != 0 && strcmp(options->mode, "refuse") != 0)
        return run_responder(options);
    const uint64_t before = open_descriptors();
    const int failed = take_all(options);
    struct report report;
    begin(&report, options);
    report_text(&report, "outcome", "finished");
    report_number(&report, "descriptors_leaked", open_descriptors() - before);
    report_print(&report);
    return failed;
}
