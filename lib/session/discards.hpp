// Descriptors that a session is done with, until they can be closed with nothing locked: close(2) of the last copy of a
// socket waits as long as its SO_LINGER says, which a peer may have set.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/index_list.hpp"
#include "base/unique_fd.hpp"

namespace rp::handoff::session {

class Discards {
  public:
    enum class Kind {
        shared,      // the other side may own the connection: its options are left alone
        stray,       // nobody asked for it: it is kept from waiting
        refused,     // shared, and the offer in place `place` is refused once it is closed
        own,         // a socket of the session's, in which strays may lie
        with_offers, // likewise, but what lies there is shared
        remains,     // as own, but it is only emptied: what lies at its other end is still to be counted
    };
    struct Entry {
        int fd = -1;
        Kind kind = Kind::shared;
        Index place = no_index;
    };
    struct Batch {
        std::array<Entry, 64> entries;
        std::size_t count = 0;

        void close() noexcept;
    };

    // So many at once never allocate.
    explicit Discards(std::size_t capacity) { entries_.reserve(capacity); }
    Discards(const Discards &) = delete;
    Discards &operator=(const Discards &) = delete;
    ~Discards();

    bool empty() const noexcept { return entries_.empty(); }
    void add(UniqueFd fd, Kind kind = Kind::shared, Index place = no_index) noexcept;
    Batch take() noexcept;

  private:
    std::vector<Entry> entries_;
};

} // namespace rp::handoff::session
