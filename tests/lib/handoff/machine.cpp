#include "handoff/machine.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <vector>

using namespace rp::handoff;

using State = Handoff::State;
using Action = Handoff::Action;
using Event = Handoff::Event;
using Kind = Event::Kind;
using Model = Handoff::Model;

namespace {

const TransportError nothing_left{Cause::would_block, EAGAIN, 0};
const TransportError five_left{Cause::partial_send, EPIPE, 5};

Handoff in_state(State state) {
    Handoff handoff;
    if (state == State::sending) {
        handoff.on({Kind::sent_part, {}});
    } else if (state != State::queued) {
        handoff.on({Kind::sent_all, {}});
    }
    if (state == State::deciding || state == State::completed || state == State::fallback) {
        handoff.on({Kind::acked, {}});
    }
    if (state == State::completed || state == State::fallback) {
        handoff.settle({state == State::completed ? Ownership::backend : Ownership::ambiguous, Cause::none});
    }
    REQUIRE(handoff.state() == state);
    return handoff;
}

void check_fallback(const Handoff &handoff, Ownership ownership, Stage stage, Cause cause, int os_error,
                    bool may_have_reached) {
    const Outcome &outcome = handoff.outcome();
    CHECK(handoff.state() == State::fallback);
    CHECK_FALSE(outcome.completed);
    CHECK(outcome.ownership == ownership);
    CHECK(outcome.stage == stage);
    CHECK(outcome.cause == cause);
    CHECK(outcome.reason == reason_of(cause));
    CHECK(outcome.os_error == os_error);
    CHECK(outcome.may_have_reached_backend == may_have_reached);
}

bool equal(const Outcome &a, const Outcome &b) {
    return a.completed == b.completed && a.ownership == b.ownership && a.stage == b.stage && a.reason == b.reason &&
           a.cause == b.cause && a.os_error == b.os_error && a.may_have_reached_backend == b.may_have_reached_backend;
}

// What is known of a handoff without looking into it.
struct Known {
    State state = State::queued;
    bool may_have_reached = false;
    Kind decided_by = Kind::gave_up;
    bool confirmed = false;
};

bool is_terminal(State state) {
    return state == State::completed || state == State::fallback;
}

bool answered_right(Action action, State before, State after) {
    return (action == Action::decide) == (before != State::deciding && after == State::deciding) &&
           (action == Action::abandon) == (!is_terminal(before) && after == State::fallback) &&
           (action == Action::finish) == (after == State::sending);
}

bool is_consistent(const Outcome &outcome, const Known &known) {
    return outcome.may_have_reached_backend == known.may_have_reached &&
           outcome.completed == (known.state == State::completed) &&
           outcome.completed == (outcome.ownership == Ownership::backend) &&
           outcome.completed == (outcome.stage == Stage::none) &&
           outcome.completed == (outcome.reason == Reason::none) && outcome.completed == (outcome.cause == Cause::none);
}

// At most one owner, as far as anybody can know.
bool is_owned_rightly(Ownership ownership, const Known &known) {
    switch (ownership) {
    case Ownership::broker:
        return !known.may_have_reached || known.decided_by == Kind::refused;
    case Ownership::backend:
        return known.may_have_reached && known.decided_by == Kind::acked && known.confirmed;
    default:
        return known.may_have_reached;
    }
}

// Every sequence of events and verdicts up to a length.
class Walk {
  public:
    explicit Walk(Model model) : model_(model) { from(Handoff(model), {}, 5); }

    int visited() const { return visited_; }
    int terminal() const { return terminal_; }

  private:
    void from(const Handoff &handoff, const Known &known, int steps) {
        ++visited_;
        if (is_terminal(known.state)) {
            ++terminal_;
            REQUIRE((is_consistent(handoff.outcome(), known) && is_owned_rightly(handoff.outcome().ownership, known)));
        }
        if (steps == 0) {
            return;
        }
        for (const Event &event : events_) {
            feed(handoff, known, event, steps);
        }
        for (const Cause denied : {Cause::none, Cause::ack_overdue, Cause::revoked}) {
            settle(handoff, known, denied, steps);
        }
    }

