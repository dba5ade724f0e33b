// Which tokens a backend takes, and in which words it refuses the others.
#include "support/hand_backend.hpp"

using namespace rp::test;

namespace {

// A backend on a clock that the test turns, and a broker that speaks by hand.
struct Desk {
    explicit Desk(std::int32_t policy = RP_HANDOFF_TOKENS_FROM_BROKER, std::uint32_t max_pending = 0)
        : backend(make_backend(options(time, policy, max_pending))), broker(backend) {}

    static rp_handoff_backend_options options(FakeTime &time, std::int32_t policy, std::uint32_t max_pending) {
        auto options = time.in(sized<rp_handoff_backend_options>());
        options.token_policy = policy;
        options.max_pending = max_pending;
        return options;
    }

    Offer offer(const rp_handoff_token &token) {
        broker.offer(client.fd.get(), token);
        return take_offer(backend);
    }

    // Offers, and checks that the backend refuses it in these words, having kept nothing.
    void check_refused(const rp_handoff_token &sideband, const Bytes &frame, const std::string &words) {
        ClientConnection doomed;
        const std::uint64_t before = statistics(backend).rejected_tokens;
        broker.offer(doomed.fd.get(), sideband, frame);
        doomed.fd.reset();
        CHECK(take_offer(backend) == nullptr);
        CHECK(is_at_end(doomed.client.get()));
        CHECK(statistics(backend).rejected_tokens == before + 1);
        CHECK(statistics(backend).unanswered == 0);
        check_last_answer(false, words);
    }
    void check_refused(const rp_handoff_token &token, const std::string &words) {
        check_refused(token, encoded(wire_offer(token, "service", 7)), words);
    }

    void check_last_answer(bool accepted, const std::string &words) {
        const std::optional<HandBroker::Answer> answer = broker.answer();
        REQUIRE(answer);
        CHECK(answer->accepted == accepted);
        CHECK(answer->detail == words);
        CHECK(answer->correlation_id == 7);
    }

    void accept(const Offer &offer) {
        REQUIRE(offer != nullptr);
        std::int32_t fd = -1;
        CHECK(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_OK);
        CHECK(client.is_served_by(fd));
        UniqueFd adopted(fd);
        check_last_answer(true, "");
    }

    // Accepting fails in this way, and the broker is told in these words.
    void check_too_late(const Offer &offer, std::int32_t status, const std::string &words) {
        REQUIRE(offer != nullptr);
        Out<std::int32_t> fd;
        CHECK(rp_handoff_offer_accept(offer.get(), fd.get()) == status);
        CHECK(fd.untouched());
        check_last_answer(false, words);
        client.fd.reset();
        CHECK(is_at_end(client.client.get()));
    }

    FakeTime time;
    Backend backend;
    HandBroker broker;
    ClientConnection client;
};

const char *const not_pending = "handoff token is not pending";
constexpr std::uint64_t ttl = 30 * second;

} // namespace

TEST_CASE("a backend that trusts its broker takes the broker's tokens") {
    Desk desk;
    const Offer offer = desk.offer(token_of(1));
    REQUIRE(offer != nullptr);
    const rp_handoff_token token = token_of(1);
    const rp_handoff_offer_info info = info_of(offer);
    CHECK(rp_handoff_token_equal(&info.token, &token) == 1);
    desk.accept(offer);
}

TEST_CASE("an offer whose token is not the one beside the descriptor is refused") {
    Desk desk;
    desk.check_refused(token_of(1), encoded(wire_offer(token_of(2), "service", 7)), "handoff token mismatch");
    desk.accept(desk.offer(token_of(1))); // neither was used up
    desk.accept(desk.offer(token_of(2)));
}

TEST_CASE("an offer whose token has another length is refused with the length") {
    Desk desk;
    const std::uint8_t bytes[100] = {};
    rp_handoff_wire_offer offer = wire_offer(token_of(0), "service", 7);
    offer.token = bytes;
    offer.token_length = 0;
    const Bytes missing = encoded(offer);
    ClientConnection doomed;
    desk.broker.offer(doomed.fd.get(), token_of(0), missing);
    CHECK(take_offer(desk.backend) == nullptr);
    Bytes answer = read_available(desk.broker.connection.get());
    CHECK(std::string(answer.begin(), answer.end()).find("handoff token is missing") != std::string::npos);
    for (const std::size_t length : {1U, 15U, 17U, 64U, 65U, 100U}) {
        offer.token_length = length;
        desk.broker.offer(doomed.fd.get(), token_of(0), encoded(offer));
        CHECK(take_offer(desk.backend) == nullptr);
        answer = read_available(desk.broker.connection.get());
        const std::string words = "handoff token length was " + std::to_string(length) + " bytes; expected 16";
        CHECK(std::string(answer.begin(), answer.end()).find(words) != std::string::npos);
    }
    CHECK(statistics(desk.backend).rejected_tokens == 7);
}

