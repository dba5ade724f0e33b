// The floor: what a handoff costs when sendmsg, recvmsg, send and recv do nothing but move descriptors and as many
// bytes as a session's messages have, without tokens, deadlines, or anybody's verdict.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rp::bench {

// How long a session's messages are for `count` offers that are submitted together, and for their answers. Looked up in
// a session whose two ends are in this process.
struct MessageSizes {
    std::size_t offers;
    std::size_t answers;
};
MessageSizes message_sizes(std::uint32_t count);

// All of them on the first of the bytes, in one sendmsg(2).
void send_descriptors(int socket, const int *fds, std::size_t count, const std::vector<char> &bytes);

// The whole of such a message; then closes its descriptors.
void take_descriptors(int socket, std::size_t count, std::vector<char> &bytes);

} // namespace rp::bench