    void feed(Handoff handoff, Known known, const Event &event, int steps) {
        const State before = known.state;
        const Outcome outcome = handoff.outcome();
        const Action action = handoff.on(event);
        known.state = handoff.state();
        known.may_have_reached = known.may_have_reached || reaches(event, before);
        if (before != State::deciding && known.state == State::deciding) {
            known.decided_by = event.kind;
        }
        REQUIRE(answered_right(action, before, known.state));
        if (is_terminal(before)) {
            REQUIRE((known.state == before && equal(outcome, handoff.outcome())));
        }
        from(handoff, known, steps - 1);
    }

    // Whether, from here on, the backend may be able to use the connection.
    bool reaches(const Event &event, State before) const {
        if (before == State::sending) {
            return event.kind == Kind::sent_all;
        }
        return before == State::queued &&
               (event.kind == Kind::sent_all || (event.kind == Kind::sent_part && model_ == Model::descriptor) ||
                (event.kind == Kind::send_failed && event.error.may_have_reached_backend()));
    }

    void settle(Handoff handoff, Known known, Cause denied, int steps) {
        const Outcome outcome = handoff.outcome();
        handoff.settle(Handoff::verdict_without_ledger(known.decided_by, denied));
        if (known.state == State::deciding) {
            known.confirmed = denied == Cause::none;
            REQUIRE(is_terminal(handoff.state()));
        } else {
            REQUIRE((handoff.state() == known.state && equal(outcome, handoff.outcome())));
        }
        known.state = handoff.state();
        from(handoff, known, steps - 1);
    }

    const Model model_;
    const std::vector<Event> events_{{Kind::sent_all, {}},
                                     {Kind::sent_part, {}},
                                     {Kind::send_failed, nothing_left},
                                     {Kind::send_failed, five_left},
                                     {Kind::send_failed, {Cause::offer_undelivered, 0, 0}},
                                     {Kind::send_failed, {Cause::callback_failed, 0, 0}},
                                     {Kind::acked, {}},
                                     {Kind::refused, {}},
                                     {Kind::gave_up, {Cause::ack_timed_out, 0, 0}},
                                     {Kind::gave_up, {Cause::backend_closed, ECONNRESET, 3}}};
    int visited_ = 0;
    int terminal_ = 0;
};

} // namespace

TEST_CASE("a handoff begins with nothing sent") {
    const Handoff handoff;
    CHECK(handoff.state() == State::queued);
    CHECK_FALSE(handoff.outcome().completed);
    CHECK_FALSE(handoff.outcome().may_have_reached_backend);
}

TEST_CASE("queued: an offer that was sent whole awaits its acknowledgement") {
    Handoff handoff;
    CHECK(handoff.on({Kind::sent_all, {}}) == Action::none);
    CHECK(handoff.state() == State::awaiting_ack);
}

TEST_CASE("queued: an offer that was sent in part is finished") {
    Handoff handoff;
    CHECK(handoff.on({Kind::sent_part, {}}) == Action::finish);
    CHECK(handoff.state() == State::sending);
}

TEST_CASE("queued: a send that moved no byte is abandoned, and the broker owns the connection") {
    Handoff handoff;
    CHECK(handoff.on({Kind::send_failed, nothing_left}) == Action::abandon);
    check_fallback(handoff, Ownership::broker, Stage::send, Cause::would_block, EAGAIN, false);
}

TEST_CASE("queued: a deadline or a cancel before anything was sent is abandoned, and the broker owns the connection") {
    Handoff handoff;
    CHECK(handoff.on({Kind::gave_up, {Cause::deadline_before_send, 0, 0}}) == Action::abandon);
    check_fallback(handoff, Ownership::broker, Stage::send, Cause::deadline_before_send, 0, false);
}

TEST_CASE("queued: a send that failed after its first byte is decided by the verdict") {
    for (const TransportError &error :
         {five_left, TransportError{Cause::offer_undelivered, 0, 0}, TransportError{Cause::callback_failed, 0, 0}}) {
        Handoff handoff;
        CHECK(handoff.on({Kind::send_failed, error}) == Action::decide);
        CHECK(handoff.state() == State::deciding);
        handoff.settle({Ownership::ambiguous, Cause::none});
        check_fallback(handoff, Ownership::ambiguous, Stage::send, error.cause, error.os_error, true);
    }
}

