// What a session is done with is closed in its order, each kind as it has to be.
#include "session/discards.hpp"

#include <doctest/doctest.h>

#include "support/linger.hpp"

using namespace rp::handoff;
using namespace rp::handoff::session;
using namespace rp::test;

namespace {

using Kind = Discards::Kind;

// A socket that says that it lingers, and whose close does not wait. `copy` is what is looked at.
struct Shared {
    Shared() {
        const Front front(ClientKind::tcp);
        client = front.connect();
        fd = front.accept();
        const linger option{1, 1};
        REQUIRE(setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &option, sizeof option) == 0);
        copy.reset(dup(fd.get()));
    }
    UniqueFd client;
    UniqueFd fd;
    UniqueFd copy;
};

bool is_there(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

void close_all(Discards &discards) {
    while (!discards.empty()) {
        discards.take().close();
    }
}

} // namespace

TEST_CASE("what came unasked loses its SO_LINGER before it is closed, and what the other side may own keeps it") {
    for (const Kind kind : {Kind::stray, Kind::shared, Kind::refused}) {
        CAPTURE(static_cast<int>(kind));
        Shared shared;
        Discards discards(4);
        const int fd = shared.fd.get();
        discards.add(std::move(shared.fd), kind);
        CHECK(is_there(fd)); // until it is taken and closed
        close_all(discards);
        CHECK_FALSE(is_there(fd));
        CHECK(lingers(shared.copy.get()) == (kind != Kind::stray));
    }
}

TEST_CASE("a socket of the session's is emptied: closed, or kept where what lies at its other end still counts") {
    for (const Kind kind : {Kind::own, Kind::remains}) {
        CAPTURE(static_cast<int>(kind));
        Shared shared;
        SocketPair pair;
        const int own = pair.a.get();
        send_message(pair.b.get(), {'x'}, shared.fd.get(), 1);
        shared.fd.reset();
        Discards discards(4);
        discards.add(std::move(pair.a), kind);
        close_all(discards);
        CHECK_FALSE(lingers(shared.copy.get())); // it was taken out
        CHECK(is_there(own) == (kind == Kind::remains));
        char byte = 0;
        if (kind == Kind::remains) {
            CHECK(recv(own, &byte, 1, MSG_DONTWAIT) == 0); // nothing, and receiving has ended
            UniqueFd(own).reset();
        }
    }
}

TEST_CASE("offers that lie unread in a socket keep their SO_LINGER: the broker has them again") {
    Shared shared;
    SocketPair pair;
    const int own = pair.a.get();
    send_message(pair.b.get(), {'x'}, shared.fd.get(), 1);
    shared.fd.reset();
    Discards discards(4);
    discards.add(std::move(pair.a), Kind::with_offers);
    close_all(discards);
    CHECK_FALSE(is_there(own));
    CHECK(lingers(shared.copy.get()));
}

TEST_CASE("discards are taken in the order in which they came, so many at a time, with their places") {
    constexpr Index count = 150;
    Discards discards(count);
    for (Index i = 0; i < count; ++i) {
        discards.add(UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)), i % 2 == 0 ? Kind::refused : Kind::stray, i);
    }
    Index next = 0;
    while (!discards.empty()) {
        Discards::Batch batch = discards.take();
        REQUIRE(batch.count > 0);
        CHECK(batch.count <= batch.entries.size());
        for (std::size_t n = 0; n < batch.count; ++n, ++next) {
            CHECK(batch.entries[n].place == next);
            CHECK(batch.entries[n].kind == (next % 2 == 0 ? Kind::refused : Kind::stray));
        }
        batch.close();
    }
    CHECK(next == count);
    CHECK(discards.take().count == 0);
}

TEST_CASE("no descriptor is no discard, and one beyond the room that there is is closed rather than kept") {
    Discards discards(1);
    discards.add(UniqueFd());
    CHECK(discards.empty());
    UniqueFd first(open("/dev/null", O_RDONLY | O_CLOEXEC));
    UniqueFd next(open("/dev/null", O_RDONLY | O_CLOEXEC));
    const int beyond = next.get();
    discards.add(std::move(first));
    discards.add(std::move(next));
    CHECK_FALSE(is_there(beyond));
    Discards::Batch batch = discards.take();
    CHECK(batch.count == 1);
    batch.close();
}

TEST_CASE("what nobody took is closed with the object") {
    UniqueFd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    const int number = fd.get();
    {
        Discards discards(1);
        discards.add(std::move(fd));
    }
    CHECK_FALSE(is_there(number));
}
