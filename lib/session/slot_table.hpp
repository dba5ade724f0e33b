// The handoffs of a broker's session, each in its slot from submit until the backend has answered and its event was taken.
//
// Pure: no socket, no ledger, no clock, no lock. A slot changes its phase only by the transitions below, each of which leaves
// chains, deadlines and counters true; is_true() checks that.
//
//   free --queue--> queued --leave--> sending --rest_left--> sent
//                      |     `------------------------------>|
//                      `----------- conclude ----------------'---> ended --(answered, and its event taken)--> free
//
// queued: zero bytes have left. sending: a part of its message has left, and the rest follows whatever becomes of it. sent: all
// has. ended: has its outcome. What was never sent needs no answer.
#pragma once

#include <cstdint>
#include <memory>

#include "base/deadline_order.hpp"
#include "base/index_list.hpp"
#include "base/text.hpp"
#include "base/wiped_buffer.hpp"
#include "handoff/broker.hpp"
#include "handoff/machine.hpp"
#include "handoff/token.hpp"

namespace rp::handoff::session {

// How a blocking caller learns of its outcome.
struct OutcomeWaiter {
    bool done = false;
    Broker::Report report;
};

class SlotTable {
  public:
    enum class Phase : std::uint8_t { free, queued, sending, sent, ended };
    enum class Descriptor : std::uint8_t { borrowed, taken, duplicated };

    struct Slot {
        // Of the table. Others read only.
        Phase phase = Phase::free;
        bool answered = false;
        bool event = false;

        Descriptor descriptor = Descriptor::borrowed;
        bool in_ledger = false;
        bool ready_follows = false;
        int fd = -1;
        Handoff machine;
        Token token;
        std::uint64_t ticket = 0; // also the handoff's id
        std::uint64_t correlation_id = 0;
        std::uint64_t user_data = 0;
        Instant begun{};
        Instant deadline{};
        Duration elapsed{};
        std::uint32_t metadata = 0; // lengths, of the parts of the payload
        std::uint32_t early = 0;
        std::uint32_t prologue = 0;
        OutcomeWaiter *waiter = nullptr;
        Links order; // in the chain of its phase
        DeadlineLinks timer;
        // Last, and long: with nothing in them only their beginnings are touched.
        BasicWipedBuffer<128> payload; // the three of them, one after the other, until they have left
        Text detail;
    };

    explicit SlotTable(std::uint32_t count);

    std::uint32_t size() const noexcept { return count_; }
    Slot &operator[](Index i) noexcept { return slots_[i]; }
    const Slot &operator[](Index i) const noexcept { return slots_[i]; }
    // The handoff with that id, if it has a slot; no_index otherwise.
    Index find(std::uint64_t id) const noexcept;

    // ---- transitions
    bool has_free() const noexcept { return !free_.empty(); }
    // A free slot, with room for so much payload and an id that was never used: the caller fills in the rest, and then
    // queues or drops it. no_index without memory.
    Index prepare(std::size_t payload) noexcept;
    void drop(Index i) noexcept;
    void queue(Index i) noexcept;
    void leave(Index i, bool whole) noexcept;
    void rest_left() noexcept; // of all that are sending
    // event: it is to be taken by take_event.
    void conclude(Index i, bool event) noexcept;
    void answer(Index i) noexcept; // of what has left
    void answer_all() noexcept;    // no answer will come any more
    Index take_event() noexcept;   // of the oldest; no_index. The slot may be free already, its values still stand.

    // ---- in which order
    Index first_queued() const noexcept { return queue_.first(); }
    Index next_queued(Index i) const noexcept { return queue_.after(i); }
    Index first_sending() const noexcept { return sending_.first(); }
    Index next_sending(Index i) const noexcept { return sending_.after(i); }
    Index first_event() const noexcept { return events_.first(); }
    Index next_event(Index i) const noexcept { return events_.after(i); }
    Index first_due() const noexcept { return deadlines_.first(); } // of those without an outcome
    Instant nearest_deadline() const noexcept {
        return deadlines_.empty() ? end_of_time : slots_[deadlines_.first()].deadline;
    }

    // ---- counters
    std::uint32_t used() const noexcept { return used_; } // not free
    std::uint32_t queued() const noexcept { return queued_; }
    std::uint32_t undecided() const noexcept { return undecided_; }   // queued, sending or sent
    std::uint32_t unanswered() const noexcept { return unanswered_; } // what may lie in the backend's queue
    std::size_t queued_bytes() const noexcept { return queued_bytes_; }

    bool is_true() const noexcept; // looks at all of it

  private:
    void take_from_queue(Index i) noexcept;
    void free_if_over(Index i) noexcept;

    std::unique_ptr<Slot[]> slots_;
    std::uint32_t count_;
    IndexList<Slot, &Slot::order> free_;
    IndexList<Slot, &Slot::order> queue_;
    IndexList<Slot, &Slot::order> sending_;
    IndexList<Slot, &Slot::order> events_;
    DeadlineOrder<Slot, &Slot::timer> deadlines_;
    std::uint32_t used_ = 0;
    std::uint32_t queued_ = 0;
    std::uint32_t undecided_ = 0;
    std::uint32_t unanswered_ = 0;
    std::size_t queued_bytes_ = 0;
    std::uint64_t tickets_ = 0;
};

} // namespace rp::handoff::session
