// The two ways of an answer: over the connection, or over the socket aside, which a broker reads that waits on the
// backend's own core. All that are unanswered take the same, and none is missed whichever it takes.
#include <sched.h>
#include <thread>

#include "outcome.hpp"

using namespace rp::test;

namespace {

constexpr std::size_t core_word = 4; // of the page
constexpr std::uint64_t a_moment = 20'000'000;

// Keeps this process where it is, and says so in the backend's name.
void share_core(const hand::Scene &scene) {
    const int core = sched_getcpu();
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(core), &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    scene.backend.page.word(core_word) = static_cast<std::uint64_t>(core) + 1;
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

bool is_aside(const hand::Offer &offer) {
    return (offer.flags & hand::answer_aside) != 0;
}

void adopt(hand::Scene &scene, const hand::Offer &offer) {
    CHECK(scene.backend.page.adopt(offer));
    scene.backend.answer(offer, hand::adopted);
}

} // namespace

TEST_CASE("who executes on the backend's core asks for the answer aside, and who does not, or submits, for none") {
    hand::Scene scene;
    for (const bool same : {true, false, true}) {
        share_core(scene);
        scene.backend.page.word(core_word) += same ? 0 : 1;
        Executing executing(scene);
        const hand::Offer executed = scene.backend.hear_offer();
        CHECK(is_aside(executed) == same);
        adopt(scene, executed);
        CHECK(executing.outcome().ownership == RP_HANDOFF_OWNER_BACKEND);

        ClientConnection client;
        submit(scene.offering, client);
        const hand::Offer submitted = scene.backend.hear_offer();
        CHECK_FALSE(is_aside(submitted));
        adopt(scene, submitted);
        check_completed(scene.next_event());
    }
}

TEST_CASE("as long as an answer aside is missing, the others go there too, and a loop finds them all") {
    for (const bool watched_before : {true, false}) {
        hand::Scene scene;
        share_core(scene);
        if (watched_before) {
            CHECK_FALSE(is_readable(fd_of(scene.offering)));
        }
        Executing executing(scene, a_moment);
        const hand::Offer late = scene.backend.hear_offer();
        CHECK(is_aside(late));
        CHECK(executing.outcome().cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);

        ClientConnection client;
        submit(scene.offering, client);
        const hand::Offer next = scene.backend.hear_offer();
        CHECK(is_aside(next));
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
        CHECK_FALSE(is_aside(scene.backend.hear_offer()));
    }
}

TEST_CASE("an answer on the way that was not asked for is not missed") {
    for (const bool aside : {true, false}) {
        hand::Scene scene;
        share_core(scene);
        Executing executing(scene, a_moment);
        const hand::Offer offer = scene.backend.hear_offer();
        CHECK(scene.backend.page.adopt(offer));
        scene.backend.answers_aside = aside;
        scene.backend.answer(offer, hand::adopted);
        CHECK(executing.outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
        scene.turn();
        CHECK(statistics(scene.offering).in_flight == 0);
    }
}

TEST_CASE("a backend that goes with either socket alone ends the wait of a broker that reads aside") {
    for (const bool aside : {true, false}) {
        hand::Scene scene;
        share_core(scene);
        Executing executing(scene, aside ? 0 : a_moment);
        CHECK(is_aside(scene.backend.hear_offer()));
        (aside ? scene.backend.aside : scene.backend.connection).reset();
        CHECK(executing.outcome().ownership == RP_HANDOFF_OWNER_BROKER);
        scene.turn();
        const Event event = take_event(scene.offering);
        CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
        CHECK(event.status == RP_HANDOFF_ERR_CLOSED);
    }
}

TEST_CASE("a goodbye that came over the connection is seen after a handoff with its answer aside") {
    hand::Scene scene;
    share_core(scene);
    write_all(scene.backend.connection.get(), hand::frame(hand::goodbye, 0, {}));
    Executing executing(scene);
    const hand::Offer offer = scene.backend.hear_offer();
    CHECK(is_aside(offer));
    adopt(scene, offer);
    CHECK(executing.outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
    CHECK(scene.next_event().kind == RP_HANDOFF_EVENT_CLOSING);
}

TEST_CASE("a backend answers each offer the way that it asks for, and says goodbye over the connection") {
    hand::BackendScene scene;
    for (const bool aside : {true, false, true, true, false}) {
        ClientConnection client;
        hand::Offer offer = scene.make_offer();
        offer.flags = aside ? hand::answer_aside : 0;
        scene.send_offer(offer, client.fd.get());
        const UniqueFd adopted = accept_offer(scene.next_event().offer);
        CHECK(take_event(scene.receiving).kind == 0);
        CHECK(scene.has_answers() == aside);
        CHECK(is_readable(scene.connection.get()) != aside);
        CHECK(scene.hear_answers(aside) == std::vector<hand::Answer>{{offer.slot, offer.ticket, hand::adopted, ""}});
    }
    ClientConnection client;
    scene.send_offer(scene.make_offer(), client.fd.get());
    CHECK(rp_handoff_session_close(scene.receiving.get()) == RP_HANDOFF_OK);
    CHECK(scene.hear().kind == hand::goodbye);
    CHECK_FALSE(is_readable(scene.connection.get()));
}

TEST_CASE("answers of either way that the socket does not take follow when it does") {
    for (const bool aside : {true, false}) {
        hand::BackendScene scene;
        const int socket = aside ? scene.aside.get() : scene.connection.get();
        ClientConnection client;
        std::uint32_t sent = 0;
        const int unread = [&] {
            for (;;) { // refusals with long texts, until nothing more goes in
                hand::Offer offer = scene.make_offer(sent++ % hand::BackendScene::slots);
                offer.flags = aside ? hand::answer_aside : 0;
                scene.send_offer(offer, client.fd.get());
                const Event event = scene.next_event();
                REQUIRE(event.kind == RP_HANDOFF_EVENT_OFFER);
                REQUIRE(rp_handoff_offer_refuse(event.offer.get(), std::string(255, 'x').c_str()) == RP_HANDOFF_OK);
                if (statistics(scene.receiving).messages_sent < sent) {
                    return socket;
                }
            }
        }();
        std::uint32_t heard = 0;
        while (heard < sent) {
            REQUIRE(is_readable(unread));
            heard += static_cast<std::uint32_t>(scene.hear_answers(aside).size());
            scene.turn();
        }
        CHECK(heard == sent);
        CHECK_FALSE(is_readable(fd_of(scene.receiving)));
    }
}
