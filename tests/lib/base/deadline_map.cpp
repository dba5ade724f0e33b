#include "base/deadline_map.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <vector>

#include "handoff/token.hpp"
#include "support/allocations.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::at;
using rp::test::ns;
using rp::test::token_of;

namespace {

using Map = DeadlineMap<Token, int, TokenHash>;

struct FourBuckets {
    std::size_t operator()(const Token &token) const noexcept { return token.bytes()[0] & 3U; }
};

Token numbered(int number) {
    Token::Bytes bytes{};
    std::memcpy(bytes.data(), &number, sizeof number);
    return Token(bytes);
}

// A map and, beside it, the plainest thing that does the same.
template <class Hash>
class Pair {
  public:
    explicit Pair(unsigned seed) : random_(seed) {}

    void step() {
        move_clock();
        switch (random_() % 4) {
        case 0:
        case 1:
            insert();
            break;
        case 2:
            erase();
            break;
        default:
            expire();
        }
        REQUIRE(matches());
        largest_ = std::max(largest_, known_.size());
    }

    std::size_t largest() const { return largest_; }

  private:
    using SystemUnderTest = DeadlineMap<Token, int, Hash>;
    struct Known {
        Token key;
        Instant deadline;
        int value;
    };

    // Mostly onwards, sometimes far back.
    void move_clock() {
        const std::uint64_t now = now_.time_since_epoch().count();
        now_ = random_() % 16 == 0 ? at(now / 2 + random_() % 1000) : at(now + random_() % 50);
    }

    Token any_key() {
        Token::Bytes bytes{};
        bytes[0] = static_cast<std::uint8_t>(random_() % 64);
        bytes[9] = static_cast<std::uint8_t>(random_() % 2);
        return Token(bytes);
    }

    auto known(const Token &key) {
        return std::find_if(known_.begin(), known_.end(), [&key](const Known &k) { return k.key == key; });
    }

    void insert() {
        const Token key = any_key();
        const auto found = known(key);
        REQUIRE(static_cast<bool>(map_.find(key)) == (found != known_.end()));
        if (found != known_.end()) {
            return;
        }
        const Instant deadline = after(now_, random_() % 32 == 0 ? ns(UINT64_MAX) : ns(random_() % 2000));
        const int value = static_cast<int>(random_() % 1000);
        const auto entry = map_.insert(key, deadline, value);
        REQUIRE(entry.key() == key);
        REQUIRE(entry.value() == value);
        REQUIRE(entry.deadline() == deadline);
        const auto later = [deadline](const Known &k) { return k.deadline > deadline; };
        known_.insert(std::find_if(known_.begin(), known_.end(), later), {key, deadline, value});
    }

    void erase() {
        const Token key = any_key();
        const auto entry = map_.find(key);
        const auto found = known(key);
        REQUIRE(static_cast<bool>(entry) == (found != known_.end()));
        if (entry) {
            map_.erase(entry);
            known_.erase(found);
        }
    }

    void expire() {
        while (map_.first() && is_due(map_.first().deadline(), now_)) {
            map_.erase(map_.first());
        }
        const auto due = [this](const Known &k) { return is_due(k.deadline, now_); };
        known_.erase(std::remove_if(known_.begin(), known_.end(), due), known_.end());
    }

    // In the order of deadlines; of equal ones, in the order of insertion. Each is found by its key.
    bool matches() {
        auto entry = map_.first();
        for (const Known &k : known_) {
            const auto found = map_.find(k.key);
            if (!entry || entry.key() != k.key || entry.deadline() != k.deadline || entry.value() != k.value ||
                !found || &found.value() != &entry.value()) {
                return false;
            }
            entry = entry.next();
        }
        return !entry && map_.size() == known_.size();
    }

    std::mt19937 random_;
    Instant now_ = at(1000);
    SystemUnderTest map_;
    std::vector<Known> known_;
    std::size_t largest_ = 0;
};

template <class Hash>
void run_model(unsigned seed) {
    CAPTURE(seed);
    Pair<Hash> pair(seed);
    for (int step = 0; step < 5000; ++step) {
        CAPTURE(step);
        pair.step();
    }
    CHECK(pair.largest() > 40);
}

} // namespace

TEST_CASE("an empty map has nothing") {
    Map map;
    CHECK(map.size() == 0);
    CHECK_FALSE(map.find(token_of(1)));
    CHECK_FALSE(map.first());
    CHECK_FALSE(Map::Entry());
}

