// What a turn of the backend under its lock leaves to be closed: dropped connections, strangers, descriptors that nobody
// asked for. It closes when it goes or is cleared, and that is after unlocking, for closing can wait (os/closing.hpp).
#pragma once

#include <array>
#include <cstddef>
#include <list>
#include <utility>

#include "os/closing.hpp"
#include "os/descriptor.hpp"
#include "v1/connections.hpp"

namespace rp::handoff {

class Leavings {
  public:
    Leavings() noexcept = default;
    Leavings(const Leavings &) = delete;
    Leavings &operator=(const Leavings &) = delete;
    ~Leavings() { clear(); }

    bool empty() const noexcept { return stranger_count_ == 0 && dropped.empty() && unasked.descriptors.empty(); }
    // A turn goes on while there is. What it does not come to is ready again in the next.
    bool has_room() const noexcept { return stranger_count_ < strangers_.size() && unasked.descriptors.empty(); }

    // A socket that was just accepted. Whoever finds that it is welcome moves it out of the place that is returned, and forgets
    // it. There is room.
    UniqueFd &hold(UniqueFd socket) noexcept { return strangers_[stranger_count_++] = std::move(socket); }
    void forget_last() noexcept { --stranger_count_; }

    void clear() noexcept {
        while (stranger_count_ > 0) {
            os::drain_and_close(std::move(strangers_[--stranger_count_]));
        }
        for (Connection &connection : dropped) {
            os::discard(connection.receiver.take_fd());
            os::drain_and_close(std::move(connection.fd));
        }
        dropped.clear();
        unasked.clear();
    }

    std::list<Connection> dropped;
    os::Ancillary unasked;

  private:
    std::array<UniqueFd, 64> strangers_;
    std::size_t stranger_count_ = 0;
};

} // namespace rp::handoff
