// Value handoffs through the C API, driven by callbacks.
#include "support/policy_api.hpp"

#include <cerrno>

#include "support/misbehaviour.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t own_handle = 0x1111'0000'2222;
constexpr std::uint64_t backend_handle = 0x3333'0000'4444;

// A broker with a token for process 42, and callbacks that answer what the test wants and remember that they were asked.
class ValueScene : public Judge {
  public:
    ValueScene() {
        token = issue(broker, "service", 42);
        request = sized<rp_handoff_value_request>();
        request.handle = own_handle;
        request.token = token;
        request.duplicate = duplicate;
        request.deliver = deliver;
        request.await_ack = Script::await;
        request.duplicate_user_data = request.deliver_user_data = this;
        request.await_ack_user_data = &script;
    }

    rp_handoff_outcome run() {
        auto outcome = sized<rp_handoff_outcome>();
        REQUIRE(rp_handoff_broker_execute_value(broker.get(), &request, &outcome, &leaked, nullptr) == RP_HANDOFF_OK);
        check_no_token_left(broker, token);
        CHECK(rp_handoff_broker_execute_value(broker.get(), &request, &outcome, nullptr, nullptr) ==
              RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
        return outcome;
    }

    void check_calls(int duplicates_made, int deliveries_made, int awaits) const {
        CHECK(duplicates == duplicates_made);
        CHECK(deliveries == deliveries_made);
        CHECK(script.awaits == awaits);
    }

    std::int32_t status = RP_HANDOFF_DUPLICATE_DONE;
    int os_error = 0;
    Misbehaviour when_duplicating = Misbehaviour::none;
    Misbehaviour when_delivering = Misbehaviour::none;
    int duplicates = 0;
    int deliveries = 0;
    std::uint64_t correlation_id = 0; // that the callbacks saw
    Script script;                    // its waiter
    rp_handoff_token token{};
    rp_handoff_value_request request{};
    std::uint64_t leaked = 0xAAAA;

  private:
    void check_attempt(const rp_handoff_value_attempt &attempt, std::uint64_t handle) {
        CHECK(attempt.struct_size == sizeof attempt);
        CHECK(attempt.backend_pid == 42);
        CHECK(attempt.handle == handle);
        CHECK(rp_handoff_token_equal(attempt.token, &token) == 1);
        CHECK(std::string_view(attempt.service_name) == "service");
        CHECK(attempt.deadline_ns == time.now + 5 * second);
        CHECK((correlation_id == 0 || correlation_id == attempt.correlation_id));
        correlation_id = attempt.correlation_id;
    }

    static std::int32_t duplicate(void *user_data, const rp_handoff_value_attempt *attempt, std::uint64_t *out_handle,
                                  std::int32_t *out_status, std::int32_t *out_os_error) {
        auto *self = static_cast<ValueScene *>(user_data);
        ++self->duplicates;
        CHECK(*out_status == 0);
        self->check_attempt(*attempt, own_handle);
        *out_handle = backend_handle;
        *out_status = self->status;
        *out_os_error = self->os_error;
        return answer_of(self->when_duplicating);
    }
    static std::int32_t deliver(void *user_data, const rp_handoff_value_attempt *attempt) {
        auto *self = static_cast<ValueScene *>(user_data);
        ++self->deliveries;
        self->check_attempt(*attempt, backend_handle);
        return answer_of(self->when_delivering);
    }
};

} // namespace

TEST_CASE("a value handoff that is acknowledged completes, and nothing leaks") {
    ValueScene scene;
    const rp_handoff_outcome outcome = scene.run();
    CHECK(outcome.result == RP_HANDOFF_COMPLETED);
    CHECK(outcome.ownership == RP_HANDOFF_OWNER_BACKEND);
    CHECK(outcome.stage == RP_HANDOFF_STAGE_NONE);
    CHECK(outcome.waited_ns == 5 * second - 1);
    CHECK(outcome.correlation_id == scene.correlation_id);
    CHECK(outcome.correlation_id != 0);
    CHECK(scene.leaked == 0);
    scene.check_calls(1, 1, 1);
    CHECK(statistics(scene.broker).completed == 1);
}

