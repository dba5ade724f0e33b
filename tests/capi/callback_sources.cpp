// Clocks and sources of random bytes of the caller's that work, fail, forget, raise, lie and call back.
#include "support/exchange.hpp"

#include <stdexcept>

using namespace rp::test;

TEST_CASE("a clock and a random source that raise have failed") {
    auto options = sized<rp_handoff_broker_options>();
    options.now = [](void *, std::uint64_t *now) -> std::int32_t {
        *now = 0;
        throw std::runtime_error("thrown");
    };
    options.wait = [](void *, std::int32_t, std::int32_t, std::uint64_t, std::int32_t *ready) -> std::int32_t {
        *ready = 1;
        throw std::runtime_error("thrown");
    };
    const Broker timeless = make_broker(options);
    const rp_handoff_request request = request_to_nowhere(issue(timeless));
    OutStruct<rp_handoff_outcome> outcome;
    CHECK(rp_handoff_broker_execute(timeless.get(), &request, outcome.get(), nullptr) == RP_HANDOFF_ERR_TOKEN_EXPIRED);

    auto unlucky = sized<rp_handoff_broker_options>();
    unlucky.random = [](void *, std::uint8_t *, std::size_t) -> std::int32_t { throw 1; };
    Out<rp_handoff_token> token;
    CHECK(rp_handoff_broker_issue(make_broker(unlucky).get(), "service", 0, token.get()) == RP_HANDOFF_ERR_RANDOM);
    CHECK(token.untouched());
}

TEST_CASE("a random source that returns anything but the one number, or fills in nothing, has failed") {
    Out<rp_handoff_token> token;
    for (const std::int32_t answer : garbage) {
        FakeRandom random;
        random.answer = answer;
        const Broker broker = make_broker(random.in(sized<rp_handoff_broker_options>()));
        CHECK(rp_handoff_broker_issue(broker.get(), "service", 0, token.get()) == RP_HANDOFF_ERR_RANDOM);
        CHECK(statistics(broker).pending_tokens == 0);
    }
    auto options = sized<rp_handoff_broker_options>();
    options.random = [](void *, std::uint8_t *, std::size_t) -> std::int32_t { return RP_HANDOFF_CALLBACK_OK; };
    const Broker broker = make_broker(options);
    CHECK(rp_handoff_broker_issue(broker.get(), "service", 0, token.get()) == RP_HANDOFF_ERR_RANDOM);
    CHECK(token.untouched());
}

TEST_CASE("a random source that gives zeros has given something") {
    FakeRandom random;
    random.next = 0;
    const Broker broker = make_broker(random.in(sized<rp_handoff_broker_options>()));
    const rp_handoff_token zero{};
    const rp_handoff_token issued = issue(broker);
    CHECK(rp_handoff_token_equal(&issued, &zero) == 1);
}

TEST_CASE("a clock that returns anything but the one number, or fills in nothing, is at the end of time") {
    static std::int32_t answer;
    const auto status_with = [](rp_handoff_now_fn now) {
        auto options = sized<rp_handoff_broker_options>();
        options.now = now;
        options.wait = [](void *, std::int32_t, std::int32_t, std::uint64_t, std::int32_t *) -> std::int32_t {
            FAIL("waited");
            return 0;
        };
        const Broker broker = make_broker(options);
        const rp_handoff_request request = request_to_nowhere(issue(broker));
        OutStruct<rp_handoff_outcome> outcome;
        return rp_handoff_broker_execute(broker.get(), &request, outcome.get(), nullptr);
    };
    for (const std::int32_t number : garbage) {
        answer = number;
        CHECK(status_with([](void *, std::uint64_t *now) -> std::int32_t {
                  *now = 0;
                  return answer;
              }) == RP_HANDOFF_ERR_TOKEN_EXPIRED);
    }
    CHECK(status_with([](void *, std::uint64_t *) -> std::int32_t { return RP_HANDOFF_CALLBACK_OK; }) ==
          RP_HANDOFF_ERR_TOKEN_EXPIRED);
}

