// What a client makes of brokers and backends that are late, gone, or not what they should be.
#include "support/client.hpp"

using namespace rp::test;

namespace {

Bytes reply_of_kind(std::int32_t kind, std::uint32_t protocol, const Bytes &payload = {}) {
    auto frame = sized<rp_handoff_wire_frame>();
    frame.envelope_version = 1;
    frame.kind = kind;
    frame.payload_protocol = protocol;
    frame.payload = payload.data();
    frame.payload_length = payload.size();
    return encoded(frame);
}

// Closes with bytes left unread, which the other end sees as a reset.
void reset_connection(ClientScene &scene) {
    scene.visits.back().reset();
}

// A client whose clock moves on a second whenever it is read, before a door of the library's. It is served while it waits
// for the reply, and when it looks for the ready frame the time for that is over.
class HastyClient {
  public:
    HastyClient() {
        const UniqueFd backend = listener_at(backend_path_);
        house.service.backend_endpoint = backend_path_.c_str();
        house.put();
        auto request = sized<rp_handoff_client_request>();
        request.adopt = 1;
        request.broker_path = broker_path_.c_str();
        request.service_name = "service";
        request.ready_timeout_ns = 1;
        request.timeout_ns = 1000 * second;
        request.now = read_clock;
        request.wait = be_served;
        request.time_user_data = this;
        REQUIRE(rp_handoff_client_connect(&request, &got, nullptr) == RP_HANDOFF_OK);
        fd_.reset(got.fd);
    }

    House house;
    Visit visit;
    rp_handoff_client_connection got = sized<rp_handoff_client_connection>();

  private:
    static std::int32_t read_clock(void *self, std::uint64_t *out) {
        *out = static_cast<HastyClient *>(self)->now_ += second;
        return RP_HANDOFF_CALLBACK_OK;
    }
    static std::int32_t be_served(void *user_data, std::int32_t, std::int32_t, std::uint64_t, std::int32_t *out_ready) {
        auto *self = static_cast<HastyClient *>(user_data);
        self->visit = serve(self->house.door, accept_from(self->broker_).get());
        *out_ready = 1;
        return RP_HANDOFF_CALLBACK_OK;
    }

    std::uint64_t now_ = 0;
    std::string broker_path_ = house.directory / "broker";
    std::string backend_path_ = house.directory / "reconnect";
    UniqueFd broker_ = listener_at(broker_path_);
    UniqueFd fd_;
};

} // namespace

TEST_CASE("a client waits for the ready frame as long as it was told, and then reconnects") {
    for (const std::uint64_t timeout : {std::uint64_t{0}, std::uint64_t{1}, 7 * second}) {
        CAPTURE(timeout);
        ClientScene scene;
        scene.request.ready_timeout_ns = timeout;
        scene.afterwards = [] {};
        const std::uint64_t start = scene.time.now;
        REQUIRE(scene.connect() == RP_HANDOFF_OK);
        CHECK(scene.time.now == start + (timeout == 0 ? 2 * second : timeout));
        scene.check_reconnected();
        CHECK(scene.got.has_token == 1);
    }
}

TEST_CASE("a ready frame one nanosecond before its time is over is taken, and at that instant it is not") {
    for (const std::uint64_t early : {1U, 0U}) {
        ClientScene scene;
        scene.afterwards = [&] {
            scene.time.now += 2 * second - early;
            scene.say_ready();
        };
        REQUIRE(scene.connect() == RP_HANDOFF_OK);
        CHECK(scene.got.route == (early == 1 ? RP_HANDOFF_ROUTE_HANDLE_PASSED : RP_HANDOFF_ROUTE_BROKER_NEGOTIATED));
    }
}

