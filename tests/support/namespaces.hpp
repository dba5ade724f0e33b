// Containers in small: processes in pid and user namespaces of their own. Where the machine does not let the test make them
// the test says so and checks nothing.
#pragma once

#include <fcntl.h>
#include <sched.h>

#include "support/process.hpp"

namespace rp::test {

// Whether this process, which must have one thread only, could leave these namespaces (CLONE_NEW...).
inline bool leaves(int namespaces) {
    if (unshare(namespaces) == 0 || unshare(namespaces | CLONE_NEWUSER) == 0) {
        return true;
    }
    std::printf("no namespaces here (errno %d): skipped\n", errno);
    std::fflush(stdout); // children end by _exit
    return false;
}

// For a Child: body(wire) as process 1 of a pid namespace. Where that is not possible the child says 's', and no more.
template <class Body>
auto contained(Body body) {
    return [body](const Wire &wire) {
        if (!leaves(CLONE_NEWPID)) {
            wire.say('s');
            return;
        }
        Child first([&](const Wire &) {
            must(getpid() == 1);
            body(wire);
        });
        must(first.wait() == 0);
    };
}

// Runs body() as process 1 of a pid namespace, in a child of this process's child.
template <class Body>
void as_first_process(Body body) {
    Child outside(contained([&body](const Wire &) { body(); }));
    CHECK(outside.wait() == 0);
}

inline void write_file(const char *path, const std::string &text) {
    const UniqueFd fd(open(path, O_WRONLY | O_CLOEXEC));
    must(fd && write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

constexpr std::uint32_t overflow = 65534; // /proc/sys/kernel/overflowuid, as it is unless somebody writes it

inline bool is_root() {
    if (geteuid() != 0) {
        std::printf("takes root, to become other users: skipped\n");
    }
    return geteuid() == 0;
}

// Into a user namespace where nobody but this user has a name, and that is the overflow uid.
inline bool lose_all_names() {
    const uid_t outside = geteuid();
    if (unshare(CLONE_NEWUSER) != 0) {
        std::printf("no user namespaces here: skipped\n");
        return false;
    }
    write_file("/proc/self/uid_map", "65534 " + std::to_string(outside) + " 1");
    must(geteuid() == overflow);
    return true;
}

} // namespace rp::test
