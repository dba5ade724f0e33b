// Handoffs with a subject: the policy is asked before anything is sent, and told what became of it.
#include "support/policy_api.hpp"

#include <cerrno>

using namespace rp::test;

namespace {

struct Ending {
    Script script;
    std::int32_t cause;
    bool counts; // as a failure of the backend
};

Script sending(std::int32_t status, int os_error = 0, std::uint32_t bytes = 0) {
    Script script;
    script.sent = status;
    script.os_error = os_error;
    script.bytes_sent = bytes;
    return script;
}

Script awaiting(std::int32_t status, bool late = false) {
    Script script;
    script.awaited = status;
    script.late = late;
    return script;
}

const Ending endings[] = {
    {sending(RP_HANDOFF_TRANSPORT_UNSUPPORTED), RP_HANDOFF_CAUSE_UNSUPPORTED_PLATFORM, false},
    {sending(RP_HANDOFF_TRANSPORT_PERMISSION_DENIED, EACCES), RP_HANDOFF_CAUSE_PERMISSION_DENIED, true},
    {sending(RP_HANDOFF_TRANSPORT_UNAVAILABLE), RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, true},
    {sending(RP_HANDOFF_TRANSPORT_WOULD_BLOCK), RP_HANDOFF_CAUSE_WOULD_BLOCK, true},
    {sending(RP_HANDOFF_TRANSPORT_FAILED, EIO), RP_HANDOFF_CAUSE_SEND_FAILED, true},
    {sending(RP_HANDOFF_TRANSPORT_FAILED, EMFILE), RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE, false},
    {sending(RP_HANDOFF_TRANSPORT_PARTIAL, EPIPE, 3), RP_HANDOFF_CAUSE_PARTIAL_SEND, true},
    {sending(RP_HANDOFF_TRANSPORT_OFFER_UNDELIVERED), RP_HANDOFF_CAUSE_OFFER_UNDELIVERED, true},
    {sending(0), RP_HANDOFF_CAUSE_CALLBACK_FAILED, true},
    {awaiting(RP_HANDOFF_ACK_WAIT_REFUSED), RP_HANDOFF_CAUSE_BACKEND_REFUSED, true},
    {awaiting(RP_HANDOFF_ACK_WAIT_FAILED), RP_HANDOFF_CAUSE_ACK_TIMED_OUT, true},
    {awaiting(RP_HANDOFF_ACK_WAIT_ACCEPTED, true), RP_HANDOFF_CAUSE_ACK_OVERDUE, true},
    {awaiting(0), RP_HANDOFF_CAUSE_CALLBACK_FAILED, true},
};

// As the policy has objected: nothing was sent, and the token has ended.
void check_objection(const rp_handoff_outcome &outcome, std::int32_t reason, const Script &script) {
    check_fallback(outcome, RP_HANDOFF_STAGE_POLICY, reason, RP_HANDOFF_CAUSE_POLICY, RP_HANDOFF_OWNER_BROKER);
    CHECK(outcome.may_have_reached_backend == 0);
    CHECK(outcome.os_error == 0);
    CHECK(outcome.correlation_id != 0);
    CHECK(script.sends == 0);
    CHECK(script.awaits == 0);
}

} // namespace

TEST_CASE("an objection is a fallback before anything is sent, its token ends and the connection is the broker's") {
    struct Case {
        std::int32_t reason;
        void (*object)(Judge &);
    };
    const Case cases[] = {
        {RP_HANDOFF_REASON_CLIENT_UNSUPPORTED, [](Judge &j) { j.subject.client_supports = 0; }},
        {RP_HANDOFF_REASON_SERVICE_POLICY_DISABLED, [](Judge &j) { j.subject.service_enabled = 0; }},
        {RP_HANDOFF_REASON_FD_PRESSURE_DISABLED, [](Judge &j) { j.subject.fd_pressure = 1; }},
        {RP_HANDOFF_REASON_FD_PRESSURE_DISABLED,
         [](Judge &j) { rp_handoff_broker_note_accept(j.broker.get(), EMFILE); }},
        {RP_HANDOFF_REASON_ADOPTED_BACKEND, [](Judge &j) { j.subject.adopted_backend = 1; }},
        {RP_HANDOFF_REASON_FAILED_ATTEMPT_RATE_LIMITED, [](Judge &j) { fail(j.broker, j.key, 3); }},
    };
    for (const Case &c : cases) {
        CAPTURE(c.reason);
        Judge judge;
        c.object(judge);
        const std::uint32_t before = failures(judge.broker, judge.key);
        Script script;
        const rp_handoff_outcome outcome = script.run(judge.broker, &judge.subject);
        check_objection(outcome, c.reason, script);
        CHECK(outcome.retry_after_ns == (before == 3 ? 100 * second : 0));
        CHECK(failures(judge.broker, judge.key) == before); // not attempted: neither failure nor success
        const rp_handoff_broker_statistics s = statistics(judge.broker);
        CHECK(s.fallbacks == 1);
        CHECK(s.fallbacks_owner_broker == 1);
        CHECK(s.fallbacks_by_reason[c.reason] == 1);
        CHECK(s.completed == 0);
    }
}

TEST_CASE("an objection to a real endpoint does not even dial it") {
    Judge judge;
    judge.subject.adopted_backend = 1;
    const SocketPair pair;
    const ClientConnection client;
    const rp_handoff_token token = issue(judge.broker);
    rp_handoff_request request = request_over(pair.a.get(), client.fd.get(), token);
    request.subject = &judge.subject;
    const rp_handoff_outcome outcome = execute(judge.broker, request);
    CHECK(outcome.stage == RP_HANDOFF_STAGE_POLICY);
    CHECK(read_available(pair.b.get()).empty());
    CHECK_FALSE(is_at_end(pair.b.get()));
    CHECK(client.is_served_by(client.fd.get()));
    check_no_token_left(judge.broker, token);
}

