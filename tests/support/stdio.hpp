// Processes that have no descriptor at 0, 1 and 2, as programs are started by some service managers.
#pragma once

#include "support/process.hpp"

namespace rp::test {

inline bool standard_numbers_are_free() {
    for (const int fd : {0, 1, 2}) {
        if (fcntl(fd, F_GETFD) >= 0) {
            return false;
        }
    }
    return true;
}

// Runs `use`, whose result it keeps so long, in a process that has none of the three.
template <class Use>
void check_without_stdio(Use use) {
    Child child([&](const Wire &wire) {
        const UniqueFd err(fcntl(2, F_DUPFD_CLOEXEC, 3)); // for what a condition has to say
        for (const int fd : {0, 1, 2}) {
            close(fd);
        }
        const auto kept = use();
        wire.say(standard_numbers_are_free() && kept ? 'y' : 'n');
        dup2(err.get(), 2);
    });
    CHECK(child.hear() == 'y');
    CHECK(child.wait() == 0);
}

} // namespace rp::test
