/*
 * service_broker DIRECTORY SERVICE...: a front door of the v1 protocol at DIRECTORY/broker.sock.
 *
 * A service is called NAME or NAME:session. Clients that reconnect find its backend at DIRECTORY/NAME.sock; handoffs go to
 * DIRECTORY/NAME.offers, one by one, or in a session to DIRECTORY/NAME.session. One line per visit on standard output:
 * result, stage, ownership, detail.
 */
#include <errno.h>
#include <rp_handoff.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char *const results[] = {"-", "DROPPED", "REFUSED", "RECONNECT", "HANDED_OFF"};
static const char *const stages[] = {"-", "SEND", "AWAIT_ACK", "ACKNOWLEDGE", "POLICY"};
static const char *const owners[] = {"-", "BROKER", "BACKEND", "AMBIGUOUS"};

static int listen_at(const char *directory) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/broker.sock", directory);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(address.sun_path);
    umask(0177);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0)
        return -1;
    return fd;
}

static int fail(const rp_handoff_error *error) {
    fprintf(stderr, "service_broker DIRECTORY SERVICE...: %s\n", error->text);
    return 1;
}

static int32_t add_service(rp_handoff_front_door *door, rp_handoff_broker *broker, const char *directory,
                           const char *service_name, rp_handoff_error *error) {
    char endpoint[108], offers[108];
    const int length = (int)strcspn(service_name, ":");
    rp_handoff_front_door_service service = RP_HANDOFF_FRONT_DOOR_SERVICE_INIT;
    rp_handoff_session_options session = RP_HANDOFF_SESSION_OPTIONS_INIT;
    service.name = service_name;
    service.version = "1.0";
    session.socket_path = offers;
    snprintf(endpoint, sizeof endpoint, "%s/%.*s.sock", directory, length, service_name);
    service.backend_endpoint = endpoint;
    if (service_name[length] == '\0') {
        snprintf(offers, sizeof offers, "%s/%s.offers", directory, service_name);
        service.handoff_endpoint = offers;
    } else {
        snprintf(offers, sizeof offers, "%s/%.*s.session", directory, length, service_name);
        int32_t status = rp_handoff_session_create_broker(broker, &session, &service.session, error);
        if (status != RP_HANDOFF_OK)
            return status;
    } /* the session is kept for as long as this runs */
    return rp_handoff_front_door_put_service(door, &service, error);
}

/* A client that has to reconnect waits for the end of this connection; one that was adopted must not see it. */
static void let_go(int client, const rp_handoff_front_door_visit *visit, const rp_handoff_outcome *outcome) {
    if (!visit->attempted || outcome->ownership == RP_HANDOFF_OWNER_BROKER)
        shutdown(client, SHUT_RDWR);
    close(client);
}

int main(int argc, char **argv) {
    rp_handoff_broker *broker;
    rp_handoff_front_door *door;
    rp_handoff_broker_options options = RP_HANDOFF_BROKER_OPTIONS_INIT;
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    int listener = argc > 1 ? listen_at(argv[1]) : -1;
    signal(SIGPIPE, SIG_IGN);
    if (listener < 0) {
        fprintf(stderr, "service_broker DIRECTORY SERVICE...: %s\n",
                argc < 2 ? "an argument at least" : strerror(errno));
        return 1;
    }
    options.ack_deadline_ns = 1000000000;
    if (rp_handoff_broker_create(&options, &broker, &error) != RP_HANDOFF_OK ||
        rp_handoff_front_door_create(broker, NULL, &door, &error) != RP_HANDOFF_OK)
        return fail(&error);
    for (int i = 2; i < argc; i++)
        if (add_service(door, broker, argv[1], argv[i], &error) != RP_HANDOFF_OK)
            return fail(&error);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        rp_handoff_front_door_visit visit = RP_HANDOFF_FRONT_DOOR_VISIT_INIT;
        rp_handoff_outcome outcome = RP_HANDOFF_OUTCOME_INIT;
        int client = accept(listener, NULL, NULL);
        if (client < 0) {
            rp_handoff_broker_note_accept(broker, errno);
            continue;
        }
        rp_handoff_broker_note_accept(broker, 0);
        if (rp_handoff_front_door_serve(door, client, &visit, &outcome) == RP_HANDOFF_OK) {
            printf("%s %s %s %s\n", results[visit.result], stages[outcome.stage], owners[outcome.ownership],
                   visit.attempted ? outcome.detail : visit.detail);
            fflush(stdout);
        }
        let_go(client, &visit, &outcome);
    }
}
