// The routes by which a client comes to its service.
#include "support/client.hpp"

using namespace rp::test;

namespace {

rp_handoff_wire_hello decode_hello(const Bytes &bytes) {
    auto hello = sized<rp_handoff_wire_hello>();
    std::uint64_t request_id = 0;
    std::size_t consumed = 0;
    REQUIRE(rp_handoff_wire_decode_hello(bytes.data(), bytes.size(), &hello, &request_id, &consumed) == RP_HANDOFF_OK);
    CHECK(consumed == bytes.size());
    return hello;
}

} // namespace

TEST_CASE("a connection that the backend has adopted is kept, and all that the broker said is told") {
    ClientScene scene;
    REQUIRE(scene.connect() == RP_HANDOFF_OK);
    scene.check_adopted();
    CHECK(scene.got.refusal_code == 0);
    CHECK(scene.got.retry_after_ns == 0);
    CHECK(scene.got.connection_id == 77);
    CHECK(scene.got.capabilities == (0xF0 | handle_passing));
    CHECK(scene.got.keepalive_ns == 60 * second);
    CHECK(scene.got.has_token == 1);
    CHECK(rp_handoff_token_equal(&scene.got.token, &scene.token) == 1);
    CHECK(std::string_view(scene.got.endpoint) == scene.backend_path); // to be cached
    CHECK(std::string_view(scene.got.daemon_version) == "2.1");
    CHECK(std::string_view(scene.got.reason) == "");
    CHECK(scene.visits.size() == 1);
}

TEST_CASE("a Hello says whom the client wants, and that it would keep the connection only if it would") {
    for (const bool adopt : {false, true}) {
        ClientScene scene;
        scene.request.adopt = adopt ? 1 : 0;
        scene.request.wanted_version = "1.5";
        scene.request.own_version = "1.6";
        scene.request.keepalive_ns = 30 * second - 1; // rounded up
        REQUIRE(scene.connect() == RP_HANDOFF_OK);
        const auto hello = decode_hello(scene.hello);
        CHECK(std::string(VIEW_PAIR(hello, service_name)) == "service");
        CHECK(std::string(VIEW_PAIR(hello, wanted_version)) == "1.5");
        CHECK(std::string(VIEW_PAIR(hello, client_version)) == "1.6");
        CHECK(hello.client_min_protocol == 1);
        CHECK(hello.client_max_protocol == 1);
        CHECK(hello.peer_pid == static_cast<std::uint32_t>(getpid()));
        CHECK(hello.client_keepalive_secs == 30);
        CHECK(hello.client_capabilities == (adopt ? handle_passing : 0));
        CHECK(std::string(VIEW_PAIR(hello, client_lib_name)) == "rp_handoff");
    }
}

TEST_CASE("a ready frame that came together with the reply is seen too") {
    ClientScene scene;
    scene.on_hello = [&scene](int) {
        scene.answer(negotiated(scene.backend_path, scene.token));
        scene.say_ready();
    };
    REQUIRE(scene.connect() == RP_HANDOFF_OK);
    scene.check_adopted();
    CHECK(scene.time.waits == 1);
}

TEST_CASE("what the backend sends after the ready frame is the caller's to read") {
    ClientScene scene;
    scene.afterwards = [&scene] {
        scene.say_ready();
        write_all(scene.visits.back().get(), {'h', 'i'});
    };
    REQUIRE(scene.connect() == RP_HANDOFF_OK);
    CHECK(read_available(scene.fd.get()) == Bytes{'h', 'i'});
}

TEST_CASE("the ids of the ready frame are not looked at") {
    ClientScene scene;
    scene.afterwards = [&scene] {
        auto payload = encoded(wire_ack(scene.token, true, 5), RP_HANDOFF_KIND_EVENT);
        payload.back() = 6; // the frame's request id, which is its last field
        write_all(scene.visits.back().get(), payload);
    };
    REQUIRE(scene.connect() == RP_HANDOFF_OK);
    scene.check_adopted();
}

TEST_CASE("a client that does not want to keep the connection does not wait for it, whatever it is offered") {
    ClientScene scene;
    scene.request.adopt = 0;
    REQUIRE(scene.connect() == RP_HANDOFF_OK);
    CHECK(scene.time.waits == 1); // for the reply
    scene.check_reconnected();
    CHECK(scene.got.has_token == 1);
}

