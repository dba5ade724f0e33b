// Transports and waiters of the caller's: that they are asked for the right thing, and that whatever they do ends in an
// outcome which leaves at most one owner.
#include "support/hand_backend.hpp"
#include "support/misbehaviour.hpp"

using namespace rp::test;

namespace {

// A transport and a waiter that answer what the test wants, and remember what they were asked.
class Callbacks {
  public:
    explicit Callbacks(rp_handoff_request &request) {
        request.transport = [](void *self, const rp_handoff_attempt *attempt, rp_handoff_transport_result *result) {
            return static_cast<Callbacks *>(self)->on_send(*attempt, *result);
        };
        request.transport_user_data = this;
        request.await_ack = [](void *self, const rp_handoff_ack_wait *asked, rp_handoff_ack_wait_result *result) {
            return static_cast<Callbacks *>(self)->on_await(*asked, *result);
        };
        request.await_ack_user_data = this;
    }

    Misbehaviour when_sending = Misbehaviour::none;
    Misbehaviour when_awaiting = Misbehaviour::none;
    std::function<void(const rp_handoff_attempt &, rp_handoff_transport_result &)> send =
        [](const rp_handoff_attempt &, rp_handoff_transport_result &result) {
            result.status = RP_HANDOFF_TRANSPORT_SENT;
        };
    std::function<void(const rp_handoff_ack_wait &, rp_handoff_ack_wait_result &)> await =
        [](const rp_handoff_ack_wait &asked, rp_handoff_ack_wait_result &result) {
            result.status = RP_HANDOFF_ACK_WAIT_ACCEPTED;
            result.observed_ns = asked.deadline_ns - 1;
        };
    int sends = 0;
    int awaits = 0;

  private:
    std::int32_t on_send(const rp_handoff_attempt &attempt, rp_handoff_transport_result &result) {
        ++sends;
        CHECK(attempt.struct_size == sizeof attempt);
        CHECK(result.struct_size == sizeof result);
        CHECK(result.status == 0);
        send(attempt, result);
        return answer_of(when_sending);
    }
    std::int32_t on_await(const rp_handoff_ack_wait &asked, rp_handoff_ack_wait_result &result) {
        ++awaits;
        CHECK(asked.struct_size == sizeof asked);
        CHECK(result.struct_size == sizeof result);
        CHECK(result.status == 0);
        await(asked, result);
        return answer_of(when_awaiting);
    }
};

// A scene whose request goes through callbacks.
struct CallbackScene : Scene {
    Callbacks callbacks{request};
};

struct TransportCase {
    std::int32_t status;
    int os_error;
    std::uint32_t bytes_sent;
    std::int32_t cause;
    std::int32_t reason;
    bool may_have_reached;
};

const TransportCase transport_cases[] = {
    {RP_HANDOFF_TRANSPORT_UNSUPPORTED, 0, 0, RP_HANDOFF_CAUSE_UNSUPPORTED_PLATFORM,
     RP_HANDOFF_REASON_SERVICE_POLICY_DISABLED, false},
    {RP_HANDOFF_TRANSPORT_PERMISSION_DENIED, EACCES, 0, RP_HANDOFF_CAUSE_PERMISSION_DENIED,
     RP_HANDOFF_REASON_PERMISSION_DENIED, false},
    {RP_HANDOFF_TRANSPORT_UNAVAILABLE, ECONNREFUSED, 0, RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE,
     RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, false},
    {RP_HANDOFF_TRANSPORT_WOULD_BLOCK, EAGAIN, 0, RP_HANDOFF_CAUSE_WOULD_BLOCK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
     false},
    {RP_HANDOFF_TRANSPORT_FAILED, EIO, 0, RP_HANDOFF_CAUSE_SEND_FAILED, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, false},
    {RP_HANDOFF_TRANSPORT_FAILED, 0, 0, RP_HANDOFF_CAUSE_SEND_FAILED, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, false},
    {RP_HANDOFF_TRANSPORT_FAILED, ETOOMANYREFS, 0, RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE,
     RP_HANDOFF_REASON_FD_PRESSURE_DISABLED, false},
    {RP_HANDOFF_TRANSPORT_FAILED, EMFILE, 0, RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE,
     RP_HANDOFF_REASON_FD_PRESSURE_DISABLED, false},
    {RP_HANDOFF_TRANSPORT_FAILED, ENFILE, 0, RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE,
     RP_HANDOFF_REASON_FD_PRESSURE_DISABLED, false},
    {RP_HANDOFF_TRANSPORT_PARTIAL, 0, 0, RP_HANDOFF_CAUSE_PARTIAL_SEND, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, true},
    {RP_HANDOFF_TRANSPORT_PARTIAL, 0, 1, RP_HANDOFF_CAUSE_PARTIAL_SEND, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, true},
    {RP_HANDOFF_TRANSPORT_PARTIAL, EPIPE, 15, RP_HANDOFF_CAUSE_PARTIAL_SEND, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
     true},
    {RP_HANDOFF_TRANSPORT_OFFER_UNDELIVERED, EPIPE, 0, RP_HANDOFF_CAUSE_OFFER_UNDELIVERED,
     RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, true},
    {0, 0, 0, RP_HANDOFF_CAUSE_CALLBACK_FAILED, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, true},
    {9, 0, 0, RP_HANDOFF_CAUSE_CALLBACK_FAILED, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, true},
    {-1, 0, 16, RP_HANDOFF_CAUSE_CALLBACK_FAILED, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, true},
};

void check_callback_failed(const CallbackScene &scene, const rp_handoff_outcome &outcome, std::int32_t stage) {
    check_fallback(outcome, stage, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, RP_HANDOFF_CAUSE_CALLBACK_FAILED,
                   RP_HANDOFF_OWNER_AMBIGUOUS);
    CHECK(outcome.may_have_reached_backend == 1);
    check_ended(scene.broker, scene.request, scene.flags);
}

} // namespace

