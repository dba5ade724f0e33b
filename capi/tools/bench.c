/*
 * What a client sees over TCP, from connect(2) to the first byte of its backend's reply: handed over by the broker, and
 * told to reconnect. Broker and backend are processes of their own in either case, and the two take turns.
 */
#include <arpa/inet.h>
#include <rp_handoff.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tools.h"

enum { turns = 10, request_size = 64 };

static void must(int met, const char *what) {
    if (!met) {
        perror(what);
        _exit(1);
    }
}

/* ---- servers */

static int listen_on_loopback(uint16_t *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(bind(fd, (struct sockaddr *)&address, length) == 0 && listen(fd, 64) == 0 &&
             getsockname(fd, (struct sockaddr *)&address, &length) == 0,
         "listen");
    *port = address.sin_port;
    return fd;
}

static int accept_from(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    must(fd >= 0, "accept");
    return fd;
}

/* Answers one request, and is done with the connection. */
static void serve(int client) {
    char bytes[request_size];
    must(recv(client, bytes, sizeof bytes, MSG_WAITALL) == sizeof bytes &&
             send(client, bytes, sizeof bytes, MSG_NOSIGNAL) == sizeof bytes,
         "serve");
    close(client);
}

/* Serves the connections that it is offered. */
static void adopting_backend(int session_fd) {
    rp_handoff_session_options options = {.struct_size = sizeof options, .connection_fd = session_fd};
    rp_handoff_event event = {.struct_size = sizeof event};
    rp_handoff_session *session;
    must(rp_handoff_session_create_backend(&options, &session, NULL) == RP_HANDOFF_OK, "receive a session");
    while (rp_handoff_session_wait(session, RP_HANDOFF_FOREVER) >= 0)
        while (rp_handoff_session_next_event(session, &event, NULL) == 1)
            if (event.kind == RP_HANDOFF_EVENT_OFFER) {
                int32_t client;
                if (rp_handoff_offer_accept(event.offer, &client) >= RP_HANDOFF_OK)
                    serve(client);
                rp_handoff_offer_destroy(event.offer);
            }
}

/* Hands over every connection that it accepts. */
static void handing_broker(int listener, int session_fd) {
    rp_handoff_session_options options = {.struct_size = sizeof options, .connection_fd = session_fd};
    rp_handoff_broker *broker;
    rp_handoff_session *session;
    must(rp_handoff_broker_create(NULL, &broker, NULL) == RP_HANDOFF_OK, "create a broker");
    must(rp_handoff_session_create_broker(broker, &options, &session, NULL) == RP_HANDOFF_OK, "open a session");
    for (;;) {
        rp_handoff_submission submission = {.struct_size = sizeof submission, .fd = accept_from(listener)};
        rp_handoff_outcome outcome = {.struct_size = sizeof outcome};
        must(rp_handoff_session_execute(session, &submission, &outcome, NULL) == RP_HANDOFF_OK &&
                 outcome.ownership == RP_HANDOFF_OWNER_BACKEND,
             outcome.detail);
        close(submission.fd);
    }
}

static void listening_backend(int listener) {
    for (;;)
        serve(accept_from(listener));
}

/* Tells every client where the backend listens. Then reads the request, so that close(2) does not reset the answer. */
static void naming_broker(int listener, uint16_t backend_port) {
    for (;;) {
        char bytes[request_size];
        int client = accept_from(listener);
        must(send(client, &backend_port, sizeof backend_port, MSG_NOSIGNAL) == sizeof backend_port &&
                 recv(client, bytes, sizeof bytes, MSG_WAITALL) == sizeof bytes,
             "name the backend");
        close(client);
    }
}

/* ---- the client */

static uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Connects, sends a request, and reads the beginning of the reply. */
static int ask(uint16_t port, void *reply, size_t size) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = port, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const char request[request_size] = {0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
             send(fd, request, sizeof request, MSG_NOSIGNAL) == sizeof request && recv(fd, reply, size, 0) > 0,
         "ask");
    return fd;
}

