// Sessions when the kernel does not do what it should: interrupted, short of something, older than this library.
#include "support/session_faults.hpp"
#include "support/descriptors.hpp"

using namespace rp::test;

namespace {

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
        const std::int32_t status = rp_handoff_session_create_broker(broker.get(), &options, out.get(), nullptr);
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
                CHECK(rp_handoff_session_get_peer(offering.get(), &peer) == RP_HANDOFF_OK);
                CHECK(peer.pidfd_state == RP_HANDOFF_PIDFD_UNSUPPORTED);
                CHECK(peer.pidfd == -1);
            } else {
                CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
                CHECK(event.status == RP_HANDOFF_ERR_PEER_REJECTED);
            }
        }
    }
}

TEST_CASE("a broker that can make no ledger, or no socket aside, ends the session") {
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
