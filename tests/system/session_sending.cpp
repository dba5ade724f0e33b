// Sending, when the kernel says no, not now, or not all of it: what left, whose the connection is then, and that the
// stream goes on.
#include "support/session_faults.hpp"

using namespace rp::test;

namespace {

rp_handoff_submission with_metadata(int fd, const Bytes &metadata) {
    auto submission = submission_of(fd);
    submission.metadata = metadata.data();
    submission.metadata_length = static_cast<std::uint32_t>(metadata.size());
    return submission;
}

// What becomes of one that is submitted while sending fails so.
Event outcome_of_send(const Joined &joined, int error, ClientConnection &client) {
    const NoOffers none(error);
    submit(joined.offering, client);
    return take_event(joined.offering);
}

} // namespace

TEST_CASE("an offer of which the kernel takes a part, of whatever length, arrives whole when the rest has followed") {
    Joined joined;
    const Bytes metadata(30, 'm');
    constexpr std::size_t length = 8 + 56 + 30;
    for (std::size_t part = 1; part < length; ++part) {
        CAPTURE(part);
        ClientConnection client;
        int calls_made = 0;
        {
            const Hooked<SendMessage> hook(calls::sendmsg(), [&](int fd, const msghdr *message, int flags) -> ssize_t {
                CHECK(descriptors_of(message) == (calls_made == 0 ? 1 : 0));
                switch (++calls_made) {
                case 1:
                    return send_part(fd, message, flags, part);
                case 2:
                    return fails_with(EAGAIN);
                default:
                    return send_part(fd, message, flags, 1); // the rest by single bytes
                }
            });
            submit(joined.offering, with_metadata(client.fd.release(), metadata));
            process(joined.receiving);
            CHECK(take_event(joined.receiving).kind == 0);
            CHECK(is_readable(fd_of(joined.offering))); // there is room
            process(joined.offering);
            process(joined.offering);
        }
        REQUIRE(static_cast<std::size_t>(calls_made) == 2 + length - part);
        const Event offered = joined.next_offer();
        CHECK(info_of(offered.offer).metadata_length == 30);
        const UniqueFd adopted = accept_offer(offered.offer);
        CHECK(are_joined(client.client.get(), adopted.get()));
        CHECK(joined.next_outcome().is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
    }
    check_hands_over(joined);
}

TEST_CASE("a handoff of which a part has left can be cancelled or end at its deadline, and the stream is not lost") {
    for (const bool cancels : {true, false}) {
        Timed joined;
        ClientConnection clients[2];
        bool blocked = false;
        std::uint64_t id = 0;
        {
            const Hooked<SendMessage> hook(calls::sendmsg(), [&](int fd, const msghdr *message, int flags) {
                return std::exchange(blocked, true) ? fails_with(EAGAIN) : send_part(fd, message, flags, 20);
            });
            id = submit(joined.offering, clients[0]);
            submit(joined.offering, clients[1]); // behind it
            if (cancels) {
                CHECK(rp_handoff_session_cancel(joined.offering.get(), id) == 1);
            } else {
                joined.time.now += 5 * second;
                process(joined.offering);
            }
        }
        const Event event = take_event(joined.offering);
        CHECK(event.id == id);
        CHECK(event.ownership == RP_HANDOFF_OWNER_BROKER);
        CHECK(event.outcome.stage == RP_HANDOFF_STAGE_SEND);
        CHECK(event.outcome.cause == (cancels ? RP_HANDOFF_CAUSE_CANCELLED : RP_HANDOFF_CAUSE_ACK_TIMED_OUT));
        CHECK(event.outcome.may_have_reached_backend == 1);
        CHECK(take_event(joined.offering).kind == (cancels ? 0 : RP_HANDOFF_EVENT_OUTCOME));
        process(joined.offering);
        accept_offer(joined.next_offer().offer, RP_HANDOFF_ERR_REVOKED);
        if (cancels) {
            const UniqueFd adopted = accept_offer(joined.next_offer().offer);
            CHECK(are_joined(clients[1].client.get(), adopted.get()));
            CHECK(joined.next_outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
        }
        CHECK(take_event(joined.receiving).kind == 0);
        joined.turn();
        check_hands_over(joined);
        CHECK(statistics(joined.offering).in_flight == 0);
    }
}

TEST_CASE("a session that ends while a part of an offer has left gives the connection back, and nothing can adopt it") {
    Joined joined;
    ClientConnection client;
    {
        bool blocked = false;
        const Hooked<SendMessage> hook(calls::sendmsg(), [&](int fd, const msghdr *message, int flags) {
            return std::exchange(blocked, true) ? fails_with(EPIPE) : send_part(fd, message, flags, 20);
        });
        submit(joined.offering, client);
        process(joined.offering);
    }
    const Event event = take_event(joined.offering);
    CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_SESSION_LOST));
    CHECK(event.outcome.stage == RP_HANDOFF_STAGE_SEND);
    CHECK(event.outcome.may_have_reached_backend == 1);
    CHECK(take_event(joined.offering).status == RP_HANDOFF_ERR_CLOSED);
    joined.turn();
    CHECK(take_event(joined.receiving).kind == RP_HANDOFF_EVENT_CLOSED);
}

