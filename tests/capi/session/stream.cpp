// The stream between a broker and a backend, cut and merged in every way: no descriptor is ever taken for another
// offer's.
#include <sys/resource.h>

#include "support/session_hand.hpp"
#include "support/shortage.hpp"
#include "support/valgrind.hpp"

using namespace rp::test;

namespace {

// Offers in slots 0 to count - 1, with payloads of different lengths, and the connections that go with them.
struct Batch {
    Batch(hand::BackendScene &scene, std::uint32_t count, std::uint32_t first_slot = 0) : clients(count) {
        for (std::uint32_t i = 0; i < count; ++i) {
            hand::Offer offer = scene.make_offer(first_slot + i);
            offer.metadata = Bytes(i % 3, static_cast<std::uint8_t>(i));
            offer.early = Bytes(i % 5, 'e');
            const Bytes item = offer.item();
            body.insert(body.end(), item.begin(), item.end());
            ids.push_back(offer.correlation_id);
        }
    }

    Bytes framed() const { return hand::frame(hand::offers, static_cast<std::uint16_t>(clients.size()), body); }
    std::vector<int> fds() const {
        std::vector<int> all;
        for (const ClientConnection &client : clients) {
            all.push_back(client.fd.get());
        }
        return all;
    }
    void close() {
        for (ClientConnection &client : clients) {
            client.fd.reset();
        }
    }

    std::vector<ClientConnection> clients;
    std::vector<std::uint64_t> ids;
    Bytes body;
};

// The session gives these offers next, in their order, each with its own connection.
void check_offered(const hand::BackendScene &scene, const Batch &batch) {
    for (std::size_t i = 0; i < batch.clients.size(); ++i) {
        const Event event = scene.next_event();
        REQUIRE(event.kind == RP_HANDOFF_EVENT_OFFER);
        const auto info = info_of(event.offer);
        CHECK(info.correlation_id == batch.ids[i]);
        CHECK(info.metadata_length == i % 3);
        CHECK(info.early_length == i % 5);
        const UniqueFd adopted = accept_offer(event.offer);
        CHECK(are_joined(adopted.get(), batch.clients[i].client.get()));
    }
}

void check_no_more(const hand::BackendScene &scene) {
    CHECK(scene.next_event().kind == 0);
    while (scene.has_answers()) {
        scene.hear_answers();
    }
}

void check_broken_off(const hand::BackendScene &scene, std::int32_t status = RP_HANDOFF_ERR_PROTOCOL) {
    const Event event = scene.next_event();
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == status);
}

Bytes part_of(const Bytes &bytes, std::size_t from, std::size_t to = SIZE_MAX) {
    return Bytes(bytes.begin() + static_cast<std::ptrdiff_t>(from),
                 bytes.begin() + static_cast<std::ptrdiff_t>(std::min(to, bytes.size())));
}

Bytes joined(const Bytes &a, const Bytes &b) {
    Bytes all = a;
    all.insert(all.end(), b.begin(), b.end());
    return all;
}

} // namespace

TEST_CASE("offers cut at any byte, and read in between or not, keep their descriptors") {
    hand::BackendScene scene;
    const std::size_t length = Batch(scene, 3).framed().size();
    for (std::size_t cut = 1; cut < length; ++cut) {
        CAPTURE(cut);
        const Batch batch(scene, 3);
        scene.say(part_of(batch.framed(), 0, cut), batch.fds());
        if (cut % 2 == 0) {
            process(scene.receiving);
            CHECK(take_event(scene.receiving).kind == 0);
        }
        scene.say(part_of(batch.framed(), cut));
        check_offered(scene, batch);
        check_no_more(scene);
    }
}

TEST_CASE("offers that come byte by byte keep their descriptors") {
    hand::BackendScene scene;
    const Batch batch(scene, 3);
    scene.say(part_of(batch.framed(), 0, 1), batch.fds());
    for (std::size_t i = 1; i < batch.framed().size(); ++i) {
        process(scene.receiving);
        scene.say(part_of(batch.framed(), i, i + 1));
    }
    check_offered(scene, batch);
}

