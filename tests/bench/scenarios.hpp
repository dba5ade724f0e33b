// The families of rows. Each prints its records, ours and the reference from the same run.
#pragma once

#include "measure.hpp"

namespace rp::bench {

// One blocking handoff over a session, and the bare loop.
void blocking(const Settings &settings);

// Handoffs in flight at once, one per message or many, and the bare loop.
void pipelined(const Settings &settings);
void batches(const Settings &settings);

// Connect to first reply byte, as a client sees it that does not wait: handed over, and told to reconnect.
void view_tcp(const Settings &settings);
void view_local(const Settings &settings);

// The same of a client of the v1 protocol, which waits until it is told that it was handed over.
void door(const Settings &settings);

// The same where the handoff fails, so that the client reconnects after all.
void failing(const Settings &settings);
void dying(const Settings &settings);

} // namespace rp::bench