TEST_CASE("without the broker's bit, or a whole token, there is nothing to wait for") {
    using Change = void (*)(rp_handoff_wire_reply &);
    for (const Change change : {Change([](rp_handoff_wire_reply &r) { r.server_capabilities = 0xF0; }),
                                Change([](rp_handoff_wire_reply &r) { r.handle_passed_token_length = 0; }),
                                Change([](rp_handoff_wire_reply &r) { r.handle_passed_token_length = 15; })}) {
        ClientScene scene;
        scene.on_hello = [&](int) {
            auto reply = negotiated(scene.backend_path, scene.token);
            change(reply);
            scene.answer(reply);
        };
        const std::uint64_t start = scene.time.now;
        REQUIRE(scene.connect() == RP_HANDOFF_OK);
        CHECK(scene.time.waits == 1);
        CHECK(scene.time.now == start);
        scene.check_reconnected();
        CHECK(std::string_view(scene.got.endpoint) == scene.backend_path);
        CHECK(scene.got.connection_id == 77);
    }
}

TEST_CASE("a refusal gives no connection but its reasons") {
    ClientScene scene;
    scene.on_hello = [&scene](int) {
        auto reply = sized<rp_handoff_wire_reply>();
        reply.choice = RP_HANDOFF_REPLY_REFUSED;
        reply.code = RP_HANDOFF_REFUSED_FD_PRESSURE;
        SET_PAIR(reply, reason, "short of\ndescriptors");
        reply.retry_after_ms = 1500;
        scene.answer(reply);
    };
    REQUIRE(scene.connect() == RP_HANDOFF_OK);
    CHECK(scene.got.route == RP_HANDOFF_ROUTE_REFUSED);
    CHECK(scene.got.fd == -1);
    CHECK(scene.got.refusal_code == RP_HANDOFF_REFUSED_FD_PRESSURE);
    CHECK(scene.got.retry_after_ns == 1'500'000'000);
    CHECK(std::string_view(scene.got.reason) == "short of?descriptors"); // for logs
    CHECK(scene.got.has_token == 0);
    CHECK(std::string_view(scene.got.endpoint) == "");
    CHECK(is_at_end(scene.visits.back().get()));
    CHECK_FALSE(scene.backend_was_dialled());
}

TEST_CASE("a refusal for a reason that has no name yet is given as its number") {
    ClientScene scene;
    scene.on_hello = [&scene](int) {
        auto reply = sized<rp_handoff_wire_reply>();
        reply.choice = RP_HANDOFF_REPLY_REFUSED;
        reply.code = 4711;
        scene.answer(reply);
    };
    REQUIRE(scene.connect() == RP_HANDOFF_OK);
    CHECK(scene.got.refusal_code == 4711);
}

TEST_CASE("a cached endpoint is taken without a Hello, but only if both versions are equal") {
    struct Case {
        const char *wanted;
        const char *own;
        bool skips;
    };
    for (const Case &c :
         {Case{"1.0", "1.0", true}, Case{nullptr, nullptr, true}, Case{"", nullptr, true}, Case{"1.0", "1.1", false},
          Case{"1.0", nullptr, false}, Case{nullptr, "1.0", false}, Case{"1.0", "1.00", false}}) {
        ClientScene scene;
        scene.request.wanted_version = c.wanted;
        scene.request.own_version = c.own;
        scene.request.cached_endpoint = scene.backend_path.c_str();
        REQUIRE(scene.connect() == RP_HANDOFF_OK);
        CHECK(scene.got.route == (c.skips ? RP_HANDOFF_ROUTE_HELLO_SKIP : RP_HANDOFF_ROUTE_HANDLE_PASSED));
        CHECK(scene.visits.size() == (c.skips ? 0 : 1));
        CHECK(scene.backend_was_dialled() == c.skips);
        CHECK(scene.got.has_token == (c.skips ? 0 : 1));
        CHECK(std::string_view(scene.got.endpoint) == scene.backend_path);
    }
}

TEST_CASE("a cached endpoint that is not there any more, or never was one, costs nothing but the Hello") {
    for (const char *name : {"nowhere", "", "@abstract"}) {
        ClientScene scene;
        const std::string cached = name[0] == 'n' ? scene.directory / name : name;
        scene.request.cached_endpoint = cached.c_str();
        REQUIRE(scene.connect() == RP_HANDOFF_OK);
        scene.check_adopted();
        CHECK(std::string_view(scene.got.endpoint) == scene.backend_path);
    }
}

TEST_CASE("an endpoint is needed only where the client reconnects") {
    ClientScene adopted;
    adopted.on_hello = [&](int) { adopted.answer(negotiated("", adopted.token)); };
    REQUIRE(adopted.connect() == RP_HANDOFF_OK);
    adopted.check_adopted();
    CHECK(std::string_view(adopted.got.endpoint) == "");

    for (const char *endpoint : {"", "@abstract", "relative/but/nobody/there"}) {
        ClientScene scene;
        scene.request.adopt = 0;
        scene.on_hello = [&](int) { scene.answer(negotiated(endpoint, scene.token)); };
        CHECK(scene.connect() == (endpoint[0] == 'r' ? RP_HANDOFF_ERR_UNAVAILABLE : RP_HANDOFF_ERR_PATH_INVALID));
        CHECK(is_at_end(scene.visits.back().get()));
    }
}

TEST_CASE("texts of the broker that are too long are cut to fit, at a character's boundary") {
    ClientScene scene;
    const std::string version = std::string(254, 'x') + "\xC3\xA9";
    scene.on_hello = [&](int) {
        auto reply = negotiated(scene.backend_path, scene.token);
        SET_PAIR(reply, daemon_version, version);
        scene.answer(reply);
    };
    REQUIRE(scene.connect() == RP_HANDOFF_OK);
    CHECK(std::string_view(scene.got.daemon_version) == std::string(254, 'x'));
}

TEST_CASE("the connection that a client is given is close-on-exec, blocking and without time-outs, by every route") {
    for (const std::int32_t route :
         {RP_HANDOFF_ROUTE_HELLO_SKIP, RP_HANDOFF_ROUTE_BROKER_NEGOTIATED, RP_HANDOFF_ROUTE_HANDLE_PASSED}) {
        CAPTURE(route);
        ClientScene scene;
        scene.request.adopt = route == RP_HANDOFF_ROUTE_HANDLE_PASSED ? 1 : 0;
        scene.request.cached_endpoint = route == RP_HANDOFF_ROUTE_HELLO_SKIP ? scene.backend_path.c_str() : nullptr;
        REQUIRE(scene.connect() == RP_HANDOFF_OK);
        CHECK(scene.got.route == route);
        CHECK(fcntl(scene.fd.get(), F_GETFD) == FD_CLOEXEC);
        CHECK((fcntl(scene.fd.get(), F_GETFL) & O_NONBLOCK) == 0);
        for (const int option : {SO_SNDTIMEO, SO_RCVTIMEO}) {
            timeval timeout{1, 1};
            socklen_t length = sizeof timeout;
            REQUIRE(getsockopt(scene.fd.get(), SOL_SOCKET, option, &timeout, &length) == 0);
            CHECK(timeout.tv_sec == 0);
            CHECK(timeout.tv_usec == 0);
        }
    }
}

TEST_CASE("a front door of the library's and a client of the library's come together by every route") {
    House house;
    ClientScene scene; // with the house in place of the broker by hand
    house.service.backend_endpoint = scene.backend_path.c_str();
    house.put();
    Visit visit;
    scene.on_hello = [&](int fd) {
        // The Hello was read by the scene already: it is said again.
        const Guest guest(scene.hello);
        visit = house.serve(guest);
        write_all(fd, guest.received());
    };
    REQUIRE(scene.connect() == RP_HANDOFF_OK);
    CHECK(visit.visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
    CHECK(scene.got.route == RP_HANDOFF_ROUTE_HANDLE_PASSED);
    CHECK(scene.got.connection_id == visit.visit.connection_id);

    scene.request.adopt = 0;
    REQUIRE(scene.connect() == RP_HANDOFF_OK);
    CHECK(visit.visit.result == RP_HANDOFF_FRONT_DOOR_RECONNECT);
    CHECK(scene.got.route == RP_HANDOFF_ROUTE_BROKER_NEGOTIATED);

    scene.request.service_name = "nothing";
    REQUIRE(scene.connect() == RP_HANDOFF_OK);
    CHECK(scene.got.route == RP_HANDOFF_ROUTE_REFUSED);
    CHECK(scene.got.refusal_code == RP_HANDOFF_REFUSED_SERVICE_UNKNOWN);
}
