// Transports and waiters of the caller's that work, fail, forget, raise, lie and call back.
#include "support/exchange.hpp"

#include <cerrno>
#include <stdexcept>
#include <string>

using namespace rp::test;

namespace {

// A transport and a waiter made of functions.
struct Callbacks {
    std::function<std::int32_t(const rp_handoff_attempt &, rp_handoff_transport_result &)> send =
        [](const rp_handoff_attempt &, rp_handoff_transport_result &result) {
            result.status = RP_HANDOFF_TRANSPORT_SENT;
            return RP_HANDOFF_CALLBACK_OK;
        };
    std::function<std::int32_t(const rp_handoff_ack_wait &, rp_handoff_ack_wait_result &)> await =
        [](const rp_handoff_ack_wait &, rp_handoff_ack_wait_result &result) {
            result.status = RP_HANDOFF_ACK_WAIT_ACCEPTED;
            result.observed_ns = 0;
            return RP_HANDOFF_CALLBACK_OK;
        };
    int sends = 0;
    int awaits = 0;

    static std::int32_t call_send(void *self, const rp_handoff_attempt *attempt, rp_handoff_transport_result *result) {
        auto *const callbacks = static_cast<Callbacks *>(self);
        ++callbacks->sends;
        return callbacks->send(*attempt, *result);
    }
    static std::int32_t call_await(void *self, const rp_handoff_ack_wait *await, rp_handoff_ack_wait_result *result) {
        auto *const callbacks = static_cast<Callbacks *>(self);
        ++callbacks->awaits;
        return callbacks->await(*await, *result);
    }
};

// A broker whose handoffs go through callbacks alone.
struct Called {
    rp_handoff_outcome hand_over(const rp_handoff_token &token) { return execute(broker, request(token)); }
    rp_handoff_outcome hand_over() {
        const rp_handoff_token token = issue(broker);
        const rp_handoff_outcome outcome = hand_over(token);
        CHECK(rp_handoff_broker_revoke(broker.get(), &token) == 0); // ended, however
        CHECK(statistics(broker).pending_tokens == 0);
        CHECK(callbacks.sends == 1);
        return outcome;
    }
    rp_handoff_request request(const rp_handoff_token &token) {
        auto out = sized<rp_handoff_request>();
        out.fd = client.fd.get();
        out.token = token;
        out.transport = Callbacks::call_send;
        out.transport_user_data = &callbacks;
        out.await_ack = Callbacks::call_await;
        out.await_ack_user_data = &callbacks;
        return out;
    }

    FakeTime time;
    Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    ClientConnection client;
    Callbacks callbacks;
};

rp_handoff_outcome after_transport(std::int32_t status, int os_error = 0, std::uint32_t bytes_sent = 0) {
    Called called;
    called.callbacks.send = [=](const rp_handoff_attempt &, rp_handoff_transport_result &result) {
        result.status = status;
        result.os_error = os_error;
        result.bytes_sent = bytes_sent;
        return RP_HANDOFF_CALLBACK_OK;
    };
    const rp_handoff_outcome outcome = called.hand_over();
    CHECK(called.callbacks.awaits == 0);
    CHECK(outcome.os_error == os_error);
    CHECK(called.client.is_served_by(called.client.fd.get()));
    return outcome;
}

void check_transport(std::int32_t status, int os_error, std::uint32_t bytes_sent, std::int32_t reason,
                     std::int32_t cause, bool may_have_reached) {
    const rp_handoff_outcome outcome = after_transport(status, os_error, bytes_sent);
    check_fallback(outcome, RP_HANDOFF_STAGE_SEND, reason, cause,
                   may_have_reached ? RP_HANDOFF_OWNER_AMBIGUOUS : RP_HANDOFF_OWNER_BROKER);
    CHECK(outcome.may_have_reached_backend == (may_have_reached ? 1 : 0));
}

void check_failed_transport(const rp_handoff_outcome &outcome) {
    check_fallback(outcome, RP_HANDOFF_STAGE_SEND, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                   RP_HANDOFF_CAUSE_CALLBACK_FAILED, RP_HANDOFF_OWNER_AMBIGUOUS);
}

void check_failed_await(const rp_handoff_outcome &outcome, std::int32_t cause) {
    check_fallback(outcome, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, cause,
                   cause == RP_HANDOFF_CAUSE_BACKEND_REFUSED ? RP_HANDOFF_OWNER_BROKER : RP_HANDOFF_OWNER_AMBIGUOUS);
    CHECK(outcome.may_have_reached_backend == 1);
}

} // namespace

