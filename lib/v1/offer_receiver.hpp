// Receives one v1 offer from a broker's connection, however the stream cuts it: sixteen token bytes with the descriptor
// on the first of them, then the framed HandoffOffer.
//
// Never waits and never reads a byte beyond the offer. The descriptor is owned from the recvmsg(2) on. The deadline is
// the caller's business, and so is closing: what came and belongs to no offer is his.
#pragma once

#include <array>
#include <cstdint>

#include "base/status.hpp"
#include "base/unique_fd.hpp"
#include "base/wiped_buffer.hpp"
#include "handoff/token.hpp"
#include "os/descriptor.hpp"
#include "wire/exchange.hpp"

namespace rp::handoff {

class OfferReceiver {
  public:
    explicit OfferReceiver(std::uint32_t max_frame) noexcept : max_frame_(max_frame) {}
    OfferReceiver(const OfferReceiver &) = delete;
    OfferReceiver &operator=(const OfferReceiver &) = delete;
    ~OfferReceiver() { wipe(); }

    // ok: the offer is whole. frame_incomplete: come back when there is more. closed: end of file where an offer would
    // begin. Any other status: the connection is of no further use (protocol: it speaks sessions; descriptors,
    // unexpected_eof, frame_version, frame_too_large, no_memory, system). `unasked`, which is empty, is left with the
    // descriptors that belong to no offer.
    Status step(int connection, os::Ancillary &unasked) noexcept;

    bool started() const noexcept { return received_ > 0; }
    // Why the descriptor of a whole offer did not come; none: it did.
    os::Truncation lost() const noexcept { return lost_; }

    // Of a whole offer. The body's payload points into this receiver until reset().
    ByteView body() noexcept { return body_.view(); }
    Token sideband() const noexcept;
    UniqueFd take_fd() noexcept { return std::move(fd_); }

    void reset() noexcept; // once the descriptor was taken

  private:
    static constexpr std::size_t prefix_size = Token::size + wire::header_size;

    std::uint8_t *target(std::size_t &wanted) noexcept;
    Status accept_beside(os::Ancillary &beside) noexcept;
    Status accept_bytes(std::size_t count) noexcept;
    void wipe() noexcept;

    std::uint32_t max_frame_;
    std::array<std::uint8_t, prefix_size> prefix_{};
    FrameBuffer body_;
    UniqueFd fd_;
    os::Truncation lost_ = os::Truncation::none;
    std::size_t received_ = 0; // of prefix and body together
};

} // namespace rp::handoff
