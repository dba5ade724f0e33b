// Where the other side of a session connects to, and brokers of the v1 exchange.
#include "listener.hpp"

#include "environment.hpp"
#include "os/descriptor.hpp"

#include <poll.h>

using namespace rp::handoff;
using namespace rp::handoff::capi;

namespace {

Status check(const rp_handoff_listener_options &o, Explanation &why) noexcept {
    const bool has_fd = o.fd > 0;
    if (o.path == nullptr && !has_fd) {
        return why.about(Status::invalid_argument, "path",
                         "is NULL, and fd is no descriptor above 0: give one of the two, dup(2) descriptor 0");
    }
    if (o.path != nullptr && has_fd) {
        return why.about(Status::invalid_argument, "fd", "contradicts path: give one of the two");
    }
    const bool by_default = o.path != nullptr && o.trust == 0;
    return by_default ? Status::ok : check_trust(o.trust, "trust", why);
}

Result<os::Endpoint> listen(const rp_handoff_listener_options &o, Explanation &why) {
    return o.path != nullptr ? os::Endpoint::listen(o.path, why) : os::Endpoint::adopt(o.fd, why);
}

} // namespace

int32_t rp_handoff_listener_create(const rp_handoff_listener_options *options, rp_handoff_listener **out_listener,
                                   rp_handoff_error *out_error) {
    return explained(out_error, [&](Explanation &why) {
        rp_handoff_listener_options o{};
        Status status =
            first_failure({check_given(out_listener, "out_listener", why), read_struct(options, o, "options", why)});
        if (status == Status::ok) {
            status = check(o, why);
        }
        if (status != Status::ok) {
            return status;
        }
        Result<os::Poller> poller = os::Poller::create(true);
        if (!poller) {
            return poller.error();
        }
        Result<os::Endpoint> made = listen(o, why);
        if (!made) {
            return made.error();
        }
        auto endpoint = std::make_shared<os::Endpoint>(std::move(*made));
        const int fd = endpoint->fd();
        auto handle = std::make_unique<rp_handoff_listener>(std::move(endpoint), o.trust == RP_HANDOFF_TRUST_CALLER,
                                                            std::move(*poller));
        if (!handle->poller.add(fd, os::Poller::first_free_id)) {
            return Status::system;
        }
        // Accepted sockets inherit it, so that what is sent before they are accepted is identified too.
        os::identify_senders(fd, true);
        handle->endpoint->keep(); // from here on nothing fails
        *out_listener = handle.release();
        return Status::ok;
    });
}

void rp_handoff_listener_destroy(rp_handoff_listener *listener) {
    destroy(listener);
}

int32_t rp_handoff_listener_get_fd(rp_handoff_listener *listener) {
    const Status status = check_handle(listener);
    return status == Status::ok ? listener->poller.fd() : code(status);
}

int32_t rp_handoff_listener_accept(rp_handoff_listener *listener, uint64_t timeout_ns, int32_t *out_fd) {
    return guarded_with(listener, [&] {
        if (out_fd == nullptr) {
            return Status::invalid_argument;
        }
        SystemTime time;
        const auto limit = timeout(timeout_ns);
        const Instant until = limit ? after(time.now(), *limit) : end_of_time;
        for (;;) {
            if (listener->stopped) {
                return Status::closed;
            }
            auto accepted = os::accept(listener->endpoint->fd());
            if (accepted) {
                *out_fd = accepted->release();
                return Status::ok;
            }
            if (accepted.error() != EAGAIN) {
                errno = accepted.error();
                return Status::system;
            }
            if (timeout_ns == 0 || time.wait(listener->poller.fd(), POLLIN, until) == Wait::timed_out) {
                return listener->stopped ? Status::closed : Status::timed_out;
            }
        }
    });
}

int32_t rp_handoff_listener_stop(rp_handoff_listener *listener) {
    const CancellationOff off; // write(2) is a cancellation point
    const Status status = check_handle(listener);
    if (status == Status::ok) {
        listener->stopped = true;
        listener->poller.stop();
    }
    return code(status);
}
