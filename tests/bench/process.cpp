#include "process.hpp"

#include <csignal>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace rp::bench {

pid_t Process::start() {
    const pid_t parent = getpid();
    const pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        must(getppid() == parent, "the parent of a process");
    }
    return pid;
}

Process::~Process() {
    if (pid_ > 0) {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
}

void Process::wait() {
    int status = 0;
    must(waitpid(std::exchange(pid_, -1), &status, 0) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0,
         "the end of a process");
}

} // namespace rp::bench
