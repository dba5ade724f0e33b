// Tokens end with their handoff: afterwards there is none in the memory of either side, nor in what is told to anybody.
#include "support/memory_scan.hpp"
#include "support/session.hpp"
#include "support/valgrind.hpp"

using namespace rp::test;

namespace {

// All of whose tokens are the secret.
struct Secretive {
    Secretive() {
        random.next = secret;
        random.step = 0;
        Setup setup;
        setup.broker = random.in(setup.broker);
        joined = std::make_unique<Joined>(setup);
    }

    FakeRandom random;
    std::unique_ptr<Joined> joined;
};

// Hands over so that it ends in this way.
__attribute__((noinline)) void hand_over(const Joined &joined, int how) {
    ClientConnection client;
    const std::uint64_t id = submit(joined.offering, client);
    if (how == 0) {
        CHECK(rp_handoff_session_cancel(joined.offering.get(), id) == 1);
    }
    const Event offered = joined.next_offer();
    if (how == 0) {
        accept_offer(offered.offer, RP_HANDOFF_ERR_REVOKED);
    } else if (how == 1) {
        accept_offer(offered.offer);
    } else {
        CHECK(rp_handoff_offer_refuse(offered.offer.get(), "no") == RP_HANDOFF_OK);
    }
    CHECK(take_event(joined.receiving).kind == 0);
    turn({&joined.offering});
    CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_OUTCOME);
}

} // namespace

TEST_CASE("a token that is in use is found in memory, so that one which is not found is not there" *
          doctest::test_suite(not_under_valgrind)) {
    const Secretive side;
    ClientConnection client;
    submit(side.joined->offering, client);
    CHECK(tokens_in_memory() > 0);
}

TEST_CASE("of a handoff that was revoked, adopted or refused no token is left in memory" *
          doctest::test_suite(not_under_valgrind)) {
    for (const int how : {0, 1, 2}) {
        CAPTURE(how);
        const Secretive side;
        hand_over(*side.joined, how);
        check_no_token_in_memory();
    }
}

TEST_CASE("of a session that ended in the middle no token is left in memory" *
          doctest::test_suite(not_under_valgrind)) {
    {
        const Secretive side;
        ClientConnection client;
        submit(side.joined->offering, client);
        process(side.joined->receiving);
    }
    check_no_token_in_memory();
}

TEST_CASE("no detail that is told has anything of a token") {
    const Secretive side;
    ClientConnection client;
    submit(side.joined->offering, client);
    CHECK(rp_handoff_offer_refuse(side.joined->next_offer().offer.get(), "no") == RP_HANDOFF_OK);
    const Event event = side.joined->next_outcome();
    CHECK(std::string(event.outcome.detail).find(std::string(4, static_cast<char>(secret))) == std::string::npos);
}

TEST_CASE("of a token that the caller issued, and gave to a session, only the caller's own copy is left in memory" *
          doctest::test_suite(not_under_valgrind)) {
    const Secretive side;
    rp_handoff_token token = issue(side.joined->broker);
    const auto hand_over_with_token = [&] {
        ClientConnection client;
        auto submission = submission_of(client.fd.get());
        submission.flags = RP_HANDOFF_SUBMIT_TOKEN;
        submission.token = token;
        std::int32_t submitted = 0;
        CHECK(tokens_left_on_stack([&] { submitted = try_submit(side.joined->offering, submission); }) == 0);
        REQUIRE(submitted == 1);
        client.fd.release();
        accept_offer(side.joined->next_offer().offer);
        CHECK(side.joined->next_outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
        rp_handoff_token_wipe(&submission.token);
    };
    hand_over_with_token();
    clear_stack();
    CHECK(tokens_in_memory() == 1);
    rp_handoff_token_wipe(&token);
    check_no_token_in_memory();
}
