// The adoption ledger of one session: shared memory in which adoption and revocation race through one word per handoff.
//
//   word of a slot                    who swaps it, and when
//   {ticket, pending}                 the broker, before it sends the offer
//   {ticket, pending} -> adopted      the backend, before it touches the connection
//   {ticket, pending} -> refused      the backend, after it closed its duplicate
//   {ticket, pending} -> revoked      the broker, when the handoff ends for whatever cause
//
// One strong compare-and-swap each, never repeated, whose expected value comes from the swapper's own memory. Tickets
// never repeat in a session, so that an offer whose slot was used again cannot be adopted. The broker believes nothing in
// the page but the word, and that only as far as it owes it: whatever is neither its own revocation nor exactly the
// backend's refusal counts as adopted. A page belongs to one session; what its peer scribbles there harms that one.
#pragma once

#include <atomic>
#include <cstdint>

#include "handoff/machine.hpp"
#include "handoff/token.hpp"
#include "os/shared_memory.hpp"

namespace rp::handoff {

class Ledger {
  public:
    static constexpr std::uint64_t max_ticket = (std::uint64_t{1} << 61U) - 1;

    // The broker's: a new page. system.
    static Result<Ledger> create(std::uint32_t slots) noexcept;
    // The backend's: checks what it was sent before it maps it. protocol, system.
    static Result<Ledger> attach(UniqueFd file, std::uint32_t slots) noexcept;

    std::uint32_t slots() const noexcept { return slots_; }
    int file() const noexcept { return file_.get(); } // to send
    void close_file() noexcept { file_.reset(); }     // the mapping stays

    // Broker. Slots are its own numbers.
    void offer(std::uint32_t slot, std::uint64_t ticket, const Token &token) noexcept;
    struct Settled {
        Ownership owner; // broker or backend
        bool violated;   // the word holds what neither side may have written
    };
    Settled settle(std::uint32_t slot, std::uint64_t ticket) noexcept;

    // Hints, on which nothing but speed depends.
    // How many offers have left so far: it spares the backend a read that finds nothing.
    void announce_sent(std::uint64_t offers) noexcept { at(0).sent.store(offers, std::memory_order_relaxed); }
    std::uint64_t announced() noexcept { return at(0).sent.load(std::memory_order_relaxed); }
    // Where the backend was running when it took an offer: it tells the broker how to wait for the answer.
    void announce_core() noexcept;
    bool backend_is_elsewhere() noexcept; // on another core than this thread, as far as is known

    // Backend. The caller has checked the slot's number, which came from the broker.
    enum class Adoption { adopted, lost, violated };
    Adoption adopt(std::uint32_t slot, std::uint64_t ticket, const Token &token) noexcept;
    void refuse(std::uint32_t slot, std::uint64_t ticket) noexcept;

  private:
    using Word = std::uint64_t;
    enum State : Word { pending = 1, adopted = 2, refused = 3, revoked = 4 };
    struct Slot {
        std::atomic<Word> word;
        std::atomic<Word> token[2];
        std::atomic<Word> sent;  // in the first slot
        std::atomic<Word> core;  // in the first slot: its number + 1, or 0
        std::uint8_t unused[24]; // each slot has a cache line of its own
    };
    static_assert(std::atomic<Word>::is_always_lock_free, "a lock in shared memory would let a peer stop us");
    static_assert(sizeof(std::atomic<Word>) == 8 && sizeof(Slot) == 64, "the page's layout is a part of the protocol");

    Ledger(os::SharedMemory memory, std::uint32_t slots, UniqueFd file) noexcept
        : memory_(std::move(memory)), slots_(slots), file_(std::move(file)) {}

    static constexpr Word word_of(std::uint64_t ticket, State state) noexcept { return ticket << 3U | state; }
    static Word this_core() noexcept; // its number + 1; 0: not known
    Slot &at(std::uint32_t slot) noexcept { return static_cast<Slot *>(memory_.address())[slot]; }

    os::SharedMemory memory_;
    std::uint32_t slots_;
    UniqueFd file_;
};

} // namespace rp::handoff
