// How many descriptors lie in backends' queues: every bound, by a kernel that the test plays.
#include "handoff/in_flight.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <fcntl.h>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/socket_pair.hpp"

using namespace rp::handoff;
using rp::test::SocketPair;

namespace {

// What the kernel would say of each socket, and how often it was asked.
struct Kernel {
    std::map<int, std::uint64_t> unread;
    int questions = 0;
    std::function<void()> meanwhile; // what another thread does as soon as the answer is known
};
Kernel kernel;

std::uint64_t ask_kernel(int socket) noexcept {
    ++kernel.questions;
    const std::uint64_t unread = kernel.unread[socket];
    if (kernel.meanwhile) {
        std::exchange(kernel.meanwhile, nullptr)();
    }
    return unread;
}

constexpr std::uint64_t message = 768; // takes one of these sessions' in this kernel
constexpr std::uint64_t size = 72;

MessageMemory memory_of_this_kernel() {
    MessageMemory memory;
    memory.measured.fill(message);
    return memory;
}

// A session with a backend that reads and answers when it is told to.
class Played {
  public:
    Played(InFlight &all, std::uint32_t allowance, std::string_view path = "/a", std::uint32_t uid = 1)
        : account(all.open(path, allowance)) {
        kernel.unread[socket] = 0;
        is_let_in = account->join(uid, pair.a.get(), allowance);
    }
    Played(const Played &) = delete;
    Played &operator=(const Played &) = delete;
    ~Played() {
        if (account != nullptr) {
            read(UINT32_MAX);
            leave();
        }
    }

    // How many of so many are queued.
    std::uint32_t queue(std::uint32_t count) const {
        std::uint32_t queued = 0;
        while (queued < count && account->acquire()) {
            ++queued;
        }
        return queued;
    }
    // Each a message of its own, as far as there is room; how many.
    std::uint32_t send(std::uint32_t count) const {
        const std::uint32_t room = account->room(count);
        for (std::uint32_t i = 0; i < room; ++i) {
            account->sent(1, size);
            kernel.unread[socket] += message;
        }
        return room;
    }
    std::uint32_t offer(std::uint32_t count) const { return send(queue(count)); }
    void read(std::uint32_t messages) const {
        std::uint64_t &unread = kernel.unread[socket];
        unread -= std::min(unread, messages * message);
    }
    void answer(std::uint32_t count) const { account->answered(count); }
    void leave() {
        account->leave(std::move(pair.a));
        account.reset();
    }

    SocketPair pair;
    const int socket = pair.a.get();
    std::shared_ptr<InFlight::Account> account;
    bool is_let_in = false;
};

struct World {
    explicit World(std::uint64_t limit) : all(limit, ask_kernel, memory_of_this_kernel()) { kernel = {}; }
    World(const World &) = delete;
    World &operator=(const World &) = delete;
    InFlight all;
};

} // namespace

TEST_CASE("over all sessions no more is queued or in flight than the limit") {
    World world(10);
    Played a(world.all, 8, "/a");
    Played b(world.all, 8, "/b");
    CHECK(a.offer(6) == 6);
    CHECK(b.queue(5) == 4); // 10
    CHECK(world.all.count() == 10);
    CHECK(a.queue(1) == 0);
    b.account->give_back(1);
    CHECK(a.queue(2) == 1);
    b.account->give_back(3);
    a.account->give_back(1);
    CHECK(world.all.count() == 6);
}

TEST_CASE("a session has no more in flight than its allowance, and counts no more than that") {
    World world(100);
    Played a(world.all, 4);
    CHECK(a.queue(9) == 9); // its slots are the session's matter
    CHECK(world.all.count() == 4);
    CHECK(a.send(9) == 4);
    CHECK(a.send(5) == 0);
    a.read(1);
    CHECK(a.send(5) == 0); // read, and not answered
    a.answer(1);
    CHECK(a.send(5) == 1);
    CHECK(world.all.count() == 4);
    a.account->give_back(4);
    CHECK(world.all.count() == 4);
}

