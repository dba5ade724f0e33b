// The messages of a client's first contact: Hello, and the broker's reply to it.
//
// Pure. Decoded text and bytes are views into what was decoded. These are not on the path of a handoff, so that lists
// may allocate.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wire/messages.hpp"

namespace rp::handoff::wire {

inline constexpr std::uint32_t protocol_control = 0;
inline constexpr std::uint32_t negotiated_protocol = 1;
inline constexpr std::uint64_t capability_handle_passing = 1; // of the capability maps; frozen

struct Hello {
    std::uint32_t client_min_protocol = 0;
    std::uint32_t client_max_protocol = 0;
    std::string_view service_name;
    std::string_view wanted_version;
    std::string_view client_version;
    std::uint64_t client_capabilities = 0;
    ByteView auth_token;
    std::string_view request_id;
    std::uint64_t connection_id = 0;
    std::uint32_t peer_pid = 0;
    std::string_view client_lib_name;
    std::string_view client_lib_version;
    ByteView peer_attestation_nonce;
    ByteView capability_token;
    std::uint64_t client_keepalive_secs = 0;
};

struct Negotiated {
    std::uint32_t negotiated_protocol = 0;
    std::string_view daemon_version;
    std::string_view backend_pipe;
    std::vector<std::string_view> warnings;
    std::uint64_t server_capabilities = 0;
    std::uint64_t keepalive_interval_secs = 0;
    ByteView handle_passed_token;
    std::uint64_t connection_id = 0;
};

enum class RefusalCode : std::int32_t {
    unspecified = 0,
    version_unsupported = 1,
    service_unknown = 2,
    spawn_failed = 3,
    rate_limited = 4,
    shutting_down = 5,
    peer_rejected = 6,
    internal = 7,
    version_blocked = 8,
    fd_pressure = 9,
};

struct Refused {
    std::string_view reason;
    std::uint32_t daemon_min_protocol = 0;
    std::uint32_t daemon_max_protocol = 0;
    RefusalCode code = RefusalCode::unspecified; // may hold numbers that have no name
    std::map<std::string_view, std::string_view> details;
    std::uint64_t retry_after_ms = 0;
};

// At most one of them.
struct HelloReply {
    std::optional<Negotiated> negotiated;
    std::optional<Refused> refused;
};

void append(std::string &out, const Hello &hello);
void append(std::string &out, const Negotiated &negotiated);
void append(std::string &out, const Refused &refused);
void append(std::string &out, const HelloReply &reply);

// As many bytes as it takes up at most: for a string that must not grow, for then it would leave copies of a token behind.
std::size_t room_for(const HelloReply &reply) noexcept;

Result<Hello> decode_hello(ByteView payload);
Result<Negotiated> decode_negotiated(ByteView payload);
Result<Refused> decode_refused(ByteView payload);
Result<HelloReply> decode_hello_reply(ByteView payload);

} // namespace rp::handoff::wire
