#include "session/broker_side.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/socket.h>

namespace rp::handoff::session {

namespace {

using Step = Handoff::Event;
using Phase = SlotTable::Phase;

constexpr std::size_t strays_at_once = std::size_t{4} * os::DescriptorGroup::capacity;
constexpr Duration room_pause = std::chrono::milliseconds(20);

} // namespace

BrokerSide::BrokerSide(Config config, Broker &broker)
    : broker_(broker), discards_(config.max_in_flight + strays_at_once),
      channel_(std::move(config), Channel::Role::broker, discards_), slots_(channel_.config().max_in_flight),
      account_(broker.in_flight().open(channel_.config().path, channel_.config().max_in_flight)) {}

// In a forked child these are its copies; otherwise nothing is left here.
BrokerSide::~BrokerSide() {
    for (Index i = 0; i < slots_.size(); ++i) {
        if (slots_[i].phase != Phase::free && slots_[i].descriptor != Submission::Descriptor::borrowed) {
            UniqueFd(slots_[i].fd).reset();
        }
    }
}

// ---- submitting -----------------------------------------------------------------------------------------------------

Result<Index> BrokerSide::place(const Submission &submission, const Broker::Lease &lease, int fd) {
    if (channel_.is_over() || channel_.farewell().has_begun() || channel_.farewell().is_heard()) {
        return Failure(Status::closed);
    }
    if (!slots_.has_free()) {
        return Failure(Status::limit_session);
    }
    const std::size_t size = submission.payload_size();
    if (size > channel_.config().max_queued - slots_.queued_bytes()) {
        return Failure(size > channel_.config().max_queued ? Status::invalid_argument : Status::limit_bytes);
    }
    const Index i = slots_.prepare(size);
    if (i == no_index) {
        return Failure(Status::no_memory);
    }
    if (!account_->acquire()) {
        slots_.drop(i);
        return Failure(Status::limit_descriptors);
    }
    Slot &slot = slots_[i];
    std::uint8_t *out = slot.payload.data();
    for (const ByteView part : {submission.metadata, submission.early, submission.prologue}) {
        out = std::copy(part.begin(), part.end(), out);
    }
    slot.descriptor = submission.descriptor;
    slot.fd = fd;
    slot.token = lease.token;
    slot.correlation_id = submission.correlation_id != 0 ? submission.correlation_id : broker_.next_correlation_id();
    slot.user_data = submission.user_data;
    slot.begun = lease.begun;
    slot.deadline = submission.timeout == Duration() ? lease.deadline
                                                     : std::min(lease.deadline, after(lease.begun, submission.timeout));
    slot.ready_follows = submission.ready_follows;
    slot.metadata = static_cast<std::uint32_t>(submission.metadata.size());
    slot.early = static_cast<std::uint32_t>(submission.early.size());
    slot.prologue = static_cast<std::uint32_t>(submission.prologue.size());
    slots_.queue(i);
    ++submitted_;
    return i;
}

bool BrokerSide::cancel(std::uint64_t id, Instant now) {
    const Index i = slots_.find(id);
    if (i == no_index || slots_[i].phase == Phase::ended) {
        return false;
    }
    cancel(i, now, 0, "cancelled");
    return true;
}

void BrokerSide::cancel(Index i, Instant now, int os_error, std::string_view detail) noexcept {
    conclude(i, {Step::Kind::gave_up, {Cause::cancelled, os_error}}, now, detail);
}

// ---- work -----------------------------------------------------------------------------------------------------------

// Answers that wait come with one read.
void BrokerSide::read(Instant now) {
    if (channel_.read(now)) {
        parse(now);
    }
    settle_end(now);
}

void BrokerSide::take(const Link::Read &read, Instant now) {
    if (channel_.take(read, now)) {
        parse(now);
    }
    settle_end(now);
}

void BrokerSide::parse(Instant now) {
    while (const std::optional<Link::Frame> frame = channel_.next_frame(now)) {
        const Status status = frame->header.kind == FrameKind::answers ? take_answers(*frame, now) : Status::protocol;
        if (status != Status::ok) {
            channel_.end(status, "the backend answered what it was not offered");
            return;
        }
        channel_.drop_frame();
    }
    join_account();
}

void BrokerSide::join_account() noexcept {
    if (joined_ || !channel_.is_open()) {
        return;
    }
    joined_ = account_->join(channel_.peer().credentials.uid, channel_.link().socket(), channel_.peer().max_in_flight);
    account_->sent_unqueued(2, ledger_frame_size); // the ledger's file and the answer socket
    if (!joined_) {
        channel_.end(Status::limit_descriptors, "earlier sessions of this backend have left too much unread");
    }
}

void BrokerSide::advance(Instant now) {
    if (!broker_.has_sources()) { // the caller's clock went with the broker's handle
        channel_.end(Status::closed, "the broker was destroyed");
    }
    room_again_at_ = end_of_time; // unless pump finds that there is none
    channel_.begin_turn(now);
    settle_end(now);
    conclude_due(now);
    if (!channel_.flush(now)) {
        channel_.end_without_peer();
    }
    if (channel_.farewell().is_heard()) {
        end_queued(now);
    }
    if (channel_.is_open()) {
        pump(now);
    }
    channel_.end_turn(slots_.undecided() == 0, now);
    settle_end(now);
}

void BrokerSide::conclude_due(Instant now) noexcept {
    while (slots_.undecided() > 0 && is_due(slots_.nearest_deadline(), now)) {
        const Index i = slots_.first_due();
        const bool queued = slots_[i].phase == Phase::queued;
        conclude(i, {Step::Kind::gave_up, {queued ? Cause::deadline_before_send : Cause::ack_timed_out}}, now,
                 queued ? "the deadline passed before anything was sent" : "the acknowledgement timed out");
    }
    if (violated_) {
        channel_.end(Status::protocol, "the ledger holds what neither side may have written");
    }
}

void BrokerSide::close(Instant now) {
    channel_.farewell().begin();
    advance(now);
}

// ---- sending --------------------------------------------------------------------------------------------------------

void BrokerSide::pump(Instant now) {
    if (!channel_.link().has_unsent()) {
        for (Index i = slots_.first_sending(); i != no_index; i = slots_.next_sending(i)) {
            slots_[i].machine.on({Step::Kind::sent_all, {}});
        }
        slots_.rest_left();
    }
    channel_.begins_sending();
    while (channel_.is_open() && !channel_.link().has_unsent() && slots_.first_queued() != no_index) {
        if (!send_batch(now)) {
            return;
        }
    }
}

std::size_t BrokerSide::most_now() noexcept {
    const std::uint32_t agreed = channel_.peer().max_in_flight;
    const std::uint32_t mine = agreed - std::min(agreed, slots_.unanswered());
    const auto most = std::min<std::size_t>({mine, max_batch, slots_.queued()});
    return most == 0 ? 0 : account_->room(static_cast<std::uint32_t>(one_by_one_ > 0 ? 1 : most));
}

bool BrokerSide::send_batch(Instant now) {
    const std::size_t most = most_now();
    if (most == 0) {
        // What earlier sessions left is in the way, and nothing tells when it no longer is.
        room_again_at_ = slots_.unanswered() == 0 ? after(now, room_pause) : end_of_time;
        return false;
    }
    Link &answers = slots_.unanswered() > 0 ? channel_.incoming()
                    : answers_here_         ? channel_.link()
                                            : channel_.answer_link();
    const bool here = &answers == &channel_.link();
    batch_.encode(slots_, *channel_.ledger(), most, here ? std::uint32_t{Offer::answer_here} : 0U,
                  slots_.unanswered() > 0);
    const os::Sent sent = channel_.link().send(batch_.fds(), batch_.count(), batch_.pieces(), batch_.piece_count());
    if (sent.os_error == 0) {
        channel_.hear_on(answers);
        account_->sent(static_cast<std::uint32_t>(batch_.count()), sent.bytes);
        batch_left(sent.bytes == batch_.bytes());
        channel_.ledger()->announce_sent(sent_);
    } else if (channel_.has_to_wait(sent.os_error, now)) {
        batch_.wipe();
        return false;
    } else {
        refused_by_kernel(sent.os_error, now);
    }
    batch_.wipe();
    return true;
}

void BrokerSide::batch_left(bool whole) noexcept {
    for (std::size_t n = 0; n < batch_.count(); ++n) {
        const Index i = slots_.first_queued();
        slots_[i].machine.on({whole ? Step::Kind::sent_all : Step::Kind::sent_part, {}});
        slots_.leave(i, whole);
    }
    sent_ += batch_.count();
    one_by_one_ -= std::min(one_by_one_, batch_.count());
}

void BrokerSide::refused_by_kernel(int os_error, Instant now) noexcept {
    switch (os_error) {
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
        channel_.end_without_peer(os_error);
        return;
    default:
        break;
    }
    if (batch_.count() > 1) { // one of them may be at fault
        one_by_one_ = batch_.count();
        return;
    }
    one_by_one_ -= std::min<std::size_t>(one_by_one_, 1);
    const TransportError error{cause_of_send(os_error), os_error};
    conclude(slots_.first_queued(), {Step::Kind::send_failed, error}, now, error.describe().view());
}

// ---- answers --------------------------------------------------------------------------------------------------------

Status BrokerSide::take_answers(const Link::Frame &frame, Instant now) noexcept {
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

Status BrokerSide::answer(const Answer &answer, Instant now) noexcept {
    if (answer.slot >= slots_.size()) {
        return Status::protocol;
    }
    const Slot &slot = slots_[answer.slot];
    if (slot.ticket != answer.ticket || slot.answered || slot.phase == Phase::free || slot.phase == Phase::queued) {
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
                     "the offer came without its descriptor: the backend is out of descriptors");
            break;
        case Answer::Verdict::denied:
            conclude(
                answer.slot, {Step::Kind::gave_up, {Cause::descriptor_denied}}, now,
                "the offer came without its descriptor, though the backend has room: a security module keeps it back");
            break;
        default:
            conclude(answer.slot, {Step::Kind::gave_up, {Cause::ack_unrelated}}, now,
                     "the backend does not find the offer in the ledger");
            break;
        }
    }
    slots_.answer(answer.slot);
    account_->answered(1);
    return Status::ok;
}

