#include "session/backend_session.hpp"

#include <algorithm>
#include <cerrno>

#include "base/text.hpp"
#include "os/endpoint.hpp"

namespace rp::handoff::session {

namespace {

constexpr std::size_t max_texts = std::size_t{16} * 1024; // of all refusals that have not left

} // namespace

Result<std::shared_ptr<BackendSession>> BackendSession::open(Config config, std::unique_ptr<TimeSource> time) {
    return start([&](os::Poller poller) {
        return std::make_shared<BackendSession>(std::move(config), std::move(time), std::move(poller));
    });
}

BackendSession::BackendSession(Config config, std::unique_ptr<TimeSource> time, os::Poller poller)
    : Session(std::move(config), *time, std::move(poller), max_frame, max_answers_frame), own_time_(std::move(time)),
      places_(new Place[config_.max_in_flight]), place_count_(config_.max_in_flight), free_(places_.get()),
      ready_(places_.get()) {
    for (Index i = 0; i < place_count_; ++i) {
        free_.push_back(i);
    }
    answers_.reserve(place_count_ * Answer::fixed_size + max_texts);
}

// ---- the hellos -----------------------------------------------------------------------------------------------------

Status BackendSession::on_greeting(const Link::Frame &frame) {
    return greeted_ ? on_ledger(frame) : on_hello(frame);
}

Status BackendSession::on_hello(const Link::Frame &frame) {
    const Result<Hello> hello =
        frame.header.kind == FrameKind::hello ? decode_hello(frame.body) : Failure(Status::protocol);
    if (!hello || hello->role != Hello::Role::broker || hello->min_version > version || hello->max_version < version) {
        return Status::protocol;
    }
    peer_.service = hello->service;
    their_in_flight_ = hello->max_in_flight;
    std::array<std::uint8_t, max_hello_frame> own{};
    const std::size_t size = encode_hello(own.data(), {Hello::Role::backend, version, version, place_count_, {}});
    greeted_ = true;
    return link_.send({own.data(), size}).os_error == 0 ? Status::ok : Status::closed;
}

Status BackendSession::on_ledger(const Link::Frame &frame) {
    if (frame.header.kind != FrameKind::ledger || !frame.of_one_read) {
        return Status::protocol;
    }
    if (const Status status = authenticate(); status != Status::ok) {
        return status;
    }
    const Result<std::uint32_t> slots = decode_ledger(frame.body);
    os::DescriptorGroup &descriptors = link_.beside().descriptors;
    if (!slots || descriptors.size() != 2) {
        return link_.beside().truncation != os::Truncation::none ? Status::descriptors : Status::protocol;
    }
    Result<Ledger> ledger = Ledger::attach(descriptors.take(), *slots);
    if (!ledger) {
        return ledger.error();
    }
    UniqueFd aside = descriptors.take();
    if (os::check_connection(aside.get()) != Status::ok) {
        return Status::protocol;
    }
    aside_.set_socket(std::move(aside));
    speak_on(aside_);
    ledger_.emplace(std::move(*ledger));
    peer_.max_in_flight = std::min(place_count_, their_in_flight_);
    return opened();
}

// ---- offers ---------------------------------------------------------------------------------------------------------

Status BackendSession::on_frame(const Link::Frame &frame) {
    if (items_left_ == 0) {
        os::Ancillary &beside = link_.beside();
        const std::size_t came = beside.descriptors.size();
        const std::uint16_t count = frame.header.count;
        // Fewer than were sent are a prefix of them, if it was this process that ran out of descriptors.
        if (frame.header.kind != FrameKind::offers || count == 0 || count > max_batch || came > count ||
            (came < count && beside.truncation == os::Truncation::none)) {
            return Status::protocol;
        }
        items_left_ = count;
        items_ = frame.body;
        ledger_->announce_core();
    }
    return receive_offers();
}

Status BackendSession::receive_offers() {
    while (items_left_ > 0) {
        if (unanswered_ >= place_count_) {
            return Status::protocol; // more than we said that we take
        }
        if (free_.empty()) {
            return Status::frame_incomplete; // until a holder is done with one
        }
        const Result<Offer> offer = next_offer(items_);
        const Status status = offer ? receive_offer(*offer) : offer.error();
        if (status != Status::ok) {
            return status;
        }
        --items_left_;
    }
    return items_.empty() ? Status::ok : Status::protocol;
}

Status BackendSession::receive_offer(const Offer &offer) {
    if (offer.slot >= ledger_->slots() || offer.ticket == 0 || offer.ticket > Ledger::max_ticket) {
        return Status::protocol;
    }
    ++offers_;
    more_ = more_ || (offer.flags & Offer::more) != 0;
    speak_on((offer.flags & Offer::answer_here) != 0 ? link_ : aside_);
    UniqueFd fd = link_.beside().descriptors.take();
    const std::size_t size = offer.metadata.size() + offer.early.size() + offer.prologue.size();
    const Index i = free_.first();
    Place &place = places_[i];
    if (!fd || !place.payload.allocate(size)) {
        const bool descriptors = !fd;
        fd.reset();
        ledger_->refuse(offer.slot, offer.ticket);
        ++refused_;
        answer(offer.slot, offer.ticket, descriptors ? Answer::Verdict::no_descriptor : Answer::Verdict::refused,
               descriptors ? "" : "the backend is out of memory");
        return Status::ok;
    }
    std::uint8_t *out = place.payload.data();
    for (const ByteView bytes : {offer.metadata, offer.early, offer.prologue}) {
        out = std::copy(bytes.begin(), bytes.end(), out);
    }
    place.slot = offer.slot;
    place.ticket = offer.ticket;
    place.correlation_id = offer.correlation_id;
    place.flags = offer.flags;
    place.metadata = static_cast<std::uint32_t>(offer.metadata.size());
    place.early = static_cast<std::uint32_t>(offer.early.size());
    place.prologue = static_cast<std::uint32_t>(offer.prologue.size());
    place.written = 0;
    place.received_at = now_;
    place.token = offer.token;
    place.fd = std::move(fd);
    place.phase = Phase::ready;
    free_.remove(i);
    ready_.push_back(i);
    ++unanswered_;
    announce();
    return Status::ok;
}

bool BackendSession::take_event(Event &event) {
    const Index i = ready_.first();
    if (i == no_index) {
        return false;
    }
    ready_.remove(i);
    places_[i].phase = Phase::given;
    event.kind = Event::Kind::offer;
    event.offer = i;
    return true;
}

BackendSession::Info BackendSession::info(Index i) noexcept {
    const Lock lock(mutex_);
    const Place &place = places_[i];
    const std::size_t prologue_at = place.metadata + place.early;
    const bool adopted = place.phase == Phase::answered;
    return {place.correlation_id,
            place.received_at,
            place.token,
            (place.flags & Offer::ready_follows) != 0,
            place.prologue > 0,
            part(place, 0, place.metadata),
            part(place, place.metadata, place.early),
            adopted ? part(place, prologue_at + place.written, place.prologue - place.written) : ByteView()};
}

// ---- answers --------------------------------------------------------------------------------------------------------

Result<BackendSession::Accepted> BackendSession::accept(Index i) noexcept {
    Lock lock(mutex_);
    Place &place = places_[i];
    if (place.phase != Phase::given) {
        return Failure(Status::answered);
    }
    const Ledger::Adoption adoption = ledger_->adopt(place.slot, place.ticket, place.token);
    if (adoption != Ledger::Adoption::adopted) {
        place.fd.reset();
        place.written = place.prologue;
        ++lost_;
        answer_place(i, Answer::Verdict::lost, {});
        if (adoption == Ledger::Adoption::violated) {
            advance(now_);
            end(Status::protocol, now_);
        }
        send_unless_drained(lock);
        return Failure(adoption == Ledger::Adoption::violated ? Status::protocol : Status::revoked);
    }
    write_prologue(place);
    ++accepted_;
    Accepted accepted{std::move(place.fd), state_ == State::open};
    answer_place(i, Answer::Verdict::adopted, {});
    send_unless_drained(lock);
    return accepted;
}

// Whoever takes events sends the answers when he took the last; an answer that comes at another time leaves at once.
// Gives up the lock for that. Nobody needs to know the time before.
void BackendSession::send_unless_drained(Lock &lock) {
    if (!draining_) {
        lock.unlock();
        flush();
    }
}

void BackendSession::write_prologue(Place &place) noexcept {
    if (place.prologue > 0) {
        const ByteView bytes = part(place, place.metadata + place.early, place.prologue);
        place.written = static_cast<std::uint32_t>(os::send(place.fd.get(), -1, bytes).bytes);
    }
}

Status BackendSession::refuse(Index i, std::string_view text) noexcept {
    Lock lock(mutex_);
    const Status status = refuse_locked(i, text);
    send_unless_drained(lock);
    return status;
}

Status BackendSession::refuse_locked(Index i, std::string_view text) noexcept {
    Place &place = places_[i];
    if (place.phase != Phase::given) {
        return Status::answered;
    }
    // The duplicate goes first: once the word says so, the connection is the broker's own.
    place.fd.reset();
    place.written = place.prologue;
    ledger_->refuse(place.slot, place.ticket);
    ++refused_;
    answer_place(i, Answer::Verdict::refused, text);
    return state_ == State::open ? Status::ok : Status::ack_undelivered;
}

void BackendSession::release(Index i) noexcept {
    // In a forked child another thread may have held the lock, for ever; and neither ledger nor socket is the child's.
    Lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) {
        if (in_forked_child()) {
            return;
        }
        lock.lock();
    }
    Place &place = places_[i];
    // The rest is this process's own memory. To ask takes a system call.
    const bool reaches_out = place.phase == Phase::given || !draining_ || stalled_;
    if (reaches_out && in_forked_child()) {
        place.fd.reset();
        return;
    }
    refuse_locked(i, "the backend dropped the offer");
    place.payload.clear();
    place.token.wipe();
    place.phase = Phase::free;
    free_.push_back(i);
    const bool sends = !draining_;
    const bool stalled = stalled_;
    lock.unlock();
    if (stalled) {
        resume();
    }
    if (sends || stalled) {
        flush();
    }
}

