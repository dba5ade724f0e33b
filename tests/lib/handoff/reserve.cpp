// The room that a deadline map takes in advance, so that what has to be noted down later needs no memory.
#include <doctest/doctest.h>

#include <functional>
#include <new>

#include "base/deadline_map.hpp"
#include "support/allocations.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::allocations;
using rp::test::at;

using Map = DeadlineMap<int, int, std::hash<int>>;

namespace {

void fill(Map &map, int from, int count) {
    for (int i = from; i < from + count; ++i) {
        map.insert(i, at(static_cast<std::uint64_t>(i)), i);
    }
}

} // namespace

TEST_CASE("so many insertions as were reserved need no memory, whatever the map holds") {
    for (const int held : {0, 1, 15, 255, 256, 257, 2047, 2048, 2049}) {
        for (const int reserved : {1, 2, 16, 255, 256, 257, 2048, 5000}) {
            CAPTURE(held);
            CAPTURE(reserved);
            Map map;
            fill(map, 0, held);
            map.reserve(static_cast<std::size_t>(reserved));
            const std::size_t before = allocations();
            fill(map, held, reserved);
            CHECK(allocations() == before);
            for (int i = 0; i < held + reserved; ++i) {
                REQUIRE(map.find(i).value() == i);
            }
        }
    }
}

TEST_CASE("the places of erased entries count as reserved") {
    Map map;
    fill(map, 0, 10);
    map.reserve(10);
    for (int i = 0; i < 5; ++i) {
        map.erase(map.first());
    }
    const std::size_t before = allocations();
    fill(map, 10, 15);
    CHECK(allocations() == before);
    CHECK(map.size() == 20);
}

TEST_CASE("reserving what is there already takes nothing") {
    Map map;
    map.reserve(1024);
    const std::size_t before = allocations();
    for (std::size_t more = 0; more <= 1024; ++more) {
        map.reserve(more);
    }
    CHECK(allocations() == before);
    map.reserve(1025);
    CHECK(allocations() > before);
}

TEST_CASE("a reservation for which there is no memory changes nothing") {
    std::size_t failures = 0;
    for (bool failed = true; failed;) {
        Map map;
        fill(map, 0, 5);
        const rp::test::FailAllocation fail(failures);
        failed = false;
        try {
            map.reserve(3000);
        } catch (const std::bad_alloc &) {
            failed = true;
            ++failures;
        }
        CHECK(map.size() == 5);
        for (int i = 0; i < 5; ++i) {
            CHECK(map.find(i).value() == i);
        }
    }
    CHECK(failures > 10); // there is more to it than one piece
}
