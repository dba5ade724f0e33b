// Why a call of the library failed. The numbers are those of the public header, which capi/status.cpp asserts; the core
// itself does not know the C API.
#pragma once

#include <cstdint>
#include <tl/expected.hpp>

namespace rp::handoff {

enum class Status : std::int32_t {
    ok = 0,
    ack_undelivered = 1,

    invalid_argument = -1,
    wrong_handle = -2,
    unsupported = -3,
    no_memory = -4,
    system = -5,
    internal = -6,
    random = -7,
    limit = -8,
    timed_out = -9,
    closed = -10,
    buffer_too_small = -11,
    unavailable = -12,
    limit_session = -13,
    limit_descriptors = -14,
    limit_bytes = -15,
    struct_size = -16,
    busy = -17,   // another wait is under way that this one cannot stand beside
    forked = -18, // the handle is that of the process of which this one is a fork

    token_collision = -20,
    token_missing = -21,
    token_length = -22,
    token_mismatch = -23,
    token_expired = -24,
    token_not_pending = -25,
    token_in_use = -26,
    ack_overdue = -27,

    path_invalid = -30,
    path_unsafe = -31,
    path_in_use = -32,
    path_foreign = -33,
    peer_rejected = -34,
    path_locked = -35,

    frame_incomplete = -40,
    frame_version = -41,
    frame_too_large = -42,
    frame_malformed = -43,
    frame_unexpected = -44,
    unexpected_eof = -45,
    descriptors = -46,

    answered = -50,
    revoked = -51,
    protocol = -52,

    empty_handoff = -60,
    empty_fallback = -61,
    p50_not_faster = -62,
    p99_not_faster = -63,
};

// A value, or the reason why there is none. After Status::system the cause is in errno.
template <class T>
using Result = tl::expected<T, Status>;
using Failure = tl::unexpected<Status>;

} // namespace rp::handoff