TEST_CASE("a handoff through callbacks alone is told everything, and completes") {
    Called called;
    const rp_handoff_token token = issue(called.broker, "build-cache", 42);
    const std::uint64_t deadline = called.time.now + 5 * second;
    called.callbacks.send = [&](const rp_handoff_attempt &attempt, rp_handoff_transport_result &result) {
        CHECK(attempt.struct_size == sizeof attempt);
        CHECK(attempt.fd == called.client.fd.get());
        CHECK(attempt.socket_path == nullptr);
        CHECK(attempt.connection_fd == -1);
        CHECK(attempt.deadline_ns == deadline);
        CHECK(rp_handoff_token_equal(attempt.token, &token) == 1);
        CHECK(std::string(attempt.service_name) == "build-cache");
        CHECK(attempt.correlation_id == 9);
        Bytes expected(token.bytes, token.bytes + 16);
        const Bytes frame = encoded(wire_offer(token, "build-cache", 9));
        expected.insert(expected.end(), frame.begin(), frame.end());
        CHECK(Bytes(attempt.message, attempt.message + attempt.message_length) == expected);
        CHECK(result.struct_size == sizeof result);
        CHECK(result.status == 0);
        result.status = RP_HANDOFF_TRANSPORT_SENT;
        return RP_HANDOFF_CALLBACK_OK;
    };
    called.callbacks.await = [&](const rp_handoff_ack_wait &await, rp_handoff_ack_wait_result &result) {
        CHECK(await.struct_size == sizeof await);
        CHECK(await.connection_fd == -1);
        CHECK(rp_handoff_token_equal(await.token, &token) == 1);
        CHECK(await.correlation_id == 9);
        CHECK(await.deadline_ns == deadline);
        CHECK(result.struct_size == sizeof result);
        CHECK(result.status == 0);
        result.status = RP_HANDOFF_ACK_WAIT_ACCEPTED;
        result.observed_ns = deadline - 1;
        return RP_HANDOFF_CALLBACK_OK;
    };
    rp_handoff_request request = called.request(token);
    request.correlation_id = 9;
    const rp_handoff_outcome outcome = execute(called.broker, request);
    CHECK(outcome.result == RP_HANDOFF_COMPLETED);
    CHECK(outcome.waited_ns == 5 * second - 1);
    CHECK(called.callbacks.sends == 1);
    CHECK(called.callbacks.awaits == 1);
}

TEST_CASE("a transport is told of a path, or of a connection that the request vouches for") {
    Called called;
    const SocketPair pair;
    std::string path;
    int connection = -2;
    called.callbacks.send = [&](const rp_handoff_attempt &attempt, rp_handoff_transport_result &) {
        path = attempt.socket_path != nullptr ? attempt.socket_path : "";
        connection = attempt.connection_fd;
        return 0;
    };
    rp_handoff_request request = called.request(issue(called.broker));
    request.socket_path = "/some/where";
    request.connection_fd = pair.a.get();
    request.connection_trust = RP_HANDOFF_TRUST_CALLER;
    execute(called.broker, request);
    CHECK(path == "/some/where");
    CHECK(connection == -1);
    request.socket_path = nullptr;
    request.token = issue(called.broker);
    execute(called.broker, request);
    CHECK(path == "");
    CHECK(connection == pair.a.get());
    request.connection_trust = 0; // then the number means nothing: zero is what a request has that names none
    request.token = issue(called.broker);
    execute(called.broker, request);
    CHECK(connection == -1);
}

