/*
 * http_broker DIRECTORY: a front door for HTTP on a loopback port that it chooses and prints.
 *
 * The first segment of a request's path names the backend: /blue/... goes to DIRECTORY/blue.sock. The request stays
 * unread in the socket (MSG_PEEK), so the backend finds it whole. What the broker still owns after a fallback it
 * answers by itself; an AMBIGUOUS connection it only closes. One line for each handoff on standard output: path,
 * result, stage, reason, ownership, microseconds, detail.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <rp_handoff.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const stages[] = {"-", "SEND", "AWAIT_ACK", "ACKNOWLEDGE"};
static const char *const owners[] = {"-", "BROKER", "BACKEND", "AMBIGUOUS"};
static const char *const reasons[] = {"-",
                                      "ClientUnsupported",
                                      "ServicePolicyDisabled",
                                      "FdPressureDisabled",
                                      "FailedAttemptRateLimited",
                                      "PermissionDenied",
                                      "IntegrityMismatch",
                                      "BackendAckTimeout",
                                      "AdoptedBackend"};

static int listen_on_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        return -1;
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

/* Looks at the request line without reading it. A client has a second for it. 0 if it names a backend. */
static int peek_backend(int client, char *name, size_t size) {
    char line[512];
    struct pollfd ready = {.fd = client, .events = POLLIN};
    if (poll(&ready, 1, 1000) != 1)
        return -1;
    ssize_t n = recv(client, line, sizeof line - 1, MSG_PEEK);
    if (n <= 0)
        return -1;
    line[n] = '\0';
    char *path = strchr(line, '/');
    size_t length = path != NULL ? strspn(path + 1, "abcdefghijklmnopqrstuvwxyz") : 0;
    if (length == 0 || length >= size)
        return -1;
    memcpy(name, path + 1, length);
    name[length] = '\0';
    return 0;
}

static void answer_here(int client) {
    char request[4096], body[64];
    ssize_t n = recv(client, request, sizeof request, 0); /* bytes left unread at close would reset the connection */
    int length = snprintf(body, sizeof body, "broker %d\n", (int)getpid());
    if (n > 0)
        dprintf(client, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", length, body);
    shutdown(client, SHUT_RDWR);
}

static void hand_over(rp_handoff_broker *broker, int client, const char *directory, const char *name) {
    char path[108];
    rp_handoff_request request = {.struct_size = sizeof request, .fd = client, .socket_path = path};
    rp_handoff_outcome outcome = {.struct_size = sizeof outcome};
    snprintf(path, sizeof path, "%s/%s.sock", directory, name);
    int32_t status = rp_handoff_broker_issue(broker, name, 0, &request.token);
    if (status == RP_HANDOFF_OK)
        status = rp_handoff_broker_execute(broker, &request, &outcome);
    if (status != RP_HANDOFF_OK) {
        printf("/%s ERROR - - BROKER 0 %s\n", name, rp_handoff_strerror(status));
        answer_here(client);
        return;
    }
    if (outcome.ownership == RP_HANDOFF_OWNER_BROKER)
        answer_here(client);
    printf("/%s %s %s %s %s %llu %s\n", name, outcome.result == RP_HANDOFF_COMPLETED ? "COMPLETED" : "FALLBACK",
           stages[outcome.stage], reasons[outcome.reason], owners[outcome.ownership],
           (unsigned long long)(outcome.elapsed_ns / 1000), outcome.detail);
}

int main(int argc, char **argv) {
    rp_handoff_broker *broker;
    char name[32];
    signal(SIGPIPE, SIG_IGN); /* for our own writes to clients; the library raises no signal */
    int listener = argc == 2 ? listen_on_loopback() : -1;
    if (listener < 0 || rp_handoff_broker_create(NULL, &broker) != RP_HANDOFF_OK)
        return 1;
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0)
            continue;
        if (peek_backend(client, name, sizeof name) == 0)
            hand_over(broker, client, argv[1], name);
        fflush(stdout);
        close(client);
    }
}
