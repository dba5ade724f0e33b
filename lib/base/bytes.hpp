// Bytes that somebody else owns.
#pragma once

#include <cstdint>
#include <string_view>

namespace rp::handoff {

using ByteView = std::basic_string_view<std::uint8_t>;

} // namespace rp::handoff