// ---- outcomes -------------------------------------------------------------------------------------------------------

void BrokerSide::conclude(Index i, const Step &event, Instant now, std::string_view detail) noexcept {
    Slot &slot = slots_[i];
    const bool was_queued = slot.phase == Phase::queued;
    const Handoff::Action action = slot.machine.on(event);
    if (slot.in_ledger) {
        const Ledger::Settled settled = channel_.ledger()->settle(i, slot.ticket);
        if (action == Handoff::Action::decide) {
            slot.machine.settle({settled.owner, Cause::none});
        }
        // Of an offer of which nothing has left, whatever the word says: it is the broker's.
        violated_ = violated_ || (settled.violated && !was_queued);
    }
    const Outcome &outcome = slot.machine.outcome();
    slot.elapsed = elapsed(slot.begun, now);
    if (!outcome.completed) {
        slot.detail = Text(detail);
    }
    ++(outcome.completed ? completed_ : fallbacks_);
    broker_.conclude(slot.token, outcome, now);
    slot.token.wipe();
    settle_descriptor(slot);
    OutcomeWaiter *const waiter = std::exchange(slot.waiter, nullptr);
    if (waiter != nullptr) {
        waiter->report = {report_of(slot), slot.correlation_id, slot.elapsed};
        waiter->done = true;
    }
    if (was_queued) {
        account_->give_back(1);
    }
    slots_.conclude(i, waiter == nullptr);
}

