// Which process this is, of those that fork(2) made of one another.
//
// Not getpid(2): a process that is 1 in its pid namespace may have a child that is 1 in another. The mark lies on a page
// that a forked child finds empty (MADV_WIPEONFORK, Linux 4.14), whoever forked and by whichever call; the child then takes
// the next number. So no two processes on one line of ancestors have the same, and those are all whose memory a process can
// have inherited. Siblings may, since neither ever sees what the other made.
//
// This page is the only state that the library has beside its handles. Where there is no such page the mark is emptied by a
// handler of pthread_atfork(3), which sees fork(3) but no bare clone(2). Where there is no memory for a handler either, it is
// the process id after all.
#pragma once

#include <cstdint>

namespace rp::handoff::os {

// Never 0. Safe for several threads; two loads, but for the first call in each process.
std::uint64_t fork_mark() noexcept;

} // namespace rp::handoff::os
