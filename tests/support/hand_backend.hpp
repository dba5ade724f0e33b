// A backend that speaks the wire by hand, so that it can also speak it wrongly; and what holds after every fallback.
#pragma once

#include "support/sockets.hpp"

namespace rp::test {

struct ReceivedOffer {
    UniqueFd fd;
    rp_handoff_token token{};
    std::string service_name;
    std::uint64_t correlation_id = 0;

    Bytes accepted() const { return encoded(wire_ack(token, true, correlation_id)); }
    Bytes refused(std::string_view detail = {}) const {
        return encoded(wire_ack(token, false, correlation_id, detail));
    }
};

// Waits for a whole offer.
inline ReceivedOffer receive_offer(int connection) {
    ReceivedOffer received;
    std::int32_t fd = -1;
    REQUIRE(rp_handoff_wire_receive(connection, received.token.bytes, sizeof received.token.bytes, RP_HANDOFF_FOREVER,
                                    &fd) == RP_HANDOFF_OK);
    received.fd.reset(fd);
    Bytes frame(RP_HANDOFF_FRAME_HEADER_SIZE);
    REQUIRE(recv(connection, frame.data(), frame.size(), MSG_WAITALL) == RP_HANDOFF_FRAME_HEADER_SIZE);
    frame.resize(frame.size() + frame[1] + frame[2] * 256U);
    const std::size_t body = frame.size() - RP_HANDOFF_FRAME_HEADER_SIZE;
    REQUIRE(recv(connection, frame.data() + RP_HANDOFF_FRAME_HEADER_SIZE, body, MSG_WAITALL) ==
            static_cast<ssize_t>(body));
    auto offer = sized<rp_handoff_wire_offer>();
    std::size_t consumed = 0;
    REQUIRE(rp_handoff_wire_decode_offer(frame.data(), frame.size(), &offer, &consumed) == RP_HANDOFF_OK);
    REQUIRE(Bytes(offer.token, offer.token + offer.token_length) ==
            Bytes(received.token.bytes, received.token.bytes + sizeof received.token.bytes));
    received.service_name.assign(offer.service_name, offer.service_name_length);
    received.correlation_id = offer.correlation_id;
    return received;
}

// After a fallback the token is gone, and the client connection is as it was.
inline void check_ended(const Broker &broker, const rp_handoff_request &request, const Flags &before) {
    CHECK(Flags(request.fd) == before);
    auto outcome = sized<rp_handoff_outcome>();
    CHECK(rp_handoff_broker_execute(broker.get(), &request, &outcome, nullptr) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
    CHECK(rp_handoff_broker_revoke(broker.get(), &request.token) == 0);
    CHECK(statistics(broker).pending_tokens == 0);
    CHECK(statistics(broker).pending_acks == 0);
}

inline bool contains(const char *text, std::string_view part) {
    return std::string_view(text).find(part) != std::string_view::npos;
}

// One handoff over a socketpair to a backend that answers by hand, on a clock that the test turns. Nothing waits.
class Scene {
  public:
    explicit Scene(const rp_handoff_broker_options &options = sized<rp_handoff_broker_options>())
        : broker(make_broker(time.in(options))), request(request_over(connection.a.get(), client.fd.get(), {})) {
        request.token = issue(broker, "scene");
        deadline = time.now + (options.ack_deadline_ns != 0 ? options.ack_deadline_ns : 5 * second);
        time.meanwhile = [this] { act(); };
    }

    rp_handoff_outcome run() const {
        const Flags before(connection.a.get());
        const rp_handoff_outcome outcome = execute(broker, request);
        CHECK(Flags(connection.a.get()) == before);
        return outcome;
    }

    void send(const Bytes &bytes) const { write_all(connection.b.get(), bytes); }
    void close() { connection.b.reset(); }

    FakeTime time;
    SocketPair connection; // a is the broker's end
    ClientConnection client;
    Broker broker;
    rp_handoff_request request;
    std::uint64_t deadline = 0;
    Flags flags{client.fd.get()};

    // What the backend does with the offer, and what happens whenever the broker waits again.
    std::function<void(const ReceivedOffer &)> answer = [](const ReceivedOffer &) {};
    std::function<void()> afterwards = [] {};

  protected:
    void act() {
        if (offered_) {
            afterwards();
            return;
        }
        offered_ = true;
        answer(receive_offer(connection.b.get()));
    }

  private:
    bool offered_ = false;
};

} // namespace rp::test
