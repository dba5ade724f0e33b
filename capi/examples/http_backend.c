/*
 * http_backend SOCKET [refuse | hold]: answers the HTTP requests on the connections it is offered with its name and
 * pid.
 *
 * With "refuse" it refuses every offer; with "hold" it takes one offer, says so, and never answers it, so that one can
 * kill it then. Prints "ready" when it can be reached.
 */
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

static void serve(int client) {
    char request[4096], body[64];
    int length = snprintf(body, sizeof body, "backend %d\n", (int)getpid());
    if (recv(client, request, sizeof request, 0) > 0)
        dprintf(client, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", length, body);
    shutdown(client, SHUT_RDWR);
    close(client);
}

static void answer(rp_handoff_offer *offer, const char *mode) {
    int32_t client;
    if (strcmp(mode, "refuse") == 0) {
        rp_handoff_offer_refuse(offer, "this backend is draining");
    } else if (strcmp(mode, "hold") == 0) {
        say("holding");
        for (;;)
            pause();
    } else if (rp_handoff_offer_accept(offer, &client) >= RP_HANDOFF_OK) {
        serve(client);
    }
}

int main(int argc, char **argv) {
    const char *mode = argc > 2 ? argv[2] : "serve";
    rp_handoff_backend *backend;
    signal(SIGPIPE, SIG_IGN); /* for our own writes to clients; the library raises no signal */
    if (argc < 2 || rp_handoff_backend_create(NULL, &backend) != RP_HANDOFF_OK)
        return 1;
    int32_t status = rp_handoff_backend_listen(backend, argv[1]);
    if (status == RP_HANDOFF_OK)
        say("ready");
    while (status == RP_HANDOFF_OK) {
        rp_handoff_offer *offer;
        status = rp_handoff_backend_next_offer(backend, RP_HANDOFF_FOREVER, &offer);
        if (status == RP_HANDOFF_OK) {
            answer(offer, mode);
            rp_handoff_offer_destroy(offer);
        }
    }
    fprintf(stderr, "http_backend: %s\n", rp_handoff_strerror(status));
    rp_handoff_backend_destroy(backend);
    return 1;
}
