#include "base/counts_per_window.hpp"

#include <doctest/doctest.h>

#include <functional>

#include "support/allocations.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::at;
using rp::test::ns;

using Counts = Windows<int, std::hash<int>>;

constexpr std::uint32_t many = 100;

TEST_CASE("a key that was never counted has no count, and no time remains of its window") {
    Counts counts(ns(100), 4);
    CHECK(counts.count(1, at(0)) == 0);
    CHECK(counts.remaining(1, at(0)) == ns(0));
    CHECK(counts.keys() == 0);
}

TEST_CASE("a window starts at the first count, and later ones do not stretch it") {
    Counts counts(ns(100), 4);
    counts.add(1, many, at(1000));
    counts.add(1, many, at(1099));
    CHECK(counts.count(1, at(1099)) == 2);
    CHECK(counts.remaining(1, at(1099)) == ns(1));
    CHECK(counts.count(1, at(1100)) == 0);
}

TEST_CASE("a window is over exactly at its end, and not one nanosecond before") {
    Counts counts(ns(100), 4);
    counts.add(1, many, at(1000));
    CHECK(counts.count(1, at(1099)) == 1);
    CHECK(counts.keys() == 1);
    CHECK(counts.count(1, at(1100)) == 0);
    CHECK(counts.keys() == 0);
    counts.add(1, many, at(1000));
    CHECK(counts.count(1, at(1101)) == 0);
}

TEST_CASE("a count at the end of a window starts a new one there") {
    Counts counts(ns(100), 4);
    counts.add(1, many, at(1000));
    counts.add(1, many, at(1000));
    counts.add(1, many, at(1100));
    CHECK(counts.count(1, at(1199)) == 1);
    CHECK(counts.remaining(1, at(1100)) == ns(100));
    CHECK(counts.count(1, at(1200)) == 0);
}

TEST_CASE("a count does not exceed its bound") {
    Counts counts(ns(100), 4);
    for (std::uint32_t i = 1; i <= 5; ++i) {
        counts.add(1, 3, at(0));
        CHECK(counts.count(1, at(0)) == std::min(i, 3U));
    }
    counts.add(2, UINT32_MAX, at(0));
    CHECK(counts.count(2, at(0)) == 1);
}

TEST_CASE("a clock that was set back to before a window's start leaves its whole length") {
    Counts counts(ns(100), 4);
    counts.add(1, many, at(1000));
    for (const std::uint64_t now : {0U, 1U, 999U, 1000U}) {
        CHECK(counts.count(1, at(now)) == 1);
        CHECK(counts.remaining(1, at(now)) == ns(100));
    }
    CHECK(counts.remaining(1, at(1001)) == ns(99));
    counts.add(1, many, at(500));
    CHECK(counts.count(1, at(1099)) == 2); // it still starts where it did
    CHECK(counts.count(1, at(1100)) == 0);
}

TEST_CASE("keys have windows of their own, also those that were opened after the clock was set back") {
    Counts counts(ns(100), 4);
    counts.add(1, many, at(1000));
    counts.add(2, many, at(500));
    CHECK(counts.count(1, at(600)) == 1);
    CHECK(counts.count(2, at(600)) == 0);
    CHECK(counts.keys() == 1);
    CHECK(counts.count(1, at(1100)) == 0);
}

TEST_CASE("a forgotten key starts anew, and the others stay") {
    Counts counts(ns(100), 4);
    counts.add(1, many, at(0));
    counts.add(2, many, at(0));
    counts.forget(1);
    counts.forget(1);
    counts.forget(3);
    CHECK(counts.count(1, at(0)) == 0);
    CHECK(counts.count(2, at(0)) == 1);
    counts.add(1, many, at(50));
    CHECK(counts.count(1, at(149)) == 1);
}

TEST_CASE("of one key too many the oldest window is forgotten") {
    Counts counts(ns(100), 3);
    counts.add(1, many, at(2));
    counts.add(2, many, at(1));
    counts.add(3, many, at(3));
    counts.add(2, many, at(4)); // known: nothing has to go
    CHECK(counts.keys() == 3);
    counts.add(4, many, at(5));
    CHECK(counts.keys() == 3);
    CHECK(counts.count(2, at(5)) == 0);
    CHECK(counts.count(1, at(5)) == 1);
    CHECK(counts.count(3, at(5)) == 1);
    CHECK(counts.count(4, at(5)) == 1);
}

TEST_CASE("windows that are over make room before a living one is forgotten") {
    Counts counts(ns(100), 2);
    counts.add(1, many, at(0));
    counts.add(2, many, at(50));
    counts.add(3, many, at(100));
    CHECK(counts.keys() == 2);
    CHECK(counts.count(2, at(100)) == 1);
    CHECK(counts.count(3, at(100)) == 1);
}

TEST_CASE("a length or a number of keys of zero is taken for the least") {
    Counts counts(ns(0), 0);
    counts.add(1, many, at(0));
    CHECK(counts.count(1, at(999'999)) == 1);
    CHECK(counts.count(1, at(1'000'000)) == 0);
    counts.add(1, many, at(0));
    counts.add(2, many, at(0));
    CHECK(counts.keys() == 1);
    CHECK(counts.count(2, at(0)) == 1);
}

TEST_CASE("a window that would end beyond the end of time does not end before it") {
    const std::uint64_t end = UINT64_MAX;
    Counts counts(ns(end), 4);
    counts.add(1, many, at(1));
    CHECK(counts.count(1, at(end - 1)) == 1);
    CHECK(counts.remaining(1, at(end - 1)) == ns(2));
    // One that ends exactly there, and one that would just fit not.
    Counts edge(ns(100), 4);
    edge.add(1, many, at(end - 100));
    edge.add(2, many, at(end - 99));
    CHECK(edge.count(1, at(end - 1)) == 1);
    CHECK(edge.count(2, at(end - 1)) == 1);
    CHECK(edge.count(1, at(end)) == 0); // a clock that failed: everything is due
    CHECK(edge.count(2, at(end)) == 0);
}

TEST_CASE("what is reserved can be counted without memory") {
    for (const std::size_t reserved : {1U, 2U, 7U, 64U, 100U}) {
        CAPTURE(reserved);
        Counts counts(ns(100), 1000);
        counts.add(-1, many, at(0));
        counts.reserve(reserved);
        const std::size_t before = rp::test::allocations();
        for (std::size_t i = 0; i < reserved; ++i) {
            counts.add(static_cast<int>(i), many, at(i));
        }
        CHECK(rp::test::allocations() == before);
        CHECK(counts.keys() == reserved + 1);
    }
}

TEST_CASE("more than there may be keys need not be reserved") {
    Counts counts(ns(100), 8);
    counts.reserve(SIZE_MAX);
    const std::size_t before = rp::test::allocations();
    for (int i = 0; i < 100; ++i) {
        counts.add(i, many, at(0));
    }
    CHECK(rp::test::allocations() == before);
    CHECK(counts.keys() == 8);
}
