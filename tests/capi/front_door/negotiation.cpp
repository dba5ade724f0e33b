// What a client is told, when its connection is handed over, and when it is told "ready".
#include "support/api.hpp"
#include "support/door.hpp"
#include "support/server.hpp"

#include <iterator>
#include <set>
#include <sys/resource.h>
#include <thread>

using namespace rp::test;

namespace {

// The ready frame, byte by byte. The id is less than 128.
Bytes ready_frame(const rp_handoff_token &token, std::uint64_t id) {
    REQUIRE(id < 128);
    const auto small = static_cast<std::uint8_t>(id);
    // Header; version 1, kind EVENT, protocol 0xD0FF; a payload of token, accepted and id; the request id.
    const Bytes before{1, 34, 0, 0, 0, 0x08, 1, 0x10, 2, 0x18, 0xFF, 0xA1, 0x03, 0x22, 22, 0x0A, 16};
    const Bytes after{0x10, 1, 0x20, small, 0x28, small};
    Bytes frame = before;
    std::copy(std::begin(token.bytes), std::end(token.bytes), std::back_inserter(frame));
    std::copy(after.begin(), after.end(), std::back_inserter(frame));
    return frame;
}

void check_no_handoff(const Visit &visit, const Guest &guest) {
    CHECK(visit.visit.result == RP_HANDOFF_FRONT_DOOR_RECONNECT);
    CHECK(visit.visit.attempted == 0);
    CHECK(visit.visit.ready_delivered == 0);
    const Reply answer = guest.reply();
    CHECK(answer.reply.choice == RP_HANDOFF_REPLY_NEGOTIATED);
    CHECK(answer.reply.server_capabilities == 0xF0);
    CHECK(answer.reply.handle_passed_token_length == 0);
    CHECK(std::string(VIEW_PAIR(answer.reply, backend_pipe)) == "/where/clients/reconnect");
    CHECK(answer.rest.empty());
}

// A handoff was tried and did not complete: the client has its reply, and after it nothing but the end.
void check_fell_back(House &house, Guest &guest, const Visit &visit) {
    CHECK(visit.visit.result == RP_HANDOFF_FRONT_DOOR_RECONNECT);
    CHECK(visit.visit.attempted == 1);
    CHECK(visit.visit.ready_delivered == 0);
    CHECK(visit.outcome.result == RP_HANDOFF_FALLBACK);
    const Reply answer = guest.reply();
    CHECK(answer.reply.choice == RP_HANDOFF_REPLY_NEGOTIATED);
    CHECK(answer.offers_handoff());
    CHECK(answer.rest.empty());
    house.adopted.reset();
    guest.check_only_end_of_file();
    house.check_nothing_pending();
    const rp_handoff_token token = answer.token();
    CHECK(rp_handoff_broker_revoke(house.broker.get(), &token) == 0);
}

} // namespace

