// Which of the two protocols a peer speaks, by the first bytes that it says: for who speaks the other one, so that he can
// say so instead of "malformed".
//
// Pure. Nothing is decided by this: what does not fit is refused in any case.
#pragma once

#include "base/bytes.hpp"
#include "wire/exchange.hpp"
#include "wire/framing.hpp"

namespace rp::handoff::wire {

enum class Protocol {
    undecided, // too few bytes yet
    v1,
    session,
    unknown
};

// A session's frame begins with 'r', its kind, two bytes of count, four of length; a hello is kind 1 with no count. How long
// a later version's hello may be is not known here, but it is no longer than this.
inline constexpr std::uint8_t session_mark = 'r';
inline constexpr std::uint8_t session_hello = 1;
inline constexpr std::size_t session_header_size = 8;
inline constexpr std::uint32_t longest_session_hello = 4096;

inline bool is_session_hello(ByteView bytes) noexcept {
    if (bytes.size() < session_header_size || bytes[0] != session_mark || bytes[1] != session_hello || bytes[2] != 0 ||
        bytes[3] != 0) {
        return false;
    }
    return (bytes[4] | bytes[5] << 8) <= static_cast<int>(longest_session_hello) && bytes[6] == 0 && bytes[7] == 0;
}

// By what the broker says first: a hello, or a token's sixteen bytes, whatever they are, and a framed offer.
inline Protocol recognise_request(ByteView bytes) noexcept {
    if (is_session_hello(bytes)) {
        return Protocol::session;
    }
    if (bytes.size() <= token_size) {
        return Protocol::undecided;
    }
    return bytes[token_size] == framing_version ? Protocol::v1 : Protocol::unknown;
}

// By what the backend says first: a frame of the one or the other kind.
inline Protocol recognise_answer(ByteView bytes) noexcept {
    if (bytes.empty()) {
        return Protocol::undecided;
    }
    return bytes[0] == framing_version ? Protocol::v1
           : bytes[0] == session_mark  ? Protocol::session
                                       : Protocol::unknown;
}

} // namespace rp::handoff::wire
