#include "session/broker_session.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/socket.h>

#include "os/endpoint.hpp"

namespace rp::handoff::session {

namespace {

using Step = Handoff::Event;

// A ticket has the slot's number in its low bits, so that a handoff is found by its id.
constexpr unsigned slot_bits = 12;
static_assert(1U << slot_bits == max_in_flight);

bool is_socket(int fd) noexcept {
    int type = 0;
    socklen_t length = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0;
}

} // namespace

Result<std::shared_ptr<BrokerSession>> BrokerSession::open(Config config, Broker &broker) {
    return start([&](os::Poller poller) {
        return std::make_shared<BrokerSession>(std::move(config), broker, std::move(poller));
    });
}

BrokerSession::BrokerSession(Config config, Broker &broker, os::Poller poller)
    : Session(std::move(config), broker.time(), std::move(poller), max_answers_frame, max_frame), broker_(broker),
      slots_(new Slot[config_.max_in_flight]), slot_count_(config_.max_in_flight), free_(slots_.get()),
      queue_(slots_.get()), sending_(slots_.get()), events_(slots_.get()), timers_(slots_.get()), place_(1) {
    for (Index i = 0; i < slot_count_; ++i) {
        free_.push_back(i);
    }
}

// In a forked child these are its copies; otherwise nothing is left here.
BrokerSession::~BrokerSession() {
    for (Index i = 0; i < slot_count_; ++i) {
        if (slots_[i].descriptor != Submission::Descriptor::borrowed) {
            UniqueFd(slots_[i].fd).reset();
        }
    }
}

// ---- the hellos -----------------------------------------------------------------------------------------------------

Status BrokerSession::greet() {
    std::array<std::uint8_t, max_hello_frame> frame{};
    const std::size_t size =
        encode_hello(frame.data(), {Hello::Role::broker, version, version, slot_count_, config_.service});
    return link_.send({frame.data(), size}).os_error == 0 ? Status::ok : Status::closed;
}

Status BrokerSession::on_greeting(const Link::Frame &frame) {
    if (frame.header.kind != FrameKind::hello || !frame.of_one_read || !link_.beside().descriptors.empty()) {
        return Status::protocol;
    }
    if (const Status status = authenticate(); status != Status::ok) {
        return status;
    }
    const Result<Hello> hello = decode_hello(frame.body);
    if (!hello || hello->role != Hello::Role::backend || hello->min_version > version || hello->max_version < version) {
        return Status::protocol;
    }
    Result<Ledger> ledger = Ledger::create(slot_count_);
    if (!ledger) {
        return ledger.error();
    }
    ledger_.emplace(std::move(*ledger));
    Result<os::SocketPair> aside = os::socket_pair();
    if (!aside) {
        return aside.error();
    }
    std::array<std::uint8_t, ledger_frame_size> notice{};
    const iovec piece{notice.data(), encode_ledger(notice.data(), slot_count_)};
    const std::array<int, 2> files{ledger_->file(), aside->theirs.get()};
    if (link_.send(files.data(), files.size(), &piece, 1).os_error != 0) {
        return Status::closed;
    }
    ledger_->close_file();
    aside_.set_socket(std::move(aside->ours));
    incoming_ = &aside_;
    peer_.max_in_flight = std::min(slot_count_, hello->max_in_flight);
    return opened();
}

// ---- submitting -----------------------------------------------------------------------------------------------------

Status BrokerSession::check(const Submission &submission) const noexcept {
    if (submission.fd < 0 || submission.metadata.size() > max_metadata || submission.early.size() > max_early ||
        submission.prologue.size() > max_prologue || (!submission.prologue.empty() && !is_socket(submission.fd))) {
        return Status::invalid_argument;
    }
    return Status::ok;
}

Result<Index> BrokerSession::begin_handoff(const Submission &submission, Instant now, Lock &lock) {
    if (const Status status = check(submission); status != Status::ok) {
        return Failure(status);
    }
    // Without the lock: the random source may be a callback.
    Result<Broker::Lease> lease = broker_.lease(config_.service, config_.peer_pid, submission.token, now);
    if (!lease) {
        return Failure(lease.error());
    }
    UniqueFd duplicate;
    if (submission.descriptor == Submission::Descriptor::duplicated) {
        duplicate.reset(fcntl(submission.fd, F_DUPFD_CLOEXEC, 0));
    }
    const bool lacks = submission.descriptor == Submission::Descriptor::duplicated && !duplicate;
    lock.lock();
    const Result<Index> index =
        lacks ? Failure(Status::system) : place(submission, *lease, duplicate ? duplicate.get() : submission.fd);
    if (!index) {
        lock.unlock();
        broker_.give_back(*lease);
        return index;
    }
    duplicate.release();
    return index;
}

Result<Index> BrokerSession::place(const Submission &submission, const Broker::Lease &lease, int fd) {
    if (closing_ || peer_closing_ || state_ == State::ended) {
        return Failure(Status::closed);
    }
    if (free_.empty()) {
        return Failure(Status::limit_session);
    }
    const std::size_t size = submission.payload_size();
    if (size > config_.max_queued - queued_bytes_) {
        return Failure(Status::limit_bytes);
    }
    const Index i = free_.first();
    Slot &slot = slots_[i];
    if (!slot.payload.allocate(size)) {
        return Failure(Status::no_memory);
    }
    if (!broker_.in_flight().acquire()) {
        slot.payload.clear();
        return Failure(Status::limit_descriptors);
    }
    std::uint8_t *out = slot.payload.data();
    for (const ByteView part : {submission.metadata, submission.early, submission.prologue}) {
        out = std::copy(part.begin(), part.end(), out);
    }
    slot.machine = Handoff();
    slot.phase = Phase::queued;
    slot.in_ledger = slot.answered = slot.event = false;
    slot.descriptor = submission.descriptor;
    slot.fd = fd;
    slot.token = lease.token;
    slot.ticket = ++tickets_ << slot_bits | i;
    slot.correlation_id = submission.correlation_id != 0 ? submission.correlation_id : broker_.next_correlation_id();
    slot.user_data = submission.user_data;
    slot.begun = lease.begun;
    slot.deadline = submission.timeout == Duration()
                        ? lease.deadline
                        : std::min(lease.deadline, rp::handoff::after(lease.begun, submission.timeout));
    slot.ready_follows = submission.ready_follows;
    slot.metadata = static_cast<std::uint32_t>(submission.metadata.size());
    slot.early = static_cast<std::uint32_t>(submission.early.size());
    slot.prologue = static_cast<std::uint32_t>(submission.prologue.size());
    slot.detail = Text();
    slot.waiter = nullptr;
    free_.remove(i);
    queue_.push_back(i);
    set_timer(i);
    queued_bytes_ += size;
    ++used_;
    ++undecided_;
    ++submitted_;
    return i;
}

// Deadlines come in rising order as a rule, so this looks at one neighbour.
void BrokerSession::set_timer(Index i) noexcept {
    Index place = timers_.last();
    while (place != no_index && slots_[place].deadline > slots_[i].deadline) {
        place = timers_.before(place);
    }
    timers_.insert_after(place, i);
}

Result<std::uint64_t> BrokerSession::submit(const Submission &submission, Instant now) {
    Lock lock(mutex_, std::defer_lock);
    const Result<Index> index = begin_handoff(submission, now, lock);
    if (!index) {
        return Failure(index.error());
    }
    // Who has no loop and no other thread is going to wait in a read.
    answers_here_ = is_single_threaded() && !is_watched() && ledger_ && ledger_->backend_is_elsewhere();
    return slots_[*index].ticket;
}

void BrokerSession::send_submitted() {
    flush();
}

Result<Broker::Report> BrokerSession::execute(const Submission &submission) {
    Instant now = time_.now();
    Lock lock(mutex_, std::defer_lock);
    const Result<Index> index = begin_handoff(submission, now, lock);
    if (!index) {
        return Failure(index.error());
    }
    Waiter waiter;
    slots_[*index].waiter = &waiter;
    answers_here_ = ledger_ && ledger_->backend_is_elsewhere();
    for (;;) {
        advance(now);
        if (waiter.done) {
            return waiter.report;
        }
        now = pause(lock, wake_at(), state_ == State::open && queue_.empty(), false);
    }
}

bool BrokerSession::cancel(std::uint64_t id) {
    const Instant now = time_.now();
    const Lock lock(mutex_);
    const auto i = static_cast<Index>(id & (max_in_flight - 1));
    if (i >= slot_count_ || slots_[i].ticket != id || slots_[i].phase == Phase::free ||
        slots_[i].phase == Phase::ended) {
        return false;
    }
    conclude(i, {Step::Kind::gave_up, {Cause::cancelled}}, now, "cancelled");
    advance(now);
    return true;
}

// ---- outcomes -------------------------------------------------------------------------------------------------------

void BrokerSession::conclude(Index i, const Step &event, Instant now, std::string_view detail) noexcept {
    Slot &slot = slots_[i];
    const bool was_queued = slot.phase == Phase::queued;
    const Handoff::Action action = slot.machine.on(event);
    if (slot.in_ledger) {
        const Ledger::Settled settled = ledger_->settle(i, slot.ticket);
        if (action == Handoff::Action::decide) {
            slot.machine.settle({settled.owner, Cause::none});
        }
        // Of an offer of which nothing has left, whatever the word says: it is the broker's.
        violated_ = violated_ || (settled.violated && !was_queued);
    }
    if (was_queued) {
        queue_.remove(i);
        queued_bytes_ -= slot.payload.size();
        slot.payload.clear();
        broker_.in_flight().release(1);
        slot.answered = true; // nobody was asked
    } else if (slot.phase == Phase::sending) {
        sending_.remove(i);
    }
    timers_.remove(i);
    slot.phase = Phase::ended;
    --undecided_;
    slot.elapsed = rp::handoff::elapsed(slot.begun, now);
    const Outcome &outcome = slot.machine.outcome();
    if (!outcome.completed) {
        slot.detail = Text(detail);
    }
    ++(outcome.completed ? completed_ : fallbacks_);
    broker_.conclude(slot.token, outcome, now);
    slot.token.wipe();
    settle_descriptor(slot);
    if (slot.waiter != nullptr) {
        slot.waiter->report = {report_of(slot), slot.correlation_id, slot.elapsed};
        slot.waiter->done = true;
        slot.waiter = nullptr;
        wake_reader();
    } else {
        slot.event = true;
        events_.push_back(i);
        announce();
    }
    free_if_over(i);
}

// What is the backend's now is closed here; what came back stays with the event.
void BrokerSession::settle_descriptor(Slot &slot) noexcept {
    const bool ours = slot.machine.outcome().ownership == Ownership::broker;
    if (slot.descriptor == Submission::Descriptor::duplicated ||
        (slot.descriptor == Submission::Descriptor::taken && !ours)) {
        UniqueFd(slot.fd).reset();
        slot.fd = -1;
    } else if (slot.descriptor == Submission::Descriptor::borrowed) {
        slot.fd = -1;
    }
}

HandoffReport BrokerSession::report_of(const Slot &slot) noexcept {
    const Outcome &outcome = slot.machine.outcome();
    return {outcome, outcome.completed ? slot.elapsed : Duration(), std::nullopt, slot.detail};
}

void BrokerSession::free_if_over(Index i) noexcept {
    Slot &slot = slots_[i];
    if (slot.phase == Phase::ended && slot.answered && !slot.event) {
        slot.phase = Phase::free;
        free_.push_back(i);
        --used_;
    }
}

bool BrokerSession::take_event(Event &event) {
    const Index i = events_.first();
    if (i == no_index) {
        return false;
    }
    Slot &slot = slots_[i];
    event.kind = Event::Kind::outcome;
    event.id = slot.ticket;
    event.user_data = slot.user_data;
    event.fd.reset(slot.fd);
    event.report = report_of(slot);
    event.correlation = slot.correlation_id;
    event.elapsed = slot.elapsed;
    slot.fd = -1;
    slot.event = false;
    events_.remove(i);
    free_if_over(i);
    return true;
}

// ---- time, and the end ----------------------------------------------------------------------------------------------

Instant BrokerSession::nearest_deadline() const noexcept {
    return timers_.empty() ? end_of_time : slots_[timers_.first()].deadline;
}

void BrokerSession::on_time(Instant now) {
    if (!broker_.has_sources()) {
        end(Status::closed, now);
        return;
    }
    while (!timers_.empty() && is_due(nearest_deadline(), now)) {
        const Index i = timers_.first();
        const bool queued = slots_[i].phase == Phase::queued;
        conclude(i, {Step::Kind::gave_up, {queued ? Cause::deadline_before_send : Cause::ack_timed_out}}, now,
                 queued ? "the deadline passed before anything was sent" : "the acknowledgement timed out");
    }
    if (violated_) {
        end(Status::protocol, now);
    }
}

bool BrokerSession::on_goodbye(Instant now) {
    end_queued(Cause::session_lost, now);
    return true;
}

void BrokerSession::end_queued(Cause cause, Instant now) noexcept {
    while (!queue_.empty()) {
        conclude(queue_.first(), {Step::Kind::gave_up, {cause}}, now, "the session ended");
    }
}

void BrokerSession::end_all(Cause cause, Instant now) noexcept {
    while (!timers_.empty()) {
        conclude(timers_.first(), {Step::Kind::gave_up, {cause}}, now, "the session ended");
    }
}

// What the backend has not read yet stays counted for as long as it lies there.
void BrokerSession::on_end(Status, Instant now) noexcept {
    end_all(Cause::session_lost, now);
    if (broker_.in_flight().queue_is_empty(link_.socket())) {
        for (Index i = 0; i < slot_count_; ++i) {
            if (slots_[i].phase == Phase::ended && !slots_[i].answered) {
                answered(i);
            }
        }
    }
}

void BrokerSession::shutdown() noexcept {
    const Instant now = time_.now();
    const Lock lock(mutex_);
    end_all(Cause::cancelled, now);
    for (Index i = events_.first(); i != no_index; i = events_.after(i)) {
        UniqueFd fd(slots_[i].fd);
        slots_[i].fd = -1;
        if (fd) {
            ::shutdown(fd.get(), SHUT_RDWR); // the broker's own, and nobody will serve it
        }
    }
    end(Status::ok, now);
    if (unanswered_ > 0) {
        broker_.in_flight().leave(place_, link_.take_socket(), unanswered_);
        unanswered_ = 0;
    }
}

Statistics BrokerSession::count() const noexcept {
    return {used_, submitted_, completed_, fallbacks_, 0, 0, 0, 0, 0, 0};
}

} // namespace rp::handoff::session
