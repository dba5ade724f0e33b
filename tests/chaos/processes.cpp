// Processes that do not outlive the one that started them.
#include "processes.hpp"

#include <arpa/inet.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace rp::chaos {

namespace {

sigset_t child_signal() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    return signals;
}

} // namespace

pid_t start_process(const std::function<void()> &body) {
    const pid_t parent = getpid();
    std::fflush(nullptr);
    const pid_t pid = fork();
    if (pid != 0) {
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent) { // and not gone before that was set
        body();
    }
    std::exit(0);
}

void block_child_signal() {
    const sigset_t signals = child_signal();
    sigprocmask(SIG_BLOCK, &signals, nullptr);
}

void wait_for_child(std::uint64_t duration_ns) {
    const sigset_t signals = child_signal();
    const timespec time{0, static_cast<long>(duration_ns)};
    sigtimedwait(&signals, nullptr, &time);
}

handoff::UniqueFd listen_on_loopback(std::uint16_t &port, int flags, int backlog) {
    handoff::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto *generic = reinterpret_cast<sockaddr *>(&address);
    if (bind(fd.get(), generic, length) != 0 || listen(fd.get(), backlog) != 0 ||
        getsockname(fd.get(), generic, &length) != 0) {
        std::perror("chaos: listen");
        std::exit(2);
    }
    port = ntohs(address.sin_port);
    return fd;
}

} // namespace rp::chaos
