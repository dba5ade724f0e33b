// The suite of cases that are left out under valgrind, whose machine is another one: it has a limit of its own in the place
// of RLIMIT_NOFILE, of which the kernel does not know; copies of all memory, registers included, lie about in it; and a
// child of a process with threads does not know what those threads have on their stacks, and takes it for lost.
#pragma once

namespace rp::test {

constexpr const char *not_under_valgrind = "not under valgrind";

} // namespace rp::test
