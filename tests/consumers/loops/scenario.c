#include "scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { many = 2000, batch = 24, in_flight = 64 };

/* What the broker does, one act after the other; each begins when all outcomes of the one before are there. */
static const struct act {
    const char *order; /* metadata: what the backend is to do */
    uint32_t count;
    uint64_t timeout_ns;
    int32_t ownership;
    int32_t cause;
} acts[] = {{"serve", many, 0, RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE},
            {"refuse", 1, 0, RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_BACKEND_REFUSED},
            {"hold", 1, 200000000, RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_ACK_TIMED_OUT},
            {"let go", 1, 0, RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE}};

struct side {
    rp_handoff_session *session;
    int is_broker;
    int is_closed;
    /* broker */
    const struct act *act;
    uint32_t submitted; /* of this act */
    uint32_t ended;
    uint32_t limited; /* submits that the bound on handoffs in flight cut short */
    int clients[many];
    /* backend */
    rp_handoff_offer *held;
};

void check(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "failed: %s\n", what);
        exit(1);
    }
}

rp_handoff_session *session_of(struct side *side) {
    return side->session;
}

int64_t milliseconds_left(rp_handoff_session *session) {
    uint64_t left_ns = 0;
    check(rp_handoff_session_get_timeout(session, &left_ns) == RP_HANDOFF_OK, "timeout");
    return left_ns == RP_HANDOFF_FOREVER ? -1 : (int64_t)((left_ns + 999999) / 1000000);
}

/* Answers what the client asked with the name of who serves it. */
static void serve(int connection, const char *name) {
    char question[16] = "";
    char answer[32];
    check(recv(connection, question, sizeof question - 1, 0) > 0, "the client's question");
    const int length = snprintf(answer, sizeof answer, "%s %s", name, question);
    check(send(connection, answer, (size_t)length, MSG_NOSIGNAL) == length, "the answer");
    shutdown(connection, SHUT_RDWR);
    close(connection);
}

/* ---- broker ---- */

static int begin_client(uint32_t number, int *client) {
    char question[16];
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "a connection");
    const int length = snprintf(question, sizeof question, "%u", (unsigned)number);
    check(send(ends[0], question, (size_t)length, 0) == length, "the question");
    *client = ends[0];
    return ends[1];
}

static void end_client(uint32_t number, int client, const char *name) {
    char answer[32] = "";
    char expected[32];
    snprintf(expected, sizeof expected, "%s %u", name, (unsigned)number);
    check(recv(client, answer, sizeof answer - 1, MSG_WAITALL) > 0 && strcmp(answer, expected) == 0, expected);
    close(client);
}

/* Submits up to `batch` of this act. 1 if more can follow at once. */
static int submit_batch(struct side *side) {
    const struct act *act = side->act;
    rp_handoff_submission items[batch];
    const uint32_t left = act->count - side->submitted;
    const uint32_t count = left < batch ? left : batch;
    memset(items, 0, sizeof items);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t number = side->submitted + i;
        items[i].struct_size = sizeof items[i];
        items[i].fd = begin_client(number, &side->clients[number]);
        items[i].metadata = (const uint8_t *)act->order;
        items[i].metadata_length = (uint32_t)strlen(act->order);
        items[i].timeout_ns = act->timeout_ns;
        items[i].user_data = number;
    }
    const int32_t status = rp_handoff_session_submit(side->session, items, count, NULL, NULL);
    check(status > 0 || status == RP_HANDOFF_ERR_LIMIT_SESSION, "submit");
    const uint32_t done = status > 0 ? (uint32_t)status : 0;
    for (uint32_t i = done; i < count; i++) { /* still ours: for another time */
        close(items[i].fd);
        close(side->clients[side->submitted + i]);
    }
    side->submitted += done;
    side->limited += done < count;
    return done == count && side->submitted < act->count;
}

static void close_session(struct side *side) {
    rp_handoff_session_statistics statistics;
    memset(&statistics, 0, sizeof statistics);
    statistics.struct_size = sizeof statistics;
    check(rp_handoff_session_get_statistics(side->session, &statistics) == RP_HANDOFF_OK, "statistics");
    check(statistics.submitted == many + 3 && statistics.completed == many + 1 && statistics.fallbacks == 2,
          "the counters");
    check(statistics.messages_sent < many, "batches share messages");
    check(side->limited > 0, "the bound on handoffs in flight shows");
    check(rp_handoff_session_close(side->session) == RP_HANDOFF_OK, "close");
}

