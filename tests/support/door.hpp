// A front door with a backend behind it and clients that speak by hand, all in one process and on one clock.
#pragma once

#include "support/api.hpp"
#include "support/hand_backend.hpp"
#include "support/pairs.hpp"

namespace rp::test {

constexpr std::uint64_t handle_passing = RP_HANDOFF_CAPABILITY_HANDLE_PASSING;

inline rp_handoff_wire_text text(std::string_view words) {
    return {words.data(), words.size()};
}
inline std::string to_string(const rp_handoff_wire_text &words) {
    return {words.data == nullptr ? "" : words.data, words.length};
}

inline void wait_for_input(int fd) {
    pollfd target{fd, POLLIN, 0};
    REQUIRE(poll(&target, 1, -1) == 1);
}

// Of a client that can keep a connection.
inline rp_handoff_wire_hello hello_of(std::string_view service = "service") {
    auto hello = sized<rp_handoff_wire_hello>();
    hello.client_min_protocol = 1;
    hello.client_max_protocol = 1;
    SET_PAIR(hello, service_name, service);
    hello.client_capabilities = handle_passing;
    hello.peer_pid = static_cast<std::uint32_t>(getpid());
    return hello;
}

inline Bytes encoded(const rp_handoff_wire_hello &hello, std::uint64_t request_id = 1) {
    std::size_t length = 0;
    REQUIRE(rp_handoff_wire_encode_hello(&hello, request_id, nullptr, 0, &length) == RP_HANDOFF_OK);
    Bytes out(length);
    REQUIRE(rp_handoff_wire_encode_hello(&hello, request_id, out.data(), out.size(), &length) == RP_HANDOFF_OK);
    return out;
}

inline Bytes encoded(const rp_handoff_wire_reply &reply, std::uint64_t request_id = 1) {
    std::size_t length = 0;
    REQUIRE(rp_handoff_wire_encode_reply(&reply, request_id, nullptr, 0, &length) == RP_HANDOFF_OK);
    Bytes out(length);
    REQUIRE(rp_handoff_wire_encode_reply(&reply, request_id, out.data(), out.size(), &length) == RP_HANDOFF_OK);
    return out;
}

// A reply as the client has it: views into the bytes, and what came after it.
struct Reply {
    explicit Reply(Bytes all) : bytes(std::move(all)) {
        std::size_t consumed = 0;
        REQUIRE(rp_handoff_wire_decode_reply(bytes.data(), bytes.size(), &reply, &request_id, &consumed) ==
                RP_HANDOFF_OK);
        rest.assign(bytes.begin() + static_cast<std::ptrdiff_t>(consumed), bytes.end());
    }

    bool offers_handoff() const { return (reply.server_capabilities & handle_passing) != 0; }
    rp_handoff_token token() const {
        rp_handoff_token token{};
        REQUIRE(reply.handle_passed_token_length == sizeof token.bytes);
        std::memcpy(token.bytes, reply.handle_passed_token, sizeof token.bytes);
        return token;
    }

    Bytes bytes;
    rp_handoff_wire_reply reply = sized<rp_handoff_wire_reply>();
    std::uint64_t request_id = 0;
    Bytes rest;
};

inline FrontDoor make_front_door(const Broker &broker, const rp_handoff_front_door_options &options) {
    rp_handoff_front_door *door = nullptr;
    REQUIRE(rp_handoff_front_door_create(broker.get(), &options, &door, nullptr) == RP_HANDOFF_OK);
    return FrontDoor(door);
}

struct Visit {
    rp_handoff_front_door_visit visit = sized<rp_handoff_front_door_visit>();
    rp_handoff_outcome outcome = sized<rp_handoff_outcome>();
};

inline Visit serve(const FrontDoor &door, int client_fd) {
    Visit visit;
    const Flags before(client_fd);
    REQUIRE(rp_handoff_front_door_serve(door.get(), client_fd, &visit.visit, &visit.outcome) == RP_HANDOFF_OK);
    CHECK(Flags(client_fd) == before);
    CHECK(visit.visit.attempted == (visit.outcome.result != 0 ? 1 : 0));
    return visit;
}

// Two ends of a client's connection to the broker. Made by this process, so that its pid is the client's.
struct Guest {
    explicit Guest(const Bytes &bytes = {}) { write_all(pair.a.get(), bytes); }
    explicit Guest(const rp_handoff_wire_hello &hello) : Guest(encoded(hello)) {}