TEST_CASE("a transport of the caller's is told everything that it needs, and its handoff completes") {
    CallbackScene scene;
    scene.request.correlation_id = 77;
    scene.callbacks.send = [&](const rp_handoff_attempt &attempt, rp_handoff_transport_result &result) {
        CHECK(attempt.fd == scene.client.fd.get());
        CHECK(attempt.socket_path == nullptr);
        CHECK(attempt.connection_fd == scene.connection.a.get());
        CHECK(attempt.deadline_ns == scene.deadline);
        CHECK(rp_handoff_token_equal(attempt.token, &scene.request.token) == 1);
        CHECK(std::string(attempt.service_name) == "scene");
        CHECK(attempt.correlation_id == 77);
        std::size_t sent = 0;
        CHECK(rp_handoff_wire_send(attempt.connection_fd, attempt.fd, attempt.message, attempt.message_length, &sent) ==
              RP_HANDOFF_OK);
        CHECK(sent == attempt.message_length);
        result.status = RP_HANDOFF_TRANSPORT_SENT;
    };
    scene.callbacks.await = [&](const rp_handoff_ack_wait &await, rp_handoff_ack_wait_result &result) {
        const ReceivedOffer offer = receive_offer(scene.connection.b.get());
        CHECK(offer.service_name == "scene");
        CHECK(offer.correlation_id == 77);
        CHECK(scene.client.is_served_by(offer.fd.get()));
        CHECK(await.connection_fd == -1);
        CHECK(await.correlation_id == 77);
        CHECK(await.deadline_ns == scene.deadline);
        CHECK(rp_handoff_token_equal(await.token, &offer.token) == 1);
        result.status = RP_HANDOFF_ACK_WAIT_ACCEPTED;
        result.observed_ns = scene.deadline - 5 * second + 3;
    };
    const rp_handoff_outcome outcome = scene.run();
    CHECK(outcome.result == RP_HANDOFF_COMPLETED);
    CHECK(outcome.correlation_id == 77);
    CHECK(outcome.waited_ns == 3);
    CHECK(scene.callbacks.sends == 1);
    CHECK(scene.callbacks.awaits == 1);
    check_ended(scene.broker, scene.request, scene.flags);
}

TEST_CASE("a transport of the caller's is given the path instead where the request has one") {
    CallbackScene scene;
    scene.request.socket_path = "/somewhere";
    scene.callbacks.send = [](const rp_handoff_attempt &attempt, rp_handoff_transport_result &) {
        CHECK(std::string(attempt.socket_path) == "/somewhere");
        CHECK(attempt.connection_fd == -1);
    };
    scene.run();
    CHECK(scene.callbacks.sends == 1);
}