void BackendSession::answer_place(Index i, Answer::Verdict verdict, std::string_view text) noexcept {
    places_[i].phase = Phase::answered;
    --unanswered_;
    answer(places_[i].slot, places_[i].ticket, verdict, text);
}

void BackendSession::answer(std::uint32_t slot, std::uint64_t ticket, Answer::Verdict verdict,
                            std::string_view text) noexcept {
    if (state_ != State::open) {
        return;
    }
    // Every offer that the broker may have on its way finds room for its answer, so a text gives way; and a broker that
    // reads no answers has no more offers.
    if (answers_.capacity() - answers_.size() < Answer::fixed_size) {
        end(Status::protocol, now_);
        return;
    }
    const std::size_t texts = answers_.size() - answer_count_ * Answer::fixed_size;
    const std::string_view cut = utf8_prefix(text, max_refusal);
    const Answer answer{slot, verdict, ticket, texts + cut.size() <= max_texts ? cut : std::string_view()};
    const std::size_t at = answers_.size();
    answers_.resize(at + Answer::fixed_size + answer.text.size());
    encode_answer(answers_.data() + at, answer);
    ++answer_count_;
}

void BackendSession::pump(Instant now) {
    blocked_ = false;
    while (state_ == State::open && !blocked_ && !outgoing_->has_unsent() && !answers_.empty()) {
        blocked_ = !send_answers(now);
    }
}

