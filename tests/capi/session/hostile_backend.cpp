// A backend that sends what it should not, or too much, or nothing, or reads nothing. It harms its own session at most.
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "support/descriptors.hpp"
#include "support/neighbour.hpp"

using namespace rp::test;

namespace {

// Frames that a backend must not send, in a session with one offer outstanding.
std::vector<Bytes> wrong_frames(const hand::Offer &offer) {
    const hand::Answer right{offer.slot, offer.ticket, hand::adopted, ""};
    hand::Answer other_ticket = right;
    other_ticket.ticket += 1;
    hand::Answer other_slot = right;
    other_slot.slot += 1;
    hand::Answer beyond = right;
    beyond.slot = 256;
    hand::Answer far_beyond = right;
    far_beyond.slot = UINT32_MAX;
    hand::Answer long_text = right;
    long_text.text = std::string(256, 't');
    Bytes trailing = right.item();
    trailing.push_back(0);
    Bytes cut = right.item();
    cut.pop_back();
    const Bytes huge = hand::Writer().bytes({'r', hand::answers, 1, 0}).number(std::uint32_t{16 * 1024 - 7}).done();
    return {
        other_ticket.framed(),
        other_slot.framed(),
        beyond.framed(),
        far_beyond.framed(),
        long_text.framed(),
        hand::framed({right, right}),
        hand::frame(hand::answers, 1, trailing),
        hand::frame(hand::answers, 1, cut),
        hand::frame(hand::answers, 2, right.item()),
        hand::frame(hand::answers, 0, right.item()),
        hand::frame(hand::answers, 65535, right.item()),
        hand::Hello().framed(),
        hand::frame(hand::ledger, 0, {1, 0, 0, 0}),
        hand::frame(hand::offers, 1, offer.item()),
        hand::frame(0, 0, {}),
        hand::frame(6, 0, {}),
        hand::frame(255, 0, {}),
        huge,
        {'r', hand::answers, 1, 0, 0xFF, 0xFF, 0xFF, 0xFF},
        {'R'},
        {0},
        {1, 0, 0, 0, 0}, // the v1 wire
        Bytes(4096, 0xFF),
    };
}

} // namespace

TEST_CASE("frames that a backend must not send end its session, and what it had not adopted is the broker's") {
    const std::size_t count = wrong_frames({}).size();
    for (std::size_t i = 0; i < count; ++i) {
        CAPTURE(i);
        hand::Scene scene;
        ClientConnection client;
        submit(scene.offering, client);
        const hand::Offer offer = scene.backend.hear_offer();
        scene.backend.say(wrong_frames(offer)[i]);
        scene.turn();
        const Event event = take_event(scene.offering);
        CHECK(event.kind == RP_HANDOFF_EVENT_OUTCOME);
        CHECK(event.ownership == RP_HANDOFF_OWNER_BROKER);
        CHECK(are_joined(event.fd.get(), client.client.get()));
        CHECK_FALSE(scene.backend.page.adopt(offer));
        check_broken_off(scene);
    }
}

TEST_CASE("an answer to an offer that was not made yet, or has its answer already, ends the session") {
    for (const bool again : {true, false}) {
        hand::Scene scene;
        ClientConnection client;
        submit(scene.offering, client);
        hand::Offer offer = scene.backend.hear_offer();
        CHECK(scene.backend.page.adopt(offer));
        scene.backend.answer(offer, hand::adopted);
        CHECK(scene.next_event().is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
        offer.ticket += again ? 0 : std::uint64_t{1} << 12;
        scene.backend.answer(offer, hand::adopted);
        check_broken_off(scene);
    }
}

TEST_CASE("an unknown verdict is an offer that was lost") {
    hand::Scene scene;
    ClientConnection client;
    submit(scene.offering, client);
    scene.backend.answer(scene.backend.hear_offer(), 77);
    CHECK(scene.next_event().is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_ACK_UNRELATED));
}

