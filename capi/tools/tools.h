/* The parts of rp-handoff(1). Each gives the exit status. */
#ifndef RP_HANDOFF_TOOLS_H
#define RP_HANDOFF_TOOLS_H

#include <stdint.h>

/* Measures handoff and reconnect on this machine, so many times each, and prints both. */
int run_bench(uint32_t samples);

#endif
