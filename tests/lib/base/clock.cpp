#include <doctest/doctest.h>

#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <sched.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include "base/unique_fd.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::at;
using rp::test::ns;

namespace {

struct Pipe {
    UniqueFd reader;
    UniqueFd writer;

    Pipe() {
        int ends[2] = {-1, -1};
        REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
        reader.reset(ends[0]);
        writer.reset(ends[1]);
    }
};

Instant monotonic() {
    timespec ts{};
    REQUIRE(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
    return at(static_cast<std::uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(ts.tv_nsec));
}

// The letter of proc(5)'s stat: 'S' for a process that waits.
char state_of(pid_t pid) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(stat, text);
    const auto end_of_name = text.rfind(')');
    return end_of_name == std::string::npos ? '?' : text[end_of_name + 2];
}

volatile std::sig_atomic_t interruptions = 0;
int acknowledgements = -1;

void count_interruption(int) {
    interruptions = interruptions + 1;
    const char byte = 0;
    (void)!write(acknowledgements, &byte, 1);
}

// Interrupts its parent's waiting three times, then makes what it waits for happen.
[[noreturn]] void interrupt_parent(const Pipe &handled, const Pipe &target) {
    char byte = 0;
    for (int i = 0; i < 3; ++i) {
        while (state_of(getppid()) != 'S') {
            sched_yield();
        }
        kill(getppid(), SIGUSR1);
        (void)!read(handled.reader.get(), &byte, 1);
    }
    (void)!write(target.writer.get(), &byte, 1);
    _exit(0);
}

} // namespace

TEST_CASE("an instant plus a duration that fits is their sum, up to the end of time") {
    CHECK(after(at(0), ns(0)) == at(0));
    CHECK(after(at(7), ns(5)) == at(12));
    CHECK(after(at(UINT64_MAX - 5), ns(4)) == at(UINT64_MAX - 1));
    CHECK(after(at(UINT64_MAX - 5), ns(5)) == end_of_time);
    CHECK(after(at(0), ns(UINT64_MAX)) == end_of_time);
    CHECK(after(end_of_time, ns(0)) == end_of_time);
}

TEST_CASE("an instant plus a duration that does not fit is due at once") {
    CHECK(after(at(UINT64_MAX - 5), ns(6)) == at(UINT64_MAX - 5));
    CHECK(after(at(1), ns(UINT64_MAX)) == at(1));
    CHECK(after(end_of_time, ns(1)) == end_of_time);
    CHECK(is_due(after(at(9), ns(UINT64_MAX)), at(9)));
}

TEST_CASE("a limit is passed when it is reached") {
    CHECK_FALSE(is_due(at(10), at(9)));
    CHECK(is_due(at(10), at(10)));
    CHECK(is_due(at(10), at(11)));
    CHECK(is_due(at(0), at(0)));
    CHECK_FALSE(is_due(end_of_time, at(UINT64_MAX - 1)));
    CHECK(is_due(end_of_time, end_of_time));
}

TEST_CASE("the time between two instants is zero where the clock was set back") {
    CHECK(elapsed(at(3), at(10)) == ns(7));
    CHECK(elapsed(at(10), at(10)) == ns(0));
    CHECK(elapsed(at(10), at(9)) == ns(0));
    CHECK(elapsed(at(0), end_of_time) == ns(UINT64_MAX));
    CHECK(elapsed(end_of_time, at(0)) == ns(0));
}

TEST_CASE("the system's time is CLOCK_MONOTONIC and does not run backwards") {
    SystemTime time;
    for (int i = 0; i < 1000; ++i) {
        const Instant before = monotonic();
        const Instant now = time.now();
        REQUIRE(before <= now);
        REQUIRE(now <= monotonic());
    }
}

TEST_CASE("a wait for a descriptor that is ready ends at once, even if its time has passed") {
    SystemTime time;
    const Pipe pipe;
    CHECK(time.wait(pipe.writer.get(), POLLOUT, end_of_time) == Wait::ready);
    CHECK(time.wait(pipe.writer.get(), POLLOUT, at(0)) == Wait::ready);
    CHECK(time.wait(pipe.writer.get(), POLLOUT, time.now()) == Wait::ready);
}

TEST_CASE("a wait for a descriptor that does not get ready ends when its time has come, and not before") {
    SystemTime time;
    const Pipe pipe;
    CHECK(time.wait(pipe.reader.get(), POLLIN, at(0)) == Wait::timed_out);
    const Instant until = after(time.now(), std::chrono::milliseconds(3));
    CHECK(time.wait(pipe.reader.get(), POLLIN, until) == Wait::timed_out);
    CHECK(time.now() >= until);
}

TEST_CASE("an error or a hang-up of the descriptor counts as ready") {
    SystemTime time;
    Pipe pipe;
    pipe.writer.reset();
    CHECK(time.wait(pipe.reader.get(), POLLIN, end_of_time) == Wait::ready);
    const int closed = pipe.reader.get();
    pipe.reader.reset();
    CHECK(time.wait(closed, POLLIN, end_of_time) == Wait::ready);
}

TEST_CASE("a wait goes on after signals that interrupt it") {
    SystemTime time;
    const Pipe handled;
    const Pipe target;
    acknowledgements = handled.writer.get();
    struct sigaction action = {};
    action.sa_handler = count_interruption; // without SA_RESTART
    REQUIRE(sigaction(SIGUSR1, &action, nullptr) == 0);
    const pid_t child = fork();
    if (child == 0) {
        interrupt_parent(handled, target);
    }
    CHECK(time.wait(target.reader.get(), POLLIN, end_of_time) == Wait::ready);
    CHECK(interruptions == 3);
    CHECK(waitpid(child, nullptr, 0) == child);
}