TEST_CASE("an entry is found by its key, and is gone once erased") {
    Map map;
    const Map::Entry entry = map.insert(token_of(1), at(5), 42);
    CHECK(map.size() == 1);
    CHECK(entry.key() == token_of(1));
    CHECK(entry.deadline() == at(5));
    CHECK(map.find(token_of(1)).value() == 42);
    map.find(token_of(1)).value() = 43;
    CHECK(entry.value() == 43);
    CHECK_FALSE(map.find(token_of(2)));
    map.erase(entry);
    CHECK(map.size() == 0);
    CHECK_FALSE(map.find(token_of(1)));
    CHECK_FALSE(map.first());
}

TEST_CASE("entries are in the order of their deadlines, and equal ones in the order of insertion") {
    Map map;
    const std::uint64_t deadlines[] = {30, 10, 20, 10, UINT64_MAX, 0, 20};
    for (std::size_t i = 0; i < std::size(deadlines); ++i) {
        map.insert(token_of(static_cast<std::uint8_t>(i)), at(deadlines[i]), static_cast<int>(i));
    }
    std::vector<int> order;
    for (Map::Entry entry = map.first(); entry; entry = entry.next()) {
        order.push_back(entry.value());
    }
    CHECK(order == std::vector<int>{5, 1, 3, 2, 6, 0, 4});
}

TEST_CASE("an entry stays where it is while the map grows around it") {
    Map map;
    const Map::Entry entry = map.insert(token_of(200), at(77), -1);
    for (std::uint8_t i = 0; i < 200; ++i) {
        map.insert(token_of(i), at(i), i);
    }
    CHECK(entry.key() == token_of(200));
    CHECK(entry.value() == -1);
    CHECK(map.find(token_of(200)).deadline() == at(77));
}

TEST_CASE("the key of an erased entry is overwritten") {
    Map map;
    const Map::Entry entry = map.insert(token_of(0xEE), at(1), 5);
    map.erase(entry);
    CHECK(entry.key() == Token());
    CHECK(entry.value() == 0);
}

TEST_CASE("a map that stays within the size it once had allocates nothing") {
    Map map;
    for (std::uint8_t i = 0; i < 100; ++i) {
        map.insert(token_of(i), at(i), i);
    }
    const std::size_t before = rp::test::allocations();
    for (unsigned round = 0; round < 1000; ++round) {
        map.erase(map.first());
        map.insert(token_of(static_cast<std::uint8_t>(round % 100)), at(100 + round), 1);
    }
    CHECK(rp::test::allocations() == before);
    CHECK(map.size() == 100);
}

TEST_CASE("an insertion for which there is no memory changes nothing, and can be repeated") {
    Map map;
    int failures = 0;
    for (int i = 0; i < 5000; ++i) {
        for (std::size_t nth = 0; map.size() == static_cast<std::size_t>(i); ++nth) {
            REQUIRE(nth < 5);
            const rp::test::FailAllocation fail(nth);
            try {
                map.insert(numbered(i), at(0), i);
            } catch (const std::bad_alloc &) {
                ++failures;
                REQUIRE(map.size() == static_cast<std::size_t>(i));
                REQUIRE_FALSE(map.find(numbered(i)));
            }
        }
        REQUIRE(map.find(numbered(i)).value() == i);
        REQUIRE(map.first().key() == numbered(0));
    }
    CHECK(failures >= 20); // as many growths at least
}

TEST_CASE("every entry is found at every size, while the table grows by a little at a time") {
    Map map;
    for (int i = 0; i < 20'000; ++i) {
        const std::size_t before = rp::test::allocations();
        map.insert(numbered(i), at(0), i);
        REQUIRE(rp::test::allocations() - before <= 4); // a chunk, and the list of chunks, of entries and of buckets
        REQUIRE(map.find(numbered(i)).value() == i);
        REQUIRE(map.find(numbered(i / 2)).value() == i / 2);
        REQUIRE_FALSE(map.find(numbered(i + 1)));
        if (i % 1'000 == 0) {
            for (int k = 0; k <= i; ++k) {
                REQUIRE(map.find(numbered(k)).value() == k);
            }
        }
    }
}

TEST_CASE("a map does what a sorted list does, with a clock that runs backwards at times") {
    run_model<TokenHash>(1);
    run_model<TokenHash>(977);
}

TEST_CASE("a map does what a sorted list does where nearly all keys share a bucket") {
    run_model<FourBuckets>(2);
    run_model<FourBuckets>(978);
}
