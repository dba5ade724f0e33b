// What a backend lets its brokers hold: how many connections, for how long, and what happens to those that overdo it.
#include "support/raw_broker.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t io_timeout = 5 * second;

std::vector<RawBroker> brokers_of(const Listening &backend, std::size_t count) {
    std::vector<RawBroker> brokers;
    for (std::size_t i = 0; i < count; ++i) {
        brokers.emplace_back(backend.path);
    }
    return brokers;
}

std::vector<Offer> take_offers(const Backend &backend) {
    std::vector<Offer> offers;
    while (Offer offer = take_offer(backend)) {
        offers.push_back(std::move(offer));
    }
    return offers;
}

// Sends one byte of a message, the first one with the descriptor.
void trickle(RawBroker &broker, const Bytes &message, std::size_t at) {
    const Bytes byte = {message[at]};
    if (at == 0) {
        broker.send_with_descriptor(byte);
    } else {
        broker.send(byte);
    }
}

} // namespace

TEST_CASE("while as many offers as max_connections are unanswered no further one is read") {
    for (const std::uint32_t max : {1U, 2U, 3U}) {
        CAPTURE(max);
        const Listening backend(with_max_connections(max));
        std::vector<RawBroker> brokers = brokers_of(backend, max + 1);
        for (std::size_t i = 0; i < brokers.size(); ++i) {
            brokers[i].offer(token_of(static_cast<std::uint8_t>(i + 1)));
        }
        std::vector<Offer> offers = take_offers(backend.backend);
        CHECK(offers.size() == max);
        CHECK(statistics(backend.backend).unanswered == max);
        CHECK(statistics(backend.backend).connections == 0);

        CHECK(accept_and_close(offers.front()) == RP_HANDOFF_OK);
        CHECK(take_offer(backend.backend) == nullptr); // its broker is still connected
        brokers.front().connection.reset();
        CHECK(take_offer(backend.backend) != nullptr);
        CHECK(statistics(backend.backend).unanswered == max - 1);
    }
}

TEST_CASE("one offer fewer than max_connections leaves room for the next broker") {
    const Listening backend(with_max_connections(2));
    std::vector<RawBroker> brokers = brokers_of(backend, 2);
    brokers[0].offer(token_of(1));
    const Offer first = take_offer(backend.backend);
    REQUIRE(first != nullptr);
    brokers[1].offer(token_of(2));
    CHECK(take_offer(backend.backend) != nullptr);
}

TEST_CASE("a connection from outside beyond max_connections stays the giver's") {
    const Backend backend = make_backend(with_max_connections(2));
    std::vector<SocketPair> pairs(3);
    for (std::size_t i = 0; i < 2; ++i) {
        REQUIRE(rp_handoff_backend_add_connection(backend.get(), pairs[i].b.get(), RP_HANDOFF_TRUST_CALLER) ==
                RP_HANDOFF_OK);
        pairs[i].b.release();
    }
    const int last = pairs[2].b.get();
    CHECK(rp_handoff_backend_add_connection(backend.get(), last, RP_HANDOFF_TRUST_CALLER) == RP_HANDOFF_ERR_LIMIT);
    CHECK(is_open(last));
    pairs[0].a.reset();
    CHECK(take_offer(backend) == nullptr);
    CHECK(rp_handoff_backend_add_connection(backend.get(), last, RP_HANDOFF_TRUST_CALLER) == RP_HANDOFF_OK);
    pairs[2].b.release();
}

TEST_CASE("brokers that connect and stay silent make room for others at the io timeout, to the nanosecond") {
    Listening backend(with_max_connections(2));
    const std::vector<RawBroker> silent = brokers_of(backend, 2);
    RawBroker busy(backend.path);
    busy.offer(token_of(1));
    CHECK(take_offer(backend.backend) == nullptr);
    backend.time.now += io_timeout - 1;
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK_FALSE(silent[0].was_dropped());
    backend.time.now += 1;
    CHECK(take_offer(backend.backend) != nullptr);
    CHECK(silent[0].was_dropped());
    CHECK(silent[1].was_dropped());
    CHECK(statistics(backend.backend).rejected_offers == 2); // they took places, so somebody should know
}

TEST_CASE("a broker that stays silent keeps nobody from being served") {
    Listening backend;
    const std::vector<RawBroker> silent = brokers_of(backend, 63);
    for (std::uint8_t i = 1; i < 10; ++i) {
        RawBroker next(backend.path);
        next.offer(token_of(i));
        CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
        CHECK(next.answer() == acceptance(token_of(i)));
    }
}