TEST_CASE(
    "anything but the ready frame of this token makes the client reconnect at once, and let its Hello's socket go") {
    using Deal = std::function<void(ClientScene &, int)>;
    const Deal deals[] = {
        [](ClientScene &s, int) { s.say_ready(false); },
        [](ClientScene &s, int) { s.say_ready(true, RP_HANDOFF_KIND_RESPONSE); },
        [](ClientScene &, int fd) {
            write_all(fd, encoded(wire_ack(token_of(the_token + 1), true, 77), RP_HANDOFF_KIND_EVENT));
        },
        [](ClientScene &s, int fd) {
            auto ack = wire_ack(s.token, true, 77);
            ack.token_length = 15;
            write_all(fd, encoded(ack, RP_HANDOFF_KIND_EVENT));
        },
        [](ClientScene &s, int fd) { write_all(fd, encoded(negotiated(s.backend_path, s.token))); },
        [](ClientScene &, int fd) {
            write_all(fd, reply_of_kind(RP_HANDOFF_KIND_EVENT, RP_HANDOFF_PROTOCOL_HANDOFF, {0x10, 0x01, 0x07}));
        },
        [](ClientScene &, int fd) { write_all(fd, reply_of_kind(RP_HANDOFF_KIND_EVENT, RP_HANDOFF_PROTOCOL_HANDOFF)); },
        [](ClientScene &, int fd) {
            write_all(fd, {1, 1, 0, 0, 0, 0x07});
        },
        [](ClientScene &, int fd) {
            write_all(fd, {1, 1, 0, 1, 0});
        }, // 64 KiB and one byte
        [](ClientScene &, int fd) {
            write_all(fd, {'h', 'i'});
        },
        [](ClientScene &, int fd) { REQUIRE(shutdown(fd, SHUT_WR) == 0); },
        [](ClientScene &, int fd) {
            write_all(fd, {1, 9});
            REQUIRE(shutdown(fd, SHUT_WR) == 0);
        },
    };
    for (std::size_t i = 0; i < std::size(deals); ++i) {
        CAPTURE(i);
        ClientScene scene;
        scene.afterwards = [&] { deals[i](scene, scene.visits.back().get()); };
        const std::uint64_t start = scene.time.now;
        REQUIRE(scene.connect() == RP_HANDOFF_OK);
        CHECK(scene.time.now == start);
        scene.check_reconnected();
    }
}