TEST_CASE("a wait that returns anything but the one number, or any readiness but 1, has timed out") {
    static std::int32_t answer;
    static std::int32_t ready;
    const auto cause_with = [](std::int32_t with_answer, std::int32_t with_ready) {
        answer = with_answer;
        ready = with_ready;
        auto options = sized<rp_handoff_broker_options>();
        options.now = [](void *, std::uint64_t *now) -> std::int32_t {
            *now = 1;
            return RP_HANDOFF_CALLBACK_OK;
        };
        options.wait = [](void *data, std::int32_t, std::int32_t, std::uint64_t, std::int32_t *out) -> std::int32_t {
            write_all(*static_cast<const int *>(data), Bytes(5)); // there would be something to read
            *out = ready;
            return answer;
        };
        SocketPair pair;
        const int peer = pair.b.get();
        options.time_user_data = const_cast<int *>(&peer);
        const Broker broker = make_broker(options);
        const ClientConnection client;
        return execute(broker, request_over(pair.a.get(), client.fd.get(), issue(broker))).cause;
    };
    for (const std::int32_t number : garbage) {
        CHECK(cause_with(number, 1) == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    }
    for (const std::int32_t number : {0, 2, -1, INT32_MAX}) {
        CHECK(cause_with(RP_HANDOFF_CALLBACK_OK, number) == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    }
    CHECK(cause_with(RP_HANDOFF_CALLBACK_OK, 1) == RP_HANDOFF_CAUSE_ACK_MALFORMED);
}

TEST_CASE("a clock may ask the broker and the backend that ask it") {
    static rp_handoff_broker *broker;
    static rp_handoff_backend *backend;
    static int asked;
    const auto now = [](void *, std::uint64_t *out) -> std::int32_t {
        auto of_broker = sized<rp_handoff_broker_statistics>();
        auto of_backend = sized<rp_handoff_backend_statistics>();
        if (broker != nullptr && backend != nullptr) {
            CHECK(rp_handoff_broker_get_statistics(broker, &of_broker) == RP_HANDOFF_OK);
            CHECK(rp_handoff_backend_get_statistics(backend, &of_backend) == RP_HANDOFF_OK);
            ++asked;
        }
        *out = 1000;
        return RP_HANDOFF_CALLBACK_OK;
    };
    const auto wait = [](void *, std::int32_t, std::int32_t, std::uint64_t, std::int32_t *) -> std::int32_t {
        return 0;
    };
    auto broker_options = sized<rp_handoff_broker_options>();
    auto backend_options = sized<rp_handoff_backend_options>();
    broker_options.now = backend_options.now = now;
    broker_options.wait = backend_options.wait = wait;
    const Broker broker_owner = make_broker(broker_options);
    const Backend backend_owner = make_backend(backend_options);
    broker = broker_owner.get();
    backend = backend_owner.get();
    const auto has_asked = [] {
        const int times = asked;
        asked = 0;
        return times > 0;
    };

    const rp_handoff_token token = issue(broker_owner);
    CHECK(has_asked());
    const rp_handoff_request request = request_to_nowhere(token);
    auto outcome = sized<rp_handoff_outcome>();
    CHECK(rp_handoff_broker_execute(broker, &request, &outcome, nullptr) == RP_HANDOFF_OK);
    CHECK(has_asked());
    CHECK(rp_handoff_broker_next_overdue(broker, nullptr) == 0);
    CHECK(has_asked());
    CHECK(rp_handoff_backend_expect(backend, &token) == RP_HANDOFF_OK);
    CHECK(has_asked());
    CHECK(rp_handoff_backend_consume(backend, &token, token.bytes, 16) == RP_HANDOFF_OK);
    CHECK(has_asked());
    const HandBroker peer(backend_owner);
    const ClientConnection client;
    peer.offer(client.fd.get(), token_of(5));
    const Offer offer = take_offer(backend_owner);
    CHECK(has_asked());
    CHECK(rp_handoff_offer_refuse(offer.get(), nullptr) == RP_HANDOFF_OK);
    CHECK(has_asked());
    broker = nullptr;
    backend = nullptr;
}