void begin_next(struct side *side) {
    const struct act *const last = acts + sizeof acts / sizeof *acts;
    if (!side->is_broker || side->act == last)
        return;
    if (side->ended == side->act->count) {
        side->submitted = side->ended = 0;
        if (++side->act == last) {
            close_session(side);
            return;
        }
    }
    while (side->submitted < side->act->count && submit_batch(side))
        ;
}

static void take_outcome(struct side *side, const rp_handoff_event *event, const rp_handoff_outcome *outcome) {
    const uint32_t number = (uint32_t)event->user_data;
    const int is_ours = event->ownership == RP_HANDOFF_OWNER_BROKER;
    check(outcome->ownership == side->act->ownership && outcome->cause == side->act->cause, outcome->detail);
    check(event->ownership == outcome->ownership && (event->fd >= 0) == is_ours, "the event");
    if (is_ours)
        serve(event->fd, "broker");
    end_client(number, side->clients[number], is_ours ? "broker" : "backend");
    side->ended++;
}

/* ---- backend ---- */

static int is_order(const rp_handoff_offer_info *info, const char *order) {
    return info->metadata_length == strlen(order) && memcmp(info->metadata, order, info->metadata_length) == 0;
}

static void take_offer(struct side *side, rp_handoff_offer *offer) {
    int32_t connection = -1;
    rp_handoff_offer_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    check(rp_handoff_offer_get_info(offer, &info) == RP_HANDOFF_OK, "what is offered");
    if (is_order(&info, "hold")) {
        side->held = offer;
        return;
    }
    if (is_order(&info, "refuse")) {
        check(rp_handoff_offer_refuse(offer, "as ordered") == RP_HANDOFF_OK, "refuse");
    } else {
        check(rp_handoff_offer_accept(offer, &connection) == RP_HANDOFF_OK, "accept");
        serve(connection, "backend");
    }
    rp_handoff_offer_destroy(offer);
    if (is_order(&info, "let go")) {
        check(rp_handoff_offer_accept(side->held, &connection) == RP_HANDOFF_ERR_REVOKED, "the broker had given up");
        rp_handoff_offer_destroy(side->held);
    }
}

/* ---- both ---- */

static void take_event(struct side *side, const rp_handoff_event *event, const rp_handoff_outcome *outcome) {
    switch (event->kind) {
    case RP_HANDOFF_EVENT_OUTCOME:
        take_outcome(side, event, outcome);
        break;
    case RP_HANDOFF_EVENT_OFFER:
        take_offer(side, event->offer);
        break;
    case RP_HANDOFF_EVENT_CLOSED:
        check(event->status == RP_HANDOFF_OK, rp_handoff_strerror(event->status));
        side->is_closed = 1;
        break;
    default:
        break;
    }
}

int take_events(struct side *side) {
    rp_handoff_event event;
    rp_handoff_outcome outcome;
    int32_t status;
    memset(&event, 0, sizeof event);
    memset(&outcome, 0, sizeof outcome);
    event.struct_size = sizeof event;
    outcome.struct_size = sizeof outcome;
    while ((status = rp_handoff_session_next_event(side->session, &event, &outcome)) == 1)
        take_event(side, &event, &outcome);
    check(status == 0, "next event");
    return !side->is_closed;
}

int take_turn(struct side *side) {
    const int goes_on = take_events(side);
    if (goes_on)
        begin_next(side);
    return goes_on;
}

static void play(int connection, int is_broker) {
    static struct side side;
    rp_handoff_broker *broker = NULL;
    rp_handoff_session_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.connection_fd = connection;
    options.max_in_flight = in_flight;
    side.is_broker = is_broker;
    side.act = acts;
    if (is_broker) {
        check(rp_handoff_broker_create(NULL, &broker, NULL) == RP_HANDOFF_OK, "a broker");
        check(rp_handoff_session_create_broker(broker, &options, &side.session, NULL) == RP_HANDOFF_OK, "open");
    } else {
        check(rp_handoff_session_create_backend(&options, &side.session, NULL) == RP_HANDOFF_OK, "receive");
    }
    drive(&side);
    check(side.is_closed && (!is_broker || side.limited > 0), "the end");
    rp_handoff_session_destroy(side.session);
    rp_handoff_broker_destroy(broker);
}

int main(void) {
    int ends[2];
    int status = 0;
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "a pair of sockets");
    const pid_t child = fork();
    check(child >= 0, "fork");
    close(ends[child == 0]);
    play(ends[child != 0], child != 0);
    if (child != 0) {
        check(waitpid(child, &status, 0) == child && status == 0, "the backend's end");
        printf("%d handoffs\n", many + 3);
    }
    return 0;
}
