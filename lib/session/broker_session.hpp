// The broker's side of a session: many handoffs in flight, each settled once, in the ledger.
//
// A handoff has a slot from submit until the backend has answered and its event was taken; the bound on slots is thus the
// bound on what lies in the backend's queue. What cannot be sent yet waits in a queue, and nothing of it can be adopted.
//
//   queued    in its slot, the word is written when it is sent, zero bytes have left
//   sending   a part of its message has left; the rest follows whatever becomes of the handoff
//   sent      all has left
//   ended     has its outcome; the slot is free once the backend answered and the event was taken
#pragma once

#include <array>

#include "base/index_list.hpp"
#include "base/single_threaded.hpp"
#include "base/wiped_buffer.hpp"
#include "handoff/broker.hpp"
#include "session/ledger.hpp"
#include "session/session.hpp"

namespace rp::handoff::session {

struct Submission {
    enum class Descriptor { borrowed, taken, duplicated };
    int fd = -1;
    Descriptor descriptor = Descriptor::taken;
    bool ready_follows = false;
    ByteView metadata;
    ByteView early;
    ByteView prologue;
    const Token *token = nullptr;     // null: issue one
    Duration timeout{};               // zero: the token's own deadline
    std::uint64_t correlation_id = 0; // 0: the broker's next
    std::uint64_t user_data = 0;

    std::size_t payload_size() const noexcept { return metadata.size() + early.size() + prologue.size(); }
};

class BrokerSession final : public Session {
  public:
    // Takes config.connection_fd on success, if there is no path. The broker outlives the session.
    static Result<std::shared_ptr<BrokerSession>> open(Config config, Broker &broker);
    BrokerSession(Config config, Broker &broker, os::Poller poller);
    ~BrokerSession() override;

    // The handoff's id. It begins now, and is sent with the next send_submitted or flush.
    Result<std::uint64_t> submit(const Submission &submission, Instant now);
    void send_submitted();
    bool cancel(std::uint64_t id);
    Result<Broker::Report> execute(const Submission &submission);

    // Which broker it belongs to.
    const Broker &broker() const noexcept { return broker_; }

    void shutdown() noexcept override;

  private:
    enum class Phase { free, queued, sending, sent, ended };
    struct Waiter {
        bool done = false;
        Broker::Report report;
    };
    struct Slot {
        Handoff machine;
        Phase phase = Phase::free;
        bool in_ledger = false;
        bool answered = false;
        bool event = false;
        Submission::Descriptor descriptor = Submission::Descriptor::borrowed;
        int fd = -1;
        Token token;
        std::uint64_t ticket = 0; // also the handoff's id
        std::uint64_t correlation_id = 0;
        std::uint64_t user_data = 0;
        Instant begun{};
        Instant deadline{};
        Duration elapsed{};
        bool ready_follows = false;
        std::uint32_t metadata = 0;
        std::uint32_t early = 0;
        std::uint32_t prologue = 0;
        Waiter *waiter = nullptr;
        Links order; // in the chain of its phase
        Links timer;
        // Last, and long: with nothing in them only their beginnings are touched.
        BasicFrameBuffer<128> payload; // the three of them, one after the other, until they are sent
        Text detail;
    };

    // ---- of Session
    Status greet() override;
    Status on_greeting(const Link::Frame &frame) override;
    Status on_frame(const Link::Frame &frame) override;
    bool on_goodbye(Instant now) override;
    void on_broken_pipe(Instant now) noexcept override { end(Status::closed, now); }
    void on_end(Status why, Instant now) noexcept override;
    void on_time(Instant now) override;
    void pump(Instant now) override;
    bool wants_output() const noexcept override { return blocked_; }
    bool reads_again() noexcept override { return false; } // answers that wait come with one read
    Instant nearest_deadline() const noexcept override;
    bool take_event(Event &event) override;
    bool has_event() const noexcept override { return !events_.empty(); }
    bool is_done() const noexcept override { return undecided_ == 0; }
    bool is_first_to_end() const noexcept override { return true; }
    bool reads_control() const noexcept override { return state_ == State::greeting; }
    // Another thread's call may bring a deadline, or an event.
    bool may_block_in_read() const noexcept override { return is_single_threaded() && !blocked_; }
    Statistics count() const noexcept override;

    Status check(const Submission &submission) const noexcept;
    Result<Index> place(const Submission &submission, const Broker::Lease &lease, int fd);
    Result<Index> begin_handoff(const Submission &submission, Instant now, Lock &lock);
    void set_timer(Index i) noexcept;
    bool send_batch(std::size_t most, Instant now);
    std::size_t encode_batch(std::size_t most, std::uint32_t flags, std::size_t &bytes) noexcept;
    void batch_left(std::size_t count, bool whole) noexcept;
    void fail_first(int os_error, Instant now) noexcept;
    void all_has_left() noexcept;
    Status answer(const Answer &answer, Instant now) noexcept;
    void conclude(Index i, const Handoff::Event &event, Instant now, std::string_view detail) noexcept;
    void settle_descriptor(Slot &slot) noexcept;
    static HandoffReport report_of(const Slot &slot) noexcept;
    void answered(Index i) noexcept;
    void free_if_over(Index i) noexcept;
    void end_all(Cause cause, Instant now) noexcept;
    void end_queued(Cause cause, Instant now) noexcept;

    Broker &broker_;
    std::unique_ptr<Slot[]> slots_;
    const std::uint32_t slot_count_;
    Chain<Slot, &Slot::order> free_;
    Chain<Slot, &Slot::order> queue_;
    Chain<Slot, &Slot::order> sending_;
    Chain<Slot, &Slot::order> events_;
    Chain<Slot, &Slot::timer> timers_; // undecided ones, nearest deadline first
    std::optional<Ledger> ledger_;
    std::uint32_t used_ = 0;       // slots that are not free
    std::uint32_t undecided_ = 0;  // queued, sending or sent
    std::uint32_t unanswered_ = 0; // sending or sent, or ended without an answer: what may lie in the backend's queue
    std::uint64_t tickets_ = 0;
    std::size_t queued_bytes_ = 0;
    bool answers_here_ = false; // is what the next offers ask, if they can
    bool blocked_ = false;      // the socket took nothing
    bool violated_ = false;     // the ledger holds what nobody may have written
    std::shared_ptr<InFlight::Account> account_;
    std::uint64_t sent_ = 0;    // offers of which something has left
    std::uint64_t submitted_ = 0;
    std::uint64_t completed_ = 0;
    std::uint64_t fallbacks_ = 0;

    std::array<std::uint8_t, header_size + max_batch * Offer::fixed_size> scratch_{};
    std::array<iovec, 1 + 2 * max_batch> pieces_{};
    std::array<int, max_batch> fds_{};
    std::size_t piece_count_ = 0;
};

} // namespace rp::handoff::session