TEST_CASE("a client learns where its service is and what it can, whatever becomes of the handoff") {
    House house;
    const Guest guest(encoded(hello_of(), 77));
    const Visit visit = house.serve(guest);
    CHECK(visit.visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
    CHECK(visit.visit.status == RP_HANDOFF_OK);
    CHECK(visit.visit.code == 0);
    const Reply answer = guest.reply();
    CHECK(answer.request_id == 77);
    CHECK(answer.reply.choice == RP_HANDOFF_REPLY_NEGOTIATED);
    CHECK(answer.reply.negotiated_protocol == 1);
    CHECK(std::string(VIEW_PAIR(answer.reply, daemon_version)) == "2.1");
    CHECK(std::string(VIEW_PAIR(answer.reply, backend_pipe)) == "/where/clients/reconnect");
    CHECK(answer.reply.warnings_length == 0);
    CHECK(answer.reply.server_capabilities == (0xF0 | handle_passing));
    CHECK(answer.reply.keepalive_interval_secs == 60);
    CHECK(answer.reply.handle_passed_token_length == 16);
    CHECK(answer.reply.connection_id == visit.visit.connection_id);
}

TEST_CASE("the client's connection itself is handed over, with the ids that the client was told") {
    House house;
    const Guest guest(hello_of());
    const Visit visit = house.serve(guest);
    const Reply answer = guest.reply();
    CHECK(visit.outcome.result == RP_HANDOFF_COMPLETED);
    CHECK(visit.outcome.ownership == RP_HANDOFF_OWNER_BACKEND);
    CHECK(visit.outcome.correlation_id == visit.visit.connection_id);
    CHECK(house.offered.correlation_id == visit.visit.connection_id);
    const rp_handoff_token token = answer.token();
    CHECK(rp_handoff_token_equal(&house.offered.token, &token) == 1);
    REQUIRE(house.adopted);
    write_all(guest.pair.a.get(), {'h', 'i'});
    CHECK(read_available(house.adopted.get()) == Bytes{'h', 'i'});
    house.check_nothing_pending();
    CHECK(statistics(house.broker).completed == 1);
}

TEST_CASE("the offer names the service") {
    House house;
    std::string name;
    house.replace_backend([&name](int, const ReceivedOffer &offer) { name = offer.service_name; });
    house.serve(Guest(hello_of()));
    CHECK(name == "service");
}

TEST_CASE("the ready frame of a completed handoff is as the protocol has it, to the byte") {
    const House house;
    const Guest guest(hello_of());
    const Visit visit = house.serve(guest);
    CHECK(visit.visit.ready_delivered == 1);
    const Reply answer = guest.reply();
    CHECK(answer.rest == ready_frame(answer.token(), visit.visit.connection_id));
}

TEST_CASE("reply and ready frame leave in one write each") {
    // A socket that keeps the bounds of writes. A Hello in two packets is read like one in a stream.
    const House house;
    const SocketPair pair(SOCK_SEQPACKET);
    const Bytes hello = encoded(hello_of());
    const auto body = hello.begin() + RP_HANDOFF_FRAME_HEADER_SIZE;
    write_all(pair.a.get(), Bytes(hello.begin(), body));
    write_all(pair.a.get(), Bytes(body, hello.end()));
    const Visit visit = serve(house.door, pair.b.get());
    REQUIRE(visit.visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
    const Reply answer(read_available(pair.a.get()));
    CHECK(answer.rest.empty());
    CHECK(read_available(pair.a.get()) == ready_frame(answer.token(), visit.visit.connection_id));
    CHECK(read_available(pair.a.get()).empty());
}

TEST_CASE("a client that cannot be told ready any more is handed off all the same") {
    House house;
    Guest guest(hello_of());
    const auto adopt = house.act;
    house.act = [&] {
        adopt();
        guest.pair.a.reset();
    };
    const Visit visit = house.serve(guest);
    CHECK(visit.visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
    CHECK(visit.visit.ready_delivered == 0);
    CHECK(visit.outcome.ownership == RP_HANDOFF_OWNER_BACKEND);
}

TEST_CASE("a backend that refuses leaves the client with nothing but the end of file after its reply") {
    House house;
    house.act = [&house] {
        if (const Offer offer = take_offer(house.backend)) {
            CHECK(rp_handoff_offer_refuse(offer.get(), "full") == RP_HANDOFF_OK);
        }
    };
    Guest guest(hello_of());
    const Visit visit = house.serve(guest);
    CHECK(visit.outcome.cause == RP_HANDOFF_CAUSE_BACKEND_REFUSED);
    CHECK(visit.outcome.ownership == RP_HANDOFF_OWNER_BROKER);
    check_fell_back(house, guest, visit);
}

TEST_CASE("a backend that is silent, dies, or answers nonsense leaves the client with nothing but the end of file") {
    struct Case {
        std::int32_t cause;
        std::function<void(House &, int, const ReceivedOffer &)> deal;
    };
    const Case cases[] = {
        {RP_HANDOFF_CAUSE_ACK_TIMED_OUT, [](House &, int, const ReceivedOffer &) {}},
        {RP_HANDOFF_CAUSE_BACKEND_CLOSED, [](House &h, int, const ReceivedOffer &) { h.close_hand_connection(); }},
        {RP_HANDOFF_CAUSE_ACK_UNRELATED,
         [](House &, int fd, const ReceivedOffer &o) {
             write_all(fd, encoded(wire_ack(token_of(0x99), true, o.correlation_id)));
         }},
        {RP_HANDOFF_CAUSE_ACK_UNRELATED,
         [](House &, int fd, const ReceivedOffer &o) {
             write_all(fd, encoded(wire_ack(o.token, true, o.correlation_id + 1)));
         }},
        {RP_HANDOFF_CAUSE_ACK_MALFORMED,
         [](House &, int fd, const ReceivedOffer &o) {
             write_all(fd, encoded(wire_ack(o.token, true, o.correlation_id), RP_HANDOFF_KIND_EVENT));
         }},
        {RP_HANDOFF_CAUSE_ACK_TIMED_OUT,
         [](House &h, int fd, const ReceivedOffer &o) {
             h.time.now += 5 * second;
             write_all(fd, o.accepted());
         }},
    };
    for (const Case &c : cases) {
        CAPTURE(c.cause);
        House house;
        house.replace_backend([&](int fd, const ReceivedOffer &offer) { c.deal(house, fd, offer); });
        Guest guest(hello_of());
        const Visit visit = house.serve(guest);
        CHECK(visit.outcome.cause == c.cause);
        CHECK(visit.outcome.ownership == RP_HANDOFF_OWNER_AMBIGUOUS);
        check_fell_back(house, guest, visit);
    }
}

TEST_CASE("where no backend listens the client reconnects") {
    House house;
    const std::string nowhere = house.directory / "nowhere";
    house.service.handoff_endpoint = nowhere.c_str();
    house.put();
    Guest guest(hello_of());
    const Visit visit = house.serve(guest);
    CHECK(visit.outcome.cause == RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE);
    CHECK(visit.outcome.ownership == RP_HANDOFF_OWNER_BROKER);
    check_fell_back(house, guest, visit);
}

TEST_CASE("a token revoked while its reply is on the way is offered to nobody") {
    House house;
    const Guest guest(hello_of());
    // The random source gives sixteen equal bytes, so that the token is known before it is told.
    const rp_handoff_token token = token_of(house.random.next);
    const int least = 1;
    REQUIRE(setsockopt(guest.brokers_end(), SOL_SOCKET, SO_SNDBUF, &least, sizeof least) == 0);
    while (send(guest.brokers_end(), "x", 1, MSG_DONTWAIT) == 1) {
    }
    house.time.meanwhile = [&] {
        CHECK(rp_handoff_broker_revoke(house.broker.get(), &token) == 1);
        read_available(guest.pair.a.get());
        while (is_readable(guest.pair.a.get())) {
            read_available(guest.pair.a.get());
        }
        house.time.meanwhile = [] {};
    };
    const Visit visit = house.serve(guest);
    CHECK(visit.visit.result == RP_HANDOFF_FRONT_DOOR_RECONNECT);
    CHECK(visit.visit.attempted == 0);
    CHECK(statistics(house.backend).connections == 0);
    house.check_nothing_pending();
}

TEST_CASE("a client that does not say that it can keep a connection is not handed off, and gets no token") {
    const House house;
    for (const std::uint64_t capabilities : {std::uint64_t{0}, std::uint64_t{2}, ~std::uint64_t{1}}) {
        auto hello = hello_of();
        hello.client_capabilities = capabilities;
        const Guest guest(hello);
        check_no_handoff(house.serve(guest), guest);
    }
    CHECK(statistics(house.broker).issued == 0);
    CHECK_FALSE(take_offer(house.backend));
    auto hello = hello_of();
    hello.client_capabilities = ~std::uint64_t{0};
    CHECK(house.serve(Guest(hello)).visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
}

TEST_CASE("a service without handoffs, or with an adopted backend, lets its clients reconnect") {
    using Change = void (*)(rp_handoff_front_door_service &);
    for (const Change change : {Change([](rp_handoff_front_door_service &s) { s.handoff_disabled = 1; }),
                                Change([](rp_handoff_front_door_service &s) { s.handoff_endpoint = nullptr; }),
                                Change([](rp_handoff_front_door_service &s) { s.adopted_backend = 1; })}) {
        House house;
        change(house.service);
        house.put();
        const Guest guest(hello_of());
        check_no_handoff(house.serve(guest), guest);
        CHECK(statistics(house.broker).issued == 0);
        CHECK(statistics(house.broker).fallbacks == 0);
    }
}

TEST_CASE("where no token can be had the client reconnects, and is promised nothing") {
    House no_random;
    no_random.random.answer = 0;
    const Guest guest(hello_of());
    check_no_handoff(no_random.serve(guest), guest);

    auto options = sized<rp_handoff_broker_options>();
    options.max_pending = 1;
    const House full(options);
    issue(full.broker);
    const Guest another(hello_of());
    check_no_handoff(full.serve(another), another);
}

TEST_CASE("the bit of handle passing is the library's, and a service cannot promise it") {
    House house;
    house.service.capabilities = 0xF0 | handle_passing;
    house.service.handoff_disabled = 1;
    house.put();
    const Guest guest(hello_of());
    check_no_handoff(house.serve(guest), guest);
}

TEST_CASE("a backend that fails too often is not attempted until its window ends, and clients reconnect at once") {
    auto options = sized<rp_handoff_broker_options>();
    options.max_failed_attempts = 2;
    options.failed_attempts_window_ns = 100 * second;
    House house(options);
    const auto adopt = house.act;
    house.replace_backend([](int, const ReceivedOffer &) {});
    for (int i = 0; i < 2; ++i) {
        const Guest guest(hello_of());
        CHECK(house.serve(guest).outcome.cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    }
    // The first failure was recorded when the first acknowledgement was five seconds late.
    const std::uint64_t window_end = FakeTime().now + 5 * second + 100 * second;
    house.service.handoff_endpoint = house.path.c_str();
    house.put();
    house.act = adopt;
    for (const std::uint64_t now : {house.time.now, window_end - 1}) {
        house.time.now = now;
        const Guest guest(hello_of());
        check_no_handoff(house.serve(guest), guest);
        CHECK(house.time.now == now);
    }
    CHECK(statistics(house.broker).issued == 2);
    house.time.now = window_end;
    CHECK(house.serve(Guest(hello_of())).visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
    CHECK(statistics(house.broker).backends_with_failures == 0);
}

TEST_CASE("failures are counted for the backend that the service names, or for its name and version") {
    const auto attempted_after = [](bool named, bool new_version) {
        auto options = sized<rp_handoff_broker_options>();
        options.max_failed_attempts = 1;
        House house(options);
        auto key = sized<rp_handoff_backend_key>();
        key.service_name = "one backend";
        house.service.backend = named ? &key : nullptr;
        const std::string nowhere = house.directory / "nowhere";
        house.service.handoff_endpoint = nowhere.c_str();
        house.put();
        CHECK(house.serve(Guest(hello_of())).visit.attempted == 1);
        house.service.version = new_version ? "2.2" : "2.1";
        house.put();
        return house.serve(Guest(hello_of())).visit.attempted == 1;
    };
    CHECK_FALSE(attempted_after(false, false));
    CHECK(attempted_after(false, true));
    CHECK_FALSE(attempted_after(true, true));
}

TEST_CASE("the key of a service without one is that of a shared instance") {
    House house;
    const std::string nowhere = house.directory / "nowhere";
    house.service.handoff_endpoint = nowhere.c_str();
    house.put();
    house.serve(Guest(hello_of()));
    auto key = sized<rp_handoff_backend_key>();
    key.service_name = "service";
    key.service_version = "2.1";
    std::uint32_t count = 0;
    CHECK(rp_handoff_broker_get_failure_count(house.broker.get(), &key, &count, nullptr) == RP_HANDOFF_OK);
    CHECK(count == 1);
}

TEST_CASE("a broker that runs out of descriptors when it dials the backend refuses the next clients") {
    const House house;
    Guest first(hello_of());
    const Guest next(hello_of());
    rlimit limit{};
    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    const UniqueFd lowest_free(dup(0));
    const rlimit tight{static_cast<rlim_t>(lowest_free.get()) + 1, limit.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &tight) == 0);
    const Visit visit = house.serve(first);
    const Visit refused = house.serve(next);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(visit.visit.result == RP_HANDOFF_FRONT_DOOR_RECONNECT);
    CHECK(visit.outcome.cause == RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE);
    CHECK(visit.outcome.reason == RP_HANDOFF_REASON_FD_PRESSURE_DISABLED);
    CHECK(first.reply().rest.empty());
    CHECK(refused.visit.code == RP_HANDOFF_REFUSED_FD_PRESSURE);
    CHECK(next.reply().reply.retry_after_ms == 1000);
}

TEST_CASE("a service can be replaced and removed for the visits to come") {
    House house;
    house.service.handoff_disabled = 1;
    house.service.version = "3.0";
    house.put();
    const Guest guest(hello_of());
    house.serve(guest);
    const Reply answer = guest.reply();
    CHECK(VIEW_PAIR(answer.reply, daemon_version) == "3.0");
    CHECK(rp_handoff_front_door_remove_service(house.door.get(), "another") == 0);
    CHECK(rp_handoff_front_door_remove_service(house.door.get(), "service") == 1);
    CHECK(rp_handoff_front_door_remove_service(house.door.get(), "service") == 0);
    CHECK(house.serve(Guest(hello_of())).visit.code == RP_HANDOFF_REFUSED_SERVICE_UNKNOWN);
    house.put();
    CHECK(house.serve(Guest(hello_of())).visit.result == RP_HANDOFF_FRONT_DOOR_RECONNECT);
}

TEST_CASE("a service is found by its whole name") {
    const House house;
    for (const char *name : {"", "servic", "services", "Service", "service "}) {
        CHECK(house.serve(Guest(hello_of(name))).visit.code == RP_HANDOFF_REFUSED_SERVICE_UNKNOWN);
    }
    CHECK(house.serve(Guest(hello_of(std::string_view("service\0", 8)))).visit.code ==
          RP_HANDOFF_REFUSED_SERVICE_UNKNOWN);
}

TEST_CASE("every connection id is another one, also where many threads serve") {
    const Server server;
    const Directory directory;
    const std::string path = directory / "backend";
    REQUIRE(rp::test::listen_at(server.backend.get(), path.c_str()) == RP_HANDOFF_OK);
    const Broker broker = make_broker();
    const FrontDoor door = make_front_door(broker, sized<rp_handoff_front_door_options>());
    auto service = sized<rp_handoff_front_door_service>();
    service.name = "service";
    service.backend_endpoint = "/reconnect";
    service.handoff_endpoint = path.c_str();
    REQUIRE(rp_handoff_front_door_put_service(door.get(), &service, nullptr) == RP_HANDOFF_OK);

    constexpr std::size_t visits = 50;
    std::uint64_t ids[4][visits] = {};
    std::vector<std::thread> threads;
    for (auto &mine : ids) {
        threads.emplace_back([&mine, &door] {
            for (std::uint64_t &id : mine) {
                const Guest guest(hello_of());
                const Visit visit = serve(door, guest.brokers_end());
                CHECK(visit.visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
                CHECK(guest.reply().reply.connection_id == visit.visit.connection_id);
                id = visit.visit.connection_id;
            }
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    std::set<std::uint64_t> all;
    for (const auto &mine : ids) {
        all.insert(std::begin(mine), std::end(mine));
    }
    CHECK(all.size() == 4 * visits);
    CHECK(all.count(0) == 0);
}

TEST_CASE("a visit sees a service as it was before it was replaced, or as it is after, and nothing in between") {
    const Broker broker = make_broker();
    const FrontDoor door = make_front_door(broker, sized<rp_handoff_front_door_options>());
    auto service = sized<rp_handoff_front_door_service>();
    service.name = "service";
    const std::string long_texts[] = {std::string(200, 'a'), std::string(200, 'b')};
    const auto put = [&](std::size_t which) {
        service.version = long_texts[which].c_str();
        service.backend_endpoint = long_texts[which].c_str();
        REQUIRE(rp_handoff_front_door_put_service(door.get(), &service, nullptr) == RP_HANDOFF_OK);
    };
    put(0);
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&door] {
            for (int round = 0; round < 200; ++round) {
                const Guest guest(hello_of());
                serve(door, guest.brokers_end());
                const Reply answer = guest.reply();
                CHECK(answer.reply.daemon_version_length == 200);
                CHECK(std::string(VIEW_PAIR(answer.reply, daemon_version)) ==
                      std::string(VIEW_PAIR(answer.reply, backend_pipe)));
            }
        });
    }
    for (std::size_t i = 0; i < 400; ++i) {
        put(i % 2);
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
}

TEST_CASE("what a service says of itself is checked") {
    House house;
    const auto status_after = [&house](const auto &change) {
        rp_handoff_front_door_service service = house.service;
        change(service);
        return rp_handoff_front_door_put_service(house.door.get(), &service, nullptr);
    };
    constexpr std::int32_t invalid = RP_HANDOFF_ERR_INVALID_ARGUMENT;
    const std::string of_255(255, 'x');
    const std::string of_256(256, 'x');
    const std::string of_1023(1023, 'x');
    const std::string of_1024(1024, 'x');
    const std::string of_107(107, 'x');
    const std::string of_108(108, 'x');
    CHECK(status_after([&](auto &s) { s.name = nullptr; }) == invalid);
    CHECK(status_after([&](auto &s) { s.name = of_255.c_str(); }) == RP_HANDOFF_OK);
    CHECK(status_after([&](auto &s) { s.name = of_256.c_str(); }) == invalid);
    CHECK(status_after([&](auto &s) { s.name = "\xFF"; }) == invalid);
    CHECK(status_after([&](auto &s) { s.version = nullptr; }) == RP_HANDOFF_OK);
    CHECK(status_after([&](auto &s) { s.version = of_256.c_str(); }) == invalid);
    CHECK(status_after([&](auto &s) { s.backend_endpoint = nullptr; }) == invalid);
    CHECK(status_after([&](auto &s) { s.backend_endpoint = ""; }) == RP_HANDOFF_OK);
    CHECK(status_after([&](auto &s) { s.backend_endpoint = of_1023.c_str(); }) == RP_HANDOFF_OK);
    CHECK(status_after([&](auto &s) { s.backend_endpoint = of_1024.c_str(); }) == invalid);
    CHECK(status_after([&](auto &s) { s.handoff_endpoint = of_107.c_str(); }) == RP_HANDOFF_OK);
    for (const char *path : {"", "@abstract", of_108.c_str()}) {
        CHECK(status_after([&](auto &s) { s.handoff_endpoint = path; }) == RP_HANDOFF_ERR_PATH_INVALID);
    }
    CHECK(status_after([&](auto &s) { s.client_peer_flags = RP_HANDOFF_PEER_MATCH_PID; }) == invalid);
    CHECK(status_after([&](auto &s) { s.client_uids_length = 1; }) == invalid);
    const std::uint32_t uids[65] = {};
    const char *versions[65];
    std::fill(std::begin(versions), std::end(versions), "1");
    for (const std::uint32_t count : {64U, 65U}) {
        CHECK(status_after([&](auto &s) {
                  s.allowed_versions = versions;
                  s.allowed_versions_length = count;
              }) == (count == 64 ? RP_HANDOFF_OK : invalid));
        CHECK(status_after([&](auto &s) {
                  s.client_uids = uids;
                  s.client_uids_length = count;
              }) == (count == 64 ? RP_HANDOFF_OK : invalid));
    }
    CHECK(status_after([&](auto &s) { s.allowed_versions_length = 1; }) == invalid);
    versions[63] = nullptr;
    CHECK(status_after([&](auto &s) {
              s.allowed_versions = versions;
              s.allowed_versions_length = 64;
          }) == invalid);
    const auto bad_key = rp_handoff_backend_key{};
    CHECK(status_after([&](auto &s) { s.backend = &bad_key; }) == RP_HANDOFF_ERR_STRUCT_SIZE);
    CHECK(status_after([&](auto &s) { s.struct_size = 0; }) == RP_HANDOFF_ERR_STRUCT_SIZE);
    CHECK(house.serve(Guest(hello_of())).visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF); // as it was put at first
}
