// A system call, again for as long as a signal interrupts it: every one but close(2), which is never repeated.
#pragma once

#include <cerrno>

namespace rp::handoff {

// call() returns -1 and sets errno, as system calls do.
template <class Call>
auto repeated(Call call) noexcept -> decltype(call()) {
    for (;;) {
        const auto result = call();
        if (result != -1 || errno != EINTR) {
            return result;
        }
    }
}

} // namespace rp::handoff
