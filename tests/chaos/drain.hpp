// A drain: an old server hands all its connections to a new one, over a session on a socketpair, while their clients go on.
#pragma once

#include "loop.hpp"
#include "process.hpp"

namespace rp::chaos {

// `listener` is where the old server gets its clients; it hands over in the phase draining, and leaves then.
void run_old_server(const Self &self, UniqueFd listener, UniqueFd session);
void run_new_server(const Self &self, UniqueFd session);

// `count` clients, one connection each. The counters of the table tell how far they are: `started` are connected and
// answered, `handed` are answered by another life than at first. They leave in the phase finishing, with every byte
// answered.
void run_drain_clients(const Self &self, std::uint16_t port, std::uint32_t count);

} // namespace rp::chaos
