// Peers in containers: processes whose pids and users this one does not see, or cannot name.
#include "support/api.hpp"
#include "support/namespaces.hpp"
#include "support/pairs.hpp"
#include "support/raw_broker.hpp"
#include "support/server.hpp"
#include "support/town.hpp"

using namespace rp::test;

namespace {

// Where other users may go.
UniqueFd public_listener(const Directory &directory, const std::string &path) {
    REQUIRE(chmod(directory.path().c_str(), 0755) == 0);
    UniqueFd listener = listener_at(path);
    REQUIRE(chmod(path.c_str(), 0666) == 0);
    return listener;
}

// Adopts whatever it is offered at this listener, for as long as it lives.
auto adopting(const std::string &path, uid_t uid) {
    return [path, uid](const Wire &wire) {
        if (uid != geteuid()) {
            must(setresuid(uid, uid, uid) == 0);
        }
        const UniqueFd listener = listener_at(path);
        must(chmod(path.c_str(), 0666) == 0);
        const Backend backend = make_backend();
        must(rp::test::listen_on(backend.get(), dup(listener.get()), RP_HANDOFF_TRUST_CALLER) == RP_HANDOFF_OK);
        wire.say('r');
        rp_handoff_offer *offer = nullptr;
        while (rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK) {
            accept_and_close(Offer(offer));
        }
    };
}

rp_handoff_outcome hand_over(const Broker &broker, const std::string &path, std::uint32_t pid = 0) {
    const ClientConnection client;
    return execute(broker, request_to(path, client.fd.get(), issue(broker, "service", pid)));
}

bool was_rejected(const rp_handoff_outcome &outcome) {
    return outcome.cause == RP_HANDOFF_CAUSE_PEER_REJECTED && outcome.ownership == RP_HANDOFF_OWNER_BROKER;
}

FrontDoor door_with(const Broker &broker, const std::vector<std::uint32_t> &uids = {},
                    const rp_handoff_front_door_options &options = sized<rp_handoff_front_door_options>()) {
    FrontDoor door = make_front_door(broker, options);
    auto service = sized<rp_handoff_front_door_service>();
    service.name = "service";
    service.backend_endpoint = "/where/clients/reconnect";
    service.client_uids = uids.data();
    service.client_uids_length = uids.size();
    REQUIRE(rp_handoff_front_door_put_service(door.get(), &service, nullptr) == RP_HANDOFF_OK);
    return door;
}

// Says this Hello, and hears the reply's choice and code.
struct Told {
    std::int32_t choice;
    std::int32_t code;
    std::string reason;
};
Told say_hello(int connection, std::uint32_t claimed_pid) {
    auto hello = hello_of();
    hello.peer_pid = claimed_pid;
    write_all(connection, encoded(hello));
    wait_for_input(connection);
    const Reply reply(read_available(connection));
    return {reply.reply.choice, reply.reply.code, std::string(VIEW_PAIR(reply.reply, reason))};
}

} // namespace

TEST_CASE(
    "a stranger is not the same user where neither has a name: not a byte, and no connection, reaches his backend") {
    if (!is_root()) {
        return;
    }
    const Directory directory;
    REQUIRE(chmod(directory.path().c_str(), 0777) == 0);
    const std::string path = directory / "backend";
    const Child backend(adopting(path, stranger));
    REQUIRE(backend.hear() == 'r');
    Child nameless([&](const Wire &) {
        if (!lose_all_names()) {
            return;
        }
        must(was_rejected(hand_over(make_broker(), path)));
        const std::vector<std::uint32_t> nobody{overflow};
        must(hand_over(make_broker(allowing<rp_handoff_broker_options>(nobody)), path).result == RP_HANDOFF_COMPLETED);
    });
    CHECK(nameless.wait() == 0);
}

TEST_CASE("a stranger without a name is no broker for a backend, nor a client for a front door, which tells him so") {
    if (!is_root()) {
        return;
    }
    const Directory directory;
    const UniqueFd backends = public_listener(directory, directory / "backend");
    const UniqueFd doors = public_listener(directory, directory / "door");
    Child nameless([&](const Wire &wire) {
        if (!lose_all_names()) {
            wire.say('s');
            return;
        }
        const Backend backend = make_backend();
        must(rp::test::listen_on(backend.get(), dup(backends.get()), RP_HANDOFF_TRUST_CREDENTIALS) == RP_HANDOFF_OK);
        wire.say('r');
        must(wire.hear() == 'o');
        must(take_offer(backend) == nullptr && statistics(backend).rejected_peers == 1);
        const Broker broker = make_broker();
        const std::vector<std::uint32_t> nobody{overflow};
        for (const std::vector<std::uint32_t> &uids : {std::vector<std::uint32_t>(), nobody}) {
            const FrontDoor door = door_with(broker, uids);
            const UniqueFd client = accept_from(doors);
            const Visit visit = serve(door, client.get());
            must((visit.visit.code == RP_HANDOFF_REFUSED_PEER_REJECTED) == uids.empty());
        }
    });
    if (nameless.hear() == 'r') {
        Child visitor([&](const Wire &) {
            become(stranger);
            RawBroker own(directory / "backend");
            own.offer(token_of(1));
            nameless.say('o');
            const UniqueFd first = dial(directory / "door");
            const Told told = say_hello(first.get(), 0);
            must(told.code == RP_HANDOFF_REFUSED_PEER_REJECTED);
            must(told.reason.find("no name") != std::string::npos);
            const UniqueFd again = dial(directory / "door");
            must(say_hello(again.get(), 0).choice == RP_HANDOFF_REPLY_NEGOTIATED);
        });
        CHECK(visitor.wait() == 0);
    }
    CHECK(nameless.wait() == 0);
}

