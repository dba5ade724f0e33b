// A client's way to a service of the v1 protocol: through its broker, and from there by whichever route works.
//
// Blocking, under one deadline, with no thread; every socket that is not the answer is closed.
#pragma once

#include <optional>
#include <string>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"
#include "handoff/peer_policy.hpp"
#include "handoff/token.hpp"
#include "wire/hello.hpp"

namespace rp::handoff {

struct ClientRequest {
    const char *broker_path;
    std::string_view service_name;
    std::string_view wanted_version;
    std::string_view own_version;
    const char *cached_endpoint = nullptr; // where the service was last time
    bool adopt = false;                    // keep the connection if it is handed over
    Duration ready_timeout = std::chrono::seconds(2);
    Duration timeout = std::chrono::seconds(30); // for everything together
    std::uint64_t keepalive_secs = 0;
};

enum class Route : std::int32_t { hello_skip = 1, broker_negotiated = 2, handle_passed = 3, refused = 4 };

struct ClientConnection {
    UniqueFd fd; // none if refused
    Route route = Route::refused;
    std::string endpoint;       // of the backend, to be cached; whatever the route
    std::optional<Token> token; // if there was one; whatever the route
    std::uint64_t connection_id = 0;
    std::uint64_t capabilities = 0;
    std::uint64_t keepalive_secs = 0;
    std::string daemon_version;
    // If refused:
    wire::RefusalCode code = wire::RefusalCode::unspecified;
    std::uint64_t retry_after_ms = 0;
    Text reason;
};

// Failures: timed_out, unavailable, peer_rejected, path_invalid, closed and the frame's statuses (the broker's answer),
// unsupported, system.
Result<ClientConnection> connect_to_service(const ClientRequest &request, const PeerPolicy &peers, TimeSource &time);

} // namespace rp::handoff
