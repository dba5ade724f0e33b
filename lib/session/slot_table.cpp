#include "session/slot_table.hpp"

#include "session/frames.hpp"

namespace rp::handoff::session {

namespace {

// A ticket has the slot's number in its low bits, so that a handoff is found by its id.
constexpr unsigned slot_bits = 12;
static_assert(1U << slot_bits == max_in_flight);

} // namespace

SlotTable::SlotTable(std::uint32_t count)
    : slots_(new Slot[count]), count_(count), free_(slots_.get()), queue_(slots_.get()), sending_(slots_.get()),
      events_(slots_.get()), deadlines_(slots_.get(), count) {
    for (Index i = 0; i < count_; ++i) {
        free_.push_back(i);
    }
}

Index SlotTable::find(std::uint64_t id) const noexcept {
    const auto i = static_cast<Index>(id & (max_in_flight - 1));
    return i < count_ && slots_[i].ticket == id && slots_[i].phase != Phase::free ? i : no_index;
}

Index SlotTable::prepare(std::size_t payload) noexcept {
    const Index i = free_.first();
    if (!slots_[i].payload.allocate(payload)) {
        return no_index;
    }
    free_.remove(i);
    ++used_;
    Slot &slot = slots_[i];
    slot.machine = Handoff();
    slot.in_ledger = slot.answered = slot.event = false;
    slot.ticket = ++tickets_ << slot_bits | i;
    slot.detail = Text();
    slot.waiter = nullptr;
    return i;
}

void SlotTable::drop(Index i) noexcept {
    slots_[i].payload.clear();
    free_.push_back(i);
    --used_;
}

void SlotTable::queue(Index i) noexcept {
    Slot &slot = slots_[i];
    slot.phase = Phase::queued;
    queue_.push_back(i);
    deadlines_.add(i, slot.deadline);
    queued_bytes_ += slot.payload.size();
    ++queued_;
    ++undecided_;
}

void SlotTable::take_from_queue(Index i) noexcept {
    queue_.remove(i);
    queued_bytes_ -= slots_[i].payload.size();
    slots_[i].payload.clear();
    --queued_;
}

void SlotTable::leave(Index i, bool whole) noexcept {
    Slot &slot = slots_[i];
    take_from_queue(i);
    slot.phase = whole ? Phase::sent : Phase::sending;
    if (!whole) {
        sending_.push_back(i);
    }
    ++unanswered_;
}

void SlotTable::rest_left() noexcept {
    while (!sending_.empty()) {
        const Index i = sending_.first();
        sending_.remove(i);
        slots_[i].phase = Phase::sent;
    }
}

void SlotTable::conclude(Index i, bool event) noexcept {
    Slot &slot = slots_[i];
    if (slot.phase == Phase::queued) {
        take_from_queue(i);
        slot.answered = true; // nobody was asked
    } else if (slot.phase == Phase::sending) {
        sending_.remove(i);
    }
    deadlines_.remove(i);
    --undecided_;
    slot.phase = Phase::ended;
    slot.event = event;
    if (event) {
        events_.push_back(i);
    }
    free_if_over(i);
}

void SlotTable::answer(Index i) noexcept {
    slots_[i].answered = true;
    --unanswered_;
    free_if_over(i);
}

void SlotTable::answer_all() noexcept {
    for (Index i = 0; i < count_ && unanswered_ > 0; ++i) {
        if (slots_[i].phase >= Phase::sending && !slots_[i].answered) {
            answer(i);
        }
    }
}

Index SlotTable::take_event() noexcept {
    const Index i = events_.first();
    if (i != no_index) {
        events_.remove(i);
        slots_[i].event = false;
        free_if_over(i);
    }
    return i;
}

void SlotTable::free_if_over(Index i) noexcept {
    Slot &slot = slots_[i];
    if (slot.phase == Phase::ended && slot.answered && !slot.event) {
        slot.phase = Phase::free;
        free_.push_back(i);
        --used_;
    }
}

bool SlotTable::is_true() const noexcept {
    std::uint32_t used = 0;
    std::uint32_t undecided = 0;
    std::uint32_t unanswered = 0;
    std::size_t bytes = 0;
    std::uint32_t with_event = 0;
    Instant nearest = end_of_time;
    for (Index i = 0; i < count_; ++i) {
        const Slot &slot = slots_[i];
        const bool has_left = slot.phase == Phase::sending || slot.phase == Phase::sent || slot.phase == Phase::ended;
        const bool open = slot.phase != Phase::free && slot.phase != Phase::ended;
        used += slot.phase != Phase::free ? 1 : 0;
        undecided += open ? 1 : 0;
        nearest = open ? std::min(nearest, slot.deadline) : nearest;
        unanswered += has_left && !slot.answered ? 1 : 0;
        bytes += slot.payload.size();
        with_event += slot.event ? 1 : 0;
        if ((slot.payload.size() > 0 && slot.phase != Phase::queued) || (slot.event && slot.phase != Phase::ended)) {
            return false;
        }
    }
    const auto length = [](const auto &list) {
        std::uint32_t n = 0;
        for (Index i = list.first(); i != no_index; i = list.after(i)) {
            ++n;
        }
        return n;
    };
    return used == used_ && length(queue_) == queued_ && undecided == undecided_ && unanswered == unanswered_ &&
           bytes == queued_bytes_ && nearest == nearest_deadline() && length(free_) == count_ - used_ &&
           length(events_) == with_event;
}

} // namespace rp::handoff::session