TEST_CASE("a backend that adopted what its client gave up sees the end of the connection") {
    const HastyClient client;
    CHECK(client.got.route == RP_HANDOFF_ROUTE_BROKER_NEGOTIATED);
    CHECK(client.visit.visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
    REQUIRE(client.house.adopted);
    char byte = 0;
    const ssize_t n = recv(client.house.adopted.get(), &byte, 1, MSG_DONTWAIT);
    CHECK((n == 0 || (n < 0 && errno == ECONNRESET))); // a reset, for the ready frame was not read
}

TEST_CASE("one deadline holds for everything, thirty seconds by default") {
    ClientScene silent;
    silent.on_hello = [](int) {};
    const std::uint64_t start = silent.time.now;
    CHECK(silent.connect() == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(silent.time.now == start + 30 * second);
    CHECK(silent.visits.size() == 1); // no second try
    CHECK(is_at_end(silent.visits.back().get()));

    ClientScene no_time_left;
    no_time_left.request.timeout_ns = 10 * second;
    no_time_left.request.ready_timeout_ns = 20 * second;
    no_time_left.afterwards = [] {};
    CHECK(no_time_left.connect() == RP_HANDOFF_ERR_TIMED_OUT); // at the reconnect
    CHECK(no_time_left.time.now == start + 10 * second);
    CHECK(is_at_end(no_time_left.visits.back().get()));
}

TEST_CASE("the second try has no deadline of its own") {
    ClientScene scene;
    scene.on_hello = [&scene](int) {
        if (scene.visits.size() == 1) {
            scene.time.now += 20 * second;
            scene.visits.back().reset();
        }
    };
    const std::uint64_t start = scene.time.now;
    CHECK(scene.connect() == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(scene.visits.size() == 2);
    CHECK(scene.time.now == start + 30 * second);
}

TEST_CASE("a broker that trickles its reply cannot stretch the deadline") {
    ClientScene scene;
    const Bytes reply = encoded(negotiated(scene.backend_path, scene.token));
    std::size_t sent = 0;
    scene.request.timeout_ns = 10 * second;
    const auto trickle = [&] {
        scene.time.now += second;
        write_all(scene.visits.back().get(), {reply[sent++]});
    };
    scene.on_hello = [&](int) { trickle(); };
    scene.afterwards = trickle;
    CHECK(scene.connect() == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(sent == 10);
}

TEST_CASE("a broker's end before its reply is tried once more, exactly") {
    for (const bool reset : {false, true}) {
        for (const std::size_t failures : {1U, 2U}) {
            ClientScene scene;
            scene.on_hello = [&, reset](int fd) {
                if (scene.visits.size() > failures) {
                    scene.answer(negotiated(scene.backend_path, scene.token));
                } else if (reset) {
                    reset_connection(scene);
                } else {
                    REQUIRE(shutdown(fd, SHUT_WR) == 0);
                }
            };
            CHECK(scene.connect() == (failures == 1 ? RP_HANDOFF_OK : RP_HANDOFF_ERR_CLOSED));
            CHECK(scene.visits.size() == 2);
            if (failures == 1) {
                scene.check_adopted();
            }
            if (!reset) {
                CHECK(is_at_end(scene.visits.front().get()));
            }
        }
    }
}

TEST_CASE("a broker's end in the middle of its reply is not tried again") {
    const rp_handoff_token token = token_of(the_token);
    const Bytes reply = encoded(negotiated("/backend", token));
    for (std::size_t length = 1; length < reply.size(); ++length) {
        CAPTURE(length);
        ClientScene scene;
        scene.on_hello = [&](int fd) {
            write_all(fd, Bytes(reply.begin(), reply.begin() + static_cast<std::ptrdiff_t>(length)));
            REQUIRE(shutdown(fd, SHUT_WR) == 0);
        };
        CHECK(scene.connect() == RP_HANDOFF_ERR_UNEXPECTED_EOF);
        CHECK(scene.visits.size() == 1);
        CHECK(is_at_end(scene.visits.back().get()));
    }
}

TEST_CASE("a broker that does not speak the protocol is an error of its kind, and is left") {
    struct Case {
        Bytes bytes;
        std::int32_t status;
    };
    const Case cases[] = {
        {{'H', 'T'}, RP_HANDOFF_ERR_FRAME_VERSION},
        {{1, 1, 0, 1, 0}, RP_HANDOFF_ERR_FRAME_TOO_LARGE},
        {{1, 1, 0, 0, 0, 0x07}, RP_HANDOFF_ERR_FRAME_MALFORMED},
        {reply_of_kind(RP_HANDOFF_KIND_RESPONSE, RP_HANDOFF_PROTOCOL_CONTROL, {0x0A, 5}),
         RP_HANDOFF_ERR_FRAME_MALFORMED},
        {reply_of_kind(RP_HANDOFF_KIND_RESPONSE, RP_HANDOFF_PROTOCOL_CONTROL), RP_HANDOFF_ERR_FRAME_UNEXPECTED},
        {reply_of_kind(RP_HANDOFF_KIND_REQUEST, RP_HANDOFF_PROTOCOL_CONTROL, {0x0A, 0}),
         RP_HANDOFF_ERR_FRAME_UNEXPECTED},
        {reply_of_kind(RP_HANDOFF_KIND_RESPONSE, RP_HANDOFF_PROTOCOL_HANDOFF, {0x0A, 0}),
         RP_HANDOFF_ERR_FRAME_UNEXPECTED},
    };
    for (const Case &c : cases) {
        CAPTURE(c.status);
        ClientScene scene;
        scene.on_hello = [&](int fd) { write_all(fd, c.bytes); };
        CHECK(scene.connect() == c.status);
        CHECK(scene.visits.size() == 1);
        CHECK(is_at_end(scene.visits.back().get()));
    }
}

TEST_CASE("a reply of 64 KiB is read") {
    ClientScene scene;
    scene.on_hello = [&scene](int fd) {
        write_all(fd, padded_to(encoded(negotiated(scene.backend_path, scene.token)), 65536));
    };
    REQUIRE(scene.connect() == RP_HANDOFF_OK);
    scene.check_adopted();
}

TEST_CASE("a broker that is not there is unavailable") {
    ClientScene scene;
    scene.close_broker();
    CHECK(scene.connect() == RP_HANDOFF_ERR_UNAVAILABLE);
    const std::string nowhere = scene.directory / "nowhere";
    scene.request.broker_path = nowhere.c_str();
    CHECK(scene.connect() == RP_HANDOFF_ERR_UNAVAILABLE);
    for (const char *path : {"", "@abstract"}) {
        scene.request.broker_path = path;
        CHECK(scene.connect() == RP_HANDOFF_ERR_PATH_INVALID);
    }
}

TEST_CASE("a broker or a backend that is somebody else's is not talked to") {
    const std::uint32_t somebody_else[] = {4'000'000'000};
    ClientScene scene;
    scene.request.peer_uids = somebody_else;
    scene.request.peer_uids_length = 1;
    scene.request.cached_endpoint = scene.backend_path.c_str();
    CHECK(scene.connect() == RP_HANDOFF_ERR_PEER_REJECTED);
    const auto answer = std::exchange(scene.on_hello, [](int) {});
    scene.time.meanwhile(); // accepts what was dialled
    REQUIRE(scene.visits.size() == 1);
    CHECK(scene.hello.empty());
    scene.request.peer_flags = RP_HANDOFF_PEER_ANY_UID;
    scene.request.cached_endpoint = nullptr;
    scene.on_hello = answer;
    CHECK(scene.connect() == RP_HANDOFF_OK);
}

TEST_CASE("a deadline that has passed before anything began is kept") {
    ClientScene scene;
    scene.time.broken = true; // read as the end of time
    CHECK(scene.connect() == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(scene.visits.empty());
}

TEST_CASE("a request that makes no sense is refused before anything happens") {
    const auto status_after = [](const auto &change) {
        ClientScene scene;
        change(scene.request);
        const std::int32_t status = scene.connect();
        CHECK(scene.time.waits == 0);
        return status;
    };
    constexpr std::int32_t invalid = RP_HANDOFF_ERR_INVALID_ARGUMENT;
    const std::string of_256(256, 'x');
    CHECK(status_after([](auto &r) { r.broker_path = nullptr; }) == invalid);
    CHECK(status_after([](auto &r) { r.service_name = nullptr; }) == invalid);
    CHECK(status_after([](auto &r) { r.now = nullptr; }) == invalid);
    CHECK(status_after([](auto &r) { r.wait = nullptr; }) == invalid);
    CHECK(status_after([](auto &r) { r.peer_flags = RP_HANDOFF_PEER_MATCH_PID; }) == invalid);
    CHECK(status_after([](auto &r) { r.peer_uids_length = 1; }) == invalid);
    CHECK(status_after([](auto &r) { r.struct_size = 0; }) == RP_HANDOFF_ERR_STRUCT_SIZE);
    for (const char *bad : {of_256.c_str(), "\xFF"}) {
        CHECK(status_after([bad](auto &r) { r.service_name = bad; }) == invalid);
        CHECK(status_after([bad](auto &r) { r.wanted_version = bad; }) == invalid);
        CHECK(status_after([bad](auto &r) { r.own_version = bad; }) == invalid);
    }
    auto out = sized<rp_handoff_client_connection>();
    CHECK(rp_handoff_client_connect(nullptr, &out, nullptr) == invalid);
    ClientScene scene;
    CHECK(rp_handoff_client_connect(&scene.request, nullptr, nullptr) == invalid);
}

TEST_CASE("names of 255 bytes go through") {
    ClientScene scene;
    const std::string longest(255, 'x');
    scene.request.service_name = scene.request.wanted_version = longest.c_str();
    REQUIRE(scene.connect() == RP_HANDOFF_OK);
    scene.check_adopted();
}
