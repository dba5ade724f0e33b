// Elements that take turns.
#include "base/round_robin.hpp"

#include <doctest/doctest.h>

#include <array>
#include <vector>

using namespace rp::handoff;

namespace {

struct Player {
    int number = 0;
    Turns<Player> turns;
};
using Ring = RoundRobin<Player, &Player::turns>;

struct Players {
    std::array<Player, 4> all;
    Players() {
        for (int i = 0; i < 4; ++i) {
            all[static_cast<std::size_t>(i)].number = i;
        }
    }
};

std::vector<int> turns_of(Ring &ring, int count) {
    std::vector<int> out;
    for (int i = 0; i < count; ++i) {
        out.push_back(ring.take_turn()->number);
    }
    return out;
}

} // namespace

TEST_CASE("nobody is next in an empty ring") {
    Ring ring;
    CHECK(ring.empty());
    CHECK(ring.next() == nullptr);
    Players players;
    ring.add(players.all[0]);
    CHECK(ring.size() == 1);
    CHECK(turns_of(ring, 3) == std::vector<int>{0, 0, 0});
    ring.remove(players.all[0]);
    CHECK(ring.empty());
    CHECK(ring.next() == nullptr);
}

TEST_CASE("everybody has a turn before anybody has a second, and who comes is last") {
    Players players;
    Ring ring;
    ring.add(players.all[0]);
    ring.add(players.all[1]);
    ring.add(players.all[2]);
    CHECK(turns_of(ring, 4) == std::vector<int>{0, 1, 2, 0});
    ring.add(players.all[3]); // 1 is next
    CHECK(turns_of(ring, 5) == std::vector<int>{1, 2, 0, 3, 1});
}

TEST_CASE("whoever leaves, the turns of the others stay as they were") {
    for (std::size_t leaver = 0; leaver < 4; ++leaver) {
        for (int turns = 0; turns < 4; ++turns) {
            Players players;
            Ring ring;
            for (Player &player : players.all) {
                ring.add(player);
            }
            turns_of(ring, turns);
            std::vector<int> expected;
            for (int i = 0; i < 4; ++i) {
                const int number = (turns + i) % 4;
                if (number != static_cast<int>(leaver)) {
                    expected.push_back(number);
                }
            }
            ring.remove(players.all[leaver]);
            REQUIRE(ring.size() == 3);
            REQUIRE(turns_of(ring, 3) == expected);
        }
    }
}
