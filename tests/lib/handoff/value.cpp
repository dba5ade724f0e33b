#include "handoff/value.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <functional>

#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::at;
using rp::test::CountingRandom;
using rp::test::FakeTime;
using rp::test::ns;
using rp::test::status_of;

namespace {

constexpr std::uint64_t own_handle = 0x1234;
constexpr std::uint64_t backend_handle = 0xFFFF'FFFF'0000'0044;

using Duplicated = tl::expected<std::uint64_t, TransportError>;
using Answer = tl::expected<Instant, AckFailure>;

struct FakeDuplicator final : Duplicator {
    Duplicated answer = backend_handle;
    int calls = 0;
    std::function<void()> meanwhile = [] {};

    Duplicated duplicate(std::uint64_t handle, const Attempt &attempt) noexcept override {
        ++calls;
        CHECK(handle == own_handle);
        CHECK(attempt.backend_pid == 7);
        CHECK(attempt.fd == -1);
        meanwhile();
        return answer;
    }
};

struct FakeChannel final : DeliveryChannel {
    bool answer = true;
    int calls = 0;
    std::function<void()> meanwhile = [] {};

    bool deliver(std::uint64_t handle, const Attempt &) noexcept override {
        ++calls;
        CHECK(handle == backend_handle);
        meanwhile();
        return answer;
    }
};

struct FakeWaiter final : AckWaiter {
    Answer answer = at(1042);
    int calls = 0;
    std::function<void()> meanwhile = [] {};

    Answer await(const Attempt &attempt, int connection, Text &detail) noexcept override {
        ++calls;
        CHECK(connection == -1);
        CHECK(attempt.deadline == at(1100));
        meanwhile();
        if (!answer) {
            detail = Text("words of the waiter");
        }
        return answer;
    }
};

// A broker that issued a token at 1000, to be acknowledged before 1100, and hands a handle over with it.
class Scene {
  public:
    Scene() : token(*tokens.issue("service", 7, at(1000), random_)) { REQUIRE(tokens.claim(token, at(1000))); }

    HandoffReport run() { return run_with(duplicator); }

    HandoffReport run_with(Duplicator &with) {
        ValueTransport transport(own_handle, with, channel);
        CHECK_FALSE(transport.duplicated());
        const Attempt attempt{-1, nullptr, -1, {}, at(1100), token, "service", 7, 99};
        const HandoffReport report = orchestrate(tokens, attempt, transport, waiter, time);
        leaked = transport.duplicated();
        check_invariants(report);
        return report;
    }

    void check_calls(int duplicates, int deliveries, int awaits) const {
        CHECK(duplicator.calls == duplicates);
        CHECK(channel.calls == deliveries);
        CHECK(waiter.calls == awaits);
    }

    FakeTime time{at(1000)};
    IssuedTokens tokens{{4, ns(1000), 1}, ns(100)};
    FakeDuplicator duplicator;
    FakeChannel channel;
    FakeWaiter waiter;
    std::optional<std::uint64_t> leaked; // or adopted, where the handoff completed

  private:
    CountingRandom random_;

  public:
    Token token;

  private:
    // What holds after every outcome.
    void check_invariants(const HandoffReport &report) {
        CHECK(tokens.counts().tokens == 0);
        CHECK(tokens.counts().acks == 0);
        CHECK(status_of(tokens.acknowledge(token, at(1001))) == Status::token_not_pending);
        CHECK(status_of(tokens.claim(token, at(1001))) == Status::token_not_pending);
        CHECK_FALSE(tokens.abandon(token));
        const Outcome &outcome = report.outcome;
        CHECK(outcome.completed == (outcome.ownership == Ownership::backend));
        CHECK(outcome.completed == (outcome.reason == Reason::none));
        CHECK(outcome.completed == (outcome.stage == Stage::none));
        CHECK(outcome.completed == report.detail.empty());
        CHECK_FALSE(report.retry_after);
        if (outcome.ownership != Ownership::broker) {
            CHECK(outcome.may_have_reached_backend);
        }
    }
};

void check_fallback(const Outcome &outcome, Stage stage, Cause cause, Ownership ownership) {
    CHECK_FALSE(outcome.completed);
    CHECK(outcome.stage == stage);
    CHECK(outcome.cause == cause);
    CHECK(outcome.reason == reason_of(cause));
    CHECK(outcome.ownership == ownership);
}

} // namespace

TEST_CASE("a handle that is duplicated, delivered and acknowledged in time is the backend's") {
    Scene scene;
    const HandoffReport report = scene.run();
    CHECK(report.outcome.completed);
    CHECK(report.outcome.may_have_reached_backend);
    CHECK(report.waited == ns(42));
    CHECK(scene.leaked == backend_handle);
    scene.check_calls(1, 1, 1);
}

