/*
 * service_backend DIRECTORY NAME [refuse | hold]: the backend of one service behind a service_broker.
 *
 * Answers each client's first byte with its pid, in one poll(2) loop: on connections that are handed over one by one
 * (offered at DIRECTORY/NAME.offers) or in a session (DIRECTORY/NAME.session), and on those of clients that reconnect
 * (DIRECTORY/NAME.sock). With "refuse" it refuses offers, with "hold" it never answers them.
 */
#define _POSIX_C_SOURCE 200809L /* dprintf */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <rp_handoff.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { RECONNECTS, OFFERS, SESSIONS, SESSION, SOURCES };

static const char *mode;
static rp_handoff_backend *backend;
static rp_handoff_listener *listener;
static rp_handoff_session *session; /* NULL: none */

static int listen_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(path);
    umask(0177);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0)
        return -1;
    return fd;
}

static int fail(const rp_handoff_error *error) {
    fprintf(stderr, "service_backend DIRECTORY NAME: %s\n", error->text);
    return 1;
}

/* Waits for the client's first byte: until then the stream of a v1 offer may still carry the broker's ready frame. */
static void serve(int client, const char *how) {
    char byte;
    fcntl(client, F_SETFL, fcntl(client, F_GETFL) & ~O_NONBLOCK); /* as we want it: a broker may have set it */
    if (read(client, &byte, 1) == 1)
        dprintf(client, "backend %d %s\n", (int)getpid(), how);
    shutdown(client, SHUT_RDWR);
    close(client);
}

static void serve_next(int reconnects) {
    int client = accept(reconnects, NULL, NULL);
    if (client >= 0)
        serve(client, "reconnected");
}

static void answer(rp_handoff_offer *offer) {
    int32_t client;
    if (strcmp(mode, "hold") == 0)
        return;
    if (strcmp(mode, "refuse") == 0)
        rp_handoff_offer_refuse(offer, "this backend is draining");
    else if (rp_handoff_offer_accept(offer, &client) >= RP_HANDOFF_OK) {
        if (session != NULL)
            rp_handoff_session_flush(session); /* the broker need not wait while we serve */
        serve(client, "adopted");
    }
    rp_handoff_offer_destroy(offer);
}

static void serve_session(void) {
    rp_handoff_event event = RP_HANDOFF_EVENT_INIT;
    rp_handoff_session_process(session);
    while (rp_handoff_session_next_event(session, &event, NULL) == 1)
        if (event.kind == RP_HANDOFF_EVENT_OFFER)
            answer(event.offer);
    if (event.kind == RP_HANDOFF_EVENT_CLOSED) { /* always the last */
        if (event.status < 0)
            fprintf(stderr, "session: %s\n", event.text);
        rp_handoff_session_destroy(session);
        session = NULL;
    }
}

static void take_broker(void) {
    rp_handoff_session_options options = RP_HANDOFF_SESSION_OPTIONS_INIT;
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    if (rp_handoff_listener_accept(listener, 0, &options.connection_fd) != RP_HANDOFF_OK)
        return;
    if (session != NULL) {
        close(options.connection_fd); /* one is enough */
    } else if (rp_handoff_session_create_backend(&options, &session, &error) != RP_HANDOFF_OK) {
        close(options.connection_fd);
        fail(&error);
    }
}

static int wait_for(struct pollfd *fds) {
    uint64_t backend_ns = RP_HANDOFF_FOREVER, session_ns = RP_HANDOFF_FOREVER;
    rp_handoff_backend_get_timeout(backend, &backend_ns);
    if (session != NULL)
        rp_handoff_session_get_timeout(session, &session_ns);
    if (session_ns > backend_ns)
        session_ns = backend_ns;
    fds[SESSION].fd = session != NULL ? rp_handoff_session_get_fd(session) : -1;
    return poll(fds, SOURCES, session_ns == RP_HANDOFF_FOREVER ? -1 : (int)(session_ns / 1000000) + 1);
}

int main(int argc, char **argv) {
    char paths[3][108];
    const char *const suffixes[] = {"sock", "offers", "session"};
    rp_handoff_listener_options at = RP_HANDOFF_LISTENER_OPTIONS_INIT;
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    rp_handoff_listener *offers;
    rp_handoff_offer *offer;
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; argc > 2 && i < 3; i++)
        snprintf(paths[i], sizeof paths[i], "%s/%s.%s", argv[1], argv[2], suffixes[i]);
    mode = argc > 3 ? argv[3] : "";
    int reconnects = argc > 2 ? listen_at(paths[0]) : -1;
    if (reconnects < 0) {
        fprintf(stderr, "service_backend DIRECTORY NAME: %s\n", argc < 3 ? "two arguments" : strerror(errno));
        return 1;
    }
    at.path = paths[1];
    if (rp_handoff_backend_create(NULL, &backend, &error) != RP_HANDOFF_OK ||
        rp_handoff_listener_create(&at, &offers, &error) != RP_HANDOFF_OK)
        return fail(&error);
    at.path = paths[2];
    if (rp_handoff_listener_create(&at, &listener, &error) != RP_HANDOFF_OK)
        return fail(&error);
    int32_t status = rp_handoff_backend_add_listener(backend, offers);
    if (status != RP_HANDOFF_OK) {
        fprintf(stderr, "service_backend: %s\n", rp_handoff_strerror(status));
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    struct pollfd fds[SOURCES] = {[RECONNECTS] = {.fd = reconnects, .events = POLLIN},
                                  [OFFERS] = {.fd = rp_handoff_backend_get_fd(backend), .events = POLLIN},
                                  [SESSIONS] = {.fd = rp_handoff_listener_get_fd(listener), .events = POLLIN},
                                  [SESSION] = {.events = POLLIN}};
    while (wait_for(fds) >= 0) {
        if (fds[SESSIONS].revents != 0)
            take_broker();
        if (session != NULL)
            serve_session();
        while (rp_handoff_backend_next_offer(backend, 0, &offer) == RP_HANDOFF_OK)
            answer(offer);
        if (fds[RECONNECTS].revents != 0)
            serve_next(reconnects);
    }
    return 1;
}
