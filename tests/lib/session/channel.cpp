// The way from one side of a session to the other, before a peer that does nothing by itself.
#include "session/channel.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <fcntl.h>

#include "os/connection.hpp"
#include "support/fakes.hpp"
#include "support/interpose.hpp"
#include "support/process.hpp"
#include "support/session_parts.hpp"
#include "wire/framing.hpp"

using namespace rp::handoff;
using namespace rp::handoff::session;
using namespace rp::test;
using parts::Hand;
using parts::Message;

namespace {

using Role = Channel::Role;
using State = Channel::State;

constexpr Duration a_millisecond = std::chrono::milliseconds(1);
constexpr Duration patience = std::chrono::seconds(5); // the default of open_timeout

// A channel, and its peer's hand; time stands still unless the test moves it.
struct Scene {
    explicit Scene(Role own) : Scene(own, SocketPair()) {}
    Scene(Role own, SocketPair pair, const Config &options = {})
        : role(own), channel(over(options, pair.a.get()), own, discards), peer(std::move(pair.b)) {
        REQUIRE(channel.begin(now, why) == Status::ok);
        pair.a.release();
    }
    ~Scene() { channel.end(Status::ok, {}); }

    static Config over(Config options, int fd) {
        options.connection_fd = fd;
        return options;
    }

    // One turn of a side that has nothing to send; the frames that came, which are dropped.
    std::vector<FrameKind> turn(bool done = true) {
        std::vector<FrameKind> kinds;
        channel.read(now);
        while (const std::optional<Link::Frame> frame = channel.next_frame(now)) {
            kinds.push_back(frame->header.kind);
            channel.drop_frame();
        }
        channel.begin_turn(now);
        channel.flush(now);
        channel.begins_sending();
        channel.end_turn(done, now);
        return kinds;
    }

    void open() {
        if (role == Role::broker) {
            REQUIRE(peer.hear().is(FrameKind::hello));
            peer.say(parts::framed(parts::hello_of(Hello::Role::backend)));
            turn();
            Hand::Heard notice = peer.hear();
            REQUIRE(notice.is(FrameKind::ledger));
            REQUIRE(notice.fds.size() == 2);
            aside.emplace(std::move(notice.fds[1]));
        } else {
            peer.say(parts::framed(parts::hello_of(Hello::Role::broker)));
            turn();
            REQUIRE(peer.hear().is(FrameKind::hello));
            Result<Ledger> ledger = Ledger::create(8);
            REQUIRE(ledger);
            SocketPair answers;
            peer.say(parts::ledger_of(8), {ledger->file(), answers.b.get()});
            aside.emplace(std::move(answers.a));
            turn();
        }
        Event event;
        REQUIRE(channel.take_opened(event));
        REQUIRE(event.kind == Event::Kind::opened);
    }
    // Where the peer speaks from then on, and where it hears.
    const Hand &mouth() const { return role == Role::broker ? *aside : peer; }
    const Hand &ear() const { return role == Role::broker ? peer : *aside; }

    std::string end_text() const { return std::string(channel.end_reason().text.view()); }
    bool wants_room() const {
        const Doorbell::Watches watches = channel.watches();
        return watches[0].output || watches[1].output;
    }

    const Role role;
    Instant now = at(1'000'000);
    Discards discards{64};
    Channel channel;
    Hand peer;
    std::optional<Hand> aside;
    Explanation why;
};

constexpr Role roles[] = {Role::broker, Role::backend};

} // namespace

TEST_CASE("a channel opens once, and looks then where the peer speaks and for the end of its process") {
    for (const Role role : roles) {
        CAPTURE(static_cast<int>(role));
        Scene scene(role);
        CHECK(scene.channel.state() == State::greeting);
        CHECK(scene.channel.wake_at() == after(scene.now, patience));
        CHECK_FALSE(scene.channel.has_been_open());
        scene.open();
        CHECK(scene.channel.is_open());
        CHECK(scene.channel.has_been_open());
        CHECK_FALSE(scene.channel.has_event());
        CHECK(scene.channel.wake_at() == end_of_time);
        const Doorbell::Watches watches = scene.channel.watches();
        CHECK(watches[0].input == (role == Role::backend));
        CHECK(watches[1].input == (role == Role::broker));
        CHECK((watches[2].input && watches[2].fd == scene.channel.peer().watched()));
        CHECK_FALSE(scene.wants_room());
    }
}

