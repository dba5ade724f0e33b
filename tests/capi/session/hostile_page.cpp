// A backend that writes to the page that it shares with its broker what it should not. It harms its own session at
// most, and never an outcome that was told.
#include <random>
#include <sched.h>

#include "support/neighbour.hpp"

using namespace rp::test;
using hand::Page;

namespace {

// What a page's word may hold that neither side writes there.
std::vector<std::uint64_t> garbage_for(std::uint64_t ticket) {
    std::vector<std::uint64_t> words = {0, UINT64_MAX, 1, std::uint64_t{1} << 63};
    for (std::uint64_t state = 0; state < 8; ++state) {
        words.push_back(Page::word_of(ticket - 1, state));
        words.push_back(Page::word_of(ticket + 1, state));
        if (state == 0 || state > Page::refused) {
            words.push_back(Page::word_of(ticket, state)); // also REVOKED, which is the broker's to write
        }
    }
    return words;
}

// Writes at random all over the page, all the time: in bursts, so that some handoffs get away.
Child scribble_over(const Page &page, unsigned seed) {
    return Child([&page, seed](const Wire &wire) {
        std::mt19937_64 random(seed);
        wire.say('r');
        for (;;) {
            for (std::uint64_t writes = random() % 4096; writes > 0; --writes) {
                page.word(random() % page.words()) =
                    random() % 2 == 0 ? random() : Page::word_of(random() % 64, random() % 8);
            }
            sched_yield();
        }
    });
}

struct Told {
    int broker = 0;
    int backend = 0;
};

// Submits and cancels until the broker has found the backend out, or has no more room for what nobody answers.
void hand_over_to_scribbler(unsigned seed, Told &told) {
    hand::Scene scene;
    const Neighbour neighbour(scene.broker);
    Child scribbler = scribble_over(scene.backend.page, seed);
    REQUIRE(scribbler.hear() == 'r');
    for (int round = 0; round < 200; ++round) {
        ClientConnection client;
        Out<std::uint64_t> id;
        if (try_submit(scene.offering, submission_of(client.fd.get()), id.get()) == RP_HANDOFF_ERR_CLOSED) {
            break;
        }
        client.fd.release();
        rp_handoff_session_cancel(scene.offering.get(), id.value); // it may be over already
        const Event event = take_event(scene.offering);
        REQUIRE(event.kind == RP_HANDOFF_EVENT_OUTCOME);
        CHECK(event.id == id.value);
        REQUIRE((event.ownership == RP_HANDOFF_OWNER_BROKER || event.ownership == RP_HANDOFF_OWNER_BACKEND));
        CHECK(static_cast<bool>(event.fd) == (event.ownership == RP_HANDOFF_OWNER_BROKER));
        ++(event.ownership == RP_HANDOFF_OWNER_BROKER ? told.broker : told.backend);
    }
    const std::int32_t after = take_event(scene.offering).kind; // no second outcome
    CHECK((after == 0 || after == RP_HANDOFF_EVENT_CLOSED));
    CHECK(statistics(scene.offering).completed + statistics(scene.offering).fallbacks ==
          statistics(scene.offering).submitted);
    neighbour.check_works();
}

} // namespace

