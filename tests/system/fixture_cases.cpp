// Test cases that go wrong in every way, for fixture_test.py.
#include <doctest/doctest.h>

#include <csignal>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

TEST_CASE("passes") {
    CHECK(true);
}

TEST_CASE("passes, with a comma in its name") {
    CHECK(true);
}

TEST_CASE("ends a child that it started") {
    const pid_t child = fork();
    if (child == 0) {
        pause();
    }
    CHECK(kill(child, SIGKILL) == 0);
    CHECK(waitpid(child, nullptr, 0) == child);
}

TEST_CASE("leaves a descriptor open") {
    CHECK(dup(STDIN_FILENO) > 0);
}

TEST_CASE("closes a descriptor that is not its own") {
    CHECK(close(STDIN_FILENO) == 0);
}

TEST_CASE("puts another file in a descriptor's place") {
    CHECK(dup2(STDOUT_FILENO, STDIN_FILENO) == STDIN_FILENO);
}

TEST_CASE("never ends") {
    for (;;) {
        pause();
    }
}

TEST_CASE("crashes") {
    std::raise(SIGSEGV);
}

TEST_CASE("is killed") {
    std::raise(SIGKILL);
}

TEST_CASE("fails a check") {
    CHECK(1 == 2);
}

TEST_CASE("fails a requirement") {
    REQUIRE(1 == 2);
}

TEST_CASE("throws") {
    throw std::runtime_error("on purpose");
}

TEST_CASE("leaves a child behind") {
    if (fork() == 0) {
        for (;;) {
            pause();
        }
    }
}
