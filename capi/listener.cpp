// Where the other side of a session connects to.
#include "os/endpoint.hpp"

#include "base/clock.hpp"
#include "boundary.hpp"
#include "environment.hpp"
#include "os/descriptor.hpp"

#include <cerrno>
#include <poll.h>

using namespace rp::handoff;
using namespace rp::handoff::capi;

struct rp_handoff_listener {
    static constexpr Kind own_kind = Kind::listener;
    Handle base{own_kind};
    os::Endpoint endpoint;

    explicit rp_handoff_listener(os::Endpoint e) noexcept : endpoint(std::move(e)) {}
};

int32_t rp_handoff_listener_create(const char *path, rp_handoff_listener **out_listener) {
    return guarded([&] {
        if (path == nullptr || out_listener == nullptr) {
            return Status::invalid_argument;
        }
        Result<os::Endpoint> endpoint = os::Endpoint::listen(path);
        if (!endpoint) {
            return endpoint.error();
        }
        // Accepted sockets inherit it, so that what is sent before they are accepted is identified too.
        os::identify_senders(endpoint->fd(), true);
        *out_listener = new rp_handoff_listener(std::move(*endpoint));
        return Status::ok;
    });
}

void rp_handoff_listener_destroy(rp_handoff_listener *listener) {
    destroy(listener, [](bool) { return true; });
}

int32_t rp_handoff_listener_get_fd(rp_handoff_listener *listener) {
    const Status status = check_handle(listener);
    return status == Status::ok ? listener->endpoint.fd() : code(status);
}

int32_t rp_handoff_listener_accept(rp_handoff_listener *listener, uint64_t timeout_ns, int32_t *out_fd) {
    return guarded_with(listener, [&] {
        if (out_fd == nullptr) {
            return Status::invalid_argument;
        }
        SystemTime time;
        const Instant until = timeout_ns == RP_HANDOFF_FOREVER ? end_of_time : after(time.now(), duration(timeout_ns));
        for (;;) {
            auto accepted = os::accept(listener->endpoint.fd());
            if (accepted) {
                *out_fd = accepted->release();
                return Status::ok;
            }
            if (accepted.error() != EAGAIN) {
                errno = accepted.error();
                return Status::system;
            }
            if (timeout_ns == 0 || time.wait(listener->endpoint.fd(), POLLIN, until) == Wait::timed_out) {
                return Status::timed_out;
            }
        }
    });
}
