// Is a handoff faster than the reconnect that it replaces? Percentiles by nearest rank, and a strict comparison.
//
// Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/clock.hpp"

namespace rp::handoff {

struct LatencySummary {
    std::size_t count;
    Duration p50;
    Duration p99;
};

// Of n > 0 sorted samples the index of element number ceil(n * percent / 100), counted from one.
std::size_t nearest_rank_index(std::size_t count, unsigned percent) noexcept;
Duration nearest_rank(const std::uint64_t *sorted_ns, std::size_t count, unsigned percent) noexcept;

// Nothing for no samples. Sorts a copy.
std::optional<LatencySummary> summarize(const std::uint64_t *samples_ns, std::size_t count);

enum class LatencyVerdict : std::int32_t {
    faster = 0,
    empty_handoff = 1,
    empty_fallback = 2,
    p50_not_faster = 3,
    p99_not_faster = 4
};

// The first that applies of empty_handoff, empty_fallback, p50_not_faster, p99_not_faster; equal is not faster.
LatencyVerdict compare(const std::optional<LatencySummary> &handoff,
                       const std::optional<LatencySummary> &fallback) noexcept;

} // namespace rp::handoff
