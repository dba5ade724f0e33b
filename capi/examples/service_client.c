/*
 * service_client BROKER SERVICE [adopt]: reaches a service through its broker, by whichever route works, and prints the
 * route, the answer, and the microseconds from the call to the answer.
 */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include <rp_handoff.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const routes[] = {"-", "HelloSkip", "BrokerNegotiated", "HandlePassed", "Refused"};

static long long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

int main(int argc, char **argv) {
    char answer[128] = "";
    rp_handoff_client_connection connection = RP_HANDOFF_CLIENT_CONNECTION_INIT;
    rp_handoff_client_request request = RP_HANDOFF_CLIENT_REQUEST_INIT;
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    if (argc < 3) {
        fprintf(stderr, "service_client BROKER SERVICE [adopt]\n");
        return 2;
    }
    request.wanted_version = "1.0";
    request.broker_path = argv[1];
    request.service_name = argv[2];
    request.adopt = argc > 3 && strcmp(argv[3], "adopt") == 0;
    long long start = now_us();
    if (rp_handoff_client_connect(&request, &connection, &error) != RP_HANDOFF_OK) {
        fprintf(stderr, "service_client: %s\n", error.text);
        return 1;
    }
    if (connection.fd < 0) {
        printf("%s %lld %s\n", routes[connection.route], now_us() - start, connection.reason);
        return 0;
    }
    if (write(connection.fd, "?", 1) == 1 && read(connection.fd, answer, sizeof answer - 1) > 0)
        answer[strcspn(answer, "\n")] = '\0';
    printf("%s %lld %s\n", routes[connection.route], now_us() - start, answer);
    close(connection.fd);
    return 0;
}