TEST_CASE("queued: an answer before anything was sent is taken as giving up") {
    for (const Kind kind : {Kind::acked, Kind::refused}) {
        Handoff handoff;
        CHECK(handoff.on({kind, {}}) == Action::abandon);
        CHECK(handoff.state() == State::fallback);
        CHECK(handoff.outcome().ownership == Ownership::broker);
        CHECK(handoff.outcome().stage == Stage::send);
    }
}

TEST_CASE("sending: the rest is finished part by part until the acknowledgement is awaited") {
    Handoff handoff = in_state(State::sending);
    CHECK(handoff.on({Kind::sent_part, {}}) == Action::finish);
    CHECK(handoff.state() == State::sending);
    CHECK(handoff.on({Kind::sent_all, {}}) == Action::none);
    CHECK(handoff.state() == State::awaiting_ack);
}

TEST_CASE("sending: a failure or giving up is decided by the verdict, at stage send") {
    for (const Kind kind : {Kind::send_failed, Kind::gave_up}) {
        for (const TransportError &error : {nothing_left, five_left}) {
            Handoff handoff = in_state(State::sending);
            CHECK(handoff.on({kind, error}) == Action::decide);
            handoff.settle({Ownership::ambiguous, Cause::none});
            check_fallback(handoff, Ownership::ambiguous, Stage::send, error.cause, error.os_error, true);
        }
    }
}

TEST_CASE("awaiting: a confirmed acknowledgement completes, and the backend owns the connection") {
    Handoff handoff = in_state(State::awaiting_ack);
    CHECK(handoff.on({Kind::acked, {}}) == Action::decide);
    CHECK(handoff.state() == State::deciding);
    handoff.settle({Ownership::backend, Cause::none});
    CHECK(handoff.state() == State::completed);
    CHECK(equal(handoff.outcome(), {true, Ownership::backend, Stage::none, Reason::none, Cause::none, 0, true}));
}

TEST_CASE("awaiting: an acknowledgement that the registry denied is a fallback of stage acknowledge") {
    for (const Cause denied : {Cause::ack_overdue, Cause::revoked}) {
        Handoff handoff = in_state(State::awaiting_ack);
        CHECK(handoff.on({Kind::acked, {}}) == Action::decide);
        handoff.settle({Ownership::ambiguous, denied});
        check_fallback(handoff, Ownership::ambiguous, Stage::acknowledge, denied, 0, true);
    }
}

TEST_CASE("awaiting: a refusal gives the connection back to the broker") {
    Handoff handoff = in_state(State::awaiting_ack);
    CHECK(handoff.on({Kind::refused, {}}) == Action::decide);
    handoff.settle({Ownership::broker, Cause::none});
    check_fallback(handoff, Ownership::broker, Stage::await_ack, Cause::backend_refused, 0, true);
}

TEST_CASE("awaiting: giving up is decided by the verdict, at stage await_ack, with its own cause") {
    Handoff handoff = in_state(State::awaiting_ack);
    CHECK(handoff.on({Kind::gave_up, {Cause::backend_closed, ECONNRESET, 0}}) == Action::decide);
    handoff.settle({Ownership::ambiguous, Cause::none});
    check_fallback(handoff, Ownership::ambiguous, Stage::await_ack, Cause::backend_closed, ECONNRESET, true);
}

TEST_CASE("awaiting: the verdict wins over the event that led to it") {
    for (const Kind kind : {Kind::gave_up, Kind::refused, Kind::acked}) {
        Handoff adopted = in_state(State::awaiting_ack);
        adopted.on({kind, {Cause::ack_timed_out, EIO, 0}});
        adopted.settle({Ownership::backend, Cause::none});
        CHECK(equal(adopted.outcome(), {true, Ownership::backend, Stage::none, Reason::none, Cause::none, 0, true}));
        Handoff revoked = in_state(State::awaiting_ack);
        revoked.on({kind, {Cause::ack_timed_out, 0, 0}});
        revoked.settle({Ownership::broker, Cause::ack_overdue});
        check_fallback(revoked, Ownership::broker, Stage::acknowledge, Cause::ack_overdue, 0, true);
    }
}

