// How a session begins, both sides of it over one pair of sockets, and each side before a peer that errs.
#include "session/handshake.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <string>

#include "os/connection.hpp"
#include "support/fakes.hpp"
#include "support/interpose.hpp"
#include "support/session_parts.hpp"
#include "wire/framing.hpp"

using namespace rp::handoff;
using namespace rp::handoff::session;
using namespace rp::test;
using parts::Hand;
using parts::Message;

namespace {

using Step = Handshake::Step;
using Role = Hello::Role;

// One side. Its sentence is kept.
struct Side {
    Side(Role own, UniqueFd fd, const Config &options, std::uint32_t slots = 8)
        : role(own), config(options), handshake(config, slots, link, answer_link) {
        link.set_socket(std::move(fd));
        peer.service.reserve(max_service);
        handshake.expect_identified_senders();
    }

    // Takes what has come, as a channel does.
    Step step() {
        Step step = Step::waiting;
        while (step == Step::waiting && link.read(false).got == Link::Got::bytes) {
            const Result<Link::Frame> frame = link.frame();
            REQUIRE(frame);
            step = role == Role::broker ? handshake.broker_takes(*frame, peer, ledger, why)
                                        : handshake.backend_takes(*frame, peer, ledger, why);
            link.drop_frame();
        }
        return step;
    }
    std::string sentence() const { return std::string(why.text()); }

    const Role role;
    Config config;
    Discards discards{64};
    Link link{max_frame, max_frame, discards};
    Link answer_link{max_frame, max_frame, discards};
    Handshake handshake;
    Peer peer;
    std::optional<Ledger> ledger;
    Explanation why;
};

struct Both {
    explicit Both(const Config &of_broker = {}, const Config &of_backend = {}, Role second = Role::backend,
                  Role first = Role::broker)
        : Both(SocketPair(), of_broker, of_backend, first, second) {}

    Side broker;
    Side backend;

  private:
    Both(SocketPair pair, const Config &of_broker, const Config &of_backend, Role first, Role second)
        : broker(first, std::move(pair.a), of_broker), backend(second, std::move(pair.b), of_backend, 5) {}
};

// A side of the library's, and the hand of its peer.
struct Alone {
    explicit Alone(Role role, const Config &config = {}) : Alone(SocketPair(), role, config) {}
    Side side;
    Hand peer;

