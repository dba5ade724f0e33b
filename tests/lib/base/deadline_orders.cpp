// A deadline map with more than one order, and what expires in the first of them.
#include "base/deadline_map.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "handoff/token.hpp"
#include "support/allocations.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::at;
using rp::test::token_of;

namespace {

using Map = DeadlineMap<Token, int, TokenHash, 2>;
constexpr std::size_t bound = Map::drops_per_call;

std::vector<Token> keys_of(Map &map, std::size_t order) {
    std::vector<Token> keys;
    for (Map::Entry entry = map.first(order); entry; entry = entry.next(order)) {
        keys.push_back(entry.key());
    }
    return keys;
}

Token numbered(std::size_t number) {
    Token::Bytes bytes{};
    bytes[0] = static_cast<std::uint8_t>(number);
    bytes[1] = static_cast<std::uint8_t>(number >> 8U);
    return Token(bytes);
}

void fill(Map &map, std::size_t count, std::uint64_t deadline) {
    for (std::size_t i = 0; i < count; ++i) {
        REQUIRE(map.put(numbered(i), 0, at(deadline)));
    }
}

} // namespace

TEST_CASE("a key has one entry, with a place in each order that it was put into") {
    Map map;
    const Map::Entry entry = map.put(token_of(1), 0, at(30));
    entry.value() = 7;
    CHECK_FALSE(map.find(token_of(1), 1));
    const Map::Entry same = map.put(token_of(1), 1, at(10));
    CHECK(same.value() == 7);
    CHECK(&same.value() == &entry.value());
    CHECK(entry.deadline(0) == at(30));
    CHECK(entry.deadline(1) == at(10));
    CHECK(map.size(0) == 1);
    CHECK(map.size(1) == 1);
    CHECK(map.find(token_of(1), 0));
    CHECK(map.find(token_of(1), 1));
}

TEST_CASE("a key is not put twice into an order") {
    Map map;
    REQUIRE(map.put(token_of(1), 1, at(10)));
    CHECK_FALSE(map.put(token_of(1), 1, at(20)));
    CHECK(map.find(token_of(1), 1).deadline(1) == at(10));
    CHECK(map.size(1) == 1);
}

TEST_CASE("each order is sorted by its own deadlines") {
    Map map;
    const std::uint64_t first[] = {30, 10, 20};
    const std::uint64_t second[] = {1, 3, 2};
    for (std::uint8_t i = 0; i < 3; ++i) {
        REQUIRE(map.put(token_of(i), 0, at(first[i])));
        REQUIRE(map.put(token_of(i), 1, at(second[i])));
    }
    CHECK(keys_of(map, 0) == std::vector<Token>{token_of(1), token_of(2), token_of(0)});
    CHECK(keys_of(map, 1) == std::vector<Token>{token_of(0), token_of(2), token_of(1)});
}

TEST_CASE("an entry that leaves one order stays in the other, and ends with the last") {
    for (const std::size_t first : {0U, 1U}) {
        const std::size_t last = 1 - first;
        Map map;
        const Map::Entry entry = map.put(token_of(1), 0, at(30));
        REQUIRE(map.put(token_of(1), 1, at(10)));
        entry.value() = 7;
        map.erase(entry, first);
        CHECK_FALSE(map.find(token_of(1), first));
        CHECK(map.size(first) == 0);
        CHECK(map.find(token_of(1), last).value() == 7);
        map.erase(entry, last);
        CHECK_FALSE(map.find(token_of(1), last));
        CHECK(map.size(last) == 0);
        CHECK(entry.key() == Token()); // overwritten
        CHECK(entry.value() == 0);
    }
}

TEST_CASE("an entry can come back to an order that it left") {
    Map map;
    const Map::Entry entry = map.put(token_of(1), 0, at(30));
    REQUIRE(map.put(token_of(1), 1, at(10)));
    map.erase(entry, 0);
    CHECK(map.put(token_of(1), 0, at(50)).deadline(0) == at(50));
    CHECK(map.find(token_of(1), 1).deadline(1) == at(10));
}

TEST_CASE("whatever is due is gone at once, and dropped so many at a time") {
    for (const std::size_t count : {bound - 1, bound, bound + 1, 3 * bound + 1}) {
        CAPTURE(count);
        Map map;
        fill(map, count, 100);
        map.expire(at(99));
        CHECK(map.size() == count);
        std::size_t held = count;
        for (int call = 0; call < 5; ++call) {
            map.expire(at(100));
            held -= std::min(held, bound);
            REQUIRE(map.size() == held);
            REQUIRE(map.has_due(at(100)) == (held > 0));
            for (std::size_t i = 0; i < count; ++i) {
                REQUIRE_FALSE(map.find(numbered(i)));
            }
        }
    }
}

TEST_CASE("what has expired in the first order is still found in the other") {
    Map map;
    fill(map, 2 * bound, 100);
    for (std::size_t i = 0; i < 2 * bound; ++i) {
        REQUIRE(map.put(numbered(i), 1, at(500)));
    }
    map.expire(at(100));
    CHECK(map.size(0) == bound);
    CHECK(map.size(1) == 2 * bound);
    for (std::size_t i = 0; i < 2 * bound; ++i) {
        REQUIRE_FALSE(map.find(numbered(i), 0));
        REQUIRE(map.find(numbered(i), 1));
    }
}

TEST_CASE("a key that has expired and was not dropped yet can be put again") {
    Map map;
    fill(map, 2 * bound, 100);
    map.expire(at(100));
    const Token held = numbered(2 * bound - 1);
    REQUIRE(map.put(held, 0, at(300)));
    CHECK(map.find(held).deadline() == at(300));
    CHECK(map.size() == bound);
    map.expire(at(200));
    CHECK(map.size() == 1);
    CHECK(map.find(held));
}

TEST_CASE("what has expired stays gone when the clock is set back, and what comes then is alive") {
    Map map;
    fill(map, 2 * bound, 100);
    map.expire(at(100));
    map.expire(at(10));
    CHECK_FALSE(map.find(numbered(2 * bound - 1)));
    fill(map, 2 * bound, 100);
    map.expire(at(10));
    map.expire(at(10));
    CHECK(map.size() == 2 * bound);
    CHECK(map.put(numbered(5000), 0, at(50)));
    CHECK(map.find(numbered(5000)));
    CHECK(map.find(numbered(0)));
    map.expire(at(50));
    CHECK_FALSE(map.find(numbered(5000)));
    CHECK(map.find(numbered(0)));
}

TEST_CASE("dropping can be bounded by the caller, and tells how many") {
    Map map;
    fill(map, 10, 100);
    CHECK(map.drop_due(at(99)) == 0);
    CHECK(map.drop_due(at(100), 3) == 3);
    CHECK(map.find(numbered(3))); // not dropped, so not gone
    CHECK(map.drop_due(at(100)) == 7);
    CHECK_FALSE(map.has_due(at(100)));
}

TEST_CASE("expiring takes no memory, and gives places for what comes next") {
    Map map;
    fill(map, 300, 100);
    const std::size_t before = rp::test::allocations();
    for (std::size_t i = 0; i < 300; ++i) {
        map.expire(at(100));
        REQUIRE(map.put(numbered(1000 + i), 0, at(500)));
    }
    CHECK(rp::test::allocations() == before);
    CHECK(map.size() == 300);
}
