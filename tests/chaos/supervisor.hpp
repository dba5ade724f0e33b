// Starts the processes of a run, stops, continues, kills and replaces them, and ends them all whatever happens.
#pragma once

#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "clients.hpp"
#include "loop.hpp"
#include "schedule.hpp"
#include "table.hpp"

namespace rp::chaos {

struct Options {
    std::uint64_t seed = 0;
    std::uint32_t handoffs = 20000;
    std::uint32_t rounds = 4;
    std::uint32_t brokers = 2;
    std::uint32_t backends = 4;
    std::uint32_t concurrency = 200;
    std::uint32_t seconds = 300; // for the whole run
    bool with_prologues = false;
    bool prints_actions = false;
};

class Supervisor {
  public:
    Supervisor(const Options &options, Table &table);
    ~Supervisor();
    Supervisor(const Supervisor &) = delete;
    Supervisor &operator=(const Supervisor &) = delete;

    // One round: disturbance until `handed` connections are in all; then rest, with one backend stopped until nobody
    // waits for anything but it; then all quiet. False: something took too long.
    bool run_round(std::uint64_t handed);
    bool finish(); // all leave orderly

    std::vector<std::uint32_t> lives() const; // that are running

    // What has happened, for the report.
    std::uint32_t kills = 0; // by the schedule
    std::uint32_t stops = 0; // by the schedule
    std::uint32_t own_deaths = 0;
    std::uint32_t own_stops = 0;
    std::uint32_t holds = 0;

  private:
    struct Slot {
        Role role;
        std::uint32_t index;
        std::uint32_t incarnation; // how many there were
        std::uint32_t life;
        pid_t pid;
        std::uint64_t resume_ns;  // stopped until then; 0: it is not
        std::uint64_t restart_ns; // dead until then; 0: it is not
    };

    void start(Slot &slot);
    void run_child(const Slot &slot);
    void disturb();
    void act(const Action &action);
    void stop(Slot &slot, std::uint64_t until_ns);
    void resume(Slot &slot);
    void reap();
    void on_status(Slot &slot, int status);
    void care(); // reaps, continues and restarts what is due
    bool wait_until(const char *what, const std::function<bool()> &condition, bool disturbs = false);
    Slot *hold_one();
    bool have_reported(bool backends) const; // or all others
    Slot &slot(Role role, std::uint32_t index);

    const Options &options_;
    Table &table_;
    Schedule schedule_;
    Action action_;
    std::uint64_t action_at_ = 0;        // in connections handed over
    std::uint64_t action_latest_ns_ = 0; // if it does not come to that
    std::string directory_;
    ClientOptions clients_;
    std::vector<UniqueFd> listeners_; // of the brokers: a successor finds what came meanwhile
    std::vector<Slot> slots_;
    Slot *held_ = nullptr;
    std::uint64_t deadline_ns_;
};

} // namespace rp::chaos
