#include "handoff/pending_queue.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <memory>
#include <new>
#include <optional>
#include <random>
#include <vector>

#include "base/unique_fd.hpp"
#include "support/allocations.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::at;
using rp::test::ns;

namespace {

using Numbers = PendingQueue<int>;

template <class Payload>
Status put(PendingQueue<Payload> &queue, Payload payload, std::uint64_t now) {
    return queue.enqueue_with(at(now), [&payload] { return std::move(payload); });
}

UniqueFd some_descriptor() {
    UniqueFd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    REQUIRE(fd);
    return fd;
}

bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

} // namespace

TEST_CASE("what was enqueued first is dequeued first") {
    Numbers queue(3, ns(100));
    CHECK(queue.is_empty());
    for (const int i : {1, 2, 3}) {
        CHECK(put(queue, i, 0) == Status::ok);
    }
    CHECK(queue.pending_len() == 3);
    for (const int i : {1, 2, 3}) {
        CHECK(queue.dequeue(at(1)) == i);
    }
    CHECK_FALSE(queue.dequeue(at(1)));
    CHECK(queue.is_empty());
}

TEST_CASE("a full queue refuses one more, which is not even made, and stays as it was") {
    Numbers queue(2, ns(100));
    put(queue, 1, 0);
    put(queue, 2, 0);
    bool made = false;
    const auto make = [&made] {
        made = true;
        return 3;
    };
    CHECK(queue.enqueue_with(at(99), make) == Status::limit);
    CHECK_FALSE(made);
    CHECK(queue.pending_len() == 2);
    CHECK(queue.dequeue(at(99)) == 1);
    CHECK(put(queue, 4, 99) == Status::ok);
    CHECK(queue.dequeue(at(99)) == 2);
    CHECK(queue.dequeue(at(99)) == 4);
}

TEST_CASE("what has expired makes room for what comes") {
    Numbers queue(1, ns(100));
    put(queue, 1, 0);
    CHECK(put(queue, 2, 99) == Status::limit);
    CHECK(put(queue, 2, 100) == Status::ok);
    CHECK(queue.dequeue(at(100)) == 2);
}

TEST_CASE("an entry is dequeued one nanosecond before its time is over, and not at that instant") {
    Numbers queue(2, ns(100));
    put(queue, 1, 1000);
    CHECK(queue.dequeue(at(1099)) == 1);
    put(queue, 2, 1000);
    CHECK_FALSE(queue.dequeue(at(1100)));
    CHECK(queue.is_empty());
}

TEST_CASE("expiring tells how many were dropped, and looking at the length drops nothing") {
    Numbers queue(8, ns(100));
    for (const int i : {0, 10, 20, 30}) {
        put(queue, i, static_cast<std::uint64_t>(i));
    }
    CHECK(queue.expire(at(99)) == 0);
    CHECK(queue.pending_len() == 4);
    CHECK_FALSE(queue.is_empty());
    CHECK(queue.expire(at(110)) == 2);
    CHECK(queue.expire(at(110)) == 0);
    CHECK(queue.pending_len() == 2);
    CHECK(queue.dequeue(at(110)) == 20);
    CHECK(queue.expire(at(UINT64_MAX)) == 1);
}

TEST_CASE("after the clock was set back entries expire in the middle and at the end of the queue too") {
    Numbers queue(8, ns(100));
    put(queue, 1, 1000); // until 1100
    put(queue, 2, 500);  // until 600
    put(queue, 3, 550);  // until 650
    put(queue, 4, 400);  // until 500
    CHECK(queue.expire(at(499)) == 0);
    CHECK(queue.expire(at(500)) == 1);
    CHECK(queue.expire(at(600)) == 1);
    CHECK(queue.pending_len() == 2);
    CHECK(queue.dequeue(at(600)) == 1); // still in the order in which they came
    CHECK(queue.dequeue(at(600)) == 3);
}

TEST_CASE("an entry behind the head that has expired makes room, and is not dequeued") {
    Numbers queue(2, ns(100));
    put(queue, 1, 1000);
    put(queue, 2, 500);
    CHECK(put(queue, 3, 599) == Status::limit);
    CHECK(put(queue, 3, 600) == Status::ok);
    CHECK(queue.dequeue(at(600)) == 1);
    CHECK(queue.dequeue(at(600)) == 3);
    CHECK_FALSE(queue.dequeue(at(600)));
}