TEST_CASE("an answer to what was not read frees nothing, neither in its session nor for others") {
    World world(12);
    Played hostile(world.all, 8, "/hostile");
    Played honest(world.all, 8, "/honest");
    CHECK(hostile.offer(8) == 8);
    hostile.answer(8);
    CHECK(hostile.queue(8) == 8); // as it has answered, its slots are free
    CHECK(hostile.send(8) == 0);
    CHECK(honest.offer(8) == 4);
    honest.read(4);
    honest.answer(4);
    CHECK(honest.offer(4) == 4); // what it answers and reads is its own again, for ever
    hostile.read(3);
    CHECK(hostile.send(8) == 3);
    hostile.account->give_back(5);
}

TEST_CASE("what was read and not answered is in flight for a living session, and is not for an ended one") {
    World world(4);
    Played a(world.all, 4, "/a");
    Played b(world.all, 4, "/b");
    CHECK(a.offer(4) == 4);
    a.read(4);
    CHECK(b.queue(1) == 0);
    a.leave();
    CHECK(world.all.count() == 0);
    CHECK(b.queue(5) == 5);
}

TEST_CASE("what an ended session left unread stays counted until it is read, message by message") {
    World world(5);
    Played a(world.all, 4, "/a");
    Played b(world.all, 9, "/b");
    CHECK(a.offer(4) == 4);
    a.read(1);
    const int socket = a.socket;
    a.leave();
    CHECK(fcntl(socket, F_GETFD) >= 0); // kept for asking
    CHECK(b.queue(9) == 2);
    for (std::uint64_t left = 3; left > 0; --left) {
        kernel.unread[socket] = (left - 1) * message;
        CHECK(b.queue(9) == 1);
    }
    CHECK(fcntl(socket, F_GETFD) < 0);
    CHECK(world.all.count() == 5);
    b.account->give_back(5);
    CHECK(world.all.count() == 0);
}

TEST_CASE("whoever ends its sessions unread gets no more with the next, and others keep theirs") {
    World world(1000);
    Played before(world.all, 8); // of the same party, and open from the beginning
    Played other(world.all, 8, "/other");
    std::uint32_t left = 0;
    for (int session = 0; session < 5; ++session) {
        Played hostile(world.all, 8);
        left += hostile.offer(8 - left > 3 ? 3 : 8);
        hostile.leave();
    }
    CHECK(left == 8);
    CHECK(world.all.count() == 8);
    Played again(world.all, 8);
    CHECK(again.queue(8) == 8); // they wait
    CHECK(world.all.count() == 8);
    CHECK(again.send(8) == 0);
    CHECK(before.offer(8) == 8);
    CHECK(other.offer(8) == 8);
    again.account->give_back(8);
}

TEST_CASE("what a session sends at its opening buys no room for offers, read or unread, with a debt or without") {
    for (const bool reads : {true, false}) {
        CAPTURE(reads);
        World world(1000);
        for (int session = 0; session < 5; ++session) {
            Played hostile(world.all, 8);
            hostile.account->sent_unqueued(2, size);
            kernel.unread[hostile.socket] += message;
            hostile.read(reads ? 1 : 0);
            CHECK(hostile.queue(8) == 8);
            CHECK(hostile.send(8) == (session == 0 ? 8 : 0));
            CHECK(hostile.send(8) == 0);
            hostile.leave();
        }
        CHECK(world.all.count() == 8 + (reads ? 0 : 5 * 2));
    }
}

TEST_CASE("a message without descriptors is not taken for one with some while it is unread") {
    World world(100);
    Played a(world.all, 4);
    CHECK(a.offer(4) == 4);
    a.answer(4);
    a.read(4);
    a.account->sent(0, 8); // a goodbye
    kernel.unread[a.socket] += message;
    const int socket = a.socket;
    a.leave();
    CHECK(world.all.count() == 0);
    CHECK(fcntl(socket, F_GETFD) < 0);
}

