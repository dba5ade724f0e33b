// Is a handoff faster than the reconnect that it replaces?
#include "support/capi.hpp"

#include <numeric>
#include <vector>

#include "support/sizes.hpp"

using namespace rp::test;

namespace {

using Samples = std::vector<std::uint64_t>;

rp_handoff_latency_summary summary_of(const Samples &samples) {
    auto out = sized<rp_handoff_latency_summary>();
    REQUIRE(rp_handoff_latency_summarize(samples.data(), samples.size(), &out) == 1);
    CHECK(out.count == samples.size());
    CHECK(out.reserved == 0);
    return out;
}

std::int32_t compare(const Samples &handoff, const Samples &fallback) {
    OutStruct<rp_handoff_latency_comparison> out;
    const std::int32_t status =
        rp_handoff_latency_compare(handoff.data(), handoff.size(), fallback.data(), fallback.size(), out.get());
    CHECK(out.untouched() == (status != RP_HANDOFF_OK));
    return status;
}

// `count` samples of `most`, but for the last.
Samples with_tail(std::size_t count, std::uint64_t most, std::uint64_t last) {
    Samples samples(count, most);
    samples.back() = last;
    return samples;
}

} // namespace

TEST_CASE("percentiles are by nearest rank") {
    Samples samples(100);
    std::iota(samples.rbegin(), samples.rend(), 1); // 100 down to 1
    CHECK(summary_of(samples).p50_ns == 50);
    CHECK(summary_of(samples).p99_ns == 99);
    samples.push_back(101);
    CHECK(summary_of(samples).p50_ns == 51);
    CHECK(summary_of(samples).p99_ns == 100);
    CHECK(summary_of({7}).p50_ns == 7);
    CHECK(summary_of({7}).p99_ns == 7);
    CHECK(summary_of({2, 1}).p50_ns == 1);
    CHECK(summary_of({2, 1}).p99_ns == 2);
    CHECK(summary_of({3, UINT64_MAX, 0}).p50_ns == 3);
}

TEST_CASE("of no samples there is no summary") {
    OutStruct<rp_handoff_latency_summary> out;
    CHECK(rp_handoff_latency_summarize(nullptr, 0, out.get()) == 0);
    CHECK(out.untouched());
}

TEST_CASE("a handoff is faster only if it is at both percentiles, strictly") {
    CHECK(compare({}, {}) == RP_HANDOFF_ERR_EMPTY_HANDOFF);
    CHECK(compare({1}, {}) == RP_HANDOFF_ERR_EMPTY_FALLBACK);
    CHECK(compare({1}, {2}) == RP_HANDOFF_OK);
    CHECK(compare({2}, {2}) == RP_HANDOFF_ERR_P50_NOT_FASTER);
    CHECK(compare({3}, {2}) == RP_HANDOFF_ERR_P50_NOT_FASTER);
    CHECK(compare(with_tail(50, 1, 9), with_tail(50, 2, 9)) == RP_HANDOFF_ERR_P99_NOT_FASTER);
    CHECK(compare(with_tail(50, 1, 8), with_tail(50, 2, 9)) == RP_HANDOFF_OK);
}

TEST_CASE("a comparison tells what a handoff saves") {
    const Samples handoff = {10, 20};
    const Samples fallback = {100, 400};
    auto out = sized<rp_handoff_latency_comparison>();
    REQUIRE(rp_handoff_latency_compare(handoff.data(), 2, fallback.data(), 2, &out) == RP_HANDOFF_OK);
    CHECK(out.handoff_p50_ns == 10);
    CHECK(out.handoff_p99_ns == 20);
    CHECK(out.fallback_p50_ns == 100);
    CHECK(out.fallback_p99_ns == 400);
    CHECK(out.p50_savings_ns == 90);
    CHECK(out.p99_savings_ns == 380);
    CHECK(out.reserved == 0);
}

TEST_CASE("collect keeps the last samples, in order") {
    std::uint64_t next = 0;
    const auto sample = [](void *data, std::uint64_t *out) -> std::int32_t {
        *out = ++*static_cast<std::uint64_t *>(data);
        return RP_HANDOFF_CALLBACK_OK;
    };
    std::uint64_t samples[3] = {};
    CHECK(rp_handoff_latency_collect(2, 3, sample, &next, samples) == RP_HANDOFF_OK);
    CHECK(next == 5);
    CHECK(samples[0] == 3);
    CHECK(samples[2] == 5);
    CHECK(rp_handoff_latency_collect(4, 0, sample, &next, nullptr) == RP_HANDOFF_OK); // warms up all the same
    CHECK(next == 9);
}

TEST_CASE("collect ends at the first call that does not succeed, or gives nothing") {
    static int calls;
    std::uint64_t samples[3] = {};
    CHECK(rp_handoff_latency_collect(
              0, 3,
              [](void *, std::uint64_t *out) -> std::int32_t {
                  *out = 1;
                  return ++calls < 2 ? RP_HANDOFF_CALLBACK_OK + 0 : 1;
              },
              nullptr, samples) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(calls == 2);
    CHECK(rp_handoff_latency_collect(
              0, 3, [](void *, std::uint64_t *) -> std::int32_t { return RP_HANDOFF_CALLBACK_OK; }, nullptr, samples) ==
          RP_HANDOFF_ERR_INVALID_ARGUMENT);
}

TEST_CASE("arguments of the comparison are checked") {
    const std::uint64_t sample = 1;
    auto summary = sized<rp_handoff_latency_summary>();
    auto comparison = sized<rp_handoff_latency_comparison>();
    const std::int32_t invalid = RP_HANDOFF_ERR_INVALID_ARGUMENT;
    CHECK(rp_handoff_latency_collect(0, 1, nullptr, nullptr, nullptr) == invalid);
    const auto never = [](void *, std::uint64_t *) -> std::int32_t {
        FAIL("called");
        return 0;
    };
    CHECK(rp_handoff_latency_collect(0, 1, never, nullptr, nullptr) == invalid);
    CHECK(rp_handoff_latency_summarize(nullptr, 1, &summary) == invalid);
    CHECK(rp_handoff_latency_summarize(&sample, 1, nullptr) == invalid);
    CHECK(rp_handoff_latency_compare(nullptr, 1, &sample, 1, &comparison) == invalid);
    CHECK(rp_handoff_latency_compare(&sample, 1, nullptr, 1, &comparison) == invalid);
    CHECK(rp_handoff_latency_compare(&sample, 1, &sample, 1, nullptr) == invalid);
}

TEST_CASE("summaries and comparisons fit into a struct of any size that is large enough") {
    const std::uint64_t samples[] = {1, 2};
    check_result<rp_handoff_latency_summary>([&](rp_handoff_latency_summary *out) {
        const std::int32_t status = rp_handoff_latency_summarize(samples, 1, out);
        return status == 1 ? RP_HANDOFF_OK + 0 : status;
    });
    check_result<rp_handoff_latency_comparison>([&](rp_handoff_latency_comparison *out) {
        return rp_handoff_latency_compare(&samples[0], 1, &samples[1], 1, out);
    });
}
