// What the tests of the policy through the C API share: subjects, decisions, and a transport with a waiter that answer by
// a script and allocate nothing.
#pragma once

#include "support/exchange.hpp"

namespace rp::test {

constexpr std::int32_t invalid = RP_HANDOFF_ERR_INVALID_ARGUMENT;

inline rp_handoff_backend_key key_of(const char *service) {
    auto key = sized<rp_handoff_backend_key>();
    key.service_name = service;
    key.service_version = "1.0";
    return key;
}

// A subject that nothing speaks against.
inline rp_handoff_subject subject_of(const rp_handoff_backend_key &key) {
    auto subject = sized<rp_handoff_subject>();
    subject.client_supports = 1;
    subject.service_enabled = 1;
    subject.backend = &key;
    return subject;
}

inline rp_handoff_decision decide(const Broker &broker, const rp_handoff_subject &subject) {
    OutStruct<rp_handoff_decision> out;
    REQUIRE(rp_handoff_broker_should_attempt(broker.get(), &subject, out.get(), nullptr) == RP_HANDOFF_OK);
    CHECK((out.value.attempt == 1) == (out.value.reason == RP_HANDOFF_REASON_NONE));
    CHECK(out.value.reserved == 0);
    return out.value;
}

inline std::uint32_t failures(const Broker &broker, const rp_handoff_backend_key &key) {
    std::uint32_t count = UINT32_MAX;
    REQUIRE(rp_handoff_broker_get_failure_count(broker.get(), &key, &count, nullptr) == RP_HANDOFF_OK);
    return count;
}

inline void fail(const Broker &broker, const rp_handoff_backend_key &key, unsigned times = 1) {
    for (unsigned i = 0; i < times; ++i) {
        REQUIRE(rp_handoff_broker_record(broker.get(), &key, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, nullptr, nullptr) ==
                RP_HANDOFF_OK);
    }
}

inline void check_no_token_left(const Broker &broker, const rp_handoff_token &token) {
    CHECK(rp_handoff_broker_revoke(broker.get(), &token) == 0);
    CHECK(statistics(broker).pending_tokens == 0);
    CHECK(statistics(broker).pending_acks == 0);
}

// A transport and a waiter that answer by a script.
struct Script {
    std::int32_t sent = RP_HANDOFF_TRANSPORT_SENT;
    std::int32_t os_error = 0;
    std::uint32_t bytes_sent = 0;
    std::int32_t awaited = RP_HANDOFF_ACK_WAIT_ACCEPTED;
    bool late = false;
    int sends = 0;
    int awaits = 0;

    rp_handoff_request request(const rp_handoff_token &token, const rp_handoff_subject *subject) {
        auto request = sized<rp_handoff_request>();
        request.flags = RP_HANDOFF_REQUEST_ANY_DESCRIPTOR; // 0, which nobody looks at
        request.token = token;
        request.transport = send;
        request.transport_user_data = this;
        request.await_ack = await;
        request.await_ack_user_data = this;
        request.subject = subject;
        return request;
    }

    rp_handoff_outcome run(const Broker &broker, const rp_handoff_subject *subject) {
        const rp_handoff_token token = issue(broker);
        const rp_handoff_outcome outcome = execute(broker, request(token, subject));
        check_no_token_left(broker, token);
        return outcome;
    }

    static std::int32_t await(void *user_data, const rp_handoff_ack_wait *asked, rp_handoff_ack_wait_result *out) {
        auto *self = static_cast<Script *>(user_data);
        ++self->awaits;
        out->status = self->awaited;
        out->observed_ns = self->late ? asked->deadline_ns : asked->deadline_ns - 1;
        return RP_HANDOFF_CALLBACK_OK;
    }

  private:
    static std::int32_t send(void *user_data, const rp_handoff_attempt *, rp_handoff_transport_result *out) {
        auto *self = static_cast<Script *>(user_data);
        ++self->sends;
        out->status = self->sent;
        out->os_error = self->os_error;
        out->bytes_sent = self->bytes_sent;
        return RP_HANDOFF_CALLBACK_OK;
    }
};

// A broker on a clock that the test turns: three failures in a window of 100 seconds, four backends.
struct Judge {
    explicit Judge(rp_handoff_broker_options options = sized<rp_handoff_broker_options>()) {
        options.max_failed_attempts = 3;
        options.failed_attempts_window_ns = 100 * second;
        options.max_backends = 4;
        broker = make_broker(time.in(options));
    }

    FakeTime time;
    Broker broker;
    rp_handoff_backend_key key = key_of("service");
    rp_handoff_subject subject = subject_of(key);
};

} // namespace rp::test
