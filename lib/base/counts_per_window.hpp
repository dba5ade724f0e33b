// Counts per key in tumbling windows of time: a window starts at a key's first count and ends so much later, and then
// the key is as good as unknown, so it is dropped.
//
// Pure. Of more than max_keys keys the oldest window is forgotten.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/clock.hpp"
#include "base/deadline_map.hpp"

namespace rp::handoff {

template <class Key, class Hash>
class Windows {
  public:
    // Zeros are clamped: the length to 1 ms, the number of keys to 1.
    Windows(Duration length, std::size_t max_keys) noexcept
        : length_(length.count() == 0 ? std::chrono::milliseconds(1) : length),
          max_keys_(std::max<std::size_t>(max_keys, 1)) {}

    std::size_t keys() const noexcept { return windows_.size(); }

    std::uint32_t count(const Key &key, Instant now) noexcept {
        windows_.expire(now);
        const Entry entry = windows_.find(key);
        return entry ? entry.value().count : 0;
    }

    // So many calls of add do not throw.
    void reserve(std::size_t more) { windows_.reserve(std::min(more, max_keys_)); }

    // Counts one more, up to `max`.
    void add(Key key, std::uint32_t max, Instant now) {
        windows_.expire(now);
        Entry entry = windows_.find(key);
        if (!entry) {
            if (windows_.size() >= max_keys_) {
                windows_.erase(windows_.first());
            }
            // A window that would end beyond the end of time never does.
            const Instant end = length_ > Instant::max() - now ? end_of_time : now + length_;
            entry = windows_.insert(std::move(key), end, {now, 0});
        }
        entry.value().count = std::min(entry.value().count + 1, max);
    }

    void forget(const Key &key) noexcept {
        if (const Entry entry = windows_.find(key)) {
            windows_.erase(entry);
        }
    }

    // How long a known key's window goes on. The whole length if the clock was set back to before its start.
    Duration remaining(const Key &key, Instant now) noexcept {
        const Entry entry = windows_.find(key);
        return entry ? length_ - std::min(length_, elapsed(entry.value().start, now)) : Duration::zero();
    }

  private:
    struct Window {
        Instant start;
        std::uint32_t count = 0;
    };
    using Map = DeadlineMap<Key, Window, Hash>;
    using Entry = typename Map::Entry;

    Duration length_;
    std::size_t max_keys_;
    Map windows_;
};

} // namespace rp::handoff
