// Receiving what peers send beside the bytes: too many descriptors, too few, in the wrong place, or none left to take them
// by. Whatever comes, nothing leaks, and the next broker is served.
#include "support/interpose.hpp"
#include "support/raw_broker.hpp"
#include "support/shortage.hpp"
#include "support/valgrind.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t a_moment = 1'000'000;
constexpr int so_passpidfd = 76; // Linux 6.5; newer than the headers of Debian 12

void check_serves(const Listening &backend) {
    RawBroker broker(backend.path);
    broker.offer(token_of(99));
    CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
}

// An offer whose envelope was changed.
template <class Change>
Bytes spoilt(Change change) {
    const Bytes frame = part_of(an_offer(), 16, an_offer().size());
    auto envelope = sized<rp_handoff_wire_frame>();
    std::size_t consumed = 0;
    REQUIRE(rp_handoff_wire_decode_frame(frame.data(), frame.size(), &envelope, &consumed) == RP_HANDOFF_OK);
    change(envelope);
    Bytes bytes = part_of(an_offer(), 0, 16);
    const Bytes changed = encoded(envelope);
    bytes.insert(bytes.end(), changed.begin(), changed.end());
    return bytes;
}

// The backend drops this broker, keeps nothing of it, and serves the next.
template <class Send>
void check_dropped(Send send_something) {
    const Listening backend;
    RawBroker broker(backend.path);
    send_something(broker);
    broker.client.fd.reset();
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(broker.was_dropped());
    CHECK(broker.client_was_closed());
    CHECK(statistics(backend.backend).connections == 0);
    CHECK(statistics(backend.backend).rejected_offers == 1);
    check_serves(backend);
}

std::int32_t receive_by_hand(int connection, std::size_t length, UniqueFd &out,
                             std::uint64_t timeout = RP_HANDOFF_FOREVER) {
    Bytes bytes(length);
    Out<std::int32_t> fd;
    const std::int32_t status = rp_handoff_wire_receive(connection, bytes.data(), length, timeout, fd.get());
    if (status == RP_HANDOFF_OK) {
        out.reset(fd.value);
    } else {
        CHECK(fd.untouched());
    }
    return status;
}

} // namespace

TEST_CASE("a message with any number of descriptors but one is dropped, and all of them are closed") {
    for (const std::size_t count : {0U, 2U, 3U, 16U, 17U, 252U, 253U}) {
        CAPTURE(count);
        check_dropped([&](RawBroker &broker) {
            send_message(broker.connection.get(), an_offer(), broker.client.fd.get(), count);
        });
    }
}

TEST_CASE("an offer whose first bytes come without a descriptor is dropped, whatever follows") {
    for (const std::size_t at : {std::size_t{1}, std::size_t{15}, std::size_t{16}, std::size_t{21}}) {
        CAPTURE(at);
        check_dropped([&](RawBroker &broker) { broker.send(part_of(an_offer(), 0, at)); });
    }
    check_dropped([&](RawBroker &broker) { // read in two pieces, of which the second has it
        broker.send(part_of(an_offer(), 0, 21));
        send_message(broker.connection.get(), part_of(an_offer(), 21, an_offer().size()), broker.client.fd.get(), 1);
    });
}

TEST_CASE("a stream does not tell on which of the bytes that were read together a descriptor rode") {
    const Listening backend;
    RawBroker broker(backend.path);
    broker.send(part_of(an_offer(), 0, 15));
    send_message(broker.connection.get(), part_of(an_offer(), 15, an_offer().size()), broker.client.fd.get(), 1);
    CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
}

TEST_CASE("a second descriptor with a later byte is one too many") {
    for (const std::size_t at : {std::size_t{1}, std::size_t{16}, std::size_t{21}, an_offer().size() - 1}) {
        CAPTURE(at);
        check_dropped([&](RawBroker &broker) {
            const int fd = broker.client.fd.get();
            send_message(broker.connection.get(), part_of(an_offer(), 0, at), fd, 1);
            send_message(broker.connection.get(), part_of(an_offer(), at, an_offer().size()), fd, 1);
        });
    }
}

