// Tokens of a broker: issued, acknowledged, revoked, swept, counted.
#include "support/exchange.hpp"

#include <numeric>

using namespace rp::test;

namespace {

struct Sweep {
    std::uint32_t count = 0;
    std::int32_t more = -1;
};

Sweep sweep(const Broker &broker, std::uint32_t max = 0, rp_handoff_overdue *items = nullptr, std::size_t stride = 0) {
    Sweep out;
    REQUIRE(rp_handoff_broker_sweep(broker.get(), max, items, stride, &out.count, &out.more) == RP_HANDOFF_OK);
    return out;
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

void check_ended(const Broker &broker, const rp_handoff_token &token) {
    const rp_handoff_request request = request_to_nowhere(token);
    OutStruct<rp_handoff_outcome> outcome;
    CHECK(rp_handoff_broker_execute(broker.get(), &request, outcome.get()) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
    CHECK(outcome.untouched());
    CHECK(acknowledge(broker, token, 0) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
    CHECK(rp_handoff_broker_revoke(broker.get(), &token) == 0);
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

TEST_CASE("sweep ends what is overdue, oldest first, and tells what it was") {
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const rp_handoff_token first = issue(broker, "first", 11);
    ++time.now;
    const rp_handoff_token second_one = issue(broker, "second", 12);
    ++time.now;
    const rp_handoff_token third = issue(broker, std::string(255, 'n').c_str(), UINT32_MAX);
    time.now += 5 * second - 1; // the first two are due

    rp_handoff_overdue items[3];
    std::memset(&items, 0xA5, sizeof items);
    const rp_handoff_overdue untouched = items[2];
    Sweep swept = sweep(broker, 3, items, sizeof items[0]);
    CHECK(swept.count == 2);
    CHECK(swept.more == 0);
    CHECK(rp_handoff_token_equal(&items[0].token, &first) == 1);
    CHECK(std::string(items[0].service_name) == "first");
    CHECK(items[0].backend_pid == 11);
    CHECK(rp_handoff_token_equal(&items[1].token, &second_one) == 1);
    CHECK(std::string(items[1].service_name) == "second");
    CHECK(items[1].backend_pid == 12);
    CHECK(std::memcmp(&items[2], &untouched, sizeof untouched) == 0);

    ++time.now;
    swept = sweep(broker, 3, items, sizeof items[0]);
    CHECK(swept.count == 1);
    CHECK(rp_handoff_token_equal(&items[0].token, &third) == 1);
    CHECK(std::string(items[0].service_name) == std::string(255, 'n'));
    CHECK(items[0].backend_pid == UINT32_MAX);
    check_ended(broker, first);
    check_ended(broker, third);
    CHECK(statistics(broker).overdue == 3);
}

TEST_CASE("sweep stops at its maximum and says whether there is more") {
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    for (int i = 0; i < 5; ++i) {
        issue(broker);
    }
    time.now += 5 * second;
    const auto expect = [&broker](std::uint32_t max, std::uint32_t count, std::int32_t more) {
        const Sweep swept = sweep(broker, max);
        CHECK(swept.count == count);
        CHECK(swept.more == more);
    };
    expect(1, 1, 1);
    expect(3, 3, 1);
    expect(1, 1, 0); // exactly what was left
    expect(1, 0, 0);
    issue(broker); // not due
    expect(1, 0, 0);
}

TEST_CASE("a sweep without a maximum takes 1024") {
    FakeTime time;
    auto options = sized<rp_handoff_broker_options>();
    options.max_pending = 1025;
    const Broker broker = make_broker(time.in(options));
    for (int i = 0; i < 1025; ++i) {
        issue(broker);
    }
    time.now += 5 * second;
    Sweep swept = sweep(broker);
    CHECK(swept.count == 1024);
    CHECK(swept.more == 1);
    swept = sweep(broker);
    CHECK(swept.count == 1);
    CHECK(swept.more == 0);
}

TEST_CASE("swept items lie as far apart as the caller says, and nothing between them is touched") {
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    for (const std::size_t surplus : {1U, 4U, 40U}) {
        const rp_handoff_token tokens[2] = {issue(broker, "one"), issue(broker, "two")};
        time.now += 5 * second;
        const std::size_t stride = sizeof(rp_handoff_overdue) + surplus;
        Bytes memory(2 * stride, 0xA5);
        REQUIRE(sweep(broker, 2, reinterpret_cast<rp_handoff_overdue *>(memory.data()), stride).count == 2);
        for (std::size_t i = 0; i < 2; ++i) {
            rp_handoff_overdue item;
            std::memcpy(&item, memory.data() + i * stride, sizeof item);
            CHECK(rp_handoff_token_equal(&item.token, &tokens[i]) == 1);
            CHECK(std::string(item.service_name) == (i == 0 ? "one" : "two"));
            const auto *between = memory.data() + i * stride + sizeof item;
            CHECK(Bytes(between, between + surplus) == Bytes(surplus, 0xA5));
        }
    }
}

TEST_CASE("a token that another call is executing is in use, and is not swept") {
    Exchange exchange;
    const rp_handoff_token token = issue(exchange.broker);
    const auto accept = exchange.serve;
    exchange.serve = [&] {
        OutStruct<rp_handoff_outcome> outcome;
        const rp_handoff_request request = exchange.request(token);
        CHECK(rp_handoff_broker_execute(exchange.broker.get(), &request, outcome.get()) == RP_HANDOFF_ERR_TOKEN_IN_USE);
        CHECK(outcome.untouched());
        CHECK(acknowledge(exchange.broker, token, exchange.time.now) == RP_HANDOFF_ERR_TOKEN_IN_USE);
        exchange.time.now += 5 * second;
        const Sweep swept = sweep(exchange.broker);
        CHECK(swept.count == 0);
        CHECK(swept.more == 0);
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
    CHECK(sweep(broker).count == 1);
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
