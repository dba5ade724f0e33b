// What travels with an offer: metadata, bytes that were read already, and what the backend's accept writes first.
#include "support/session_hand.hpp"

using namespace rp::test;

namespace {

Bytes pattern(std::size_t length, std::uint8_t first) {
    Bytes bytes(length);
    for (std::size_t i = 0; i < length; ++i) {
        bytes[i] = static_cast<std::uint8_t>(first + i * 7);
    }
    return bytes;
}

struct Payload {
    Bytes metadata;
    Bytes early;
    Bytes prologue;

    rp_handoff_submission on(int fd) const {
        auto submission = submission_of(fd);
        submission.metadata = metadata.data();
        submission.metadata_length = static_cast<std::uint32_t>(metadata.size());
        submission.early = early.data();
        submission.early_length = static_cast<std::uint32_t>(early.size());
        submission.prologue = prologue.data();
        submission.prologue_length = static_cast<std::uint32_t>(prologue.size());
        return submission;
    }
};

Event offer_with(const Joined &joined, ClientConnection &client, const Payload &payload, std::uint32_t flags = 0) {
    auto submission = payload.on(client.fd.release());
    submission.flags = flags;
    submit(joined.offering, submission);
    return joined.next_offer();
}

Bytes bytes_of(const std::uint8_t *data, std::size_t length) {
    return length > 0 ? Bytes(data, data + length) : Bytes();
}

Bytes read_exactly(const UniqueFd &fd, std::size_t length) {
    Bytes bytes(length);
    REQUIRE(recv(fd.get(), bytes.data(), length, MSG_WAITALL) == static_cast<ssize_t>(length));
    return bytes;
}

} // namespace

