#include "os/fork_mark.hpp"

#include <atomic>
#include <new>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

namespace rp::handoff::os {

namespace {

using Mark = std::atomic<std::uint64_t>; // 0: this process has not taken one yet
static_assert(Mark::is_always_lock_free);

// What fork copies. It grows before a mark is taken from it, so a child starts behind each mark that it may have inherited.
Mark fork_mark_generation{0};
Mark fork_mark_without_page{0};
Mark fork_mark_nowhere{0}; // stays 0
std::atomic<Mark *> fork_mark_place{nullptr};

Mark *map_page() noexcept {
#ifdef MADV_WIPEONFORK
    const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    void *const page = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return nullptr;
    }
    if (madvise(page, size, MADV_WIPEONFORK) == 0) {
        return new (page) Mark(0);
    }
    munmap(page, size);
#endif
    return nullptr;
}

void unmap_page(Mark *page) noexcept {
    munmap(page, static_cast<std::size_t>(sysconf(_SC_PAGESIZE)));
}

// Once and for all: marks from different places must not be compared.
Mark *choose_place() noexcept {
    Mark *const page = map_page();
    Mark *mine = page;
    if (mine == nullptr) {
        const auto forget = [] { fork_mark_without_page.store(0, std::memory_order_relaxed); };
        mine = pthread_atfork(nullptr, nullptr, forget) == 0 ? &fork_mark_without_page : &fork_mark_nowhere;
    }
    Mark *others = nullptr;
    if (fork_mark_place.compare_exchange_strong(others, mine, std::memory_order_acq_rel)) {
        return mine;
    }
    if (page != nullptr) {
        unmap_page(page);
    }
    return others;
}

std::uint64_t mark_anew(Mark *mark) noexcept {
    if (mark == nullptr) {
        mark = choose_place();
    }
    if (mark == &fork_mark_nowhere) {
        return std::uint64_t{1} << 63U | static_cast<std::uint64_t>(getpid());
    }
    const std::uint64_t next = fork_mark_generation.fetch_add(1, std::memory_order_relaxed) + 1;
    std::uint64_t others = 0;
    return mark->compare_exchange_strong(others, next, std::memory_order_relaxed) ? next : others;
}

} // namespace

std::uint64_t fork_mark() noexcept {
    Mark *const mark = fork_mark_place.load(std::memory_order_acquire);
    const std::uint64_t value = mark != nullptr ? mark->load(std::memory_order_relaxed) : 0;
    return value != 0 ? value : mark_anew(mark);
}

} // namespace rp::handoff::os