    int brokers_end() const { return pair.b.get(); }
    Bytes received() const { return read_available(pair.a.get()); }
    Reply reply() const { return Reply(received()); }
    void check_only_end_of_file() { // once the broker has closed its end
        pair.b.reset();
        CHECK(is_at_end(pair.a.get()));
    }

    SocketPair pair; // a: the client's
};

// The house behind the door. While the broker waits, `act` runs, which lets the backend adopt.
class House {
  public:
    explicit House(rp_handoff_broker_options broker_options = sized<rp_handoff_broker_options>(),
                   const rp_handoff_front_door_options &door_options = sized<rp_handoff_front_door_options>())
        : backend(make_backend(time.in(sized<rp_handoff_backend_options>()))),
          broker(make_broker(random.in(time.in(broker_options)))), door(make_front_door(broker, door_options)) {
        REQUIRE(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
        service = sized<rp_handoff_front_door_service>();
        service.name = "service";
        service.version = "2.1";
        service.backend_endpoint = "/where/clients/reconnect";
        service.handoff_endpoint = path.c_str();
        service.capabilities = 0xF0;
        service.keepalive_ns = 60 * second;
        put();
        time.meanwhile = [this] { act(); };
    }

    void put() { REQUIRE(rp_handoff_front_door_put_service(door.get(), &service, nullptr) == RP_HANDOFF_OK); }

    Visit serve(const Guest &guest) const { return test::serve(door, guest.brokers_end()); }

    void check_nothing_pending() const {
        CHECK(statistics(broker).pending_tokens == 0);
        CHECK(statistics(broker).pending_acks == 0);
    }

    // A backend in place of the library's that deals with an offer by hand. The connection stays open.
    void replace_backend(std::function<void(int, const ReceivedOffer &)> deal) {
        hand_path_ = directory / "hand";
        hand_listener_ = listener_at(hand_path_);
        service.handoff_endpoint = hand_path_.c_str();
        put();
        act = [this, deal = std::move(deal)] {
            if (is_readable(hand_listener_.get())) {
                hand_connection_ = accept_from(hand_listener_);
                deal(hand_connection_.get(), receive_offer(hand_connection_.get()));
            }
        };
    }
    void close_hand_connection() { hand_connection_.reset(); }

    Directory directory;
    std::string path = directory / "backend";
    FakeTime time;
    FakeRandom random;
    Backend backend;
    Broker broker;
    FrontDoor door;
    rp_handoff_front_door_service service;
    UniqueFd adopted; // by the backend
    rp_handoff_offer_info offered{};
    std::function<void()> act = [this] {
        if (const Offer offer = take_offer(backend)) {
            offered = info_of(offer);
            offered.service_name = nullptr; // the offer's
            int fd = -1;
            CHECK(rp_handoff_offer_accept(offer.get(), &fd) >= 0);
            adopted.reset(fd);
        }
    };

  private:
    std::string hand_path_;
    UniqueFd hand_listener_;
    UniqueFd hand_connection_;
};

inline void check_refused(const Guest &guest, const Visit &visit, std::int32_t code) {
    CHECK(visit.visit.result == RP_HANDOFF_FRONT_DOOR_REFUSED);
    CHECK(visit.visit.code == code);
    CHECK(visit.visit.attempted == 0);
    CHECK(visit.visit.ready_delivered == 0);
    const Reply answer = guest.reply();
    CHECK(answer.reply.choice == RP_HANDOFF_REPLY_REFUSED);
    CHECK(answer.reply.code == code);
    CHECK(answer.reply.reason_length > 0);
    CHECK(answer.reply.daemon_min_protocol == 1);
    CHECK(answer.reply.daemon_max_protocol == 1);
    CHECK(answer.request_id == 1);
    CHECK(answer.rest.empty());
}

inline void check_dropped(const Visit &visit, std::int32_t status) {
    CHECK(visit.visit.result == RP_HANDOFF_FRONT_DOOR_DROPPED);
    CHECK(visit.visit.status == status);
    CHECK(visit.visit.attempted == 0);
    CHECK(std::string_view(visit.visit.detail) != "");
}

} // namespace rp::test
