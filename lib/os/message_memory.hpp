// What messages on Unix sockets take of this kernel's memory.
#pragma once

#include "base/message_memory.hpp"

namespace rp::handoff::os {

// Sends some to a socket of its own. Where that is not possible, nothing is measured.
MessageMemory measure_message_memory() noexcept;

} // namespace rp::handoff::os
