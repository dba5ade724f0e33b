// A broker that does what it should not once a session is open. The backend ends it, keeps nothing of what it was sent,
// and adopts nothing that was not offered to it as the ledger says.
#include <random>
#include <sys/mman.h>

#include "support/session_hand.hpp"

using namespace rp::test;
using hand::Page;

namespace {

constexpr std::uint32_t slots = hand::BackendScene::slots;

void check_broken_off(const Session &receiving, std::int32_t status = RP_HANDOFF_ERR_PROTOCOL) {
    turn({&receiving});
    const Event event = take_event(receiving);
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == status);
    CHECK(take_event(receiving).kind == 0);
}

hand::Hello a_hello() {
    hand::Hello hello;
    hello.role = hand::as_broker;
    return hello;
}

// Frames that a broker must not send in an open session; with one descriptor.
std::vector<Bytes> wrong_frames(const hand::Offer &right) {
    const auto changed = [&](auto change) {
        hand::Offer offer;
        offer.slot = right.slot;
        offer.ticket = right.ticket;
        offer.token = right.token;
        change(offer);
        return hand::frame(hand::offers, 1, offer.item());
    };
    Bytes trailing = right.item();
    trailing.push_back(0);
    Bytes cut = right.item();
    cut.pop_back();
    return {
        changed([](hand::Offer &offer) { offer.slot = slots; }),
        changed([](hand::Offer &offer) { offer.slot = UINT32_MAX; }),
        changed([](hand::Offer &offer) { offer.ticket = 0; }),
        changed([](hand::Offer &offer) { offer.ticket = std::uint64_t{1} << 61U; }),
        changed([](hand::Offer &offer) { offer.ticket = UINT64_MAX; }),
        changed([](hand::Offer &offer) { offer.metadata = Bytes(4097); }),
        changed([](hand::Offer &offer) { offer.prologue = Bytes(4097); }),
        changed([](hand::Offer &offer) { offer.early = Bytes(65537); }),
        hand::frame(hand::offers, 1, trailing),
        hand::frame(hand::offers, 1, cut),
        hand::frame(hand::offers, 1, {}),
        hand::frame(hand::offers, 0, right.item()),
        hand::frame(hand::answers, 1, hand::Answer{}.item()),
        hand::frame(0, 1, right.item()),
        hand::frame(77, 1, right.item()),
        a_hello().framed(),
        hand::frame(hand::ledger, 0, hand::Writer().number(slots).done()),
        hand::Writer().bytes({'r', hand::offers, 1, 0}).number(std::uint32_t{80 * 1024 - 7}).done(),
        {0},
        {'q', 0, 0, 0, 0, 0, 0, 0},
        Bytes(100, 1),
    };
}

} // namespace

TEST_CASE("frames that a broker must not send end the session, and the descriptor that came along is closed") {
    const std::size_t count = wrong_frames({}).size();
    for (std::size_t i = 0; i < count; ++i) {
        CAPTURE(i);
        hand::BackendScene scene;
        ClientConnection client;
        scene.say(wrong_frames(scene.make_offer())[i], {client.fd.get()});
        client.fd.reset();
        Event event = scene.next_event();
        if (event.kind == RP_HANDOFF_EVENT_OFFER) { // a good one, with something wrong behind it
            event = take_event(scene.receiving);
        }
        CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
        CHECK(event.status == RP_HANDOFF_ERR_PROTOCOL);
        CHECK(is_at_end(client.client.get()));
    }
}

TEST_CASE("more offers than the backend said that it takes are the end; what it had is refused or revoked as ever") {
    auto options = sized<rp_handoff_session_options>();
    options.max_in_flight = 3;
    hand::BackendScene scene(options);
    ClientConnection clients[4];
    for (std::uint32_t i = 0; i < 4; ++i) {
        scene.send_offer(scene.make_offer(i), clients[i].fd.get());
    }
    scene.turn();
    for (std::uint32_t i = 0; i < 3; ++i) {
        const Event event = take_event(scene.receiving);
        REQUIRE(event.kind == RP_HANDOFF_EVENT_OFFER);
        const UniqueFd adopted = accept_offer(event.offer, RP_HANDOFF_ACK_UNDELIVERED);
        CHECK(are_joined(adopted.get(), clients[i].client.get()));
    }
    check_broken_off(scene.receiving);
}

TEST_CASE("an offer whose token is not the ledger's is a violation, unless the slot was used again: then it is lost") {
    for (const bool used_again : {false, true}) {
        hand::BackendScene scene;
        ClientConnection client;
        hand::Offer offer = scene.make_offer();
        scene.send_offer(offer, client.fd.get());
        client.fd.reset();
        const Event event = scene.next_event();
        if (used_again) {
            scene.make_offer(offer.slot);
        } else {
            offer.token = token_of(200);
            scene.page.put_token(offer);
        }
        accept_offer(event.offer, used_again ? RP_HANDOFF_ERR_REVOKED : RP_HANDOFF_ERR_PROTOCOL);
        CHECK(is_at_end(client.client.get()));
        CHECK((scene.page.of_slot(offer.slot) & 7U) == Page::pending);
        if (used_again) {
            CHECK(take_event(scene.receiving).kind == 0);
            const std::vector<hand::Answer> answers = scene.hear_answers();
            CHECK(answers == std::vector<hand::Answer>{{offer.slot, offer.ticket, hand::lost, ""}});
        } else {
            check_broken_off(scene.receiving);
        }
    }
}

