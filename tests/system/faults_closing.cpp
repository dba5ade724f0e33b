// Closing what a peer gave: it never waits for him, never happens under the backend's lock, and comes before the refusal.
#include "support/api.hpp"
#include "support/interpose.hpp"
#include "support/linger.hpp"
#include "support/raw_broker.hpp"

using namespace rp::test;

namespace {

using Sendmsg = ssize_t(int, const msghdr *, int);

Bytes no_offer() {
    Bytes bytes = an_offer();
    bytes[16] = 9;
    return bytes;
}

// Linux 6.16 has SO_PASSRIGHTS.
bool can_refuse_descriptors() {
    const SocketPair pair;
    const int off = 0;
    return setsockopt(pair.a.get(), SOL_SOCKET, 83, &off, sizeof off) == 0;
}

// A backend with one broker's connection, at which the closes of the library are looked at: whoever closes has not locked
// the backend, or the look itself would hang.
struct Watched {
    Watched() {
        alarm(20);
        SocketPair pair;
        REQUIRE(rp_handoff_backend_add_connection(backend.get(), pair.b.release(), RP_HANDOFF_TRUST_CALLER) ==
                RP_HANDOFF_OK);
        connection = std::move(pair.a);
    }

    // While `act` runs.
    template <class Act>
    void check_unlocked(Act act) {
        int closes = 0;
        {
            const Hooked<int(int)> hook(calls::close(), [&](int fd) {
                ++closes;
                CHECK(statistics(backend).connections <= 2);
                return calls::close().real(fd);
            });
            act();
        }
        CHECK(closes > 0);
    }

    FakeTime time;
    Backend backend = make_backend(time.in(sized<rp_handoff_backend_options>()));
    UniqueFd connection;
    ClientConnection client;
};

// Whether the client's connection was closed on the other side at the moment in which the first answer is sent.
class ClosedBeforeAnswer {
  public:
    explicit ClosedBeforeAnswer(const ClientConnection &client)
        : hook_(calls::sendmsg(),
                [this, &client](int fd, const msghdr *what, int flags) {
                    look(client);
                    return calls::sendmsg().real(fd, what, flags);
                }),
          plain_(calls::send(), [this, &client](int fd, const void *data, std::size_t length, int flags) {
              look(client);
              return calls::send().real(fd, data, length, flags);
          }) {}
    ~ClosedBeforeAnswer() {
        CHECK(answers_ == 1);
        CHECK(closed_);
    }

  private:
    void look(const ClientConnection &client) {
        ++answers_;
        closed_ = is_at_end(client.client.get());
    }

    int answers_ = 0;
    bool closed_ = false;
    Hooked<Sendmsg> hook_;
    Hooked<ssize_t(int, const void *, std::size_t, int)> plain_;
};

} // namespace

TEST_CASE(
    "no broker makes a backend wait by a connection that lingers: with an offer of another kind, in surplus, cut") {
    struct Row {
        Bytes bytes;
        std::size_t descriptors;
    };
    for (const Row &row : {Row{no_offer(), 1}, Row{an_offer(), 2}, Row{an_offer(), 253}, Row{{1, 2, 3}, 1}}) {
        CAPTURE(row.descriptors);
        const Listening backend;
        RawBroker broker(backend.path);
        LingeringConnection connection;
        connection.send_by(broker.connection.get(), row.bytes, row.descriptors);
        broker.connection.reset();
        const Watch watch;
        CHECK(take_offer(backend.backend) == nullptr);
        CHECK(statistics(backend.backend).rejected_offers == 1);
        CHECK(statistics(backend.backend).connections == 0);
        CHECK(watch.nobody_waited());
    }
}