TEST_CASE("frames that lie behind each other, the end of one and the whole of the next, keep their descriptors") {
    hand::BackendScene scene;
    const std::size_t length = Batch(scene, 2).framed().size();
    for (std::size_t cut = 1; cut < length; cut += 7) {
        CAPTURE(cut);
        const Batch first(scene, 2, 0);
        const Batch next(scene, 3, 2);
        const Batch third(scene, 1, 5);
        scene.say(part_of(first.framed(), 0, cut), first.fds());
        scene.say(part_of(first.framed(), cut));
        scene.say(next.framed(), next.fds());
        scene.say(third.framed(), third.fds());
        check_offered(scene, first);
        check_offered(scene, next);
        check_offered(scene, third);
        check_no_more(scene);
    }
}

TEST_CASE("a goodbye before offers, cut at any byte, does not come between them and their descriptors") {
    for (std::size_t cut = 0; cut <= hand::header_size; ++cut) {
        CAPTURE(cut);
        hand::BackendScene scene;
        const Bytes goodbye = hand::frame(hand::goodbye, 0, {});
        const Batch batch(scene, 2);
        if (cut > 0) {
            scene.say(part_of(goodbye, 0, cut));
        }
        if (cut % 2 == 0) {
            process(scene.receiving);
        }
        if (cut < goodbye.size()) {
            scene.say(part_of(goodbye, cut));
        }
        scene.say(batch.framed(), batch.fds());
        check_offered(scene, batch);
    }
}

TEST_CASE("the longest frame, and one after it, arrive whole") {
    hand::BackendScene scene;
    hand::Offer offer = scene.make_offer(0);
    offer.metadata = Bytes(RP_HANDOFF_METADATA_MAX, 'm');
    offer.early = Bytes(RP_HANDOFF_EARLY_BYTES_MAX, 'e');
    offer.prologue = Bytes(RP_HANDOFF_PROLOGUE_MAX, 'p');
    const Bytes frame = hand::frame(hand::offers, 1, offer.item());
    const ClientConnection client;
    const Batch next(scene, 2, 1);
    hand::send_with(scene.connection.get(), hand::frame(hand::goodbye, 0, {}), {}); // so that a buffer ends within
    scene.say(frame, {client.fd.get()});
    scene.say(next.framed(), next.fds());
    const Event event = scene.next_event();
    const auto info = info_of(event.offer);
    CHECK(info.early_length == RP_HANDOFF_EARLY_BYTES_MAX);
    CHECK(info.early[RP_HANDOFF_EARLY_BYTES_MAX - 1] == 'e');
    CHECK(info.metadata_length == RP_HANDOFF_METADATA_MAX);
    const UniqueFd adopted = accept_offer(event.offer);
    CHECK(read_available(client.client.get()) == offer.prologue);
    CHECK(take_event(scene.receiving).kind == RP_HANDOFF_EVENT_OFFER);
}

TEST_CASE("descriptors where none belong, too many or too few, end the session, and all of them are closed") {
    for (int how = 0; how < 7; ++how) {
        CAPTURE(how);
        hand::BackendScene scene;
        Batch batch(scene, 3);
        std::vector<int> fds = batch.fds();
        const Bytes frame = batch.framed();
        switch (how) {
        case 0: // beside a frame that has none
            scene.say(hand::frame(hand::goodbye, 0, {}), fds);
            process(scene.receiving);
            scene.say(frame, fds);
            break;
        case 1: // one too many
            fds.push_back(fds[0]);
            scene.say(frame, fds);
            break;
        case 2: // one too few
            fds.pop_back();
            scene.say(frame, fds);
            break;
        case 3: // none
            scene.say(frame);
            break;
        case 4: // in the middle of a frame
            scene.say(part_of(frame, 0, 20), fds);
            process(scene.receiving);
            scene.say(part_of(frame, 20), {fds[0]});
            break;
        case 5: // in the middle of a frame that has none yet
            scene.say(part_of(frame, 0, 20));
            process(scene.receiving);
            scene.say(part_of(frame, 20), fds);
            break;
        default: // as many as fit into a message
            scene.say(frame, std::vector<int>(253, fds[0]));
        }
        batch.close();
        check_broken_off(scene);
        scene.receiving.reset();
        for (const ClientConnection &client : batch.clients) {
            CHECK(is_at_end(client.client.get()));
        }
    }
}

