// The backend's side of a session: offers as they come, each answered once, and adopted only in the ledger.
//
// An offer has a place from when it was received until its holder is done with it, which is after the answer, since its
// metadata and early bytes are the holder's to read.
//
//   free -> ready -> given -> answered -> free
//                      `-> refusing -^        the duplicate is being closed, unlocked, before the broker hears of it
//
// While all places are taken by offers that were answered, or their payloads take as many bytes as they may, nothing more is
// read. Answers accumulate while events are being taken, and leave together when the last one was.
//
// Single-threaded and never waiting: BackendSession locks it and waits around it.
#pragma once

#include <memory>

#include "base/wiped_buffer.hpp"
#include "session/answer_box.hpp"
#include "session/channel.hpp"
#include "session/discards.hpp"

namespace rp::handoff::session {

class BackendSide {
  public:
    explicit BackendSide(Config config);
    BackendSide(const BackendSide &) = delete;
    BackendSide &operator=(const BackendSide &) = delete;

    Channel &channel() noexcept { return channel_; }
    Discards &discards() noexcept { return discards_; }
    void discarded(const Discards::Batch &batch) noexcept; // after it was closed

    // ---- work
    void read(Instant now);
    void take(const Link::Read &read, Instant now);
    void advance(Instant now);
    void close(Instant now);
    void refuse_waiting() noexcept; // offers that nobody was given
    void shut_down(Instant now) noexcept;

    // ---- of an offer that an event gave out, by its number, until release
    struct Info {
        std::uint64_t correlation_id;
        Instant received_at;
        Token token;
        bool ready_follows;
        bool has_prologue;
        ByteView metadata;
        ByteView early;
        ByteView unwritten; // of the prologue, after accept
    };
    Info info(Index i) const noexcept;
    // The connection. answered, revoked, protocol.
    Result<UniqueFd> accept(Index i) noexcept;
    // The duplicate, to be closed before finish_refusal; answered.
    Result<UniqueFd> begin_refusal(Index i) noexcept;
    void finish_refusal(Index i, std::string_view text) noexcept;
    bool is_given(Index i) const noexcept { return places_[i].phase == Phase::given; }
    void release(Index i) noexcept;                          // of an answered one
    void forget(Index i) noexcept { places_[i].fd.reset(); } // in a forked child

    // ---- what there is
    Doorbell::State state() const noexcept;
    Doorbell::Watches watches() const noexcept { return channel_.watches(); }
    bool take_event(Event &event) noexcept;
    // Events are being taken: answers wait until there is none left. begins_turn: they do not any more.
    void begins_turn() noexcept { draining_ = false; }
    bool may_block_in_read() const noexcept {
        return channel_.is_open() && !channel_.wants_room() && !channel_.is_stalled();
    }
    bool answers_wait() const noexcept { return draining_; }
    std::uint32_t places() const noexcept { return place_count_; }
    Statistics statistics() const noexcept;

  private:
    enum class Phase : std::uint8_t { free, ready, given, refusing, answered };
    struct Place {
        Phase phase = Phase::free;
        bool unwanted = false; // nobody holds it: it is free once it is answered
        std::uint32_t slot = 0;
        std::uint64_t ticket = 0;
        std::uint64_t correlation_id = 0;
        std::uint32_t flags = 0;
        std::uint32_t metadata = 0;
        std::uint32_t early = 0;
        std::uint32_t prologue = 0;
        std::uint32_t written = 0; // of the prologue
        Instant received_at{};
        Token token;
        UniqueFd fd;
        Links order;
        // Last, and long: with nothing in it only its beginning is touched.
        BasicWipedBuffer<256> payload; // metadata, early bytes and prologue, one after the other
    };

    void parse(Instant now);
    Status take_offers(const Link::Frame &frame, Instant now);
    Status take_offer(const Offer &offer, Instant now);
    bool has_room(const Offer &offer) const noexcept;
    void reject_offer(const Offer &offer, Answer::Verdict verdict, std::string_view text) noexcept;
    void refuse_unheld(Index i) noexcept;
    void answer(std::uint32_t slot, std::uint64_t ticket, Answer::Verdict verdict, std::string_view text) noexcept;
    void answer_place(Index i, Answer::Verdict verdict, std::string_view text) noexcept;
    void free(Index i) noexcept;
    void write_prologue(Place &place) noexcept;
    void pump(Instant now) noexcept;
    bool send_answers(Instant now) noexcept; // false: there is no room now
    void nobody_hears() noexcept;
    void settle_end() noexcept;
    ByteView part(const Place &place, std::size_t from, std::size_t size) const noexcept {
        return {place.payload.data() + from, size};
    }

    Discards discards_;
    Channel channel_;
    std::unique_ptr<Place[]> places_;
    const std::uint32_t place_count_;
    IndexList<Place, &Place::order> free_;
    IndexList<Place, &Place::order> ready_;
    AnswerBox answers_;
    std::uint32_t unanswered_ = 0;
    std::size_t held_bytes_ = 0; // payloads of all places

    // of a frame of offers that is being taken
    ByteView items_;
    std::uint32_t items_left_ = 0;

    bool draining_ = false;
    bool more_ = false; // the broker may have more on its way
    bool settled_end_ = false;
    bool shutting_down_ = false;
    std::uint64_t offers_ = 0;
    std::uint64_t accepted_ = 0;
    std::uint64_t refused_ = 0;
    std::uint64_t lost_ = 0;
};

} // namespace rp::handoff::session