TEST_CASE("what an ended session gives back is room for later sessions of its party, with what they had queued") {
    World world(1000);
    const Played before(world.all, 8);
    Played first(world.all, 8);
    CHECK(first.offer(6) == 6);
    const int socket = first.socket;
    first.leave();
    Played second(world.all, 8);
    Played third(world.all, 4);
    CHECK(second.queue(8) == 8);
    CHECK(second.send(8) == 2);
    CHECK(third.queue(4) == 4);
    CHECK(third.send(4) == 0);
    CHECK(world.all.count() == 8);
    kernel.unread[socket] = 3 * message;
    CHECK(second.send(6) == 3);
    CHECK(third.send(4) == 1);
    CHECK(world.all.count() == 3 + 5 + 1);
    kernel.unread[socket] = 0;
    CHECK(second.send(6) == 3);
    CHECK(third.send(4) == 3);
    CHECK(world.all.count() == 12);
    CHECK(before.offer(8) == 8); // owed nothing
}

TEST_CASE("room that an ended session gives back is counted within the limit") {
    World world(8);
    Played first(world.all, 6, "/a");
    Played other(world.all, 8, "/b");
    CHECK(first.offer(6) == 6);
    const int socket = first.socket;
    first.leave();
    Played second(world.all, 6, "/a");
    CHECK(second.queue(6) == 6);
    CHECK(other.queue(8) == 2);
    kernel.unread[socket] = 0;
    CHECK(other.queue(3) == 3); // takes of the six that are free now
    CHECK(second.send(6) == 3);
    CHECK(world.all.count() == 8);
    other.account->give_back(5);
    CHECK(second.send(3) == 3);
    CHECK(world.all.count() == 6);
}

TEST_CASE("a party is a path, or a uid where there is no path") {
    World world(1000);
    const auto leave_two = [&](std::string_view path, std::uint32_t uid) {
        Played ended(world.all, 2, path, uid);
        CHECK(ended.offer(2) == 2);
        ended.leave();
    };
    leave_two("/a", 1);
    leave_two("", 7);
    const auto room_of = [&](std::string_view path, std::uint32_t uid) {
        Played session(world.all, 2, path, uid);
        return session.offer(2);
    };
    CHECK(room_of("/a", 1) == 0);
    CHECK(room_of("/a", 2) == 0);
    CHECK(room_of("/b", 1) == 2);
    CHECK(room_of("", 7) == 0);
    CHECK(room_of("", 8) == 2);
    CHECK(room_of("", 1) == 2);
}

TEST_CASE("a party may leave so many ended sessions with something unread, and then opens no more") {
    World world(10000);
    std::vector<int> sockets;
    for (std::uint32_t i = 0; i < InFlight::ended_per_party; ++i) {
        Played session(world.all, 4);
        REQUIRE(session.is_let_in);
        session.account->sent_unqueued(2, 12); // the ledger's
        kernel.unread[session.socket] += message;
        sockets.push_back(session.socket);
        session.leave();
    }
    CHECK(world.all.count() == 2 * InFlight::ended_per_party);
    {
        Played one_more(world.all, 4);
        CHECK_FALSE(one_more.is_let_in);
        CHECK(one_more.queue(1) == 1);
        CHECK(one_more.send(1) == 0);
        Played other(world.all, 4, "/other");
        CHECK(other.is_let_in);
    }
    CHECK(world.all.count() == 2 * InFlight::ended_per_party); // also of the one that did not join
    kernel.unread[sockets.back()] = 0;
    int tries = 0;
    for (bool is_let_in = false; !is_let_in; ++tries) {
        REQUIRE(tries <= 8); // a few are asked about at a time
        Played session(world.all, 4);
        is_let_in = session.is_let_in;
    }
    for (const int socket : sockets) {
        kernel.unread[socket] = 0;
    }
}

TEST_CASE("what a session sends at its opening is beside its allowance, and counted") {
    World world(5);
    Played a(world.all, 2);
    a.account->sent_unqueued(2, 12);
    kernel.unread[a.socket] += message;
    CHECK(world.all.count() == 2);
    CHECK(a.offer(2) == 2);
    CHECK(world.all.count() == 4);
    a.read(1);
    Played b(world.all, 8, "/b");
    CHECK(b.queue(8) == 3);
    b.account->give_back(3);
}

