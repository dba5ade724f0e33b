// How many descriptors lie in backends' queues, by the kernel's own word: peers that read, do not, die or are forked.
#include "handoff/in_flight.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "os/descriptor.hpp"
#include "os/message_memory.hpp"
#include "support/process.hpp"

using namespace rp::handoff;
using rp::test::Child;
using rp::test::SocketPair;

namespace {

constexpr std::size_t size = 72; // of a message with one offer

std::atomic<int> questions{0};

std::uint64_t counted_question(int socket) noexcept {
    ++questions;
    return os::unread_memory(socket);
}

// A message with so many copies of a descriptor.
bool send_message(int socket, std::size_t bytes, std::size_t count, int fd) {
    std::vector<std::uint8_t> body(bytes);
    alignas(cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))] = {};
    iovec piece{body.data(), bytes};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr *const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (std::size_t i = 0; i < count; ++i) {
        std::memcpy(CMSG_DATA(header) + i * sizeof fd, &fd, sizeof fd);
    }
    return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == static_cast<ssize_t>(bytes);
}

// Receives so many bytes, and closes what comes with them.
std::size_t read_some(int socket, std::size_t bytes, bool wait = false) {
    std::vector<std::uint8_t> into(bytes);
    os::Ancillary beside;
    std::size_t got = 0;
    while (got < bytes) {
        const os::Moved moved = os::receive_message(socket, into.data(), bytes - got, wait, beside);
        if (moved.bytes == 0) {
            break;
        }
        got += moved.bytes;
        beside.clear();
    }
    return got;
}

// A session over a real socket pair.
class Real {
  public:
    Real(InFlight &all, std::uint32_t allowance, std::string_view path) : account(all.open(path, allowance)) {
        REQUIRE(account->join(1, pair.a.get(), allowance));
    }
    Real(const Real &) = delete;
    Real &operator=(const Real &) = delete;
    ~Real() {
        pair.b.reset();
        if (account != nullptr) {
            leave();
        }
    }

    std::uint32_t offer(std::uint32_t count) const {
        std::uint32_t queued = 0;
        while (queued < count && account->acquire()) {
            ++queued;
        }
        const std::uint32_t room = account->room(queued);
        for (std::uint32_t i = 0; i < room; ++i) {
            REQUIRE(send_message(pair.a.get(), size, 1, STDIN_FILENO));
            account->sent(1, size);
        }
        account->give_back(queued - room);
        return room;
    }
    bool read(std::size_t messages = 1) const { return read_some(pair.b.get(), messages * size) == messages * size; }
    void leave() {
        account->leave(std::move(pair.a));
        account.reset();
    }

    SocketPair pair;
    std::shared_ptr<InFlight::Account> account;
};

struct World {
    explicit World(std::uint64_t limit) : all(limit, counted_question, os::measure_message_memory()) { questions = 0; }
    World(const World &) = delete;
    World &operator=(const World &) = delete;
    InFlight all;
};

} // namespace

TEST_CASE("a message takes no less of the kernel's memory than is reckoned with, and a short one exactly that") {
    const MessageMemory measured = os::measure_message_memory();
    const MessageMemory unmeasured;
    for (std::size_t bytes = 1; bytes < 70000; bytes += bytes < 2000 ? 7 : 1999) {
        CAPTURE(bytes);
        for (const std::size_t count : {1U, 252U}) {
            const SocketPair pair;
            REQUIRE(send_message(pair.a.get(), bytes, count, STDIN_FILENO));
            const std::uint64_t taken = os::unread_memory(pair.a.get());
            CHECK(taken >= measured.at_least(bytes));
            CHECK(taken >= unmeasured.at_least(bytes));
            if (bytes <= MessageMemory::step * MessageMemory::steps) {
                CHECK(taken == measured.at_least(bytes));
            }
            CHECK(read_some(pair.b.get(), bytes) == bytes);
            CHECK(os::unread_memory(pair.a.get()) == 0);
        }
    }
}

TEST_CASE("a backend that reads and answers keeps its whole window, however few it reads at a time") {
    World world(1000);
    const Real session(world.all, 256, "/a");
    REQUIRE(session.offer(256) == 256);
    const std::uint32_t seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937 dice(seed);
    std::uint32_t answered = 0;
    while (answered < 3000) {
        const auto count = static_cast<std::uint32_t>(1 + dice() % 8);
        REQUIRE(session.read(count));
        session.account->answered(count);
        answered += count;
        REQUIRE(session.offer(count + 1) == count);
    }
}

