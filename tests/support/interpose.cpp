#include "support/interpose.hpp"

#include <dlfcn.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>

namespace rp::test::calls {

namespace {

template <class Signature>
SystemCall<Signature> next_definition(const char *name) {
    return SystemCall<Signature>(reinterpret_cast<typename SystemCall<Signature>::Function>(dlsym(RTLD_NEXT, name)));
}

} // namespace

SystemCall<ssize_t(int, const msghdr *, int)> &sendmsg() {
    static auto call = next_definition<ssize_t(int, const msghdr *, int)>("sendmsg");
    return call;
}
SystemCall<ssize_t(int, const void *, std::size_t, int)> &send() {
    static auto call = next_definition<ssize_t(int, const void *, std::size_t, int)>("send");
    return call;
}
SystemCall<ssize_t(int, msghdr *, int)> &recvmsg() {
    static auto call = next_definition<ssize_t(int, msghdr *, int)>("recvmsg");
    return call;
}
SystemCall<ssize_t(int, void *, std::size_t, int)> &recv() {
    static auto call = next_definition<ssize_t(int, void *, std::size_t, int)>("recv");
    return call;
}
SystemCall<int(int, const sockaddr *, socklen_t)> &connect() {
    static auto call = next_definition<int(int, const sockaddr *, socklen_t)>("connect");
    return call;
}
SystemCall<int(int, sockaddr *, socklen_t *, int)> &accept4() {
    static auto call = next_definition<int(int, sockaddr *, socklen_t *, int)>("accept4");
    return call;
}
SystemCall<int(pollfd *, nfds_t, const timespec *, const sigset_t *)> &ppoll() {
    static auto call = next_definition<int(pollfd *, nfds_t, const timespec *, const sigset_t *)>("ppoll");
    return call;
}
SystemCall<int(int, int, int)> &socket() {
    static auto call = next_definition<int(int, int, int)>("socket");
    return call;
}
SystemCall<int(int, const sockaddr *, socklen_t)> &bind() {
    static auto call = next_definition<int(int, const sockaddr *, socklen_t)>("bind");
    return call;
}
SystemCall<int(int, int)> &listen() {
    static auto call = next_definition<int(int, int)>("listen");
    return call;
}
SystemCall<int(int, int, int, void *, socklen_t *)> &getsockopt() {
    static auto call = next_definition<int(int, int, int, void *, socklen_t *)>("getsockopt");
    return call;
}
SystemCall<int(int, int, int, epoll_event *)> &epoll_ctl() {
    static auto call = next_definition<int(int, int, int, epoll_event *)>("epoll_ctl");
    return call;
}
SystemCall<int(int)> &epoll_create1() {
    static auto call = next_definition<int(int)>("epoll_create1");
    return call;
}
SystemCall<int(unsigned, int)> &eventfd() {
    static auto call = next_definition<int(unsigned, int)>("eventfd");
    return call;
}
SystemCall<ssize_t(void *, std::size_t, unsigned)> &getrandom() {
    static auto call = next_definition<ssize_t(void *, std::size_t, unsigned)>("getrandom");
    return call;
}
SystemCall<int(void *, std::size_t, int)> &madvise() {
    static auto call = next_definition<int(void *, std::size_t, int)>("madvise");
    return call;
}

SystemCall<int(int, int, int, int *)> &socketpair() {
    static auto call = next_definition<int(int, int, int, int *)>("socketpair");
    return call;
}
SystemCall<int(int, int, int, const void *, socklen_t)> &setsockopt() {
    static auto call = next_definition<int(int, int, int, const void *, socklen_t)>("setsockopt");
    return call;
}
SystemCall<int(const char *, unsigned)> &memfd_create() {
    static auto call = next_definition<int(const char *, unsigned)>("memfd_create");
    return call;
}

} // namespace rp::test::calls

namespace calls = rp::test::calls;

// As the headers of the C library declare them: noexcept is what is no cancellation point.
extern "C" {

ssize_t sendmsg(int fd, const msghdr *message, int flags) {
    return calls::sendmsg()(fd, message, flags);
}
ssize_t send(int fd, const void *data, std::size_t length, int flags) {
    return calls::send()(fd, data, length, flags);
}
ssize_t recvmsg(int fd, msghdr *message, int flags) {
    return calls::recvmsg()(fd, message, flags);
}
ssize_t recv(int fd, void *data, std::size_t length, int flags) {
    return calls::recv()(fd, data, length, flags);
}
int connect(int fd, const sockaddr *address, socklen_t length) {
    return calls::connect()(fd, address, length);
}
int accept4(int fd, sockaddr *address, socklen_t *length, int flags) {
    return calls::accept4()(fd, address, length, flags);
}
int ppoll(pollfd *fds, nfds_t count, const timespec *timeout, const sigset_t *mask) {
    return calls::ppoll()(fds, count, timeout, mask);
}
int socket(int domain, int type, int protocol) noexcept {
    return calls::socket()(domain, type, protocol);
}
int bind(int fd, const sockaddr *address, socklen_t length) noexcept {
    return calls::bind()(fd, address, length);
}
int listen(int fd, int backlog) noexcept {
    return calls::listen()(fd, backlog);
}
int getsockopt(int fd, int level, int name, void *value, socklen_t *length) noexcept {
    return calls::getsockopt()(fd, level, name, value, length);
}
int epoll_ctl(int epoll, int operation, int fd, epoll_event *event) noexcept {
    return calls::epoll_ctl()(epoll, operation, fd, event);
}
int epoll_create1(int flags) noexcept {
    return calls::epoll_create1()(flags);
}
int eventfd(unsigned count, int flags) noexcept {
    return calls::eventfd()(count, flags);
}
ssize_t getrandom(void *buffer, std::size_t length, unsigned flags) {
    return calls::getrandom()(buffer, length, flags);
}
int madvise(void *memory, std::size_t length, int advice) noexcept {
    return calls::madvise()(memory, length, advice);
}
int socketpair(int domain, int type, int protocol, int *ends) noexcept {
    return calls::socketpair()(domain, type, protocol, ends);
}
int setsockopt(int fd, int level, int name, const void *value, socklen_t length) noexcept {
    return calls::setsockopt()(fd, level, name, value, length);
}
int memfd_create(const char *name, unsigned flags) noexcept {
    return calls::memfd_create()(name, flags);
}
}
