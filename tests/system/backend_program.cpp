// A backend that is started by execve(2) and knows nothing but its arguments: `listen PATH`, `listener FD` or
// `connection FD`. Says "ready", adopts one connection, sends back what comes over it, and ends with it. With the one
// argument `descriptors` it lists the numbers of the descriptors that it was left with instead.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>

#include "rp_handoff.h"
#include "support/api.hpp"
#include "support/descriptors.hpp"

namespace {

int list_descriptors() {
    for (const auto &[fd, target] : rp::test::open_descriptors()) {
        std::printf("%d ", fd);
    }
    return 0;
}

std::int32_t join(rp_handoff_backend *backend, const std::string &way, const char *where) {
    if (way == "listen") {
        return rp::test::listen_at(backend, where);
    }
    const int fd = std::atoi(where);
    return way == "listener" ? rp::test::listen_on(backend, fd, RP_HANDOFF_TRUST_CREDENTIALS)
                             : rp_handoff_backend_add_connection(backend, fd, RP_HANDOFF_TRUST_CALLER);
}

bool send_back(int fd) {
    char buffer[4096];
    ssize_t n = 0;
    while ((n = read(fd, buffer, sizeof buffer)) > 0) {
        if (write(fd, buffer, static_cast<std::size_t>(n)) != n) {
            return false;
        }
    }
    close(fd);
    return n == 0;
}

bool adopt_one(rp_handoff_backend *backend) {
    rp_handoff_offer *offer = nullptr;
    int32_t fd = -1;
    if (rp_handoff_backend_next_offer(backend, RP_HANDOFF_FOREVER, &offer) != RP_HANDOFF_OK ||
        rp_handoff_offer_accept(offer, &fd) != RP_HANDOFF_OK) {
        return false;
    }
    rp_handoff_offer_destroy(offer);
    return send_back(fd);
}

} // namespace

int main(int argc, char **argv) {
    if (argc == 2 && std::string(argv[1]) == "descriptors") {
        return list_descriptors();
    }
    rp_handoff_backend *backend = nullptr;
    if (argc != 3 || rp_handoff_backend_create(nullptr, &backend, nullptr) != RP_HANDOFF_OK ||
        join(backend, argv[1], argv[2]) != RP_HANDOFF_OK) {
        return 2;
    }
    std::printf("ready\n");
    std::fflush(stdout);
    const bool served = adopt_one(backend);
    rp_handoff_backend_destroy(backend);
    return served ? 0 : 3;
}
