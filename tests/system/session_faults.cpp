// Sessions when the kernel does not do what it should: interrupted, short of something, older than this library.
#include <algorithm>
#include <map>
#include <thread>

#include "support/descriptors.hpp"
#include "support/process.hpp"
#include "support/session_faults.hpp"
#include "support/shortage.hpp"

using namespace rp::test;

namespace {

// Every other call is interrupted, of each of those that signals interrupt while a session opens and works.
class Interruptions {
  public:
    bool reached(std::initializer_list<const char *> names) const {
        return std::all_of(names.begin(), names.end(), [&](const char *name) { return counts_.count(name) > 0; });
    }

  private:
    template <class Result, class... Arguments>
    std::function<Result(Arguments...)> interrupting(SystemCall<Result(Arguments...)> &call, const char *name) {
        return [this, &call, name](Arguments... arguments) -> Result {
            return ++counts_[name] % 2 == 1 ? fails_with(EINTR) : call.real(arguments...);
        };
    }
    template <class Signature>
    struct Interrupted : Hooked<Signature> {
        Interrupted(Interruptions *all, SystemCall<Signature> &call, const char *name)
            : Hooked<Signature>(call, all->interrupting(call, name)) {}
    };

    std::map<std::string, int> counts_;
    Interrupted<SendMessage> sendmsg_{this, calls::sendmsg(), "sendmsg"};
    Interrupted<ssize_t(int, msghdr *, int)> recvmsg_{this, calls::recvmsg(), "recvmsg"};
    Interrupted<ssize_t(int, void *, std::size_t, int)> recv_{this, calls::recv(), "recv"};
    Interrupted<int(pollfd *, nfds_t, const timespec *, const sigset_t *)> ppoll_{this, calls::ppoll(), "ppoll"};
    Interrupted<int(int, const sockaddr *, socklen_t)> connect_{this, calls::connect(), "connect"};
    Interrupted<int(int, sockaddr *, socklen_t *, int)> accept4_{this, calls::accept4(), "accept4"};
};

} // namespace

TEST_CASE("signals interrupt every system call of a session, and it does its work") {
    const Interruptions interruptions;
    const Directory directory;
    const Listener listener = make_listener(directory / "backend");
    const Broker broker = make_broker();
    const Session offering = open_at(broker, directory / "backend");
    UniqueFd accepted = accept_from(listener);
    ClientConnection client;
    const std::string greeting = "hello";
    auto submission = submission_of(client.fd.get());
    submission.prologue = reinterpret_cast<const std::uint8_t *>(greeting.data());
    submission.prologue_length = static_cast<std::uint32_t>(greeting.size());
    submit(offering, submission);
    client.fd.release();
    Child backend([&](const Wire &wire) {
        const Session receiving = receive_over(std::move(accepted));
        Event event = await_event(receiving, RP_HANDOFF_EVENT_OPENED);
        must(wire.hear() == 'g');
        event = await_event(receiving, RP_HANDOFF_EVENT_OFFER);
        std::int32_t fd = -1;
        must(rp_handoff_offer_accept(event.offer.get(), &fd) == RP_HANDOFF_OK);
        must(rp_handoff_session_flush(receiving.get()) == RP_HANDOFF_OK);
        must(interruptions.reached({"sendmsg", "recvmsg"}));
    });
    accepted.reset();
    CHECK(await_event(offering).kind == RP_HANDOFF_EVENT_OPENED);
    CHECK(rp_handoff_session_wait(offering.get(), 1'000'000) == 0); // so short a wait is not in a read
    backend.say('g');
    CHECK(await_event(offering).is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
    CHECK(backend.wait() == 0);
    std::string heard(greeting.size(), '\0');
    CHECK(read(client.client.get(), heard.data(), heard.size()) == static_cast<ssize_t>(heard.size()));
    CHECK(heard == greeting);
    CHECK(interruptions.reached({"connect", "accept4", "sendmsg", "recvmsg", "recv", "ppoll"}));
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

TEST_CASE("what a loop or a wait needs of the kernel is made when it is asked for, and its failure says so") {
    Joined joined;
    {
        const Hooked<int(int)> hook(calls::epoll_create1(), [](int) { return fails_with(EMFILE); });
        SocketPair pair;
        const Session fresh = receive_over(std::move(pair.a));
        CHECK(rp_handoff_session_get_fd(fresh.get()) == RP_HANDOFF_ERR_SYSTEM);
    }
    {
        const Hooked<int(unsigned, int)> hook(calls::eventfd(), [](unsigned, int) { return fails_with(EMFILE); });
        SocketPair pair;
        const Session fresh = receive_over(std::move(pair.a));
        CHECK(rp_handoff_session_wait(fresh.get(), second) == RP_HANDOFF_ERR_SYSTEM);
        CHECK(rp_handoff_session_get_fd(fresh.get()) == RP_HANDOFF_ERR_SYSTEM);

        const ClientConnection client;
        const auto submission = submission_of(client.fd.get());
        OutStruct<rp_handoff_outcome> outcome;
        auto error = sized<rp_handoff_error>();
        CHECK(rp_handoff_session_execute(joined.offering.get(), &submission, outcome.get(), &error) ==
              RP_HANDOFF_ERR_SYSTEM);
        CHECK(error.os_error == EMFILE);
        CHECK(outcome.untouched());
        joined.turn();
        CHECK(take_event(joined.receiving).kind == 0);
    }
    check_hands_over(joined);
}

TEST_CASE("an execute whose wait fails says so, and whose the connection is") {
    const Joined joined;
    bool done = false;
    std::thread second_thread([&] { // so that it waits in ppoll(2)
        while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
            std::this_thread::yield();
        }
    });
    const ClientConnection client;
    const auto submission = submission_of(client.fd.get());
    auto outcome = sized<rp_handoff_outcome>();
    {
        const Hooked<int(pollfd *, nfds_t, const timespec *, const sigset_t *)> hook(
            calls::ppoll(), [](pollfd *, nfds_t, const timespec *, const sigset_t *) { return fails_with(ENOMEM); });
        CHECK(rp_handoff_session_execute(joined.offering.get(), &submission, &outcome, nullptr) == RP_HANDOFF_OK);
    }
    __atomic_store_n(&done, true, __ATOMIC_RELEASE);
    second_thread.join();
    CHECK(outcome.ownership == RP_HANDOFF_OWNER_BROKER);
    CHECK(outcome.cause == RP_HANDOFF_CAUSE_CANCELLED);
    CHECK(outcome.os_error == ENOMEM);
    CHECK(std::string(outcome.detail).find("the wait for the answer failed") == 0);
}

TEST_CASE("a connection at 1 for which there is no other number is told as what it is, and stays the caller's") {
    SocketPair pair;
    Child child([&](const Wire &) {
        auto options = sized<rp_handoff_session_options>();
        options.connection_fd = 1;
        must(dup2(pair.a.get(), 1) == 1);
        rp_handoff_session *made = nullptr;
        auto error = sized<rp_handoff_error>();
        const NoMoreDescriptors none;
        must(rp_handoff_session_create_backend(&options, &made, &error) == RP_HANDOFF_ERR_SYSTEM);
        must(error.os_error == EMFILE);
        must(std::string(error.member) == "connection_fd");
        must(fcntl(1, F_GETFD) >= 0);
    });
    CHECK(child.wait() == 0);
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