TEST_CASE("a descriptor is closed when the rest of its offer never comes, is cut, or makes no sense") {
    check_dropped([](RawBroker &broker) {
        send_message(broker.connection.get(), part_of(an_offer(), 0, 20), broker.client.fd.get(), 1);
        shutdown(broker.connection.get(), SHUT_WR);
    });
    Bytes senseless = an_offer();
    senseless[16] = 2;
    check_dropped(
        [&](RawBroker &broker) { send_message(broker.connection.get(), senseless, broker.client.fd.get(), 1); });
    senseless[16] = 1;
    senseless[21] ^= 0xFFU;
    check_dropped(
        [&](RawBroker &broker) { send_message(broker.connection.get(), senseless, broker.client.fd.get(), 1); });
}

TEST_CASE("an offer in an envelope of another version, kind, protocol, encoding or id is dropped without a word") {
    const Bytes offers[] = {
        spoilt([](rp_handoff_wire_frame &frame) { frame.envelope_version = 2; }),
        spoilt([](rp_handoff_wire_frame &frame) { frame.kind = RP_HANDOFF_KIND_RESPONSE; }),
        spoilt([](rp_handoff_wire_frame &frame) { frame.kind = 4; }),
        spoilt([](rp_handoff_wire_frame &frame) { frame.payload_protocol = 0; }),
        spoilt([](rp_handoff_wire_frame &frame) { frame.payload_encoding = RP_HANDOFF_ENCODING_ZSTD; }),
        spoilt([](rp_handoff_wire_frame &frame) { frame.request_id += 1; }),
        spoilt([](rp_handoff_wire_frame &frame) { frame.payload_length -= 1; }),
    };
    for (const Bytes &offer : offers) {
        check_dropped(
            [&](RawBroker &broker) { send_message(broker.connection.get(), offer, broker.client.fd.get(), 1); });
    }
}

TEST_CASE("a descriptor is closed when the rest of its offer does not come in time") {
    Listening backend;
    RawBroker broker(backend.path);
    broker.send_with_descriptor(part_of(an_offer(), 0, 20));
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK_FALSE(broker.client_was_closed());
    backend.time.now += 5 * second;
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(broker.client_was_closed());
    CHECK(statistics(backend.backend).rejected_offers == 1);
}

TEST_CASE("an offer is taken however the stream cuts it") {
    for (std::size_t at = 1; at < an_offer().size(); ++at) {
        CAPTURE(at);
        const Listening backend;
        RawBroker broker(backend.path);
        broker.send_with_descriptor(part_of(an_offer(), 0, at));
        CHECK(take_offer(backend.backend) == nullptr);
        broker.send(part_of(an_offer(), at, an_offer().size()));
        CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
        CHECK(broker.answer() == acceptance(token_of(1)));
    }
}

TEST_CASE("an offer is as long as the cap at most") {
    for (const std::uint32_t cap : {0U, 100U}) {
        const std::size_t limit = cap != 0 ? cap : 65536;
        for (const std::size_t length : {limit - 1, limit, limit + 1}) {
            CAPTURE(length);
            auto options = sized<rp_handoff_backend_options>();
            options.max_frame_bytes = cap;
            const Backend backend = make_backend(options);
            const HandBroker broker(backend);
            const ClientConnection client;
            broker.offer(client.fd.get(), token_of(1),
                         padded_to(encoded(wire_offer(token_of(1), "service", 7)), length));
            CHECK((take_offer(backend) != nullptr) == (length <= limit));
            CHECK(statistics(backend).rejected_offers == (length <= limit ? 0 : 1));
        }
    }
}

TEST_CASE("two offers that are sent without waiting for the answer are taken one after the other") {
    const Backend backend = make_backend();
    const HandBroker broker(backend);
    const ClientConnection clients[2];
    broker.offer(clients[0].fd.get(), token_of(1));
    broker.offer(clients[1].fd.get(), token_of(2));
    for (std::uint8_t i = 0; i < 2; ++i) {
        const Offer offer = take_offer(backend);
        REQUIRE(offer != nullptr);
        CHECK(take_offer(backend) == nullptr);
        std::int32_t fd = -1;
        CHECK(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_OK);
        CHECK(clients[i].is_served_by(fd));
        UniqueFd(fd).reset();
        CHECK(broker.answer()->token.bytes[0] == i + 1);
    }
}

