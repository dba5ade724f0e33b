// Text of bounded size that never allocates, for details that end up in somebody's log.
//
// What is appended may come from a peer: control characters and invalid UTF-8 become '?', and what does not fit is cut
// at a character's boundary.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace rp::handoff {

class Text {
  public:
    static constexpr std::size_t capacity = 255;

    Text() noexcept {} // NOLINT(modernize-use-equals-default): a default would be value-initialised, all of it
    Text(const Text &other) noexcept : size_(other.size_) { copy_bytes(other); }
    Text &operator=(const Text &other) noexcept {
        size_ = other.size_;
        copy_bytes(other);
        return *this;
    }
    explicit Text(std::string_view s) noexcept { *this += s; }

    Text &operator+=(std::string_view s) noexcept;
    Text &operator+=(std::int64_t number) noexcept;

    std::string_view view() const noexcept { return {bytes_.data(), size_}; }
    bool empty() const noexcept { return size_ == 0; }

  private:
    void copy_bytes(const Text &other) noexcept { std::copy_n(other.bytes_.begin(), size_, bytes_.begin()); }

    std::size_t size_ = 0;
    // Most texts are empty and copied several times on the way to the caller, so only what is there is ever touched.
    std::array<char, capacity> bytes_;
};

bool is_utf8(std::string_view s) noexcept;

// The longest prefix of valid UTF-8 that is at most max bytes long and ends at a character's boundary.
std::string_view utf8_prefix(std::string_view s, std::size_t max) noexcept;

} // namespace rp::handoff
