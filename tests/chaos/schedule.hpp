// What happens to which process, and when: the same for the same seed. When is told in connections served since the last
// action, which makes the rate of disturbance the same on a slow machine.
#pragma once

#include <cstdint>
#include <string>

#include "random.hpp"
#include "table.hpp"

namespace rp::chaos {

struct Action {
    enum class What : std::uint32_t { kill, stop };
    What what;
    Role role;
    std::uint32_t index;
    std::uint32_t after;       // connections
    std::uint32_t duration_ms; // until it is continued, or until its successor is started
};

class Schedule {
  public:
    Schedule(std::uint64_t seed, std::uint32_t brokers, std::uint32_t backends)
        : random_(seed, 0), holds_(seed, 1), brokers_(brokers), backends_(backends) {}

    Action next() noexcept {
        Action action{};
        action.what = random_.percent(50) ? Action::What::kill : Action::What::stop;
        action.role = random_.percent(30) ? Role::broker : Role::backend;
        action.index = random_.below(action.role == Role::broker ? brokers_ : backends_);
        action.after = random_.between(1, 200);
        action.duration_ms = action.what == Action::What::kill ? random_.below(30) : random_.between(1, 150);
        return action;
    }

    // Which one is held in the next drain.
    std::uint32_t next_held() noexcept { return holds_.below(backends_); }

  private:
    Random random_;
    Random holds_; // of its own, for how many actions there are before it differs from run to run
    std::uint32_t brokers_;
    std::uint32_t backends_;
};

inline std::string describe(const Action &action) {
    return "after " + std::to_string(action.after) +
           " connections: " + (action.what == Action::What::kill ? "kill " : "stop ") +
           (action.role == Role::broker ? "broker " : "backend ") + std::to_string(action.index) + " for " +
           std::to_string(action.duration_ms) + " ms";
}

} // namespace rp::chaos