TEST_CASE("answers of which the kernel takes a part, of whatever length, arrive whole when the rest has followed") {
    Joined joined;
    constexpr std::size_t length = 8 + 16 + 2;
    for (std::size_t part = 1; part < length; ++part) {
        CAPTURE(part);
        ClientConnection client;
        submit(joined.offering, client);
        const Event offered = joined.next_offer();
        CHECK(rp_handoff_offer_refuse(offered.offer.get(), "no") == RP_HANDOFF_OK);
        {
            bool blocked = false;
            const Hooked<SendMessage> hook(calls::sendmsg(), [&](int fd, const msghdr *message, int flags) {
                return std::exchange(blocked, true) ? fails_with(EAGAIN) : send_part(fd, message, flags, part);
            });
            CHECK(take_event(joined.receiving).kind == 0);
            turn({&joined.offering});
            CHECK(take_event(joined.offering).kind == 0);
        }
        CHECK(is_readable(fd_of(joined.receiving)));
        joined.turn();
        CHECK(take_event(joined.offering).is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_BACKEND_REFUSED));
    }
    check_hands_over(joined);
}

TEST_CASE("a socket that takes nothing now, or a kernel without buffers, keeps what was submitted for later") {
    for (const int error : {EAGAIN, ENOBUFS}) {
        Timed joined;
        ClientConnection clients[2];
        {
            const NoOffers none(error);
            submit(joined.offering, clients[0]);
            submit(joined.offering, clients[1]);
            CHECK(take_event(joined.offering).kind == 0);
            // It is tried again: when there is room, or after a while, since the socket is not what lacks it.
            CHECK((error == EAGAIN ? is_readable(fd_of(joined.offering)) : timeout_of(joined.offering) < second));
        }
        process(joined.offering);
        const UniqueFd adopted = accept_offer(joined.next_offer().offer);
        CHECK(are_joined(clients[0].client.get(), adopted.get()));
        accept_offer(joined.next_offer().offer);
        CHECK(joined.next_outcome().ownership == RP_HANDOFF_OWNER_BACKEND);

        ClientConnection late;
        const NoOffers none(error);
        CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_OUTCOME);
        submit(joined.offering, late);
        joined.time.now += 5 * second;
        process(joined.offering);
        const Event event = take_event(joined.offering);
        CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_DEADLINE_BEFORE_SEND));
        CHECK(event.outcome.may_have_reached_backend == 0);
    }
}

TEST_CASE("answers that the socket does not take now follow, and the kernel's lack of buffers loses none") {
    for (const int error : {EAGAIN, ENOBUFS}) {
        Joined joined;
        ClientConnection clients[2];
        submit(joined.offering, clients[0]);
        submit(joined.offering, clients[1]);
        const Event first = joined.next_offer();
        const Event next = joined.next_offer();
        {
            const Hooked<SendMessage> hook(calls::sendmsg(),
                                           [error](int, const msghdr *, int) -> ssize_t { return fails_with(error); });
            accept_offer(first.offer);
            CHECK(take_event(joined.receiving).kind == 0);
            accept_offer(next.offer);
            CHECK(take_event(joined.receiving).kind == 0);
        }
        CHECK((error == EAGAIN || timeout_of(joined.receiving) < second));
        process(joined.receiving);
        joined.turn();
        CHECK(take_event(joined.offering).ownership == RP_HANDOFF_OWNER_BACKEND);
        CHECK(take_event(joined.offering).ownership == RP_HANDOFF_OWNER_BACKEND);
    }
}