TEST_CASE("a broker that trickles keeps nobody from being served, and has no longer than the others") {
    Listening backend;
    RawBroker slow(backend.path);
    CHECK(take_offer(backend.backend) == nullptr); // it is accepted now
    const Bytes message = RawBroker::message(token_of(200));
    const std::uint64_t step = io_timeout / 20;
    for (std::uint8_t i = 0; i < 19; ++i) {
        trickle(slow, message, i);
        RawBroker quick(backend.path);
        quick.offer(token_of(i));
        CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
        backend.time.now += step;
        CHECK_FALSE(slow.was_dropped());
    }
    CHECK_FALSE(slow.client_was_closed());
    backend.time.now += step;
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(slow.was_dropped());
    CHECK(slow.client_was_closed());
    CHECK(statistics(backend.backend).rejected_offers == 1);
}

TEST_CASE("an offer that trickles in is taken if it is whole in time") {
    Listening backend;
    RawBroker slow(backend.path);
    CHECK(take_offer(backend.backend) == nullptr);
    const Bytes message = RawBroker::message(token_of(1));
    for (std::size_t i = 0; i < message.size(); ++i) {
        CHECK(take_offer(backend.backend) == nullptr);
        trickle(slow, message, i);
    }
    backend.time.now += io_timeout - 1;
    CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
}

TEST_CASE(
    "a connection from outside may rest for ever, and each of its offers has the io timeout from its first byte") {
    FakeTime time;
    const Backend backend = make_backend(time.in(sized<rp_handoff_backend_options>()));
    for (const std::uint64_t early : {1U, 0U}) {
        CAPTURE(early);
        const HandBroker broker(backend);
        const ClientConnection client;
        time.now += 1'000'000 * second;
        CHECK(take_offer(backend) == nullptr);
        const Bytes message = RawBroker::message(token_of(static_cast<std::uint8_t>(early + 1)));
        std::size_t sent = 0;
        REQUIRE(rp_handoff_wire_send(broker.connection.get(), client.fd.get(), message.data(), 1, &sent) ==
                RP_HANDOFF_OK);
        CHECK(take_offer(backend) == nullptr);
        time.now += io_timeout - early;
        CHECK(take_offer(backend) == nullptr);
        if (early == 0) {
            CHECK(is_at_end(broker.connection.get()));
            continue;
        }
        write_all(broker.connection.get(), Bytes(message.begin() + 1, message.end()));
        CHECK(accept_and_close(take_offer(backend)) == RP_HANDOFF_OK);
    }
    CHECK(statistics(backend).rejected_offers == 1);
}

TEST_CASE("a broker that dialled may send its next offer within the io timeout after an answer") {
    for (const std::uint64_t early : {1U, 0U}) {
        CAPTURE(early);
        Listening backend;
        RawBroker broker(backend.path);
        broker.offer(token_of(1));
        const Offer first = take_offer(backend.backend);
        backend.time.now += 3 * io_timeout; // an offer may be thought over for as long as its token lives
        CHECK(accept_and_close(first) == RP_HANDOFF_OK);
        backend.time.now += io_timeout - early;
        CHECK(take_offer(backend.backend) == nullptr);
        CHECK(statistics(backend.backend).connections == early);
    }
}

TEST_CASE("a clock that is set back lets brokers wait longer and harms nobody") {
    Listening backend;
    const RawBroker silent(backend.path);
    CHECK(take_offer(backend.backend) == nullptr);
    const std::uint64_t connected = backend.time.now;
    backend.time.now = 1;
    RawBroker busy(backend.path);
    busy.offer(token_of(1));
    CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
    backend.time.now = connected + io_timeout;
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(statistics(backend.backend).connections == 0);
}

TEST_CASE("an io timeout that does not fit into the clock is the longest there is") {
    for (const std::uint64_t timeout : {UINT64_MAX, UINT64_MAX - 1}) {
        auto options = sized<rp_handoff_backend_options>();
        options.io_timeout_ns = timeout;
        const Listening backend(options);
        const RawBroker silent(backend.path);
        CHECK(take_offer(backend.backend) == nullptr);
        CHECK(take_offer(backend.backend) == nullptr);
        CHECK_FALSE(silent.was_dropped());
    }
}

TEST_CASE("an answer is not awaited to be read for longer than the io timeout") {
    FakeTime time;
    const Backend backend = make_backend(time.in(sized<rp_handoff_backend_options>()));
    SocketPair pair;
    const UniqueFd same(dup(pair.b.get()));
    REQUIRE(rp_handoff_backend_add_connection(backend.get(), pair.b.release(), RP_HANDOFF_TRUST_CALLER) ==
            RP_HANDOFF_OK);
    const ClientConnection client;
    const Bytes message = RawBroker::message(token_of(1));
    std::size_t sent = 0;
    REQUIRE(rp_handoff_wire_send(pair.a.get(), client.fd.get(), message.data(), message.size(), &sent) ==
            RP_HANDOFF_OK);
    const Offer offer = take_offer(backend);
    REQUIRE(offer != nullptr);
    fill_up(same);
    const std::uint64_t before = time.now;
    CHECK(accept_and_close(offer) == RP_HANDOFF_ACK_UNDELIVERED);
    CHECK(time.now == before + io_timeout);
    CHECK(statistics(backend).answers_undelivered == 1);
    CHECK(statistics(backend).connections == 0);
}
