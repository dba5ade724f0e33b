// The wire of a session: frames of a few fixed kinds, bytes to values and back.
//
// Both ends are this library's and on one machine, so it is plain: little-endian integers at fixed places, texts and
// bytes with their length. A frame is a header of eight bytes {'r', kind, count, length of the body} and the body. Its
// first byte differs from that of the v1 wire, so that a peer which speaks the other one is recognised by it.
//
//   hello    both ways, first     who speaks, which versions, how much it wants in flight, the service's name
//   ledger   broker, second       the ledger's descriptor, how many slots it has, and the socket that the backend
//                                 speaks on from then on (session.hpp says why)
//   offers   broker               `count` items, and their descriptors in the same order on the frame's first byte
//   answers  backend              `count` items: adopted, refused, found revoked, came without its descriptor
//   goodbye  both ways            nothing new comes from this side
//   reject   both ways            instead of a hello's answer or of the ledger: why the other side is not talked to
//
// The token stands once in an offer, in the bytes that carry the descriptor: what comes beside a descriptor and what the
// offer says cannot differ here, and the ledger has it a second time.
#pragma once

#include <string_view>

#include "base/bytes.hpp"
#include "handoff/token.hpp"

namespace rp::handoff::session {

inline constexpr std::size_t header_size = 8;
inline constexpr std::size_t max_frame = std::size_t{80} * 1024; // header and body
inline constexpr std::size_t max_answers_frame = std::size_t{16} * 1024;
inline constexpr std::size_t max_batch = 252;
inline constexpr std::uint32_t max_in_flight = 4096;
inline constexpr std::size_t max_metadata = 4096;
inline constexpr std::size_t max_prologue = 4096;
inline constexpr std::size_t max_early = 65536;
inline constexpr std::size_t max_service = 255;
inline constexpr std::size_t max_refusal = 255;
inline constexpr std::size_t max_reason = 255;
inline constexpr std::uint16_t version = 2;

enum class FrameKind : std::uint8_t { hello = 1, ledger = 2, offers = 3, answers = 4, goodbye = 5, reject = 6 };

struct Header {
    FrameKind kind; // may have no name
    std::uint16_t count;
    std::uint32_t length;
};

// protocol: not a frame of a session, or one that is longer than `cap`. frame_incomplete.
Result<Header> decode_header(ByteView bytes, std::size_t cap) noexcept;

struct Hello {
    enum class Role : std::uint16_t { broker = 1, backend = 2 };
    Role role;
    std::uint16_t min_version;
    std::uint16_t max_version;
    std::uint32_t max_in_flight;
    std::uint64_t capabilities; // what this side can beyond this version; none yet
    std::string_view service;
};

struct Rejection {
    Status status; // of the side that rejects
    std::string_view text;
};

struct Offer {
    // more: others are unanswered, so that it pays to see whether the ledger announces another message.
    // answer_here: on the socket that this comes by, where the broker waits.
    enum Flags : std::uint32_t { ready_follows = 1, more = 2, answer_here = 4 };
    std::uint32_t slot;
    std::uint32_t flags;
    std::uint64_t ticket;
    std::uint64_t correlation_id;
    Token token;
    ByteView metadata;
    ByteView early;
    ByteView prologue;

    static constexpr std::size_t fixed_size = 56;
    std::size_t size() const noexcept { return fixed_size + metadata.size() + early.size() + prologue.size(); }
};
static_assert(header_size + Offer::fixed_size + max_metadata + max_prologue + max_early <= max_frame);

struct Answer {
    enum class Verdict : std::uint16_t { adopted = 1, refused = 2, lost = 3, no_descriptor = 4, denied = 5 };
    std::uint32_t slot;
    Verdict verdict; // may have no name
    std::uint64_t ticket;
    std::string_view text;

    static constexpr std::size_t fixed_size = 16;
};

// Writers. `out` has room, and what is written is returned; texts are within their bounds.
std::size_t encode_header(std::uint8_t *out, const Header &header) noexcept;
std::size_t encode_hello(std::uint8_t *out, const Hello &hello) noexcept;             // with its header
std::size_t encode_ledger(std::uint8_t *out, std::uint32_t slots) noexcept;           // with its header
std::size_t encode_rejection(std::uint8_t *out, const Rejection &rejection) noexcept; // with its header
std::size_t encode_offer(std::uint8_t *out, const Offer &offer) noexcept; // an item's fixed part: metadata, early bytes
                                                                          // and prologue follow it
std::size_t encode_answer(std::uint8_t *out, const Answer &answer) noexcept; // an item
inline constexpr std::size_t max_hello_frame = header_size + 24 + max_service;
inline constexpr std::size_t max_reject_frame = header_size + 6 + max_reason;
inline constexpr std::size_t ledger_frame_size = header_size + 4;

// Readers of a body. Later versions may append to a hello, which is not looked at. protocol: malformed.
Result<Hello> decode_hello(ByteView body) noexcept;
Result<std::uint32_t> decode_ledger(ByteView body) noexcept;
Result<Rejection> decode_rejection(ByteView body) noexcept;
// The next item, which `rest` loses.
Result<Offer> next_offer(ByteView &rest) noexcept;
Result<Answer> next_answer(ByteView &rest) noexcept;

} // namespace rp::handoff::session
