// What a test controls in place of the world: a clock that stands still until told otherwise, and scripted randomness.
#pragma once

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "base/clock.hpp"
#include "handoff/issued_tokens.hpp"
#include "handoff/token.hpp"

namespace rp::test {

constexpr handoff::Duration ns(std::uint64_t count) {
    return handoff::Duration(count);
}
constexpr handoff::Instant at(std::uint64_t count) {
    return handoff::Instant(ns(count));
}

// A token of sixteen equal bytes.
inline handoff::Token token_of(std::uint8_t byte) {
    handoff::Token::Bytes bytes{};
    bytes.fill(byte);
    return handoff::Token(bytes);
}

inline handoff::ByteView view(const std::vector<std::uint8_t> &bytes) {
    return {bytes.data(), bytes.size()};
}

template <class T>
handoff::Status status_of(const handoff::Result<T> &result) {
    return result ? handoff::Status::ok : result.error();
}

// Ends the oldest that is overdue, if any is.
inline std::optional<handoff::AckRegistry::Overdue> expire_next(handoff::AckRegistry &acks, handoff::TokenStore &store,
                                                                handoff::Instant now) {
    std::optional<handoff::AckRegistry::Overdue> first;
    acks.expire(store, now, 1, [&](const handoff::AckRegistry::Overdue &overdue) { first.emplace(overdue); });
    return first;
}
inline std::optional<handoff::AckRegistry::Overdue> expire_next(handoff::IssuedTokens &tokens, handoff::Instant now) {
    std::optional<handoff::AckRegistry::Overdue> first;
    tokens.expire(now, 1, [&](const handoff::AckRegistry::Overdue &overdue) { first.emplace(overdue); });
    return first;
}

class FakeTime final : public handoff::TimeSource {
  public:
    explicit FakeTime(handoff::Instant start = {}) : now_(start) {}

    void set(handoff::Instant now) { now_ = now; }

    handoff::Instant now() noexcept override { return now_; }
    handoff::Wait wait(int, short, handoff::Instant until) noexcept override {
        now_ = std::max(now_, until);
        return handoff::Wait::timed_out;
    }

  private:
    handoff::Instant now_;
};

// Fills with one byte after the other of its script, and fails at its end.
class ScriptedRandom final : public handoff::RandomSource {
  public:
    explicit ScriptedRandom(std::vector<std::uint8_t> script) : script_(std::move(script)) {}

    std::size_t calls() const { return calls_; }

    bool fill(std::uint8_t *out, std::size_t length) noexcept override {
        if (calls_++ >= script_.size()) {
            return false;
        }
        std::memset(out, script_[calls_ - 1], length);
        return true;
    }

  private:
    std::vector<std::uint8_t> script_;
    std::size_t calls_ = 0;
};

// Counts upwards, so that no two are equal.
class CountingRandom final : public handoff::RandomSource {
  public:
    bool fill(std::uint8_t *out, std::size_t length) noexcept override {
        ++count_;
        std::memset(out, 0, length);
        std::memcpy(out, &count_, std::min(length, sizeof count_));
        return true;
    }

  private:
    std::uint64_t count_ = 0;
};

} // namespace rp::test
