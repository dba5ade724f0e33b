#include "measure.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <unistd.h>

namespace rp::bench {

namespace {

std::uint64_t nanoseconds(const timespec &time) {
    return static_cast<std::uint64_t>(time.tv_sec) * 1000000000 + static_cast<std::uint64_t>(time.tv_nsec);
}

std::string list(const std::vector<std::uint64_t> &values) {
    std::string text = "[";
    for (const std::uint64_t value : values) {
        text += (text.size() > 1 ? ", " : "") + std::to_string(value);
    }
    return text + "]";
}

} // namespace

void fail(const char *what) {
    std::fprintf(stderr, "benchmark, process %d: %s (errno %d)\n", static_cast<int>(getpid()), what, errno);
    _exit(1);
}

std::uint64_t now_ns() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return nanoseconds(time);
}

std::uint64_t cpu_ns(pid_t pid) {
    clockid_t clock{};
    timespec time{};
    must(clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &time) == 0, "CPU clock of a process");
    return nanoseconds(time);
}

void Side::end_round() {
    rp_handoff_latency_summary summary{};
    summary.struct_size = sizeof summary;
    must(rp_handoff_latency_summarize(samples_.data(), samples_.size(), &summary) == 1, "percentiles");
    p50_ns_.push_back(summary.p50_ns);
    p99_ns_.push_back(summary.p99_ns);
    cpu_ns_.push_back(used_ns_ / samples_.size());
    forget();
}

void Side::end_round_of(std::uint32_t handoffs, std::uint64_t elapsed_ns) {
    per_second_.push_back(std::uint64_t{handoffs} * 1000000000 / elapsed_ns);
    cpu_ns_.push_back(used_ns_ / handoffs);
    forget();
}

void Side::forget() {
    samples_.clear();
    used_ns_ = 0;
}

std::string Side::json() const {
    std::string text = "{\"name\": \"" + name_ + "\"";
    if (!p50_ns_.empty()) {
        text += ", \"p50_ns\": " + list(p50_ns_) + ", \"p99_ns\": " + list(p99_ns_);
    }
    if (!per_second_.empty()) {
        text += ", \"per_second\": " + list(per_second_);
    }
    return text + ", \"cpu_ns\": " + list(cpu_ns_) + "}";
}

void print_record(const std::string &row, const Settings &settings, const Side &ours, const Side &reference) {
    std::printf("{\"row\": \"%s\", \"rounds\": %u, \"samples\": %u, \"ours\": %s, "
                "\"reference\": %s}\n",
                row.c_str(), settings.rounds, settings.samples, ours.json().c_str(), reference.json().c_str());
    std::fflush(stdout);
}

} // namespace rp::bench
