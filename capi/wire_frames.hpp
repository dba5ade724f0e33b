// What both wire files need: checking what the caller gave, and frames around payloads.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "boundary.hpp"
#include "wire/exchange.hpp"

namespace rp::handoff::capi {

inline bool is_given(const void *data, std::size_t length) noexcept {
    return data != nullptr || length == 0;
}

inline std::string_view text_view(const char *data, std::size_t length) noexcept {
    return data == nullptr ? std::string_view() : std::string_view(data, length);
}

inline ByteView byte_view(const std::uint8_t *data, std::size_t length) noexcept {
    return data == nullptr ? ByteView() : ByteView(data, length);
}

// What is to be encoded: invalid_argument, or frame_too_large where a part alone is longer than any frame, so that what
// is put together of them stays within what protobuf can say.
inline Status check_bytes(const void *data, std::size_t length) noexcept {
    if (!is_given(data, length)) {
        return Status::invalid_argument;
    }
    return length <= wire::max_body ? Status::ok : Status::frame_too_large;
}
inline Status check_text(const char *data, std::size_t length) noexcept {
    const Status status = check_bytes(data, length);
    return status == Status::ok && !is_utf8(text_view(data, length)) ? Status::invalid_argument : status;
}
inline Status check_argument(bool valid) noexcept {
    return valid ? Status::ok : Status::invalid_argument;
}

// What is to be decoded.
template <class T>
Status check_decoding(bool arguments_are_valid, const T *out) noexcept {
    return first_failure({check_argument(arguments_are_valid), check_result_struct(out)});
}

// frame_too_large, buffer_too_small; without `out` the length alone.
Status put_frame(const wire::Frame &frame, std::uint8_t *out, std::size_t capacity, std::size_t *out_length);
Status put_payload(std::string_view payload, wire::Kind kind, std::uint32_t protocol, std::uint64_t request_id,
                   std::uint8_t *out, std::size_t capacity, std::size_t *out_length);

// The body of the frame that starts the data.
Result<ByteView> find_body(const std::uint8_t *data, std::size_t length) noexcept;

struct FoundFrame {
    wire::Frame frame;
    std::size_t size; // with its header
};
// The same, decoded and its envelope validated: also frame_malformed, frame_unexpected.
Result<FoundFrame> find_frame(const std::uint8_t *data, std::size_t length, wire::Kind kind,
                              std::uint32_t protocol) noexcept;

} // namespace rp::handoff::capi
