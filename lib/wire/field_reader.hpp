// Walks over the fields of an encoded protobuf message, accepting and refusing exactly what prost does, which is what
// the peers of this wire decode with.
//
// protozero writes our messages but does not read them: its reader refuses groups and the tags 19000 to 19999, which
// prost skips, and takes varints that overflow 64 bits, which prost refuses.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.hpp"
#include "base/status.hpp"

namespace rp::handoff::wire {

class FieldReader {
  public:
    // depth: how many messages this one is embedded in. They count for how deep groups may be nested.
    explicit FieldReader(ByteView message, std::size_t depth = 0) noexcept : rest_(message), depth_(depth) {}

    // Moves to the next field: false at the end of the message, or at an error.
    bool next() noexcept;

    // Whether anything was wrong so far: malformed input, or a known field read as another wire type than its own.
    bool failed() const noexcept { return failed_; }

    std::uint32_t tag() const noexcept { return tag_; }
    std::size_t depth() const noexcept { return depth_; }

    // Exactly one of these, or skip(), must be called for each field.
    std::uint64_t varint() noexcept;
    ByteView bytes() noexcept;
    std::string_view text() noexcept; // fails unless valid UTF-8
    void skip() noexcept;

    // The caller found what it read to be malformed.
    void reject() noexcept { fail(); }

    std::uint32_t u32() noexcept { return static_cast<std::uint32_t>(varint()); } // truncates, as prost does
    std::int32_t enumeration() noexcept { return static_cast<std::int32_t>(u32()); }
    bool boolean() noexcept { return varint() != 0; }

  private:
    enum WireType : std::uint32_t {
        varint_type = 0,
        fixed64 = 1,
        delimited = 2,
        group = 3,
        end_group = 4,
        fixed32 = 5
    };

    bool fail() noexcept;
    bool read_key() noexcept;
    std::uint64_t read_varint() noexcept;
    ByteView take(std::uint64_t length) noexcept;
    void skip_value() noexcept;
    void skip_group() noexcept;

    ByteView rest_;
    std::size_t depth_;
    std::uint32_t tag_ = 0;
    std::uint32_t type_ = 0;
    bool failed_ = false;
};

} // namespace rp::handoff::wire