TEST_CASE("a transport of the caller's needs a waiter of the caller's") {
    CallbackScene scene;
    scene.request.await_ack = nullptr;
    auto outcome = sized<rp_handoff_outcome>();
    CHECK(rp_handoff_broker_execute(scene.broker.get(), &scene.request, &outcome, nullptr) ==
          RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(scene.callbacks.sends == 0);
}

TEST_CASE("what a transport says of its failure decides whose the connection is") {
    for (const TransportCase &c : transport_cases) {
        CAPTURE(c.status);
        CAPTURE(c.os_error);
        CAPTURE(c.bytes_sent);
        CallbackScene scene;
        scene.callbacks.send = [&](const rp_handoff_attempt &, rp_handoff_transport_result &result) {
            result.status = c.status;
            result.os_error = c.os_error;
            result.bytes_sent = c.bytes_sent;
        };
        const rp_handoff_outcome outcome = scene.run();
        check_fallback(outcome, RP_HANDOFF_STAGE_SEND, c.reason, c.cause,
                       c.may_have_reached ? RP_HANDOFF_OWNER_AMBIGUOUS : RP_HANDOFF_OWNER_BROKER);
        CHECK(outcome.may_have_reached_backend == (c.may_have_reached ? 1 : 0));
        CHECK(outcome.os_error == c.os_error);
        CHECK(scene.callbacks.awaits == 0);
        check_ended(scene.broker, scene.request, scene.flags);
    }
}

TEST_CASE("a transport that fails its contract may have sent, whatever it filled in") {
    for (const Misbehaviour misbehaviour : all_misbehaviours) {
        CAPTURE(static_cast<int>(misbehaviour));
        CallbackScene scene;
        scene.callbacks.when_sending = misbehaviour;
        check_callback_failed(scene, scene.run(), RP_HANDOFF_STAGE_SEND);
        CHECK(scene.callbacks.sends == 1);
        CHECK(scene.callbacks.awaits == 0);
    }
}

TEST_CASE("a waiter that fails its contract proves nothing, whatever it filled in") {
    for (const Misbehaviour misbehaviour : all_misbehaviours) {
        CAPTURE(static_cast<int>(misbehaviour));
        CallbackScene scene;
        scene.callbacks.when_awaiting = misbehaviour;
        check_callback_failed(scene, scene.run(), RP_HANDOFF_STAGE_AWAIT_ACK);
        CHECK(scene.callbacks.awaits == 1);
    }
}

TEST_CASE("a waiter that leaves its results as they are, or answers what there is not, proves nothing") {
    for (const std::int32_t status : {0, 4, -1, static_cast<int>(RP_HANDOFF_CALLBACK_OK)}) {
        CAPTURE(status);
        CallbackScene scene;
        scene.callbacks.await = [&](const rp_handoff_ack_wait &, rp_handoff_ack_wait_result &result) {
            result.status = status;
        };
        check_callback_failed(scene, scene.run(), RP_HANDOFF_STAGE_AWAIT_ACK);
    }
}

TEST_CASE("a waiter that does not say when it saw the acceptance saw it too late") {
    CallbackScene scene;
    scene.callbacks.await = [](const rp_handoff_ack_wait &, rp_handoff_ack_wait_result &result) {
        result.status = RP_HANDOFF_ACK_WAIT_ACCEPTED;
    };
    check_fallback(scene.run(), RP_HANDOFF_STAGE_ACKNOWLEDGE, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                   RP_HANDOFF_CAUSE_ACK_OVERDUE, RP_HANDOFF_OWNER_AMBIGUOUS);
    check_ended(scene.broker, scene.request, scene.flags);
}

TEST_CASE("a waiter's refusal gives the connection back, its failure does not") {
    for (const std::int32_t status : {RP_HANDOFF_ACK_WAIT_REFUSED, RP_HANDOFF_ACK_WAIT_FAILED}) {
        CallbackScene scene;
        scene.callbacks.await = [&](const rp_handoff_ack_wait &, rp_handoff_ack_wait_result &result) {
            result.status = status;
        };
        const bool refused = status == RP_HANDOFF_ACK_WAIT_REFUSED;
        check_fallback(scene.run(), RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                       refused ? RP_HANDOFF_CAUSE_BACKEND_REFUSED : RP_HANDOFF_CAUSE_ACK_TIMED_OUT,
                       refused ? RP_HANDOFF_OWNER_BROKER : RP_HANDOFF_OWNER_AMBIGUOUS);
        check_ended(scene.broker, scene.request, scene.flags);
    }
}

TEST_CASE("an acceptance that a waiter observed at the deadline is overdue, whatever the clock says") {
    for (const std::uint64_t late : {0U, 1U}) {
        CallbackScene scene;
        scene.callbacks.await = [&](const rp_handoff_ack_wait &asked, rp_handoff_ack_wait_result &result) {
            scene.time.now = 1;
            result.status = RP_HANDOFF_ACK_WAIT_ACCEPTED;
            result.observed_ns = asked.deadline_ns + late;
        };
        const rp_handoff_outcome outcome = scene.run();
        check_fallback(outcome, RP_HANDOFF_STAGE_ACKNOWLEDGE, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                       RP_HANDOFF_CAUSE_ACK_OVERDUE, RP_HANDOFF_OWNER_AMBIGUOUS);
        CHECK(outcome.may_have_reached_backend == 1);
        check_ended(scene.broker, scene.request, scene.flags);
    }
}

TEST_CASE("a waiter of the caller's reads the answer where the built-in transport sent") {
    CallbackScene scene;
    scene.request.transport = nullptr;
    scene.callbacks.await = [&](const rp_handoff_ack_wait &await, rp_handoff_ack_wait_result &result) {
        CHECK(await.connection_fd == scene.connection.a.get());
        const ReceivedOffer offer = receive_offer(scene.connection.b.get());
        scene.send(offer.accepted());
        CHECK(read_available(await.connection_fd) == offer.accepted());
        result.status = RP_HANDOFF_ACK_WAIT_ACCEPTED;
        result.observed_ns = scene.time.now;
    };
    CHECK(scene.run().result == RP_HANDOFF_COMPLETED);
    CHECK(scene.callbacks.awaits == 1);
}

TEST_CASE("a waiter of the caller's is not asked when nothing could be sent") {
    CallbackScene scene;
    scene.request.transport = nullptr;
    scene.close();
    CHECK(scene.run().cause == RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE);
    CHECK(scene.callbacks.awaits == 0);
}

TEST_CASE("a transport is not asked when the deadline has passed") {
    CallbackScene scene;
    scene.time.now = scene.deadline;
    CHECK(scene.run().cause == RP_HANDOFF_CAUSE_DEADLINE_BEFORE_SEND);
    CHECK(scene.callbacks.sends == 0);
}

TEST_CASE("callbacks may call back: issue, revoke, look for what is overdue, count, and hand another connection over") {
    CallbackScene scene;
    Scene inner;
    inner.answer = [&](const ReceivedOffer &offer) { inner.send(offer.accepted()); };
    const auto call_back = [&] {
        const rp_handoff_token other = issue(scene.broker);
        CHECK(rp_handoff_broker_revoke(scene.broker.get(), &other) == 1);
        CHECK(rp_handoff_broker_next_overdue(scene.broker.get(), nullptr) == 0);
        CHECK(statistics(scene.broker).pending_tokens == 1);
    };
    scene.callbacks.send = [&](const rp_handoff_attempt &, rp_handoff_transport_result &result) {
        call_back();
        inner.request.token = issue(inner.broker);
        CHECK(inner.run().result == RP_HANDOFF_COMPLETED);
        result.status = RP_HANDOFF_TRANSPORT_SENT;
    };
    scene.callbacks.await = [&](const rp_handoff_ack_wait &asked, rp_handoff_ack_wait_result &result) {
        call_back();
        CHECK(rp_handoff_broker_revoke(scene.broker.get(), asked.token) == 1);
        result.status = RP_HANDOFF_ACK_WAIT_ACCEPTED;
        result.observed_ns = scene.time.now;
    };
    const rp_handoff_outcome outcome = scene.run();
    CHECK(outcome.cause == RP_HANDOFF_CAUSE_REVOKED);
    CHECK(outcome.ownership == RP_HANDOFF_OWNER_AMBIGUOUS);
}