TEST_CASE("deciding: events are of no use any more, only the verdict is") {
    for (const Kind kind :
         {Kind::sent_all, Kind::sent_part, Kind::send_failed, Kind::acked, Kind::refused, Kind::gave_up}) {
        Handoff handoff = in_state(State::deciding);
        CHECK(handoff.on({kind, five_left}) == Action::none);
        CHECK(handoff.state() == State::deciding);
    }
}

TEST_CASE("a verdict that nobody asked for is ignored") {
    for (const State state : {State::queued, State::sending, State::awaiting_ack}) {
        Handoff handoff = in_state(state);
        handoff.settle({Ownership::backend, Cause::none});
        CHECK(handoff.state() == state);
    }
}

TEST_CASE("completed and fallback are terminal") {
    for (const State state : {State::completed, State::fallback}) {
        for (const Kind kind :
             {Kind::sent_all, Kind::sent_part, Kind::send_failed, Kind::acked, Kind::refused, Kind::gave_up}) {
            Handoff handoff = in_state(state);
            const Outcome outcome = handoff.outcome();
            CHECK(handoff.on({kind, five_left}) == Action::none);
            handoff.settle({Ownership::broker, Cause::revoked});
            CHECK(handoff.state() == state);
            CHECK(equal(handoff.outcome(), outcome));
        }
    }
}

TEST_CASE("without a ledger, only the backend's own words decide") {
    const auto verdict = [](Kind kind, Cause denied) { return Handoff::verdict_without_ledger(kind, denied); };
    CHECK(verdict(Kind::acked, Cause::none).ownership == Ownership::backend);
    CHECK(verdict(Kind::acked, Cause::ack_overdue).ownership == Ownership::ambiguous);
    CHECK(verdict(Kind::acked, Cause::ack_overdue).denied == Cause::ack_overdue);
    CHECK(verdict(Kind::acked, Cause::revoked).denied == Cause::revoked);
    CHECK(verdict(Kind::refused, Cause::none).ownership == Ownership::broker);
    for (const Kind kind : {Kind::sent_all, Kind::sent_part, Kind::send_failed, Kind::gave_up}) {
        CHECK(verdict(kind, Cause::none).ownership == Ownership::ambiguous);
        CHECK(verdict(kind, Cause::none).denied == Cause::none);
    }
}

TEST_CASE("a value is the broker's until the backend was told of it, and the stages have other names") {
    Handoff unduplicated(Model::value);
    CHECK(unduplicated.on({Kind::send_failed, nothing_left}) == Action::abandon);
    check_fallback(unduplicated, Ownership::broker, Stage::duplicate, Cause::would_block, EAGAIN, false);
    Handoff untold(Model::value);
    CHECK(untold.on({Kind::sent_part, {}}) == Action::finish);
    CHECK(untold.on({Kind::send_failed, {Cause::offer_failed, 0, 0}}) == Action::abandon);
    check_fallback(untold, Ownership::broker, Stage::deliver, Cause::offer_failed, 0, false);
    Handoff told(Model::value);
    told.on({Kind::sent_part, {}});
    CHECK(told.on({Kind::sent_all, {}}) == Action::none);
    CHECK(told.on({Kind::gave_up, {Cause::ack_timed_out, 0, 0}}) == Action::decide);
    told.settle({Ownership::ambiguous, Cause::none});
    check_fallback(told, Ownership::ambiguous, Stage::await_ack, Cause::ack_timed_out, 0, true);
}

TEST_CASE("no sequence of five events and verdicts makes two owners or leaves a terminal state") {
    for (const Model model : {Model::descriptor, Model::value}) {
        const Walk walk(model);
        CHECK(walk.visited() == 1 + 13 + 13 * 13 + 13 * 13 * 13 + 13 * 13 * 13 * 13 + 13 * 13 * 13 * 13 * 13);
        CHECK(walk.terminal() > 100000);
    }
}
