// The memory that all processes share: its making, numbering, and the list of violations.
#include "table.hpp"

#include <cstdarg>
#include <cstdlib>
#include <new>
#include <sys/mman.h>

namespace rp::chaos {

namespace {

[[noreturn]] void give_up(const char *why) {
    std::fprintf(stderr, "chaos: %s\n", why);
    std::exit(2);
}

// All zero, and backed by memory only where it is written.
void *shared(std::size_t size) {
    void *memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        give_up("no memory to share");
    }
    return memory;
}

} // namespace

Table &Table::make(std::uint32_t attempts, std::uint32_t lives) {
    Table *table = new (shared(sizeof(Table))) Table();
    table->attempts_ = static_cast<Attempt *>(shared(sizeof(Attempt) * std::size_t{attempts}));
    table->lives_ = static_cast<Life *>(shared(sizeof(Life) * std::size_t{lives}));
    table->attempt_limit_ = attempts;
    table->life_limit_ = lives;
    return *table;
}

std::uint32_t Table::new_life(Role role, std::uint32_t index) {
    const std::uint32_t number = ++last_life;
    if (number >= life_limit_) {
        give_up("too many processes");
    }
    lives_[number].role = role;
    lives_[number].index = index;
    return number;
}

std::uint32_t Table::new_attempt() {
    const std::uint32_t number = ++last_attempt;
    if (number >= attempt_limit_) {
        violation("more attempts than connections account for: %u", number);
        give_up("too many attempts");
    }
    return number;
}

std::uint32_t Table::life_of(std::uint32_t pid, Role role) noexcept {
    for (std::uint32_t number = last_life; number != 0; --number) {
        const Life &life = lives_[number];
        if (life.pid == pid && life.role == role) {
            return number;
        }
    }
    return 0;
}

void Table::note_death(std::uint32_t life) {
    std::uint32_t none = 0; // its own and the schedule's may come together
    lives_[life].death.compare_exchange_strong(none, ++deaths);
    lives_[life].fate = Fate::killed;
}

void Table::violation(const char *format, ...) {
    const std::uint32_t at = violations++;
    if (at < texts_kept) {
        va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(texts_[at], sizeof texts_[at], format, arguments);
        va_end(arguments);
    }
}

void Table::print_violations(std::FILE *to) const {
    for (std::uint32_t i = 0; i < violations && i < texts_kept; ++i) {
        std::fprintf(to, "violation: %s\n", texts_[i]);
    }
    if (violations > texts_kept) {
        std::fprintf(to, "and %u more\n", violations - texts_kept);
    }
}

} // namespace rp::chaos
