// The body of one frame while it is received: inside the object as a rule, in memory of its own for the rare long one.
//
// Its size comes from a peer, so it says no where others throw; and since a token may be in it, it is wiped.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "base/bytes.hpp"

namespace rp::handoff {

template <std::size_t Inside>
class BasicWipedBuffer {
  public:
    BasicWipedBuffer() noexcept = default;
    BasicWipedBuffer(const BasicWipedBuffer &) = delete;
    BasicWipedBuffer &operator=(const BasicWipedBuffer &) = delete;
    ~BasicWipedBuffer() { clear(); }

    // Makes room for `size` bytes. False without memory.
    bool allocate(std::size_t size) noexcept {
        clear();
        if (size > small_.size()) {
            large_.reset(new (std::nothrow) std::uint8_t[size]);
            if (large_ == nullptr) {
                return false;
            }
        }
        size_ = size;
        return true;
    }

    void clear() noexcept {
        if (size_ > 0) { // most session offers have no payload
            explicit_bzero(data(), size_);
            large_.reset();
            size_ = 0;
        }
    }

    std::uint8_t *data() noexcept { return large_ ? large_.get() : small_.data(); }
    std::size_t size() const noexcept { return size_; }
    const std::uint8_t *data() const noexcept { return large_ ? large_.get() : small_.data(); }
    ByteView view() const noexcept { return {data(), size_}; }

  private:
    std::size_t size_ = 0; // beside what is before this in an object of many
    std::unique_ptr<std::uint8_t[]> large_;
    std::array<std::uint8_t, Inside> small_{};
};

using FrameBuffer = BasicWipedBuffer<512>;

} // namespace rp::handoff