TEST_CASE("a batch of which this process can take a part keeps that, and refuses the rest item by item" *
          doctest::test_suite(not_under_valgrind)) {
    hand::BackendScene scene;
    Batch batch(scene, 5);
    scene.say(batch.framed(), batch.fds());
    rlimit before{};
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    std::vector<UniqueFd> gaps; // the lowest numbers are taken, but for two
    const int highest = open_descriptors().rbegin()->first;
    for (int fd = 0; fd < highest;) {
        fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
        gaps.emplace_back(fd);
    }
    rlimit low = before;
    low.rlim_cur = static_cast<rlim_t>(gaps.back().get()) + 3;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
    process(scene.receiving);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    batch.close();
    Event events[2];
    for (std::size_t i = 0; i < 2; ++i) {
        events[i] = take_event(scene.receiving);
        REQUIRE(events[i].kind == RP_HANDOFF_EVENT_OFFER);
        CHECK(info_of(events[i].offer).correlation_id == batch.ids[i]);
        const UniqueFd adopted = accept_offer(events[i].offer);
        CHECK(are_joined(adopted.get(), batch.clients[i].client.get()));
    }
    CHECK(take_event(scene.receiving).kind == 0);
    std::vector<hand::Answer> answers;
    while (scene.has_answers()) {
        for (hand::Answer &answer : scene.hear_answers()) {
            answers.push_back(answer);
        }
    }
    REQUIRE(answers.size() == 5);
    for (std::size_t i = 0; i < 5; ++i) { // the refusals came first
        CHECK(answers[i].verdict == (i < 3 ? hand::no_descriptor : hand::adopted));
        CHECK(answers[i].slot == (i < 3 ? i + 2 : i - 3));
    }
    for (std::uint32_t i = 2; i < 5; ++i) {
        CHECK((scene.page.of_slot(i) & 7U) == hand::Page::refused);
        CHECK(is_at_end(batch.clients[i].client.get()));
    }
    const Batch next(scene, 2);
    scene.say(next.framed(), next.fds());
    check_offered(scene, next);
    CHECK(statistics(scene.receiving).refused == 3);
}

TEST_CASE("a broker whose backend is out of descriptors hears which of its offers came without, and owns those" *
          doctest::test_suite(not_under_valgrind)) {
    Joined joined;
    std::vector<ClientConnection> clients(3);
    std::vector<rp_handoff_submission> items;
    for (ClientConnection &client : clients) {
        items.push_back(submission_of(client.fd.release()));
    }
    REQUIRE(rp_handoff_session_submit(joined.offering.get(), items.data(), 3, nullptr, nullptr) == 3);
    {
        const NoMoreDescriptors none;
        process(joined.receiving);
    }
    joined.turn();
    for (const ClientConnection &client : clients) {
        const Event event = take_event(joined.offering);
        CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_BACKEND_DESCRIPTORS));
        CHECK(event.outcome.reason == RP_HANDOFF_REASON_FD_PRESSURE_DISABLED);
        CHECK(are_joined(event.fd.get(), client.client.get()));
    }
    CHECK(take_event(joined.receiving).kind == 0);
    CHECK(statistics(joined.offering).in_flight == 0);
    CHECK(statistics(joined.receiving).refused == 3);
}

