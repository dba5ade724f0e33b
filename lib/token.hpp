// The one-time secret of a handoff, and where its bytes come from.
//
// A token wipes itself when it goes out of scope, compares in constant time, and has no way to be printed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "status.hpp"

namespace rp::handoff {

using ByteView = std::basic_string_view<std::uint8_t>;

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
    void wipe() noexcept { explicit_bzero(bytes_.data(), size); }

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
    std::size_t hash() const noexcept;

  private:
    Bytes bytes_{};
};

struct TokenHash {
    std::size_t operator()(const Token &token) const noexcept { return token.hash(); }
};

class RandomSource {
  public:
    RandomSource() = default;
    RandomSource(const RandomSource &) = delete;
    RandomSource &operator=(const RandomSource &) = delete;
    virtual ~RandomSource() = default;

    virtual bool fill(std::uint8_t *out, std::size_t length) noexcept = 0;
};

// getrandom(2).
class SystemRandom final : public RandomSource {
  public:
    bool fill(std::uint8_t *out, std::size_t length) noexcept override;
};

Result<Token> generate_token(RandomSource &random) noexcept;

} // namespace rp::handoff
