// The queue of connections that wait for a backend.
#include "support/exchange.hpp"

#include "support/descriptors.hpp"
#include "support/sizes.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t ttl = 100'000'000;

// A queue on a clock that the test turns. A queue never waits, so there is no wait to give.
struct Timed {
    explicit Timed(rp_handoff_queue_options options = sized<rp_handoff_queue_options>()) {
        options.now = [](void *data, std::uint64_t *out) -> std::int32_t {
            *out = *static_cast<std::uint64_t *>(data);
            return RP_HANDOFF_CALLBACK_OK;
        };
        options.time_user_data = &now;
        queue = make_queue(options);
    }

    // The status, and the descriptor if it is still the caller's.
    std::int32_t enqueue(std::uint64_t user_data = 0) {
        UniqueFd fd(dup(client.fd.get()));
        const int number = fd.get();
        const std::int32_t status = rp_handoff_queue_enqueue(queue.get(), number, user_data);
        CHECK(is_open(number));
        if (status == RP_HANDOFF_OK) {
            fd.release();
        }
        return status;
    }
    std::uint64_t dequeue() {
        std::int32_t fd = -1;
        std::uint64_t user_data = 0;
        REQUIRE(rp_handoff_queue_dequeue(queue.get(), &fd, &user_data) == 1);
        CHECK(client.is_served_by(UniqueFd(fd).get()));
        return user_data;
    }
    std::uint32_t length() const {
        std::uint32_t out = 0;
        REQUIRE(rp_handoff_queue_get_length(queue.get(), &out) == RP_HANDOFF_OK);
        return out;
    }
    std::uint32_t expire() const {
        std::uint32_t out = 0;
        REQUIRE(rp_handoff_queue_expire(queue.get(), &out) == RP_HANDOFF_OK);
        return out;
    }

    std::uint64_t now = 1000 * second;
    ClientConnection client;
    Queue queue;
};

std::int32_t status_of(std::uint32_t capacity) {
    auto options = sized<rp_handoff_queue_options>();
    options.capacity = capacity;
    Out<rp_handoff_queue *> queue;
    const std::int32_t status = rp_handoff_queue_create(&options, queue.get(), nullptr);
    CHECK(queue.untouched() == (status != RP_HANDOFF_OK));
    rp_handoff_queue_destroy(status == RP_HANDOFF_OK ? queue.value : nullptr);
    return status;
}

} // namespace

TEST_CASE("who waited longest goes first") {
    Timed timed;
    for (std::uint64_t i = 1; i <= 3; ++i) {
        CHECK(timed.enqueue(i) == RP_HANDOFF_OK);
    }
    CHECK(timed.length() == 3);
    for (std::uint64_t i = 1; i <= 3; ++i) {
        CHECK(timed.dequeue() == i);
    }
    Out<std::int32_t> fd;
    Out<std::uint64_t> user_data;
    CHECK(rp_handoff_queue_dequeue(timed.queue.get(), fd.get(), user_data.get()) == 0);
    CHECK(fd.untouched());
    CHECK(user_data.untouched());
}

TEST_CASE("a queue holds 64 by default, and what does not fit is still the caller's") {
    Timed timed;
    for (int i = 0; i < 64; ++i) {
        REQUIRE(timed.enqueue() == RP_HANDOFF_OK);
    }
    const Descriptors before = open_descriptors();
    CHECK(timed.enqueue() == RP_HANDOFF_ERR_LIMIT);
    CHECK(open_descriptors() == before);
    CHECK(timed.length() == 64);
}

TEST_CASE("a queue holds as many as it is told to") {
    auto options = sized<rp_handoff_queue_options>();
    options.capacity = 1;
    Timed timed(options);
    CHECK(timed.enqueue(1) == RP_HANDOFF_OK);
    CHECK(timed.enqueue(2) == RP_HANDOFF_ERR_LIMIT);
    timed.now += ttl; // expired entries make room first
    CHECK(timed.enqueue(3) == RP_HANDOFF_OK);
    CHECK(timed.dequeue() == 3);
}

TEST_CASE("after 100 ms by default an entry is dropped and its descriptor closed, on the nanosecond") {
    Timed timed;
    CHECK(timed.enqueue(1) == RP_HANDOFF_OK);
    timed.client.fd.reset();
    timed.now += ttl - 1;
    CHECK(timed.expire() == 0);
    CHECK_FALSE(is_at_end(timed.client.client.get()));
    ++timed.now;
    CHECK(timed.length() == 1); // not dropped yet
    CHECK(timed.expire() == 1);
    CHECK(timed.length() == 0);
    CHECK(is_at_end(timed.client.client.get()));
}

TEST_CASE("dequeue passes over what has expired") {
    Timed timed;
    CHECK(timed.enqueue(1) == RP_HANDOFF_OK);
    ++timed.now;
    CHECK(timed.enqueue(2) == RP_HANDOFF_OK);
    timed.now += ttl - 1;
    CHECK(timed.dequeue() == 2);
    CHECK(timed.length() == 0);
}

TEST_CASE("a clock that was set back drops what is due, wherever it stands in the queue") {
    Timed timed;
    CHECK(timed.enqueue(1) == RP_HANDOFF_OK);
    timed.now -= 50;
    CHECK(timed.enqueue(2) == RP_HANDOFF_OK);
    timed.now += ttl;
    CHECK(timed.expire() == 1);
    CHECK(timed.dequeue() == 1);
}

TEST_CASE("a life that does not fit into time is the longest there is") {
    auto options = sized<rp_handoff_queue_options>();
    options.ttl_ns = UINT64_MAX;
    Timed timed(options);
    CHECK(timed.enqueue() == RP_HANDOFF_OK);
    CHECK(timed.expire() == 0);
}

TEST_CASE("destroy closes what still waits") {
    const Descriptors before = open_descriptors();
    {
        Timed timed;
        CHECK(timed.enqueue() == RP_HANDOFF_OK);
        timed.client.fd.reset();
        timed.queue.reset();
        CHECK(is_at_end(timed.client.client.get()));
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("a queue's arguments are checked, and results are left alone") {
    const Queue queue = make_queue();
    CHECK(status_of(1048576) == RP_HANDOFF_OK);
    CHECK(status_of(1048577) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp_handoff_queue_create(nullptr, nullptr, nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp_handoff_queue_enqueue(queue.get(), -1, 0) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp_handoff_queue_enqueue(queue.get(), INT32_MIN, 0) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    Out<std::uint64_t> user_data;
    CHECK(rp_handoff_queue_dequeue(queue.get(), nullptr, user_data.get()) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(user_data.untouched());
    CHECK(rp_handoff_queue_expire(queue.get(), nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp_handoff_queue_get_length(queue.get(), nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
}

TEST_CASE("queue options may be of another size, or none") {
    check_input(sized<rp_handoff_queue_options>(), [](const rp_handoff_queue_options *options) {
        rp_handoff_queue *queue = nullptr;
        const std::int32_t status = rp_handoff_queue_create(options, &queue, nullptr);
        rp_handoff_queue_destroy(queue);
        return status;
    });
    rp_handoff_queue *queue = nullptr;
    CHECK(rp_handoff_queue_create(nullptr, &queue, nullptr) == RP_HANDOFF_OK);
    const Queue owner(queue);
}
