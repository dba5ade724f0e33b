// The one-time secret of a handoff, and where its bytes come from.
//
// A token wipes itself when it goes out of scope, compares in constant time, and has no way to be printed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/bytes.hpp"
#include "base/random_source.hpp"
#include "base/status.hpp"

namespace rp::handoff {

class Token {
  public:
    static constexpr std::size_t size = 16;
    using Bytes = std::array<std::uint8_t, size>;

    Token() noexcept = default;
    explicit Token(const Bytes &bytes) noexcept : bytes_(bytes) {}
    Token(const Token &) noexcept = default;
    Token &operator=(const Token &) noexcept = default;
    ~Token() { wipe(); }

    // token_missing for no bytes, token_length for any number but 16.
    static Result<Token> parse(ByteView bytes) noexcept;

    const Bytes &bytes() const noexcept { return bytes_; }
    ByteView view() const noexcept { return {bytes_.data(), size}; }
    // As explicit_bzero(3), without the call: the compiler has to take it that somebody reads the zeros.
    void wipe() noexcept {
        bytes_.fill(0);
        asm volatile("" : : "r"(bytes_.data()) : "memory");
    }

    // One of its two halves.
    std::uint64_t word(std::size_t i) const noexcept {
        std::uint64_t w = 0;
        std::memcpy(&w, bytes_.data() + i * sizeof w, sizeof w);
        return w;
    }

    // Both words are compared whatever the first says.
    friend bool operator==(const Token &a, const Token &b) noexcept {
        return ((a.word(0) ^ b.word(0)) | (a.word(1) ^ b.word(1))) == 0;
    }
    friend bool operator!=(const Token &a, const Token &b) noexcept { return !(a == b); }

    // For hash tables. Keys of the library's tables are tokens that this process issued or announced; what a peer
    // presents is only ever compared with one of them, so nobody can aim at a bucket.
    //
    // Tokens are random as a rule, but a replaced source may count upwards, at either end: the high half is folded into
    // the low one before the multiplication, which only spreads upwards, and after it, since buckets are chosen by the
    // low bits.
    std::size_t hash() const noexcept {
        std::uint64_t mixed = word(0) ^ (word(1) * 0x9E3779B97F4A7C15U);
        mixed = (mixed ^ (mixed >> 32U)) * 0xD6E8FEB86659FD93U;
        return static_cast<std::size_t>(mixed ^ (mixed >> 32U));
    }

  private:
    friend Result<Token> generate_token(RandomSource &random) noexcept;

    Bytes bytes_{};
};

struct TokenHash {
    std::size_t operator()(const Token &token) const noexcept { return token.hash(); }
};

Result<Token> generate_token(RandomSource &random) noexcept;

} // namespace rp::handoff
