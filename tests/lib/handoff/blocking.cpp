#include "handoff/blocking.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <fcntl.h>
#include <functional>
#include <optional>
#include <vector>

#include "base/unique_fd.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::at;
using rp::test::CountingRandom;
using rp::test::expire_next;
using rp::test::FakeTime;
using rp::test::ns;
using rp::test::status_of;

using Event = Handoff::Event;
using Kind = Event::Kind;
using Answer = tl::expected<Instant, AckFailure>;

namespace {

// Feeds the machine with what a test wants to have happened.
class FakeTransport final : public Transport {
  public:
    explicit FakeTransport(std::vector<Event> events) : events_(std::move(events)) {}

    int calls = 0;
    int seen_fd = -1;
    std::uint64_t seen_correlation_id = 0;
    std::function<void()> meanwhile = [] {};

    Handoff::Action send(const Attempt &attempt, Handoff &handoff, Text &detail) noexcept override {
        ++calls;
        seen_fd = attempt.fd;
        seen_correlation_id = attempt.correlation_id;
        meanwhile();
        Handoff::Action action = Handoff::Action::none;
        for (const Event &event : events_) {
            action = handoff.on(event);
            if (event.kind == Kind::send_failed) {
                detail = event.error.describe();
            }
        }
        return action;
    }

    int connection() const noexcept override { return 4711; }

  private:
    std::vector<Event> events_;
};

class FakeWaiter final : public AckWaiter {
  public:
    explicit FakeWaiter(Answer answer) : answer_(answer) {}

    int calls = 0;
    int seen_connection = -1;
    std::optional<Instant> seen_deadline;
    std::optional<Token> seen_token;
    std::function<void()> meanwhile = [] {};

    Answer await(const Attempt &attempt, int connection, Text &detail) noexcept override {
        ++calls;
        seen_connection = connection;
        seen_deadline = attempt.deadline;
        seen_token = attempt.token;
        meanwhile();
        if (!answer_) {
            detail = Text("words of the waiter");
        }
        return answer_;
    }

  private:
    Answer answer_;
};

// A broker that issued a token at 1000, to be acknowledged before 1100, and claimed it.
class Broker {
  public:
    Broker() : token(*tokens.issue("service", 7, at(1000), random_)), fd(open("/dev/null", O_RDONLY | O_CLOEXEC)) {
        REQUIRE(tokens.claim(token, at(1000)));
        REQUIRE(fd);
    }

    HandoffReport run(Transport &transport, AckWaiter &waiter) {
        const Attempt attempt{fd.get(), "/socket", -1, {}, at(1100), token, "service", 7, 99};
        const HandoffReport report = orchestrate(tokens, attempt, transport, waiter, time);
        check_invariants(report.outcome);
        return report;
    }

    FakeTime time{at(1000)};
    IssuedTokens tokens{{4, ns(1000), 1}, ns(100)};

  private:
    CountingRandom random_;

  public:
    Token token;
    UniqueFd fd;

  private:
    // What holds after every outcome.
    void check_invariants(const Outcome &outcome) {
        CHECK(tokens.counts().tokens == 0);
        CHECK(tokens.counts().acks == 0);
        CHECK(status_of(tokens.acknowledge(token, at(1001))) == Status::token_not_pending);
        CHECK(status_of(tokens.claim(token, at(1001))) == Status::token_not_pending);
        CHECK_FALSE(tokens.abandon(token));
        CHECK(fcntl(fd.get(), F_GETFD) == FD_CLOEXEC);
        CHECK((fcntl(fd.get(), F_GETFL) & O_ACCMODE) == O_RDONLY);
        CHECK(outcome.completed == (outcome.ownership == Ownership::backend));
        CHECK(outcome.completed == (outcome.reason == Reason::none));
        CHECK(outcome.completed == (outcome.stage == Stage::none));
        if (outcome.ownership != Ownership::broker) {
            CHECK(outcome.may_have_reached_backend);
        }
    }
};

const std::vector<Event> all_sent{{Kind::sent_all, {}}};

std::vector<Event> failed(const TransportError &error) {
    return {{Kind::send_failed, error}};
}

void check_fallback(const Outcome &outcome, Ownership ownership, Stage stage, Cause cause) {
    CHECK_FALSE(outcome.completed);
    CHECK(outcome.ownership == ownership);
    CHECK(outcome.stage == stage);
    CHECK(outcome.cause == cause);
    CHECK(outcome.reason == reason_of(cause));
}

} // namespace