TEST_CASE("a flood of what means nothing is read bit by bit, and does not keep the broker from other things") {
    hand::Scene scene;
    const Bytes empty = hand::frame(hand::answers, 0, {});
    Bytes many;
    for (int i = 0; i < 2000; ++i) {
        many.insert(many.end(), empty.begin(), empty.end());
    }
    for (int round = 0; round < 50; ++round) {
        while (send(scene.backend.output(), many.data(), many.size(), MSG_DONTWAIT) > 0) {
        }
        int unread = 0;
        REQUIRE(ioctl(scene.backend.output(), SIOCOUTQ, &unread) == 0);
        process(scene.offering);
        int left = 0;
        REQUIRE(ioctl(scene.backend.output(), SIOCOUTQ, &left) == 0);
        CHECK(left > 0); // one call is one read
    }
    CHECK(take_event(scene.offering).kind == 0);
    ClientConnection client;
    const std::uint64_t id = submit(scene.offering, client);
    CHECK(rp_handoff_session_cancel(scene.offering.get(), id) == 1);
    CHECK(take_event(scene.offering).ownership == RP_HANDOFF_OWNER_BROKER);
}

TEST_CASE("a backend that reads nothing keeps its offers and no more, and each has its outcome at its deadline") {
    WithTime clock;
    Setup setup = clock.in({});
    setup.offering.max_in_flight = 64;
    hand::Scene scene(setup);
    const Neighbour neighbour(scene.broker);
    const Bytes early(RP_HANDOFF_EARLY_BYTES_MAX);
    std::vector<ClientConnection> clients(12);
    for (ClientConnection &client : clients) {
        auto submission = submission_of(client.fd.release());
        submission.early = early.data();
        submission.early_length = RP_HANDOFF_EARLY_BYTES_MAX;
        submit(scene.offering, submission);
    }
    neighbour.check_works();
    clock.time.now += 5 * second;
    process(scene.offering);
    for (ClientConnection &client : clients) {
        const Event event = take_event(scene.offering);
        CHECK(event.kind == RP_HANDOFF_EVENT_OUTCOME);
        CHECK(event.ownership == RP_HANDOFF_OWNER_BROKER);
        CHECK(event.outcome.cause == (event.outcome.may_have_reached_backend == 1
                                          ? RP_HANDOFF_CAUSE_ACK_TIMED_OUT
                                          : RP_HANDOFF_CAUSE_DEADLINE_BEFORE_SEND));
        CHECK(are_joined(event.fd.get(), client.client.get()));
    }
    CHECK(take_event(scene.offering).kind == 0);
    neighbour.check_works();
}

// Where the kernel can be told, it refuses them at the sender; elsewhere they are received and closed.
TEST_CASE("descriptors that a backend sends do not stay, beside whichever frame they come") {
    const Descriptors before = open_descriptors();
    {
        hand::Scene scene;
        ClientConnection client;
        submit(scene.offering, client);
        const hand::Offer offer = scene.backend.hear_offer();
        CHECK(scene.backend.page.adopt(offer));
        const std::size_t open = open_descriptors().size();
        const hand::Answer answer{offer.slot, offer.ticket, hand::adopted, ""};
        if (!hand::try_send_with(scene.backend.output(), answer.framed(), std::vector<int>(253, STDIN_FILENO))) {
            scene.backend.say(answer.framed());
        }
        CHECK(scene.next_event().is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
        CHECK(open_descriptors().size() == open - 1); // but for the broker's own copy
    }
    CHECK(open_descriptors() == before);
    const Broker broker = make_broker();
    SocketPair pair;
    const Session offering = open_over(broker, std::move(pair.a));
    const std::size_t open = open_descriptors().size();
    if (!hand::try_send_with(pair.b.get(), hand::Hello().framed(), std::vector<int>(253, STDIN_FILENO))) {
        return;
    }
    turn({&offering});
    CHECK(open_descriptors().size() <= open);
    const Event event = take_event(offering);
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == RP_HANDOFF_ERR_PROTOCOL);
}
