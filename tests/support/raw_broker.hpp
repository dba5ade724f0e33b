// A broker that dials a backend's path and speaks by hand, so that it can also stay silent or stop in the middle.
#pragma once

#include "support/api.hpp"
#include "support/sockets.hpp"

namespace rp::test {

class RawBroker {
  public:
    explicit RawBroker(const std::string &path) : connection(dial(path)) {}

    // The whole message of an offer, as one would send it with the descriptor on its first byte.
    static Bytes message(const rp_handoff_token &token, std::uint64_t id = 7) {
        Bytes bytes(token.bytes, token.bytes + sizeof token.bytes);
        const Bytes frame = encoded(wire_offer(token, "service", id));
        bytes.insert(bytes.end(), frame.begin(), frame.end());
        return bytes;
    }

    // Sends these bytes with the client's connection on the first.
    void send_with_descriptor(const Bytes &bytes) {
        std::size_t sent = 0;
        REQUIRE(rp_handoff_wire_send(connection.get(), client.fd.get(), bytes.data(), bytes.size(), &sent) ==
                RP_HANDOFF_OK);
        REQUIRE(sent == bytes.size());
        client.fd.reset();
    }
    void offer(const rp_handoff_token &token) { send_with_descriptor(message(token)); }
    void send(const Bytes &bytes) const { write_all(connection.get(), bytes); }

    // Whether the backend has closed the connection. What it left unread then makes a reset of the end.
    bool was_dropped() const {
        char byte = 0;
        const ssize_t n = recv(connection.get(), &byte, 1, MSG_DONTWAIT);
        return n == 0 || (n < 0 && errno == ECONNRESET);
    }
    bool client_was_closed() const { return is_at_end(client.client.get()); }
    Bytes answer() const { return read_available(connection.get()); }

    UniqueFd connection;
    ClientConnection client; // whose broker's end is closed once it is sent
};

inline Bytes acceptance(const rp_handoff_token &token, std::uint64_t id = 7) {
    return encoded(wire_ack(token, true, id));
}

inline Bytes refusal(const rp_handoff_token &token, std::string_view words, std::uint64_t id = 7) {
    return encoded(wire_ack(token, false, id, words));
}

inline std::int32_t accept_and_close(const Offer &offer) {
    std::int32_t fd = -1;
    const std::int32_t status = rp_handoff_offer_accept(offer.get(), &fd);
    UniqueFd adopted(fd);
    return status;
}

// The whole message of an offer with the token of ones.
inline const Bytes &an_offer() {
    static const Bytes bytes = RawBroker::message(token_of(1));
    return bytes;
}

inline Bytes part_of(const Bytes &bytes, std::size_t from, std::size_t to) {
    return Bytes(bytes.begin() + static_cast<std::ptrdiff_t>(from), bytes.begin() + static_cast<std::ptrdiff_t>(to));
}

// A backend that listens, on a clock that the test turns.
struct Listening {
    explicit Listening(rp_handoff_backend_options options = sized<rp_handoff_backend_options>())
        : backend(make_backend(time.in(options))) {
        REQUIRE(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
    }

    Directory directory;
    std::string path = directory / "backend";
    FakeTime time;
    Backend backend;
};

inline rp_handoff_backend_options with_max_connections(std::uint32_t max) {
    auto options = sized<rp_handoff_backend_options>();
    options.max_connections = max;
    return options;
}

} // namespace rp::test