TEST_CASE("what the kernel adds to each message of a socket with SO_PASSCRED and SO_PASSPIDFD does no harm") {
    for (const bool with_pidfd : {false, true}) {
        const Backend backend = make_backend();
        SocketPair pair;
        const int on = 1;
        REQUIRE(setsockopt(pair.b.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
        if (with_pidfd && setsockopt(pair.b.get(), SOL_SOCKET, so_passpidfd, &on, sizeof on) != 0) {
            MESSAGE("this kernel has no SO_PASSPIDFD");
            continue;
        }
        REQUIRE(rp_handoff_backend_add_connection(backend.get(), pair.b.release(), RP_HANDOFF_TRUST_CALLER) ==
                RP_HANDOFF_OK);
        const ClientConnection client;
        send_message(pair.a.get(), part_of(an_offer(), 0, 30), client.fd.get(), 1);
        CHECK(take_offer(backend) == nullptr);
        write_all(pair.a.get(), part_of(an_offer(), 30, an_offer().size()));
        CHECK(accept_and_close(take_offer(backend)) == RP_HANDOFF_OK);

        const Bytes next = RawBroker::message(token_of(2));
        send_message(pair.a.get(), next, client.fd.get(), 2); // also then two are too many
        CHECK(take_offer(backend) == nullptr);
        CHECK(statistics(backend).rejected_offers == 1);
    }
}

TEST_CASE("a backend that is out of descriptors says so in its refusal, so that the connection is the broker's again" *
          doctest::test_suite(not_under_valgrind)) {
    const Listening backend;
    RawBroker unlucky(backend.path);
    CHECK(take_offer(backend.backend) == nullptr); // it is accepted
    unlucky.offer(token_of(1));
    {
        const NoMoreDescriptors shortage;
        CHECK(take_offer(backend.backend) == nullptr);
    }
    CHECK(unlucky.answer() ==
          refusal(token_of(1), "the connection was not delivered: the backend is out of descriptors"));
    CHECK(unlucky.client_was_closed());
    CHECK(statistics(backend.backend).rejected_offers == 1);
    CHECK(statistics(backend.backend).unanswered == 0);
    check_serves(backend);
    ClientConnection again; // over the same connection, and with the same token, which was not used up
    send_message(unlucky.connection.get(), an_offer(), again.fd.get(), 1);
    CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
}

TEST_CASE("a receive that is interrupted is repeated") {
    int interruptions = 5;
    const Listening backend;
    RawBroker broker(backend.path);
    broker.offer(token_of(1));
    const Hooked<ssize_t(int, msghdr *, int)> hook(calls::recvmsg(), [&](int fd, msghdr *into, int flags) -> ssize_t {
        CHECK((flags & (MSG_CMSG_CLOEXEC | MSG_DONTWAIT)) == (MSG_CMSG_CLOEXEC | MSG_DONTWAIT));
        return interruptions-- > 0 ? fails_with(EINTR) : calls::recvmsg().real(fd, into, flags);
    });
    CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
    CHECK(interruptions < 0);
}

TEST_CASE("a receive that fails in the middle of an offer drops it with its descriptor") {
    for (const int error : {ECONNRESET, ENOMEM, EIO, ENOTCONN}) {
        CAPTURE(error);
        const Listening backend;
        RawBroker broker(backend.path);
        broker.send_with_descriptor(part_of(an_offer(), 0, 20));
        CHECK(take_offer(backend.backend) == nullptr);
        broker.send(part_of(an_offer(), 20, an_offer().size()));
        {
            const Hooked<ssize_t(int, msghdr *, int)> hook(
                calls::recvmsg(), [&](int, msghdr *, int) -> ssize_t { return fails_with(error); });
            CHECK(take_offer(backend.backend) == nullptr);
        }
        CHECK(broker.client_was_closed());
        CHECK(statistics(backend.backend).rejected_offers == 1);
        check_serves(backend);
    }
}

TEST_CASE("callers with sockets of their own get exactly one descriptor, or none and a reason") {
    SocketPair pair;
    const ClientConnection client;
    UniqueFd fd;
    for (const std::size_t count : {0U, 2U, 17U, 253U}) {
        CAPTURE(count);
        send_message(pair.a.get(), {1, 2, 3}, client.fd.get(), count);
        CHECK(receive_by_hand(pair.b.get(), 3, fd) == RP_HANDOFF_ERR_DESCRIPTORS);
    }
    send_message(pair.a.get(), {1}, client.fd.get(), 1);
    write_all(pair.a.get(), {2, 3});
    CHECK(receive_by_hand(pair.b.get(), 3, fd) == RP_HANDOFF_OK);
    CHECK(client.is_served_by(fd.get()));
    send_message(pair.a.get(), {1, 2}, client.fd.get(), 1);
    CHECK(receive_by_hand(pair.b.get(), 3, fd, a_moment) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(receive_by_hand(pair.b.get(), 1, fd, a_moment) == RP_HANDOFF_ERR_TIMED_OUT);
    send_message(pair.a.get(), {1, 2}, client.fd.get(), 1);
    pair.a.reset();
    CHECK(receive_by_hand(pair.b.get(), 3, fd) == RP_HANDOFF_ERR_UNEXPECTED_EOF);
    CHECK(receive_by_hand(pair.b.get(), 3, fd) == RP_HANDOFF_ERR_CLOSED);
}

TEST_CASE("callers with sockets of their own who are out of descriptors get none and the reason, and then the next" *
          doctest::test_suite(not_under_valgrind)) {
    const SocketPair pair;
    const ClientConnection client;
    UniqueFd fd;
    send_message(pair.a.get(), {1, 2, 3}, client.fd.get(), 1);
    {
        const NoMoreDescriptors shortage;
        CHECK(receive_by_hand(pair.b.get(), 3, fd) == RP_HANDOFF_ERR_DESCRIPTORS);
    }
    send_message(pair.a.get(), {1, 2, 3}, client.fd.get(), 1);
    CHECK(receive_by_hand(pair.b.get(), 3, fd) == RP_HANDOFF_OK);
    CHECK(client.is_served_by(fd.get()));
}

TEST_CASE("an answer that cannot be read leaves nobody sure") {
    struct Row {
        int error;
        std::int32_t cause;
    };
    const Row rows[] = {{ECONNRESET, RP_HANDOFF_CAUSE_BACKEND_CLOSED},
                        {ENOMEM, RP_HANDOFF_CAUSE_ACK_READ_FAILED},
                        {EIO, RP_HANDOFF_CAUSE_ACK_READ_FAILED}};
    for (const Row &row : rows) {
        CAPTURE(row.error);
        const SocketPair connection;
        const ClientConnection client;
        const Broker broker = make_broker();
        const rp_handoff_request request = request_over(connection.a.get(), client.fd.get(), issue(broker));
        const Hooked<ssize_t(int, msghdr *, int)> hook(
            calls::recvmsg(), [&](int, msghdr *, int) -> ssize_t { return fails_with(row.error); });
        const rp_handoff_outcome outcome = execute(broker, request);
        CHECK(outcome.stage == RP_HANDOFF_STAGE_AWAIT_ACK);
        CHECK(outcome.cause == row.cause);
        CHECK(outcome.os_error == row.error);
        CHECK(outcome.ownership == RP_HANDOFF_OWNER_AMBIGUOUS);
    }
}

TEST_CASE("an answer whose read is interrupted is read all the same") {
    const SocketPair connection;
    const ClientConnection client;
    const Broker broker = make_broker();
    rp_handoff_request request = request_over(connection.a.get(), client.fd.get(), issue(broker));
    request.correlation_id = 5;
    write_all(connection.b.get(), acceptance(request.token, 5));
    int interruptions = 4;
    const Hooked<ssize_t(int, msghdr *, int)> hook(calls::recvmsg(), [&](int fd, msghdr *into, int flags) -> ssize_t {
        into->msg_iov[0].iov_len = 1;
        return interruptions-- > 0 ? fails_with(EINTR) : calls::recvmsg().real(fd, into, flags);
    });
    CHECK(execute(broker, request).result == RP_HANDOFF_COMPLETED);
}