TEST_CASE("whatever a backend writes into the word of an offer that it has counts as adopted, and ends its session") {
    const std::size_t kinds = garbage_for(1).size();
    for (std::size_t i = 0; i < kinds; ++i) {
        CAPTURE(i);
        hand::Scene scene;
        ClientConnection client;
        const std::uint64_t id = submit(scene.offering, client);
        const hand::Offer offer = scene.backend.hear_offer();
        scene.backend.page.of_slot(offer.slot) = garbage_for(offer.ticket)[i];
        CHECK(rp_handoff_session_cancel(scene.offering.get(), id) == 1);
        CHECK(take_event(scene.offering).is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
        check_broken_off(scene);
    }
}

TEST_CASE(
    "garbage in the word of an offer ends the session also when an answer, the deadline or the end brings it out") {
    for (const int how : {0, 1, 2, 3}) {
        CAPTURE(how);
        WithTime clock;
        hand::Scene scene(clock.in({}));
        ClientConnection client;
        submit(scene.offering, client);
        const hand::Offer offer = scene.backend.hear_offer();
        scene.backend.page.of_slot(offer.slot) = 0xDEADBEEF;
        if (how < 2) {
            scene.backend.answer(offer, how == 0 ? hand::adopted : hand::refused);
        } else if (how == 2) {
            clock.time.now += 5 * second;
            process(scene.offering);
        } else {
            scene.backend.close();
        }
        scene.turn();
        CHECK(take_event(scene.offering).is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
        const Event closed = take_event(scene.offering);
        CHECK(closed.kind == RP_HANDOFF_EVENT_CLOSED);
        CHECK(closed.status == (how < 3 ? RP_HANDOFF_ERR_PROTOCOL : RP_HANDOFF_ERR_CLOSED));
    }
}

TEST_CASE("what is not sent yet is the broker's, whatever a backend writes into the page") {
    Setup setup;
    setup.offering.max_in_flight = 2;
    hand::Hello hello;
    hello.max_in_flight = 1;
    hand::Scene scene(setup, hello);
    ClientConnection clients[2];
    submit(scene.offering, clients[0]);
    const hand::Offer sent = scene.backend.hear_offer();
    const std::uint64_t waiting = submit(scene.offering, clients[1]);
    for (std::uint32_t slot = 0; slot < 2; ++slot) {
        if (slot != sent.slot) {
            scene.backend.page.of_slot(slot) = Page::word_of(waiting, Page::adopted);
        }
    }
    CHECK(rp_handoff_session_cancel(scene.offering.get(), waiting) == 1);
    const Event event = take_event(scene.offering);
    CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_CANCELLED));
    CHECK(event.outcome.may_have_reached_backend == 0);
    CHECK(are_joined(event.fd.get(), clients[1].client.get()));
    CHECK(scene.backend.page.adopt(sent));
    scene.backend.answer(sent, hand::adopted);
    CHECK(scene.next_event().is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
    CHECK(take_event(scene.offering).kind == 0); // and the session goes on
}

TEST_CASE("what was tried and not taken by a full socket is the broker's, whatever a backend writes into the page") {
    hand::Scene scene;
    const Bytes early(RP_HANDOFF_EARLY_BYTES_MAX);
    std::vector<ClientConnection> clients;
    std::vector<std::uint64_t> ids;
    do { // until one is still whole in its queue: the one before it has left in part
        clients.emplace_back();
        auto submission = submission_of(clients.back().fd.get());
        submission.early = early.data();
        submission.early_length = RP_HANDOFF_EARLY_BYTES_MAX;
        ids.push_back(submit(scene.offering, submission));
        clients.back().fd.release();
    } while (statistics(scene.offering).messages_sent >= 2 + ids.size());
    for (std::size_t i = 0; i < scene.backend.page.words(); ++i) {
        scene.backend.page.word(i) = Page::word_of(ids.back(), Page::adopted);
    }
    CHECK(rp_handoff_session_cancel(scene.offering.get(), ids.back()) == 1);
    Event event = take_event(scene.offering);
    CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_CANCELLED));
    CHECK(event.outcome.may_have_reached_backend == 0);
    CHECK(rp_handoff_session_cancel(scene.offering.get(), ids.front()) == 1);
    CHECK(take_event(scene.offering).ownership == RP_HANDOFF_OWNER_BACKEND);
    std::size_t others = 0;
    for (event = take_event(scene.offering); event.kind == RP_HANDOFF_EVENT_OUTCOME;
         event = take_event(scene.offering)) {
        CHECK(event.ownership ==
              (event.outcome.may_have_reached_backend == 1 ? RP_HANDOFF_OWNER_BACKEND : RP_HANDOFF_OWNER_BROKER));
        ++others;
    }
    CHECK(others == ids.size() - 2);
    CHECK(event.status == RP_HANDOFF_ERR_PROTOCOL);
}

TEST_CASE("an outcome that was told stands, whatever a backend writes into the page afterwards") {
    hand::Scene scene;
    ClientConnection clients[2];
    const std::uint64_t id = submit(scene.offering, clients[0]);
    const hand::Offer offer = scene.backend.hear_offer();
    CHECK(rp_handoff_session_cancel(scene.offering.get(), id) == 1);
    const Event event = take_event(scene.offering);
    CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_CANCELLED));
    scene.backend.page.put(offer, Page::adopted);
    scene.backend.answer(offer, hand::adopted);
    scene.turn();
    CHECK(take_event(scene.offering).kind == 0);
    CHECK(statistics(scene.offering).in_flight == 0);
    submit(scene.offering, clients[1]); // and the slot is used again as if nothing had been
    const hand::Offer next = scene.backend.hear_offer();
    CHECK(scene.backend.page.adopt(next));
    scene.backend.answer(next, hand::adopted);
    CHECK(scene.next_event().is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
}

TEST_CASE("a page full of holes, one that is to grow and one that is to shrink leave the broker where it was") {
    hand::Scene scene;
    const int file = scene.backend.file.get();
    struct stat info {};
    REQUIRE(fstat(file, &info) == 0);
    CHECK(info.st_size == 256 * 64);
    for (int round = 0; round < 3; ++round) {
        ClientConnection client;
        const std::uint64_t id = submit(scene.offering, client);
        scene.backend.hear_offer();
        if (round == 0) {
            CHECK(ftruncate(file, 0) == -1);
            CHECK(ftruncate(file, info.st_size - 1) == -1);
            CHECK(ftruncate(file, info.st_size + 1) == -1);
            CHECK(fallocate(file, 0, 0, info.st_size + 4096) == -1);
            CHECK(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE) == -1);
        } else {
            REQUIRE(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, info.st_size) == 0);
        }
        CHECK(rp_handoff_session_cancel(scene.offering.get(), id) == 1);
        CHECK(take_event(scene.offering).ownership ==
              (round == 0 ? RP_HANDOFF_OWNER_BROKER : RP_HANDOFF_OWNER_BACKEND));
        if (round == 1) {
            break;
        }
    }
    check_broken_off(scene);
}

TEST_CASE("a backend that scribbles over the whole page all the time never gets an outcome that is neither, nor two") {
    Told told;
    for (unsigned seed = 0; seed < 20 || told.broker < 100 || told.backend < 10; ++seed) {
        CAPTURE(seed);
        hand_over_to_scribbler(seed, told);
    }
}