TEST_CASE("what became of an attempt counts for the backend by its cause, but only if the policy was asked") {
    for (const Ending &ending : endings) {
        CAPTURE(ending.cause);
        Judge judge;
        Script script = ending.script;
        CHECK(script.run(judge.broker, nullptr).cause == ending.cause);
        CHECK(failures(judge.broker, judge.key) == 0);
        script.run(judge.broker, nullptr);
        CHECK(script.sends == 2);

        Judge asked;
        CHECK(script.run(asked.broker, &asked.subject).cause == ending.cause);
        CHECK(script.sends == 3);
        CHECK(failures(asked.broker, asked.key) == (ending.counts ? 1 : 0));
        CHECK(statistics(asked.broker).backends_with_failures == (ending.counts ? 1 : 0));
    }
}

TEST_CASE("a completed handoff forgets the failures of its backend") {
    Judge judge;
    fail(judge.broker, judge.key, 2);
    Script script;
    CHECK(script.run(judge.broker, &judge.subject).result == RP_HANDOFF_COMPLETED);
    CHECK(failures(judge.broker, judge.key) == 0);
    CHECK(statistics(judge.broker).backends_with_failures == 0);
}

TEST_CASE("a backend that keeps failing is left alone until its window ends") {
    Judge judge;
    Script failing = awaiting(RP_HANDOFF_ACK_WAIT_FAILED);
    const std::uint64_t start = judge.time.now;
    for (int i = 1; i <= 3; ++i) {
        CHECK(failing.run(judge.broker, &judge.subject).cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
        CHECK(failing.sends == i);
        judge.time.now += 10 * second;
    }
    Script script;
    const rp_handoff_outcome limited = script.run(judge.broker, &judge.subject);
    check_objection(limited, RP_HANDOFF_REASON_FAILED_ATTEMPT_RATE_LIMITED, script);
    CHECK(limited.retry_after_ns == 70 * second);

    judge.time.now = start + 100 * second - 1;
    CHECK(script.run(judge.broker, &judge.subject).retry_after_ns == 1);
    judge.time.now = start + 100 * second;
    CHECK(script.run(judge.broker, &judge.subject).result == RP_HANDOFF_COMPLETED);
    CHECK(script.sends == 1);
}

TEST_CASE("a send that runs out of descriptors begins a time of pressure, with a subject or without") {
    for (const int error : {ETOOMANYREFS, EMFILE, ENFILE}) {
        for (const bool with_subject : {false, true}) {
            CAPTURE(error);
            Judge judge;
            Script script = sending(RP_HANDOFF_TRANSPORT_FAILED, error);
            const rp_handoff_outcome outcome = script.run(judge.broker, with_subject ? &judge.subject : nullptr);
            check_fallback(outcome, RP_HANDOFF_STAGE_SEND, RP_HANDOFF_REASON_FD_PRESSURE_DISABLED,
                           RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE, RP_HANDOFF_OWNER_BROKER);
            CHECK(outcome.os_error == error);
            CHECK(statistics(judge.broker).fd_pressure == 1);
            CHECK(statistics(judge.broker).fd_pressure_episodes == 1);
            Script next;
            check_objection(next.run(judge.broker, &judge.subject), RP_HANDOFF_REASON_FD_PRESSURE_DISABLED, next);
            CHECK(next.run(judge.broker, nullptr).result == RP_HANDOFF_COMPLETED); // the policy is left alone
            CHECK(statistics(judge.broker).fd_pressure == 1);                      // only accepts end it
            for (int i = 0; i < 3; ++i) {
                rp_handoff_broker_note_accept(judge.broker.get(), 0);
            }
            CHECK(next.run(judge.broker, &judge.subject).result == RP_HANDOFF_COMPLETED);
        }
    }
}

TEST_CASE("errors of the caller are no attempts, and leave the policy alone") {
    Judge judge;
    fail(judge.broker, judge.key, 2);
    Script script;
    OutStruct<rp_handoff_outcome> outcome;
    const rp_handoff_request unknown = script.request(token_of(9), &judge.subject);
    CHECK(rp_handoff_broker_execute(judge.broker.get(), &unknown, outcome.get(), nullptr) ==
          RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
    CHECK(outcome.untouched());
    CHECK(failures(judge.broker, judge.key) == 2);
    CHECK(script.sends == 0);
}

TEST_CASE("a subject that is not valid is an error before anything happens, and its token stays pending") {
    Judge judge;
    Script script;
    const rp_handoff_token token = issue(judge.broker);
    auto no_backend = judge.subject;
    no_backend.backend = nullptr;
    auto newer = judge.subject;
    newer.reserved = 1;
    auto no_size = judge.subject;
    no_size.struct_size = 0;
    struct Case {
        const rp_handoff_subject *subject;
        std::int32_t status;
    };
    for (const Case &c : {Case{&no_backend, invalid}, Case{&newer, RP_HANDOFF_ERR_UNSUPPORTED},
                          Case{&no_size, RP_HANDOFF_ERR_STRUCT_SIZE}}) {
        OutStruct<rp_handoff_outcome> outcome;
        const rp_handoff_request request = script.request(token, c.subject);
        CHECK(rp_handoff_broker_execute(judge.broker.get(), &request, outcome.get(), nullptr) == c.status);
        CHECK(outcome.untouched());
    }
    CHECK(script.sends == 0);
    CHECK(rp_handoff_broker_revoke(judge.broker.get(), &token) == 1);
}
