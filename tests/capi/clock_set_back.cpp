// A clock that is set back: what has ended stays ended, and what waits keeps its order.
#include "support/exchange.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t ttl = 30 * second;

} // namespace

TEST_CASE("tokens that expired stay dead for their broker when the clock is set back, however many they are") {
    Exchange exchange;
    std::vector<rp_handoff_token> tokens;
    for (int i = 0; i < 200; ++i) { // more than are dropped at once
        tokens.push_back(issue(exchange.broker));
    }
    exchange.time.now += ttl;
    const rp_handoff_token fresh = issue(exchange.broker); // which expires the others
    exchange.time.now -= ttl / 2;
    auto outcome = sized<rp_handoff_outcome>();
    for (const rp_handoff_token &token : tokens) {
        const rp_handoff_request request = exchange.request(token);
        const std::int32_t status = rp_handoff_broker_execute(exchange.broker.get(), &request, &outcome, nullptr);
        CHECK((status == RP_HANDOFF_ERR_TOKEN_NOT_PENDING || status == RP_HANDOFF_ERR_TOKEN_EXPIRED));
    }
    CHECK(exchange.hand_over(fresh).result == RP_HANDOFF_COMPLETED);
}

TEST_CASE("tokens that a backend expected, and that expired, stay dead when the clock is set back") {
    auto options = sized<rp_handoff_backend_options>();
    options.token_policy = RP_HANDOFF_TOKENS_EXPECTED;
    FakeTime time;
    const Backend backend = make_backend(time.in(options));
    for (std::uint8_t i = 1; i <= 200; ++i) {
        const rp_handoff_token token = token_of(i);
        REQUIRE(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    }
    time.now += ttl;
    const rp_handoff_token fresh = token_of(201);
    REQUIRE(rp_handoff_backend_expect(backend.get(), &fresh) == RP_HANDOFF_OK);
    time.now -= ttl / 2;
    for (std::uint8_t i = 1; i <= 201; ++i) {
        const rp_handoff_token token = token_of(i);
        CHECK(rp_handoff_backend_consume(backend.get(), &token, token.bytes, sizeof token.bytes) ==
              (i == 201 ? RP_HANDOFF_OK : RP_HANDOFF_ERR_TOKEN_NOT_PENDING));
    }
}

TEST_CASE("a token that a backend has taken from a broker is not taken again when the clock is set back") {
    Exchange exchange;
    const rp_handoff_token token = issue(exchange.broker);
    REQUIRE(exchange.hand_over(token).result == RP_HANDOFF_COMPLETED);
    exchange.time.now -= ttl;
    HandBroker replaying(exchange.backend);
    const ClientConnection client;
    replaying.offer(client.fd.get(), token);
    CHECK_FALSE(take_offer(exchange.backend));
    CHECK_FALSE(replaying.answer()->accepted);
}

TEST_CASE(
    "connections that wait leave a queue in the order in which they came, wherever the clock was set in between") {
    FakeTime time;
    auto options = sized<rp_handoff_queue_options>();
    options.ttl_ns = 100 * second;
    options.now = [](void *user_data, std::uint64_t *out_now) {
        *out_now = static_cast<FakeTime *>(user_data)->now;
        return std::int32_t{RP_HANDOFF_CALLBACK_OK};
    };
    options.time_user_data = &time;
    const Queue queue = make_queue(options);
    const std::uint64_t start = time.now;
    const std::uint64_t times[] = {start + 50 * second, start, start + 20 * second, start - 10 * second};
    std::uint64_t number = 0;
    for (const std::uint64_t now : times) {
        time.now = now;
        UniqueFd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
        REQUIRE(rp_handoff_queue_enqueue(queue.get(), fd.release(), number++) == RP_HANDOFF_OK);
    }
    time.now = start + 90 * second; // the last one's time is over, by the clock that it saw
    for (const std::uint64_t expected : {0U, 1U, 2U}) {
        std::int32_t fd = -1;
        std::uint64_t got = 99;
        REQUIRE(rp_handoff_queue_dequeue(queue.get(), &fd, &got) == 1);
        const UniqueFd taken(fd);
        CHECK(got == expected);
    }
    std::uint32_t left = 1;
    CHECK(rp_handoff_queue_get_length(queue.get(), &left) == RP_HANDOFF_OK);
    CHECK(left == 0);
}