TEST_CASE("a token that was offered before is refused, be its offer unanswered, accepted or refused") {
    Desk desk;
    const Offer unanswered = desk.offer(token_of(1));
    REQUIRE(unanswered != nullptr);
    const HandBroker other(desk.backend);
    other.offer(desk.client.fd.get(), token_of(1));
    CHECK(take_offer(desk.backend) == nullptr);
    CHECK(other.answer()->detail == not_pending);

    desk.accept(unanswered);
    desk.check_refused(token_of(1), not_pending);

    const Offer refused = desk.offer(token_of(2));
    REQUIRE(refused != nullptr);
    CHECK(rp_handoff_offer_refuse(refused.get(), "no") == RP_HANDOFF_OK);
    desk.check_last_answer(false, "no");
    desk.check_refused(token_of(2), not_pending);
}

TEST_CASE("a used token is remembered for its time to live, to the nanosecond") {
    Desk desk;
    desk.accept(desk.offer(token_of(1)));
    desk.time.now += ttl - 1;
    desk.check_refused(token_of(1), not_pending);
    desk.time.now += 1;
    const HandBroker other(desk.backend);
    other.offer(desk.client.fd.get(), token_of(2)); // remembering a new one drops the old
    CHECK(take_offer(desk.backend) != nullptr);
    desk.accept(desk.offer(token_of(1)));
}

TEST_CASE("as many used tokens are remembered as may be pending, the latest of them") {
    Desk desk(RP_HANDOFF_TOKENS_FROM_BROKER, 2);
    desk.accept(desk.offer(token_of(1)));
    desk.accept(desk.offer(token_of(2)));
    desk.check_refused(token_of(1), not_pending);
    desk.check_refused(token_of(2), not_pending);
    desk.accept(desk.offer(token_of(3)));
    desk.check_refused(token_of(2), not_pending);
    desk.accept(desk.offer(token_of(1)));
}

TEST_CASE("a backend that expects tokens refuses those that nobody announced") {
    Desk desk(RP_HANDOFF_TOKENS_EXPECTED);
    desk.check_refused(token_of(1), not_pending);
    const rp_handoff_token token = token_of(1);
    REQUIRE(rp_handoff_backend_expect(desk.backend.get(), &token) == RP_HANDOFF_OK);
    desk.check_refused(token_of(2), not_pending);
    desk.accept(desk.offer(token));
    desk.check_refused(token, not_pending);
}

TEST_CASE("an announcement that was taken back counts for nothing") {
    Desk desk(RP_HANDOFF_TOKENS_EXPECTED);
    const rp_handoff_token token = token_of(1);
    REQUIRE(rp_handoff_backend_expect(desk.backend.get(), &token) == RP_HANDOFF_OK);
    CHECK(rp_handoff_backend_revoke(desk.backend.get(), &token) == 1);
    CHECK(rp_handoff_backend_revoke(desk.backend.get(), &token) == 0);
    desk.check_refused(token, not_pending);
}

TEST_CASE(
    "an announced token lives for its time to live, to the nanosecond, and a second announcement starts it anew") {
    for (const std::uint64_t early : {1U, 0U}) {
        CAPTURE(early);
        Desk desk(RP_HANDOFF_TOKENS_EXPECTED);
        const rp_handoff_token token = token_of(1);
        REQUIRE(rp_handoff_backend_expect(desk.backend.get(), &token) == RP_HANDOFF_OK);
        desk.time.now += second;
        REQUIRE(rp_handoff_backend_expect(desk.backend.get(), &token) == RP_HANDOFF_OK);
        desk.time.now += ttl - early;
        if (early == 1) {
            desk.accept(desk.offer(token));
        } else {
            desk.check_refused(token, "handoff token expired");
            desk.check_refused(token, not_pending);
        }
    }
}

