/* A broker that holds a live connection to the target and hands it to the backend that listens at the socket. */
#include "rp_ours.h"

#include <unistd.h>

static void describe(struct report *report, rp_handoff_broker *broker, const rp_handoff_outcome *outcome,
                     uint64_t micros) {
    rp_handoff_broker_statistics statistics = {.struct_size = sizeof statistics};
    rp_handoff_broker_get_statistics(broker, &statistics);
    report_outcome(report, outcome);
    report_number(report, "call_micros", micros);
    report_number(report, "tokens_pending", statistics.pending_tokens);
    report_number(report, "acks_pending", statistics.pending_acks);
}

static int hand_over(const struct options *options, rp_handoff_broker *broker) {
    rp_handoff_request request = {.struct_size = sizeof request, .socket_path = options->path};
    rp_handoff_outcome outcome = {.struct_size = sizeof outcome};
    request.correlation_id = options->correlation;
    request.fd = connect_to(options->target);
    if (request.fd < 0 || rp_handoff_broker_issue(broker, options->service, 0, &request.token) != RP_HANDOFF_OK)
        return 1;
    const uint64_t started = micros_now();
    const int32_t status = rp_handoff_broker_execute(broker, &request, &outcome, NULL);
    struct report report;
    report_begin(&report, "send");
    report_token(&report, "token", request.token.bytes, sizeof request.token.bytes);
    if (status == RP_HANDOFF_OK)
        describe(&report, broker, &outcome, micros_now() - started);
    else
        report_text(&report, "error", rp_handoff_strerror(status));
    report_print(&report);
    if (outcome.ownership == RP_HANDOFF_OWNER_BROKER)
        end_connection(request.fd);
    else
        close(request.fd);
    return 0;
}

int run_send(const struct options *options) {
    rp_handoff_broker_options settings = {.struct_size = sizeof settings};
    rp_handoff_broker *broker;
    settings.ack_deadline_ns = (uint64_t)options->timeout_ms * 1000000;
    if (rp_handoff_broker_create(&settings, &broker, NULL) != RP_HANDOFF_OK)
        return 1;
    int failed = 0;
    for (int i = 0; i < options->count && !failed; i++)
        failed = hand_over(options, broker);
    rp_handoff_broker_destroy(broker);
    return failed;
}
