// Offers as one message: the first of a broker's queue, encoded, with their words in the ledger and their descriptors.
//
// A message that the kernel refuses for the sake of one descriptor is sent again one by one, so that each offer is encoded
// once more at the most.
#pragma once

#include <array>
#include <sys/uio.h>

#include "session/frames.hpp"
#include "session/ledger.hpp"
#include "session/slot_table.hpp"

namespace rp::handoff::session {

class OfferBatch {
  public:
    OfferBatch() noexcept = default;
    OfferBatch(const OfferBatch &) = delete;
    OfferBatch &operator=(const OfferBatch &) = delete;
    ~OfferBatch() { wipe(); }

    // The first of the queue, at most `most`. flags are of all of them; `more`: others are unanswered already.
    void encode(SlotTable &slots, Ledger &ledger, std::size_t most, std::uint32_t flags, bool more) noexcept;
    // Tokens are in it.
    void wipe() noexcept;

    std::size_t count() const noexcept { return count_; }
    std::size_t bytes() const noexcept { return bytes_; }
    const int *fds() const noexcept { return fds_.data(); }
    const iovec *pieces() const noexcept { return pieces_.data(); }
    std::size_t piece_count() const noexcept { return piece_count_; }

  private:
    std::array<std::uint8_t, header_size + max_batch * Offer::fixed_size> fixed_{}; // parts, without payloads
    std::array<iovec, 1 + 2 * max_batch> pieces_{};
    std::array<int, max_batch> fds_{};
    std::size_t piece_count_ = 0;
    std::size_t count_ = 0;
    std::size_t bytes_ = 0;
};

} // namespace rp::handoff::session
