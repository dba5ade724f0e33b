/*
 * http_backend SOCKET [refuse | hold]: answers the HTTP requests on the connections that a broker offers it over a session:
 * with its pid, the path, and the client's address as the broker tells it.
 *
 * With "refuse" it refuses every offer; with "hold" it takes one, says so, and never answers it, so that one can kill it
 * then. Prints "ready" when it can be reached. One broker at a time, to be short; session_backend.c has more.
 */
#define _POSIX_C_SOURCE 200809L /* dprintf */
#include <fcntl.h>
#include <rp_handoff.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void say(const char *word) {
    printf("%s\n", word);
    fflush(stdout);
}

/* What the broker has read of the request comes first, then what is still in the connection. */
static void serve(int client, const rp_handoff_offer_info *info) {
    char request[8192] = "", path[128] = "", body[256];
    size_t length = info->early_length < sizeof request ? info->early_length : sizeof request - 1;
    ssize_t n = 1;
    fcntl(client, F_SETFL, fcntl(client, F_GETFL) & ~O_NONBLOCK); /* as we want it: a broker may have set it */
    if (length > 0)
        memcpy(request, info->early, length);
    while (strstr(request, "\r\n\r\n") == NULL && n > 0) {
        n = recv(client, request + length, sizeof request - 1 - length, 0);
        length += n > 0 ? (size_t)n : 0;
    }
    sscanf(request, "%*s %127s", path);
    int size = snprintf(body, sizeof body, "backend %d %s %.*s\n", (int)getpid(), path, (int)info->metadata_length,
                        (const char *)info->metadata);
    if (n > 0)
        dprintf(client, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", size, body);
    shutdown(client, SHUT_RDWR);
    close(client);
}

static void answer(rp_handoff_session *session, rp_handoff_offer *offer, const char *mode) {
    rp_handoff_offer_info info = RP_HANDOFF_OFFER_INFO_INIT;
    int32_t client;
    if (strcmp(mode, "refuse") == 0) {
        rp_handoff_offer_refuse(offer, "this backend is draining");
    } else if (strcmp(mode, "hold") == 0) {
        say("holding");
        for (;;)
            pause();
    } else if (rp_handoff_offer_accept(offer, &client) >= RP_HANDOFF_OK) {
        rp_handoff_session_flush(session); /* the broker need not wait while we serve */
        rp_handoff_offer_get_info(offer, &info);
        serve(client, &info);
    } else {
        say("revoked"); /* the broker had given up on us */
    }
    rp_handoff_offer_destroy(offer);
}

static void serve_broker(int connection, const char *mode) {
    rp_handoff_session_options options = RP_HANDOFF_SESSION_OPTIONS_INIT;
    rp_handoff_event event = RP_HANDOFF_EVENT_INIT;
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    rp_handoff_session *session;
    options.connection_fd = connection;
    if (rp_handoff_session_create_backend(&options, &session, &error) != RP_HANDOFF_OK) {
        fprintf(stderr, "session: %s\n", error.text);
        close(connection);
        return;
    }
    while (event.kind != RP_HANDOFF_EVENT_CLOSED && rp_handoff_session_wait(session, RP_HANDOFF_FOREVER) >= 0)
        while (rp_handoff_session_next_event(session, &event, NULL) == 1)
            if (event.kind == RP_HANDOFF_EVENT_OFFER)
                answer(session, event.offer, mode);
    if (event.status < 0)
        fprintf(stderr, "session: %s\n", event.text); /* valid until destroy */
    rp_handoff_session_destroy(session);
}

int main(int argc, char **argv) {
    rp_handoff_listener_options at = RP_HANDOFF_LISTENER_OPTIONS_INIT;
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    rp_handoff_listener *listener;
    int32_t connection;
    signal(SIGPIPE, SIG_IGN); /* for our own writes to clients; the library raises no signal */
    at.path = argc > 1 ? argv[1] : "";
    if (rp_handoff_listener_create(&at, &listener, &error) != RP_HANDOFF_OK) {
        fprintf(stderr, "http_backend SOCKET: %s: %s\n", error.member, error.text);
        return 1;
    }
    say("ready");
    int32_t status;
    while ((status = rp_handoff_listener_accept(listener, RP_HANDOFF_FOREVER, &connection)) == RP_HANDOFF_OK)
        serve_broker(connection, argc > 2 ? argv[2] : "serve");
    fprintf(stderr, "http_backend: %s\n", rp_handoff_strerror(status));
    rp_handoff_listener_destroy(listener);
    return 1;
}
