/* A client that says Hello and then only looks at what the broker writes, until standard input or the connection ends.
 * After a ready frame it asks who serves it. */
#include "rp_ours.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct watched {
    int fd;
    int end; /* the broker's side is closed */
    size_t length;
    uint8_t bytes[65536];
};

static int say_hello(const struct options *options, int fd) {
    uint8_t bytes[4096];
    size_t length;
    rp_handoff_wire_hello hello = {.struct_size = sizeof hello, .client_min_protocol = 1, .client_max_protocol = 1};
    hello.peer_pid = (uint32_t)getpid();
    hello.service_name = options->service;
    hello.service_name_length = strlen(options->service);
    hello.wanted_version = options->version;
    hello.wanted_version_length = strlen(options->version);
    hello.client_version = hello.wanted_version;
    hello.client_capabilities = RP_HANDOFF_CAPABILITY_HANDLE_PASSING;
    return rp_handoff_wire_encode_hello(&hello, 1, bytes, sizeof bytes, &length) == RP_HANDOFF_OK &&
           send(fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static void read_some(struct watched *watched) {
    const ssize_t n =
        recv(watched->fd, watched->bytes + watched->length, sizeof watched->bytes - watched->length, MSG_DONTWAIT);
    watched->end = n <= 0;
    watched->length += n > 0 ? (size_t)n : 0;
}

static void watch(struct watched *watched) {
    struct pollfd both[] = {{.fd = watched->fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    while (!watched->end && poll(both, 2, -1) > 0) {
        if (both[0].revents != 0)
            read_some(watched);
        else if (both[1].revents != 0)
            return;
    }
}

/* What came, frame by frame; whether a ready frame was among it. */
static int describe(struct report *report, const struct watched *watched) {
    rp_handoff_wire_reply reply = {.struct_size = sizeof reply};
    rp_handoff_wire_ack ready = {.struct_size = sizeof ready};
    size_t consumed = 0, of_ready = 0;
    uint64_t request_id;
    const int replied =
        rp_handoff_wire_decode_reply(watched->bytes, watched->length, &reply, &request_id, &consumed) == RP_HANDOFF_OK;
    const int is_ready =
        replied && rp_handoff_wire_decode_ack(watched->bytes + consumed, watched->length - consumed,
                                              RP_HANDOFF_KIND_EVENT, &ready, &of_ready) == RP_HANDOFF_OK;
    report_flag(report, "negotiated", replied && reply.choice == RP_HANDOFF_REPLY_NEGOTIATED);
    report_flag(report, "token_issued", replied && reply.handle_passed_token_length > 0);
    report_flag(report, "ready", is_ready && ready.accepted);
    report_number(report, "other_bytes", watched->length - consumed - of_ready);
    report_flag(report, "end_of_file", watched->end);
    return is_ready;
}

int run_watch(const struct options *options) {
    static struct watched watched;
    char target[200];
    snprintf(target, sizeof target, "unix:%s", options->path);
    watched.fd = connect_to(target);
    if (watched.fd < 0 || !say_hello(options, watched.fd))
        return 1;
    watch(&watched);
    struct report report;
    report_begin(&report, "watch");
    if (describe(&report, &watched))
        ask(&report, watched.fd, options->timeout_ms);
    report_print(&report);
    return 0;
}
