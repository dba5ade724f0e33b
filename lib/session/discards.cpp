#include "session/discards.hpp"

#include <algorithm>

#include "os/closing.hpp"

namespace rp::handoff::session {

void Discards::Batch::close() noexcept {
    for (std::size_t i = 0; i < count; ++i) {
        switch (entries[i].kind) {
        case Kind::stray:
            os::discard(UniqueFd(entries[i].fd));
            break;
        case Kind::own:
            os::drain_and_close(UniqueFd(entries[i].fd));
            break;
        case Kind::with_offers:
            os::drain_and_close(UniqueFd(entries[i].fd), os::Unreceived::close);
            break;
        case Kind::remains:
            os::drain(entries[i].fd);
            break;
        default:
            UniqueFd(entries[i].fd).reset();
        }
    }
}

// Only in a forked child is something left here: its copies.
Discards::~Discards() {
    for (const Entry &entry : entries_) {
        UniqueFd(entry.fd).reset();
    }
}

void Discards::add(UniqueFd fd, Kind kind, Index place) noexcept {
    if (fd && entries_.size() < entries_.capacity()) {
        entries_.push_back({fd.release(), kind, place});
    }
}

Discards::Batch Discards::take() noexcept {
    Batch batch;
    batch.count = std::min(entries_.size(), batch.entries.size());
    std::copy_n(entries_.begin(), batch.count, batch.entries.begin());
    entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(batch.count));
    return batch;
}

} // namespace rp::handoff::session