TEST_CASE("what a transport reports becomes the outcome") {
    const std::int32_t timeout = RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT;
    const std::int32_t pressure = RP_HANDOFF_REASON_FD_PRESSURE_DISABLED;
    check_transport(RP_HANDOFF_TRANSPORT_UNSUPPORTED, 0, 0, RP_HANDOFF_REASON_SERVICE_POLICY_DISABLED,
                    RP_HANDOFF_CAUSE_UNSUPPORTED_PLATFORM, false);
    check_transport(RP_HANDOFF_TRANSPORT_PERMISSION_DENIED, EACCES, 0, RP_HANDOFF_REASON_PERMISSION_DENIED,
                    RP_HANDOFF_CAUSE_PERMISSION_DENIED, false);
    check_transport(RP_HANDOFF_TRANSPORT_UNAVAILABLE, ENOENT, 0, timeout, RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, false);
    check_transport(RP_HANDOFF_TRANSPORT_WOULD_BLOCK, EAGAIN, 0, timeout, RP_HANDOFF_CAUSE_WOULD_BLOCK, false);
    check_transport(RP_HANDOFF_TRANSPORT_FAILED, EINVAL, 0, timeout, RP_HANDOFF_CAUSE_SEND_FAILED, false);
    check_transport(RP_HANDOFF_TRANSPORT_FAILED, 0, 0, timeout, RP_HANDOFF_CAUSE_SEND_FAILED, false);
    for (const int error : {ETOOMANYREFS, EMFILE, ENFILE}) {
        check_transport(RP_HANDOFF_TRANSPORT_FAILED, error, 0, pressure, RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE, false);
    }
    check_transport(RP_HANDOFF_TRANSPORT_PARTIAL, 0, 0, timeout, RP_HANDOFF_CAUSE_PARTIAL_SEND, true); // forgot to say
    check_transport(RP_HANDOFF_TRANSPORT_PARTIAL, 0, 1, timeout, RP_HANDOFF_CAUSE_PARTIAL_SEND, true);
    check_transport(RP_HANDOFF_TRANSPORT_PARTIAL, EPIPE, 15, timeout, RP_HANDOFF_CAUSE_PARTIAL_SEND, true);
    check_transport(RP_HANDOFF_TRANSPORT_OFFER_UNDELIVERED, EPIPE, 0, timeout, RP_HANDOFF_CAUSE_OFFER_UNDELIVERED,
                    true);
}

TEST_CASE("a transport that says nothing or nonsense may have sent") {
    for (const std::int32_t status : {0, -1, 9, INT32_MAX, INT32_MIN}) {
        check_failed_transport(after_transport(status));
    }
}

TEST_CASE("a transport that returns anything but the one number failed, whatever it filled in") {
    for (const std::int32_t answer : garbage) {
        Called called;
        called.callbacks.send = [answer](const rp_handoff_attempt &, rp_handoff_transport_result &result) {
            result.status = RP_HANDOFF_TRANSPORT_SENT;
            return answer;
        };
        check_failed_transport(called.hand_over());
        CHECK(called.callbacks.awaits == 0);
    }
}

TEST_CASE("a waiter that returns anything but the one number failed, whatever it filled in") {
    for (const std::int32_t answer : garbage) {
        for (const std::int32_t status : {RP_HANDOFF_ACK_WAIT_ACCEPTED, RP_HANDOFF_ACK_WAIT_REFUSED}) {
            Called called;
            called.callbacks.await = [&](const rp_handoff_ack_wait &, rp_handoff_ack_wait_result &result) {
                result.status = status;
                result.observed_ns = called.time.now;
                return answer;
            };
            check_failed_await(called.hand_over(), RP_HANDOFF_CAUSE_CALLBACK_FAILED);
        }
    }
}