TEST_CASE("while nothing is at a bound the kernel is not asked, and at a bound once for all that was answered") {
    World world(100);
    Played a(world.all, 8);
    for (int i = 0; i < 8; ++i) {
        CHECK(a.offer(1) == 1);
        a.read(1);
        a.answer(1);
    }
    CHECK(kernel.questions == 0);
    CHECK(a.offer(1) == 1);
    CHECK(kernel.questions == 1);
    a.read(1);
    a.answer(1);
    for (int i = 1; i <= 80; ++i) {
        CHECK(a.offer(1) == 1);
        a.read(1);
        a.answer(1);
    }
    CHECK(kernel.questions == 11);
}

TEST_CASE("a session whose window is full of what was not answered asks nobody") {
    World world(100);
    Played a(world.all, 8);
    CHECK(a.offer(8) == 8);
    a.read(8);
    CHECK(a.queue(8) == 8);
    CHECK(a.send(8) == 0);
    CHECK(kernel.questions == 0);
    a.answer(2);
    CHECK(a.send(8) == 2);
    CHECK(kernel.questions == 1);
    a.answer(6); // were found to be read at that question
    CHECK(a.send(6) == 6);
    CHECK(kernel.questions == 1);
}

TEST_CASE("at the limit a call asks a few questions about what gives no sign, each time about others") {
    constexpr std::uint32_t ended = 30;
    World world(ended);
    std::vector<int> sockets;
    for (std::uint32_t i = 0; i < ended; ++i) {
        Played session(world.all, 1, "/" + std::to_string(i));
        CHECK(session.offer(1) == 1);
        sockets.push_back(session.socket);
        session.leave();
    }
    Played b(world.all, 8, "/b");
    kernel.questions = 0;
    CHECK(b.queue(1) == 0);
    CHECK(kernel.questions == InFlight::questions_at_once);
    for (const int socket : sockets) { // whichever it is
        kernel.unread[socket] = 0;
        std::uint32_t queued = 0;
        for (int tries = 0; queued == 0; ++tries) {
            REQUIRE(tries < 4);
            queued = b.queue(1);
        }
        b.account->give_back(1);
        Played session(world.all, 1, "/again");
        CHECK(session.offer(1) == 1);
        const int again = session.socket;
        session.leave();
        kernel.unread[again] = 0;
        CHECK(b.queue(0) == 0);
    }
}

TEST_CASE("whatever many sessions hold for good, one whose answers came is found at the limit") {
    World world(200);
    std::vector<std::unique_ptr<Played>> hostile;
    for (int i = 0; i < 90; ++i) {
        hostile.push_back(std::make_unique<Played>(world.all, 2, "/" + std::to_string(i)));
        REQUIRE(hostile.back()->offer(2) == 2);
        hostile.back()->answer(2); // and reads nothing
    }
    const Played honest(world.all, 40, "/honest"); // of which the limit leaves it half
    for (int i = 0; i < 500; ++i) {
        REQUIRE(honest.offer(1) == 1);
        honest.read(1);
        honest.answer(1);
    }
}

TEST_CASE("messages of several descriptors are proven one after the other") {
    World world(100);
    Played a(world.all, 10);
    const auto send_batch = [&](std::uint32_t count) {
        REQUIRE(a.account->room(count) == count);
        a.account->sent(count, size);
        kernel.unread[a.socket] += message;
    };
    CHECK(a.queue(20) == 20);
    send_batch(5);
    send_batch(2);
    send_batch(3);
    a.answer(10);
    CHECK(a.account->room(10) == 0);
    a.read(1);
    CHECK(a.account->room(10) == 5);
    a.read(1);
    CHECK(a.account->room(10) == 7);
    a.read(1);
    CHECK(a.account->room(10) == 10);
    a.account->give_back(10);
}

TEST_CASE("as many of the last messages may be unread as fit into the unread memory") {
    World world(100);
    Played a(world.all, 4);
    CHECK(a.offer(4) == 4);
    a.answer(4);
    const auto room_with = [&](std::uint64_t unread) {
        kernel.unread[a.socket] = unread;
        return a.account->room(4);
    };
    CHECK(room_with(9 * message) == 0); // among it is what is no offer
    CHECK(room_with(4 * message) == 0);
    CHECK(room_with(4 * message - 1) == 1);
    CHECK(room_with(3 * message) == 1);
    CHECK(room_with(3 * message - 1) == 2);
    CHECK(room_with(message) == 3);
    CHECK(room_with(message - 1) == 4);
    CHECK(room_with(0) == 4);
}