TEST_CASE("a peer that does not greet in time ends the channel, and one that closes is explained") {
    for (const Role role : roles) {
        Scene late(role);
        late.now = after(late.now, patience - Duration(1));
        late.turn();
        CHECK_FALSE(late.channel.is_over());
        late.now = after(late.now, Duration(1));
        late.turn();
        CHECK(late.channel.end_reason().status == Status::timed_out);
        CHECK(late.end_text() == "the peer did not greet in time, or nobody called process on this side");
        CHECK(late.channel.wake_at() == end_of_time);
        CHECK(late.channel.watches() == Doorbell::Watches{});
        Event event;
        CHECK((late.channel.take_end(event) && event.kind == Event::Kind::closed &&
               event.end->status == Status::timed_out));
        CHECK_FALSE(late.channel.take_end(event));

        Scene silent(role);
        silent.peer.socket.reset();
        silent.turn();
        CHECK(silent.channel.end_reason().status == Status::closed);
        CHECK(silent.end_text() ==
              "the peer closed the connection without a hello: perhaps it does not speak sessions but v1");
    }
}

TEST_CASE("what is no session is told so, and v1 is called by its name") {
    Message request(sizeof(Token::Bytes), 'T');
    request.push_back(wire::framing_version);
    request.resize(64);
    Scene backend(Role::backend);
    backend.peer.say(request);
    backend.turn();
    CHECK(backend.end_text() == "the peer speaks v1, not sessions");
    CHECK(backend.peer.hear().sentence() == "this is a socket for sessions, and what came is no frame of one");
    Scene broker(Role::broker);
    REQUIRE(broker.peer.hear().is(FrameKind::hello));
    broker.peer.say({wire::framing_version, 0, 0, 0, 0, 0, 0, 0});
    broker.turn();
    CHECK(broker.end_text() == "the peer speaks v1, not sessions");
    CHECK(broker.peer.hear().is(FrameKind::reject));
}

TEST_CASE("a goodbye counts when all of it is there, wherever it was cut") {
    const Message goodbye = parts::goodbye();
    for (std::size_t cut = 1; cut < goodbye.size(); ++cut) {
        for (const Role role : roles) {
            CAPTURE(cut);
            const auto middle = goodbye.begin() + static_cast<std::ptrdiff_t>(cut);
            Scene scene(role);
            scene.open();
            scene.mouth().say(Message(goodbye.begin(), middle));
            CHECK(scene.turn().empty());
            CHECK_FALSE(scene.channel.farewell().is_heard());
            scene.mouth().say(Message(middle, goodbye.end()));
            CHECK(scene.turn().empty());
            CHECK(scene.channel.farewell().is_heard());
            Event event;
            CHECK(scene.channel.take_end(event) == (role == Role::broker)); // the other side sees it by the end
            CHECK((role == Role::backend || event.kind == Event::Kind::closing));
            scene.mouth().socket.get() >= 0 ? shutdown(scene.mouth().socket.get(), SHUT_RDWR) : 0;
            scene.turn();
            CHECK(scene.channel.end_reason().status == Status::ok);
            CHECK(scene.end_text().empty());
        }
    }
}

TEST_CASE("a peer that ends without a goodbye, or in the middle of one, has not ended well") {
    for (const std::size_t length : {std::size_t{0}, std::size_t{3}}) {
        for (const Role role : roles) {
            Scene scene(role);
            scene.open();
            Message part = parts::goodbye();
            part.resize(length);
            if (length > 0) {
                scene.mouth().say(part);
            }
            shutdown(scene.mouth().socket.get(), SHUT_RDWR);
            scene.turn();
            scene.turn();
            CHECK(scene.channel.end_reason().status == Status::closed);
            CHECK(scene.end_text() == "the peer closed the connection");
        }
    }
}

// The backend learns only by the ledger who the broker is, when the broker has opened already.
TEST_CASE("a broker that was rejected when it had opened learns the sentence, and however it sees the end") {
    std::array<std::uint8_t, max_reject_frame> frame{};
    const std::size_t size = encode_rejection(frame.data(), {Status::peer_rejected, "not you"});
    for (const bool by_read : {true, false}) {
        Scene scene(Role::broker);
        scene.open();
        scene.peer.say(Message(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size)));
        scene.peer.socket.reset();
        scene.aside->socket.reset();
        by_read ? static_cast<void>(scene.turn()) : scene.channel.end_without_peer(EPIPE);
        CHECK(scene.channel.end_reason().status == Status::peer_rejected);
        CHECK(scene.end_text() == "the peer rejects this process: not you");
    }
}

