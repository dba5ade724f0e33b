// Sessions when the kernel does not do what it should: interrupted, short of something, taking a part of a message or none.
#include "../fault/interpose.hpp"
#include "descriptors.hpp"
#include "hand.hpp"

using namespace rp::test;

namespace {

using SendMessage = ssize_t(int, const msghdr *, int);

// Sends so many of a message's bytes, in fact.
ssize_t send_part(int fd, const msghdr *message, int flags, std::size_t most) {
    std::vector<iovec> pieces;
    for (std::size_t i = 0; i < message->msg_iovlen && most > 0; ++i) {
        iovec piece = message->msg_iov[i];
        piece.iov_len = std::min(piece.iov_len, most);
        most -= piece.iov_len;
        pieces.push_back(piece);
    }
    msghdr part = *message;
    part.msg_iov = pieces.data();
    part.msg_iovlen = pieces.size();
    return calls::sendmsg().real(fd, &part, flags);
}

std::size_t descriptors_of(const msghdr *message) {
    const cmsghdr *const header = message->msg_controllen > 0 ? CMSG_FIRSTHDR(message) : nullptr;
    return header != nullptr ? (header->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
}

// Every message that carries descriptors fails with this errno.
class NoOffers {
  public:
    explicit NoOffers(int error, std::size_t at_least = 1)
        : hook_(calls::sendmsg(), [error, at_least](int fd, const msghdr *message, int flags) {
              return descriptors_of(message) >= at_least ? fails_with(error)
                                                         : calls::sendmsg().real(fd, message, flags);
          }) {}

  private:
    Hooked<SendMessage> hook_;
};

// Each system call is interrupted before it succeeds.
class Interruptions {
  public:
    Interruptions()
        : sends_(calls::sendmsg(),
                 [this](int fd, const msghdr *message, int flags) {
                     return next() ? fails_with(EINTR) : calls::sendmsg().real(fd, message, flags);
                 }),
          messages_(calls::recvmsg(),
                    [this](int fd, msghdr *message, int flags) {
                        return next() ? fails_with(EINTR) : calls::recvmsg().real(fd, message, flags);
                    }),
          bytes_(calls::recv(),
                 [this](int fd, void *data, std::size_t length, int flags) {
                     return next() ? fails_with(EINTR) : calls::recv().real(fd, data, length, flags);
                 }),
          waits_(calls::ppoll(),
                 [this](pollfd *fds, nfds_t count, const timespec *timeout, const sigset_t *mask) {
                     return next() ? fails_with(EINTR) : calls::ppoll().real(fds, count, timeout, mask);
                 }),
          connects_(calls::connect(), [this](int fd, const sockaddr *address, socklen_t length) {
              return next() ? fails_with(EINTR) : calls::connect().real(fd, address, length);
          }) {}

    int count() const { return count_; }

  private:
    bool next() { return ++count_ % 2 == 1; }

    int count_ = 0;
    Hooked<SendMessage> sends_;
    Hooked<ssize_t(int, msghdr *, int)> messages_;
    Hooked<ssize_t(int, void *, std::size_t, int)> bytes_;
    Hooked<int(pollfd *, nfds_t, const timespec *, const sigset_t *)> waits_;
    Hooked<int(int, const sockaddr *, socklen_t)> connects_;
};

rp_handoff_submission with_metadata(int fd, const Bytes &metadata) {
    auto submission = submission_of(fd);
    submission.metadata = metadata.data();
    submission.metadata_length = static_cast<std::uint32_t>(metadata.size());
    return submission;
}

void check_hands_over(const Joined &joined) {
    ClientConnection client;
    submit(joined.offering, client);
    const UniqueFd adopted = accept_offer(joined.next_offer().offer);
    CHECK(joined.next_outcome().is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
    CHECK(are_joined(client.client.get(), adopted.get()));
}

// What becomes of one that is submitted while sending fails so.
Event outcome_of_send(const Joined &joined, int error, ClientConnection &client) {
    const NoOffers none(error);
    submit(joined.offering, client);
    return take_event(joined.offering);
}

} // namespace

TEST_CASE("signals interrupt every system call of a session, and it does its work") {
    const Interruptions interruptions;
    const Directory directory;
    const Listener listener = make_listener(directory / "backend");
    const Broker broker = make_broker();
    const Session offering = open_at(broker, directory / "backend");
    const Session receiving = receive_over(accept_from(listener));
    ClientConnection client;
    submit(offering, client);
    Child backend([&](const Wire &) {
        Event event = await_event(receiving, RP_HANDOFF_EVENT_OPENED);
        event = await_event(receiving, RP_HANDOFF_EVENT_OFFER);
        std::int32_t fd = -1;
        must(rp_handoff_offer_accept(event.offer.get(), &fd) == RP_HANDOFF_OK);
        must(rp_handoff_session_flush(receiving.get()) == RP_HANDOFF_OK);
    });
    CHECK(await_event(offering).kind == RP_HANDOFF_EVENT_OPENED);
    CHECK(await_event(offering).is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
    CHECK(interruptions.count() > 8);
}

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
            CHECK(is_readable(fd_of(joined.offering))); // it is tried again
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
        rp_handoff_broker_accept_succeeded(joined.broker.get());
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
    {
        const NoOffers batches(ETOOMANYREFS, 2);
        REQUIRE(rp_handoff_session_submit(joined.offering.get(), items.data(), sizeof items[0], 10, nullptr) == 10);
    }
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

TEST_CASE("an errno of receiving ends a session of either side") {
    for (const int error : {EIO, ECONNRESET}) {
        Joined joined;
        ClientConnection client;
        submit(joined.offering, client);
        {
            const Hooked<ssize_t(int, void *, std::size_t, int)> bytes(
                calls::recv(), [error](int, void *, std::size_t, int) -> ssize_t { return fails_with(error); });
            const Hooked<ssize_t(int, msghdr *, int)> messages(
                calls::recvmsg(), [error](int, msghdr *, int) -> ssize_t { return fails_with(error); });
            process(joined.offering);
            process(joined.receiving);
        }
        CHECK(take_event(joined.offering).is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_SESSION_LOST));
        for (const Session *session : {&joined.offering, &joined.receiving}) {
            const Event event = take_event(*session);
            CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
            CHECK(event.status == (error == EIO ? RP_HANDOFF_ERR_SYSTEM : RP_HANDOFF_ERR_CLOSED));
        }
    }
}

TEST_CASE("a session whose making fails at any system call says so, and the descriptor stays the caller's") {
    const Broker broker = make_broker();
    const auto check_failed = [&](std::int32_t expected) {
        SocketPair pair;
        const Descriptors before = open_descriptors();
        Session session;
        errno = 0;
        CHECK(try_open(broker, pair.a, sized<rp_handoff_session_options>(), session) == expected);
        CHECK((expected != RP_HANDOFF_ERR_SYSTEM || errno == EMFILE));
        CHECK(try_receive(pair.b, sized<rp_handoff_session_options>(), session) == expected);
        CHECK(open_descriptors() == before);
    };
    {
        const Hooked<int(int)> hook(calls::epoll_create1(), [](int) { return fails_with(EMFILE); });
        check_failed(RP_HANDOFF_ERR_SYSTEM);
    }
    {
        const Hooked<int(unsigned, int)> hook(calls::eventfd(), [](unsigned, int) { return fails_with(EMFILE); });
        check_failed(RP_HANDOFF_ERR_SYSTEM);
    }
    {
        const Hooked<int(int, int, int, epoll_event *)> hook(
            calls::epoll_ctl(), [](int, int, int, epoll_event *) { return fails_with(EMFILE); });
        check_failed(RP_HANDOFF_ERR_SYSTEM);
    }
}

TEST_CASE("a dial that fails says why") {
    const Directory directory;
    const Listener listener = make_listener(directory / "backend");
    const Broker broker = make_broker();
    const std::string path = directory / "backend";
    auto options = sized<rp_handoff_session_options>();
    options.socket_path = path.c_str();
    const auto status_of = [&] {
        Out<rp_handoff_session *> out;
        const std::int32_t status = rp_handoff_session_open(broker.get(), &options, out.get());
        CHECK(out.untouched());
        return status;
    };
    {
        const Hooked<int(int, int, int)> hook(calls::socket(), [](int, int, int) { return fails_with(EMFILE); });
        CHECK(status_of() == RP_HANDOFF_ERR_SYSTEM);
    }
    const std::pair<int, std::int32_t> rows[] = {{EACCES, RP_HANDOFF_ERR_SYSTEM},
                                                 {ECONNREFUSED, RP_HANDOFF_ERR_UNAVAILABLE},
                                                 {ENOENT, RP_HANDOFF_ERR_UNAVAILABLE}};
    for (const auto &[error, status] : rows) {
        const Hooked<int(int, const sockaddr *, socklen_t)> hook(
            calls::connect(), [error = error](int, const sockaddr *, socklen_t) { return fails_with(error); });
        CHECK(status_of() == status);
        CHECK((status != RP_HANDOFF_ERR_SYSTEM || errno == error));
    }
    const Hooked<int(int, int, int, void *, socklen_t *)> nobody(
        calls::getsockopt(), [](int fd, int level, int name, void *value, socklen_t *length) {
            return name == SO_PEERCRED ? fails_with(ENOPROTOOPT)
                                       : calls::getsockopt().real(fd, level, name, value, length);
        });
    CHECK(status_of() == RP_HANDOFF_ERR_PEER_REJECTED);
}

TEST_CASE("a kernel that does not say who sends lets nobody in; one that has no pidfd does, unless that is demanded") {
    for (const bool has_credentials : {false, true}) {
        for (const bool demanded : {false, true}) {
            const Hooked<int(int, int, int, const void *, socklen_t)> old_kernel(
                calls::setsockopt(),
                [has_credentials](int fd, int level, int name, const void *value, socklen_t length) {
                    constexpr int so_passpidfd = 76;
                    return name == so_passpidfd || (name == SO_PASSCRED && !has_credentials)
                               ? fails_with(ENOPROTOOPT)
                               : calls::setsockopt().real(fd, level, name, value, length);
                });
            const Broker broker = make_broker();
            SocketPair pair;
            auto options = sized<rp_handoff_session_options>();
            options.peer_flags = demanded ? std::uint32_t{RP_HANDOFF_PEER_REQUIRE_PIDFD} : 0U;
            const Session offering = open_over(broker, std::move(pair.a), options);
            const Session receiving = receive_over(std::move(pair.b));
            turn({&offering, &receiving});
            const Event event = take_event(offering);
            if (has_credentials && !demanded) {
                CHECK(event.kind == RP_HANDOFF_EVENT_OPENED);
                auto peer = sized<rp_handoff_session_peer>();
                CHECK(rp_handoff_session_peer_get(offering.get(), &peer) == RP_HANDOFF_OK);
                CHECK(peer.pidfd_state == RP_HANDOFF_PIDFD_UNSUPPORTED);
                CHECK(peer.pidfd == -1);
            } else {
                CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
                CHECK(event.status == RP_HANDOFF_ERR_PEER_REJECTED);
            }
        }
    }
}

TEST_CASE("a broker that can make no ledger, or no socket for the answers, ends the session") {
    for (const bool memory : {true, false}) {
        const Broker broker = make_broker();
        SocketPair pair;
        const Session offering = open_over(broker, std::move(pair.a));
        hand::send_with(pair.b.get(), hand::Hello().framed(), {});
        ClientConnection client;
        submit(offering, client);
        const Hooked<int(const char *, unsigned)> no_memory(
            calls::memfd_create(), [&](const char *name, unsigned flags) {
                return memory ? fails_with(ENOSYS) : calls::memfd_create().real(name, flags);
            });
        const Hooked<int(int, int, int, int *)> no_pair(
            calls::socketpair(), [&](int domain, int type, int p, int *ends) {
                return memory ? calls::socketpair().real(domain, type, p, ends) : fails_with(EMFILE);
            });
        process(offering);
        CHECK(take_event(offering).is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_SESSION_LOST));
        const Event event = take_event(offering);
        CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
        CHECK(event.status == RP_HANDOFF_ERR_SYSTEM);
    }
}

TEST_CASE("a kernel before the seal against execution makes a ledger without it") {
    constexpr unsigned noexec_seal = 8;
    const Hooked<int(const char *, unsigned)> old_kernel(calls::memfd_create(), [](const char *name, unsigned flags) {
        return (flags & noexec_seal) != 0 ? fails_with(EINVAL) : calls::memfd_create().real(name, flags);
    });
    check_hands_over(Joined());
}
