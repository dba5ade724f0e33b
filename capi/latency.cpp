#include "handoff/latency.hpp"

#include "boundary.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

namespace {

bool is_given(const std::uint64_t *samples, std::size_t count) noexcept {
    return samples != nullptr || count == 0;
}

Status status_of(LatencyVerdict verdict) noexcept {
    switch (verdict) {
    case LatencyVerdict::empty_handoff:
        return Status::empty_handoff;
    case LatencyVerdict::empty_fallback:
        return Status::empty_fallback;
    case LatencyVerdict::p50_not_faster:
        return Status::p50_not_faster;
    case LatencyVerdict::p99_not_faster:
        return Status::p99_not_faster;
    default:
        return Status::ok;
    }
}

} // namespace

int32_t rp_handoff_latency_collect(uint32_t warmup, uint32_t count, rp_handoff_sample_fn sample, void *user_data,
                                   uint64_t *out_samples_ns) {
    return guarded([&] {
        if (sample == nullptr || (out_samples_ns == nullptr && count > 0)) {
            return Status::invalid_argument;
        }
        for (std::uint64_t i = 0; i < std::uint64_t{warmup} + count; ++i) {
            std::uint64_t ns = UINT64_MAX; // stays so where nothing is filled in
            if (!callback_succeeded([&] { return sample(user_data, &ns); }) || ns == UINT64_MAX) {
                return Status::invalid_argument;
            }
            if (i >= warmup) {
                out_samples_ns[i - warmup] = ns;
            }
        }
        return Status::ok;
    });
}

int32_t rp_handoff_latency_summarize(const uint64_t *samples_ns, size_t samples_ns_length,
                                     rp_handoff_latency_summary *out_summary) {
    return guarded([&]() -> std::int32_t {
        if (!is_given(samples_ns, samples_ns_length)) {
            return RP_HANDOFF_ERR_INVALID_ARGUMENT;
        }
        if (const Status status = check_result_struct(out_summary); status != Status::ok) {
            return code(status);
        }
        const std::optional<LatencySummary> summary = summarize(samples_ns, samples_ns_length);
        if (!summary) {
            return 0;
        }
        write_struct(out_summary, {0, 0, summary->count, summary->p50.count(), summary->p99.count()});
        return 1;
    });
}

int32_t rp_handoff_latency_compare(const uint64_t *handoff_ns, size_t handoff_ns_length, const uint64_t *fallback_ns,
                                   size_t fallback_ns_length, rp_handoff_latency_comparison *out_comparison) {
    return guarded([&] {
        if (!is_given(handoff_ns, handoff_ns_length) || !is_given(fallback_ns, fallback_ns_length)) {
            return Status::invalid_argument;
        }
        if (const Status status = check_result_struct(out_comparison); status != Status::ok) {
            return status;
        }
        const std::optional<LatencySummary> handoff = summarize(handoff_ns, handoff_ns_length);
        const std::optional<LatencySummary> fallback = summarize(fallback_ns, fallback_ns_length);
        const Status status = status_of(compare(handoff, fallback));
        if (status == Status::ok) {
            write_struct(out_comparison, {0, 0, handoff->p50.count(), handoff->p99.count(), fallback->p50.count(),
                                          fallback->p99.count(), (fallback->p50 - handoff->p50).count(),
                                          (fallback->p99 - handoff->p99).count()});
        }
        return status;
    });
}