TEST_CASE("the correlation id of a value handoff is the caller's, if there is one") {
    ValueScene scene;
    scene.request.correlation_id = 77;
    CHECK(scene.run().correlation_id == 77);
    CHECK(scene.correlation_id == 77);
}

TEST_CASE("a duplication that fails is a fallback of its own stage; nothing leaks and nobody is told") {
    struct Case {
        std::int32_t status;
        std::int32_t cause;
        std::int32_t reason;
    };
    const Case cases[] = {
        {RP_HANDOFF_DUPLICATE_UNSUPPORTED, RP_HANDOFF_CAUSE_UNSUPPORTED_PLATFORM,
         RP_HANDOFF_REASON_SERVICE_POLICY_DISABLED},
        {RP_HANDOFF_DUPLICATE_CANNOT_OPEN_BACKEND, RP_HANDOFF_CAUSE_DUPLICATE_FAILED,
         RP_HANDOFF_REASON_PERMISSION_DENIED},
        {RP_HANDOFF_DUPLICATE_PERMISSION_DENIED, RP_HANDOFF_CAUSE_PERMISSION_DENIED,
         RP_HANDOFF_REASON_PERMISSION_DENIED},
        {RP_HANDOFF_DUPLICATE_FAILED, RP_HANDOFF_CAUSE_DUPLICATE_FAILED, RP_HANDOFF_REASON_PERMISSION_DENIED},
        {RP_HANDOFF_DUPLICATE_INTEGRITY_MISMATCH, RP_HANDOFF_CAUSE_INTEGRITY_MISMATCH,
         RP_HANDOFF_REASON_INTEGRITY_MISMATCH},
    };
    for (const Case &c : cases) {
        CAPTURE(c.status);
        ValueScene scene;
        scene.status = c.status;
        scene.os_error = EPERM;
        const rp_handoff_outcome outcome = scene.run();
        check_fallback(outcome, RP_HANDOFF_STAGE_DUPLICATE, c.reason, c.cause, RP_HANDOFF_OWNER_BROKER);
        CHECK(outcome.os_error == EPERM);
        CHECK(outcome.may_have_reached_backend == 0);
        CHECK(scene.leaked == 0);
        scene.check_calls(1, 0, 0);
    }
}

TEST_CASE("a duplication callback that breaks its contract is a failed duplication") {
    for (const std::int32_t status : {0, -1, 7, INT32_MAX, INT32_MIN}) {
        CAPTURE(status);
        ValueScene scene;
        scene.status = status;
        const rp_handoff_outcome outcome = scene.run();
        CHECK(outcome.stage == RP_HANDOFF_STAGE_DUPLICATE);
        CHECK(outcome.ownership == RP_HANDOFF_OWNER_BROKER);
        CHECK(scene.leaked == 0);
        scene.check_calls(1, 0, 0);
    }
    for (const Misbehaviour misbehaviour : all_misbehaviours) {
        ValueScene scene;
        scene.when_duplicating = misbehaviour;
        const rp_handoff_outcome outcome = scene.run();
        CHECK(outcome.stage == RP_HANDOFF_STAGE_DUPLICATE);
        CHECK(outcome.ownership == RP_HANDOFF_OWNER_BROKER);
        CHECK(scene.leaked == 0);
        scene.check_calls(1, 0, 0);
    }
}

TEST_CASE("a delivery that fails, in whatever way, leaks the handle and leaves the connection to the broker") {
    for (const Misbehaviour misbehaviour : all_misbehaviours) {
        ValueScene scene;
        scene.when_delivering = misbehaviour;
        const rp_handoff_outcome outcome = scene.run();
        check_fallback(outcome, RP_HANDOFF_STAGE_DELIVER, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                       RP_HANDOFF_CAUSE_OFFER_FAILED, RP_HANDOFF_OWNER_BROKER);
        CHECK(outcome.may_have_reached_backend == 0);
        CHECK(scene.leaked == backend_handle);
        scene.check_calls(1, 1, 0);
    }
}