TEST_CASE("a pipelined backend that keeps up costs a question in as many handoffs as its window holds") {
    World world(1000);
    const Real session(world.all, 256, "/a");
    for (int round = 0; round < 100; ++round) {
        REQUIRE(session.offer(100) == 100);
        REQUIRE(session.read(100));
        session.account->answered(100);
    }
    CHECK(questions <= 10'000 / (256 - 100));
}

TEST_CASE("a backend that answers what it did not read gets its allowance and no more, and others what is theirs") {
    World world(100);
    const Real hostile(world.all, 50, "/hostile");
    const Real honest(world.all, 50, "/honest");
    std::uint32_t taken = 0;
    for (int round = 0; round < 300; ++round) {
        const std::uint32_t sent = hostile.offer(20);
        hostile.account->answered(sent);
        taken += sent;
        REQUIRE(honest.offer(50) == 50);
        REQUIRE(honest.read(50));
        honest.account->answered(50);
    }
    CHECK(taken == 50);
    CHECK(hostile.read(3));
    CHECK(hostile.offer(20) == 3);
}

TEST_CASE("one byte of a message read, and its descriptors are taken") {
    World world(10);
    const Real session(world.all, 2, "/a");
    REQUIRE(session.offer(2) == 2);
    session.account->answered(2);
    CHECK(session.offer(2) == 0);
    REQUIRE(read_some(session.pair.b.get(), size + 1) == size + 1);
    CHECK(session.offer(2) == 1); // the second message takes its memory until it is read to its end
    REQUIRE(session.read());
    session.account->answered(1);
    CHECK(session.offer(2) == 1);
}

TEST_CASE("a batch that the kernel cuts into several pieces is proven with its first") {
    World world(1000);
    const Real session(world.all, 300, "/a");
    constexpr std::size_t bytes = 70000;
    for (int i = 0; i < 252; ++i) {
        REQUIRE(session.account->acquire());
    }
    REQUIRE(session.account->room(252) == 252);
    REQUIRE(send_message(session.pair.a.get(), bytes, 252, STDIN_FILENO));
    session.account->sent(252, bytes);
    session.account->answered(252);
    CHECK(session.account->room(300) == 48);
    REQUIRE(read_some(session.pair.b.get(), 40000) == 40000);
    CHECK(session.account->room(300) == 300);
}

TEST_CASE("a peer that looks at messages without taking them has not read them") {
    World world(10);
    const Real session(world.all, 2, "/a");
    REQUIRE(session.offer(2) == 2);
    char bytes[2 * size];
    REQUIRE(recv(session.pair.b.get(), bytes, sizeof bytes, MSG_PEEK) > 0);
    session.account->answered(2);
    CHECK(session.offer(1) == 0);
}

TEST_CASE("what a backend left unread when it died is given back at the bound, whether its session has ended or not") {
    for (const bool ended : {false, true}) {
        CAPTURE(ended);
        World world(10);
        Real dying(world.all, 10, "/a");
        const Real other(world.all, 10, "/b");
        REQUIRE(dying.offer(10) == 10);
        dying.account->answered(10);
        Child backend([&](const rp::test::Wire &wire) { wire.hear(); });
        if (ended) {
            dying.leave();
        }
        CHECK(other.offer(1) == 0);
        dying.pair.b.reset();
        CHECK(other.offer(10) == 0); // a fork of it still holds the end
        backend.signal(SIGKILL);
        backend.wait();
        CHECK(other.offer(10) == 10);
    }
}

TEST_CASE("a backend whose own end lies in our queue is gone once that was drained") {
    World world(10);
    Real session(world.all, 10, "/a");
    const Real other(world.all, 10, "/b");
    REQUIRE(session.offer(10) == 10);
    REQUIRE(send_message(session.pair.b.get(), 8, 1, session.pair.b.get()));
    session.pair.b.reset();
    SUBCASE("drained") {
        REQUIRE(shutdown(session.pair.a.get(), SHUT_RDWR) == 0);
        REQUIRE(read_some(session.pair.a.get(), 8) == 8);
        session.leave();
        CHECK(other.offer(10) == 10);
    }
    SUBCASE("and otherwise is not") { // which is why leave asks for it
        session.leave();
        CHECK(other.offer(10) == 0);
    }
}

TEST_CASE("sessions of many threads share a limit, and nothing is lost between them") {
    World world(64);
    std::atomic<bool> over{false};
    std::atomic<std::uint64_t> most{0};
    std::vector<std::thread> threads;
    for (int number = 0; number < 4; ++number) {
        threads.emplace_back([&, number] {
            std::minstd_rand dice(static_cast<std::uint32_t>(number + 1));
            while (!over) {
                Real session(world.all, 24, number % 2 == 0 ? "/even" : "/odd");
                for (int round = 0; round < 50; ++round) {
                    const std::uint32_t sent = session.offer(1 + static_cast<std::uint32_t>(dice() % 24));
                    session.account->answered(sent); // for one in two, before it is read
                    session.read(number % 2 == 0 ? sent : dice() % (sent + 1));
                    most = std::max(most.load(), world.all.count());
                }
            }
        });
    }
    for (int tries = 0; tries < 20000; ++tries) { // beside them
        const auto account = world.all.open("/third", 8);
        if (account->acquire()) {
            account->give_back(1);
        }
        account->leave({});
    }
    over = true;
    for (std::thread &thread : threads) {
        thread.join();
    }
    CHECK(most <= 64);
    const Real last(world.all, 64, "/last");
    CHECK(last.offer(64) == 64); // all that was left has been given back
}

namespace {

std::atomic<bool> is_asking{false};
std::atomic<bool> may_answer{false};

std::uint64_t slow_question(int) noexcept {
    is_asking = true;
    while (!may_answer) {
        std::this_thread::yield();
    }
    return 1 << 20;
}

} // namespace

TEST_CASE("a forked child frees everything while a thread of its parent asks the kernel, and waits for nobody") {
    auto all = std::make_unique<InFlight>(2, slow_question);
    SocketPair ended_pair;
    SocketPair pair;
    auto ended = all->open("/a", 1);
    auto living = all->open("/b", 1);
    may_answer = true;
    REQUIRE(ended->join(1, ended_pair.a.get(), 1));
    REQUIRE(ended->acquire());
    ended->sent(1, size);
    ended->leave(std::move(ended_pair.a));
    REQUIRE(living->join(1, pair.a.get(), 1));
    REQUIRE(living->acquire());
    may_answer = false;
    is_asking = false;
    auto third = all->open("/c", 1);
    std::thread asking([&] { third->acquire(); });
    while (!is_asking) {
        std::this_thread::yield();
    }
    Child child([&](const rp::test::Wire &) {
        ended.reset();
        living.reset();
        all.reset();
    });
    CHECK(child.wait() == 0);
    may_answer = true;
    asking.join();
    third->leave({});
    living->leave(std::move(pair.a));
}
