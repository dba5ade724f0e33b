#include "session/ledger.hpp"

#include <sched.h>

namespace rp::handoff {

Result<Ledger> Ledger::create(std::uint32_t slots) noexcept {
    const std::size_t size = slots * sizeof(Slot);
    Result<UniqueFd> file = os::create_shared_file(size);
    if (!file) {
        return Failure(file.error());
    }
    Result<os::SharedMemory> memory = os::SharedMemory::map(file->get(), size);
    if (!memory) {
        return Failure(memory.error());
    }
    return Ledger(std::move(*memory), slots, std::move(*file));
}

Result<Ledger> Ledger::attach(UniqueFd file, std::uint32_t slots) noexcept {
    const std::size_t size = slots * sizeof(Slot);
    if (const Status status = os::check_shared_file(file.get(), size); status != Status::ok) {
        return Failure(status);
    }
    Result<os::SharedMemory> memory = os::SharedMemory::map(file.get(), size);
    if (!memory) {
        return Failure(memory.error());
    }
    return Ledger(std::move(*memory), slots, UniqueFd());
}

void Ledger::offer(std::uint32_t slot, std::uint64_t ticket, const Token &token) noexcept {
    Slot &s = at(slot);
    // Whoever sees the new token does not see the old word beside it any more: what ended that one came before.
    s.token[0].store(token.word(0), std::memory_order_release);
    s.token[1].store(token.word(1), std::memory_order_release);
    s.word.store(word_of(ticket, pending), std::memory_order_release);
}

Ledger::Settled Ledger::settle(std::uint32_t slot, std::uint64_t ticket) noexcept {
    Slot &s = at(slot);
    Word word = word_of(ticket, pending);
    const bool revoked_now = s.word.compare_exchange_strong(word, word_of(ticket, revoked), std::memory_order_acq_rel);
    // The token has ended. As above: who misses it does not see the old word any more.
    s.token[0].store(0, std::memory_order_release);
    s.token[1].store(0, std::memory_order_release);
    if (revoked_now || word == word_of(ticket, refused)) {
        return {Ownership::broker, false};
    }
    return {Ownership::backend, word != word_of(ticket, adopted)};
}

Ledger::Adoption Ledger::adopt(std::uint32_t slot, std::uint64_t ticket, const Token &token) noexcept {
    Slot &s = at(slot);
    const Word offered = word_of(ticket, pending);
    const Word difference = (s.token[0].load(std::memory_order_acquire) ^ token.word(0)) |
                            (s.token[1].load(std::memory_order_acquire) ^ token.word(1));
    if (difference != 0) {
        // Another token in the slot was read before this; if the slot was used again, the offer was revoked long ago.
        return s.word.load(std::memory_order_acquire) == offered ? Adoption::violated : Adoption::lost;
    }
    Word word = offered;
    return s.word.compare_exchange_strong(word, word_of(ticket, adopted), std::memory_order_acq_rel) ? Adoption::adopted
                                                                                                     : Adoption::lost;
}

Ledger::Word Ledger::this_core() noexcept {
    const int core = sched_getcpu();
    return core < 0 ? 0 : static_cast<Word>(core) + 1;
}

void Ledger::announce_core() noexcept {
    const Word core = this_core();
    if (at(0).core.load(std::memory_order_relaxed) != core) { // a store would take the line from the broker
        at(0).core.store(core, std::memory_order_relaxed);
    }
}

bool Ledger::backend_is_elsewhere() noexcept {
    const Word core = at(0).core.load(std::memory_order_relaxed);
    return core != 0 && core != this_core();
}

void Ledger::refuse(std::uint32_t slot, std::uint64_t ticket) noexcept {
    Word word = word_of(ticket, pending);
    at(slot).word.compare_exchange_strong(word, word_of(ticket, refused), std::memory_order_acq_rel);
}

} // namespace rp::handoff
