// Whether this is the only thread of the process, so that nothing of it can happen while this thread sleeps.
#pragma once

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#endif

namespace rp::handoff {

// False also where that is not known. glibc has it since 2.32, and does not go back to true when threads end.
inline bool is_single_threaded() noexcept {
#if __has_include(<sys/single_threaded.h>)
    return __libc_single_threaded != 0;
#else
    return false;
#endif
}

} // namespace rp::handoff
