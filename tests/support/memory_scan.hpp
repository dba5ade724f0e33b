// Looks for secrets in this process's own memory: tokens of sixteen times the same byte.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <pthread.h>
#include <vector>

#include "support/sockets.hpp"

namespace rp::test {

constexpr std::uint8_t secret = 0x5E;

namespace detail {

constexpr std::size_t token_size = 16;
constexpr std::size_t largest = 64 << 20; // a sanitizer maps more than anybody could look through

// How often sixteen such bytes in a row lie in this piece of memory.
inline std::size_t count_in(int memory, std::uint64_t from, std::uint64_t to) {
    static Bytes piece(1 << 16);
    std::size_t found = 0;
    std::size_t run = 0;
    while (from < to) {
        const std::size_t wanted = std::min<std::size_t>(piece.size(), to - from);
        const ssize_t n = pread(memory, piece.data(), wanted, static_cast<off_t>(from));
        if (n <= 0) {
            break;
        }
        for (ssize_t i = 0; i < n; ++i) {
            run = piece[static_cast<std::size_t>(i)] == secret ? run + 1 : 0;
            found += run == token_size ? 1 : 0;
        }
        from += static_cast<std::uint64_t>(n);
    }
    std::fill(piece.begin(), piece.end(), std::uint8_t{0});
    return found;
}

// TSan's run-time library saves registers on the stack at every turn, whatever is in them.
#ifdef __SANITIZE_THREAD__
constexpr bool stack_is_clean = false;
#else
constexpr bool stack_is_clean = true;
#endif

} // namespace detail

// ASan keeps frames that functions have left elsewhere than on the stack, the test's own among them.
#ifdef __SANITIZE_ADDRESS__
constexpr bool frames_are_kept = true;
#else
constexpr bool frames_are_kept = false;
#endif

inline std::size_t tokens_in_memory() {
    const UniqueFd memory(open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
    REQUIRE(memory);
    std::FILE *const maps = std::fopen("/proc/self/maps", "re");
    REQUIRE(maps != nullptr);
    std::size_t found = 0;
    char line[512];
    while (std::fgets(line, sizeof line, maps) != nullptr) {
        unsigned long from = 0;
        unsigned long to = 0;
        char mode[8] = {};
        if (std::sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 && mode[0] == 'r' && mode[1] == 'w' &&
            to - from <= detail::largest && (detail::stack_is_clean || std::strstr(line, "[stack]") == nullptr)) {
            found += detail::count_in(memory.get(), from, to);
        }
    }
    std::fclose(maps);
    return found;
}

// What lay on the stack below is there no more; on the real one, which a sanitizer would not use for this.
__attribute__((noinline, no_sanitize("address"))) inline void clear_stack() {
    volatile char below[1 << 16];
    for (volatile char &byte : below) {
        byte = 0;
    }
}

__attribute__((noinline)) inline void check_no_token_in_memory() {
    tokens_in_memory(); // binds the functions that it calls; the dynamic linker saves registers on the stack for that
    clear_stack();
    CHECK(tokens_in_memory() == 0);
}

// Runs call() on a stack of its own; how many tokens it leaves there.
template <class Call>
std::size_t tokens_left_on_stack(Call call) {
    std::vector<std::uint8_t> stack(1 << 20);
    const auto run = [](void *argument) -> void * {
        (*static_cast<Call *>(argument))();
        return nullptr;
    };
    pthread_attr_t attributes;
    pthread_t thread{};
    REQUIRE(pthread_attr_init(&attributes) == 0);
    REQUIRE(pthread_attr_setstack(&attributes, stack.data(), stack.size()) == 0);
    REQUIRE(pthread_create(&thread, &attributes, run, &call) == 0);
    REQUIRE(pthread_join(thread, nullptr) == 0);
    pthread_attr_destroy(&attributes);
    const UniqueFd memory(open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
    const auto from = reinterpret_cast<std::uintptr_t>(stack.data());
    const std::size_t found = detail::count_in(memory.get(), from, from + stack.size());
    explicit_bzero(stack.data(), stack.size());
    return found;
}

} // namespace rp::test
