// The backend's side of a session: offers as they come, each answered once, and adopted only in the ledger.
//
// An offer has a place from when it was received until its holder is done with it, which is after the answer, since its
// metadata and early bytes are the holder's to read. While all places are taken by offers that were answered nothing more
// is read. Answers accumulate and leave together with the next flush.
#pragma once

#include "base/index_list.hpp"
#include "base/wiped_buffer.hpp"
#include "session/ledger.hpp"
#include "session/session.hpp"

namespace rp::handoff::session {

class BackendSession final : public Session {
  public:
    // Takes config.connection_fd on success, if there is no path.
    static Result<std::shared_ptr<BackendSession>> open(Config config, std::unique_ptr<TimeSource> time);
    BackendSession(Config config, std::unique_ptr<TimeSource> time, os::Poller poller);

    std::uint32_t places() const noexcept { return place_count_; }

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
    Info info(Index i) noexcept;

    struct Accepted {
        UniqueFd fd;
        bool delivered; // the acknowledgement will be
    };
    Result<Accepted> accept(Index i) noexcept; // answered, revoked, protocol
    Status refuse(Index i, std::string_view text) noexcept;
    void release(Index i) noexcept; // refuses if there was no answer

    void shutdown() noexcept override;

  private:
    enum class Phase { free, ready, given, answered };
    struct Place {
        Phase phase = Phase::free;
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
        BasicFrameBuffer<256> payload; // metadata, early bytes and prologue, one after the other
    };

    // ---- of Session
    Status greet() override { return Status::ok; } // the broker speaks first
    Status on_greeting(const Link::Frame &frame) override;
    Status on_frame(const Link::Frame &frame) override;
    bool on_goodbye(Instant) override { return false; }
    void on_broken_pipe(Instant) noexcept override;
    void on_end(Status, Instant) noexcept override {} // what is pending in the ledger may still be adopted
    void on_time(Instant) override {}
    void pump(Instant now) override;
    bool wants_output() const noexcept override { return blocked_; }
    bool reads_again() noexcept override { return std::exchange(more_, false) && ledger_->announced() != offers_; }
    Instant nearest_deadline() const noexcept override { return end_of_time; }
    bool take_event(Event &event) override;
    bool has_event() const noexcept override { return !ready_.empty(); }
    bool is_done() const noexcept override { return unanswered_ == 0; }
    bool is_first_to_end() const noexcept override { return false; }
    bool reads_control() const noexcept override { return true; }
    bool may_block_in_read() const noexcept override { return !blocked_; }
    Statistics count() const noexcept override;

    Status on_hello(const Link::Frame &frame);
    Status on_ledger(const Link::Frame &frame);
    Status receive_offers();
    Status receive_offer(const Offer &offer);
    void answer(std::uint32_t slot, std::uint64_t ticket, Answer::Verdict verdict, std::string_view text) noexcept;
    void answer_place(Index i, Answer::Verdict verdict, std::string_view text) noexcept;
    bool send_answers(Instant now) noexcept;
    std::size_t some_answers(std::uint16_t &count) const noexcept;
    void send_unless_drained(Lock &lock);
    Status refuse_locked(Index i, std::string_view text) noexcept;
    void write_prologue(Place &place) noexcept;
    ByteView part(const Place &place, std::size_t from, std::size_t size) const noexcept {
        return {place.payload.data() + from, size};
    }

    const std::unique_ptr<TimeSource> own_time_;
    std::unique_ptr<Place[]> places_;
    const std::uint32_t place_count_;
    Chain<Place, &Place::order> free_;
    Chain<Place, &Place::order> ready_;
    std::optional<Ledger> ledger_;
    bool greeted_ = false;
    std::uint32_t their_in_flight_ = 0;
    std::uint32_t unanswered_ = 0;

    // of a frame of offers that is being received
    ByteView items_;
    std::uint32_t items_left_ = 0;

    std::vector<std::uint8_t> answers_; // that have not left
    std::uint16_t answer_count_ = 0;    // of them
    bool blocked_ = false;              // the socket takes nothing
    bool more_ = false;                 // the broker may have more on its way
    std::uint64_t offers_ = 0;
    std::uint64_t accepted_ = 0;
    std::uint64_t refused_ = 0;
    std::uint64_t lost_ = 0;
};

} // namespace rp::handoff::session
