#include "os/closing.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>

#include "os/connection.hpp"
#include "os/descriptor.hpp"

namespace rp::handoff::os {

namespace {

// Who closes on the way out of a failure still tells its cause.
class KeptErrno {
  public:
    KeptErrno() noexcept = default;
    KeptErrno(const KeptErrno &) = delete;
    KeptErrno &operator=(const KeptErrno &) = delete;
    ~KeptErrno() { errno = kept_; }

  private:
    int kept_ = errno;
};

// Linux 6.16; newer than most headers. Source: include/uapi/asm-generic/socket.h.
constexpr int so_passrights = 83;

// Nobody can have put more than so many messages into a queue before receiving ended; who still can, by some means that is
// not known here, does not keep us.
constexpr int most_messages = 1 << 20;

bool is_listening(int socket) noexcept {
    int listening = 0;
    socklen_t length = sizeof listening;
    return getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening != 0;
}

// Once it takes no more, accept(2) gives those who wait and then EINVAL.
void drain_listener(int listener, Unreceived unreceived) noexcept {
    shutdown(listener, SHUT_RD);
    for (int i = 0; i < most_messages; ++i) {
        const auto waiting = accept(listener);
        if (!waiting) {
            return; // nobody, or no descriptor to be had: then those who wait are closed with the listener
        }
        drain(waiting->get(), unreceived);
    }
}

} // namespace

void drain(int socket, Unreceived unreceived) noexcept {
    shutdown(socket, SHUT_RD);
    std::array<std::uint8_t, 4096> bytes;
    for (int i = 0; i < most_messages; ++i) {
        Ancillary beside;
        const Moved moved = receive_message(socket, bytes.data(), bytes.size(), false, beside);
        while (unreceived == Unreceived::close && !beside.descriptors.empty()) {
            beside.descriptors.take().reset();
        }
        if (moved.os_error != 0 || moved.end) {
            break;
        }
    }
    explicit_bzero(bytes.data(), bytes.size()); // tokens may have been among it
}

void discard(UniqueFd fd) noexcept {
    if (!fd) {
        return;
    }
    const KeptErrno kept;
    const linger none{0, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none); // what is no socket does not wait
    fd.reset();
}

void drain_and_close(UniqueFd socket, Unreceived unreceived) noexcept {
    if (!socket) {
        return;
    }
    const KeptErrno kept;
    if (is_listening(socket.get())) {
        drain_listener(socket.get(), unreceived);
    } else {
        drain(socket.get(), unreceived);
    }
    socket.reset();
}

bool refuse_descriptors(int socket) noexcept {
    const int off = 0;
    return setsockopt(socket, SOL_SOCKET, so_passrights, &off, sizeof off) == 0;
}

} // namespace rp::handoff::os
