#include "session/offer_batch.hpp"

#include <cstring>

namespace rp::handoff::session {

void OfferBatch::encode(SlotTable &slots, Ledger &ledger, std::size_t most, std::uint32_t flags, bool more) noexcept {
    std::uint8_t *out = fixed_.data() + header_size;
    std::uint8_t *piece = fixed_.data();
    count_ = piece_count_ = 0;
    bytes_ = header_size;
    for (Index i = slots.first_queued(); i != no_index && count_ < most; i = slots.next_queued(i)) {
        SlotTable::Slot &slot = slots[i];
        const std::uint8_t *const data = slot.payload.data();
        const std::uint32_t first = more && count_ == 0 ? std::uint32_t{Offer::more} : 0U;
        const Offer offer{i,
                          (slot.ready_follows ? std::uint32_t{Offer::ready_follows} : 0U) | flags | first,
                          slot.ticket,
                          slot.correlation_id,
                          slot.token,
                          {data, slot.metadata},
                          {data + slot.metadata, slot.early},
                          {data + slot.metadata + slot.early, slot.prologue}};
        if (bytes_ + offer.size() > max_frame) {
            break;
        }
        ledger.offer(i, slot.ticket, slot.token);
        slot.in_ledger = true;
        out += encode_offer(out, offer);
        if (slot.payload.size() > 0) {
            pieces_[piece_count_++] = {piece, static_cast<std::size_t>(out - piece)};
            pieces_[piece_count_++] = {slot.payload.data(), slot.payload.size()};
            piece = out;
        }
        bytes_ += offer.size();
        fds_[count_++] = slot.fd;
    }
    if (out > piece) {
        pieces_[piece_count_++] = {piece, static_cast<std::size_t>(out - piece)};
    }
    encode_header(fixed_.data(), {FrameKind::offers, static_cast<std::uint16_t>(count_),
                                  static_cast<std::uint32_t>(bytes_ - header_size)});
}

void OfferBatch::wipe() noexcept {
    explicit_bzero(fixed_.data(), header_size + count_ * Offer::fixed_size);
    count_ = 0;
}

} // namespace rp::handoff::session