TEST_CASE("too many descriptors in flight are a fallback of its own, and the broker knows that it is short of them") {
    Joined joined;
    ClientConnection client;
    const Event event = outcome_of_send(joined, ETOOMANYREFS, client);
    CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE));
    CHECK(event.outcome.stage == RP_HANDOFF_STAGE_SEND);
    CHECK(event.outcome.reason == RP_HANDOFF_REASON_FD_PRESSURE_DISABLED);
    CHECK(event.outcome.os_error == ETOOMANYREFS);
    CHECK(event.outcome.may_have_reached_backend == 0);
    CHECK(are_joined(client.client.get(), event.fd.get()));
    CHECK(statistics(joined.broker).fd_pressure == 1);
    CHECK(statistics(joined.broker).fd_pressure_episodes == 1);
    check_hands_over(joined);
    for (int i = 0; i < 3; ++i) {
        rp_handoff_broker_note_accept(joined.broker.get(), 0);
    }
    CHECK(statistics(joined.broker).fd_pressure == 0);
}

TEST_CASE("where a batch is too much for the kernel its offers go one by one") {
    Joined joined;
    std::vector<ClientConnection> clients(10);
    std::vector<rp_handoff_submission> items;
    for (ClientConnection &client : clients) {
        items.push_back(submission_of(client.fd.release()));
    }
    std::vector<std::size_t> sent; // how many descriptors each message took along
    {
        const Hooked<SendMessage> batches_fail(calls::sendmsg(),
                                               [&](int fd, const msghdr *message, int flags) -> ssize_t {
                                                   if (descriptors_of(message) > 1) {
                                                       return fails_with(ETOOMANYREFS);
                                                   }
                                                   sent.push_back(descriptors_of(message));
                                                   return calls::sendmsg().real(fd, message, flags);
                                               });
        REQUIRE(rp_handoff_session_submit(joined.offering.get(), items.data(), 10, nullptr, nullptr) == 10);
    }
    CHECK(sent == std::vector<std::size_t>(10, 1));
    joined.turn();
    for (const ClientConnection &client : clients) {
        const UniqueFd adopted = accept_offer(take_event(joined.receiving).offer);
        CHECK(are_joined(client.client.get(), adopted.get()));
    }
    CHECK(statistics(joined.broker).fd_pressure == 0);
}

TEST_CASE("an errno of sending that concerns one offer fails that one, and the session goes on") {
    struct Row {
        int error;
        std::int32_t cause;
        std::int32_t reason;
    };
    constexpr Row rows[] = {
        {EACCES, RP_HANDOFF_CAUSE_PERMISSION_DENIED, RP_HANDOFF_REASON_PERMISSION_DENIED},
        {EPERM, RP_HANDOFF_CAUSE_PERMISSION_DENIED, RP_HANDOFF_REASON_PERMISSION_DENIED},
        {EBADF, RP_HANDOFF_CAUSE_SEND_FAILED, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
        {EINVAL, RP_HANDOFF_CAUSE_SEND_FAILED, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
        {ENOMEM, RP_HANDOFF_CAUSE_SEND_FAILED, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
        {EMFILE, RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE, RP_HANDOFF_REASON_FD_PRESSURE_DISABLED},
    };
    Joined joined;
    for (const Row &row : rows) {
        CAPTURE(row.error);
        ClientConnection client;
        const Event event = outcome_of_send(joined, row.error, client);
        CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, row.cause));
        CHECK(event.outcome.reason == row.reason);
        CHECK(event.outcome.os_error == row.error);
        CHECK(are_joined(client.client.get(), event.fd.get()));
        check_hands_over(joined);
    }
}

TEST_CASE("an errno of sending that says the backend is gone ends the session, and everything comes back") {
    for (const int error : {EPIPE, ECONNRESET, ENOTCONN}) {
        CAPTURE(error);
        Joined joined;
        ClientConnection clients[2];
        submit(joined.offering, clients[0]);
        Event event = outcome_of_send(joined, error, clients[1]);
        for (const ClientConnection &client : clients) {
            CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_SESSION_LOST));
            CHECK(are_joined(client.client.get(), event.fd.get()));
            event = take_event(joined.offering);
        }
        CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
        CHECK(event.status == RP_HANDOFF_ERR_CLOSED);
    }
}
