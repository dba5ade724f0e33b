// What goes over the wire: queued handoffs leave, as many as fit into one message, their words in the ledger first; and the
// backend's answers come.
#include "session/broker_session.hpp"

#include <algorithm>
#include <cerrno>

namespace rp::handoff::session {

using Step = Handoff::Event;

// ---- sending --------------------------------------------------------------------------------------------------------

void BrokerSession::pump(Instant now) {
    if (!link_.has_unsent()) {
        all_has_left();
    }
    blocked_ = false;
    while (state_ == State::open && !blocked_ && !link_.has_unsent() && !queue_.empty() &&
           unanswered_ < peer_.max_in_flight) {
        const std::uint32_t room =
            account_->room(std::min<std::uint32_t>(max_batch, peer_.max_in_flight - unanswered_));
        if (room == 0) {
            return;
        }
        blocked_ = !send_batch(room, now);
    }
}

// False if the socket takes nothing now.
bool BrokerSession::send_batch(std::size_t most, Instant now) {
    std::size_t bytes = 0;
    Link *const answers = unanswered_ > 0 ? incoming_ : answers_here_ ? &link_ : &aside_;
    const std::size_t count = encode_batch(most, answers == &link_ ? Offer::answer_here : 0U, bytes);
    const os::Sent sent = link_.send(fds_.data(), count, pieces_.data(), piece_count_);
    explicit_bzero(scratch_.data(), header_size + count * Offer::fixed_size); // tokens are among it
    switch (sent.os_error) {
    case 0:
        incoming_ = answers;
        account_->sent(static_cast<std::uint32_t>(count), sent.bytes);
        batch_left(count, sent.bytes == bytes);
        ledger_->announce_sent(sent_ += count);
        return true;
    case EAGAIN:
    case ENOBUFS:
        return false;
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
        on_broken_pipe(now);
        return true;
    default:
        break;
    }
    if (count > 1) {
        return send_batch(1, now); // one of them is at fault: one by one
    }
    fail_first(sent.os_error, now);
    return true;
}

// The first of the queue as one frame, their words in the ledger; how many. `flags` are of all, the frame's size is in
// `bytes`.
std::size_t BrokerSession::encode_batch(std::size_t most, std::uint32_t flags, std::size_t &bytes) noexcept {
    std::uint8_t *out = scratch_.data() + header_size;
    std::uint8_t *piece = scratch_.data();
    std::size_t count = 0;
    piece_count_ = 0;
    bytes = header_size;
    for (Index i = queue_.first(); i != no_index && count < most; i = queue_.after(i)) {
        Slot &slot = slots_[i];
        const std::uint8_t *const data = slot.payload.data();
        const Offer offer{i,
                          (slot.ready_follows ? Offer::ready_follows : 0U) | flags,
                          slot.ticket,
                          slot.correlation_id,
                          slot.token,
                          {data, slot.metadata},
                          {data + slot.metadata, slot.early},
                          {data + slot.metadata + slot.early, slot.prologue}};
        if (bytes + offer.size() > max_frame) {
            break;
        }
        ledger_->offer(i, slot.ticket, slot.token);
        slot.in_ledger = true;
        out += encode_offer(out, offer);
        if (slot.payload.size() > 0) {
            pieces_[piece_count_++] = {piece, static_cast<std::size_t>(out - piece)};
            pieces_[piece_count_++] = {slot.payload.data(), slot.payload.size()};
            piece = out;
        }
        bytes += offer.size();
        fds_[count++] = slot.fd;
    }
    if (out > piece) {
        pieces_[piece_count_++] = {piece, static_cast<std::size_t>(out - piece)};
    }
    if (unanswered_ > 0) {
        constexpr std::size_t flags_at = header_size + 4;
        scratch_[flags_at] = static_cast<std::uint8_t>(scratch_[flags_at] | Offer::more);
    }
    encode_header(scratch_.data(), {FrameKind::offers, static_cast<std::uint16_t>(count),
                                    static_cast<std::uint32_t>(bytes - header_size)});
    return count;
}

void BrokerSession::batch_left(std::size_t count, bool whole) noexcept {
    for (std::size_t n = 0; n < count; ++n) {
        const Index i = queue_.first();
        Slot &slot = slots_[i];
        queue_.remove(i);
        queued_bytes_ -= slot.payload.size();
        slot.payload.clear();
        slot.machine.on({whole ? Step::Kind::sent_all : Step::Kind::sent_part, {}});
        slot.phase = whole ? Phase::sent : Phase::sending;
        if (!whole) {
            sending_.push_back(i);
        }
        ++unanswered_;
    }
}

void BrokerSession::all_has_left() noexcept {
    while (!sending_.empty()) {
        const Index i = sending_.first();
        sending_.remove(i);
        slots_[i].machine.on({Step::Kind::sent_all, {}});
        slots_[i].phase = Phase::sent;
    }
}

void BrokerSession::fail_first(int os_error, Instant now) noexcept {
    const TransportError error{cause_of_send(os_error), os_error};
    conclude(queue_.first(), {Step::Kind::send_failed, error}, now, error.describe().view());
}

// ---- answers --------------------------------------------------------------------------------------------------------

Status BrokerSession::on_frame(const Link::Frame &frame) {
    if (frame.header.kind != FrameKind::answers) {
        return Status::protocol;
    }
    const Instant now = now_;
    ByteView rest = frame.body;
    for (std::uint16_t n = 0; n < frame.header.count; ++n) {
        const Result<Answer> next = next_answer(rest);
        const Status status = next ? answer(*next, now) : next.error();
        if (status != Status::ok) {
            return status;
        }
    }
    return violated_ || !rest.empty() ? Status::protocol : Status::ok;
}

Status BrokerSession::answer(const Answer &answer, Instant now) noexcept {
    if (answer.slot >= slot_count_) {
        return Status::protocol;
    }
    Slot &slot = slots_[answer.slot];
    if (slot.ticket != answer.ticket || slot.answered || slot.phase == Phase::free || slot.phase == Phase::queued ||
        (slot.phase == Phase::ended && !slot.in_ledger)) {
        return Status::protocol;
    }
    if (slot.phase != Phase::ended) {
        switch (answer.verdict) {
        case Answer::Verdict::adopted:
            conclude(answer.slot, {Step::Kind::acked, {Cause::ack_malformed}}, now,
                     "the backend acknowledged what it had not adopted");
            break;
        case Answer::Verdict::refused: {
            Text text("backend refused the handoff: ");
            text += answer.text.empty() ? "no reason given" : answer.text;
            conclude(answer.slot, {Step::Kind::refused, {}}, now, text.view());
            break;
        }
        case Answer::Verdict::no_descriptor:
            conclude(answer.slot, {Step::Kind::gave_up, {Cause::backend_descriptors}}, now,
                     "the backend is out of descriptors");
            break;
        default:
            conclude(answer.slot, {Step::Kind::gave_up, {Cause::ack_unrelated}}, now,
                     "the backend does not find the offer in the ledger");
            break;
        }
    }
    answered(answer.slot);
    return Status::ok;
}

void BrokerSession::answered(Index i) noexcept {
    slots_[i].answered = true;
    --unanswered_;
    account_->answered(1);
    free_if_over(i);
}

} // namespace rp::handoff::session