TEST_CASE("a handoff that is sent and acknowledged in time completes, and the backend owns the connection") {
    Broker broker;
    FakeTransport transport(all_sent);
    FakeWaiter waiter(at(1042));
    const HandoffReport report = broker.run(transport, waiter);
    CHECK(report.outcome.completed);
    CHECK(report.outcome.cause == Cause::none);
    CHECK(report.outcome.os_error == 0);
    CHECK(report.outcome.may_have_reached_backend);
    CHECK(report.waited == ns(42));
    CHECK(report.detail.empty());
    CHECK(transport.calls == 1);
    CHECK(transport.seen_fd == broker.fd.get());
    CHECK(transport.seen_correlation_id == 99);
    CHECK(waiter.calls == 1);
    CHECK(waiter.seen_connection == 4711);
    CHECK(waiter.seen_deadline == at(1100));
    REQUIRE(waiter.seen_token);
    CHECK(*waiter.seen_token == broker.token);
}

TEST_CASE("a handoff that is sent in parts completes as well") {
    Broker broker;
    FakeTransport transport({{Kind::sent_part, {}}, {Kind::sent_part, {}}, {Kind::sent_all, {}}});
    FakeWaiter waiter(at(1001));
    CHECK(broker.run(transport, waiter).outcome.completed);
    CHECK(transport.calls == 1);
    CHECK(waiter.calls == 1);
}

TEST_CASE("a deadline that has passed before anything is sent ends the handoff without a system call") {
    for (const std::uint64_t now : {1100U, 1101U, 5000U}) {
        CAPTURE(now);
        Broker broker;
        broker.time.set(at(now));
        FakeTransport transport(all_sent);
        FakeWaiter waiter(at(1042));
        const HandoffReport report = broker.run(transport, waiter);
        check_fallback(report.outcome, Ownership::broker, Stage::send, Cause::deadline_before_send);
        CHECK_FALSE(report.outcome.may_have_reached_backend);
        CHECK_FALSE(report.detail.empty());
        CHECK(transport.calls == 0);
        CHECK(waiter.calls == 0);
    }
}

TEST_CASE("a handoff is still sent one nanosecond before its deadline") {
    Broker broker;
    broker.time.set(at(1099));
    FakeTransport transport(all_sent);
    FakeWaiter waiter(at(1099));
    const HandoffReport report = broker.run(transport, waiter);
    CHECK(report.outcome.completed);
    CHECK(report.waited == ns(99));
}

TEST_CASE("a transport that moved no byte leaves the connection to the broker, and nobody waits") {
    for (const Cause cause :
         {Cause::unsupported_platform, Cause::permission_denied, Cause::peer_rejected, Cause::peer_unknown,
          Cause::backend_unavailable, Cause::would_block, Cause::descriptor_pressure, Cause::send_failed,
          Cause::deadline_before_send, Cause::no_memory}) {
        CAPTURE(cause);
        Broker broker;
        const TransportError error{cause, EIO, 0};
        FakeTransport transport(failed(error));
        FakeWaiter waiter(at(1042));
        const HandoffReport report = broker.run(transport, waiter);
        check_fallback(report.outcome, Ownership::broker, Stage::send, cause);
        CHECK(report.outcome.os_error == EIO);
        CHECK_FALSE(report.outcome.may_have_reached_backend);
        CHECK(report.detail.view() == error.describe().view());
        CHECK(transport.calls == 1);
        CHECK(waiter.calls == 0);
    }
}

TEST_CASE("a transport that failed after its first byte leaves the connection ambiguous, and nobody waits") {
    for (const TransportError &error :
         {TransportError{Cause::partial_send, EPIPE, 1}, TransportError{Cause::partial_send, 0, 15},
          TransportError{Cause::offer_undelivered, EPIPE, 16}, TransportError{Cause::offer_undelivered, 0, 0},
          TransportError{Cause::callback_failed, 0, 0}}) {
        CAPTURE(error.cause);
        Broker broker;
        FakeTransport transport(failed(error));
        FakeWaiter waiter(at(1042));
        const HandoffReport report = broker.run(transport, waiter);
        check_fallback(report.outcome, Ownership::ambiguous, Stage::send, error.cause);
        CHECK(report.outcome.os_error == error.os_error);
        CHECK(report.detail.view() == error.describe().view());
        CHECK(transport.calls == 1);
        CHECK(waiter.calls == 0);
    }
}

TEST_CASE("a message that could not be finished leaves the connection ambiguous") {
    Broker broker;
    FakeTransport transport({{Kind::sent_part, {}}, {Kind::send_failed, {Cause::offer_undelivered, EPIPE, 20}}});
    FakeWaiter waiter(at(1042));
    check_fallback(broker.run(transport, waiter).outcome, Ownership::ambiguous, Stage::send, Cause::offer_undelivered);
    CHECK(waiter.calls == 0);
}

