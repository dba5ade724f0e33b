// Names of services: each is kept once, however many tokens are pending for it.
//
// A name that no token uses any more is kept for its next use as long as it is among the last few, so that a steady
// state allocates nothing; other names are forgotten with their last token.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace rp::handoff {

// A copy of a name that never allocates. What is longer than the protocol allows is cut.
class ServiceName {
  public:
    static constexpr std::size_t capacity = 255;

    explicit ServiceName(std::string_view name) noexcept : size_(name.copy(bytes_.data(), capacity)) {
        bytes_[size_] = 0;
    }

    std::string_view view() const noexcept { return {bytes_.data(), size_}; }
    const char *c_str() const noexcept { return bytes_.data(); }

    friend bool operator==(const ServiceName &a, std::string_view b) noexcept { return a.view() == b; }

  private:
    std::array<char, capacity + 1> bytes_; // so many, and a NUL
    std::size_t size_;
};

class ServiceNames {
    struct Use {
        std::size_t count = 0;
        bool recent = false; // is in recent_
    };

  public:
    // How many names are kept that are not in use.
    static constexpr std::size_t spare = 64;

    // One name, while it is in use.
    using Name = std::pair<const std::string, Use>;

    std::size_t size() const noexcept { return names_.size(); }

    // Changes nothing if it throws std::bad_alloc.
    Name *use(std::string_view name);
    void release(Name *name) noexcept;

  private:
    std::map<std::string, Use, std::less<>> names_;
    std::array<Name *, spare> recent_{}; // those that went out of use last, in a ring; some may be in use again
    std::size_t oldest_ = 0;
    Name *last_ = nullptr; // asked for: most often the next one too
};

} // namespace rp::handoff
