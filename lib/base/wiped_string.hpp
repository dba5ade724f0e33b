// Bytes in which a token may lie, while they are put together: wiped at the end, whichever way that comes.
//
// Room for all of them is made at once, since growing would leave outgrown copies behind.
#pragma once

#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

namespace rp::handoff {

class WipedString {
  public:
    explicit WipedString(std::size_t capacity) { text_.reserve(capacity); }
    explicit WipedString(std::string text) noexcept : text_(std::move(text)) {}
    WipedString(WipedString &&other) noexcept : text_(std::move(other.text_)) {}
    WipedString &operator=(WipedString &&) = delete;
    ~WipedString() { explicit_bzero(text_.data(), text_.size()); }

    std::string &text() noexcept { return text_; }
    const std::string &text() const noexcept { return text_; }

  private:
    std::string text_;
};

} // namespace rp::handoff
