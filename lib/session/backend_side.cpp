#include "session/backend_side.hpp"

#include <algorithm>
#include <cerrno>

#include "base/text.hpp"

namespace rp::handoff::session {

namespace {

constexpr std::size_t strays_at_once = std::size_t{4} * os::DescriptorGroup::capacity;
constexpr int reads_at_once = 64;

} // namespace

BackendSide::BackendSide(Config config)
    : discards_(config.max_in_flight + strays_at_once), channel_(std::move(config), Channel::Role::backend, discards_),
      places_(new Place[channel_.config().max_in_flight]), place_count_(channel_.config().max_in_flight),
      free_(places_.get()), ready_(places_.get()), answers_(place_count_) {
    for (Index i = 0; i < place_count_; ++i) {
        free_.push_back(i);
    }
}

// ---- work -----------------------------------------------------------------------------------------------------------

void BackendSide::read(Instant now) {
    for (int reads = 0; reads < reads_at_once && channel_.read(now); ++reads) {
        parse(now);
        // What the ledger announces spares a read that finds nothing.
        if (!std::exchange(more_, false) || channel_.ledger()->announced() == offers_) {
            break;
        }
    }
    settle_end();
}

void BackendSide::take(const Link::Read &read, Instant now) {
    if (channel_.take(read, now)) {
        parse(now);
        if (std::exchange(more_, false) && channel_.ledger()->announced() != offers_) {
            this->read(now);
        }
    }
    settle_end();
}

void BackendSide::parse(Instant now) {
    while (const std::optional<Link::Frame> frame = channel_.next_frame(now)) {
        const Status status = take_offers(*frame, now);
        if (status == Status::frame_incomplete) {
            channel_.stall(true);
            return;
        }
        if (status != Status::ok) {
            channel_.end(status, "the broker broke the protocol of sessions");
            return;
        }
        channel_.drop_frame();
    }
}

void BackendSide::advance(Instant now) {
    channel_.begin_turn(now);
    if (channel_.is_stalled()) {
        channel_.stall(false);
        parse(now);
    }
    if (!channel_.flush(now)) {
        nobody_hears();
    }
    if (channel_.is_open()) {
        pump(now);
    }
    channel_.end_turn(unanswered_ == 0 && items_left_ == 0, now);
    settle_end();
}

void BackendSide::close(Instant now) {
    channel_.farewell().begin();
    advance(now);
}

// ---- offers ---------------------------------------------------------------------------------------------------------

Status BackendSide::take_offers(const Link::Frame &frame, Instant now) {
    if (items_left_ == 0) {
        const os::Ancillary &beside = channel_.link().beside();
        const std::size_t came = beside.descriptors.size();
        const std::uint16_t count = frame.header.count;
        // Fewer than were sent are a prefix of them, if the kernel did not deliver the rest.
        if (frame.header.kind != FrameKind::offers || count == 0 || count > max_batch || came > count ||
            (came < count && beside.truncation == os::Truncation::none)) {
            return Status::protocol;
        }
        items_left_ = count;
        items_ = frame.body;
        channel_.ledger()->announce_core();
    }
    while (items_left_ > 0) {
        ByteView rest = items_;
        const Result<Offer> offer = next_offer(rest);
        if (!offer || unanswered_ >= place_count_) { // more than we said that we take
            return Status::protocol;
        }
        if (!has_room(*offer)) {
            return Status::frame_incomplete; // until a holder is done with one
        }
        if (const Status status = take_offer(*offer, now); status != Status::ok) {
            return status;
        }
        items_ = rest;
        --items_left_;
    }
    return items_.empty() ? Status::ok : Status::protocol;
}

bool BackendSide::has_room(const Offer &offer) const noexcept {
    const std::size_t size = offer.metadata.size() + offer.early.size() + offer.prologue.size();
    return !free_.empty() && (held_bytes_ == 0 || held_bytes_ + size <= channel_.config().max_held);
}

Status BackendSide::take_offer(const Offer &offer, Instant now) {
    if (offer.slot >= channel_.ledger()->slots() || offer.ticket == 0 || offer.ticket > Ledger::max_ticket) {
        return Status::protocol;
    }
    ++offers_;
    more_ = more_ || (offer.flags & Offer::more) != 0;
    channel_.speak_on((offer.flags & Offer::answer_here) != 0 ? channel_.link() : channel_.answer_link());
    UniqueFd fd = channel_.link().beside().descriptors.take();
    if (!fd) {
        const bool denied = channel_.link().beside().truncation == os::Truncation::denied;
        reject_offer(offer, denied ? Answer::Verdict::denied : Answer::Verdict::no_descriptor, {});
        return Status::ok;
    }
    const Index i = free_.first();
    Place &place = places_[i];
    const std::size_t size = offer.metadata.size() + offer.early.size() + offer.prologue.size();
    const bool stored = place.payload.allocate(size);
    if (stored) {
        std::uint8_t *out = place.payload.data();
        for (const ByteView bytes : {offer.metadata, offer.early, offer.prologue}) {
            out = std::copy(bytes.begin(), bytes.end(), out);
        }
        held_bytes_ += size;
    }
    place.slot = offer.slot;
    place.ticket = offer.ticket;
    place.correlation_id = offer.correlation_id;
    place.flags = offer.flags;
    place.metadata = static_cast<std::uint32_t>(offer.metadata.size());
    place.early = static_cast<std::uint32_t>(offer.early.size());
    place.prologue = static_cast<std::uint32_t>(offer.prologue.size());
    place.written = 0;
    place.received_at = now;
    place.token = offer.token;
    place.fd = std::move(fd);
    place.phase = Phase::ready;
    place.unwanted = false;
    free_.remove(i);
    ready_.push_back(i);
    ++unanswered_;
    if (!stored) {
        refuse_unheld(i);
    }
    return Status::ok;
}

// What did not come cannot be closed either.
void BackendSide::reject_offer(const Offer &offer, Answer::Verdict verdict, std::string_view text) noexcept {
    channel_.ledger()->refuse(offer.slot, offer.ticket);
    ++refused_;
    answer(offer.slot, offer.ticket, verdict, text);
}

// Of a ready one that nobody will be given: it is closed first, outside, and then answered.
void BackendSide::refuse_unheld(Index i) noexcept {
    ready_.remove(i);
    places_[i].phase = Phase::refusing;
    places_[i].unwanted = true;
    discards_.add(std::move(places_[i].fd), Discards::Kind::refused, i);
}

void BackendSide::discarded(const Discards::Batch &batch) noexcept {
    for (std::size_t n = 0; n < batch.count; ++n) {
        if (batch.entries[n].kind == Discards::Kind::refused) {
            finish_refusal(batch.entries[n].place,
                           shutting_down_ ? "the backend is shutting down" : "the backend is out of memory");
        }
    }
}

bool BackendSide::take_event(Event &event) noexcept {
    draining_ = true;
    if (channel_.take_opened(event)) {
        return true;
    }
    if (const Index i = ready_.first(); i != no_index) {
        ready_.remove(i);
        places_[i].phase = Phase::given;
        event.kind = Event::Kind::offer;
        event.offer = i;
        return true;
    }
    if (channel_.take_end(event)) {
        return true;
    }
    draining_ = false;
    return false;
}

BackendSide::Info BackendSide::info(Index i) const noexcept {
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

Doorbell::State BackendSide::state() const noexcept {
    const bool event = !ready_.empty() || channel_.has_event();
    const bool unsent = channel_.is_open() && !answers_.empty() && !channel_.wants_room(); // put off for later
    return {unsent ? Instant() : channel_.wake_at(), event, channel_.is_over() && !event};
}

// ---- answers --------------------------------------------------------------------------------------------------------

Result<UniqueFd> BackendSide::accept(Index i) noexcept {
    Place &place = places_[i];
    if (place.phase != Phase::given) {
        return Failure(Status::answered);
    }
    const Ledger::Adoption adoption = channel_.ledger()->adopt(place.slot, place.ticket, place.token);
    if (adoption != Ledger::Adoption::adopted) {
        discards_.add(std::move(place.fd));
        place.written = place.prologue;
        ++lost_;
        answer_place(i, Answer::Verdict::lost, {});
        if (adoption == Ledger::Adoption::violated) {
            channel_.end(Status::protocol, "the ledger does not say what the offer says");
            settle_end();
        }
        return Failure(adoption == Ledger::Adoption::violated ? Status::protocol : Status::revoked);
    }
    write_prologue(place);
    ++accepted_;
    answer_place(i, Answer::Verdict::adopted, {});
    return std::move(place.fd);
}

void BackendSide::write_prologue(Place &place) noexcept {
    if (place.prologue > 0) {
        const ByteView bytes = part(place, place.metadata + place.early, place.prologue);
        place.written = static_cast<std::uint32_t>(os::send(place.fd.get(), -1, bytes).bytes);
    }
}

Result<UniqueFd> BackendSide::begin_refusal(Index i) noexcept {
    Place &place = places_[i];
    if (place.phase != Phase::given) {
        return Failure(Status::answered);
    }
    place.phase = Phase::refusing;
    return std::move(place.fd);
}

// Once the word says so, the connection is the broker's own.
void BackendSide::finish_refusal(Index i, std::string_view text) noexcept {
    Place &place = places_[i];
    place.written = place.prologue;
    channel_.ledger()->refuse(place.slot, place.ticket);
    ++refused_;
    answer_place(i, Answer::Verdict::refused, text);
    if (place.unwanted) {
        free(i);
    }
}

void BackendSide::answer_place(Index i, Answer::Verdict verdict, std::string_view text) noexcept {
    places_[i].phase = Phase::answered;
    --unanswered_;
    answer(places_[i].slot, places_[i].ticket, verdict, text);
}

void BackendSide::answer(std::uint32_t slot, std::uint64_t ticket, Answer::Verdict verdict,
                         std::string_view text) noexcept {
    if (channel_.is_open() && !answers_.add(slot, ticket, verdict, text)) {
        channel_.end(Status::protocol, "the broker reads no answers");
        settle_end();
    }
}

void BackendSide::release(Index i) noexcept {
    free(i);
}

void BackendSide::free(Index i) noexcept {
    Place &place = places_[i];
    held_bytes_ -= place.payload.size();
    place.payload.clear();
    place.token.wipe();
    place.phase = Phase::free;
    free_.push_back(i);
}

void BackendSide::pump(Instant now) noexcept {
    channel_.begins_sending();
    while (channel_.is_open() && !channel_.outgoing().has_unsent() && !answers_.empty()) {
        if (!send_answers(now)) {
            return;
        }
    }
}

bool BackendSide::send_answers(Instant now) noexcept {
    const AnswerBox::Some some = answers_.first();
    std::array<std::uint8_t, header_size> header{};
    encode_header(header.data(), {FrameKind::answers, some.count, static_cast<std::uint32_t>(some.bytes.size())});
    const std::array<iovec, 2> pieces{
        {{header.data(), header.size()}, {const_cast<std::uint8_t *>(some.bytes.data()), some.bytes.size()}}};
    const os::Sent sent = channel_.outgoing().send(nullptr, 0, pieces.data(), pieces.size());
    if (sent.os_error == 0) {
        answers_.drop(some);
    } else if (channel_.has_to_wait(sent.os_error, now)) {
        return false;
    } else {
        nobody_hears();
    }
    return true;
}

// ---- the end --------------------------------------------------------------------------------------------------------

// The broker is gone, but what it had offered before can still be read, and adopted: nobody else has those connections.
void BackendSide::nobody_hears() noexcept {
    channel_.link().drop_unsent();
    channel_.answer_link().drop_unsent();
    answers_.clear();
}

void BackendSide::settle_end() noexcept {
    if (channel_.is_over() && !std::exchange(settled_end_, true)) {
        // Offers that were not taken are the broker's again. Before the session was open there were none.
        const bool offered = channel_.has_been_open();
        channel_.link().drop_beside(offered ? Discards::Kind::shared : Discards::Kind::stray);
        discards_.add(channel_.answer_link().take_socket(), Discards::Kind::own);
        discards_.add(channel_.link().take_socket(), offered ? Discards::Kind::with_offers : Discards::Kind::own);
    }
}

void BackendSide::refuse_waiting() noexcept {
    shutting_down_ = true;
    while (!ready_.empty()) {
        refuse_unheld(ready_.first());
    }
}

void BackendSide::shut_down(Instant now) noexcept {
    if (channel_.is_open()) {
        pump(now);
    }
    channel_.end(Status::ok, {});
    settle_end();
}

Statistics BackendSide::statistics() const noexcept {
    Statistics s;
    s.in_flight = unanswered_;
    s.offers = offers_;
    s.accepted = accepted_;
    s.refused = refused_;
    s.lost = lost_;
    s.messages_sent = channel_.messages_sent();
    s.messages_received = channel_.messages_received();
    return s;
}

} // namespace rp::handoff::session
