// Tokens of a broker: issued, acknowledged, revoked, overdue, counted.
#include "support/exchange.hpp"

#include <numeric>
#include <optional>

using namespace rp::test;

namespace {

// The oldest one that is overdue, or nothing.
std::optional<rp_handoff_overdue> next_overdue(const Broker &broker) {
    OutStruct<rp_handoff_overdue> out;
    const std::int32_t found = rp_handoff_broker_next_overdue(broker.get(), out.get());
    CHECK(out.untouched() == (found != 1));
    CHECK((found == 0 || found == 1));
    return found == 1 ? std::optional(out.value) : std::nullopt;
}

std::int32_t issue_status(const Broker &broker, const std::string &name = "service") {
    Out<rp_handoff_token> token;
    const std::int32_t status = rp_handoff_broker_issue(broker.get(), name.c_str(), 0, token.get());
    CHECK(token.untouched() == (status != RP_HANDOFF_OK));
    return status;
}

std::int32_t acknowledge(const Broker &broker, const rp_handoff_token &token, std::uint64_t observed) {
    Out<std::uint64_t> waited;
    const std::int32_t status = rp_handoff_broker_acknowledge(broker.get(), &token, observed, waited.get());
    CHECK(waited.untouched() == (status != RP_HANDOFF_OK));
    return status;
}

void check_not_pending(const Broker &broker, const rp_handoff_token &token) {
    const rp_handoff_request request = request_to_nowhere(token);
    OutStruct<rp_handoff_outcome> outcome;
    CHECK(rp_handoff_broker_execute(broker.get(), &request, outcome.get(), nullptr) ==
          RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
    CHECK(outcome.untouched());
    CHECK(acknowledge(broker, token, 0) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
    CHECK(rp_handoff_broker_revoke(broker.get(), &token) == 0);
}

void check_ended(const Broker &broker, const rp_handoff_token &token) {
    check_not_pending(broker, token);
    CHECK(statistics(broker).pending_tokens == 0);
    CHECK(statistics(broker).pending_acks == 0);
}

} // namespace

TEST_CASE("a service name is at most 255 bytes, whatever they are") {
    const Broker broker = make_broker();
    CHECK(issue_status(broker, "") == RP_HANDOFF_OK);
    CHECK(issue_status(broker, std::string(254, 'a')) == RP_HANDOFF_OK);
    CHECK(issue_status(broker, std::string(255, 'a')) == RP_HANDOFF_OK);
    CHECK(issue_status(broker, std::string(256, 'a')) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(issue_status(broker, std::string(1 << 20, 'a')) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    std::string two_bytes_each; // 127 of them are 254 bytes
    for (int i = 0; i < 127; ++i) {
        two_bytes_each += "\xC3\xA9";
    }
    CHECK(issue_status(broker, two_bytes_each + "a") == RP_HANDOFF_OK);
    CHECK(issue_status(broker, two_bytes_each + "\xC3\xA9") == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(issue_status(broker, two_bytes_each + "\xC3") == RP_HANDOFF_ERR_INVALID_ARGUMENT); // cut in a character
}

TEST_CASE("issue says why there is no token, and leaves nothing behind") {
    FakeTime time;
    FakeRandom random;
    auto options = sized<rp_handoff_broker_options>();
    options.max_pending = 2;
    options.collision_attempts = 3;
    const Broker broker = make_broker(random.in(time.in(options)));

    random.answer = RP_HANDOFF_CALLBACK_OK - 1;
    CHECK(issue_status(broker) == RP_HANDOFF_ERR_RANDOM);
    CHECK(random.calls == 1);

    random = FakeRandom();
    random.step = 0;
    CHECK(issue_status(broker) == RP_HANDOFF_OK);
    CHECK(issue_status(broker) == RP_HANDOFF_ERR_TOKEN_COLLISION);
    CHECK(random.calls == 1 + 3);

    random.step = 1;
    CHECK(issue_status(broker) == RP_HANDOFF_OK); // the last of three tries could have been this one
    const int calls = random.calls;
    CHECK(issue_status(broker) == RP_HANDOFF_ERR_LIMIT);
    CHECK(random.calls == calls);

    CHECK(statistics(broker).issued == 2);
    CHECK(statistics(broker).pending_tokens == 2);
    CHECK(statistics(broker).pending_acks == 2);
}

TEST_CASE("a token that ended may be drawn again") {
    FakeRandom random;
    random.step = 0;
    const Broker broker = make_broker(random.in(sized<rp_handoff_broker_options>()));
    const rp_handoff_token first = issue(broker);
    CHECK(rp_handoff_broker_revoke(broker.get(), &first) == 1);
    const rp_handoff_token same = issue(broker);
    CHECK(rp_handoff_token_equal(&first, &same) == 1);
}

TEST_CASE("acknowledge ends a token once and tells how long it waited") {
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const rp_handoff_token token = issue(broker);
    std::uint64_t waited = 0;
    CHECK(rp_handoff_broker_acknowledge(broker.get(), &token, time.now + 3, &waited) == RP_HANDOFF_OK);
    CHECK(waited == 3);
    check_ended(broker, token);
    CHECK(statistics(broker).completed == 1);

    const rp_handoff_token another = issue(broker);
    CHECK(rp_handoff_broker_acknowledge(broker.get(), &another, time.now, nullptr) == RP_HANDOFF_OK);
    CHECK(statistics(broker).completed == 2);
}

TEST_CASE("a late acknowledge ends the token too") {
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const rp_handoff_token token = issue(broker);
    CHECK(acknowledge(broker, token, time.now + 5 * second) == RP_HANDOFF_ERR_ACK_OVERDUE);
    check_ended(broker, token);
    CHECK(statistics(broker).completed == 0);
    CHECK(statistics(broker).overdue == 1);
}

TEST_CASE("revoke ends a token, and tells whether there was one") {
    const Broker broker = make_broker();
    const rp_handoff_token token = issue(broker);
    const rp_handoff_token foreign = token_of(0);
    CHECK(rp_handoff_broker_revoke(broker.get(), &foreign) == 0);
    CHECK(rp_handoff_broker_revoke(broker.get(), &token) == 1);
    check_ended(broker, token);
    CHECK(statistics(broker).revoked == 1);
}

TEST_CASE("a token belongs to the broker that issued it") {
    const Broker broker = make_broker();
    const Broker other = make_broker();
    const rp_handoff_token token = issue(broker);
    check_ended(other, token);
    CHECK(rp_handoff_broker_revoke(broker.get(), &token) == 1);
}

TEST_CASE("what is overdue is ended one at a time, oldest first, and told") {
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const rp_handoff_token first = issue(broker, "first", 11);
    ++time.now;
    const rp_handoff_token second_one = issue(broker, "second", 12);
    ++time.now;
    const rp_handoff_token third = issue(broker, std::string(255, 'n').c_str(), UINT32_MAX);
    const auto check_next = [&broker](const rp_handoff_token &token, const std::string &name, std::uint32_t pid) {
        const auto overdue = next_overdue(broker);
        REQUIRE(overdue);
        CHECK(rp_handoff_token_equal(&overdue->token, &token) == 1);
        CHECK(overdue->service_name == name);
        CHECK(overdue->backend_pid == pid);
        check_not_pending(broker, token);
    };
    time.now += 5 * second - 1; // the first two are due
    check_next(first, "first", 11);
    check_next(second_one, "second", 12);
    CHECK_FALSE(next_overdue(broker));
    ++time.now;
    check_next(third, std::string(255, 'n'), UINT32_MAX);
    CHECK_FALSE(next_overdue(broker));
    CHECK(statistics(broker).pending_tokens == 0);
    CHECK(statistics(broker).pending_acks == 0);
    CHECK(statistics(broker).overdue == 3);
}

TEST_CASE("nobody has to want what is told of the overdue, and nothing is ended for a struct of no size") {
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    issue(broker);
    time.now += 5 * second;
    Out<rp_handoff_overdue> out; // its size is garbage
    CHECK(rp_handoff_broker_next_overdue(broker.get(), out.get()) == RP_HANDOFF_ERR_STRUCT_SIZE);
    CHECK(out.untouched());
    CHECK(rp_handoff_broker_next_overdue(broker.get(), nullptr) == 1);
    CHECK(rp_handoff_broker_next_overdue(broker.get(), nullptr) == 0);
}

TEST_CASE("a token that another call is executing is in use, and is not overdue") {
    Exchange exchange;
    const rp_handoff_token token = issue(exchange.broker);
    const auto accept = exchange.serve;
    exchange.serve = [&] {
        OutStruct<rp_handoff_outcome> outcome;
        const rp_handoff_request request = exchange.request(token);
        CHECK(rp_handoff_broker_execute(exchange.broker.get(), &request, outcome.get(), nullptr) ==
              RP_HANDOFF_ERR_TOKEN_IN_USE);
        CHECK(outcome.untouched());
        CHECK(acknowledge(exchange.broker, token, exchange.time.now) == RP_HANDOFF_ERR_TOKEN_IN_USE);
        exchange.time.now += 5 * second;
        CHECK_FALSE(next_overdue(exchange.broker));
        exchange.time.now -= 5 * second;
        accept();
    };
    CHECK(exchange.hand_over(token).result == RP_HANDOFF_COMPLETED);
    CHECK(exchange.client.is_served_by(exchange.adopted.get()));
    check_ended(exchange.broker, token);
}

TEST_CASE("a token that is revoked while the answer is awaited makes a fallback, and nobody knows whose it is") {
    Exchange exchange;
    const rp_handoff_token token = issue(exchange.broker);
    const auto accept = exchange.serve;
    exchange.serve = [&] {
        CHECK(rp_handoff_broker_revoke(exchange.broker.get(), &token) == 1);
        accept();
    };
    check_fallback(exchange.hand_over(token), RP_HANDOFF_STAGE_ACKNOWLEDGE, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                   RP_HANDOFF_CAUSE_REVOKED, RP_HANDOFF_OWNER_AMBIGUOUS);
    check_ended(exchange.broker, token);
}

TEST_CASE("the counters of a broker add up") {
    Exchange exchange;
    const Broker &broker = exchange.broker;
    exchange.hand_over(issue(broker));                                 // completed
    CHECK(acknowledge(broker, issue(broker), exchange.time.now) == 0); // completed
    const rp_handoff_token revoked = issue(broker);
    CHECK(rp_handoff_broker_revoke(broker.get(), &revoked) == 1);
    CHECK(acknowledge(broker, issue(broker), UINT64_MAX) == RP_HANDOFF_ERR_ACK_OVERDUE);
    issue(broker);
    exchange.time.now += 5 * second;
    CHECK(next_overdue(broker));
    execute(broker, request_to_nowhere(issue(broker))); // BROKER
    exchange.serve = [] {};                             // AMBIGUOUS: there is no answer
    exchange.hand_over(issue(broker));
    issue(broker); // still pending
    issue(broker);

    const rp_handoff_broker_statistics counted = statistics(broker);
    CHECK(counted.reserved == 0);
    CHECK(counted.issued == 9);
    CHECK(counted.completed == 2);
    CHECK(counted.revoked == 1);
    CHECK(counted.overdue == 2);
    CHECK(counted.fallbacks == 2);
    CHECK(counted.fallbacks_owner_broker == 1);
    CHECK(counted.fallbacks_owner_backend == 0);
    CHECK(counted.fallbacks_owner_ambiguous == 1);
    CHECK(counted.fallbacks_by_reason[RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT] == 2);
    CHECK(counted.fallbacks == std::accumulate(std::begin(counted.fallbacks_by_reason),
                                               std::end(counted.fallbacks_by_reason), std::uint64_t{0}));
    CHECK(counted.pending_tokens == 2);
    CHECK(counted.pending_acks == 2);
    CHECK(counted.issued ==
          counted.completed + counted.revoked + counted.overdue + counted.fallbacks + counted.pending_acks);
}