// One frame of them. False if the socket takes nothing now.
bool BackendSession::send_answers(Instant now) noexcept {
    std::size_t size = answers_.size();
    std::uint16_t count = answer_count_;
    if (size > max_answers_frame - header_size) {
        size = some_answers(count);
    }
    std::array<std::uint8_t, header_size> header{};
    encode_header(header.data(), {FrameKind::answers, count, static_cast<std::uint32_t>(size)});
    const std::array<iovec, 2> pieces{{{header.data(), header.size()}, {answers_.data(), size}}};
    const os::Sent sent = outgoing_->send(nullptr, 0, pieces.data(), pieces.size());
    if (sent.os_error == 0) {
        answers_.erase(answers_.begin(), answers_.begin() + static_cast<std::ptrdiff_t>(size));
        answer_count_ = static_cast<std::uint16_t>(answer_count_ - count);
        return true;
    }
    if (sent.os_error != EAGAIN && sent.os_error != ENOBUFS) {
        on_broken_pipe(now);
        return true;
    }
    return false;
}

// The broker is gone, but what it had offered before can still be read, and adopted: nobody else has those connections.
void BackendSession::on_broken_pipe(Instant) noexcept {
    link_.drop_unsent();
    aside_.drop_unsent();
    answers_.clear();
    answer_count_ = 0;
}

// How many of the items fit into one frame, and their size.
std::size_t BackendSession::some_answers(std::uint16_t &count) const noexcept {
    const ByteView rest(answers_.data(), answers_.size());
    std::size_t size = 0;
    count = 0;
    for (ByteView next = rest; next_answer(next); ++count) {
        const std::size_t with_next = rest.size() - next.size();
        if (with_next > max_answers_frame - header_size) {
            break;
        }
        size = with_next;
    }
    return size;
}

// ---- the end --------------------------------------------------------------------------------------------------------

void BackendSession::shutdown() noexcept {
    const Instant now = time_.now();
    const Lock lock(mutex_);
    while (!ready_.empty()) {
        const Index i = ready_.first();
        ready_.remove(i);
        places_[i].phase = Phase::given;
        refuse_locked(i, "the backend is shutting down");
        places_[i].phase = Phase::free;
        free_.push_back(i);
    }
    advance(now);
    end(Status::ok, now);
    link_.close(); // offers that were given out may live on
    aside_.close();
}

Statistics BackendSession::count() const noexcept {
    return {unanswered_, 0, 0, 0, offers_, accepted_, refused_, lost_, 0, 0};
}

} // namespace rp::handoff::session
