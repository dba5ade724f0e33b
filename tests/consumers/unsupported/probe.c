/* What a library says that was built without libcap, for a platform which cannot pass descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <rp_handoff.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int failures;

static void check(int ok, const char *what) {
    if (!ok) {
        printf("failed: %s\n", what);
        ++failures;
    }
}

static void check_platform(void) {
    rp_handoff_platform platform;
    memset(&platform, 0xFF, sizeof platform);
    platform.struct_size = sizeof platform;
    check(rp_handoff_get_platform(&platform) == RP_HANDOFF_OK, "get_platform");
    check(platform.descriptor_passing == 0, "descriptors cannot be passed");
    check(platform.in_flight_exempt == RP_HANDOFF_EXEMPT_UNKNOWN, "nobody knows of in-flight limits");
}

static void check_execute(const char *path, int connection) {
    rp_handoff_broker *broker = NULL;
    rp_handoff_request request;
    rp_handoff_outcome outcome;
    rp_handoff_broker_statistics statistics;
    int pair[2];
    char byte = 0;
    memset(&request, 0, sizeof request);
    memset(&outcome, 0, sizeof outcome);
    memset(&statistics, 0, sizeof statistics);
    request.struct_size = sizeof request;
    outcome.struct_size = sizeof outcome;
    statistics.struct_size = sizeof statistics;
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    request.fd = pair[0];
    request.socket_path = path;
    request.connection_fd = connection;
    request.connection_trust = connection >= 0 ? RP_HANDOFF_TRUST_CALLER : 0;
    check(rp_handoff_broker_create(NULL, &broker, NULL) == RP_HANDOFF_OK, "broker_create");
    check(rp_handoff_broker_issue(broker, "service", 0, &request.token) == RP_HANDOFF_OK, "issue");
    check(rp_handoff_broker_execute(broker, &request, &outcome, NULL) == RP_HANDOFF_OK, "execute has an outcome");
    check(outcome.result == RP_HANDOFF_FALLBACK, "a fallback");
    check(outcome.stage == RP_HANDOFF_STAGE_SEND, "stage SEND");
    check(outcome.reason == RP_HANDOFF_REASON_SERVICE_POLICY_DISABLED, "reason SERVICE_POLICY_DISABLED");
    check(outcome.cause == RP_HANDOFF_CAUSE_UNSUPPORTED_PLATFORM, "cause UNSUPPORTED_PLATFORM");
    check(outcome.ownership == RP_HANDOFF_OWNER_BROKER, "owner BROKER");
    check(outcome.may_have_reached_backend == 0, "nothing has left");
    check(outcome.detail[0] != '\0', "a detail");
    check(rp_handoff_broker_revoke(broker, &request.token) == 0, "the token has ended");
    check(rp_handoff_broker_execute(broker, &request, &outcome, NULL) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING, "for good");
    check(rp_handoff_broker_get_statistics(broker, &statistics) == RP_HANDOFF_OK, "statistics");
    check(statistics.fallbacks_owner_broker == 1 && statistics.pending_tokens == 0, "counted");
    check(fcntl(pair[0], F_GETFD) == 0 && fcntl(pair[0], F_GETFL) == O_RDWR, "the descriptor is as it was");
    check(write(pair[0], "x", 1) == 1 && read(pair[1], &byte, 1) == 1 && byte == 'x', "and still works");
    rp_handoff_broker_destroy(broker);
    close(pair[0]);
    close(pair[1]);
}

static void check_backend(void) {
    rp_handoff_backend *const untouched = (rp_handoff_backend *)&failures;
    rp_handoff_backend *backend = untouched;
    check(rp_handoff_backend_create(NULL, &backend, NULL) == RP_HANDOFF_ERR_UNSUPPORTED, "there is no backend");
    check(backend == untouched, "its handle is untouched");
    check(rp_handoff_backend_create(NULL, NULL, NULL) == RP_HANDOFF_ERR_INVALID_ARGUMENT,
          "arguments are still checked");
    rp_handoff_backend_destroy(NULL);
}

static void check_front_door_and_client(void) {
    rp_handoff_broker *broker = NULL;
    rp_handoff_front_door *const untouched = (rp_handoff_front_door *)&failures;
    rp_handoff_front_door *front_door = untouched;
    rp_handoff_client_request request;
    rp_handoff_client_connection connection;
    memset(&request, 0, sizeof request);
    memset(&connection, 0, sizeof connection);
    request.struct_size = sizeof request;
    request.broker_path = "/nowhere/socket";
    request.service_name = "service";
    connection.struct_size = sizeof connection;
    connection.fd = -2;
    check(rp_handoff_broker_create(NULL, &broker, NULL) == RP_HANDOFF_OK, "broker_create");
    check(rp_handoff_front_door_create(broker, NULL, &front_door, NULL) == RP_HANDOFF_ERR_UNSUPPORTED, "no front door");
    check(front_door == untouched, "its handle is untouched");
    check(rp_handoff_client_connect(&request, &connection, NULL) == RP_HANDOFF_ERR_UNSUPPORTED, "no client");
    check(connection.fd == -2, "its connection is untouched");
    rp_handoff_broker_destroy(broker);
}

static void check_sessions(int connection) {
    rp_handoff_broker *broker = NULL;
    rp_handoff_session *const no_session = (rp_handoff_session *)&failures;
    rp_handoff_listener *const no_listener = (rp_handoff_listener *)&failures;
    rp_handoff_session *session = no_session;
    rp_handoff_listener *listener = no_listener;
    rp_handoff_session_options options;
    rp_handoff_listener_options at;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.connection_fd = connection;
    memset(&at, 0, sizeof at);
    at.struct_size = sizeof at;
    at.path = "/nowhere/socket";
    check(rp_handoff_broker_create(NULL, &broker, NULL) == RP_HANDOFF_OK, "broker_create");
    check(rp_handoff_session_create_broker(broker, &options, &session, NULL) == RP_HANDOFF_ERR_UNSUPPORTED,
          "no broker's session");
    check(rp_handoff_session_create_backend(&options, &session, NULL) == RP_HANDOFF_ERR_UNSUPPORTED,
          "no backend's session");
    options.socket_path = "/nowhere/socket";
    check(rp_handoff_session_create_broker(broker, &options, &session, NULL) == RP_HANDOFF_ERR_UNSUPPORTED,
          "nor one that dials");
    check(rp_handoff_session_create_backend(&options, &session, NULL) == RP_HANDOFF_ERR_UNSUPPORTED, "of either side");
    check(rp_handoff_session_create_broker(broker, NULL, &session, NULL) == RP_HANDOFF_ERR_INVALID_ARGUMENT,
          "options are needed");
    check(session == no_session && fcntl(connection, F_GETFD) >= 0, "handle and descriptor are untouched");
    check(rp_handoff_listener_create(&at, &listener, NULL) == RP_HANDOFF_ERR_UNSUPPORTED, "no listener");
    check(listener == no_listener, "its handle is untouched");
    check(rp_handoff_session_process(NULL) == RP_HANDOFF_ERR_INVALID_ARGUMENT, "no handle");
    check(rp_handoff_session_submit(NULL, NULL, 1, NULL, NULL) == RP_HANDOFF_ERR_INVALID_ARGUMENT, "none to submit to");
    check(rp_handoff_session_get_fd((rp_handoff_session *)(void *)broker) == RP_HANDOFF_ERR_WRONG_HANDLE,
          "another kind");
    rp_handoff_session_destroy(NULL);
    rp_handoff_listener_destroy(NULL);
    rp_handoff_broker_destroy(broker);
}

static void check_wire(int a, int b) {
    rp_handoff_wire_offer offer;
    rp_handoff_wire_offer decoded;
    rp_handoff_token token;
    uint8_t bytes[256];
    size_t length = 0;
    size_t consumed = 0;
    int32_t fd = -2;
    memset(&offer, 0, sizeof offer);
    memset(&decoded, 0, sizeof decoded);
    offer.struct_size = sizeof offer;
    decoded.struct_size = sizeof decoded;
    check(rp_handoff_token_generate(&token) == RP_HANDOFF_OK, "generate");
    offer.token = token.bytes;
    offer.token_length = sizeof token.bytes;
    offer.service_name = "service";
    offer.service_name_length = 7;
    offer.correlation_id = 5;
    check(rp_handoff_wire_encode_offer(&offer, bytes, sizeof bytes, &length) == RP_HANDOFF_OK, "encode");
    check(rp_handoff_wire_decode_offer(bytes, length, &decoded, &consumed) == RP_HANDOFF_OK, "decode");
    check(consumed == length && decoded.correlation_id == 5 && decoded.token_length == 16, "the same");
    length = 77;
    check(rp_handoff_wire_send(a, a, bytes, 1, &length) == RP_HANDOFF_ERR_UNSUPPORTED && length == 77, "no send");
    check(rp_handoff_wire_receive(b, bytes, 1, 0, &fd) == RP_HANDOFF_ERR_UNSUPPORTED && fd == -2, "no receive");
    check(rp_handoff_wire_send(a, -1, bytes, 1, &length) == RP_HANDOFF_ERR_INVALID_ARGUMENT, "arguments first");
}

int main(void) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
        return 1;
    }
    check_platform();
    check_execute("/nowhere/socket", -1);
    check_execute(NULL, pair[0]);
    check_backend();
    check_front_door_and_client();
    check_sessions(pair[0]);
    check_wire(pair[0], pair[1]);
    printf("%s\n", failures == 0 ? "unsupported in every way" : "not as it should be");
    return failures == 0 ? 0 : 1;
}
