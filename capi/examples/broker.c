/* broker PORT SOCKET: hands every TCP connection on 127.0.0.1:PORT to the backend that listens at SOCKET. */
#include <arpa/inet.h>
#include <errno.h>
#include <rp_handoff.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_port = htons((uint16_t)(argc == 3 ? atoi(argv[1]) : 0));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    rp_handoff_error error = RP_HANDOFF_ERROR_INIT;
    rp_handoff_broker *broker;
    if (argc != 3 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 64) != 0) {
        fprintf(stderr, "broker PORT SOCKET: %s\n", argc != 3 ? "two arguments" : strerror(errno));
        return 1;
    }
    if (rp_handoff_broker_create(NULL, &broker, &error) != RP_HANDOFF_OK) {
        fprintf(stderr, "broker: %s\n", error.text);
        return 1;
    }
    for (;;) {
        rp_handoff_request request = RP_HANDOFF_REQUEST_INIT;
        rp_handoff_outcome outcome = RP_HANDOFF_OUTCOME_INIT;
        error = (rp_handoff_error)RP_HANDOFF_ERROR_INIT;
        request.socket_path = argv[2];
        if ((request.fd = accept(listener, NULL, NULL)) < 0)
            continue;
        int32_t status = rp_handoff_broker_issue(broker, "example", 0, &request.token);
        if (status == RP_HANDOFF_OK)
            status = rp_handoff_broker_execute(broker, &request, &outcome, &error);
        if (status != RP_HANDOFF_OK || outcome.ownership == RP_HANDOFF_OWNER_BROKER)
            shutdown(request.fd, SHUT_RDWR); /* still ours: serve it here, or end it, and the client reconnects */
        close(request.fd);                   /* ours or not, this copy is not needed any more */
        if (status != RP_HANDOFF_OK)
            printf("%s: %s %s\n", rp_handoff_strerror(status), error.member, error.text);
        else
            printf("%s\n", outcome.detail[0] ? outcome.detail : "ok");
        fflush(stdout);
    }
}
