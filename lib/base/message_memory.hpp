// How much of the kernel's memory a message on a Unix socket takes at least, by its length.
//
// What is known of every kernel is little: SKB_TRUESIZE adds to the bytes sizeof(struct sk_buff) and sizeof(struct
// skb_shared_info), which are 256 and 320 on 64 bit and less on 32 (include/linux/skbuff.h). What one takes exactly depends
// on the kernel's allocator; os/message_memory.hpp measures that.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace rp::handoff {

struct MessageMemory {
    // The kernel rounds up to its cache lines, none of which are shorter in a processor that this was seen on.
    static constexpr std::uint64_t step = 64;
    static constexpr std::size_t steps = 24;
    static constexpr std::uint64_t overhead = sizeof(void *) >= 8 ? 512 : 256;

    // Of messages longer than so many steps. 0: not measured.
    std::array<std::uint32_t, steps> measured{};

    std::uint64_t at_least(std::uint64_t bytes) const noexcept {
        const std::uint64_t full_steps = bytes == 0 ? 0 : std::min<std::uint64_t>((bytes - 1) / step, steps - 1);
        return std::max<std::uint64_t>(overhead + bytes, measured[full_steps]);
    }
};

} // namespace rp::handoff
