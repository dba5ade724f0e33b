#include "os/message_memory.hpp"

#include <sys/socket.h>

#include "os/descriptor.hpp"
#include "os/endpoint.hpp"

namespace rp::handoff::os {

MessageMemory measure_message_memory() noexcept {
    MessageMemory memory;
    std::array<std::uint8_t, MessageMemory::step *(MessageMemory::steps - 1) + 1> bytes{};
    const Result<SocketPair> pair = socket_pair();
    if (!pair) {
        return memory;
    }
    std::uint64_t before = 0;
    for (std::size_t i = 0; i < MessageMemory::steps; ++i) {
        if (::send(pair->ours.get(), bytes.data(), i * MessageMemory::step + 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            break;
        }
        const std::uint64_t after = unread_memory(pair->ours.get());
        memory.measured[i] = static_cast<std::uint32_t>(after - before);
        before = after;
    }
    return memory;
}

} // namespace rp::handoff::os