TEST_CASE("what a waiter reports becomes the outcome") {
    const auto after_await = [](std::int32_t status) {
        Called called;
        called.callbacks.await = [&](const rp_handoff_ack_wait &, rp_handoff_ack_wait_result &result) {
            result.status = status;
            result.observed_ns = called.time.now;
            return RP_HANDOFF_CALLBACK_OK;
        };
        return called.hand_over();
    };
    CHECK(after_await(RP_HANDOFF_ACK_WAIT_ACCEPTED).result == RP_HANDOFF_COMPLETED);
    check_failed_await(after_await(RP_HANDOFF_ACK_WAIT_REFUSED), RP_HANDOFF_CAUSE_BACKEND_REFUSED);
    check_failed_await(after_await(RP_HANDOFF_ACK_WAIT_FAILED), RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    for (const std::int32_t status : {0, -1, 4, INT32_MAX}) {
        check_failed_await(after_await(status), RP_HANDOFF_CAUSE_CALLBACK_FAILED);
    }
}

TEST_CASE("an acceptance that was observed at the deadline, or of which nobody says when, is late") {
    const auto after_await = [](std::uint64_t observed, bool said) {
        Called called;
        called.callbacks.await = [&](const rp_handoff_ack_wait &await, rp_handoff_ack_wait_result &result) {
            result.status = RP_HANDOFF_ACK_WAIT_ACCEPTED;
            if (said) {
                result.observed_ns = await.deadline_ns + observed;
            }
            return RP_HANDOFF_CALLBACK_OK;
        };
        return called.hand_over();
    };
    CHECK(after_await(~0ULL, true).result == RP_HANDOFF_COMPLETED); // one nanosecond before
    for (const bool said : {true, false}) {
        check_fallback(after_await(0, said), RP_HANDOFF_STAGE_ACKNOWLEDGE, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                       RP_HANDOFF_CAUSE_ACK_OVERDUE, RP_HANDOFF_OWNER_AMBIGUOUS);
    }
}

TEST_CASE("an exception ends at the call that ran the callback, and the token with it") {
    Called called;
    called.callbacks.send = [](const rp_handoff_attempt &, rp_handoff_transport_result &result) -> std::int32_t {
        result.status = RP_HANDOFF_TRANSPORT_SENT;
        throw std::runtime_error("thrown");
    };
    check_failed_transport(called.hand_over());
    Called again;
    again.callbacks.await = [](const rp_handoff_ack_wait &, rp_handoff_ack_wait_result &result) -> std::int32_t {
        result.status = RP_HANDOFF_ACK_WAIT_ACCEPTED;
        throw 42;
    };
    check_failed_await(again.hand_over(), RP_HANDOFF_CAUSE_CALLBACK_FAILED);
}

TEST_CASE("the built-in transport tells a waiter of the caller's on which connection the answer comes") {
    Exchange exchange;
    Callbacks callbacks;
    callbacks.await = [&](const rp_handoff_ack_wait &await, rp_handoff_ack_wait_result &result) {
        CHECK(await.connection_fd == exchange.connection.get());
        exchange.serve();
        const Bytes bytes = read_available(await.connection_fd);
        auto ack = sized<rp_handoff_wire_ack>();
        std::size_t consumed = 0;
        CHECK(rp_handoff_wire_decode_ack(bytes.data(), bytes.size(), RP_HANDOFF_KIND_RESPONSE, &ack, &consumed) ==
              RP_HANDOFF_OK);
        CHECK(ack.accepted == 1);
        CHECK(ack.correlation_id == await.correlation_id);
        result.status = RP_HANDOFF_ACK_WAIT_ACCEPTED;
        result.observed_ns = exchange.time.now;
        return RP_HANDOFF_CALLBACK_OK;
    };
    rp_handoff_request request = exchange.request(issue(exchange.broker));
    request.await_ack = Callbacks::call_await;
    request.await_ack_user_data = &callbacks;
    CHECK(execute(exchange.broker, request).result == RP_HANDOFF_COMPLETED);
    CHECK(exchange.client.is_served_by(exchange.adopted.get()));
    CHECK(exchange.time.waits == 0);
}

TEST_CASE("a handoff runs inside the callback of another, on the same broker") {
    Exchange exchange;
    Callbacks callbacks;
    callbacks.send = [&](const rp_handoff_attempt &, rp_handoff_transport_result &result) {
        CHECK(exchange.hand_over(issue(exchange.broker)).result == RP_HANDOFF_COMPLETED);
        CHECK(statistics(exchange.broker).pending_acks == 1); // the outer one
        result.status = RP_HANDOFF_TRANSPORT_SENT;
        return RP_HANDOFF_CALLBACK_OK;
    };
    rp_handoff_request request = exchange.request(issue(exchange.broker));
    request.transport = Callbacks::call_send;
    request.transport_user_data = &callbacks;
    request.await_ack = Callbacks::call_await;
    request.await_ack_user_data = &callbacks;
    CHECK(execute(exchange.broker, request).result == RP_HANDOFF_COMPLETED);
    CHECK(statistics(exchange.broker).completed == 2);
}