TEST_CASE("a time to live that does not fit is over at once") {
    Numbers queue(2, ns(UINT64_MAX));
    CHECK(put(queue, 1, 0) == Status::ok); // just fits
    CHECK(queue.dequeue(at(UINT64_MAX - 1)) == 1);
    CHECK(put(queue, 2, 1) == Status::ok);
    CHECK_FALSE(queue.dequeue(at(1)));
    CHECK(put(queue, 3, 5) == Status::ok);
    CHECK(queue.dequeue(at(4)) == 3); // before that, by a clock that was set back
}

TEST_CASE("limits of zero are taken for the least, and the defaults are 64 entries of 100 milliseconds") {
    Numbers least(0, ns(0));
    CHECK(put(least, 1, 0) == Status::ok);
    CHECK(put(least, 2, 0) == Status::limit);
    CHECK(least.expire(at(999'999)) == 0);
    CHECK(least.expire(at(1'000'000)) == 1);

    Numbers queue;
    for (int i = 0; i < 64; ++i) {
        CHECK(put(queue, i, 0) == Status::ok);
    }
    CHECK(put(queue, 64, 0) == Status::limit);
    CHECK(queue.expire(at(99'999'999)) == 0);
    CHECK(queue.expire(at(100'000'000)) == 64);
}

TEST_CASE("a descriptor that is dropped is closed, and one that is dequeued is not") {
    UniqueFd fds[3] = {some_descriptor(), some_descriptor(), some_descriptor()};
    const int numbers[3] = {fds[0].get(), fds[1].get(), fds[2].get()};
    {
        PendingQueue<UniqueFd> queue(3, ns(100));
        const std::uint64_t times[3] = {1000, 500, 550};
        for (std::size_t i = 0; i < 3; ++i) {
            CHECK(put(queue, std::move(fds[i]), times[i]) == Status::ok);
        }
        CHECK(queue.expire(at(600)) == 1); // the one in the middle
        CHECK(is_open(numbers[0]));
        CHECK_FALSE(is_open(numbers[1]));
        CHECK(is_open(numbers[2]));
        fds[0] = std::move(*queue.dequeue(at(600)));
    }
    CHECK(is_open(numbers[0]));
    CHECK(fds[0].get() == numbers[0]);
    CHECK_FALSE(is_open(numbers[2])); // with the queue
}

TEST_CASE("an entry for which there is no memory leaves queue and descriptor as they were") {
    PendingQueue<UniqueFd> queue(1000, ns(100));
    for (;;) {
        UniqueFd fd = some_descriptor();
        const std::size_t before = queue.pending_len();
        REQUIRE(before < 1000);
        const rp::test::FailAllocation fail(0);
        try {
            queue.enqueue_with(at(0), [&fd] { return std::move(fd); });
            CHECK_FALSE(fd);
            CHECK(queue.pending_len() == before + 1);
        } catch (const std::bad_alloc &) {
            CHECK(fd);
            CHECK(queue.pending_len() == before);
            CHECK(queue.expire(at(99)) == 0);
            CHECK(queue.expire(at(100)) == before);
            return;
        }
    }
}

TEST_CASE("a queue does what a list does, with a clock that runs backwards at times") {
    std::mt19937 random(20240229);
    const auto below = [&random](unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(random); };
    struct Entry {
        int payload;
        std::uint64_t expires_at;
    };
    Numbers queue(16, ns(50));
    std::vector<Entry> model;
    std::uint64_t now = 1000;
    for (int step = 0; step < 20'000; ++step) {
        now = below(20) == 0 ? now - below(100) : now + below(8);
        const std::size_t before = model.size();
        model.erase(std::remove_if(model.begin(), model.end(), [now](const Entry &e) { return e.expires_at <= now; }),
                    model.end());
        const unsigned what = below(8);
        if (what == 0) {
            REQUIRE(queue.expire(at(now)) == before - model.size());
        } else if (what < 3) {
            const std::optional<int> got = queue.dequeue(at(now));
            REQUIRE(got.has_value() == !model.empty());
            if (got) {
                REQUIRE(*got == model.front().payload);
                model.erase(model.begin());
            }
        } else {
            const Status status = put(queue, step, now);
            REQUIRE(status == (model.size() < 16 ? Status::ok : Status::limit));
            if (status == Status::ok) {
                model.push_back({step, now + 50});
            }
        }
        REQUIRE(queue.pending_len() == model.size());
        now = std::max<std::uint64_t>(now, 500);
    }
}
