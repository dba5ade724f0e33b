// The two ends of a handoff in one process: a broker and a backend of the library's, each of which can be joined by a
// socketpair to the other or to a peer that speaks the wire by hand.
#pragma once

#include <fcntl.h>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "support/capi.hpp"
#include "support/socket_pair.hpp"

namespace rp::test {

using Bytes = std::vector<std::uint8_t>;

// A connection that a broker has accepted, and the end that its client holds.
struct ClientConnection {
    UniqueFd fd;
    UniqueFd client;

    ClientConnection() {
        SocketPair pair;
        fd = std::move(pair.a);
        client = std::move(pair.b);
    }

    // Whether this descriptor is the connection: what is written there arrives at the client.
    bool is_served_by(int other) const {
        char got = 0;
        return write(other, "x", 1) == 1 && recv(client.get(), &got, 1, MSG_DONTWAIT) == 1 && got == 'x';
    }
};

inline Bytes encoded(const rp_handoff_wire_offer &offer) {
    Bytes out(1024 + offer.service_name_length + offer.token_length);
    std::size_t length = 0;
    REQUIRE(rp_handoff_wire_encode_offer(&offer, out.data(), out.size(), &length) == RP_HANDOFF_OK);
    out.resize(length);
    return out;
}

inline Bytes encoded(const rp_handoff_wire_ack &ack, std::int32_t kind = RP_HANDOFF_KIND_RESPONSE) {
    Bytes out(1024 + ack.error_detail_length + ack.token_length);
    std::size_t length = 0;
    REQUIRE(rp_handoff_wire_encode_ack(&ack, kind, out.data(), out.size(), &length) == RP_HANDOFF_OK);
    out.resize(length);
    return out;
}

inline Bytes encoded(const rp_handoff_wire_frame &frame) {
    std::size_t length = 0;
    REQUIRE(rp_handoff_wire_encode_frame(&frame, nullptr, 0, &length) == RP_HANDOFF_OK);
    Bytes out(length);
    REQUIRE(rp_handoff_wire_encode_frame(&frame, out.data(), out.size(), &length) == RP_HANDOFF_OK);
    return out;
}

// Makes the body of a frame `length` bytes long by a field that nobody knows: number 15, length-delimited.
inline Bytes padded_to(Bytes frame, std::size_t length) {
    const std::size_t body = frame.size() - RP_HANDOFF_FRAME_HEADER_SIZE;
    REQUIRE(length >= body + 6);
    const std::size_t filling = length - body - 6; // a key of one byte, a length of five
    frame.push_back(0x7A);
    for (unsigned i = 0; i < 5; ++i) {
        frame.push_back(static_cast<std::uint8_t>((filling >> (7 * i) & 0x7FU) | (i < 4 ? 0x80U : 0U)));
    }
    frame.resize(frame.size() + filling);
    for (unsigned i = 0; i < 4; ++i) {
        frame[1 + i] = static_cast<std::uint8_t>(length >> (8 * i));
    }
    return frame;
}

inline rp_handoff_wire_offer wire_offer(const rp_handoff_token &token, std::string_view name, std::uint64_t id) {
    auto offer = sized<rp_handoff_wire_offer>();
    offer.token = token.bytes;
    offer.token_length = sizeof token.bytes;
    offer.service_name = name.data();
    offer.service_name_length = name.size();
    offer.correlation_id = id;
    return offer;
}

inline rp_handoff_wire_ack wire_ack(const rp_handoff_token &token, bool accepted, std::uint64_t id,
                                    std::string_view detail = {}) {
    auto ack = sized<rp_handoff_wire_ack>();
    ack.accepted = accepted ? 1 : 0;
    ack.token = token.bytes;
    ack.token_length = sizeof token.bytes;
    ack.error_detail = detail.data();
    ack.error_detail_length = detail.size();
    ack.correlation_id = id;
    return ack;
}

inline void write_all(int fd, const Bytes &bytes) {
    REQUIRE(write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
}

// What is there to be read, at once.
inline Bytes read_available(int fd) {
    Bytes bytes(1 << 20);
    const ssize_t n = recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
    bytes.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return bytes;
}

inline bool is_at_end(int fd) {
    char byte = 0;
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

inline bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

// A broker that speaks the wire by hand, connected to a backend of the library's.
class HandBroker {
  public:
    explicit HandBroker(const Backend &backend) {
        SocketPair pair;
        REQUIRE(rp_handoff_backend_add_connection(backend.get(), pair.b.get(), RP_HANDOFF_TRUST_CALLER) ==
                RP_HANDOFF_OK);
        pair.b.release();
        connection = std::move(pair.a);
    }

    // Sends `sideband` with the descriptor on it, and a frame after it.
    void offer(int fd, const rp_handoff_token &sideband, const Bytes &frame) const {
        Bytes message(sideband.bytes, sideband.bytes + sizeof sideband.bytes);
        message.insert(message.end(), frame.begin(), frame.end());
        std::size_t sent = 0;
        REQUIRE(rp_handoff_wire_send(connection.get(), fd, message.data(), message.size(), &sent) == RP_HANDOFF_OK);
        if (sent < message.size()) {
            message.erase(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(sent));
            write_all(connection.get(), message);
        }
    }
    void offer(int fd, const rp_handoff_token &token, std::string_view name = "service", std::uint64_t id = 7) const {
        offer(fd, token, encoded(wire_offer(token, name, id)));
    }

    struct Answer {
        bool accepted;
        std::uint64_t correlation_id;
        std::string detail;
        rp_handoff_token token;
    };
    std::optional<Answer> answer() const {
        const Bytes bytes = read_available(connection.get());
        auto ack = sized<rp_handoff_wire_ack>();
        std::size_t consumed = 0;
        if (rp_handoff_wire_decode_ack(bytes.data(), bytes.size(), RP_HANDOFF_KIND_RESPONSE, &ack, &consumed) !=
                RP_HANDOFF_OK ||
            consumed != bytes.size()) {
            return std::nullopt;
        }
        Answer out{ack.accepted == 1, ack.correlation_id, std::string(ack.error_detail, ack.error_detail_length), {}};
        REQUIRE(ack.token_length == sizeof out.token.bytes);
        std::memcpy(out.token.bytes, ack.token, sizeof out.token.bytes);
        return out;
    }

    UniqueFd connection;
};

inline rp_handoff_request request_over(int connection_fd, int fd, const rp_handoff_token &token) {
    auto request = sized<rp_handoff_request>();
    request.fd = fd;
    request.token = token;
    request.connection_fd = connection_fd;
    request.connection_trust = RP_HANDOFF_TRUST_CALLER;
    return request;
}

// Where nobody listens.
inline rp_handoff_request request_to_nowhere(const rp_handoff_token &token, int fd = 0) {
    auto request = sized<rp_handoff_request>();
    request.fd = fd;
    request.flags = RP_HANDOFF_REQUEST_ANY_DESCRIPTOR;
    request.token = token;
    request.socket_path = "/nowhere/socket";
    return request;
}

inline rp_handoff_outcome execute(const Broker &broker, const rp_handoff_request &request) {
    auto outcome = sized<rp_handoff_outcome>();
    REQUIRE(rp_handoff_broker_execute(broker.get(), &request, &outcome, nullptr) == RP_HANDOFF_OK);
    return outcome;
}

// A broker joined to a backend, on one clock. While the broker waits for the answer, `serve` runs, which accepts.
class Exchange {
  public:
    explicit Exchange(rp_handoff_broker_options broker_options = sized<rp_handoff_broker_options>(),
                      rp_handoff_backend_options backend_options = sized<rp_handoff_backend_options>())
        : broker(make_broker(random.in(time.in(broker_options)))), backend(make_backend(time.in(backend_options))) {
        SocketPair pair;
        REQUIRE(rp_handoff_backend_add_connection(backend.get(), pair.b.get(), RP_HANDOFF_TRUST_CALLER) ==
                RP_HANDOFF_OK);
        pair.b.release();
        connection = std::move(pair.a);
        time.meanwhile = [this] { serve(); };
    }

    rp_handoff_request request(const rp_handoff_token &token) const {
        return request_over(connection.get(), client.fd.get(), token);
    }
    rp_handoff_outcome hand_over(const rp_handoff_token &token) const { return execute(broker, request(token)); }

    FakeTime time;
    FakeRandom random;
    Broker broker;
    Backend backend;
    UniqueFd connection; // the broker's end
    ClientConnection client;
    UniqueFd adopted; // by the backend
    std::function<void()> serve = [this] {
        if (const Offer offer = take_offer(backend)) {
            int fd = -1;
            CHECK(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_OK);
            adopted.reset(fd);
        }
    };
};

// A broker before a peer that speaks the wire by hand: it answers with these bytes as soon as the broker waits.
class HandBackend {
  public:
    explicit HandBackend(rp_handoff_broker_options options = sized<rp_handoff_broker_options>())
        : broker(make_broker(time.in(options))) {
        time.meanwhile = [this] {
            write_all(pair.b.get(), answer);
            answer.clear();
        };
    }

    rp_handoff_outcome hand_over(const rp_handoff_token &token, const Bytes &with) {
        answer = with;
        rp_handoff_request request = request_over(pair.a.get(), client.fd.get(), token);
        request.correlation_id = 7;
        return execute(broker, request);
    }

    FakeTime time;
    Broker broker;
    SocketPair pair; // a: the broker's
    ClientConnection client;
    Bytes answer;
};

// What an abandoned handoff has to say. The details of an errno are for the test that provokes it.
inline void check_fallback(const rp_handoff_outcome &outcome, std::int32_t stage, std::int32_t reason,
                           std::int32_t cause, std::int32_t ownership) {
    CHECK(outcome.result == RP_HANDOFF_FALLBACK);
    CHECK(outcome.stage == stage);
    CHECK(outcome.reason == reason);
    CHECK(outcome.cause == cause);
    CHECK(outcome.ownership == ownership);
    CHECK(outcome.waited_ns == 0);
    CHECK(std::string_view(outcome.detail) != "");
}

} // namespace rp::test
