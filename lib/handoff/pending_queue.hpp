// A bounded first-in-first-out queue whose entries expire: connections that wait for a backend.
//
// Pure. Dropping an entry releases whatever the payload owns. Overflow is the caller's to map: it is a fallback with
// reason fd_pressure_disabled.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "base/clock.hpp"
#include "base/status.hpp"

namespace rp::handoff {

template <class Payload>
class PendingQueue {
  public:
    // Zeros are clamped: the capacity to 1, the time to live to 1 ms. An empty std::deque may take memory already.
    explicit PendingQueue(std::size_t capacity = 64, Duration ttl = std::chrono::milliseconds(100))
        : capacity_(std::max<std::size_t>(capacity, 1)), ttl_(ttl.count() == 0 ? std::chrono::milliseconds(1) : ttl) {}

    std::size_t pending_len() const noexcept { return entries_.size(); }
    bool is_empty() const noexcept { return entries_.empty(); }

    // Drops what expired, then: limit, or ok. The payload is made only once there is a place for it, so that nothing
    // of the caller's is taken by a call that fails.
    template <class Make>
    Status enqueue_with(Instant now, Make make) {
        expire(now);
        if (entries_.size() >= capacity_) {
            return Status::limit;
        }
        const Instant expires_at = after(now, ttl_);
        const bool earlier = !entries_.empty() && expires_at < entries_.back().expires_at;
        entries_.push_back({expires_at, Payload{}});
        entries_.back().payload = make();
        in_order_ = in_order_ && !earlier;
        return Status::ok;
    }

    std::optional<Payload> dequeue(Instant now) noexcept {
        expire(now);
        if (entries_.empty()) {
            return std::nullopt;
        }
        std::optional<Payload> oldest(std::move(entries_.front().payload));
        entries_.pop_front();
        return oldest;
    }

    // How many were dropped. Looks at the head only, as long as the clock was never set back.
    std::size_t expire(Instant now) noexcept {
        const std::size_t before = entries_.size();
        while (!entries_.empty() && is_due(entries_.front().expires_at, now)) {
            entries_.pop_front();
        }
        if (!in_order_) {
            const auto dead = [now](const Entry &entry) { return is_due(entry.expires_at, now); };
            entries_.erase(std::remove_if(entries_.begin(), entries_.end(), dead), entries_.end());
        }
        in_order_ = in_order_ || entries_.empty();
        return before - entries_.size();
    }

  private:
    struct Entry {
        Instant expires_at;
        Payload payload;
    };

    std::size_t capacity_;
    Duration ttl_;
    std::deque<Entry> entries_;
    bool in_order_ = true;
};

} // namespace rp::handoff