TEST_CASE("what came before a goodbye, in one read with it, comes to the side, and what comes after it too") {
    Scene scene(Role::backend);
    scene.open();
    Message all = parts::framed(FrameKind::answers); // a kind that a side gets, whatever it makes of it
    for (const Message &more : {parts::goodbye(), parts::framed(FrameKind::offers)}) {
        all.insert(all.end(), more.begin(), more.end());
    }
    scene.mouth().say(all);
    CHECK(scene.turn() == std::vector<FrameKind>{FrameKind::answers, FrameKind::offers});
    CHECK(scene.channel.farewell().is_heard());
}

TEST_CASE("a goodbye that meets a full socket waits for room, and is said then") {
    for (const Role role : roles) {
        CAPTURE(static_cast<int>(role));
        Scene scene(role);
        scene.open();
        fill_up(scene.channel.outgoing().socket());
        scene.channel.farewell().begin();
        scene.turn();
        CHECK(scene.wants_room());
        CHECK(scene.channel.wake_at() == after(scene.now, patience)); // nothing but room, or the end of patience
        scene.ear().empty();
        scene.turn();
        CHECK_FALSE(scene.wants_room());
        CHECK(scene.ear().hear().is(FrameKind::goodbye));
    }
}

TEST_CASE("without the kernel's memory a goodbye is tried again by time, less and less often, and not by the socket") {
    for (const Role role : roles) {
        CAPTURE(static_cast<int>(role));
        Scene scene(role);
        scene.open();
        scene.channel.farewell().begin();
        int tries = 0;
        {
            const Hooked<ssize_t(int, const msghdr *, int)> failing(calls::sendmsg(), [&](int, const msghdr *, int) {
                ++tries;
                return ssize_t{fails_with(ENOBUFS)};
            });
            Duration pause{};
            for (const int ms : {1, 2, 4, 8, 16, 32, 50, 50}) {
                CAPTURE(ms);
                const int before = tries;
                scene.channel.begin_turn(scene.now);
                scene.channel.flush(scene.now);
                scene.channel.end_turn(true, scene.now);
                CHECK(tries == before + 1);
                CHECK_FALSE(scene.wants_room());
                pause = std::chrono::milliseconds(ms);
                CHECK(scene.channel.wake_at() == after(scene.now, pause));
                scene.now = after(scene.now, pause);
            }
        }
        scene.turn();
        CHECK(scene.ear().hear().is(FrameKind::goodbye));
        CHECK_FALSE(scene.wants_room());
    }
}

TEST_CASE(
    "a send that meets no memory waits by time and longer each time, one that meets a full socket by the socket") {
    Scene scene(Role::broker);
    scene.open();
    Duration expected = a_millisecond;
    for (int n = 0; n < 9; ++n) {
        scene.channel.flush(scene.now); // each turn begins so
        CHECK(scene.channel.has_to_wait(ENOBUFS, scene.now));
        CHECK(scene.channel.is_blocked());
        CHECK_FALSE(scene.wants_room());
        CHECK(scene.channel.wake_at() == after(scene.now, expected));
        expected = std::min<Duration>(expected * 2, 50 * a_millisecond);
    }
    scene.turn(); // in which nothing meets that
    CHECK_FALSE(scene.channel.is_blocked());
    CHECK(scene.channel.wake_at() == end_of_time);
    CHECK(scene.channel.has_to_wait(ENOBUFS, scene.now));
    CHECK(scene.channel.wake_at() == after(scene.now, a_millisecond)); // from the beginning
    scene.channel.flush(scene.now);
    CHECK(scene.channel.has_to_wait(EAGAIN, scene.now));
    CHECK(scene.wants_room());
    CHECK(scene.channel.wake_at() == end_of_time);
    CHECK_FALSE(scene.channel.has_to_wait(EPIPE, scene.now));
}

TEST_CASE("an offer that comes late, after both have said goodbye, sets the time back") {
    Scene scene(Role::backend);
    scene.open();
    scene.channel.farewell().begin();
    scene.turn(true);
    CHECK(scene.channel.wake_at() == after(scene.now, patience));
    scene.now = after(scene.now, patience - Duration(1));
    scene.mouth().say(parts::framed(FrameKind::offers));
    CHECK(scene.turn(false).size() == 1); // it has something to do again
    CHECK(scene.channel.wake_at() == end_of_time);
    scene.now = after(scene.now, patience);
    scene.turn(false);
    CHECK_FALSE(scene.channel.is_over());
    scene.turn(true);
    CHECK(scene.channel.wake_at() == after(scene.now, patience));
    scene.now = after(scene.now, patience);
    scene.turn(true);
    CHECK(scene.channel.end_reason().status == Status::timed_out);
    CHECK(scene.end_text() == "the peer did not end its side of the session in time");
}

