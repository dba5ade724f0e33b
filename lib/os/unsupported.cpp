// The transport of a platform that cannot pass descriptors: it takes the place of the other files of this folder.
//
// Every handoff is then the fallback "unsupported platform", and there is no backend. Built and tested on Linux by the
// option `transport`.
#include <cerrno>

#include "os/descriptor.hpp"
#include "os/endpoint.hpp"
#include "os/poller.hpp"
#include "os/stream.hpp"
#include "os/wait.hpp"

namespace rp::handoff::os {

const bool supported = false;

Sent send(int, int, ByteView) noexcept {
    return {0, ENOTSUP};
}

Sent send_many(int, const int *, std::size_t, const iovec *, std::size_t) noexcept {
    return {0, ENOTSUP};
}

Moved receive_message(int, std::uint8_t *, std::size_t, bool, Ancillary &) noexcept {
    return {0, ENOTSUP, false};
}

Moved receive_bytes(int, std::uint8_t *, std::size_t, bool) noexcept {
    return {0, ENOTSUP, false};
}

Identification identify_senders(int, bool) noexcept {
    return {false, false};
}

void ask_why_missing(int) noexcept {}

void discard(UniqueFd) noexcept {}

void drain_and_close(UniqueFd, Unreceived) noexcept {}

void drain(int, Unreceived) noexcept {}

bool refuse_descriptors(int) noexcept {
    return false;
}

UniqueFd new_socket() noexcept {
    errno = ENOTSUP;
    return UniqueFd();
}

tl::expected<void, DialFailure> connect(int, const char *, Instant, TimeSource &) noexcept {
    return tl::unexpected(DialFailure{ENOTSUP, false});
}

Dialled dial_now(const char *) noexcept {
    return {UniqueFd(), ENOTSUP};
}

int connect_again(int, const char *) noexcept {
    return ENOTSUP;
}

Status take_connection(int) noexcept {
    return Status::unsupported;
}

StreamResult read_some(int, std::uint8_t *, std::size_t, Instant, TimeSource &) noexcept {
    return {Status::system, ENOTSUP, 0};
}

StreamResult read_exactly(int, std::uint8_t *, std::size_t, Instant, TimeSource &) noexcept {
    return {Status::system, ENOTSUP, 0};
}

StreamResult write_all(int, ByteView, Instant, TimeSource &) noexcept {
    return {Status::system, ENOTSUP, 0};
}

Result<UniqueFd> receive_exactly(int, std::uint8_t *, std::size_t, Instant, TimeSource &) noexcept {
    return Failure(Status::unsupported);
}

bool is_valid_path(const char *path) noexcept {
    return path[0] != '\0';
}

tl::expected<UniqueFd, DialFailure> dial(const char *, Instant, TimeSource &) noexcept {
    return tl::unexpected(DialFailure{ENOTSUP, false});
}

Result<Endpoint> Endpoint::listen(const char *, Explanation &why) {
    return Failure(why.because(Status::unsupported, "", "descriptor passing is not supported on this platform"));
}

Result<Endpoint> Endpoint::adopt(int, Explanation &why) noexcept {
    return Failure(why.because(Status::unsupported, "", "descriptor passing is not supported on this platform"));
}

void Endpoint::keep() noexcept {}

Endpoint::~Endpoint() = default;

bool is_unix_stream(int) noexcept {
    return false;
}

Status check_connection(int) noexcept {
    return Status::unsupported;
}

Result<SocketPair> socket_pair() noexcept {
    return Failure(Status::unsupported);
}

tl::expected<UniqueFd, int> accept(int) noexcept {
    return tl::unexpected(ENOTSUP);
}

Result<Poller> Poller::create(bool) noexcept {
    return Failure(Status::unsupported);
}

bool Poller::add(int, Id) noexcept {
    return false;
}

void Poller::remove(int) noexcept {}

void Poller::enable(int, Id, bool, bool) noexcept {}

Poller::Ready Poller::ready() noexcept {
    return {{}, 0, ENOTSUP};
}

void Poller::stop() noexcept {}

void Poller::take_stop() noexcept {}

void Poller::nudge() noexcept {}

void Poller::take_nudge() noexcept {}

Result<Wait> wait_for_any(pollfd *, std::size_t, Instant) noexcept {
    errno = ENOTSUP;
    return Failure(Status::system);
}

std::uint64_t unread_memory(int) noexcept {
    return 0;
}

std::uint64_t descriptor_limit() noexcept {
    return 1024;
}

} // namespace rp::handoff::os