/* The end of file tells that no server has a copy any more: nothing of this sample is left to disturb the next. */
static void await_end(int fd) {
    char bytes[request_size];
    while (recv(fd, bytes, sizeof bytes, 0) > 0) {
    }
    close(fd);
}

static int32_t handed_over(void *front, uint64_t *out_elapsed_ns) {
    char first;
    const uint64_t start = now_ns();
    int fd = ask(*(uint16_t *)front, &first, sizeof first);
    *out_elapsed_ns = now_ns() - start;
    await_end(fd);
    return RP_HANDOFF_CALLBACK_OK;
}

static int32_t reconnected(void *front, uint64_t *out_elapsed_ns) {
    char first;
    uint16_t backend;
    const uint64_t start = now_ns();
    int to_broker = ask(*(uint16_t *)front, &backend, sizeof backend);
    int to_backend = ask(backend, &first, sizeof first);
    *out_elapsed_ns = now_ns() - start;
    await_end(to_broker);
    await_end(to_backend);
    return RP_HANDOFF_CALLBACK_OK;
}

/* ---- all of it */

/* In a child: it ends with this process. In the parent: 0. */
static int in_a_process(void) {
    const pid_t parent = getpid();
    const pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid != 0)
        return 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return getppid() == parent;
}

static void start_servers(uint16_t *handing, uint16_t *naming) {
    int session[2];
    uint16_t backend;
    int handing_front = listen_on_loopback(handing);
    int naming_front = listen_on_loopback(naming);
    int backend_listener = listen_on_loopback(&backend);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, session) == 0, "socketpair");
    if (in_a_process())
        adopting_backend(session[1]);
    if (in_a_process())
        handing_broker(handing_front, session[0]);
    if (in_a_process())
        listening_backend(backend_listener);
    if (in_a_process())
        naming_broker(naming_front, backend);
}

static void print(const char *what, uint64_t p50_ns, uint64_t p99_ns) {
    printf("%-10s %9.1f us %9.1f us\n", what, (double)p50_ns / 1000, (double)p99_ns / 1000);
}

static int report(const uint64_t *handoffs, const uint64_t *reconnects, size_t count) {
    rp_handoff_latency_summary handoff = {.struct_size = sizeof handoff};
    rp_handoff_latency_summary reconnect = {.struct_size = sizeof reconnect};
    rp_handoff_latency_comparison comparison = {.struct_size = sizeof comparison};
    if (rp_handoff_latency_summarize(handoffs, count, &handoff) != 1 ||
        rp_handoff_latency_summarize(reconnects, count, &reconnect) != 1)
        return 1;
    const int32_t status = rp_handoff_latency_compare(handoffs, count, reconnects, count, &comparison);
    printf("%-10s %12s %12s\n", "", "P50", "P99");
    print("handoff", handoff.p50_ns, handoff.p99_ns);
    print("reconnect", reconnect.p50_ns, reconnect.p99_ns);
    printf("%-10s %12.2f %12.2f\n", "ratio", (double)handoff.p50_ns / (double)reconnect.p50_ns,
           (double)handoff.p99_ns / (double)reconnect.p99_ns);
    printf("%s\n", status == RP_HANDOFF_OK ? "The handoff is faster." : rp_handoff_strerror(status));
    return 0;
}

int run_bench(uint32_t samples) {
    const uint32_t each = samples / turns;
    uint64_t *handoffs = calloc(samples, sizeof *handoffs);
    uint64_t *reconnects = calloc(samples, sizeof *reconnects);
    uint16_t handing;
    uint16_t naming;
    must(handoffs != NULL && reconnects != NULL, "calloc");
    start_servers(&handing, &naming);
    for (uint32_t i = 0; i < turns; i++) {
        const uint32_t warmup = i == 0 ? 100 : 0;
        must(rp_handoff_latency_collect(warmup, each, handed_over, &handing, handoffs + i * each) == RP_HANDOFF_OK &&
                 rp_handoff_latency_collect(warmup, each, reconnected, &naming, reconnects + i * each) == RP_HANDOFF_OK,
             "collect");
    }
    const int status = report(handoffs, reconnects, (size_t)each * turns);
    free(handoffs);
    free(reconnects);
    return status;
}