TEST_CASE("metadata and early bytes of every length up to their bounds arrive as they were") {
    Joined joined;
    const std::size_t metadata[] = {0, 1, 127, 128, 129, 255, 256, 257, 4095, 4096, 0, 4096, 300};
    const std::size_t early[] = {0, 0, 0, 1, 128, 256, 1000, 65535, 65536, 65536, 65536, 0, 300};
    for (std::size_t i = 0; i < std::size(metadata); ++i) {
        CAPTURE(i);
        ClientConnection client;
        const Payload payload{pattern(metadata[i], 1), pattern(early[i], 2), {}};
        const Event event = offer_with(joined, client, payload);
        for (int answered = 0; answered < 2; ++answered) {
            const auto info = info_of(event.offer);
            CHECK(bytes_of(info.metadata, info.metadata_length) == payload.metadata);
            CHECK(bytes_of(info.early, info.early_length) == payload.early);
            CHECK(info.flags == 0);
            CHECK(info.unwritten_length == 0);
            if (answered == 0) {
                accept_offer(event.offer);
            }
        }
        CHECK(joined.next_outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
        CHECK(read_available(client.client.get()).empty());
    }
}

TEST_CASE("a payload beyond its bound, or none where a length says that there is one, is an error of the caller's") {
    Joined joined;
    const ClientConnection client;
    const Bytes bytes(70000);
    const auto check_refused = [&](auto change) {
        auto submission = submission_of(client.fd.get());
        change(submission);
        Out<std::uint64_t> id;
        CHECK(try_submit(joined.offering, submission, id.get()) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
        CHECK(id.untouched());
        OutStruct<rp_handoff_outcome> outcome;
        CHECK(rp_handoff_session_execute(joined.offering.get(), &submission, outcome.get(), nullptr) ==
              RP_HANDOFF_ERR_INVALID_ARGUMENT);
        CHECK(outcome.untouched());
    };
    check_refused([&](rp_handoff_submission &s) { s.metadata = bytes.data(), s.metadata_length = 4097; });
    check_refused([&](rp_handoff_submission &s) { s.early = bytes.data(), s.early_length = 65537; });
    check_refused([&](rp_handoff_submission &s) { s.prologue = bytes.data(), s.prologue_length = 4097; });
    check_refused([&](rp_handoff_submission &s) { s.metadata_length = 1; });
    check_refused([&](rp_handoff_submission &s) { s.early_length = 1; });
    check_refused([&](rp_handoff_submission &s) { s.prologue_length = 1; });
    CHECK(statistics(joined.broker).pending_tokens == 0);
    CHECK(is_open(client.fd.get()));
}

TEST_CASE("all three of the greatest length travel in one offer") {
    Joined joined;
    ClientConnection client;
    const Payload payload{pattern(4096, 3), pattern(65536, 4), pattern(4096, 5)};
    const Event event = offer_with(joined, client, payload);
    CHECK(info_of(event.offer).flags == RP_HANDOFF_OFFER_HAS_PROLOGUE);
    accept_offer(event.offer);
    const auto info = info_of(event.offer);
    CHECK(bytes_of(info.metadata, info.metadata_length) == payload.metadata);
    CHECK(bytes_of(info.early, info.early_length) == payload.early);
    CHECK(read_exactly(client.client, 4096) == payload.prologue);
}

TEST_CASE("payloads of many offers in one batch do not get mixed up") {
    Joined joined;
    std::vector<ClientConnection> clients(40);
    std::vector<Payload> payloads;
    std::vector<rp_handoff_submission> items;
    for (std::size_t i = 0; i < clients.size(); ++i) {
        payloads.push_back({pattern(i % 4 * 100, static_cast<std::uint8_t>(i)), pattern(i % 7 * 1000, 1), {}});
    }
    for (std::size_t i = 0; i < clients.size(); ++i) {
        items.push_back(payloads[i].on(clients[i].fd.release()));
    }
    REQUIRE(rp_handoff_session_submit(joined.offering.get(), items.data(), 40, nullptr, nullptr) == 40);
    joined.turn();
    for (std::size_t i = 0; i < clients.size(); ++i) {
        const Event event = take_event(joined.receiving);
        REQUIRE(event.kind == RP_HANDOFF_EVENT_OFFER);
        const auto info = info_of(event.offer);
        CHECK(bytes_of(info.metadata, info.metadata_length) == payloads[i].metadata);
        CHECK(bytes_of(info.early, info.early_length) == payloads[i].early);
        const UniqueFd adopted = accept_offer(event.offer);
        CHECK(are_joined(adopted.get(), clients[i].client.get()));
    }
}

TEST_CASE("a prologue is the first thing on the connection, and nothing of it is there before the backend accepts") {
    Joined joined;
    ClientConnection client;
    const Bytes prologue = pattern(500, 6);
    const Event event = offer_with(joined, client, {{}, {}, prologue});
    CHECK(read_available(client.client.get()).empty());
    const UniqueFd adopted = accept_offer(event.offer);
    CHECK(info_of(event.offer).unwritten_length == 0);
    CHECK(send(adopted.get(), "+", 1, 0) == 1);
    Bytes expected = prologue;
    expected.push_back('+');
    CHECK(read_available(client.client.get()) == expected);
}

TEST_CASE("a prologue is not written by a backend that refuses, or whose offer was revoked") {
    for (const bool revoked : {false, true}) {
        Joined joined;
        ClientConnection client;
        const Payload payload{{}, {}, pattern(10, 7)};
        const std::uint64_t id = submit(joined.offering, payload.on(client.fd.release()));
        const Event event = joined.next_offer();
        if (revoked) {
            CHECK(rp_handoff_session_cancel(joined.offering.get(), id) == 1);
            accept_offer(event.offer, RP_HANDOFF_ERR_REVOKED);
        } else {
            CHECK(rp_handoff_offer_refuse(event.offer.get(), nullptr) == RP_HANDOFF_OK);
        }
        CHECK(info_of(event.offer).unwritten_length == 0);
        CHECK(read_available(client.client.get()).empty());
    }
}

TEST_CASE("of a prologue for which the connection has no room, or none for all of it, the rest is told") {
    for (const bool full : {true, false}) {
        Joined joined;
        ClientConnection client;
        const Bytes prologue = pattern(4096, 8);
        fill_up(client.fd);
        std::size_t unread = 0;
        if (!full) { // a stream that has room for some: its buffer counts in pages
            SocketPair tcp;
            const Front front(ClientKind::tcp);
            client.client = front.connect();
            client.fd = front.accept();
            const int small = 2048;
            REQUIRE(setsockopt(client.fd.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
            Bytes junk(1 << 20);
            ssize_t n = 0;
            while ((n = send(client.fd.get(), junk.data(), junk.size(), MSG_DONTWAIT)) > 0) {
                unread += static_cast<std::size_t>(n);
            }
            Bytes taken(3000);
            REQUIRE(recv(client.client.get(), taken.data(), taken.size(), MSG_WAITALL) == 3000);
            unread -= 3000;
        }
        const Event event = offer_with(joined, client, {{}, {}, prologue});
        const UniqueFd adopted = accept_offer(event.offer);
        const auto info = info_of(event.offer);
        const Bytes rest = bytes_of(info.unwritten, info.unwritten_length);
        if (full) {
            CHECK(rest == prologue);
        } else {
            CHECK(rest == Bytes(prologue.end() - static_cast<std::ptrdiff_t>(rest.size()), prologue.end()));
            read_exactly(client.client, unread);
            CHECK(send(adopted.get(), rest.data(), rest.size(), 0) == static_cast<ssize_t>(rest.size()));
            CHECK(read_exactly(client.client, prologue.size()) == prologue);
        }
        CHECK(joined.next_outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
    }
}

TEST_CASE("a prologue for a client that has gone is unwritten, and the backend owns the connection all the same") {
    Joined joined;
    ClientConnection client;
    client.client.reset();
    const Event event = offer_with(joined, client, {{}, {}, pattern(10, 9)});
    const UniqueFd adopted = accept_offer(event.offer);
    CHECK(info_of(event.offer).unwritten_length == 10);
    CHECK(joined.next_outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
}

TEST_CASE(
    "a prologue towards something that is no socket is an error of submit; without one anything can be handed over") {
    Joined joined;
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    const UniqueFd read_end(ends[0]);
    UniqueFd write_end(ends[1]);
    const Payload payload{{}, {}, pattern(1, 1)};
    CHECK(try_submit(joined.offering, payload.on(write_end.get())) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(try_submit(joined.offering, payload.on(9999)) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(is_open(write_end.get()));
    submit(joined.offering, submission_of(write_end.release()));
    const UniqueFd adopted = accept_offer(joined.next_offer().offer);
    CHECK(write(adopted.get(), "x", 1) == 1);
    char got = 0;
    CHECK(read(read_end.get(), &got, 1) == 1);
    CHECK(got == 'x');
}

TEST_CASE("a backend speaks first as soon as it has accepted, before its answer has left") {
    Joined joined;
    ClientConnection client;
    const Event event = offer_with(joined, client, {});
    const UniqueFd adopted = accept_offer(event.offer);
    CHECK(send(adopted.get(), "220 ready", 9, 0) == 9);
    CHECK(read_available(client.client.get()).size() == 9);
    CHECK(rp_handoff_session_wait(joined.offering.get(), 0) == 0);
}

TEST_CASE("a broker that will write first says so in the offer") {
    Joined joined;
    ClientConnection client;
    const Event event = offer_with(joined, client, {}, RP_HANDOFF_SUBMIT_READY_FOLLOWS);
    CHECK(info_of(event.offer).flags == RP_HANDOFF_OFFER_READY_FOLLOWS);
}

TEST_CASE("what is known of an offer is who sent it, for which service, and its token") {
    Setup setup;
    setup.offering.service_name = "the service";
    WithTime clock;
    Joined joined(clock.in(setup));
    ClientConnection client;
    auto submission = submission_of(client.fd.release());
    submission.flags = RP_HANDOFF_SUBMIT_TOKEN;
    submission.token = issue(joined.broker);
    submission.correlation_id = 88;
    submit(joined.offering, submission);
    clock.time.now += 77;
    const Event event = joined.next_offer();
    const auto info = info_of(event.offer);
    CHECK(std::string(info.service_name) == "the service");
    CHECK(info.service_name_length == 11);
    CHECK(info.correlation_id == 88);
    CHECK(info.peer_pid == static_cast<std::uint32_t>(getpid()));
    CHECK(info.peer_uid == geteuid());
    CHECK(info.received_ns == clock.time.now);
    CHECK(rp_handoff_token_equal(&info.token, &submission.token) == 1);
}
