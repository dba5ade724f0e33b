/*
 * restart PORT: answers each line of each TCP client on 127.0.0.1:PORT with its process id in front. On SIGHUP it starts its
 * program anew, hands it the listening socket and every live connection, and ends; no client notices.
 *
 * One poll loop. The old process is the broker of a session over a socketpair, the new one ("restart --from DESCRIPTOR") its
 * backend. Half a line that was read already travels as early bytes. What comes back is served on by the old process.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* accept4 */
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <rp_handoff.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 1000, LINE = 512 };
static struct client {
    int fd; /* -1: none */
    int away;
    size_t length;
    char line[LINE]; /* what was read of the next one */
} clients[CLIENTS];
static int places; /* of them that can be used: poll(2) takes no more entries than RLIMIT_NOFILE */
static int listener = -1, listener_away;
static rp_handoff_broker *broker;
static rp_handoff_session *session;  /* to the new process, or from the old one */
static int next_to_offer, unsettled; /* 0 is the listener, i + 1 a client; -1: not yet */

static int fail(const rp_handoff_error *error) {
    fprintf(stderr, "restart: %s\n", error->text);
    return 0;
}

/* ---- serving */

static void end_client(struct client *c) {
    shutdown(c->fd, SHUT_RDWR);
    close(c->fd);
    c->fd = -1;
}

static struct client *free_place(void) {
    for (struct client *c = clients; c < clients + places; c++)
        if (c->fd < 0)
            return c;
    return NULL;
}

static void add_client(struct client *c, int fd, const void *early, size_t length) {
    *c = (struct client){.fd = fd, .length = length};
    if (length > 0)
        memcpy(c->line, early, length);
}

static void serve(struct client *c) {
    ssize_t n = recv(c->fd, c->line + c->length, LINE - c->length, MSG_DONTWAIT);
    char *end;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    c->length += n > 0 ? (size_t)n : 0;
    while (n > 0 && (end = memchr(c->line, '\n', c->length)) != NULL) {
        char answer[16 + LINE];
        size_t line = (size_t)(end + 1 - c->line), head = (size_t)snprintf(answer, 16, "%d ", (int)getpid());
        memcpy(answer + head, c->line, line);
        if (send(c->fd, answer, head + line, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)(head + line))
            n = 0; /* who does not read is not waited for */
        c->length -= line;
        memmove(c->line, end + 1, c->length);
    }
    if (n <= 0 || c->length == LINE)
        end_client(c);
}

static int is_idle(void) {
    for (const struct client *c = clients; c < clients + places; c++)
        if (c->fd >= 0)
            return 0;
    return listener < 0 && session == NULL;
}

/* ---- the old process */

static void start_successor(char *program) {
    rp_handoff_session_options options = RP_HANDOFF_SESSION_OPTIONS_INIT;
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    char descriptor[12];
    int ends[2];
    if (broker == NULL && rp_handoff_broker_create(NULL, &broker, &error) != RP_HANDOFF_OK) {
        fail(&error);
        return;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return;
    if (fork() == 0) {
        fcntl(ends[1], F_SETFD, 0); /* this one survives the exec, and nothing else */
        snprintf(descriptor, sizeof descriptor, "%d", ends[1]);
        execlp(program, program, "--from", descriptor, (char *)NULL);
        _exit(127);
    }
    close(ends[1]); /* or the end of the new process would not be seen */
    options.connection_fd = ends[0];
    next_to_offer = -1;
    if (rp_handoff_session_create_broker(broker, &options, &session, &error) != RP_HANDOFF_OK) {
        close(ends[0]);
        fail(&error);
    }
}

/* The listening socket first, so that no client comes in behind; as many as the bounds allow, the rest when some are done. */
static void offer_all(void) {
    for (; next_to_offer >= 0 && next_to_offer <= places; next_to_offer++) {
        struct client *c = next_to_offer > 0 ? &clients[next_to_offer - 1] : NULL;
        rp_handoff_submission s = {.struct_size = sizeof s, .user_data = (uint64_t)next_to_offer};
        if (c != NULL ? c->fd < 0 : listener < 0)
            continue;
        s.fd = c != NULL ? c->fd : listener;
        s.flags = c != NULL ? 0 : RP_HANDOFF_SUBMIT_DUPLICATE; /* the library shuts down what it owns in the end */
        s.metadata = (const uint8_t *)"listener";
        s.metadata_length = c != NULL ? 0 : 8;
        s.early = c != NULL ? (const uint8_t *)c->line : NULL;
        s.early_length = c != NULL ? c->length : 0;
        if (rp_handoff_session_submit(session, &s, 1, NULL, NULL) != 1)
            return;
        *(c != NULL ? &c->away : &listener_away) = 1;
        unsettled++;
    }
    if (next_to_offer > places && unsettled == 0)
        rp_handoff_session_close(session);
}

static void settle(const rp_handoff_event *event) {
    struct client *c = event->user_data > 0 ? &clients[event->user_data - 1] : NULL;
    unsettled--;
    *(c != NULL ? &c->away : &listener_away) = 0;
    if (c != NULL) {
        c->fd = event->fd; /* given back, or -1 */
    } else if (event->ownership == RP_HANDOFF_OWNER_BACKEND) {
        close(listener);
        listener = -1;
    }
}

/* ---- the new process */

static void adopt(rp_handoff_offer *offer) {
    rp_handoff_offer_info info = {.struct_size = sizeof info};
    struct client *place = free_place();
    int32_t fd;
    rp_handoff_offer_get_info(offer, &info);
    if ((info.metadata_length == 0 && place == NULL) || info.early_length >= LINE)
        rp_handoff_offer_refuse(offer, "no place"); /* so the old process goes on serving it */
    else if (rp_handoff_offer_accept(offer, &fd) >= RP_HANDOFF_OK) {
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); /* as we want it, whatever the old process had */
        if (info.metadata_length > 0)
            listener = fd;
        else
            add_client(place, fd, info.early, info.early_length);
    }
    rp_handoff_offer_destroy(offer);
}

