// Tokens end with their handoff: afterwards there is none in the memory of either side, nor in what is told to anybody.
#include "support/memory.hpp"
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

__attribute__((noinline)) void check_gone() {
    tokens_in_memory(); // binds the functions that it calls; the dynamic linker saves registers on the stack for that
    clear_stack();
    CHECK(tokens_in_memory() == 0);
}

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
        check_gone();
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
    check_gone();
}

TEST_CASE("no detail that is told has anything of a token") {
    const Secretive side;
    ClientConnection client;
    submit(side.joined->offering, client);
    CHECK(rp_handoff_offer_refuse(side.joined->next_offer().offer.get(), "no") == RP_HANDOFF_OK);
    const Event event = side.joined->next_outcome();
    CHECK(std::string(event.outcome.detail).find(std::string(4, static_cast<char>(secret))) == std::string::npos);
}
