#include "handoff/machine.hpp"

namespace rp::handoff {

using Kind = Handoff::Event::Kind;

Handoff::Action Handoff::on(const Event &event) noexcept {
    switch (state_) {
    case State::queued:
        return on_queued(event);
    case State::sending:
        return on_sending(event);
    case State::awaiting_ack:
        return give_up(Stage::await_ack, event.kind == Kind::refused ? Cause::backend_refused : event.error.cause,
                       event.error.os_error);
    default:
        return Action::none;
    }
}

Handoff::Action Handoff::on_queued(const Event &event) noexcept {
    if (event.kind == Kind::sent_all || event.kind == Kind::sent_part) {
        outcome_.may_have_reached_backend = event.kind == Kind::sent_all || model_ == Model::descriptor;
        state_ = event.kind == Kind::sent_all ? State::awaiting_ack : State::sending;
        return event.kind == Kind::sent_all ? Action::none : Action::finish;
    }
    outcome_.may_have_reached_backend = event.kind == Kind::send_failed && event.error.may_have_reached_backend();
    return give_up(model_ == Model::value ? Stage::duplicate : Stage::send, event.error.cause, event.error.os_error);
}

Handoff::Action Handoff::on_sending(const Event &event) noexcept {
    if (event.kind == Kind::sent_part) {
        return Action::finish;
    }
    if (event.kind == Kind::sent_all) {
        outcome_.may_have_reached_backend = true;
        state_ = State::awaiting_ack;
        return Action::none;
    }
    return give_up(model_ == Model::value ? Stage::deliver : Stage::send, event.error.cause, event.error.os_error);
}

Handoff::Action Handoff::give_up(Stage stage, Cause cause, int os_error) noexcept {
    outcome_.stage = stage;
    outcome_.cause = cause;
    outcome_.os_error = os_error;
    if (outcome_.may_have_reached_backend) {
        state_ = State::deciding;
        return Action::decide;
    }
    outcome_.reason = reason_of(cause);
    outcome_.ownership = Ownership::broker;
    state_ = State::fallback;
    return Action::abandon;
}

void Handoff::settle(const Verdict &verdict) noexcept {
    if (state_ != State::deciding) {
        return;
    }
    outcome_.ownership = verdict.ownership;
    outcome_.completed = verdict.ownership == Ownership::backend;
    if (outcome_.completed) {
        outcome_.stage = Stage::none;
        outcome_.cause = Cause::none;
        outcome_.os_error = 0;
        state_ = State::completed;
        return;
    }
    if (verdict.denied != Cause::none) {
        outcome_.stage = Stage::acknowledge;
        outcome_.cause = verdict.denied;
    }
    outcome_.reason = reason_of(outcome_.cause);
    state_ = State::fallback;
}

Handoff::Verdict Handoff::verdict_without_ledger(Kind kind, Cause registry_denied) noexcept {
    if (kind == Kind::refused) {
        return {Ownership::broker, Cause::none};
    }
    if (kind == Kind::acked && registry_denied == Cause::none) {
        return {Ownership::backend, Cause::none};
    }
    return {Ownership::ambiguous, kind == Kind::acked ? registry_denied : Cause::none};
}

} // namespace rp::handoff