TEST_CASE("no broker that is not allowed, or that comes too late, makes a backend wait") {
    auto options = sized<rp_handoff_backend_options>();
    const std::uint32_t nobody = 61831;
    options.peer_uids = &nobody;
    options.peer_uids_length = 1;
    options.peer_flags = 0;
    {
        const Listening backend(options);
        RawBroker stranger(backend.path);
        LingeringConnection connection;
        connection.send_by(stranger.connection.get(), an_offer());
        const Watch watch;
        CHECK(take_offer(backend.backend) == nullptr);
        CHECK(watch.nobody_waited());
    }
    Listening backend;
    RawBroker taken(backend.path);
    LingeringConnection unread;
    LingeringConnection unaccepted;
    CHECK(take_offer(backend.backend) == nullptr);
    unread.send_by(taken.connection.get(), an_offer());
    RawBroker queued(backend.path);
    unaccepted.send_by(queued.connection.get(), an_offer());
    const Watch watch;
    backend.backend.reset();
    CHECK(watch.nobody_waited());
}

TEST_CASE("no backend makes a broker wait by a connection that lingers beside the acknowledgement or instead of it") {
    for (const bool acknowledged : {true, false}) {
        CAPTURE(acknowledged);
        SocketPair pair;
        FakeTime time;
        const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
        const ClientConnection client;
        rp_handoff_request request = request_over(pair.a.get(), client.fd.get(), issue(broker));
        request.correlation_id = 5;
        LingeringConnection connection;
        time.meanwhile = [&] {
            if (connection.lingering) {
                connection.send_by(pair.b.get(), acknowledged ? acceptance(request.token, 5) : Bytes{9, 9});
            }
        };
        const Watch watch;
        CHECK(execute(broker, request).result == (acknowledged ? RP_HANDOFF_COMPLETED : RP_HANDOFF_FALLBACK));
        CHECK(watch.nobody_waited());
    }
}

TEST_CASE("a backend that a broker has dialled can send it no descriptor") {
    const Directory directory;
    const std::string path = directory / "backend";
    const UniqueFd listener = listener_at(path);
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const ClientConnection client;
    rp_handoff_request request = request_to(path, client.fd.get(), issue(broker));
    request.correlation_id = 5;
    time.meanwhile = [&] {
        const UniqueFd accepted = accept_from(listener);
        std::size_t sent = 0;
        std::uint8_t byte = 1;
        const std::int32_t status = rp_handoff_wire_send(accepted.get(), client.client.get(), &byte, 1, &sent);
        CHECK(status == (can_refuse_descriptors() ? RP_HANDOFF_ERR_SYSTEM : RP_HANDOFF_OK));
        read_available(accepted.get());
    };
    CHECK(execute(broker, request).result == RP_HANDOFF_FALLBACK);
}