TEST_CASE("a handle that is not duplicated leaks nothing, and nobody is told or waited for") {
    struct Case {
        Cause cause;
        Reason reason;
    };
    for (const Case &c : {Case{Cause::unsupported_platform, Reason::service_policy_disabled},
                          Case{Cause::permission_denied, Reason::permission_denied},
                          Case{Cause::duplicate_failed, Reason::permission_denied},
                          Case{Cause::integrity_mismatch, Reason::integrity_mismatch}}) {
        CAPTURE(c.cause);
        Scene scene;
        scene.duplicator.answer = tl::unexpected(TransportError{c.cause, EACCES});
        const HandoffReport report = scene.run();
        check_fallback(report.outcome, Stage::duplicate, c.cause, Ownership::broker);
        CHECK(report.outcome.reason == c.reason);
        CHECK(report.outcome.os_error == EACCES);
        CHECK_FALSE(report.outcome.may_have_reached_backend);
        CHECK_FALSE(scene.leaked);
        scene.check_calls(1, 0, 0);
    }
}

TEST_CASE("where handles cannot be duplicated the platform does not support the handoff") {
    Scene scene;
    UnsupportedDuplicator unsupported;
    const HandoffReport report = scene.run_with(unsupported);
    check_fallback(report.outcome, Stage::duplicate, Cause::unsupported_platform, Ownership::broker);
    CHECK(report.outcome.reason == Reason::service_policy_disabled);
    CHECK_FALSE(scene.leaked);
    scene.check_calls(0, 0, 0);
}

TEST_CASE("a handle of which the backend was not told leaks, and the connection stays the broker's") {
    Scene scene;
    scene.channel.answer = false;
    const HandoffReport report = scene.run();
    check_fallback(report.outcome, Stage::deliver, Cause::offer_failed, Ownership::broker);
    CHECK(report.outcome.reason == Reason::backend_ack_timeout);
    CHECK_FALSE(report.outcome.may_have_reached_backend);
    CHECK(scene.leaked == backend_handle);
    scene.check_calls(1, 1, 0);
}

TEST_CASE("a handle that is not acknowledged leaks, and the connection is ambiguous") {
    for (const Cause cause : {Cause::ack_timed_out, Cause::backend_closed, Cause::callback_failed}) {
        Scene scene;
        scene.waiter.answer = tl::unexpected(AckFailure{cause, EIO});
        const HandoffReport report = scene.run();
        check_fallback(report.outcome, Stage::await_ack, cause, Ownership::ambiguous);
        CHECK(report.outcome.reason == Reason::backend_ack_timeout);
        CHECK(report.outcome.os_error == EIO);
        CHECK(report.detail.view() == "words of the waiter");
        CHECK(scene.leaked == backend_handle);
        scene.check_calls(1, 1, 1);
    }
}

TEST_CASE("a handle that the backend refuses leaks, and the connection is the broker's") {
    Scene scene;
    scene.waiter.answer = tl::unexpected(AckFailure{Cause::backend_refused, 0});
    const HandoffReport report = scene.run();
    check_fallback(report.outcome, Stage::await_ack, Cause::backend_refused, Ownership::broker);
    CHECK(report.outcome.may_have_reached_backend);
    CHECK(scene.leaked == backend_handle);
}

TEST_CASE("an acknowledgement observed at the deadline is overdue, and one a nanosecond earlier is not") {
    for (const std::uint64_t observed : {std::uint64_t{1100}, std::uint64_t{1101}, UINT64_MAX}) {
        Scene scene;
        scene.waiter.answer = at(observed);
        check_fallback(scene.run().outcome, Stage::acknowledge, Cause::ack_overdue, Ownership::ambiguous);
        CHECK(scene.leaked == backend_handle);
        scene.check_calls(1, 1, 1);
    }
    Scene scene;
    scene.waiter.answer = at(1099);
    CHECK(scene.run().outcome.completed);
}

TEST_CASE("a deadline that has passed already lets nothing be duplicated") {
    for (const std::uint64_t now : {1100U, 1101U}) {
        Scene scene;
        scene.time.set(at(now));
        check_fallback(scene.run().outcome, Stage::duplicate, Cause::deadline_before_send, Ownership::broker);
        CHECK_FALSE(scene.leaked);
        scene.check_calls(0, 0, 0);
    }
}

TEST_CASE("a token revoked at any step ends in a fallback, and its handle leaks") {
    for (int step = 0; step < 3; ++step) {
        CAPTURE(step);
        Scene scene;
        const auto revoke = [&scene] { CHECK(scene.tokens.abandon(scene.token)); };
        (step == 0   ? scene.duplicator.meanwhile
         : step == 1 ? scene.channel.meanwhile
                     : scene.waiter.meanwhile) = revoke;
        check_fallback(scene.run().outcome, Stage::acknowledge, Cause::revoked, Ownership::ambiguous);
        CHECK(scene.leaked == backend_handle);
        scene.check_calls(1, 1, 1);
    }
}
