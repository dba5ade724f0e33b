/* A client that asks a broker for its service and says one byte on whatever connection it got. */
#include "rp_ours.h"

#include <unistd.h>

static const char *const routes[] = {NULL, "HelloSkip", "BrokerNegotiated", "HandlePassed", "Refused"};

static void describe(struct report *report, const rp_handoff_client_connection *connection) {
    const int refused = connection->route == RP_HANDOFF_ROUTE_REFUSED;
    report_text(report, "outcome", refused ? "refused" : "connected");
    report_text(report, "route", routes[connection->route]);
    report_text(report, "endpoint", connection->endpoint);
    report_flag(report, "token_exposed", connection->has_token);
    report_number(report, "connection_id", connection->connection_id);
    report_number(report, "capabilities", connection->capabilities);
    if (refused) {
        report_number(report, "refused_code", (uint64_t)connection->refusal_code);
        report_number(report, "retry_after_ms", connection->retry_after_ns / 1000000);
        report_text(report, "detail", connection->reason);
    }
}

int run_client(const struct options *options) {
    rp_handoff_client_request request = {.struct_size = sizeof request, .broker_path = options->path};
    rp_handoff_client_connection connection = {.struct_size = sizeof connection};
    request.service_name = options->service;
    request.wanted_version = options->version;
    request.own_version = options->own_version != NULL ? options->own_version : options->version;
    request.cached_endpoint = options->cached;
    request.adopt = options->adopt;
    request.ready_timeout_ns = (uint64_t)options->ready_timeout_ms * 1000000;
    const uint64_t started = micros_now();
    const int32_t status = rp_handoff_client_connect(&request, &connection, NULL);
    struct report report;
    report_begin(&report, "client");
    report_flag(&report, "adopt", options->adopt);
    report_number(&report, "connect_micros", micros_now() - started);
    if (status != RP_HANDOFF_OK) {
        report_text(&report, "outcome", "error");
        report_text(&report, "error", rp_handoff_strerror(status));
    } else {
        describe(&report, &connection);
        if (connection.fd >= 0) {
            ask(&report, connection.fd, options->timeout_ms);
            close(connection.fd);
        }
    }
    report_print(&report);
    return 0;
}
