/*
 * session_backend SOCKET: adopts the connections that brokers offer over sessions at SOCKET, and sends back what each client
 * says with its process id in front.
 *
 * One thread for each session and for each client; a session is as well at home in any event loop. Prints "ready" when it
 * can be reached.
 */
#define _POSIX_C_SOURCE 200809L /* dprintf */
#include <fcntl.h>
#include <pthread.h>
#include <rp_handoff.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void *serve_client(void *argument) {
    int client = (int)(intptr_t)argument;
    char line[512];
    ssize_t n;
    fcntl(client, F_SETFL, fcntl(client, F_GETFL) & ~O_NONBLOCK); /* as we want it: a broker may have set it */
    while ((n = read(client, line, sizeof line)) > 0)
        dprintf(client, "%d %.*s", (int)getpid(), (int)n, line);
    shutdown(client, SHUT_RDWR); /* who owns a connection ends it with shutdown and close */
    close(client);
    return NULL;
}

static void start(void *(*body)(void *), int fd) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, (void *)(intptr_t)fd) == 0)
        pthread_detach(thread);
    else
        close(fd);
}

static void *serve_broker(void *argument) {
    rp_handoff_session_options options = RP_HANDOFF_SESSION_OPTIONS_INIT;
    rp_handoff_event event = RP_HANDOFF_EVENT_INIT;
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    rp_handoff_session *session;
    int32_t client;
    options.connection_fd = (int)(intptr_t)argument;
    if (rp_handoff_session_create_backend(&options, &session, &error) != RP_HANDOFF_OK) {
        fprintf(stderr, "session: %s\n", error.text);
        close(options.connection_fd);
        return NULL;
    }
    while (event.kind != RP_HANDOFF_EVENT_CLOSED && rp_handoff_session_wait(session, RP_HANDOFF_FOREVER) >= 0)
        while (rp_handoff_session_next_event(session, &event, NULL) == 1)
            if (event.kind == RP_HANDOFF_EVENT_OFFER) {
                if (rp_handoff_offer_accept(event.offer, &client) >= RP_HANDOFF_OK)
                    start(serve_client, client);
                rp_handoff_offer_destroy(event.offer);
            }
    if (event.status < 0)
        fprintf(stderr, "session: %s\n", event.text); /* valid until destroy */
    rp_handoff_session_destroy(session);
    return NULL;
}

int main(int argc, char **argv) {
    rp_handoff_listener_options at = RP_HANDOFF_LISTENER_OPTIONS_INIT;
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    rp_handoff_listener *listener;
    int32_t broker;
    signal(SIGPIPE, SIG_IGN); /* for our own writes to clients; the library raises no signal */
    at.path = argc == 2 ? argv[1] : "";
    if (rp_handoff_listener_create(&at, &listener, &error) != RP_HANDOFF_OK) {
        fprintf(stderr, "session_backend SOCKET: %s: %s\n", error.member, error.text);
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    int32_t status;
    while ((status = rp_handoff_listener_accept(listener, RP_HANDOFF_FOREVER, &broker)) == RP_HANDOFF_OK)
        start(serve_broker, broker);
    fprintf(stderr, "session_backend: %s\n", rp_handoff_strerror(status));
    return 1;
}
