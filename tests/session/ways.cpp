// The two ways of an answer: over the socket aside, or where its offer came, for a broker that waits in a read on another
// core than the backend's. All that are unanswered take the same, and none is missed whichever it takes.
#include <sched.h>
#include <thread>

#include "outcome.hpp"

using namespace rp::test;

namespace {

constexpr std::size_t core_word = 4; // of the page
constexpr std::uint64_t a_moment = 20'000'000;

// Keeps this process where it is, and says in the backend's name that it is there too, or not.
void place_backend(const hand::Scene &scene, bool elsewhere) {
    const int core = sched_getcpu();
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(core), &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    scene.backend.page.word(core_word) = static_cast<std::uint64_t>(core) + (elsewhere ? 2 : 1);
}

// A handoff by execute, in a thread of its own.
class Executing {
  public:
    explicit Executing(const hand::Scene &scene, std::uint64_t timeout_ns = 0)
        : thread_([this, &scene, timeout_ns] {
              auto submission = submission_of(client_.fd.get());
              submission.timeout_ns = timeout_ns;
              CHECK(rp_handoff_session_execute(scene.offering.get(), &submission, &outcome_) == RP_HANDOFF_OK);
          }) {}
    ~Executing() {
        if (thread_.joinable()) {
            thread_.join();
        }
    }
    rp_handoff_outcome outcome() {
        thread_.join();
        return outcome_;
    }

  private:
    ClientConnection client_;
    rp_handoff_outcome outcome_ = sized<rp_handoff_outcome>();
    std::thread thread_;
};

bool asks_for_answer_here(const hand::Offer &offer) {
    return (offer.flags & hand::answer_here) != 0;
}

void adopt(hand::Scene &scene, const hand::Offer &offer) {
    CHECK(scene.backend.page.adopt(offer));
    scene.backend.answer(offer, hand::adopted);
}

} // namespace

TEST_CASE("who executes on another core than the backend's asks for the answer there, and nobody else does") {
    hand::Scene scene;
    for (const bool elsewhere : {true, false, true}) {
        place_backend(scene, elsewhere);
        Executing executing(scene);
        const hand::Offer executed = scene.backend.hear_offer();
        CHECK(asks_for_answer_here(executed) == elsewhere);
        adopt(scene, executed);
        CHECK(executing.outcome().ownership == RP_HANDOFF_OWNER_BACKEND);

        ClientConnection client;
        submit(scene.offering, client);
        const hand::Offer submitted = scene.backend.hear_offer();
        CHECK_FALSE(asks_for_answer_here(submitted));
        adopt(scene, submitted);
        check_completed(scene.next_event());
    }
}

TEST_CASE("as long as an answer there is missing, the others go there too, and a loop finds them all") {
    for (const bool watched_before : {true, false}) {
        hand::Scene scene;
        place_backend(scene, true);
        if (watched_before) {
            CHECK_FALSE(is_readable(fd_of(scene.offering)));
        }
        Executing executing(scene, a_moment);
        const hand::Offer late = scene.backend.hear_offer();
        CHECK(asks_for_answer_here(late));
        CHECK(executing.outcome().cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);

        ClientConnection client;
        submit(scene.offering, client);
        const hand::Offer next = scene.backend.hear_offer();
        CHECK(asks_for_answer_here(next));
        CHECK_FALSE(scene.backend.page.adopt(late));
        scene.backend.answer(late, hand::lost);
        CHECK(is_readable(fd_of(scene.offering)));
        CHECK(scene.next_event().kind == 0);
        adopt(scene, next);
        CHECK(is_readable(fd_of(scene.offering)));
        check_completed(scene.next_event());
        CHECK(statistics(scene.offering).in_flight == 0);

        ClientConnection last;
        submit(scene.offering, last);
        CHECK_FALSE(asks_for_answer_here(scene.backend.hear_offer()));
    }
}

TEST_CASE("an answer on the other way than was asked for decides nothing, as the ledger does") {
    for (const bool elsewhere : {true, false}) {
        hand::Scene scene;
        place_backend(scene, elsewhere);
        Executing executing(scene, a_moment);
        const hand::Offer offer = scene.backend.hear_offer();
        CHECK(scene.backend.page.adopt(offer));
        scene.backend.answers_here = !elsewhere;
        scene.backend.answer(offer, hand::adopted);
        CHECK(executing.outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
    }
}

TEST_CASE("a backend that goes ends the wait of a broker that reads where it offers") {
    hand::Scene scene;
    place_backend(scene, true);
    Executing executing(scene);
    CHECK(asks_for_answer_here(scene.backend.hear_offer()));
    scene.backend.close();
    CHECK(executing.outcome().ownership == RP_HANDOFF_OWNER_BROKER);
    const Event event = scene.next_event();
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == RP_HANDOFF_ERR_CLOSED);
}

TEST_CASE("a goodbye that came aside is seen after a handoff that was answered there") {
    hand::Scene scene;
    place_backend(scene, true);
    scene.backend.say(hand::frame(hand::goodbye, 0, {}));
    Executing executing(scene);
    const hand::Offer offer = scene.backend.hear_offer();
    CHECK(asks_for_answer_here(offer));
    adopt(scene, offer);
    CHECK(executing.outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
    CHECK(scene.next_event().kind == RP_HANDOFF_EVENT_CLOSING);
}

TEST_CASE("a backend answers each offer the way that it asks for, and says goodbye aside") {
    hand::BackendScene scene;
    for (const bool here : {true, false, true, true, false}) {
        ClientConnection client;
        hand::Offer offer = scene.make_offer();
        offer.flags = here ? hand::answer_here : 0;
        scene.send_offer(offer, client.fd.get());
        const UniqueFd adopted = accept_offer(scene.next_event().offer);
        CHECK(take_event(scene.receiving).kind == 0);
        CHECK(scene.has_answers() == !here);
        CHECK(is_readable(scene.connection.get()) == here);
        CHECK(scene.hear_answers(here) == std::vector<hand::Answer>{{offer.slot, offer.ticket, hand::adopted, ""}});
    }
    ClientConnection client;
    hand::Offer offer = scene.make_offer();
    offer.flags = hand::answer_here;
    scene.send_offer(offer, client.fd.get());
    const Event event = scene.next_event();
    CHECK(rp_handoff_session_close(scene.receiving.get()) == RP_HANDOFF_OK);
    CHECK(scene.hear().kind == hand::goodbye);
    CHECK_FALSE(is_readable(scene.connection.get()));
}

TEST_CASE("answers of either way that the socket does not take follow when it does") {
    for (const bool here : {true, false}) {
        hand::BackendScene scene;
        const int unread = here ? scene.connection.get() : scene.aside.get();
        const ClientConnection client;
        std::uint32_t sent = 0;
        while (statistics(scene.receiving).messages_sent >= sent) { // refusals, until one has to wait
            hand::Offer offer = scene.make_offer(sent++ % hand::BackendScene::slots);
            offer.flags = here ? hand::answer_here : 0;
            scene.send_offer(offer, client.fd.get());
            const Event event = scene.next_event();
            REQUIRE(event.kind == RP_HANDOFF_EVENT_OFFER);
            REQUIRE(rp_handoff_offer_refuse(event.offer.get(), std::string(255, 'x').c_str()) == RP_HANDOFF_OK);
        }
        std::uint32_t heard = 0;
        while (heard < sent) {
            REQUIRE(is_readable(unread));
            heard += static_cast<std::uint32_t>(scene.hear_answers(here).size());
            scene.turn();
        }
        CHECK(heard == sent);
        CHECK_FALSE(is_readable(fd_of(scene.receiving)));
    }
}
