// Tokens end with their handoff: afterwards there is none in the memory of either side, nor in what is told to anybody.
#include <cstdio>
#include <cstring>

#include "support/memory_scan.hpp"
#include "support/session.hpp"
#include "support/session_hand.hpp"
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

// Another process, so that this one's memory has of the token only what the library keeps: sends a whole offer and, in the
// same message, the head of the longest frame that there can be, for which the receiver has to make room, up to the end
// of its token. Sends the next byte when it is told to.
Child cut_offers(const hand::BackendScene &scene, const hand::Offer &whole, const ClientConnection &client) {
    return Child([&](const Wire &wire) {
        constexpr std::size_t longest = 80 * 1024;
        hand::Offer secretive;
        std::fill(std::begin(secretive.token.bytes), std::end(secretive.token.bytes), secret);
        const Bytes item = secretive.item();
        Bytes bytes = hand::frame(hand::offers, 1, whole.item());
        const Bytes cut = hand::frame(hand::offers, 1, Bytes(longest - hand::header_size));
        bytes.insert(bytes.end(), cut.begin(), cut.begin() + hand::header_size);
        bytes.insert(bytes.end(), item.begin(), item.end());
        scene.say(bytes, {client.fd.get()});
        wire.say('s');
        must(wire.hear() == 'n');
        scene.say(Bytes(1));
        wire.say('s');
        wire.hear();
    });
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

TEST_CASE("of an offer that was cut, and moved in the memory where it is received, no token is left" *
          doctest::test_suite(not_under_valgrind)) {
    {
        hand::BackendScene scene;
        ClientConnection client;
        hand::Offer whole;
        whole.ticket = 1;
        whole.metadata = Bytes(400); // so that what is moved does not overlap with where it was
        scene.put(whole);
        Child broker = cut_offers(scene, whole, client);
        scene.close();
        REQUIRE(broker.hear() == 's');
        const Event offered = scene.next_event();
        REQUIRE(offered.kind == RP_HANDOFF_EVENT_OFFER);
        CHECK(tokens_in_memory() > 0);
        broker.say('n');
        REQUIRE(broker.hear() == 's');
        process(scene.receiving);
        CHECK(tokens_in_memory() == 1);
        broker.say('e');
        REQUIRE(broker.wait() == 0);
        process(scene.receiving);
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
    CHECK((frames_are_kept || tokens_in_memory() == 1));
    rp_handoff_token_wipe(&token);
    if (!frames_are_kept) {
        check_no_token_in_memory();
    }
}

TEST_CASE("of a handoff that is refused for another of its members no token is left" *
          doctest::test_suite(not_under_valgrind)) {
    const Secretive side;
    const ClientConnection client;
    auto submission = submission_of(client.fd.get());
    submission.flags = RP_HANDOFF_SUBMIT_TOKEN;
    submission.token = issue(side.joined->broker);
    auto outcome = sized<rp_handoff_outcome>();
    auto short_outcome = outcome;
    short_outcome.struct_size = 1;
    for (const bool unknown_flag : {false, true}) {
        submission.flags |= unknown_flag ? 1U << 31 : 0U;
        submission.reserved = unknown_flag ? 0 : 1;
        std::int32_t status = 0;
        CHECK(tokens_left_on_stack([&] { status = try_submit(side.joined->offering, submission); }) == 0);
        CHECK(status < 0);
        for (rp_handoff_outcome *const out : {&outcome, &short_outcome}) {
            CHECK(tokens_left_on_stack([&] {
                      status = rp_handoff_session_execute(side.joined->offering.get(), &submission, out, nullptr);
                  }) == 0);
            CHECK(status < 0);
        }
    }
}
