// What every benchmark program needs: the clocks, and one side of a comparison, which ends as a JSON record on
// standard output. Nothing here judges a time: tests/bench/run does, with the records of all rounds before it.
#pragma once

#include <rp_handoff.h>

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rp::bench {

struct Settings {
    std::uint32_t rounds = 10;    // ours and the reference take turns within each
    std::uint32_t samples = 1000; // of each side, in a round
};

// Ends the program: a benchmark in which anything failed has measured nothing.
[[noreturn]] void fail(const char *what);

inline void must(bool met, const char *what) {
    if (!met) {
        fail(what);
    }
}

std::uint64_t now_ns();

// User and system time of a process so far; 0: of this one.
std::uint64_t cpu_ns(pid_t pid = 0);

// One side of a comparison.
class Side {
  public:
    explicit Side(std::string name) : name_(std::move(name)) {}

    void add(std::uint64_t elapsed_ns) { samples_.push_back(elapsed_ns); }
    void add_cpu(std::uint64_t used_ns) { used_ns_ += used_ns; }

    // The latencies that were added are one round; starts the next. `handoffs` is what the CPU time is divided by.
    void end_round();
    // A round in which only the time of `handoffs` together was taken.
    void end_round_of(std::uint32_t handoffs, std::uint64_t elapsed_ns);
    // Forgets what was added since the last round: the warm-up.
    void forget();

    std::string json() const;

  private:
    std::string name_;
    std::vector<std::uint64_t> samples_;
    std::uint64_t used_ns_ = 0;
    std::vector<std::uint64_t> p50_ns_;
    std::vector<std::uint64_t> p99_ns_;
    std::vector<std::uint64_t> per_second_;
    std::vector<std::uint64_t> cpu_ns_; // per handoff
};

// Prints one record, on one line.
void print_record(const std::string &row, const Settings &settings, const Side &ours, const Side &reference);

} // namespace rp::bench
