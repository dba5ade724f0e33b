#include "support/interpose.hpp"

#include <cstdarg>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

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
SystemCall<int(const char *, int, mode_t)> &open() {
    static auto call = next_definition<int(const char *, int, mode_t)>("open");
    return call;
}
SystemCall<int(int)> &close() {
    static auto call = next_definition<int(int)>("close");
    return call;
}
SystemCall<ssize_t(int, void *, std::size_t)> &read() {
    static auto call = next_definition<ssize_t(int, void *, std::size_t)>("read");
    return call;
}
SystemCall<int(int, int)> &flock() {
    static auto call = next_definition<int(int, int)>("flock");
    return call;
}
SystemCall<int(int, off_t)> &ftruncate() {
    static auto call = next_definition<int(int, off_t)>("ftruncate");
    return call;
}
SystemCall<int(int, int, off_t, off_t)> &fallocate() {
    static auto call = next_definition<int(int, int, off_t, off_t)>("fallocate");
    return call;
}
SystemCall<int(int, off_t, off_t)> &posix_fallocate() {
    static auto call = next_definition<int(int, off_t, off_t)>("posix_fallocate");
    return call;
}
SystemCall<int(int, epoll_event *, int, int)> &epoll_wait() {
    static auto call = next_definition<int(int, epoll_event *, int, int)>("epoll_wait");
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
int open(const char *name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return calls::open()(name, flags, mode);
}
int close(int fd) {
    return calls::close()(fd);
}
ssize_t read(int fd, void *data, std::size_t length) {
    return calls::read()(fd, data, length);
}
int flock(int fd, int operation) noexcept {
    return calls::flock()(fd, operation);
}
int ftruncate(int fd, off_t length) noexcept {
    return calls::ftruncate()(fd, length);
}
int fallocate(int fd, int mode, off_t from, off_t length) {
    return calls::fallocate()(fd, mode, from, length);
}
int posix_fallocate(int fd, off_t from, off_t length) {
    return calls::posix_fallocate()(fd, from, length);
}
int epoll_wait(int epoll, epoll_event *events, int most, int timeout) {
    return calls::epoll_wait()(epoll, events, most, timeout);
}
}