TEST_CASE("what leaves while the kernel is asked is not taken for read") {
    World world(100);
    const Played a(world.all, 8);
    const Played b(world.all, 200, "/b");
    CHECK(a.offer(4) == 4);
    a.answer(4);
    a.read(4);
    CHECK(a.queue(4) == 4);
    REQUIRE(a.account->room(4) == 4);
    kernel.meanwhile = [&] { // of another thread, which holds the session's lock
        CHECK(a.send(4) == 4);
        a.answer(4);
    };
    CHECK(b.queue(200) == 100 - 4); // at the limit a is asked about
    CHECK_FALSE(kernel.meanwhile);
    CHECK(world.all.count() == 100);
    CHECK(b.queue(1) == 0);
}

TEST_CASE("where nothing is known of the kernel's memory, evidence is weaker and never wrong") {
    kernel = {};
    InFlight all(100, ask_kernel);
    Played a(all, 8);
    CHECK(a.offer(8) == 8);
    a.answer(8);
    a.read(2);
    CHECK(a.account->room(8) <= 2);
    a.read(5); // one is left
    CHECK(a.account->room(8) == 7);
    a.read(1);
    CHECK(a.account->room(8) == 8);
}

TEST_CASE("messages without number do not outgrow an account's memory of them") {
    World world(100);
    Played a(world.all, 4);
    for (int i = 0; i < 20; ++i) { // more than there was room for
        CHECK(a.account->acquire());
        a.account->sent(1, size);
        kernel.unread[a.socket] += message;
    }
    a.answer(20);
    CHECK(a.account->room(4) == 0);
    a.read(19);
    CHECK(a.account->room(4) == 0);
    a.read(1);
    CHECK(a.account->room(4) == 4);
}

TEST_CASE("an account that did not join gives back what was queued") {
    World world(10);
    const auto account = world.all.open("/a", 4);
    CHECK(account->acquire());
    CHECK(account->acquire());
    CHECK(account->room(2) == 0);
    CHECK(world.all.count() == 2);
    SocketPair pair;
    const int socket = pair.a.get();
    account->leave(std::move(pair.a));
    CHECK(world.all.count() == 0);
    CHECK(fcntl(socket, F_GETFD) < 0);
}

TEST_CASE("both sides agree on less than the allowance, and no more is in flight") {
    World world(100);
    SocketPair pair;
    const auto account = world.all.open("/a", 8);
    for (int i = 0; i < 6; ++i) {
        CHECK(account->acquire());
    }
    CHECK(world.all.count() == 6);
    CHECK(account->join(1, pair.a.get(), 3));
    CHECK(world.all.count() == 3);
    CHECK(account->room(6) == 3);
    account->leave(std::move(pair.a));
    CHECK(world.all.count() == 0);
}

TEST_CASE("nothing but the opening of an account allocates") {
    World world(8);
    Played a(world.all, 4, "/a");
    const Played c(world.all, 8, "/c");
    auto b = world.all.open("", 8);
    SocketPair pair;
    const int socket = pair.a.get();
    kernel.unread[socket] = message;
    const std::size_t before = rp::test::allocations();
    REQUIRE(b->join(5, socket, 8));
    REQUIRE(a.offer(4) == 4);
    REQUIRE(b->acquire());
    REQUIRE(b->room(1) == 1);
    b->sent(1, size);
    b->leave(std::move(pair.a));
    b.reset();
    REQUIRE(c.queue(4) == 3);
    kernel.unread[socket] = 0;
    REQUIRE(c.queue(1) == 1);
    CHECK(rp::test::allocations() == before);
}

TEST_CASE("when a broker ends, sockets that were kept are closed") {
    kernel = {};
    int socket = -1;
    {
        InFlight all(10, ask_kernel, memory_of_this_kernel());
        for (int i = 0; i < 3; ++i) {
            Played a(all, 2);
            a.account->sent_unqueued(2, size);
            kernel.unread[socket = a.socket] = message;
            a.leave();
            CHECK(fcntl(socket, F_GETFD) >= 0);
        }
    }
    CHECK(fcntl(socket, F_GETFD) < 0);
}
