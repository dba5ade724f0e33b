/*
 * service_backend DIRECTORY NAME [refuse]: the backend of one service behind a service_broker.
 *
 * Answers each client's first byte with its pid, on connections that are handed over (offered at DIRECTORY/NAME.offers) and
 * on those of clients that reconnect (DIRECTORY/NAME.sock) alike, in one poll(2) loop. With "refuse" it refuses offers.
 */
#include <poll.h>
#include <rp_handoff.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int listen_at(const char *directory, const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s.sock", directory, name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(address.sun_path);
    umask(0177);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0)
        return -1;
    return fd;
}

/* Waits for the client's first byte: until then the stream may still carry the broker's ready frame. */
static void serve(int client, const char *how) {
    char byte;
    if (client >= 0 && read(client, &byte, 1) == 1)
        dprintf(client, "backend %d %s\n", (int)getpid(), how);
    shutdown(client, SHUT_RDWR);
    close(client);
}

static void serve_offers(rp_handoff_backend *backend, int refuse) {
    rp_handoff_offer *offer;
    while (rp_handoff_backend_next_offer(backend, 0, &offer) == RP_HANDOFF_OK) {
        int32_t client;
        if (refuse)
            rp_handoff_offer_refuse(offer, "this backend is draining");
        else if (rp_handoff_offer_accept(offer, &client) >= RP_HANDOFF_OK)
            serve(client, "adopted");
        rp_handoff_offer_destroy(offer);
    }
}

int main(int argc, char **argv) {
    char offers[108];
    rp_handoff_backend *backend;
    uint64_t timeout_ns;
    int listener = argc > 2 ? listen_at(argv[1], argv[2]) : -1;
    signal(SIGPIPE, SIG_IGN);
    if (listener < 0 || rp_handoff_backend_create(NULL, &backend) != RP_HANDOFF_OK)
        return 1;
    snprintf(offers, sizeof offers, "%s/%s.offers", argv[1], argv[2]);
    if (rp_handoff_backend_listen(backend, offers) != RP_HANDOFF_OK)
        return 1;
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        struct pollfd fds[] = {{.fd = listener, .events = POLLIN},
                               {.fd = rp_handoff_backend_fd(backend), .events = POLLIN}};
        if (rp_handoff_backend_timeout(backend, &timeout_ns) != RP_HANDOFF_OK)
            return 1;
        poll(fds, 2, timeout_ns == RP_HANDOFF_FOREVER ? -1 : (int)(timeout_ns / 1000000) + 1);
        serve_offers(backend, argc > 3 && strcmp(argv[3], "refuse") == 0);
        if (fds[0].revents != 0)
            serve(accept(listener, NULL, NULL), "reconnected");
    }
}