// What is the backend's now is closed; what came back stays with the event.
void BrokerSide::settle_descriptor(Slot &slot) noexcept {
    const bool ours = slot.machine.outcome().ownership == Ownership::broker;
    if (slot.descriptor == Submission::Descriptor::duplicated ||
        (slot.descriptor == Submission::Descriptor::taken && !ours)) {
        discards_.add(UniqueFd(slot.fd));
        slot.fd = -1;
    } else if (slot.descriptor == Submission::Descriptor::borrowed) {
        slot.fd = -1;
    }
}

HandoffReport BrokerSide::report_of(const Slot &slot) noexcept {
    const Outcome &outcome = slot.machine.outcome();
    return {outcome, outcome.completed ? slot.elapsed : Duration(), std::nullopt, slot.detail};
}

bool BrokerSide::take_event(Event &event) noexcept {
    if (channel_.take_opened(event)) {
        return true;
    }
    if (const Index i = slots_.take_event(); i != no_index) {
        Slot &slot = slots_[i];
        event.kind = Event::Kind::outcome;
        event.id = slot.ticket;
        event.user_data = slot.user_data;
        event.fd.reset(std::exchange(slot.fd, -1));
        event.report = report_of(slot);
        event.correlation = slot.correlation_id;
        event.elapsed = slot.elapsed;
        return true;
    }
    return channel_.take_end(event);
}