TEST_CASE("what is answered because a place became free leaves at once" * doctest::test_suite(not_under_valgrind)) {
    auto options = sized<rp_handoff_session_options>();
    options.max_in_flight = 1;
    hand::BackendScene scene(options);
    ClientConnection clients[2];
    scene.send_offer(scene.make_offer(0), clients[0].fd.get());
    Event held = scene.next_event();
    accept_offer(held.offer);
    CHECK(take_event(scene.receiving).kind == 0);
    CHECK(scene.hear_answers().size() == 1);
    const hand::Offer without = scene.make_offer(1);
    scene.send_offer(without, clients[1].fd.get());
    {
        const NoMoreDescriptors none;
        process(scene.receiving);
    }
    CHECK_FALSE(scene.has_answers());
    held.offer.reset();
    REQUIRE(scene.has_answers());
    CHECK(scene.hear_answers() == std::vector<hand::Answer>{{without.slot, without.ticket, hand::no_descriptor, ""}});
}

TEST_CASE("a backend that can take no descriptor for the ledger says so by its end" *
          doctest::test_suite(not_under_valgrind)) {
    SocketPair pair;
    const Session receiving = receive_over(std::move(pair.b));
    hand::Hello own;
    own.role = hand::as_broker;
    const UniqueFd file = hand::memory(64 * 64);
    hand::send_with(pair.a.get(), own.framed(), {});
    turn({&receiving});
    const SocketPair replies;
    hand::send_with(pair.a.get(), hand::frame(hand::ledger, 0, {64, 0, 0, 0}), {file.get(), replies.b.get()});
    rlimit before{};
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    rlimit none = before;
    none.rlim_cur = 0;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    process(receiving);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    const Event event = take_event(receiving);
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == RP_HANDOFF_ERR_DESCRIPTORS);
}

TEST_CASE("answers cut at any byte and merged in any way settle what they say and nothing else") {
    hand::Scene scene;
    const std::string words[] = {"", "no", ""};
    const auto submit_three = [&] {
        ClientConnection clients[3];
        for (ClientConnection &client : clients) {
            submit(scene.offering, client);
        }
        std::vector<hand::Answer> answers;
        for (int i = 0; i < 3; ++i) {
            const hand::Offer offer = scene.backend.hear_offer();
            if (i != 1) {
                CHECK(scene.backend.page.adopt(offer));
            }
            answers.push_back({offer.slot, offer.ticket, i == 1 ? hand::refused : hand::adopted, words[i]});
        }
        return answers;
    };
    const auto check_settled = [&] {
        for (int i = 0; i < 3; ++i) {
            const Event event = scene.next_event();
            CHECK(event.kind == RP_HANDOFF_EVENT_OUTCOME);
            CHECK(event.ownership == (i == 1 ? RP_HANDOFF_OWNER_BROKER : RP_HANDOFF_OWNER_BACKEND));
        }
        CHECK(scene.next_event().kind == 0);
        CHECK(statistics(scene.offering).in_flight == 0);
    };
    const std::size_t length = hand::framed(submit_three()).size();
    for (int i = 0; i < 3; ++i) {
        const Event event = scene.next_event();
        CHECK(event.kind == 0); // nothing was said yet
    }
    for (std::size_t cut = 1; cut < length; ++cut) {
        CAPTURE(cut);
        hand::Scene other;
        std::swap(scene.broker, other.broker);
        std::swap(scene.offering, other.offering);
        std::swap(scene.backend, other.backend);
        const Bytes bytes = hand::framed(submit_three());
        scene.backend.say(part_of(bytes, 0, cut));
        if (cut % 2 == 0) {
            process(scene.offering);
        }
        scene.backend.say(part_of(bytes, cut));
        check_settled();
    }
    const std::vector<hand::Answer> answers = submit_three(); // as three frames in one write
    scene.backend.say(joined(joined(answers[0].framed(), answers[1].framed()), answers[2].framed()));
    check_settled();
}
