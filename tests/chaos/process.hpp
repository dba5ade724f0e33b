// What every process of a run knows of itself.
#pragma once

#include <csignal>
#include <cstdint>
#include <string>
#include <unistd.h>

#include "random.hpp"
#include "support/descriptors.hpp"
#include "table.hpp"

namespace rp::chaos {

struct Self {
    Table &table;
    std::uint32_t number; // of this life
    std::uint64_t seed;   // of the run
    std::string directory;
    bool with_prologues;

    Life &life() const noexcept { return table.life(number); }
    // The same in a replay, whatever the number of this life is there.
    Random random() const noexcept {
        const auto role = static_cast<std::uint64_t>(life().role.load());
        return Random(seed, role << 48 | std::uint64_t{life().index} << 32 | life().incarnation);
    }

    [[noreturn]] void die() const {
        table.note_death(number);
        for (;;) {
            kill(getpid(), SIGKILL);
        }
    }
    void stop() const { kill(getpid(), SIGSTOP); } // until the supervisor sees it

    bool has_reported() const noexcept { return life().quiet_round == table.round; }
    void note_idle() const; // how many descriptors are open before there is a session
    // At a quiet time: what is open now, besides `sessions` sessions.
    void report(std::uint32_t sessions) const;
    // At the end: everything that was opened is closed.
    void leave() const;
};

inline std::string socket_of(const Self &self, std::uint32_t backend) {
    return self.directory + "/backend-" + std::to_string(backend);
}

// The bodies of the processes; they return when all is done.
void run_clients(const Self &self, const struct ClientOptions &options);
void run_broker(const Self &self, int listener);
void run_backend(const Self &self);

} // namespace rp::chaos
