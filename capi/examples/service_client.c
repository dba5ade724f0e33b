/*
 * service_client BROKER SERVICE [adopt]: reaches a service through its broker, by whichever route works, and prints the
 * route, the answer, and the microseconds from the call to the answer.
 */
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
    rp_handoff_client_connection connection = {.struct_size = sizeof connection};
    rp_handoff_client_request request = {.struct_size = sizeof request, .wanted_version = "1.0"};
    if (argc < 3)
        return 2;
    request.broker_path = argv[1];
    request.service_name = argv[2];
    request.adopt = argc > 3 && strcmp(argv[3], "adopt") == 0;
    long long start = now_us();
    int32_t status = rp_handoff_client_connect(&request, &connection, NULL);
    if (status != RP_HANDOFF_OK) {
        printf("%s\n", rp_handoff_strerror(status));
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