TEST_CASE("nothing is closed with the backend locked: surplus, garbage, what is late, answered or never taken") {
    {
        Watched watched;
        send_message(watched.connection.get(), an_offer(), watched.client.fd.get(), 5);
        watched.check_unlocked([&] { CHECK(take_offer(watched.backend) == nullptr); });
    }
    {
        Watched watched;
        send_message(watched.connection.get(), no_offer(), watched.client.fd.get(), 1);
        watched.check_unlocked([&] { CHECK(take_offer(watched.backend) == nullptr); });
    }
    {
        Watched watched;
        send_message(watched.connection.get(), {1, 2, 3}, watched.client.fd.get(), 1);
        CHECK(take_offer(watched.backend) == nullptr);
        watched.time.now += 6 * second;
        watched.check_unlocked([&] { CHECK(take_offer(watched.backend) == nullptr); });
    }
    for (const bool broker_is_there : {true, false}) {
        Watched watched;
        send_message(watched.connection.get(), an_offer(), watched.client.fd.get(), 1);
        const Offer offer = take_offer(watched.backend);
        REQUIRE(offer);
        if (!broker_is_there) {
            watched.connection.reset();
        }
        watched.check_unlocked([&] { rp_handoff_offer_refuse(offer.get(), "no"); });
    }
    for (const bool taken_late : {true, false}) { // a token that was used, in a second offer
        Watched watched;
        send_message(watched.connection.get(), an_offer(), watched.client.fd.get(), 1);
        CHECK(accept_and_close(take_offer(watched.backend)) == RP_HANDOFF_OK);
        send_message(watched.connection.get(), an_offer(), watched.client.fd.get(), 1);
        if (taken_late) {
            watched.connection.reset();
        }
        watched.check_unlocked([&] { CHECK(take_offer(watched.backend) == nullptr); });
        CHECK(statistics(watched.backend).rejected_tokens == 1);
    }
    Watched watched; // one offer that nobody takes, one that does not begin, and a listener with a broker in it
    const Directory directory;
    const std::string path = directory / "s";
    REQUIRE(rp::test::listen_at(watched.backend.get(), path.c_str()) == RP_HANDOFF_OK);
    const RawBroker silent(path);
    send_message(watched.connection.get(), an_offer(), watched.client.fd.get(), 1);
    CHECK(take_offer(watched.backend) != nullptr);
    send_message(watched.connection.get(), RawBroker::message(token_of(2)), watched.client.fd.get(), 1);
    const Offer held = take_offer(watched.backend);
    REQUIRE(held);
    SocketPair more;
    REQUIRE(rp_handoff_backend_add_connection(watched.backend.get(), more.b.release(), RP_HANDOFF_TRUST_CALLER) ==
            RP_HANDOFF_OK);
    send_message(more.a.get(), RawBroker::message(token_of(3)), watched.client.fd.get(), 1);
    const RawBroker late(path);
    int closes = 0;
    {
        auto counts = sized<rp_handoff_backend_statistics>();
        rp_handoff_backend *const dying =
            watched.backend.get(); // until its end, which closes nothing while `held` lives
        const Hooked<int(int)> hook(calls::close(), [&](int fd) {
            ++closes;
            CHECK(rp_handoff_backend_get_statistics(dying, &counts) == RP_HANDOFF_OK);
            return calls::close().real(fd);
        });
        watched.backend.reset();
    }
    CHECK(closes >= 3);
}