TEST_CASE("where everybody has a name, the user with the overflow uid is one like others") {
    if (!is_root()) {
        return;
    }
    const Directory directory;
    REQUIRE(chmod(directory.path().c_str(), 0777) == 0);
    const std::string path = directory / "backend";
    const Child backend(adopting(path, overflow));
    REQUIRE(backend.hear() == 'r');
    CHECK(was_rejected(hand_over(make_broker(), path)));
    Child same([&](const Wire &) {
        become(overflow);
        const bool completed = hand_over(make_broker(), path).result == RP_HANDOFF_COMPLETED;
        char map[64] = {};
        const UniqueFd fd(open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC));
        must(read(fd.get(), map, sizeof map - 1) > 0);
        must(completed == (std::strstr(map, "4294967295") != nullptr));
    });
    CHECK(same.wait() == 0);
}

TEST_CASE(
    "a broker in a container hands over to a backend outside, whose pid it does not see, unless it requires one") {
    const Directory directory;
    const std::string path = directory / "backend";
    const Child backend(adopting(path, geteuid()));
    REQUIRE(backend.hear() == 'r');
    const auto backends_pid = static_cast<std::uint32_t>(backend.pid());
    as_first_process([&] {
        must(hand_over(make_broker(), path, backends_pid).result == RP_HANDOFF_COMPLETED);
        auto options = sized<rp_handoff_broker_options>();
        options.peer_flags = RP_HANDOFF_PEER_MATCH_PID;
        const Broker matching = make_broker(options);
        must(was_rejected(hand_over(matching, path, backends_pid)));
        must(hand_over(matching, path).result == RP_HANDOFF_COMPLETED);
    });
}

TEST_CASE("a backend in a container is handed connections from outside") {
    const Directory directory;
    const std::string path = directory / "backend";
    const Child backend(contained(adopting(path, geteuid())));
    if (backend.hear() == 'r') {
        CHECK(hand_over(make_broker(), path).result == RP_HANDOFF_COMPLETED);
    }
}

TEST_CASE("a client in a container claims the pid that it knows of itself, and is served outside all the same") {
    const Town town;
    const BackendProcess backend(town.handoff, town.reconnect);
    const BrokerProcess broker(town.door, town.handoff, town.reconnect);
    Child client(contained([&](const Wire &wire) {
        must(getpid() == 1);
        const ConnectedClient connected(town.request());
        must(connected.status == RP_HANDOFF_OK);
        must(connected.connection.route == RP_HANDOFF_ROUTE_HANDLE_PASSED);
        must(connected.greeting() == 'A');
        const UniqueFd liar = dial(town.door);
        must(say_hello(liar.get(), 2).code == RP_HANDOFF_REFUSED_PEER_REJECTED);
        wire.say('d');
    }));
    if (client.hear() == 'd') {
        CHECK(broker.next_result() == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
        CHECK(broker.next_result() == RP_HANDOFF_FRONT_DOOR_REFUSED);
    }
    CHECK(client.wait() == 0);
}

TEST_CASE("a front door in a container serves clients outside, and counts the Hellos of each process by themselves") {
    const Directory directory;
    const UniqueFd listener = listener_at(directory / "door");
    Child house(contained([&](const Wire &wire) {
        const Broker broker = make_broker();
        auto options = sized<rp_handoff_front_door_options>();
        options.max_hellos = 1;
        options.hello_window_ns = 3600 * second;
        const FrontDoor door = door_with(broker, {}, options);
        wire.say('r');
        for (int i = 0; i < 4; ++i) {
            const UniqueFd client = accept_from(listener);
            serve(door, client.get());
        }
    }));
    if (house.hear() != 'r') {
        return;
    }
    const auto visit_twice = [&](const Wire &) {
        const UniqueFd first = dial(directory / "door");
        must(say_hello(first.get(), static_cast<std::uint32_t>(getpid())).choice == RP_HANDOFF_REPLY_NEGOTIATED);
        const UniqueFd again = dial(directory / "door");
        must(say_hello(again.get(), 0).code == RP_HANDOFF_REFUSED_RATE_LIMITED);
    };
    Child one(visit_twice);
    CHECK(one.wait() == 0);
    Child other(visit_twice);
    CHECK(other.wait() == 0);
    CHECK(house.wait() == 0);
}