TEST_CASE("an offer is adopted only if the word is exactly that of its ticket, pending") {
    for (std::uint64_t state = 0; state < 8; ++state) {
        for (const std::uint64_t ticket_off : {UINT64_MAX, std::uint64_t{0}, std::uint64_t{1}}) {
            CAPTURE(state);
            CAPTURE(ticket_off);
            hand::BackendScene scene;
            ClientConnection client;
            const hand::Offer offer = scene.make_offer();
            const std::uint64_t word = Page::word_of(offer.ticket + ticket_off, state);
            scene.page.of_slot(offer.slot) = word;
            scene.send_offer(offer, client.fd.get());
            const Event event = scene.next_event();
            const bool right = state == Page::pending && ticket_off == 0;
            const UniqueFd adopted = accept_offer(event.offer, right ? RP_HANDOFF_OK : RP_HANDOFF_ERR_REVOKED);
            const std::uint64_t expected = right ? Page::word_of(offer.ticket, Page::adopted) : word;
            CHECK(scene.page.of_slot(offer.slot) == expected);
            CHECK(take_event(scene.receiving).kind == 0);
            CHECK(scene.hear_answers()[0].verdict == (right ? hand::adopted : hand::lost));
        }
    }
}

TEST_CASE("an offer that is refused writes the word only if that is exactly its ticket, pending") {
    for (std::uint64_t state = 0; state < 8; ++state) {
        hand::BackendScene scene;
        ClientConnection client;
        const hand::Offer offer = scene.make_offer();
        scene.page.put(offer, state);
        scene.send_offer(offer, client.fd.get());
        client.fd.reset();
        const Event event = scene.next_event();
        CHECK(rp_handoff_offer_refuse(event.offer.get(), "no") == RP_HANDOFF_OK);
        CHECK(is_at_end(client.client.get()));
        const std::uint64_t expected = state == Page::pending ? std::uint64_t{Page::refused} : state;
        CHECK(scene.page.of_slot(offer.slot) == Page::word_of(offer.ticket, expected));
        CHECK(take_event(scene.receiving).kind == 0);
        CHECK(scene.hear_answers() == std::vector<hand::Answer>{{offer.slot, offer.ticket, hand::refused, "no"}});
    }
}

TEST_CASE("the same offer twice is adopted once") {
    hand::BackendScene scene;
    ClientConnection client;
    const hand::Offer offer = scene.make_offer();
    scene.send_offer(offer, client.fd.get());
    scene.send_offer(offer, client.fd.get());
    scene.turn();
    const Event first = take_event(scene.receiving);
    const Event again = take_event(scene.receiving);
    const UniqueFd adopted = accept_offer(again.offer);
    accept_offer(first.offer, RP_HANDOFF_ERR_REVOKED);
}

TEST_CASE("a broker that scribbles over the page and punches holes in it all the time only loses its own offers") {
    hand::BackendScene scene;
    Child scribbler([&](const Wire &wire) {
        std::mt19937_64 random(2);
        wire.say('r');
        for (;;) {
            scene.page.word(random() % scene.page.words()) =
                random() % 2 == 0 ? random() : Page::word_of(random() % 64, random() % 8);
            if (random() % 1000 == 0) {
                fallocate(scene.file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, slots * 64);
            }
        }
    });
    REQUIRE(scribbler.hear() == 'r');
    for (std::uint32_t round = 0; round < 500; ++round) {
        ClientConnection client;
        scene.send_offer(scene.make_offer(round % slots), client.fd.get());
        Event event = scene.next_event();
        if (event.kind != RP_HANDOFF_EVENT_OFFER) {
            break; // a violation was found out
        }
        std::int32_t fd = -1;
        const std::int32_t status = rp_handoff_offer_accept(event.offer.get(), &fd);
        CHECK((status == RP_HANDOFF_OK || status == RP_HANDOFF_ERR_REVOKED || status == RP_HANDOFF_ERR_PROTOCOL));
        CHECK((fd >= 0) == (status == RP_HANDOFF_OK));
        const UniqueFd adopted(fd);
        event = take_event(scene.receiving);
        CHECK((event.kind == RP_HANDOFF_EVENT_CLOSED) == (status == RP_HANDOFF_ERR_PROTOCOL));
        if (event.kind == RP_HANDOFF_EVENT_CLOSED) {
            break;
        }
        CHECK(scene.hear_answers().size() == 1);
    }
}

TEST_CASE("a broker that reads no answers and goes on offering is broken off before it costs more than was agreed") {
    auto options = sized<rp_handoff_session_options>();
    options.max_in_flight = 8;
    hand::BackendScene scene(options);
    const ClientConnection client;
    Event event;
    int rounds = 0;
    while (event.kind != RP_HANDOFF_EVENT_CLOSED) {
        REQUIRE(++rounds < 100'000);
        scene.send_offer(scene.make_offer(), client.fd.get());
        for (event = scene.next_event(); event.kind == RP_HANDOFF_EVENT_OFFER; event = take_event(scene.receiving)) {
            CHECK(rp_handoff_offer_refuse(event.offer.get(), std::string(255, 'n').c_str()) >= 0);
        }
    }
    CHECK(event.status == RP_HANDOFF_ERR_PROTOCOL);
}
