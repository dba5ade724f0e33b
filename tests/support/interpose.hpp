// System calls in the hands of the test: whatever this program or the library calls goes through a hook, if there is one.
//
// The program defines the functions itself, which a dynamic linker prefers to those of the C library and of a sanitizer, and
// passes on to the next definition. Hooks are set while no other thread runs.
#pragma once

#include <cerrno>
#include <functional>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>

namespace rp::test {

template <class Signature>
class SystemCall;

template <class Result, class... Arguments>
class SystemCall<Result(Arguments...)> {
  public:
    using Function = Result (*)(Arguments...);

    explicit SystemCall(Function next) noexcept : real_(next) {}

    Result operator()(Arguments... arguments) { return hook ? hook(arguments...) : real_(arguments...); }
    Result real(Arguments... arguments) const { return real_(arguments...); }

    std::function<Result(Arguments...)> hook;

  private:
    Function real_;
};

namespace calls {
SystemCall<ssize_t(int, const msghdr *, int)> &sendmsg();
SystemCall<ssize_t(int, const void *, std::size_t, int)> &send();
SystemCall<ssize_t(int, msghdr *, int)> &recvmsg();
SystemCall<ssize_t(int, void *, std::size_t, int)> &recv();
SystemCall<int(int, const sockaddr *, socklen_t)> &connect();
SystemCall<int(int, sockaddr *, socklen_t *, int)> &accept4();
SystemCall<int(pollfd *, nfds_t, const timespec *, const sigset_t *)> &ppoll();
SystemCall<int(int, int, int)> &socket();
SystemCall<int(int, const sockaddr *, socklen_t)> &bind();
SystemCall<int(int, int)> &listen();
SystemCall<int(int, int, int, void *, socklen_t *)> &getsockopt();
SystemCall<int(int, int, int, epoll_event *)> &epoll_ctl();
SystemCall<int(int)> &epoll_create1();
SystemCall<int(unsigned, int)> &eventfd();
SystemCall<ssize_t(void *, std::size_t, unsigned)> &getrandom();
SystemCall<int(void *, std::size_t, int)> &madvise();
SystemCall<int(int, int, int, int *)> &socketpair();
SystemCall<int(int, int, int, const void *, socklen_t)> &setsockopt();
SystemCall<int(const char *, unsigned)> &memfd_create();
SystemCall<int(const char *, int, mode_t)> &open();
SystemCall<int(int)> &close();
SystemCall<ssize_t(int, void *, std::size_t)> &read();
SystemCall<int(int, int)> &flock();
SystemCall<int(int, off_t)> &ftruncate();
SystemCall<int(int, int, off_t, off_t)> &fallocate();
SystemCall<int(int, off_t, off_t)> &posix_fallocate();
SystemCall<int(int, epoll_event *, int, int)> &epoll_wait();
} // namespace calls

// A hook for as long as it lives.
template <class Signature>
class Hooked {
  public:
    Hooked(SystemCall<Signature> &call, std::function<Signature> hook) : call_(call) { call_.hook = std::move(hook); }
    Hooked(const Hooked &) = delete;
    Hooked &operator=(const Hooked &) = delete;
    ~Hooked() { call_.hook = nullptr; }

  private:
    SystemCall<Signature> &call_;
};

// What a system call that fails returns.
inline int fails_with(int error) noexcept {
    errno = error;
    return -1;
}

} // namespace rp::test