Doorbell::State BrokerSide::state() const noexcept {
    const bool event = slots_.first_event() != no_index || channel_.has_event();
    return {std::min({channel_.wake_at(), slots_.nearest_deadline(), room_again_at_}), event,
            channel_.is_over() && !event};
}

// ---- the end --------------------------------------------------------------------------------------------------------

void BrokerSide::end_queued(Instant now) noexcept {
    while (slots_.first_queued() != no_index) {
        conclude(slots_.first_queued(), {Step::Kind::gave_up, {Cause::session_lost}}, now,
                 "the session ended: the backend wants no more");
    }
}

void BrokerSide::end_all(Cause cause, std::string_view detail, int os_error, Instant now) noexcept {
    while (slots_.undecided() > 0) {
        conclude(slots_.first_due(), {Step::Kind::gave_up, {cause, os_error}}, now, detail);
    }
}

// What the backend has not read yet stays counted for as long as it lies there.
void BrokerSide::settle_end(Instant now) noexcept {
    if (!channel_.is_over() || std::exchange(settled_end_, true)) {
        return;
    }
    Text detail("the session ended");
    if (!channel_.end_reason().text.empty()) {
        detail += ": ";
        detail += channel_.end_reason().text.view();
    }
    end_all(Cause::session_lost, detail.view(), channel_.end_reason().os_error, now);
    slots_.answer_all();
    channel_.link().drop_beside(Discards::Kind::stray);
    channel_.answer_link().drop_beside(Discards::Kind::stray);
    discards_.add(channel_.answer_link().take_socket(), Discards::Kind::own);
    discards_.add(channel_.link().take_socket(), Discards::Kind::remains);
}

void BrokerSide::discarded(const Discards::Batch &batch) noexcept {
    for (std::size_t n = 0; n < batch.count; ++n) {
        if (batch.entries[n].kind == Discards::Kind::remains) {
            account_->leave(UniqueFd(batch.entries[n].fd));
        }
    }
}

void BrokerSide::shut_down(Instant now) noexcept {
    end_all(Cause::cancelled, "the session was destroyed", 0, now);
    for (Index i = slots_.first_event(); i != no_index; i = slots_.next_event(i)) {
        UniqueFd fd(std::exchange(slots_[i].fd, -1));
        if (fd) {
            ::shutdown(fd.get(), SHUT_RDWR); // the broker's own, and nobody will serve it
            discards_.add(std::move(fd));
        }
    }
    channel_.end(Status::ok, {});
    settle_end(now);
}

Statistics BrokerSide::statistics() const noexcept {
    Statistics s;
    s.in_flight = slots_.used();
    s.submitted = submitted_;
    s.completed = completed_;
    s.fallbacks = fallbacks_;
    s.messages_sent = channel_.messages_sent();
    s.messages_received = channel_.messages_received();
    return s;
}

} // namespace rp::handoff::session