  private:
    Alone(SocketPair pair, Role role, const Config &config)
        : side(role, std::move(pair.a), config), peer(std::move(pair.b)) {}
};

Config service(const char *name) {
    Config config;
    config.service = name;
    return config;
}
Config only_uid(std::uint32_t uid) {
    Config config;
    config.peers = PeerPolicy(false, false, {uid});
    return config;
}
Config only_pid(std::uint32_t pid) {
    Config config;
    config.peers = PeerPolicy(false, true, {});
    config.peer_pid = pid;
    return config;
}

std::uint32_t own_pid() {
    return static_cast<std::uint32_t>(getpid());
}

bool contains(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

// Of somebody who was let in as far as the broker's hello.
void greet(const Alone &alone) {
    alone.peer.say(parts::framed(parts::hello_of(Role::broker)));
}

UniqueFd a_file() {
    return UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

} // namespace

TEST_CASE("two sides that want each other come to share a ledger, and each knows who the other is") {
    Both both(service("printing"));
    REQUIRE(both.broker.handshake.send_hello(both.broker.why) == Status::ok);
    CHECK(both.backend.step() == Step::waiting);
    CHECK(both.backend.peer.service == "printing");
    CHECK(both.broker.step() == Step::open);
    CHECK(both.backend.step() == Step::open);
    for (const Side *side : {&both.broker, &both.backend}) {
        CHECK(side->peer.max_in_flight == 5); // the smaller of what both want
        CHECK(side->peer.credentials.pid == own_pid());
        CHECK(side->peer.credentials.uid == geteuid());
        CHECK(side->peer.pidfd_state != PidfdState::unavailable);
        CHECK((side->peer.watched() >= 0));
        CHECK(side->why.empty());
    }
    both.broker.ledger->offer(7, 99, token_of(1));
    CHECK(both.backend.ledger->adopt(7, 99, token_of(1)) == Ledger::Adoption::adopted);
    both.backend.answer_link.send(view(parts::goodbye()));
    CHECK(both.broker.answer_link.read(false).got == Link::Got::bytes);
    CHECK(both.broker.ledger->file() == -1); // it is the backend's now
}

TEST_CASE("a side that the other's rules reject is told by which, in the words that the other one has") {
    const Config impossible_pid = only_pid(own_pid() + 1);
    const struct {
        const char *rule;
        Config config;
        std::string member;
        std::string words;
    } rows[] = {
        {"uid", only_uid(61831), "peer_uids", "is not allowed (allowed: 61831)"},
        {"pid", impossible_pid, "peer_pid", "is not the required"},
    };
    for (const auto &row : rows) {
        for (const Role rejects : {Role::broker, Role::backend}) {
            CAPTURE(row.rule);
            CAPTURE(static_cast<int>(rejects));
            Both both(rejects == Role::broker ? row.config : Config(),
                      rejects == Role::backend ? row.config : Config());
            REQUIRE(both.broker.handshake.send_hello(both.broker.why) == Status::ok);
            CHECK(both.backend.step() == Step::waiting);
            Side &one = rejects == Role::broker ? both.broker : both.backend;
            Side &other = rejects == Role::broker ? both.backend : both.broker;
            if (rejects == Role::backend) { // which believes what comes with the ledger
                CHECK(both.broker.step() == Step::open);
            }
            CHECK(one.step() == Step::failed);
            CHECK(one.why.status() == Status::peer_rejected);
            CHECK(one.why.member() == row.member);
            CHECK(contains(one.sentence(), row.words));
            if (rejects == Role::broker) {
                CHECK(other.step() == Step::failed);
                CHECK(other.why.status() == Status::peer_rejected);
                CHECK(other.sentence() == "the peer rejects this process: " + one.sentence());
            } else { // which has passed the frames of this link on already
                CHECK(Hand(std::move(other.link.take_socket())).hear().sentence() == one.sentence());
            }
        }
    }
}

TEST_CASE("a side that requires a pidfd takes who has one, and rejects who has none with a sentence") {
    for (const bool has_one : {true, false}) {
        CAPTURE(has_one);
        Config config;
        config.require_pidfd = true;
        Alone alone(Role::broker, config);
        if (!has_one) { // as a kernel without SO_PASSPIDFD: credentials alone
            constexpr int so_passpidfd = 76;
            const int off = 0;
            setsockopt(alone.side.link.socket(), SOL_SOCKET, so_passpidfd, &off, sizeof off);
        }
        alone.peer.say(parts::framed(parts::hello_of(Role::backend)));
        const Step step = alone.side.step();
        if (has_one && alone.side.peer.pidfd_state == PidfdState::held) {
            CHECK(step == Step::open);
        } else {
            CHECK(step == Step::failed);
            CHECK(alone.side.why.member() == "peer_flags");
            CHECK(alone.peer.hear().sentence() == "a pidfd is required, and the kernel gave none of the peer");
        }
    }
}

TEST_CASE("who must have a pid, or a pidfd, and has it, is let in") {
    Both both(only_pid(own_pid()), only_pid(own_pid()));
    REQUIRE(both.broker.handshake.send_hello(both.broker.why) == Status::ok);
    both.backend.step();
    CHECK(both.broker.step() == Step::open);
    CHECK(both.backend.step() == Step::open);
}

TEST_CASE("a hello that was sent before credentials were asked for is nobody's word, even where nobody is listed") {
    SocketPair pair;
    const Hand peer(std::move(pair.b));
    peer.say(parts::framed(parts::hello_of(Role::backend)));
    Config config = only_uid(65534);
    Side side(Role::broker, std::move(pair.a), config);
    CHECK(side.step() == Step::failed);
    CHECK(side.why.status() == Status::peer_rejected);
    CHECK(peer.hear().is(FrameKind::reject));
}

TEST_CASE("a peer of another version, or of the same role, is told so") {
    const struct {
        Role role;
        Hello hello;
        std::string words;
    } rows[] = {
        {Role::broker, {Role::backend, 1, 1, 8, 0, {}}, "the peer speaks another version of sessions, up to 1"},
        {Role::broker, {Role::backend, 3, 9, 8, 0, {}}, "the peer speaks another version of sessions, up to 9"},
        {Role::backend, {Role::broker, 3, 3, 8, 0, {}}, "the peer speaks another version of sessions, up to 3"},
        {Role::broker, {Role::broker, 2, 2, 8, 0, {}}, "both sides of the session are brokers"},
        {Role::backend, {Role::backend, 2, 2, 8, 0, {}}, "both sides of the session are backends"},
    };
    for (const auto &row : rows) {
        CAPTURE(row.words);
        Alone alone(row.role);
        alone.peer.say(parts::framed(row.hello));
        CHECK(alone.side.step() == Step::failed);
        CHECK(alone.side.why.status() == Status::protocol);
        CHECK(alone.side.sentence() == row.words);
        CHECK(alone.peer.hear().sentence() == row.words);
    }
}

TEST_CASE("a later version that also speaks ours is spoken to") {
    Alone broker(Role::broker);
    broker.peer.say(parts::framed({Role::backend, 1, 9, 8, 0, {}}));
    CHECK(broker.side.step() == Step::open);
    Alone backend(Role::backend);
    backend.peer.say(parts::framed({Role::broker, 2, 3, 8, 0, {}}));
    CHECK(backend.side.step() == Step::waiting);
    CHECK(backend.peer.hear().is(FrameKind::hello));
}

TEST_CASE("two brokers, and two backends, tell each other what they are") {
    Both brokers({}, {}, Role::broker);
    REQUIRE(brokers.broker.handshake.send_hello(brokers.broker.why) == Status::ok);
    REQUIRE(brokers.backend.handshake.send_hello(brokers.backend.why) == Status::ok);
    CHECK(brokers.broker.step() == Step::failed);
    CHECK(brokers.broker.sentence() == "both sides of the session are brokers");
    CHECK(brokers.backend.step() == Step::failed);
    CHECK(brokers.backend.sentence() == "both sides of the session are brokers");
}

TEST_CASE(
    "what does not begin with a hello is told so: another frame, one in pieces, one with a descriptor beside it") {
    const UniqueFd file = a_file();
    for (const int how : {0, 1, 2}) {
        CAPTURE(how);
        Alone alone(Role::broker);
        if (how == 0) {
            alone.peer.say(parts::goodbye());
        } else if (how == 1) {
            const Message hello = parts::framed(parts::hello_of(Role::backend));
            alone.peer.say(Message(hello.begin(), hello.begin() + 20));
            CHECK(alone.side.link.read(false).got == Link::Got::bytes);
            alone.peer.say(Message(hello.begin() + 20, hello.end()));
        } else {
            alone.peer.say(parts::framed(parts::hello_of(Role::backend)), {file.get()});
        }
        CHECK(alone.side.step() == Step::failed);
        CHECK(alone.side.sentence() == "the peer did not begin with a hello");
        CHECK(alone.peer.hear().sentence() == "the peer did not begin with a hello");
        alone.side.link.drop_beside(Discards::Kind::stray);
        alone.side.discards.take().close();
    }
}

TEST_CASE("a ledger that is none is told so, and nothing of it is kept") {
    const UniqueFd file = a_file();
    Result<Ledger> small = Ledger::create(4);
    Result<Ledger> right = Ledger::create(8);
    REQUIRE((small && right));
    SocketPair answers;
    const struct {
        Message message;
        std::vector<int> fds;
        std::string words;
    } rows[] = {
        {parts::ledger_of(8), {}, "the ledger is malformed"},
        {parts::ledger_of(8), {right->file()}, "the ledger is malformed"},
        {parts::ledger_of(8), {right->file(), answers.a.get(), file.get()}, "the ledger is malformed"},
        {parts::ledger_of(0), {right->file(), answers.a.get()}, "the ledger is malformed"},
        {parts::ledger_of(8),
         {small->file(), answers.a.get()},
         "the ledger is not sealed memory of the size that it says"},
        {parts::ledger_of(8),
         {file.get(), answers.a.get()},
         "the ledger is not sealed memory of the size that it says"},
        {parts::ledger_of(8), {right->file(), file.get()}, "the socket for answers is none"},
        {parts::goodbye(), {}, "the peer's hello was not followed by the ledger"},
    };
    for (const auto &row : rows) {
        CAPTURE(row.words);
        CAPTURE(row.fds.size());
        Alone alone(Role::backend);
        greet(alone);
        REQUIRE(alone.side.step() == Step::waiting);
        REQUIRE(alone.peer.hear().is(FrameKind::hello));
        alone.peer.say(row.message, row.fds);
        CHECK(alone.side.step() == Step::failed);
        CHECK(alone.side.why.status() == Status::protocol);
        CHECK(alone.side.sentence() == row.words);
        CHECK(alone.peer.hear().sentence() == row.words);
        CHECK(alone.side.peer.max_in_flight == 0);
        alone.side.link.drop_beside(Discards::Kind::stray);
        alone.side.discards.take().close();
    }
}

TEST_CASE("v1 is recognised from either side, as long as the other one has not greeted") {
    Message request(sizeof(Token::Bytes), 'T');
    request.push_back(wire::framing_version);
    request.resize(64);
    const Message answer{wire::framing_version, 0, 0, 0, 0, 0, 0, 0};
    for (const Message &bytes : {request, answer}) {
        Alone alone(bytes.size() > 20 ? Role::backend : Role::broker);
        alone.peer.say(bytes);
        CHECK(alone.side.link.read(false).got == Link::Got::bytes);
        CHECK_FALSE(alone.side.link.frame());
        alone.side.handshake.explain_noise(alone.side.why);
        CHECK(alone.side.sentence() == "the peer speaks v1, not sessions");
    }
    Alone alone(Role::backend);
    greet(alone);
    CHECK(alone.side.step() == Step::waiting);
    alone.peer.say(answer);
    CHECK(alone.side.link.read(false).got == Link::Got::bytes);
    alone.side.handshake.explain_noise(alone.side.why);
    CHECK(alone.side.sentence() == "the peer does not speak sessions");
}

TEST_CASE("a peer that closes is explained by how far it had come") {
    Alone backend(Role::backend);
    backend.side.handshake.explain_silence(backend.side.why);
    CHECK(contains(backend.side.sentence(), "perhaps it does not speak sessions but v1"));
    Alone greeted(Role::backend);
    greet(greeted);
    greeted.side.step();
    greeted.side.handshake.explain_silence(greeted.side.why);
    CHECK(greeted.side.sentence() == "the peer closed the connection before the session was open");
}

TEST_CASE("a frame that cannot be sent says why: the peer is gone, or this machine has no room for it") {
    for (const int error : {EPIPE, ENOBUFS}) {
        CAPTURE(error);
        const Status expected = error == EPIPE ? Status::closed : Status::system;
        Alone hello(Role::broker);
        Alone answer(Role::backend);
        greet(answer);
        Alone notice(Role::broker);
        notice.peer.say(parts::framed(parts::hello_of(Role::backend)));
        const Hooked<ssize_t(int, const msghdr *, int)> failing(
            calls::sendmsg(), [&](int, const msghdr *, int) { return ssize_t{fails_with(error)}; });
        CHECK(hello.side.handshake.send_hello(hello.side.why) == expected);
        CHECK(answer.side.step() == Step::failed);
        CHECK(answer.side.why.status() == expected);
        CHECK(notice.side.step() == Step::failed);
        CHECK(notice.side.why.status() == expected);
        for (const Alone *alone : {&hello, &answer, &notice}) {
            CHECK(alone->side.why.os_error() == error);
        }
    }
}

TEST_CASE("a backend rejects nobody who rejects it: it says the other one's sentence and no more") {
    Alone alone(Role::backend);
    std::array<std::uint8_t, max_reject_frame> frame{};
    const std::size_t size = encode_rejection(frame.data(), {Status::peer_rejected, "not you"});
    alone.peer.say(Message(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size)));
    CHECK(alone.side.step() == Step::failed);
    CHECK(alone.side.sentence() == "the peer rejects this process: not you");
    CHECK(alone.peer.hear().kind == 0);
}