TEST_CASE("the duplicate of a refused offer is closed before the refusal is told, and keeps its SO_LINGER") {
    {
        Watched watched;
        send_message(watched.connection.get(), an_offer(), watched.client.fd.get(), 1);
        const Offer offer = take_offer(watched.backend);
        watched.client.fd.reset();
        const ClosedBeforeAnswer order(watched.client);
        CHECK(rp_handoff_offer_refuse(offer.get(), "no") == RP_HANDOFF_OK);
    }
    {
        Watched watched;
        send_message(watched.connection.get(), an_offer(), watched.client.fd.get(), 1);
        Offer offer = take_offer(watched.backend);
        watched.client.fd.reset();
        const ClosedBeforeAnswer order(watched.client);
        offer.reset();
    }
    {
        Watched watched;
        send_message(watched.connection.get(), an_offer(), watched.client.fd.get(), 1);
        const Offer offer = take_offer(watched.backend);
        watched.client.fd.reset();
        watched.time.now += 3600 * second; // the token has expired
        const ClosedBeforeAnswer order(watched.client);
        std::int32_t fd = -1;
        CHECK(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_ERR_TOKEN_EXPIRED);
    }
    {
        Watched watched;
        send_message(watched.connection.get(), an_offer(), watched.client.fd.get(), 1);
        CHECK(accept_and_close(take_offer(watched.backend)) == RP_HANDOFF_OK);
        send_message(watched.connection.get(), an_offer(), watched.client.fd.get(), 1); // a replay
        watched.client.fd.reset();
        const ClosedBeforeAnswer order(watched.client);
        CHECK(take_offer(watched.backend) == nullptr);
    }
    {
        Watched watched;
        send_message(watched.connection.get(), an_offer(), watched.client.fd.get(), 1);
        SocketPair pair; // a second broker, so that one offer is given out while the other is received
        REQUIRE(rp_handoff_backend_add_connection(watched.backend.get(), pair.b.release(), RP_HANDOFF_TRUST_CALLER) ==
                RP_HANDOFF_OK);
        send_message(pair.a.get(), RawBroker::message(token_of(2)), watched.client.fd.get(), 1);
        CHECK(accept_and_close(take_offer(watched.backend)) == RP_HANDOFF_OK);
        watched.client.fd.reset();
        const ClosedBeforeAnswer order(watched.client);
        watched.backend.reset(); // nobody took it
    }
    LingeringConnection connection;
    Watched watched;
    send_message(watched.connection.get(), an_offer(), connection.lingering.get(), 1);
    const Offer offer = take_offer(watched.backend);
    CHECK(rp_handoff_offer_refuse(offer.get(), "no") == RP_HANDOFF_OK);
    CHECK(lingers(connection.lingering.get()));
    const linger none{0, 0};
    setsockopt(connection.lingering.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

TEST_CASE("a stop in a signal handler takes no lock, whatever the interrupted thread holds") {
    alarm(20);
    const Directory directory;
    const std::string path = directory / "s";
    const Backend backend = make_backend();
    REQUIRE(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
    RawBroker broker(path);
    const Hooked<int(int, sockaddr *, socklen_t *, int)> hook(
        calls::accept4(), [&](int fd, sockaddr *address, socklen_t *length, int flags) {
            CHECK(rp_handoff_backend_stop(backend.get()) == RP_HANDOFF_OK); // as a handler would, under the lock
            return calls::accept4().real(fd, address, length, flags);
        });
    rp_handoff_offer *offer = nullptr;
    CHECK(rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_ERR_CLOSED);
}

TEST_CASE("what somebody else writes into the backend's events is taken out, and a stop still stops") {
    const Backend backend = make_backend();
    for (const auto &[fd, target] : open_descriptors()) {
        if (target == "anon_inode:[eventfd]") {
            const std::uint64_t stray = 8;
            REQUIRE(write(fd, &stray, sizeof stray) == sizeof stray);
        }
    }
    int looks = 0;
    const Hooked<int(int, epoll_event *, int, int)> hook(
        calls::epoll_wait(), [&](int epoll, epoll_event *events, int most, int timeout) {
            ++looks;
            return calls::epoll_wait().real(epoll, events, most, timeout);
        });
    rp_handoff_offer *offer = nullptr;
    CHECK(rp_handoff_backend_next_offer(backend.get(), 50'000'000, &offer) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(looks <= 3);
    CHECK_FALSE(is_readable(rp_handoff_backend_get_fd(backend.get())));
    CHECK(rp_handoff_backend_stop(backend.get()) == RP_HANDOFF_OK);
    CHECK(is_readable(rp_handoff_backend_get_fd(backend.get())));
    CHECK(rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_ERR_CLOSED);
}

TEST_CASE("a stop that comes while a stray event is taken out is not taken out with it") {
    const Backend backend = make_backend();
    int stop_event = -1;
    for (const auto &[fd, target] : open_descriptors()) {
        stop_event = target == "anon_inode:[eventfd]" ? fd : stop_event; // the nudge is made before it
    }
    const std::uint64_t stray = 8;
    REQUIRE(write(stop_event, &stray, sizeof stray) == sizeof stray);
    const Hooked<ssize_t(int, void *, std::size_t)> hook(calls::read(), [&](int fd, void *data, std::size_t length) {
        rp_handoff_backend_stop(backend.get());
        return calls::read().real(fd, data, length);
    });
    rp_handoff_offer *offer = nullptr;
    CHECK(rp_handoff_backend_next_offer(backend.get(), 0, &offer) != RP_HANDOFF_OK);
    CHECK(is_readable(rp_handoff_backend_get_fd(backend.get())));
    CHECK(rp_handoff_backend_next_offer(backend.get(), 0, &offer) == RP_HANDOFF_ERR_CLOSED);
}

TEST_CASE("a backend whose poller is gone says so instead of spinning") {
    const Backend backend = make_backend();
    const UniqueFd other(open("/dev/null", O_RDONLY | O_CLOEXEC));
    const int poller = rp_handoff_backend_get_fd(backend.get());
    REQUIRE(dup3(other.get(), poller, O_CLOEXEC) == poller); // somebody closed it, and the number is used again
    rp_handoff_offer *offer = nullptr;
    for (const std::uint64_t timeout : {std::uint64_t{0}, std::uint64_t{second}, RP_HANDOFF_FOREVER}) {
        errno = 0;
        CHECK(rp_handoff_backend_next_offer(backend.get(), timeout, &offer) == RP_HANDOFF_ERR_SYSTEM);
        CHECK(errno == EINVAL);
    }
}

namespace {

// Calls call(path of a socket). In the moment in which the library has connected, or asks who listens, the listener accepts
// and sends `first` and a connection that lingers; `stranger`: he is somebody else than was expected.
template <class Call>
void check_listener_is_not_waited_for(bool stranger, const Bytes &first, Call call) {
    const Directory directory;
    const std::string path = directory / "socket";
    const UniqueFd listener = listener_at(path);
    LingeringConnection connection;
    UniqueFd accepted;
    const auto send = [&] {
        if (accepted) {
            return;
        }
        accepted = UniqueFd(::accept(listener.get(), nullptr, nullptr));
        REQUIRE(accepted);
        REQUIRE(::send(accepted.get(), first.data(), first.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(first.size()));
        connection.send_by(accepted.get(), {1});
    };
    const Hooked<int(int, int, int, void *, socklen_t *)> asked(
        calls::getsockopt(), [&](int fd, int level, int name, void *value, socklen_t *length) {
            const int answer = calls::getsockopt().real(fd, level, name, value, length);
            if (level == SOL_SOCKET && name == SO_PEERCRED) {
                send();
                static_cast<ucred *>(value)->uid += stranger ? 1 : 0;
            }
            return answer;
        });
    const Watch watch;
    CHECK(call(path, send) < 0);
    CHECK(accepted);
    CHECK(watch.nobody_waited());
}

std::int32_t connect_client(const std::string &path) {
    auto request = sized<rp_handoff_client_request>();
    request.broker_path = path.c_str();
    request.service_name = "service";
    auto connection = sized<rp_handoff_client_connection>();
    return rp_handoff_client_connect(&request, &connection, nullptr);
}

} // namespace

TEST_CASE("a stranger who listens where a client or a session dials makes nobody wait") {
    check_listener_is_not_waited_for(true, {},
                                     [](const std::string &path, const auto &) { return connect_client(path); });
    const Broker broker = make_broker();
    check_listener_is_not_waited_for(true, {}, [&](const std::string &path, const auto &) {
        auto options = sized<rp_handoff_session_options>();
        options.socket_path = path.c_str();
        rp_handoff_session *made = nullptr;
        return rp_handoff_session_create_broker(broker.get(), &options, &made, nullptr);
    });
    check_listener_is_not_waited_for(true, {}, [](const std::string &path, const auto &) {
        auto options = sized<rp_handoff_session_options>();
        options.socket_path = path.c_str();
        rp_handoff_session *made = nullptr;
        return rp_handoff_session_create_backend(&options, &made, nullptr);
    });
}

TEST_CASE("a broker whose reply is none makes no client wait") {
    check_listener_is_not_waited_for(false, Bytes(5, 0xFF),
                                     [](const std::string &path, const auto &) { return connect_client(path); });
}

TEST_CASE("who listens at a path already makes nobody wait who would like to") {
    check_listener_is_not_waited_for(false, {}, [](const std::string &path, const auto &send) {
        const Hooked<int(int, const sockaddr *, socklen_t)> connected(
            calls::connect(), [&](int fd, const sockaddr *address, socklen_t length) {
                const int answer = calls::connect().real(fd, address, length);
                send();
                return answer;
            });
        rp_handoff_listener *made = nullptr;
        const std::int32_t status = rp::test::create_listener(path.c_str(), &made);
        CHECK(status == RP_HANDOFF_ERR_PATH_IN_USE);
        return status;
    });
}
