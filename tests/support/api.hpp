// Short ways through the public API, without a test framework: for the programs beside the tests too.
#pragma once

#include <cstdint>

#include "rp_handoff.h"

namespace rp::test {

inline std::int32_t create_listener(const char *path, rp_handoff_listener **out, rp_handoff_error *error = nullptr) {
    rp_handoff_listener_options options{};
    options.struct_size = sizeof options;
    options.path = path;
    return rp_handoff_listener_create(&options, out, error);
}

// A backend's listener, whose handle is not needed any more.
inline std::int32_t listen_with(rp_handoff_backend *backend, const rp_handoff_listener_options &options,
                                rp_handoff_error *error = nullptr) {
    rp_handoff_listener *listener = nullptr;
    std::int32_t status = rp_handoff_listener_create(&options, &listener, error);
    if (status == RP_HANDOFF_OK) {
        status = rp_handoff_backend_add_listener(backend, listener);
    }
    rp_handoff_listener_destroy(listener);
    return status;
}

inline std::int32_t listen_at(rp_handoff_backend *backend, const char *path) {
    rp_handoff_listener_options options{};
    options.struct_size = sizeof options;
    options.path = path;
    return listen_with(backend, options);
}

// Takes the descriptor on success.
inline std::int32_t listen_on(rp_handoff_backend *backend, std::int32_t fd, std::int32_t trust) {
    rp_handoff_listener_options options{};
    options.struct_size = sizeof options;
    options.fd = fd;
    options.trust = trust;
    return listen_with(backend, options);
}

// Ends all that is overdue: how many.
inline std::uint32_t sweep(rp_handoff_broker *broker) {
    std::uint32_t count = 0;
    while (rp_handoff_broker_next_overdue(broker, nullptr) == 1) {
        ++count;
    }
    return count;
}

} // namespace rp::test
