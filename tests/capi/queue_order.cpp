// The queue of waiting connections through the C API.
#include "support/policy_api.hpp"

#include <sys/wait.h>
#include <thread>

using namespace rp::test;

namespace {

// FakeTime gives a queue its clock only, since a queue never waits.
rp_handoff_queue_options on_clock(FakeTime &time) {
    const auto broker_options = time.in(sized<rp_handoff_broker_options>());
    auto options = sized<rp_handoff_queue_options>();
    options.now = broker_options.now;
    options.time_user_data = broker_options.time_user_data;
    return options;
}

UniqueFd some_descriptor() {
    UniqueFd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    REQUIRE(fd);
    return fd;
}

// Its number, which is the queue's from then on.
int park(const Queue &queue) {
    UniqueFd fd = some_descriptor();
    REQUIRE(rp_handoff_queue_enqueue(queue.get(), fd.get(), 0) == RP_HANDOFF_OK);
    return fd.release();
}

std::uint32_t length(const Queue &queue) {
    std::uint32_t out = UINT32_MAX;
    REQUIRE(rp_handoff_queue_get_length(queue.get(), &out) == RP_HANDOFF_OK);
    return out;
}

// The descriptor that waited longest, if there is one.
UniqueFd take(const Queue &queue) {
    std::int32_t fd = -1;
    const std::int32_t status = rp_handoff_queue_dequeue(queue.get(), &fd, nullptr);
    REQUIRE(status == (fd >= 0 ? 1 : 0));
    return UniqueFd(fd);
}

} // namespace

TEST_CASE("without options a queue runs on the system's clock") {
    rp_handoff_queue *created = nullptr;
    REQUIRE(rp_handoff_queue_create(nullptr, &created, nullptr) == RP_HANDOFF_OK);
    const Queue queue(created);
    auto options = sized<rp_handoff_queue_options>();
    options.ttl_ns = UINT64_MAX / 2;
    const Queue lasting = make_queue(options);
    const int fd = park(lasting);
    CHECK(take(lasting).get() == fd);
    CHECK_FALSE(take(queue));
}

TEST_CASE("a clock that fails is read as the end of time, and everything has expired") {
    FakeTime time;
    const Queue queue = make_queue(on_clock(time));
    const int fd = park(queue);
    time.broken = true;
    CHECK_FALSE(take(queue));
    CHECK_FALSE(is_open(fd));
}

TEST_CASE("a queue that is destroyed closes what is in it, and nothing else") {
    FakeTime time;
    Queue queue = make_queue(on_clock(time));
    const int parked = park(queue);
    park(queue);
    const UniqueFd other = some_descriptor();
    const UniqueFd taken = take(queue);
    const int still_parked = park(queue);
    queue.reset();
    CHECK(taken.get() == parked);
    CHECK(is_open(parked));
    CHECK(is_open(other.get()));
    CHECK_FALSE(is_open(still_parked));
    rp_handoff_queue_destroy(nullptr);
}

TEST_CASE("a forked child that destroys its copy of a queue leaves the parent's descriptors open") {
    FakeTime time;
    Queue queue = make_queue(on_clock(time));
    SocketPair pair;
    REQUIRE(rp_handoff_queue_enqueue(queue.get(), pair.a.get(), 0) == RP_HANDOFF_OK);
    const int parked = pair.a.release();
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        rp_handoff_queue_destroy(queue.release());
        _exit(is_open(parked) ? 1 : 0);
    }
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(is_open(parked));
    CHECK_FALSE(is_at_end(pair.b.get()));
}

TEST_CASE("threads that share a queue lose no descriptor and get none twice") {
    auto options = sized<rp_handoff_queue_options>();
    options.capacity = 8;
    options.ttl_ns = UINT64_MAX / 2;
    const Queue queue = make_queue(options);
    constexpr std::uint64_t per_thread = 300;
    std::uint64_t sums[2] = {};
    const auto produce = [&queue](std::uint64_t from) {
        for (std::uint64_t i = from; i < from + per_thread; ++i) {
            int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
            while (rp_handoff_queue_enqueue(queue.get(), fd, i) != RP_HANDOFF_OK) {
                std::this_thread::yield();
            }
        }
    };
    const auto consume = [&queue](std::uint64_t &sum) {
        for (std::uint64_t i = 0; i < per_thread;) {
            std::int32_t fd = -1;
            std::uint64_t user_data = 0;
            if (rp_handoff_queue_dequeue(queue.get(), &fd, &user_data) == 1) {
                close(fd);
                sum += user_data;
                ++i;
            } else {
                std::this_thread::yield();
            }
        }
    };
    std::thread threads[] = {std::thread(produce, 0), std::thread(produce, per_thread),
                             std::thread(consume, std::ref(sums[0])), std::thread(consume, std::ref(sums[1]))};
    for (std::thread &thread : threads) {
        thread.join();
    }
    constexpr std::uint64_t all = 2 * per_thread;
    CHECK(sums[0] + sums[1] == all * (all - 1) / 2);
    CHECK(length(queue) == 0);
}