TEST_CASE("who speaks on another socket says its goodbye there too") {
    Scene scene(Role::backend);
    scene.open();
    scene.channel.farewell().begin();
    scene.turn(false);
    CHECK(scene.aside->hear().is(FrameKind::goodbye));
    scene.channel.speak_on(scene.channel.answer_link());
    scene.turn(false);
    CHECK(scene.aside->hear().kind == 0); // it is the same
    scene.channel.speak_on(scene.channel.link());
    scene.turn(false);
    CHECK(scene.peer.hear().is(FrameKind::goodbye));
}

TEST_CASE("a channel that is stalled looks at nothing, and goes on where it was") {
    Scene scene(Role::backend);
    scene.open();
    scene.channel.stall(true);
    CHECK_FALSE(scene.channel.watches()[0].input);
    CHECK_FALSE(scene.channel.watches()[2].input);
    scene.mouth().say(parts::framed(FrameKind::offers));
    CHECK_FALSE(scene.channel.read(scene.now));
    CHECK(scene.turn().empty());
    scene.channel.stall(false);
    CHECK(scene.channel.watches()[0].input);
    CHECK(scene.turn().size() == 1);
}

TEST_CASE("a channel ends once, with the first cause, and the peer sees the end on both sockets") {
    Scene scene(Role::broker);
    scene.open();
    scene.channel.end(Status::protocol, "first", EPROTO);
    scene.channel.end(Status::closed, "second");
    CHECK(scene.channel.end_reason().status == Status::protocol);
    CHECK(scene.channel.end_reason().os_error == EPROTO);
    CHECK(scene.end_text() == "first");
    CHECK(scene.peer.hear().kind == -1);
    CHECK(scene.aside->hear().kind == -1);
    CHECK(scene.channel.watches() == Doorbell::Watches{});
    CHECK_FALSE(scene.channel.read(scene.now));
    CHECK_FALSE(scene.channel.next_frame(scene.now));
}

TEST_CASE("a read that brings something after the end of the channel brings nothing") {
    Scene scene(Role::backend);
    scene.open();
    scene.channel.end(Status::ok, {});
    CHECK_FALSE(scene.channel.take({Link::Got::bytes, Status::ok, 0}, scene.now));
    CHECK_FALSE(scene.channel.take({Link::Got::failed, Status::protocol, 0}, scene.now));
    CHECK(scene.channel.end_reason().status == Status::ok);
}

// The child of the peer's knows nothing of the session, and holds its sockets open.
TEST_CASE("a peer process that ended while a child of it holds the socket has ended, once all that it sent was read") {
    for (const bool said_more : {true, false}) {
        CAPTURE(said_more);
        SocketPair pair;
        const int theirs = pair.b.get();
        const Child peer([&](const Wire &wire) {
            const Hand hand{UniqueFd(theirs)};
            must(wire.hear() == 'h');
            hand.say(parts::framed(parts::hello_of(Hello::Role::backend)));
            must(wire.hear() == 'l');
            must(hand.hear().is(FrameKind::hello));
            const Hand::Heard notice = hand.hear();
            must(notice.fds.size() == 2);
            const pid_t heir = fork();
            must(heir >= 0);
            if (heir == 0) {
                prctl(PR_SET_PDEATHSIG, 0);
                wire.hear(); // until the test ends
                _exit(0);
            }
            if (said_more) {
                const Hand aside{UniqueFd(dup(notice.fds[1].get()))};
                aside.say(parts::framed(FrameKind::answers));
            }
            wire.say('d');
            _exit(0);
        });
        Scene scene(Role::broker, std::move(pair));
        scene.peer.socket.reset(); // the other process has it
        peer.say('h');
        while (!is_readable(scene.channel.link().socket())) {
        }
        scene.turn();
        REQUIRE(scene.channel.is_open());
        peer.say('l');
        REQUIRE(peer.hear() == 'd');
        const int watched = scene.channel.watches()[2].fd;
        REQUIRE(watched >= 0);
        pollfd target{watched, POLLIN, 0};
        REQUIRE(poll(&target, 1, 20'000) == 1);
        if (said_more) {
            CHECK(scene.turn() == std::vector<FrameKind>{FrameKind::answers});
            CHECK_FALSE(scene.channel.is_over());
        }
        scene.turn();
        CHECK(scene.channel.end_reason().status == Status::closed);
        CHECK(scene.end_text() == "the peer process has ended");
    }
}
