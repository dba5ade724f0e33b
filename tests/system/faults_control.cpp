// Control data that is not what an offer wants: descriptors that were lost or denied on the way in, and messages of other
// kinds.
#include "support/interpose.hpp"
#include "support/raw_broker.hpp"
#include "support/shortage.hpp"

using namespace rp::test;

TEST_CASE("a descriptor that the kernel kept from a backend is refused as denied, not as a shortage") {
    const Listening backend;
    RawBroker broker(backend.path);
    broker.offer(token_of(1));
    const Hooked<ssize_t(int, msghdr *, int)> module(calls::recvmsg(), [&](int fd, msghdr *into, int flags) -> ssize_t {
        const ssize_t n = calls::recvmsg().real(fd, into, flags);
        if (cmsghdr *const header = n > 0 ? CMSG_FIRSTHDR(into) : nullptr; header != nullptr) {
            int came = -1;
            std::memcpy(&came, CMSG_DATA(header), sizeof came);
            close(came);
            into->msg_controllen = 0;
            into->msg_flags |= MSG_CTRUNC;
        }
        return n;
    });
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(broker.answer() ==
          refusal(token_of(1), "the connection was not delivered: the system kept it from the backend"));
    CHECK(statistics(backend.backend).rejected_offers == 1);
}

TEST_CASE("descriptors that are lost in the middle of an offer, where none may be, or beside others end it") {
    const auto shortage_at = [](int nth, bool keep) {
        return [nth, keep, calls_made = 0](int fd, msghdr *into, int flags) mutable -> ssize_t {
            const ssize_t n = calls::recvmsg().real(fd, into, flags);
            if (n > 0 && calls_made++ == nth) {
                into->msg_flags |= MSG_CTRUNC;
                into->msg_controllen = keep ? into->msg_controllen : 0;
            }
            return n;
        };
    };
    { // in the middle: nothing was there that could have been lost, but the kernel says so
        const Listening backend;
        RawBroker broker(backend.path);
        broker.send_with_descriptor(part_of(an_offer(), 0, 20));
        CHECK(take_offer(backend.backend) == nullptr);
        broker.send(part_of(an_offer(), 20, an_offer().size()));
        const Hooked<ssize_t(int, msghdr *, int)> hook(calls::recvmsg(), shortage_at(0, false));
        CHECK(take_offer(backend.backend) == nullptr);
        CHECK(broker.was_dropped());
        CHECK(broker.client_was_closed());
        CHECK(statistics(backend.backend).rejected_offers == 1);
    }
    const Listening backend; // at the start, beside one that came
    RawBroker broker(backend.path);
    broker.offer(token_of(1));
    const Hooked<ssize_t(int, msghdr *, int)> hook(calls::recvmsg(), shortage_at(0, true));
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(broker.was_dropped());
    CHECK(broker.client_was_closed());
    CHECK(statistics(backend.backend).rejected_offers == 1);
}

TEST_CASE("what was switched on for a socket before the library got it comes along unnoticed") {
    constexpr int so_inq = 84; // Linux 6.17 for Unix sockets
    for (const int option : {so_inq, SO_TIMESTAMP, SO_TIMESTAMPNS, SO_PASSSEC}) {
        CAPTURE(option);
        const int on = 1;
        const Backend backend = make_backend();
        SocketPair pair;
        if (setsockopt(pair.b.get(), SOL_SOCKET, option, &on, sizeof on) != 0 ||
            setsockopt(pair.a.get(), SOL_SOCKET, option, &on, sizeof on) != 0) {
            MESSAGE("this kernel does not know the option");
            continue;
        }
        REQUIRE(rp_handoff_backend_add_connection(backend.get(), pair.b.release(), RP_HANDOFF_TRUST_CALLER) ==
                RP_HANDOFF_OK);
        FakeTime time;
        const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
        const ClientConnection client;
        time.meanwhile = [&] { accept_and_close(take_offer(backend)); };
        CHECK(execute(broker, request_over(pair.a.get(), client.fd.get(), issue(broker))).result ==
              RP_HANDOFF_COMPLETED);
        const SocketPair by_hand;
        REQUIRE(setsockopt(by_hand.b.get(), SOL_SOCKET, option, &on, sizeof on) == 0);
        send_message(by_hand.a.get(), {1, 2, 3}, client.fd.get(), 1);
        std::uint8_t bytes[3];
        std::int32_t fd = -1;
        CHECK(rp_handoff_wire_receive(by_hand.b.get(), bytes, sizeof bytes, second, &fd) == RP_HANDOFF_OK);
        UniqueFd(fd).reset();
    }
}
