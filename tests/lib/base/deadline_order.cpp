// The nearest of many deadlines, against a model that looks at all of them.
#include "base/deadline_order.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::at;

namespace {

struct Element {
    std::uint64_t other = 0;
    DeadlineLinks timer;
};
using Order = DeadlineOrder<Element, &Element::timer>;

// Takes all out, nearest first.
std::vector<Index> drained(Order &order) {
    std::vector<Index> out;
    while (!order.empty()) {
        out.push_back(order.first());
        order.remove(order.first());
    }
    return out;
}

// Elements in the order of their addition; the nearest is the first of the smallest.
class Model {
  public:
    void add(Index i, Instant deadline) { all_.emplace_back(i, deadline); }
    void remove(Index i) {
        all_.erase(std::find_if(all_.begin(), all_.end(), [&](const auto &one) { return one.first == i; }));
    }
    bool has(Index i) const {
        return std::any_of(all_.begin(), all_.end(), [&](const auto &one) { return one.first == i; });
    }
    std::pair<Index, Instant> nearest() const {
        const auto found = std::min_element(all_.begin(), all_.end(),
                                            [](const auto &a, const auto &b) { return a.second < b.second; });
        return found == all_.end() ? std::pair(no_index, end_of_time) : *found;
    }

  private:
    std::vector<std::pair<Index, Instant>> all_;
};

// Adds and removes at random for a while, `spread` different deadlines ahead of a clock that goes on.
void compare(std::uint32_t seed, std::size_t count, std::uint64_t spread, bool clock_goes_on) {
    CAPTURE(seed);
    CAPTURE(count);
    CAPTURE(spread);
    std::mt19937 dice(seed);
    std::vector<Element> elements(count);
    Order order(elements.data(), count);
    Model model;
    for (std::uint64_t now = 1; now < 3000; ++now) {
        const auto i = static_cast<Index>(dice() % count);
        if (model.has(i)) {
            const Index gone = dice() % 2 == 0 ? i : order.first();
            order.remove(gone);
            model.remove(gone);
        } else {
            const Instant deadline = at((clock_goes_on ? now : 1) + dice() % spread);
            order.add(i, deadline);
            model.add(i, deadline);
        }
        REQUIRE(order.first() == model.nearest().first);
        REQUIRE(order.nearest() == model.nearest().second);
        REQUIRE(order.empty() == (order.first() == no_index));
    }
}

// How many elements an operation writes to.
template <class Operation>
std::size_t written(std::vector<Element> &elements, Operation operation) {
    const std::vector<Element> before = elements;
    operation();
    std::size_t count = 0;
    for (std::size_t i = 0; i < elements.size(); ++i) {
        const DeadlineLinks &a = before[i].timer;
        const DeadlineLinks &b = elements[i].timer;
        count +=
            a.turn != b.turn || a.place != b.place || a.list.before != b.list.before || a.list.after != b.list.after
                ? 1U
                : 0U;
    }
    return count;
}

} // namespace

TEST_CASE("an order of no deadlines has no first, and the end of time for nearest") {
    Element element;
    Order order(&element, 1);
    CHECK(order.empty());
    CHECK(order.first() == no_index);
    CHECK(order.nearest() == end_of_time);
    order.add(0, at(5));
    CHECK_FALSE(order.empty());
    CHECK(order.first() == 0);
    CHECK(order.nearest() == at(5));
    order.remove(0);
    CHECK(order.empty());
    CHECK(order.nearest() == end_of_time);
}

TEST_CASE("the nearest deadline is the first, in whatever order they come") {
    std::vector<Index> turns{0, 1, 2, 3, 4};
    do {
        std::vector<Element> elements(5);
        Order order(elements.data(), 5);
        for (const Index i : turns) {
            order.add(i, at(10 + i));
        }
        REQUIRE(drained(order) == std::vector<Index>{0, 1, 2, 3, 4});
    } while (std::next_permutation(turns.begin(), turns.end()));
}

TEST_CASE("of equal deadlines the one that was added first is the first") {
    std::vector<Element> elements(7);
    Order order(elements.data(), 7);
    order.add(3, at(10));
    order.add(1, at(10));
    order.add(6, at(20)); // from here on 10 is not rising
    order.add(2, at(10));
    order.add(0, at(10));
    order.add(5, at(20));
    order.add(4, at(10));
    CHECK(drained(order) == std::vector<Index>{3, 1, 2, 0, 4, 6, 5});
}

TEST_CASE("a deadline at the end of time is one like others") {
    std::vector<Element> elements(3);
    Order order(elements.data(), 3);
    order.add(0, end_of_time);
    order.add(1, at(1));
    order.add(2, end_of_time);
    CHECK(drained(order) == std::vector<Index>{1, 0, 2});
}

TEST_CASE("an order agrees with a model that looks at everything, whatever is added and removed") {
    const std::uint32_t seed = std::random_device()();
    for (const std::size_t count : {1U, 2U, 3U, 10U, 100U}) {
        for (const std::uint64_t spread : {1U, 2U, 30U, 100000U}) {
            compare(seed, count, spread, true);
            compare(seed + 1, count, spread, false);
        }
    }
}

TEST_CASE("with one timeout, or with many mixed ones, no operation touches more than a few of 4,096 elements") {
    constexpr std::size_t count = 4096;
    const std::uint32_t seed = std::random_device()();
    CAPTURE(seed);
    for (const std::uint64_t spread : {1U, 1000000U}) {
        CAPTURE(spread);
        std::mt19937 dice(seed);
        std::vector<Element> elements(count);
        Order order(elements.data(), count);
        std::uint64_t now = 1;
        for (Index i = 0; i < count; ++i) {
            order.add(i, at(now++ + dice() % spread));
        }
        std::size_t most = 0;
        std::size_t sum = 0;
        constexpr std::size_t rounds = 500;
        for (std::size_t round = 0; round < rounds; ++round) {
            const auto i = static_cast<Index>(dice() % count); // has its answer, and a new handoff comes
            const std::size_t removal = written(elements, [&] { order.remove(i); });
            const std::size_t addition = written(elements, [&] { order.add(i, at(now++ + dice() % spread)); });
            most = std::max({most, removal, addition});
            sum += removal + addition;
        }
        CHECK(most <= (spread == 1 ? 3 : 14)); // the heap has twelve levels
        CHECK(sum <= rounds * 10);
    }
}

TEST_CASE("an order allocates nothing once it is there") {
    std::vector<Element> elements(64);
    Order order(elements.data(), elements.size());
    const std::size_t before = rp::test::allocations();
    for (Index i = 0; i < 64; ++i) {
        order.add(i, at(1000 - i * 7 % 64));
    }
    while (!order.empty()) {
        order.remove(order.first());
    }
    CHECK(rp::test::allocations() == before);
}