/* ---- both */

static void take_events(void) {
    rp_handoff_event event = {.struct_size = sizeof event};
    rp_handoff_session_process(session);
    while (rp_handoff_session_next_event(session, &event, NULL) == 1) {
        if (event.kind == RP_HANDOFF_EVENT_OPENED)
            next_to_offer = 0;
        else if (event.kind == RP_HANDOFF_EVENT_OUTCOME)
            settle(&event);
        else if (event.kind == RP_HANDOFF_EVENT_OFFER)
            adopt(event.offer);
    }
    if (event.kind == RP_HANDOFF_EVENT_CLOSED) {
        if (event.status < 0)
            fprintf(stderr, "restart: %s\n", event.text); /* and this process goes on with what came back */
        rp_handoff_session_destroy(session);
        session = NULL;
    } else if (broker != NULL) {
        offer_all();
    }
}

static int begin(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    rp_handoff_session_options options = RP_HANDOFF_SESSION_OPTIONS_INIT;
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    for (int i = 0; i < places; i++)
        clients[i].fd = -1;
    if (argc == 3 && strcmp(argv[1], "--from") == 0) {
        options.connection_fd = atoi(argv[2]);
        return rp_handoff_session_create_backend(&options, &session, &error) == RP_HANDOFF_OK || fail(&error);
    }
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    address.sin_port = htons((uint16_t)(argc == 2 ? atoi(argv[1]) : 0));
    if (argc == 2 && bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, CLIENTS) == 0)
        return 1;
    fprintf(stderr, "restart PORT: %s\n", argc != 2 ? "one argument" : strerror(errno));
    return 0;
}

int main(int argc, char **argv) {
    static struct pollfd fds[CLIENTS + 3];
    struct signalfd_siginfo hangup;
    sigset_t signals;
    struct rlimit files;
    enum { OTHERS = 16 }; /* descriptors that are no clients */
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur <= OTHERS)
        return 1;
    places = files.rlim_cur - OTHERS < CLIENTS ? (int)(files.rlim_cur - OTHERS) : CLIENTS;
    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int asked = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    signal(SIGCHLD, SIG_IGN);
    if (asked < 0 || !begin(argc, argv))
        return 1;
    while (!is_idle()) {
        uint64_t timeout_ns = RP_HANDOFF_FOREVER;
        fds[0] = (struct pollfd){.fd = listener_away || free_place() == NULL ? -1 : listener, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = -1, .events = POLLIN};
        fds[2] = (struct pollfd){.fd = session == NULL ? asked : -1, .events = POLLIN}; /* one successor at a time */
        if (session != NULL && rp_handoff_session_get_timeout(session, &timeout_ns) == RP_HANDOFF_OK)
            fds[1].fd = rp_handoff_session_get_fd(session);
        for (int i = 0; i < places; i++)
            fds[i + 3] = (struct pollfd){.fd = clients[i].away ? -1 : clients[i].fd, .events = POLLIN};
        int timeout_ms = timeout_ns < 3600000000000 ? (int)(timeout_ns / 1000000) + 1 : -1;
        if (poll(fds, (nfds_t)places + 3, timeout_ms) < 0) {
            if (errno == EINTR)
                continue;
            perror("poll");
            return 1;
        }
        for (int i = 0; i < places; i++)
            if (fds[i + 3].revents != 0)
                serve(&clients[i]);
        if (fds[0].revents != 0) {
            int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (client >= 0)
                add_client(free_place(), client, NULL, 0);
        }
        if (session != NULL)
            take_events();
        if (fds[2].revents != 0 && read(asked, &hangup, sizeof hangup) == sizeof hangup)
            start_successor(argv[0]);
    }
    rp_handoff_broker_destroy(broker);
    return 0;
}
