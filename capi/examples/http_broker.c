/*
 * http_broker DIRECTORY: a front door for HTTP on a loopback port that it chooses and prints.
 *
 * The first segment of a request's path names backends, which are reached through sessions: /blue,green/... is offered to
 * the one at DIRECTORY/blue.sock, and if that does not take it to the one at DIRECTORY/green.sock. What none takes the
 * broker answers by itself. To learn the path it has to read from the connection; these bytes travel with the offer, and so
 * does the client's address. One line for each offer on standard output: backend, result, stage, reason, ownership,
 * microseconds, detail. A thread for each client, so that a slow one keeps nobody waiting; failover_broker.c has a loop.
 */
#define _POSIX_C_SOURCE 200809L /* dprintf, strtok_r, clock_gettime */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <rp_handoff.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char *const stages[] = {"-", "SEND", "AWAIT_ACK", "ACKNOWLEDGE"};
static const char *const owners[] = {"-", "BROKER", "BACKEND"};
static const char *const reasons[] = {"-",
                                      "ClientUnsupported",
                                      "ServicePolicyDisabled",
                                      "FdPressureDisabled",
                                      "FailedAttemptRateLimited",
                                      "PermissionDenied",
                                      "IntegrityMismatch",
                                      "BackendAckTimeout",
                                      "AdoptedBackend"};

struct backend {
    char name[32];
    rp_handoff_session *session; /* NULL: a free place */
};
static struct backend backends[16];
static pthread_mutex_t backends_mutex = PTHREAD_MUTEX_INITIALIZER;
static rp_handoff_broker *broker;
static const char *directory;

enum { PATIENCE_MS = 2000 }; /* for all of a request, however its bytes come */
struct request {
    int client;
    long long deadline_ms;
    char address[64];
    size_t length;
    char bytes[4096]; /* what was read, NUL-terminated */
};

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

static long long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* Reads on until the text is there. 0 if it comes to that in time. */
static int read_until(struct request *request, const char *text) {
    while (strstr(request->bytes, text) == NULL) {
        char *end = request->bytes + request->length;
        struct pollfd client = {.fd = request->client, .events = POLLIN};
        long long left = request->deadline_ms - now_ms();
        if (left <= 0 || poll(&client, 1, (int)left) != 1)
            return -1;
        ssize_t n = recv(request->client, end, sizeof request->bytes - 1 - request->length, 0);
        if (n <= 0)
            return -1;
        end[n] = '\0';
        request->length += (size_t)n;
    }
    return 0;
}

static struct request *accept_request(int listener) {
    struct sockaddr_in address = {0};
    socklen_t length = sizeof address;
    char text[INET_ADDRSTRLEN] = "";
    int client = accept(listener, (struct sockaddr *)&address, &length);
    struct request *request = client >= 0 ? calloc(1, sizeof *request) : NULL;
    if (request == NULL) {
        close(client);
        return NULL;
    }
    request->client = client;
    request->deadline_ms = now_ms() + PATIENCE_MS;
    inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
    snprintf(request->address, sizeof request->address, "%s:%d", text, ntohs(address.sin_port));
    return request;
}

