// The two ways of an answer: over the socket aside, or where its offer came, for a broker that waits in a read on another
// core than the backend's. All that are unanswered take the same, and none is missed whichever it takes.
#include <sched.h>
#include <thread>

#include "support/outcome.hpp"

using namespace rp::test;

namespace {

constexpr std::size_t core_word = 4; // of the page
constexpr std::uint64_t a_moment = 200'000'000;

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
              CHECK(rp_handoff_session_execute(scene.offering.get(), &submission, &outcome_, nullptr) == RP_HANDOFF_OK);
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

TEST_CASE("a goodbye is heard where the answers come") {
    for (const bool elsewhere : {true, false}) {
        hand::Scene scene;
        place_backend(scene, elsewhere);
        Executing executing(scene);
        adopt(scene, scene.backend.hear_offer());
        CHECK(executing.outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
        write_all(elsewhere ? scene.backend.connection.get() : scene.backend.aside.get(),
                  hand::frame(hand::goodbye, 0, {}));
        CHECK(scene.next_event().kind == RP_HANDOFF_EVENT_CLOSING);
    }
}

TEST_CASE("a goodbye that an executing thread reads wakes the loop") {
    for (const bool elsewhere : {true, false}) {
        hand::Scene scene;
        place_backend(scene, elsewhere);
        CHECK_FALSE(is_readable(fd_of(scene.offering)));
        Executing executing(scene);
        const hand::Offer offer = scene.backend.hear_offer();
        CHECK(scene.backend.page.adopt(offer));
        const int socket = elsewhere ? scene.backend.connection.get() : scene.backend.aside.get();
        Bytes both = hand::frame(hand::goodbye, 0, {});
        const Bytes answer = hand::Answer{offer.slot, offer.ticket, hand::adopted, ""}.framed();
        both.insert(both.end(), answer.begin(), answer.end());
        write_all(socket, both);
        CHECK(executing.outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
        CHECK(is_readable(fd_of(scene.offering)));
        CHECK(scene.next_event().kind == RP_HANDOFF_EVENT_CLOSING);
    }
}

TEST_CASE("a broker that only executes hears the goodbye of a backend elsewhere, whenever it was said") {
    for (const bool was_heard_of : {true, false}) {
        Joined joined;
        for (int handoffs = was_heard_of ? 3 : 0; handoffs >= 0; --handoffs) {
            if (handoffs == 0) {
                CHECK(rp_handoff_session_close(joined.receiving.get()) == RP_HANDOFF_OK);
            }
            ClientConnection client;
            std::thread backend([&] { // on whichever core
                const Event event = await_event(joined.receiving);
                if (event.kind == RP_HANDOFF_EVENT_OFFER) {
                    accept_offer(event.offer);
                    take_event(joined.receiving);
                }
            });
            const auto submission = submission_of(client.fd.get());
            auto outcome = sized<rp_handoff_outcome>();
            const std::int32_t status =
                rp_handoff_session_execute(joined.offering.get(), &submission, &outcome, nullptr);
            CHECK((status == RP_HANDOFF_OK || (handoffs == 0 && status == RP_HANDOFF_ERR_CLOSED)));
            if (status != RP_HANDOFF_OK) {
                CHECK(rp_handoff_session_close(joined.offering.get()) == RP_HANDOFF_OK);
            }
            backend.join();
        }
        ClientConnection client; // the goodbye came with the last answer at the latest
        const auto submission = submission_of(client.fd.get());
        auto outcome = sized<rp_handoff_outcome>();
        CHECK(rp_handoff_session_execute(joined.offering.get(), &submission, &outcome, nullptr) ==
              RP_HANDOFF_ERR_CLOSED);
    }
}

TEST_CASE("a backend speaks where the last offer asked for it, and repeats its goodbye there") {
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
    CHECK(rp_handoff_session_close(scene.receiving.get()) == RP_HANDOFF_OK);
    CHECK(scene.hear().kind == hand::goodbye);
    bool was_here = false;
    for (const bool here : {false, true, true, false}) {
        const ClientConnection client;
        hand::Offer offer = scene.make_offer();
        offer.flags = here ? hand::answer_here : 0;
        scene.send_offer(offer, client.fd.get());
        const Event event = scene.next_event();
        CHECK(rp_handoff_offer_refuse(event.offer.get(), "no") == RP_HANDOFF_OK);
        CHECK(take_event(scene.receiving).kind == 0);
        std::vector<std::uint8_t> heard;
        while (is_readable(here ? scene.connection.get() : scene.aside.get())) {
            heard.push_back(hand::receive_frame(here ? scene.connection.get() : scene.aside.get()).kind);
        }
        CHECK(std::count(heard.begin(), heard.end(), hand::answers) == 1);
        CHECK(std::count(heard.begin(), heard.end(), hand::goodbye) == (here != was_here ? 1 : 0));
        CHECK(heard.size() == (here != was_here ? 2 : 1));
        was_here = here;
    }
}

TEST_CASE("more garbage than fits is the end of the session, on either socket, and of nothing else") {
    for (const bool elsewhere : {true, false}) {
        hand::Scene scene;
        place_backend(scene, elsewhere);
        Executing executing(scene);
        scene.backend.hear_offer();
        const Bytes rubbish(100'000, 0xEE);
        const int heard = elsewhere ? scene.backend.connection.get() : scene.backend.aside.get();
        const int unheard = elsewhere ? scene.backend.aside.get() : scene.backend.connection.get();
        for (const int socket : {unheard, heard}) {
            CHECK(send(socket, rubbish.data(), rubbish.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0);
        }
        CHECK(executing.outcome().ownership == RP_HANDOFF_OWNER_BROKER);
        for (int i = 0; i < 3; ++i) {
            process(scene.offering);
            CHECK(rp_handoff_session_wait(scene.offering.get(), 0) >= 0);
        }
        const Event event = take_event(scene.offering);
        CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
        CHECK(event.status == RP_HANDOFF_ERR_PROTOCOL);
    }
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
