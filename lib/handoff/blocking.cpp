#include "handoff/blocking.hpp"

namespace rp::handoff {

namespace {

using Event = Handoff::Event;
using Action = Handoff::Action;

// Carries out the machine's last action: whatever it was, the token ends here.
class Conclusion {
  public:
    Conclusion(IssuedTokens &tokens, const Attempt &attempt, Handoff &handoff, HandoffReport &report) noexcept
        : tokens_(tokens), attempt_(attempt), handoff_(handoff), report_(report) {}

    void conclude(Action action, Event::Kind kind, Instant observed) noexcept {
        const Cause denied = kind == Event::Kind::acked ? confirm(observed) : abandon();
        if (action == Action::decide) {
            handoff_.settle(Handoff::verdict_without_ledger(kind, denied));
        }
        report_.outcome = handoff_.outcome();
    }

  private:
    Cause confirm(Instant observed) noexcept {
        const tl::expected<Duration, Cause> waited = tokens_.confirm(attempt_.token, observed);
        if (waited) {
            report_.waited = *waited;
            return Cause::none;
        }
        report_.detail =
            Text(waited.error() == Cause::ack_overdue ? "the backend acknowledged after the deadline"
                                                      : "the token was revoked before the acknowledgement");
        return waited.error();
    }

    Cause abandon() noexcept {
        tokens_.abandon(attempt_.token);
        return Cause::none;
    }

    IssuedTokens &tokens_;
    const Attempt &attempt_;
    Handoff &handoff_;
    HandoffReport &report_;
};

} // namespace

HandoffReport orchestrate(IssuedTokens &tokens, const Attempt &attempt, Transport &transport, AckWaiter &waiter,
                          TimeSource &time) noexcept {
    HandoffReport report;
    Handoff handoff(transport.model());
    Conclusion conclusion(tokens, attempt, handoff, report);

    if (is_due(attempt.deadline, time.now())) {
        const TransportError late{Cause::deadline_before_send};
        report.detail = late.describe();
        conclusion.conclude(handoff.on({Event::Kind::gave_up, late}), Event::Kind::gave_up, {});
        return report;
    }
    const Action sent = transport.send(attempt, handoff, report.detail);
    if (handoff.state() != Handoff::State::awaiting_ack) {
        conclusion.conclude(sent, Event::Kind::send_failed, {});
        return report;
    }
    const tl::expected<Instant, AckFailure> answer = waiter.await(attempt, transport.connection(), report.detail);
    if (answer) {
        conclusion.conclude(handoff.on({Event::Kind::acked, {}}), Event::Kind::acked, *answer);
        return report;
    }
    const Event::Kind kind =
        answer.error().cause == Cause::backend_refused ? Event::Kind::refused : Event::Kind::gave_up;
    conclusion.conclude(handoff.on({kind, {answer.error().cause, answer.error().os_error}}), kind, {});
    return report;
}

} // namespace rp::handoff
