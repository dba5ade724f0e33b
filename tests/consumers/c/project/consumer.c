/* A program of somebody else's that uses rp_handoff: hands a TCP connection to a child process, which serves it. The last
 * line tells how it went. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <rp_handoff.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int ok, const char *what) {
    if (!ok) {
        printf("failed: %s\n", what);
        exit(1);
    }
}

static void check_status(int32_t status, const char *what) {
    if (status != RP_HANDOFF_OK) {
        printf("failed: %s: %s\n", what, rp_handoff_strerror(status));
        exit(1);
    }
}

/* Serves one connection with a greeting. Says on `ready` that it listens. */
static void serve(const char *path, int ready) {
    static const char greeting[] = "served by the backend";
    rp_handoff_listener_options options = RP_HANDOFF_LISTENER_OPTIONS_INIT;
    rp_handoff_listener *listener = NULL;
    rp_handoff_backend *backend = NULL;
    rp_handoff_offer *offer = NULL;
    int32_t connection = -1;

    check_status(rp_handoff_backend_create(NULL, &backend, NULL), "create a backend");
    options.path = path;
    check_status(rp_handoff_listener_create(&options, &listener, NULL), "listen");
    check_status(rp_handoff_backend_add_listener(backend, listener), "add the listener");
    rp_handoff_listener_destroy(listener);
    check(write(ready, "x", 1) == 1, "say that it listens");
    check_status(rp_handoff_backend_next_offer(backend, RP_HANDOFF_FOREVER, &offer), "wait for an offer");
    check_status(rp_handoff_offer_accept(offer, &connection), "accept");
    check(write(connection, greeting, sizeof greeting) == (ssize_t)sizeof greeting, "greet");
    close(connection);
    rp_handoff_offer_destroy(offer);
    rp_handoff_backend_destroy(backend);
}

static void connect_over_loopback(int *client, int *accepted) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    const int listener = socket(AF_INET, SOCK_STREAM, 0);

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(bind(listener, (const struct sockaddr *)&address, sizeof address) == 0, "bind");
    check(listen(listener, 1) == 0, "listen");
    check(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    *client = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(*client, (const struct sockaddr *)&address, sizeof address) == 0, "connect");
    *accepted = accept(listener, NULL, NULL);
    check(*accepted >= 0, "accept");
    close(listener);
}

static void hand_over(const char *path, int connection, rp_handoff_outcome *outcome) {
    rp_handoff_broker *broker = NULL;
    rp_handoff_request request;

    memset(&request, 0, sizeof request);
    memset(outcome, 0, sizeof *outcome);
    request.struct_size = sizeof request;
    request.fd = connection;
    request.socket_path = path;
    outcome->struct_size = sizeof *outcome;
    check_status(rp_handoff_broker_create(NULL, &broker, NULL), "create a broker");
    check_status(rp_handoff_broker_issue(broker, "consumer", 0, &request.token), "issue a token");
    check_status(rp_handoff_broker_execute(broker, &request, outcome, NULL), "execute");
    rp_handoff_token_wipe(&request.token);
    rp_handoff_broker_destroy(broker);
}

int main(void) {
    char directory[] = "/tmp/rp-handoff-consumer-XXXXXX";
    char path[64];
    char greeting[64] = "";
    char ready = 0;
    int pipe_ends[2];
    int client = -1;
    int connection = -1;
    int status = 0;
    pid_t child;
    rp_handoff_outcome outcome;

    check(mkdtemp(directory) != NULL, "mkdtemp");
    snprintf(path, sizeof path, "%s/socket", directory);
    check(pipe(pipe_ends) == 0, "pipe");
    child = fork();
    if (child == 0) {
        serve(path, pipe_ends[1]);
        return 0;
    }
    close(pipe_ends[1]);
    check(read(pipe_ends[0], &ready, 1) == 1, "wait for the backend");

    connect_over_loopback(&client, &connection);
    hand_over(path, connection, &outcome);
    close(connection);
    check(outcome.result == RP_HANDOFF_COMPLETED, outcome.detail);
    check(recv(client, greeting, sizeof greeting, MSG_WAITALL) > 0, "read the greeting");
    check(waitpid(child, &status, 0) == child && status == 0, "end of the backend");
    close(client);
    close(pipe_ends[0]);
    check(rmdir(directory) == 0, "nothing left behind");
    printf("rp_handoff %s: completed, %s\n", rp_handoff_version_string(), greeting);
    return 0;
}