TEST_CASE("without an answer the connection is ambiguous, whatever the reason") {
    for (const Cause cause : {Cause::ack_timed_out, Cause::ack_read_failed, Cause::backend_closed, Cause::ack_malformed,
                              Cause::ack_unrelated, Cause::callback_failed, Cause::no_memory}) {
        CAPTURE(cause);
        Broker broker;
        FakeTransport transport(all_sent);
        FakeWaiter waiter(tl::unexpected(AckFailure{cause, EIO}));
        const HandoffReport report = broker.run(transport, waiter);
        check_fallback(report.outcome, Ownership::ambiguous, Stage::await_ack, cause);
        CHECK(report.outcome.os_error == EIO);
        CHECK(report.detail.view() == "words of the waiter");
        CHECK(transport.calls == 1);
        CHECK(waiter.calls == 1);
    }
}

TEST_CASE("a refusal gives the connection back to the broker, though it had left") {
    Broker broker;
    FakeTransport transport(all_sent);
    FakeWaiter waiter(tl::unexpected(AckFailure{Cause::backend_refused, 0}));
    const HandoffReport report = broker.run(transport, waiter);
    check_fallback(report.outcome, Ownership::broker, Stage::await_ack, Cause::backend_refused);
    CHECK(report.outcome.may_have_reached_backend);
    CHECK(report.detail.view() == "words of the waiter");
}

TEST_CASE("an acknowledgement observed at the deadline or later is overdue, and the connection ambiguous") {
    for (const std::uint64_t observed : {std::uint64_t{1100}, std::uint64_t{1101}, UINT64_MAX}) {
        CAPTURE(observed);
        Broker broker;
        FakeTransport transport(all_sent);
        FakeWaiter waiter(at(observed));
        const HandoffReport report = broker.run(transport, waiter);
        check_fallback(report.outcome, Ownership::ambiguous, Stage::acknowledge, Cause::ack_overdue);
        CHECK(report.outcome.may_have_reached_backend);
        CHECK_FALSE(report.detail.empty());
    }
}

TEST_CASE("what counts is the instant at which the acknowledgement was observed, not the present one") {
    Broker broker;
    FakeTransport transport(all_sent);
    FakeWaiter waiter(at(1099));
    waiter.meanwhile = [&broker] { broker.time.set(at(9000)); };
    const HandoffReport report = broker.run(transport, waiter);
    CHECK(report.outcome.completed);
    CHECK(report.waited == ns(99));
}

TEST_CASE("an acknowledgement observed before the token was issued has waited for no time") {
    Broker broker;
    FakeTransport transport(all_sent);
    FakeWaiter waiter(at(3));
    const HandoffReport report = broker.run(transport, waiter);
    CHECK(report.outcome.completed);
    CHECK(report.waited == Duration::zero());
}

TEST_CASE("a deadline that passes while the offer is sent does not stretch: the waiter is told the same one") {
    Broker broker;
    FakeTransport transport(all_sent);
    transport.meanwhile = [&broker] { broker.time.set(at(1200)); };
    FakeWaiter waiter(at(1200));
    const HandoffReport report = broker.run(transport, waiter);
    CHECK(waiter.calls == 1);
    CHECK(waiter.seen_deadline == at(1100));
    check_fallback(report.outcome, Ownership::ambiguous, Stage::acknowledge, Cause::ack_overdue);
}

TEST_CASE("a token revoked while its offer was sent or its answer awaited ends in a fallback") {
    for (const bool while_sending : {true, false}) {
        Broker broker;
        FakeTransport transport(all_sent);
        FakeWaiter waiter(at(1042));
        (while_sending ? transport.meanwhile : waiter.meanwhile) = [&broker] {
            CHECK(broker.tokens.abandon(broker.token));
        };
        const HandoffReport report = broker.run(transport, waiter);
        check_fallback(report.outcome, Ownership::ambiguous, Stage::acknowledge, Cause::revoked);
        CHECK_FALSE(report.detail.empty());
    }
}

TEST_CASE("a backend that refuses a token which was revoked meanwhile leaves the connection to the broker") {
    Broker broker;
    FakeTransport transport(all_sent);
    FakeWaiter waiter(tl::unexpected(AckFailure{Cause::backend_refused, 0}));
    waiter.meanwhile = [&broker] { broker.tokens.abandon(broker.token); };
    check_fallback(broker.run(transport, waiter).outcome, Ownership::broker, Stage::await_ack, Cause::backend_refused);
}

TEST_CASE("a sweep leaves alone what is being handed over, however late") {
    Broker broker;
    FakeTransport transport(all_sent);
    FakeWaiter waiter(at(1099));
    waiter.meanwhile = [&broker] { CHECK_FALSE(expire_next(broker.tokens, at(1500))); };
    CHECK(broker.run(transport, waiter).outcome.completed);
}
