// TCP connections whose close waits, and a watch that tells whether somebody waited for one.
#pragma once

#include <chrono>
#include <netinet/in.h>

#include "support/shortage.hpp"

namespace rp::test {

// Two ends of a TCP connection. As long as `client` is open and does not read, the last close of `lingering` waits.
struct LingeringConnection {
    static constexpr int seconds = 5;

    LingeringConnection() {
        const Front front(ClientKind::tcp);
        client = front.connect();
        lingering = front.accept();
        const linger option{1, seconds};
        REQUIRE(setsockopt(lingering.get(), SOL_SOCKET, SO_LINGER, &option, sizeof option) == 0);
        fill_up(lingering);
    }

    // So that the other side has the only copy.
    void send_by(int connection, const Bytes &bytes, std::size_t count = 1) {
        send_message(connection, bytes, lingering.get(), count);
        lingering.reset();
    }

    UniqueFd lingering;
    UniqueFd client;
};

inline bool lingers(int fd) {
    linger option{};
    socklen_t length = sizeof option;
    REQUIRE(getsockopt(fd, SOL_SOCKET, SO_LINGER, &option, &length) == 0);
    return option.l_onoff != 0;
}

class Watch {
  public:
    // Less time has passed than a lingering close takes.
    bool nobody_waited() const {
        return std::chrono::steady_clock::now() - start_ < std::chrono::seconds(LingeringConnection::seconds - 1);
    }

  private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

} // namespace rp::test
