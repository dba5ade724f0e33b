/* A broker's front door, with as many visits at once as it has threads. */
#include "rp_ours.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct door {
    const struct options *options;
    rp_handoff_broker *broker;
    rp_handoff_front_door *front_door;
    rp_handoff_session *session; /* NULL: the backend takes offers of v1 */
    int listener;
    atomic_int tickets;
};

static const char *const results[] = {NULL, "dropped", "refused", "reconnect", "handed-off"};

static void describe(const rp_handoff_front_door_visit *visit, const rp_handoff_outcome *outcome) {
    struct report report;
    report_begin(&report, "front-door");
    report_text(&report, "result", results[visit->result]);
    report_text(&report, "visit_detail", visit->detail);
    report_text(&report, "status", rp_handoff_strerror(visit->status));
    report_number(&report, "code", (uint64_t)visit->code);
    report_number(&report, "connection_id", visit->connection_id);
    report_flag(&report, "attempted", visit->attempted);
    report_flag(&report, "ready_delivered", visit->ready_delivered);
    if (visit->attempted)
        report_outcome(&report, outcome);
    report_print(&report);
}

/* No descriptor is left for what the visit needs. */
static struct rlimit starve(int last_fd) {
    struct rlimit usual, low;
    getrlimit(RLIMIT_NOFILE, &usual);
    low = usual;
    low.rlim_cur = (rlim_t)last_fd + 1;
    setrlimit(RLIMIT_NOFILE, &low);
    return usual;
}

/* Takes the Hello, and goes. */
static void hang_up(int client, int timeout_ms) {
    char hello[4096];
    if (await_input(client, timeout_ms) && recv(client, hello, sizeof hello, 0) >= 0)
        close(client);
    struct report report;
    report_begin(&report, "front-door");
    report_text(&report, "result", "hung-up");
    report_print(&report);
}

static void serve_visit(struct door *door, int client, int is_starved) {
    rp_handoff_front_door_visit visit = {.struct_size = sizeof visit};
    rp_handoff_outcome outcome = {.struct_size = sizeof outcome};
    struct rlimit usual = {0};
    if (is_starved)
        usual = starve(client);
    rp_handoff_front_door_serve(door->front_door, client, &visit, &outcome);
    if (is_starved)
        setrlimit(RLIMIT_NOFILE, &usual);
    describe(&visit, &outcome);
    if (!visit.attempted || outcome.ownership == RP_HANDOFF_OWNER_BROKER)
        end_connection(client);
    else
        close(client);
}

static void *work(void *argument) {
    struct door *door = argument;
    const struct options *options = door->options;
    int ticket;
    while ((ticket = atomic_fetch_add(&door->tickets, 1)) < options->count) {
        const int client = accept(door->listener, NULL, NULL);
        rp_handoff_broker_note_accept(door->broker, 0);
        if (ticket < options->hang_up)
            hang_up(client, options->timeout_ms);
        else
            serve_visit(door, client, options->starve && ticket == 0);
    }
    return NULL;
}

static int32_t put_service(const struct options *options, struct door *door) {
    rp_handoff_front_door_service service = {.struct_size = sizeof service};
    service.name = options->service;
    service.version = options->version;
    service.backend_endpoint = options->backend_endpoint;
    service.handoff_endpoint = options->session ? NULL : options->handoff_endpoint;
    service.session = door->session;
    service.handoff_disabled = options->disabled;
    service.adopted_backend = options->adopted_backend;
    if (options->allowed_version != NULL) {
        service.allowed_versions = &options->allowed_version;
        service.allowed_versions_length = 1;
    }
    return rp_handoff_front_door_put_service(door->front_door, &service, NULL);
}

static int open_session(struct door *door) {
    rp_handoff_session_options settings = {.struct_size = sizeof settings};
    settings.socket_path = door->options->handoff_endpoint;
    settings.service_name = door->options->service;
    return !door->options->session ||
           rp_handoff_session_create_broker(door->broker, &settings, &door->session, NULL) == RP_HANDOFF_OK;
}

static int open_door(struct door *door) {
    rp_handoff_broker_options settings = {.struct_size = sizeof settings};
    settings.ack_deadline_ns = (uint64_t)door->options->timeout_ms * 1000000;
    return rp_handoff_broker_create(&settings, &door->broker, NULL) == RP_HANDOFF_OK && open_session(door) &&
           rp_handoff_front_door_create(door->broker, NULL, &door->front_door, NULL) == RP_HANDOFF_OK &&
           put_service(door->options, door) == RP_HANDOFF_OK && (door->listener = listen_at(door->options->path)) >= 0;
}

int run_front_door(const struct options *options) {
    struct door door = {.options = options};
    pthread_t threads[16];
    if (options->threads > 16 || !open_door(&door))
        return 1;
    for (int i = 0; i < options->threads; i++)
        pthread_create(&threads[i], NULL, work, &door);
    for (int i = 0; i < options->threads; i++)
        pthread_join(threads[i], NULL);
    rp_handoff_front_door_destroy(door.front_door);
    rp_handoff_session_destroy(door.session);
    rp_handoff_broker_destroy(door.broker);
    return 0;
}
