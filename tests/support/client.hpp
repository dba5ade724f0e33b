// A client of the library's before a broker and a backend that speak by hand, on a clock of the test's.
#pragma once

#include "support/door.hpp"

namespace rp::test {

constexpr std::uint8_t the_token = 0x42;

// What a broker answers that offers to hand the connection over.
inline rp_handoff_wire_reply negotiated(std::string_view endpoint, const rp_handoff_token &token) {
    auto reply = sized<rp_handoff_wire_reply>();
    reply.choice = RP_HANDOFF_REPLY_NEGOTIATED;
    reply.negotiated_protocol = 1;
    SET_PAIR(reply, daemon_version, "2.1");
    SET_PAIR(reply, backend_pipe, endpoint);
    reply.server_capabilities = 0xF0 | handle_passing;
    reply.keepalive_interval_secs = 60;
    reply.connection_id = 77;
    reply.handle_passed_token = token.bytes;
    reply.handle_passed_token_length = sizeof token.bytes;
    return reply;
}

class ClientScene {
  public:
    ClientScene() {
        request = time.in(sized<rp_handoff_client_request>());
        request.adopt = 1;
        request.broker_path = broker_path.c_str();
        request.service_name = "service";
        time.meanwhile = [this] {
            if (is_readable(broker_listener_.get())) {
                visits.push_back(accept_from(broker_listener_));
                hello = read_available(visits.back().get());
                on_hello(visits.back().get());
            } else {
                afterwards();
            }
        };
    }

    std::int32_t connect() {
        OutStruct<rp_handoff_client_connection> out;
        const std::int32_t status = rp_handoff_client_connect(&request, out.get(), nullptr);
        CHECK(out.untouched() == (status != RP_HANDOFF_OK));
        if (status == RP_HANDOFF_OK) {
            got = out.value;
            fd.reset(got.fd);
        }
        return status;
    }

    void answer(const rp_handoff_wire_reply &reply) const { write_all(visits.back().get(), encoded(reply)); }
    void say_ready(bool accepted = true, std::int32_t kind = RP_HANDOFF_KIND_EVENT) const {
        write_all(visits.back().get(), encoded(wire_ack(token, accepted, 77), kind));
    }

    bool backend_was_dialled() const { return is_readable(backend_listener_.get()); }
    // The client has its connection to the backend, and no other.
    void check_reconnected() {
        CHECK(got.route == RP_HANDOFF_ROUTE_BROKER_NEGOTIATED);
        REQUIRE(backend_was_dialled());
        const UniqueFd served = accept_from(backend_listener_);
        write_all(fd.get(), {'x'});
        CHECK(read_available(served.get()) == Bytes{'x'});
        for (const UniqueFd &visit : visits) {
            CHECK(is_at_end(visit.get()));
        }
    }
    void check_adopted() {
        CHECK(got.route == RP_HANDOFF_ROUTE_HANDLE_PASSED);
        CHECK_FALSE(backend_was_dialled());
        write_all(fd.get(), {'x'});
        CHECK(read_available(visits.back().get()) == Bytes{'x'});
    }
    void close_broker() { broker_listener_.reset(); }

    Directory directory;
    std::string broker_path = directory / "broker";
    std::string backend_path = directory / "backend";
    FakeTime time;
    rp_handoff_token token = token_of(the_token);
    rp_handoff_client_request request;
    std::vector<UniqueFd> visits; // the broker's ends of the client's connections to it
    Bytes hello;
    rp_handoff_client_connection got{};
    UniqueFd fd;

    std::function<void(int)> on_hello = [this](int) { answer(negotiated(backend_path, token)); };
    std::function<void()> afterwards = [this] { say_ready(); }; // when the client waits again

  private:
    UniqueFd broker_listener_ = listener_at(broker_path);
    UniqueFd backend_listener_ = listener_at(backend_path);
};

} // namespace rp::test
