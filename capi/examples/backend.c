/* backend SOCKET: adopts the connections that a broker offers at SOCKET, and greets each client after its first byte. */
#define _POSIX_C_SOURCE 200809L /* dprintf */
#include <fcntl.h>
#include <rp_handoff.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve(int client) {
    char line[128];
    fcntl(client, F_SETFL, fcntl(client, F_GETFL) & ~O_NONBLOCK); /* as we want it: a broker may have set it */
    if (read(client, line, sizeof line) > 0)
        dprintf(client, "hello from process %d\n", (int)getpid());
    shutdown(client, SHUT_RDWR); /* who owns a connection ends it with shutdown and close */
    close(client);
}

int main(int argc, char **argv) {
    rp_handoff_listener_options at = RP_HANDOFF_LISTENER_OPTIONS_INIT;
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    rp_handoff_listener *listener;
    rp_handoff_backend *backend;
    signal(SIGPIPE, SIG_IGN); /* for our own writes to clients; the library raises no signal */
    at.path = argc == 2 ? argv[1] : "";
    if (rp_handoff_listener_create(&at, &listener, &error) != RP_HANDOFF_OK ||
        rp_handoff_backend_create(NULL, &backend, &error) != RP_HANDOFF_OK) {
        fprintf(stderr, "backend SOCKET: %s: %s\n", error.member, error.text);
        return 1;
    }
    int32_t status = rp_handoff_backend_add_listener(backend, listener);
    while (status == RP_HANDOFF_OK) {
        rp_handoff_offer *offer;
        int32_t client;
        status = rp_handoff_backend_next_offer(backend, RP_HANDOFF_FOREVER, &offer);
        if (status != RP_HANDOFF_OK)
            break;
        if (rp_handoff_offer_accept(offer, &client) >= RP_HANDOFF_OK)
            serve(client); /* a real server would go on to its next offer meanwhile */
        rp_handoff_offer_destroy(offer);
    }
    fprintf(stderr, "backend: %s\n", rp_handoff_strerror(status));
    rp_handoff_backend_destroy(backend);
    rp_handoff_listener_destroy(listener);
    return 1;
}
