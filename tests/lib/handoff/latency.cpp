#include "handoff/latency.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::ns;

using Samples = std::vector<std::uint64_t>;

namespace {

Samples one_to(std::size_t n) {
    Samples samples(n);
    std::iota(samples.begin(), samples.end(), 1);
    return samples;
}

std::optional<LatencySummary> summary(const Samples &samples) {
    return summarize(samples.data(), samples.size());
}

LatencySummary of(std::uint64_t p50, std::uint64_t p99) {
    return {1, ns(p50), ns(p99)};
}

} // namespace

TEST_CASE("a percentile is the sample of the nearest rank") {
    struct Case {
        std::size_t n;
        std::uint64_t p50;
        std::uint64_t p99;
    };
    // Of the samples 1 to n the one with number r is r itself: ceil(n * 50 / 100) and ceil(n * 99 / 100).
    for (const Case &c : {Case{1, 1, 1}, Case{2, 1, 2}, Case{3, 2, 3}, Case{49, 25, 49}, Case{50, 25, 50},
                          Case{51, 26, 51}, Case{99, 50, 99}, Case{100, 50, 99}, Case{101, 51, 100},
                          Case{199, 100, 198}, Case{200, 100, 198}, Case{201, 101, 199}, Case{1000, 500, 990}}) {
        CAPTURE(c.n);
        const auto s = summary(one_to(c.n));
        REQUIRE(s);
        CHECK(s->count == c.n);
        CHECK(s->p50 == ns(c.p50));
        CHECK(s->p99 == ns(c.p99));
    }
}

TEST_CASE("the ends of the scale are the least and the greatest sample") {
    const Samples samples = one_to(7);
    CHECK(nearest_rank(samples.data(), 7, 0) == ns(1));
    CHECK(nearest_rank(samples.data(), 7, 1) == ns(1));
    CHECK(nearest_rank(samples.data(), 7, 100) == ns(7));
    CHECK(nearest_rank(samples.data(), 7, 101) == ns(7));
}

TEST_CASE("the rank of very many samples does not overflow") {
    constexpr std::size_t n = std::size_t{1} << 58U; // times 99 is more than 64 bits hold
    constexpr std::size_t rank = n / 100 * 99 + (n % 100 * 99 + 99) / 100;
    static_assert(rank > n / 2 && rank < n);
    CHECK(nearest_rank_index(n, 99) == rank - 1);
    CHECK(nearest_rank_index(SIZE_MAX, 100) == SIZE_MAX - 1);
}

TEST_CASE("samples are summarized whatever their order, which stays") {
    Samples samples = one_to(101);
    std::reverse(samples.begin(), samples.end());
    std::rotate(samples.begin(), samples.begin() + 40, samples.end());
    const Samples before = samples;
    const auto s = summary(samples);
    REQUIRE(s);
    CHECK(s->p50 == ns(51));
    CHECK(s->p99 == ns(100));
    CHECK(samples == before);
}

TEST_CASE("equal and extreme samples are summarized too") {
    const auto s = summary({UINT64_MAX, 0, UINT64_MAX, 0});
    REQUIRE(s);
    CHECK(s->p50 == ns(0));
    CHECK(s->p99 == ns(UINT64_MAX));
}

TEST_CASE("without samples there is no summary") {
    CHECK_FALSE(summarize(nullptr, 0));
}

TEST_CASE("a handoff is faster only if it is strictly so at both percentiles") {
    const LatencySummary fallback = of(100, 200);
    CHECK(compare(of(99, 199), fallback) == LatencyVerdict::faster);
    CHECK(compare(of(0, 0), fallback) == LatencyVerdict::faster);
    CHECK(compare(of(100, 199), fallback) == LatencyVerdict::p50_not_faster);
    CHECK(compare(of(101, 199), fallback) == LatencyVerdict::p50_not_faster);
    CHECK(compare(of(99, 200), fallback) == LatencyVerdict::p99_not_faster);
    CHECK(compare(of(99, 201), fallback) == LatencyVerdict::p99_not_faster);
    CHECK(compare(fallback, fallback) == LatencyVerdict::p50_not_faster);
}

TEST_CASE("what is wrong with a comparison is told in a fixed order") {
    const LatencySummary some = of(1, 1);
    CHECK(compare(std::nullopt, std::nullopt) == LatencyVerdict::empty_handoff);
    CHECK(compare(std::nullopt, some) == LatencyVerdict::empty_handoff);
    CHECK(compare(some, std::nullopt) == LatencyVerdict::empty_fallback);
    CHECK(compare(of(2, 2), some) == LatencyVerdict::p50_not_faster); // though both are slower
}
