// Death between adopting a connection and writing its prologue: while it is armed, the next thing that this process writes
// to a socket is the end of it.
#pragma once

#include "process.hpp"

namespace rp::chaos {

// nullptr: disarmed.
void arm_window(const Self *self) noexcept;

} // namespace rp::chaos
