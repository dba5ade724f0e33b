// What becomes of an offer that a backend gave out: accepted or refused, once, and the broker told.
#include "os/stream.hpp"
#include "v1/backend.hpp"
#include "v1/backend_tokens.hpp"

namespace rp::handoff {

void Backend::answered(Connection &connection, bool usable) noexcept {
    const Instant now = time_->now();
    Leavings leavings;
    const Lock lock(mutex_);
    if (shut_ || !usable) {
        drop(connection, leavings);
    } else {
        rest(connection, now, leavings);
    }
    enable_listeners(now);
    if (nearest_deadline() < asleep_until_) {
        poller_.nudge();
    }
}

Offer::~Offer() {
    refuse("the backend dropped the offer");
}

Result<Offer::Accepted> Offer::accept() noexcept {
    if (answered_.exchange(true)) {
        return Failure(Status::answered);
    }
    const Status consumed = backend_->consume(info_.token);
    if (consumed != Status::ok) {
        connection_.receiver.take_fd().reset();
        ++backend_->rejected_tokens_;
        answer(false, rejection_text(consumed, Token::size).view());
        return Failure(consumed);
    }
    Accepted accepted{connection_.receiver.take_fd(), false};
    ++backend_->accepted_;
    accepted.delivered = answer(true, {});
    return accepted;
}

Status Offer::refuse(std::string_view text) noexcept {
    if (answered_.exchange(true)) {
        return Status::answered;
    }
    // The duplicate goes first: once the broker reads the refusal, the connection is its own again.
    connection_.receiver.take_fd().reset();
    backend_->revoke(info_.token);
    ++backend_->refused_;
    return answer(false, text) ? Status::ok : Status::ack_undelivered;
}

bool Offer::answer(bool accepted, std::string_view text) noexcept {
    const wire::AckMessage ack = wire::encode_ack_frame(
        {info_.token.view(), accepted, utf8_prefix(text, wire::max_error_detail), info_.correlation_id},
        wire::Kind::response);
    const Instant deadline = after(backend_->now(), backend_->config_.io_timeout);
    const os::StreamResult written = os::write_all(connection_.fd.get(), ack.view(), deadline, *backend_->time_);
    const bool delivered = written.status == Status::ok;
    backend_->answers_undelivered_ += delivered ? 0 : 1;
    backend_->answered(connection_, delivered);
    return delivered;
}

} // namespace rp::handoff
