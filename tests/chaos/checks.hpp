// Holds against each other what the processes of a run have written down.
#pragma once

#include <cstdint>
#include <vector>

#include "table.hpp"

namespace rp::chaos {

// What became of all attempts.
struct Tally {
    std::uint32_t attempts = 0;
    std::uint32_t handed = 0;      // served by a backend
    std::uint32_t served_here = 0; // by a broker
    std::uint32_t ended = 0;       // by a broker, without service
    std::uint32_t owner_died = 0;  // closed by the death of the backend that had adopted
    std::uint32_t broker_died = 0; // closed by the death of the broker
    std::uint32_t dropped = 0;     // closed with a session that was destroyed at once
    std::uint32_t windows = 0;     // no prologue and no answer, of a backend that died between adopting and writing
    std::uint32_t verdicts = 0;    // outcomes that said BACKEND
    std::uint32_t adoptions = 0;   // by backends that lived to say so
};

// At rest, of the processes that are alive: no connection of a client's is left, and what is open goes with sessions.
void check_descriptors(Table &table, const std::vector<std::uint32_t> &lives);

// At rest, of the attempts since the last time: most of who had to do with them is alive, and cannot be excused.
void check_attempts(Table &table, Tally &tally);

// At the end.
void check_counters(Table &table, const Tally &tally);

} // namespace rp::chaos
