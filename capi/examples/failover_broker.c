/*
 * failover_broker SOCKET SOCKET SOCKET: hands every TCP connection on a loopback port, which it prints, to one of three
 * backends, whichever is there. No client sees a backend refuse, stop or die, unless it was the one that served it.
 *
 * What makes this safe: an outcome of a session says BROKER only if the backend can never adopt the connection any more,
 * so that it may be offered to the next one at once. A connection for which there is no backend right now waits.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <rp_handoff.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKENDS = 3, OFFERS_MAX = 50 };
static const uint64_t millisecond_ns = 1000000;

struct backend {
    rp_handoff_session *session; /* NULL: nobody listens there */
    int open;
    int32_t status; /* of the last try to begin one */
};
static struct backend backends[BACKENDS];
static rp_handoff_broker *broker;
static rp_handoff_queue *waiting; /* connections without a backend, with the number of offers that were made of each */

static int fail(const rp_handoff_error *error) {
    fprintf(stderr, "failover_broker: %s\n", error->text);
    return 1;
}

static void give_up(int client) {
    shutdown(client, SHUT_RDWR); /* a duplicate may lie in a stopped backend's queue, so that close is not enough */
    close(client);
}

/* The one with the fewest offers unanswered, so that a stopped one, whose offers pile up, is soon left alone. */
static struct backend *choose(const struct backend *except) {
    struct backend *best = NULL;
    uint32_t fewest = UINT32_MAX;
    for (struct backend *b = backends; b < backends + BACKENDS; b++) {
        rp_handoff_session_statistics now = {.struct_size = sizeof now};
        if (!b->open || b == except || rp_handoff_session_get_statistics(b->session, &now) != RP_HANDOFF_OK)
            continue;
        best = now.in_flight < fewest ? b : best;
        fewest = now.in_flight < fewest ? now.in_flight : fewest;
    }
    return best;
}

static void offer(int client, uint64_t offers, const struct backend *except) {
    rp_handoff_submission submission = {.struct_size = sizeof submission,
                                        .fd = client,
                                        .timeout_ns = 250 * millisecond_ns,
                                        .user_data = offers + 1}; /* each submit issues a fresh token */
    struct backend *to = offers < OFFERS_MAX ? choose(except) : NULL;
    if (to != NULL && rp_handoff_session_submit(to->session, &submission, 1, NULL, NULL) == 1)
        return;
    if (offers >= OFFERS_MAX || rp_handoff_queue_enqueue(waiting, client, offers) != RP_HANDOFF_OK)
        give_up(client);
}

static void take_events(struct backend *from) {
    rp_handoff_event event = {.struct_size = sizeof event};
    while (rp_handoff_session_next_event(from->session, &event, NULL) == 1) {
        if (event.kind == RP_HANDOFF_EVENT_OPENED)
            from->open = 1;
        else if (event.kind == RP_HANDOFF_EVENT_OUTCOME && event.ownership == RP_HANDOFF_OWNER_BROKER)
            offer(event.fd, event.user_data, from); /* refused, too late, or the backend died: to another one */
        else if (event.kind == RP_HANDOFF_EVENT_CLOSING || event.kind == RP_HANDOFF_EVENT_CLOSED)
            from->open = 0;
    }
    if (event.kind == RP_HANDOFF_EVENT_CLOSED) { /* always the last */
        if (event.status < 0)
            fprintf(stderr, "backend %d: %s\n", (int)(from - backends), event.text);
        rp_handoff_session_destroy(from->session);
        from->session = NULL;
    }
}

/* Tried again and again while nobody listens there, so a reason is told once. */
static void begin_session(struct backend *b, const char *path) {
    rp_handoff_session_options options = RP_HANDOFF_SESSION_OPTIONS_INIT;
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    options.socket_path = path;
    int32_t status = rp_handoff_session_create_broker(broker, &options, &b->session, &error);
    if (status != RP_HANDOFF_OK && status != b->status)
        fprintf(stderr, "backend %d: %s\n", (int)(b - backends), error.text);
    b->status = status;
}

static int listen_on_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        return -1;
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static int next_due_ms(void) {
    uint64_t least_ns = 50 * millisecond_ns, session_ns; /* until the next look for backends that are not there */
    for (struct backend *b = backends; b < backends + BACKENDS; b++)
        if (b->session != NULL && rp_handoff_session_get_timeout(b->session, &session_ns) == RP_HANDOFF_OK)
            least_ns = session_ns < least_ns ? session_ns : least_ns;
    return (int)((least_ns + millisecond_ns - 1) / millisecond_ns);
}

int main(int argc, char **argv) {
    rp_handoff_queue_options patience = {
        .struct_size = sizeof patience, .capacity = 1024, .ttl_ns = 3600000 * millisecond_ns};
    struct pollfd fds[BACKENDS + 1] = {{.fd = argc == 1 + BACKENDS ? listen_on_loopback() : -1, .events = POLLIN}};
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    if (fds[0].fd < 0) {
        fprintf(stderr, "failover_broker SOCKET SOCKET SOCKET: %s\n",
                argc != 1 + BACKENDS ? "three arguments" : strerror(errno));
        return 1;
    }
    if (rp_handoff_broker_create(NULL, &broker, &error) != RP_HANDOFF_OK ||
        rp_handoff_queue_create(&patience, &waiting, &error) != RP_HANDOFF_OK)
        return fail(&error);
    for (;; poll(fds, BACKENDS + 1, next_due_ms())) {
        uint32_t count = 0;
        uint64_t offers;
        int32_t client;
        for (int i = 0; i < BACKENDS; i++) {
            struct backend *b = &backends[i];
            if (b->session != NULL && rp_handoff_session_process(b->session) == RP_HANDOFF_OK)
                take_events(b);
            if (b->session == NULL)
                begin_session(b, argv[1 + i]);
            fds[1 + i].fd = b->session != NULL ? rp_handoff_session_get_fd(b->session) : -1;
            fds[1 + i].events = POLLIN;
        }
        for (rp_handoff_queue_get_length(waiting, &count); count > 0; count--)
            if (rp_handoff_queue_dequeue(waiting, &client, &offers) == 1)
                offer(client, offers, NULL);
        if (fds[0].revents != 0 && (client = accept(fds[0].fd, NULL, NULL)) >= 0)
            offer(client, 0, NULL);
    }
}
