/* A backend that misbehaves in one chosen way, built from the wire functions. */
#include "rp_ours.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct exchange {
    int control;
    int client;
    uint8_t sideband[RP_HANDOFF_TOKEN_SIZE];
    uint8_t buffer[4096];
    rp_handoff_wire_offer offer; /* points into the buffer */
};

static int send_bytes(const struct exchange *exchange, const uint8_t *bytes, size_t length) {
    return send(exchange->control, bytes, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static int acknowledge(const struct exchange *exchange, const rp_handoff_wire_ack *ack, int32_t kind) {
    uint8_t bytes[4096];
    size_t length;
    return rp_handoff_wire_encode_ack(ack, kind, bytes, sizeof bytes, &length) == RP_HANDOFF_OK &&
           send_bytes(exchange, bytes, length);
}

static rp_handoff_wire_ack acceptance(const struct exchange *exchange) {
    rp_handoff_wire_ack ack = {.struct_size = sizeof ack, .accepted = 1};
    ack.token = exchange->offer.token;
    ack.token_length = exchange->offer.token_length;
    ack.correlation_id = exchange->offer.correlation_id;
    return ack;
}

static int wrong_token(struct exchange *exchange) {
    uint8_t other[RP_HANDOFF_TOKEN_SIZE];
    rp_handoff_wire_ack ack = acceptance(exchange);
    for (size_t i = 0; i < sizeof other; i++)
        other[i] = exchange->sideband[i] ^ 0xff;
    ack.token = other;
    return acknowledge(exchange, &ack, RP_HANDOFF_KIND_RESPONSE);
}

static int wrong_kind(struct exchange *exchange) {
    const rp_handoff_wire_ack ack = acceptance(exchange);
    return acknowledge(exchange, &ack, RP_HANDOFF_KIND_EVENT);
}

/* The frame of an answer, taken apart and put together again with other members. */
static int spoiled_frame(struct exchange *exchange, const rp_handoff_wire_ack *ack, uint32_t protocol,
                         uint64_t request_id) {
    uint8_t bytes[4096], spoiled[4096];
    size_t length, consumed;
    rp_handoff_wire_frame frame = {.struct_size = sizeof frame};
    if (rp_handoff_wire_encode_ack(ack, RP_HANDOFF_KIND_RESPONSE, bytes, sizeof bytes, &length) != RP_HANDOFF_OK ||
        rp_handoff_wire_decode_frame(bytes, length, &frame, &consumed) != RP_HANDOFF_OK)
        return 0;
    frame.payload_protocol = protocol;
    frame.request_id = request_id;
    return rp_handoff_wire_encode_frame(&frame, spoiled, sizeof spoiled, &length) == RP_HANDOFF_OK &&
           send_bytes(exchange, spoiled, length);
}

static int wrong_correlation(struct exchange *exchange) {
    rp_handoff_wire_ack ack = acceptance(exchange);
    ack.correlation_id++;
    return spoiled_frame(exchange, &ack, RP_HANDOFF_PROTOCOL_HANDOFF, exchange->offer.correlation_id);
}

/* A whole answer, to another handoff. */
static int wrong_ids(struct exchange *exchange) {
    rp_handoff_wire_ack ack = acceptance(exchange);
    ack.correlation_id++;
    return acknowledge(exchange, &ack, RP_HANDOFF_KIND_RESPONSE);
}

static int wrong_request_id(struct exchange *exchange) {
    const rp_handoff_wire_ack ack = acceptance(exchange);
    return spoiled_frame(exchange, &ack, RP_HANDOFF_PROTOCOL_HANDOFF, exchange->offer.correlation_id + 1);
}

static int wrong_protocol(struct exchange *exchange) {
    const rp_handoff_wire_ack ack = acceptance(exchange);
    return spoiled_frame(exchange, &ack, 0xAD01, exchange->offer.correlation_id);
}

static int malformed(struct exchange *exchange) {
    static const uint8_t bytes[] = {1, 4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
    return send_bytes(exchange, bytes, sizeof bytes);
}

static int bad_framing(struct exchange *exchange) {
    static const uint8_t bytes[] = {2, 0, 0, 0, 0};
    return send_bytes(exchange, bytes, sizeof bytes);
}

static int silent(struct exchange *exchange) {
    (void)exchange; /* the broker's end of the connection is awaited after every mode */
    return 1;
}

/* Keeps the client's connection until the client goes, and then ends it all. */
static int hold(struct exchange *exchange) {
    return await_input(exchange->client, 60000) && shutdown(exchange->control, SHUT_RDWR) == 0;
}

static int close_at_once(struct exchange *exchange) {
    return shutdown(exchange->control, SHUT_RDWR) == 0;
}

static const struct mode {
    const char *name;
    int (*answer)(struct exchange *exchange);
} modes[] = {{"silent", silent},
             {"hold", hold},
             {"close", close_at_once},
             {"wrong-token", wrong_token},
             {"wrong-correlation", wrong_correlation},
             {"wrong-ids", wrong_ids},
             {"wrong-request-id", wrong_request_id},
             {"wrong-kind", wrong_kind},
             {"wrong-protocol", wrong_protocol},
             {"malformed", malformed},
             {"bad-framing", bad_framing}};

static int32_t receive_offer(struct exchange *exchange, int timeout_ms) {
    const uint64_t timeout_ns = (uint64_t)timeout_ms * 1000000;
    size_t length = 0, consumed;
    int32_t status = rp_handoff_wire_receive(exchange->control, exchange->sideband, sizeof exchange->sideband,
                                             timeout_ns, &exchange->client);
    while (status == RP_HANDOFF_OK && length < sizeof exchange->buffer) {
        const ssize_t n = recv(exchange->control, exchange->buffer + length, sizeof exchange->buffer - length, 0);
        if (n <= 0)
            return RP_HANDOFF_ERR_UNEXPECTED_EOF;
        length += (size_t)n;
        exchange->offer.struct_size = sizeof exchange->offer;
        status = rp_handoff_wire_decode_offer(exchange->buffer, length, &exchange->offer, &consumed);
        if (status == RP_HANDOFF_OK)
            return RP_HANDOFF_OK;
        if (status == RP_HANDOFF_ERR_FRAME_INCOMPLETE)
            status = RP_HANDOFF_OK;
    }
    return status;
}

static void describe(struct report *report, const struct exchange *exchange) {
    const rp_handoff_wire_offer *offer = &exchange->offer;
    char service[256];
    snprintf(service, sizeof service, "%.*s", (int)offer->service_name_length, offer->service_name);
    report_text(report, "service", service);
    report_number(report, "correlation", offer->correlation_id);
    report_token(report, "token", offer->token, offer->token_length);
    report_flag(report, "token_matches_sideband",
                offer->token_length == sizeof exchange->sideband &&
                    memcmp(offer->token, exchange->sideband, sizeof exchange->sideband) == 0);
}

/* Keeps the connection until the broker hangs up, so that it is never an end of file that the broker sees. */
static int respond(const struct options *options, const struct mode *mode, int listener) {
    struct exchange exchange = {.control = accept(listener, NULL, NULL), .client = -1};
    struct report report;
    report_begin(&report, "backend");
    report_text(&report, "mode", mode->name);
    const int32_t status = receive_offer(&exchange, options->timeout_ms);
    if (status == RP_HANDOFF_OK) {
        describe(&report, &exchange);
        pause_ms(options->delay_ms);
        report_flag(&report, "answered", mode->answer(&exchange));
        report_flag(&report, "broker_hung_up", await_input(exchange.control, options->timeout_ms));
    }
    report_text(&report, "outcome", status == RP_HANDOFF_OK ? mode->name : "failed");
    report_text(&report, "status", rp_handoff_strerror(status));
    close(exchange.control);
    close(exchange.client);
    report_print(&report);
    return status != RP_HANDOFF_OK;
}

int run_responder(const struct options *options) {
    const struct mode *mode = NULL;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(options->mode, modes[i].name) == 0)
            mode = &modes[i];
    const int listener = mode != NULL ? listen_at(options->path) : -1;
    int failed = listener < 0;
    for (int i = 0; i < options->count && !failed; i++)
        failed = respond(options, mode, listener);
    return failed;
}
