// The broker's side of a session: many handoffs in flight, each settled once, in the ledger.
//
// Single-threaded and never waiting: BrokerSession locks it and waits around it. Made of parts: the channel to the backend,
// the slots of the handoffs, the batch that leaves, and the account of what lies in the backend's queue.
#pragma once

#include <memory>

#include "handoff/broker.hpp"
#include "session/channel.hpp"
#include "session/discards.hpp"
#include "session/offer_batch.hpp"
#include "session/slot_table.hpp"

namespace rp::handoff::session {

struct Submission {
    using Descriptor = SlotTable::Descriptor;
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

class BrokerSide {
  public:
    BrokerSide(Config config, Broker &broker);
    BrokerSide(const BrokerSide &) = delete;
    BrokerSide &operator=(const BrokerSide &) = delete;
    ~BrokerSide();

    Channel &channel() noexcept { return channel_; }
    Discards &discards() noexcept { return discards_; }
    void discarded(const Discards::Batch &batch) noexcept; // after it was closed

    // ---- work
    void read(Instant now);
    void take(const Link::Read &read, Instant now);
    void advance(Instant now);
    void close(Instant now);
    void shut_down(Instant now) noexcept;

    // A handoff begins: its slot's number. The lease is the caller's if this fails. `fd` is what travels.
    Result<Index> place(const Submission &submission, const Broker::Lease &lease, int fd);
    std::uint64_t id_of(Index i) const noexcept { return slots_[i].ticket; }
    void set_waiter(Index i, OutcomeWaiter &waiter) noexcept { slots_[i].waiter = &waiter; }
    bool cancel(std::uint64_t id, Instant now);
    void cancel(Index i, Instant now, int os_error, std::string_view detail) noexcept;
    // Where answers to the next offers are to come: on the first socket, for a thread that will wait in a read.
    void ask_answers_here(bool here) noexcept { answers_here_ = here; }
    bool backend_is_elsewhere() noexcept {
        return channel_.ledger() != nullptr && channel_.ledger()->backend_is_elsewhere();
    }

    // ---- what there is
    Doorbell::State state() const noexcept;
    Doorbell::Watches watches() const noexcept { return channel_.watches(); }
    bool take_event(Event &event) noexcept;
    void events_are_taken() noexcept {}
    void begins_turn() noexcept {}
    // Nothing but its peer can make it do something.
    bool may_block_in_read() const noexcept { return channel_.is_open() && !channel_.wants_room(); }
    Statistics statistics() const noexcept;

  private:
    using Slot = SlotTable::Slot;

    void parse(Instant now);
    Status take_answers(const Link::Frame &frame, Instant now) noexcept;
    Status answer(const Answer &answer, Instant now) noexcept;
    void conclude_due(Instant now) noexcept;
    void pump(Instant now);
    bool send_batch(Instant now); // false: there is no room now
    std::size_t most_now() noexcept;
    void batch_left(bool whole) noexcept;
    void refused_by_kernel(int os_error, Instant now) noexcept;
    void conclude(Index i, const Handoff::Event &event, Instant now, std::string_view detail) noexcept;
    void settle_descriptor(Slot &slot) noexcept;
    static HandoffReport report_of(const Slot &slot) noexcept;
    void end_queued(Instant now) noexcept;
    void end_all(Cause cause, std::string_view detail, int os_error, Instant now) noexcept;
    void settle_end(Instant now) noexcept;
    void join_account() noexcept;

    Broker &broker_;
    Discards discards_;
    Channel channel_;
    SlotTable slots_;
    OfferBatch batch_;
    std::shared_ptr<InFlight::Account> account_;
    std::size_t one_by_one_ = 0; // so many of the queue's first are sent by themselves: one of them is at fault
    bool answers_here_ = false;  // is what the next offers ask, if they can
    bool joined_ = false;        // the account counts
    bool settled_end_ = false;
    Instant room_again_at_ = end_of_time; // when to look whether there is room
    bool violated_ = false;               // the ledger holds what nobody may have written
    std::uint64_t sent_ = 0;              // offers of which something has left
    std::uint64_t submitted_ = 0;
    std::uint64_t completed_ = 0;
    std::uint64_t fallbacks_ = 0;
};

} // namespace rp::handoff::session