TEST_CASE("a mismatch does not use an announced token up, and neither does a connection that breaks") {
    Desk desk(RP_HANDOFF_TOKENS_EXPECTED);
    const rp_handoff_token token = token_of(1);
    REQUIRE(rp_handoff_backend_expect(desk.backend.get(), &token) == RP_HANDOFF_OK);
    desk.check_refused(token, encoded(wire_offer(token_of(2), "service", 7)), "handoff token mismatch");
    {
        const HandBroker broken(desk.backend);
        broken.offer(desk.client.fd.get(), token, Bytes{1, 9, 0, 0, 0});
    }
    CHECK(take_offer(desk.backend) == nullptr);
    desk.accept(desk.offer(token));
}

TEST_CASE("of two offers of one announced token the first that is accepted has it") {
    Desk desk(RP_HANDOFF_TOKENS_EXPECTED);
    const rp_handoff_token token = token_of(1);
    REQUIRE(rp_handoff_backend_expect(desk.backend.get(), &token) == RP_HANDOFF_OK);
    const HandBroker other(desk.backend);
    other.offer(desk.client.fd.get(), token);
    const Offer first = take_offer(desk.backend);
    const Offer second_offer = desk.offer(token);
    REQUIRE(first != nullptr);
    std::int32_t fd = -1;
    CHECK(rp_handoff_offer_accept(first.get(), &fd) == RP_HANDOFF_OK);
    UniqueFd(fd).reset();
    CHECK(other.answer()->accepted);
    desk.check_too_late(second_offer, RP_HANDOFF_ERR_TOKEN_NOT_PENDING, not_pending);
}

TEST_CASE("an offer can be accepted until its token's time to live has passed, to the nanosecond") {
    for (const std::uint64_t early : {1U, 0U}) {
        CAPTURE(early);
        Desk desk;
        const Offer offer = desk.offer(token_of(1));
        desk.time.now += ttl - early;
        if (early == 1) {
            desk.accept(offer);
        } else {
            desk.check_too_late(offer, RP_HANDOFF_ERR_TOKEN_EXPIRED, "handoff token expired");
            CHECK(statistics(desk.backend).rejected_tokens == 1);
            CHECK(statistics(desk.backend).accepted == 0);
        }
    }
}

TEST_CASE("an offer whose token was revoked since it was read cannot be accepted") {
    Desk desk;
    const Offer offer = desk.offer(token_of(1));
    const rp_handoff_token token = token_of(1);
    CHECK(rp_handoff_backend_revoke(desk.backend.get(), &token) == 1);
    desk.check_too_late(offer, RP_HANDOFF_ERR_TOKEN_NOT_PENDING, not_pending);
    std::int32_t fd = -1;
    CHECK(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_ERR_ANSWERED);
    CHECK(rp_handoff_offer_refuse(offer.get(), nullptr) == RP_HANDOFF_ERR_ANSWERED);
}

TEST_CASE("a refusal is told in up to 1024 bytes of valid text, cut between two characters") {
    struct Refusal {
        std::string given;
        std::string told;
    };
    const std::string a_umlaut = "\xc3\xa4";
    const Refusal refusals[] = {
        {"", ""},
        {std::string(1023, 'x'), std::string(1023, 'x')},
        {std::string(1024, 'x'), std::string(1024, 'x')},
        {std::string(1025, 'x'), std::string(1024, 'x')},
        {std::string(1022, 'x') + a_umlaut, std::string(1022, 'x') + a_umlaut},
        {std::string(1023, 'x') + a_umlaut, std::string(1023, 'x')},
        {"up to \xff here", "up to "},
        {"line\nfeed", "line\nfeed"},
    };
    Desk desk;
    std::uint8_t next = 1;
    for (const Refusal &refusal : refusals) {
        const Offer offer = desk.offer(token_of(next++));
        REQUIRE(offer != nullptr);
        CHECK(rp_handoff_offer_refuse(offer.get(), refusal.given.c_str()) == RP_HANDOFF_OK);
        desk.check_last_answer(false, refusal.told);
    }
    const Offer offer = desk.offer(token_of(next));
    CHECK(rp_handoff_offer_refuse(offer.get(), nullptr) == RP_HANDOFF_OK);
    desk.check_last_answer(false, "");
    CHECK(statistics(desk.backend).refused == std::size(refusals) + 1);
}

TEST_CASE("an offer is closed before it is refused, so that the broker is the only owner when it hears of it") {
    Desk desk;
    const Offer offer = desk.offer(token_of(1));
    desk.client.fd.reset();
    CHECK_FALSE(is_at_end(desk.client.client.get()));
    CHECK(rp_handoff_offer_refuse(offer.get(), "no") == RP_HANDOFF_OK);
    CHECK(is_at_end(desk.client.client.get()));
}
