// Version, status texts, platform.
#include "boundary.hpp"

#include <array>
#include <cstring>
#include <iterator>

#include "os/descriptor.hpp"
#include "os/peer.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

// The core's numbers are the public ones.
static_assert(code(Status::ack_undelivered) == RP_HANDOFF_ACK_UNDELIVERED);
static_assert(code(Status::invalid_argument) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
static_assert(code(Status::wrong_handle) == RP_HANDOFF_ERR_WRONG_HANDLE);
static_assert(code(Status::unsupported) == RP_HANDOFF_ERR_UNSUPPORTED);
static_assert(code(Status::no_memory) == RP_HANDOFF_ERR_NO_MEMORY);
static_assert(code(Status::system) == RP_HANDOFF_ERR_SYSTEM);
static_assert(code(Status::internal) == RP_HANDOFF_ERR_INTERNAL);
static_assert(code(Status::forked) == RP_HANDOFF_ERR_FORKED);
static_assert(code(Status::random) == RP_HANDOFF_ERR_RANDOM);
static_assert(code(Status::limit) == RP_HANDOFF_ERR_LIMIT);
static_assert(code(Status::timed_out) == RP_HANDOFF_ERR_TIMED_OUT);
static_assert(code(Status::closed) == RP_HANDOFF_ERR_CLOSED);
static_assert(code(Status::buffer_too_small) == RP_HANDOFF_ERR_BUFFER_TOO_SMALL);
static_assert(code(Status::token_collision) == RP_HANDOFF_ERR_TOKEN_COLLISION);
static_assert(code(Status::token_missing) == RP_HANDOFF_ERR_TOKEN_MISSING);
static_assert(code(Status::token_length) == RP_HANDOFF_ERR_TOKEN_LENGTH);
static_assert(code(Status::token_mismatch) == RP_HANDOFF_ERR_TOKEN_MISMATCH);
static_assert(code(Status::token_expired) == RP_HANDOFF_ERR_TOKEN_EXPIRED);
static_assert(code(Status::token_not_pending) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
static_assert(code(Status::token_in_use) == RP_HANDOFF_ERR_TOKEN_IN_USE);
static_assert(code(Status::ack_overdue) == RP_HANDOFF_ERR_ACK_OVERDUE);
static_assert(code(Status::path_invalid) == RP_HANDOFF_ERR_PATH_INVALID);
static_assert(code(Status::path_unsafe) == RP_HANDOFF_ERR_PATH_UNSAFE);
static_assert(code(Status::path_in_use) == RP_HANDOFF_ERR_PATH_IN_USE);
static_assert(code(Status::path_foreign) == RP_HANDOFF_ERR_PATH_FOREIGN);
static_assert(code(Status::peer_rejected) == RP_HANDOFF_ERR_PEER_REJECTED);
static_assert(code(Status::frame_incomplete) == RP_HANDOFF_ERR_FRAME_INCOMPLETE);
static_assert(code(Status::frame_version) == RP_HANDOFF_ERR_FRAME_VERSION);
static_assert(code(Status::frame_too_large) == RP_HANDOFF_ERR_FRAME_TOO_LARGE);
static_assert(code(Status::frame_malformed) == RP_HANDOFF_ERR_FRAME_MALFORMED);
static_assert(code(Status::frame_unexpected) == RP_HANDOFF_ERR_FRAME_UNEXPECTED);
static_assert(code(Status::unexpected_eof) == RP_HANDOFF_ERR_UNEXPECTED_EOF);
static_assert(code(Status::descriptors) == RP_HANDOFF_ERR_DESCRIPTORS);
static_assert(code(Status::answered) == RP_HANDOFF_ERR_ANSWERED);
static_assert(code(Status::revoked) == RP_HANDOFF_ERR_REVOKED);
static_assert(code(Status::protocol) == RP_HANDOFF_ERR_PROTOCOL);
static_assert(code(Status::limit_session) == RP_HANDOFF_ERR_LIMIT_SESSION);
static_assert(code(Status::limit_descriptors) == RP_HANDOFF_ERR_LIMIT_DESCRIPTORS);
static_assert(code(Status::limit_bytes) == RP_HANDOFF_ERR_LIMIT_BYTES);
static_assert(code(Status::struct_size) == RP_HANDOFF_ERR_STRUCT_SIZE);
static_assert(code(Status::busy) == RP_HANDOFF_ERR_BUSY);
static_assert(code(Status::forked) == RP_HANDOFF_ERR_FORKED);
static_assert(code(Status::path_locked) == RP_HANDOFF_ERR_PATH_LOCKED);
static_assert(code(Status::unavailable) == RP_HANDOFF_ERR_UNAVAILABLE);
static_assert(code(Status::empty_handoff) == RP_HANDOFF_ERR_EMPTY_HANDOFF);
static_assert(code(Status::empty_fallback) == RP_HANDOFF_ERR_EMPTY_FALLBACK);
static_assert(code(Status::p50_not_faster) == RP_HANDOFF_ERR_P50_NOT_FASTER);
static_assert(code(Status::p99_not_faster) == RP_HANDOFF_ERR_P99_NOT_FASTER);
static_assert(static_cast<int>(os::Exemption::yes) == RP_HANDOFF_EXEMPT_YES);
static_assert(static_cast<int>(os::Exemption::no) == RP_HANDOFF_EXEMPT_NO);

#define RP_HANDOFF_TEXT_(x) #x
#define RP_HANDOFF_TEXT(x) RP_HANDOFF_TEXT_(x)

uint32_t rp_handoff_version(void) {
    return RP_HANDOFF_VERSION_MAJOR * 1000000U + RP_HANDOFF_VERSION_MINOR * 1000U + RP_HANDOFF_VERSION_PATCH;
}

const char *rp_handoff_version_string(void) {
    return RP_HANDOFF_TEXT(RP_HANDOFF_VERSION_MAJOR) "." RP_HANDOFF_TEXT(RP_HANDOFF_VERSION_MINOR) "." RP_HANDOFF_TEXT(
        RP_HANDOFF_VERSION_PATCH);
}

namespace {

// A name for metrics, and a sentence.
struct StatusText {
    Status status;
    const char *name;
    const char *text;
};

constexpr StatusText texts[] = {
    {Status::ok, "ok", "success"},
    {Status::ack_undelivered, "ack_undelivered", "done, but the broker could not be told"},
    {Status::invalid_argument, "invalid_argument", "invalid argument"},
    {Status::wrong_handle, "wrong_handle", "a handle of another kind"},
    {Status::unsupported, "unsupported", "not supported on this platform or by this version of the library"},
    {Status::no_memory, "no_memory", "out of memory"},
    {Status::system, "system", "a system call failed"},
    {Status::internal, "internal", "defect in rp_handoff"},
    {Status::random, "random", "the source of random bytes failed"},
    {Status::limit, "limit", "a configured limit is reached"},
    {Status::timed_out, "timed_out", "timed out"},
    {Status::closed, "closed", "closed or stopped"},
    {Status::buffer_too_small, "buffer_too_small", "the buffer is too small"},
    {Status::token_collision, "token_collision", "no unused token was found"},
    {Status::token_missing, "token_missing", "handoff token is missing"},
    {Status::token_length, "token_length", "handoff token is not 16 bytes long"},
    {Status::token_mismatch, "token_mismatch", "handoff token mismatch"},
    {Status::token_expired, "token_expired", "handoff token expired"},
    {Status::token_not_pending, "token_not_pending", "handoff token is not pending"},
    {Status::token_in_use, "token_in_use", "handoff token is in use by another call"},
    {Status::ack_overdue, "ack_overdue", "the acknowledgement came at or after the deadline"},
    {Status::path_invalid, "path_invalid", "not a socket path: empty, abstract or too long"},
    {Status::path_unsafe, "path_unsafe", "the socket's directory is not a private one of this user"},
    {Status::path_in_use, "path_in_use", "a live process listens on the socket path"},
    {Status::path_foreign, "path_foreign", "the socket path is taken by something that is not ours"},
    {Status::peer_rejected, "peer_rejected", "the peer is not an allowed one"},
    {Status::frame_incomplete, "frame_incomplete", "the frame is not complete yet"},
    {Status::frame_version, "frame_version", "unsupported framing version"},
    {Status::frame_too_large, "frame_too_large", "the frame is too large"},
    {Status::frame_malformed, "frame_malformed", "the frame is malformed"},
    {Status::frame_unexpected, "frame_unexpected", "not the expected frame"},
    {Status::unexpected_eof, "unexpected_eof", "unexpected end of file"},
    {Status::descriptors, "descriptors", "not exactly one descriptor was received"},
    {Status::answered, "answered", "the offer is answered already"},
    {Status::revoked, "revoked", "the broker has revoked the offer"},
    {Status::protocol, "protocol", "the peer broke the session's protocol"},
    {Status::struct_size, "struct_size", "no version of the struct has this size, or items of a list differ in it"},
    {Status::busy, "busy", "another wait is under way that this one cannot stand beside"},
    {Status::forked, "forked", "the handle belongs to the process that forked this one"},
    {Status::path_locked, "path_locked", "another process holds a lock on the socket's directory"},
    {Status::unavailable, "unavailable", "nobody listens there, or the session is not open yet"},
    {Status::limit_session, "limit_session", "the session has as many handoffs in flight as it may"},
    {Status::limit_descriptors, "limit_descriptors", "the broker has as many descriptors in flight as it may"},
    {Status::limit_bytes, "limit_bytes", "the session has as many bytes queued as it may"},
    {Status::empty_handoff, "empty_handoff", "no samples of handoffs"},
    {Status::empty_fallback, "empty_fallback", "no samples of fallbacks"},
    {Status::p50_not_faster, "p50_not_faster", "the median handoff is not faster"},
    {Status::p99_not_faster, "p99_not_faster", "the 99th percentile of handoffs is not faster"},
};

const StatusText *find(std::int32_t status) noexcept {
    const auto *found = std::find_if(std::begin(texts), std::end(texts),
                                     [status](const StatusText &text) { return code(text.status) == status; });
    return found != std::end(texts) ? found : nullptr;
}

// strerror_r(3) comes in two forms.
[[maybe_unused]] std::string_view text_of(const char *text, const char *) noexcept {
    return text;
}
[[maybe_unused]] std::string_view text_of(int failed, const char *buffer) noexcept {
    return failed == 0 ? buffer : "";
}

} // namespace

const char *rp_handoff_strerror(int32_t status) {
    const StatusText *const found = find(status);
    return found != nullptr ? found->text : "unknown status";
}

const char *rp_handoff_status_name(int32_t status) {
    const StatusText *const found = find(status);
    return found != nullptr ? found->name : "unknown";
}

Text capi::in_words(std::int32_t status, int os_error) noexcept {
    Text text{std::string_view(rp_handoff_strerror(status))};
    if (os_error != 0) {
        std::array<char, 128> buffer{};
        text += ": ";
        text += text_of(strerror_r(os_error, buffer.data(), buffer.size()), buffer.data());
    }
    return text;
}

void capi::tell(rp_handoff_error *out_error, std::int32_t status, const Explanation &why, int os_error) noexcept {
    rp_handoff_error out{};
    const bool explained = code(why.status()) == status;
    out.status = status;
    out.os_error = explained ? why.os_error() : 0;
    if (out.os_error == 0 && status == RP_HANDOFF_ERR_SYSTEM) {
        out.os_error = os_error;
    }
    if (explained) {
        put_text(out.member, why.member());
    }
    put_text(out.text, explained ? why.text() : in_words(status, out.os_error).view());
    write_struct(out_error, out);
}

int32_t rp_handoff_get_platform(rp_handoff_platform *out_platform) {
    return guarded([&] {
        if (const Status status = check_result_struct(out_platform); status != Status::ok) {
            return status;
        }
        write_struct(out_platform, {0, os::supported ? 1 : 0, static_cast<std::int32_t>(os::in_flight_exemption())});
        return Status::ok;
    });
}
