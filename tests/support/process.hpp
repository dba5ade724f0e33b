// Processes of a test's own, and a wire to talk to them by.
#pragma once

#include <doctest/doctest.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "support/socket_pair.hpp"

namespace rp::test {

// For conditions in a child, since doctest's checks do not cross a fork.
inline void must(bool met, int line = __builtin_LINE(), const char *file = __builtin_FILE()) {
    if (!met) {
        std::fprintf(stderr, "%s:%d: not so in a child (errno %d)\n", file, line, errno);
        _exit(1);
    }
}

// A user of no name, of whom no other process is.
constexpr uid_t stranger = 61831;

// For a child of root's: it never comes back.
inline void become(uid_t uid) {
    must(setresgid(uid, uid, uid) == 0);
    must(setresuid(uid, uid, uid) == 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL); // which a change of user has cleared
}

// One end of a two-way wire between two processes. Words are of one letter.
class Wire {
  public:
    explicit Wire(UniqueFd fd) noexcept : fd_(std::move(fd)) {}

    void say(char word) const { must(send(fd_.get(), &word, 1, MSG_NOSIGNAL) == 1); }

    int fd() const noexcept { return fd_.get(); }

    // The next word, or 0 if the other end is gone. Waits.
    char hear() const {
        char word = 0;
        ssize_t n = 0;
        do {
            n = read(fd_.get(), &word, 1);
        } while (n < 0 && errno == EINTR);
        return n == 1 ? word : '\0';
    }

  private:
    UniqueFd fd_;
};

inline pid_t wait_for(pid_t pid, int *status, int options = 0) {
    pid_t ended = 0;
    do {
        ended = waitpid(pid, status, options);
    } while (ended < 0 && errno == EINTR);
    return ended;
}

// A forked process that runs body(wire) and then ends with status 0. It does not outlive its object.
class Child {
  public:
    template <class Body>
    explicit Child(Body body) : Child(SocketPair(), body) {}
    Child(const Child &) = delete;
    Child &operator=(const Child &) = delete;
    ~Child() {
        if (pid_ > 0) {
            kill(pid_, SIGKILL);
            int status = 0;
            wait_for(pid_, &status);
        }
    }

    pid_t pid() const noexcept { return pid_; }
    void signal(int number) const { REQUIRE(kill(pid_, number) == 0); }
    void say(char word) const { wire_.say(word); }
    char hear() const { return wire_.hear(); }
    int wire() const noexcept { return wire_.fd(); }

    // Its exit status, or 128 and the signal that ended it.
    int wait() {
        int status = 0;
        REQUIRE(wait_for(std::exchange(pid_, -1), &status) > 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }

    // Stops it, and returns when it stands.
    void stop() const {
        signal(SIGSTOP);
        int status = 0;
        REQUIRE(wait_for(pid_, &status, WUNTRACED) == pid_);
        REQUIRE(WIFSTOPPED(status));
    }

  private:
    template <class Body>
    Child(SocketPair pair, Body &body) : pid_(start(pair, body)), wire_(std::move(pair.a)) {}

    template <class Body>
    static pid_t start(SocketPair &pair, Body &body) {
        std::fflush(nullptr);
        const pid_t pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
            pair.a.reset();
            run(body, Wire(std::move(pair.b)));
        }
        return pid;
    }

    template <class Body>
    [[noreturn]] static void run(Body &body, const Wire &wire) {
        try {
            body(wire);
        } catch (...) { // of a REQUIRE
            _exit(1);
        }
        _exit(0);
    }

    pid_t pid_;
    Wire wire_;
};

// Runs end() in a child, which ends well.
template <class End>
void in_a_child(End end) {
    Child child([&](const Wire &) { end(); });
    CHECK(child.wait() == 0);
}

// Replaces this process. Descriptors reach the program only if they are not close-on-exec.
[[noreturn]] inline void execute_program(std::vector<std::string> arguments) {
    std::vector<char *> argv;
    for (std::string &argument : arguments) {
        argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    _exit(127);
}

inline void keep_across_exec(int fd) {
    must(fcntl(fd, F_SETFD, 0) == 0);
}

// A program's standard output, which is the way it says that it is ready.
class Program {
  public:
    explicit Program(const std::vector<std::string> &arguments, int inherited = -1)
        : Program(SocketPair(), arguments, inherited) {}

    Child &process() noexcept { return child_; }

    std::string read_line() const {
        std::string line;
        char c = 0;
        while (read(output_.get(), &c, 1) == 1 && c != '\n') {
            line += c;
        }
        return line;
    }
    std::string read_to_end() const {
        std::string text;
        char c = 0;
        while (read(output_.get(), &c, 1) == 1) {
            text += c;
        }
        return text;
    }

  private:
    Program(SocketPair pipe, const std::vector<std::string> &arguments, int inherited)
        : child_([&](const Wire &) {
              must(dup2(pipe.b.get(), STDOUT_FILENO) == STDOUT_FILENO);
              if (inherited >= 0) {
                  keep_across_exec(inherited);
              }
              execute_program(arguments);
          }),
          output_(std::move(pipe.a)) {}

    Child child_;
    UniqueFd output_;
};

} // namespace rp::test