static void answer_here(struct request *request) {
    char path[128] = "", body[256];
    sscanf(request->bytes, "%*s %127s", path);
    int length = snprintf(body, sizeof body, "broker %d %s %s\n", (int)getpid(), path, request->address);
    if (read_until(request, "\r\n\r\n") == 0) /* bytes left unread at close would reset the connection */
        dprintf(request->client, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", length, body);
    shutdown(request->client, SHUT_RDWR); /* close is not enough: a backend may still have a duplicate unread */
}

/* The one of that name, or a free place for it. A place is taken only by a session, so that no request for a name that nobody
 * has can fill them. */
static struct backend *backend_of(const char *name) {
    struct backend *place = NULL;
    for (struct backend *b = backends; b < backends + sizeof backends / sizeof *backends; b++) {
        if (b->session != NULL && strcmp(b->name, name) == 0)
            return b;
        if (b->session == NULL && place == NULL)
            place = b;
    }
    if (place == NULL || strlen(name) >= sizeof place->name)
        return NULL;
    snprintf(place->name, sizeof place->name, "%s", name);
    return place;
}

static int32_t execute(struct backend *backend, const struct request *request, rp_handoff_outcome *outcome,
                       rp_handoff_error *error) {
    char path[108];
    rp_handoff_session_options options = RP_HANDOFF_SESSION_OPTIONS_INIT;
    rp_handoff_submission submission = {.struct_size = sizeof submission,
                                        .fd = request->client,
                                        .metadata = (const uint8_t *)request->address,
                                        .metadata_length = strlen(request->address),
                                        .early = (const uint8_t *)request->bytes,
                                        .early_length = request->length,
                                        .timeout_ns = 1000000000};
    int32_t status = RP_HANDOFF_OK;
    snprintf(path, sizeof path, "%s/%s.sock", directory, backend->name);
    options.socket_path = path;
    if (backend->session == NULL)
        status = rp_handoff_session_create_broker(broker, &options, &backend->session, error);
    return status == RP_HANDOFF_OK ? rp_handoff_session_execute(backend->session, &submission, outcome, error) : status;
}

/* 1 if the connection is the backend's now. Otherwise it is certainly ours, to be offered to another or served. */
static int hand_over(const struct request *request, const char *name) {
    rp_handoff_outcome outcome = RP_HANDOFF_OUTCOME_INIT;
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    pthread_mutex_lock(&backends_mutex);
    struct backend *backend = backend_of(name);
    int32_t status = backend != NULL ? execute(backend, request, &outcome, &error) : RP_HANDOFF_ERR_LIMIT;
    if (status == RP_HANDOFF_ERR_CLOSED) { /* it has ended since: perhaps another one listens there */
        rp_handoff_session_destroy(backend->session);
        backend->session = NULL;
        status = execute(backend, request, &outcome, &error);
    }
    if (status != RP_HANDOFF_OK)
        printf("%s - - - BROKER 0 %s\n", name, error.text[0] != '\0' ? error.text : "no place for that name");
    else
        printf("%s %s %s %s %s %llu %s\n", name, outcome.result == RP_HANDOFF_COMPLETED ? "COMPLETED" : "FALLBACK",
               stages[outcome.stage], reasons[outcome.reason], owners[outcome.ownership],
               (unsigned long long)(outcome.elapsed_ns / 1000), outcome.detail);
    fflush(stdout);
    pthread_mutex_unlock(&backends_mutex);
    return status == RP_HANDOFF_OK && outcome.ownership == RP_HANDOFF_OWNER_BACKEND;
}

static void route(struct request *request) {
    char names[128] = "", *rest = names, *name;
    sscanf(request->bytes, "%*s /%127[a-z,]", names);
    while ((name = strtok_r(rest, ",", &rest)) != NULL)
        if (hand_over(request, name))
            return;
    answer_here(request);
}

static void *serve(void *argument) {
    struct request *request = argument;
    if (read_until(request, "\n") == 0)
        route(request);
    close(request->client);
    free(request);
    return NULL;
}

int main(int argc, char **argv) {
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    signal(SIGPIPE, SIG_IGN); /* for our own writes to clients; the library raises no signal */
    int listener = argc == 2 ? listen_on_loopback() : -1;
    if (listener < 0) {
        fprintf(stderr, "http_broker DIRECTORY: %s\n", argc != 2 ? "one argument" : strerror(errno));
        return 1;
    }
    directory = argv[1];
    if (rp_handoff_broker_create(NULL, &broker, &error) != RP_HANDOFF_OK) {
        fprintf(stderr, "http_broker: %s\n", error.text);
        return 1;
    }
    for (;;) {
        struct request *request = accept_request(listener);
        pthread_t thread;
        if (request != NULL && pthread_create(&thread, NULL, serve, request) == 0) {
            pthread_detach(thread);
        } else if (request != NULL) {
            close(request->client);
            free(request);
        }
    }
}