TEST_CASE("a value handoff without a timely acceptance leaks the handle") {
    struct Case {
        std::int32_t awaited;
        bool late;
        std::int32_t stage;
        std::int32_t cause;
        std::int32_t ownership;
    };
    const Case cases[] = {
        {RP_HANDOFF_ACK_WAIT_FAILED, false, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_CAUSE_ACK_TIMED_OUT,
         RP_HANDOFF_OWNER_AMBIGUOUS},
        {RP_HANDOFF_ACK_WAIT_REFUSED, false, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_CAUSE_BACKEND_REFUSED,
         RP_HANDOFF_OWNER_BROKER},
        {0, false, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_CAUSE_CALLBACK_FAILED, RP_HANDOFF_OWNER_AMBIGUOUS},
        {RP_HANDOFF_ACK_WAIT_ACCEPTED, true, RP_HANDOFF_STAGE_ACKNOWLEDGE, RP_HANDOFF_CAUSE_ACK_OVERDUE,
         RP_HANDOFF_OWNER_AMBIGUOUS},
    };
    for (const Case &c : cases) {
        CAPTURE(c.cause);
        ValueScene scene;
        scene.script.awaited = c.awaited;
        scene.script.late = c.late;
        const rp_handoff_outcome outcome = scene.run();
        check_fallback(outcome, c.stage, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, c.cause, c.ownership);
        CHECK(outcome.may_have_reached_backend == 1);
        CHECK(scene.leaked == backend_handle);
        scene.check_calls(1, 1, 1);
    }
}

TEST_CASE("the policy objects to value handoffs too, and learns from them") {
    ValueScene scene;
    scene.request.subject = &scene.subject;
    scene.when_delivering = Misbehaviour::answers_zero;
    for (int i = 1; i <= 4; ++i) {
        const rp_handoff_outcome outcome = scene.run();
        CHECK(outcome.stage == (i <= 3 ? RP_HANDOFF_STAGE_DELIVER : RP_HANDOFF_STAGE_POLICY));
        CHECK(scene.leaked == (i <= 3 ? backend_handle : 0));
        CHECK(scene.duplicates == std::min(i, 3));
        scene.token = scene.request.token = issue(scene.broker, "service", 42);
        scene.correlation_id = 0;
    }
    REQUIRE(rp_handoff_broker_record(scene.broker.get(), &scene.key, RP_HANDOFF_REASON_NONE, nullptr, nullptr) ==
            RP_HANDOFF_OK);
    scene.when_delivering = Misbehaviour::none;
    fail(scene.broker, scene.key, 2);
    CHECK(scene.run().result == RP_HANDOFF_COMPLETED);
    CHECK(failures(scene.broker, scene.key) == 0);
}

TEST_CASE("a refused duplication counts for the backend by its class") {
    struct Case {
        std::int32_t status;
        std::uint32_t failures;
    };
    for (const Case &c : {Case{RP_HANDOFF_DUPLICATE_UNSUPPORTED, 0}, Case{RP_HANDOFF_DUPLICATE_FAILED, 1},
                          Case{RP_HANDOFF_DUPLICATE_INTEGRITY_MISMATCH, 1}}) {
        ValueScene scene;
        scene.request.subject = &scene.subject;
        scene.status = c.status;
        scene.run();
        CHECK(failures(scene.broker, scene.key) == c.failures);
    }
}

TEST_CASE("the place for the leaked handle may be NULL") {
    ValueScene scene;
    scene.when_delivering = Misbehaviour::answers_zero;
    auto outcome = sized<rp_handoff_outcome>();
    CHECK(rp_handoff_broker_execute_value(scene.broker.get(), &scene.request, &outcome, nullptr, nullptr) ==
          RP_HANDOFF_OK);
    CHECK(outcome.stage == RP_HANDOFF_STAGE_DELIVER);
}
