#include "handoff/pressure.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <thread>
#include <vector>

using namespace rp::handoff;

TEST_CASE("there is no pressure at first, and success changes nothing then") {
    PressureGuard guard;
    CHECK_FALSE(guard.is_demoted());
    CHECK_FALSE(guard.succeeded());
    CHECK_FALSE(guard.is_demoted());
    CHECK(guard.statistics().successes == 0);
    CHECK(guard.statistics().episodes == 0);
}

TEST_CASE("running out of descriptors, here or in flight, begins a time of pressure, and nothing else does") {
    for (int error = 0; error < 140; ++error) {
        CAPTURE(error);
        PressureGuard guard;
        const bool about_descriptors = error == EMFILE || error == ENFILE || error == ETOOMANYREFS;
        CHECK(guard.failed(error) == about_descriptors);
        CHECK(guard.is_demoted() == about_descriptors);
        CHECK(guard.statistics().episodes == (about_descriptors ? 1 : 0));
    }
}

TEST_CASE("three successes in a row end the pressure, and the third says so") {
    PressureGuard guard;
    guard.failed(EMFILE);
    CHECK_FALSE(guard.succeeded());
    CHECK_FALSE(guard.succeeded());
    CHECK(guard.is_demoted());
    CHECK(guard.statistics().successes == 2);
    CHECK(guard.succeeded());
    CHECK_FALSE(guard.is_demoted());
    CHECK(guard.statistics().successes == 0);
    CHECK_FALSE(guard.succeeded()); // it has ended
}

TEST_CASE("a failure for want of descriptors starts the row anew, and another one does not interrupt it") {
    PressureGuard guard;
    guard.failed(EMFILE);
    guard.succeeded();
    guard.succeeded();
    CHECK(guard.failed(ENFILE));
    CHECK(guard.statistics().successes == 0);
    CHECK(guard.statistics().episodes == 1);
    guard.succeeded();
    guard.succeeded();
    CHECK_FALSE(guard.failed(ECONNABORTED));
    CHECK(guard.statistics().successes == 2);
    CHECK(guard.succeeded());
}

TEST_CASE("episodes are counted when they begin") {
    PressureGuard guard(1);
    for (std::uint64_t i = 1; i <= 3; ++i) {
        guard.demote();
        guard.demote();
        guard.failed(EMFILE);
        CHECK(guard.statistics().episodes == i);
        CHECK(guard.succeeded());
    }
}

TEST_CASE("the number of successes is a setting, and at least one") {
    for (const std::uint32_t setting : {0U, 1U, 2U, 5U}) {
        CAPTURE(setting);
        PressureGuard guard(setting);
        guard.demote();
        for (std::uint32_t i = 1; i < setting; ++i) {
            CHECK_FALSE(guard.succeeded());
        }
        CHECK(guard.succeeded());
        CHECK_FALSE(guard.is_demoted());
    }
}

TEST_CASE("refusals are counted, and are no part of the state") {
    PressureGuard guard;
    guard.count_refusal();
    guard.demote();
    guard.count_refusal();
    CHECK(guard.statistics().refusals == 2);
    CHECK(guard.statistics().demoted);
}

TEST_CASE("threads that share a guard lose no count") {
    PressureGuard guard(1);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&guard] {
            for (int round = 0; round < 1000; ++round) {
                guard.demote();
                guard.count_refusal();
                guard.succeeded();
                guard.is_demoted();
            }
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    CHECK(guard.statistics().refusals == 4000);
    CHECK_FALSE(guard.is_demoted()); // the last thing that any of them did was a success
    CHECK(guard.statistics().episodes >= 1);
    CHECK(guard.statistics().episodes <= 4000);
}
