// The backend by itself, in what its public handle does not show: what it counts rejected offers as, and endpoints that it
// shares with others.
#include "v1/backend.hpp"

#include "session/frames.hpp"
#include "support/sockets.hpp"
#include "wire/recognise.hpp"

using namespace rp::test;
using rp::handoff::Explanation;
using rp::handoff::Status;
namespace handoff = rp::handoff;
namespace os = rp::handoff::os;

namespace {

constexpr std::uint64_t io_timeout = 5 * second;

// At a path, on a clock of the test's.
struct Listening {
    Listening() {
        auto made = handoff::Backend::create({}, std::make_unique<Clock>(now));
        REQUIRE(made);
        backend = *made;
        Explanation why;
        auto listening = os::Endpoint::listen(path.c_str(), why);
        REQUIRE(listening);
        endpoint = std::make_shared<os::Endpoint>(std::move(*listening));
        REQUIRE(backend->add_listener(endpoint, false) == Status::ok);
    }
    ~Listening() { backend->shutdown(); }

    // As often as there is something to do.
    std::unique_ptr<handoff::Offer> take() {
        do {
            auto offer = backend->next_offer(handoff::Duration::zero());
            if (offer) {
                return std::move(*offer);
            }
            REQUIRE(offer.error() == Status::timed_out);
        } while (is_readable(backend->fd()));
        return nullptr;
    }

    class Clock final : public handoff::TimeSource {
      public:
        explicit Clock(const std::uint64_t &now) noexcept : now_(now) {}
        handoff::Instant now() noexcept override { return handoff::Instant(handoff::Duration(now_)); }
        handoff::Wait wait(int, short, handoff::Instant) noexcept override { return handoff::Wait::timed_out; }

      private:
        const std::uint64_t &now_;
    };

    std::uint64_t now = second;
    Directory directory;
    std::string path = directory / "backend";
    std::shared_ptr<os::Endpoint> endpoint;
    std::shared_ptr<handoff::Backend> backend;
};

void offer(const UniqueFd &connection, const Bytes &bytes) {
    const auto message = handoff::wire::encode_offer_message({bytes.data(), bytes.size()}, "service", 7);
    const ClientConnection client;
    REQUIRE(os::send(connection.get(), client.fd.get(), message.view()).bytes == message.size);
}

Bytes token_bytes(std::uint8_t byte) {
    return Bytes(handoff::Token::size, byte);
}

} // namespace

TEST_CASE("a connection that says nothing in time is counted, and one that rests after an offer is not") {
    Listening side;
    const UniqueFd silent = dial(side.path);
    const UniqueFd resting = dial(side.path);
    offer(resting, token_bytes(1));
    CHECK(side.take()->refuse("no") == Status::ok);
    CHECK(side.take() == nullptr);
    side.now += io_timeout - 1;
    CHECK(side.take() == nullptr);
    CHECK(side.backend->statistics().silent_connections == 0);
    side.now += 1;
    CHECK(side.take() == nullptr);
    CHECK(side.backend->statistics().connections == 0);
    CHECK(side.backend->statistics().silent_connections == 1);
    CHECK(side.backend->statistics().rejected_offers == 1);
}

TEST_CASE("a connection that goes without a word is nobody's fault") {
    Listening side;
    dial(side.path);
    CHECK(side.take() == nullptr);
    CHECK(side.backend->statistics().rejected_offers == 0);
}

TEST_CASE("a broker that speaks sessions is told that this backend does not, and counted") {
    Listening side;
    const UniqueFd broker = dial(side.path);
    std::uint8_t hello[handoff::session::max_hello_frame];
    const std::size_t size =
        handoff::session::encode_hello(hello, {handoff::session::Hello::Role::broker, 1, 1, 64, 0, "service"});
    REQUIRE(send(broker.get(), hello, size, 0) == static_cast<ssize_t>(size));
    CHECK(side.take() == nullptr);
    CHECK(side.backend->statistics().session_brokers == 1);
    CHECK(side.backend->statistics().rejected_offers == 1);
    CHECK(side.backend->statistics().connections == 0);
    const Bytes answer = read_available(broker.get());
    CHECK(handoff::wire::recognise_answer({answer.data(), answer.size()}) == handoff::wire::Protocol::v1);
    const auto ack = handoff::wire::open_ack({answer.data() + 5, answer.size() - 5}, handoff::wire::Kind::response);
    REQUIRE(ack);
    CHECK_FALSE(ack->accepted);
    CHECK(std::string(ack->error_detail) == "this backend speaks v1, not sessions");
    CHECK(is_at_end(broker.get()));
}

TEST_CASE("an offer whose token begins by chance as a session's hello does is an offer") {
    Listening side;
    const UniqueFd broker = dial(side.path);
    Bytes token(handoff::session::max_hello_frame);
    handoff::session::encode_hello(token.data(), {handoff::session::Hello::Role::broker, 1, 1, 64, 0, ""});
    token.resize(handoff::Token::size);
    REQUIRE(handoff::wire::is_session_hello({token.data(), token.size()}));
    offer(broker, token);
    CHECK(side.take() != nullptr);
    CHECK(side.backend->statistics().session_brokers == 0);
}

TEST_CASE("an endpoint that others hold too goes on when the backend is shut down, which is not woken by it any more") {
    Listening side;
    side.backend->shutdown();
    const UniqueFd waiting = dial(side.path);
    CHECK(exists(side.path));
    CHECK(os::accept(side.endpoint->fd()));
    const UniqueFd another = dial(side.path);
    side.endpoint.reset();
    CHECK_FALSE(exists(side.path));
    CHECK(is_at_end(another.get()));
}

TEST_CASE("a listener from outside is taken on success alone, and a refusal says why") {
    Listening side;
    SocketPair pair;
    Explanation why;
    CHECK(side.backend->add_listener(pair.a.get(), true, why) == Status::invalid_argument);
    CHECK(is_open(pair.a.get()));
    CHECK(why.text() == "the descriptor is no listening Unix stream socket");
    UniqueFd listener = listener_at(side.directory / "other");
    CHECK(side.backend->add_listener(listener.get(), true, why) == Status::ok);
    listener.release();
    const UniqueFd broker = dial(side.directory / "other");
    offer(broker, token_bytes(2));
    CHECK(side.take() != nullptr);
}

TEST_CASE("a backend listens at one path by itself, and the second is refused with a reason") {
    Listening side;
    Explanation why;
    const std::string own = side.directory / "own";
    const std::string second_path = side.directory / "second";
    CHECK(side.backend->listen(own.c_str(), why) == Status::ok);
    CHECK(why.empty());
    CHECK(side.backend->listen(second_path.c_str(), why) == Status::limit);
    CHECK(why.text() == "the backend listens at a path already");
    CHECK_FALSE(exists(second_path));
}
