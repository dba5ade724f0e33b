#include "handoff/latency.hpp"

#include <algorithm>
#include <vector>

namespace rp::handoff {

std::size_t nearest_rank_index(std::size_t count, unsigned percent) noexcept {
    // In two steps, so that no count overflows.
    const std::size_t rank = count / 100 * percent + (count % 100 * percent + 99) / 100;
    return std::min(std::max<std::size_t>(rank, 1), count) - 1;
}

Duration nearest_rank(const std::uint64_t *sorted_ns, std::size_t count, unsigned percent) noexcept {
    return Duration(sorted_ns[nearest_rank_index(count, percent)]);
}

std::optional<LatencySummary> summarize(const std::uint64_t *samples_ns, std::size_t count) {
    if (count == 0) {
        return std::nullopt;
    }
    std::vector<std::uint64_t> sorted(samples_ns, samples_ns + count);
    std::sort(sorted.begin(), sorted.end());
    return LatencySummary{count, nearest_rank(sorted.data(), count, 50), nearest_rank(sorted.data(), count, 99)};
}

LatencyVerdict compare(const std::optional<LatencySummary> &handoff,
                       const std::optional<LatencySummary> &fallback) noexcept {
    if (!handoff) {
        return LatencyVerdict::empty_handoff;
    }
    if (!fallback) {
        return LatencyVerdict::empty_fallback;
    }
    if (handoff->p50 >= fallback->p50) {
        return LatencyVerdict::p50_not_faster;
    }
    return handoff->p99 >= fallback->p99 ? LatencyVerdict::p99_not_faster : LatencyVerdict::faster;
}

} // namespace rp::handoff
