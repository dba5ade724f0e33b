// The other processes of a benchmark, and what they use of the CPU.
#pragma once

#include <cstdint>
#include <sys/types.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "measure.hpp"

namespace rp::bench {

// A forked process that runs body() and then ends. It is killed with its object, and with this process.
class Process {
  public:
    template <class Body>
    explicit Process(Body body) : pid_(start()) {
        if (pid_ == 0) {
            body();
            _exit(0);
        }
    }
    Process(const Process &) = delete;
    Process &operator=(const Process &) = delete;
    ~Process();

    pid_t pid() const noexcept { return pid_; }
    // For its own end, which must be a good one.
    void wait();

  private:
    static pid_t start();

    pid_t pid_;
};

// User and system time of some processes together since it was last asked.
class CpuMeter {
  public:
    explicit CpuMeter(std::vector<pid_t> pids) : pids_(std::move(pids)) { lap(); }

    std::uint64_t lap() {
        std::uint64_t total = 0;
        for (const pid_t pid : pids_) {
            total += cpu_ns(pid);
        }
        return total - std::exchange(last_ns_, total);
    }

  private:
    std::vector<pid_t> pids_;
    std::uint64_t last_ns_ = 0;
};

} // namespace rp::bench
