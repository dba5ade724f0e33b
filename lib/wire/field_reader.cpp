#include "wire/field_reader.hpp"

#include <array>

#include "base/text.hpp"

namespace rp::handoff::wire {

namespace {

constexpr std::size_t max_depth = 100; // of messages and groups: prost's recursion limit

} // namespace

bool FieldReader::fail() noexcept {
    failed_ = true;
    rest_ = {};
    return false;
}

bool FieldReader::next() noexcept {
    return !rest_.empty() && read_key() && (type_ != end_group || fail());
}

bool FieldReader::read_key() noexcept {
    const std::uint64_t key = read_varint();
    tag_ = static_cast<std::uint32_t>(key >> 3U);
    type_ = static_cast<std::uint32_t>(key & 7U);
    if (failed_ || key > UINT32_MAX || tag_ == 0 || type_ > fixed32) {
        return fail();
    }
    return true;
}

std::uint64_t FieldReader::read_varint() noexcept {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (rest_.empty()) {
            break;
        }
        const std::uint8_t byte = rest_[0];
        rest_.remove_prefix(1);
        if (shift == 63 && byte > 1) {
            break; // would overflow, or go on beyond ten bytes
        }
        value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    fail();
    return 0;
}

ByteView FieldReader::take(std::uint64_t length) noexcept {
    if (length > rest_.size()) {
        fail();
        return {};
    }
    const ByteView taken = rest_.substr(0, static_cast<std::size_t>(length));
    rest_.remove_prefix(taken.size());
    return taken;
}

std::uint64_t FieldReader::varint() noexcept {
    if (type_ != varint_type) {
        fail();
        return 0;
    }
    return read_varint();
}

ByteView FieldReader::bytes() noexcept {
    if (type_ != delimited) {
        fail();
        return {};
    }
    return take(read_varint());
}

std::string_view FieldReader::text() noexcept {
    const ByteView raw = bytes();
    const std::string_view text(reinterpret_cast<const char *>(raw.data()), raw.size());
    if (!is_utf8(text)) {
        fail();
        return {};
    }
    return text;
}

void FieldReader::skip() noexcept {
    if (type_ == group) {
        skip_group();
    } else {
        skip_value();
    }
}

void FieldReader::skip_value() noexcept {
    switch (type_) {
    case varint_type:
        read_varint();
        break;
    case fixed64:
        take(8);
        break;
    case delimited:
        take(read_varint());
        break;
    case fixed32:
        take(4);
        break;
    default:
        fail();
    }
}

// A group ends with the end tag of its own number. Kept as a stack of open groups, so that a peer chooses the depth of
// an array and not that of our call stack.
void FieldReader::skip_group() noexcept {
    std::array<std::uint32_t, max_depth> open{tag_};
    std::size_t depth = 1;
    while (depth > 0 && !failed_) {
        if (!read_key()) {
            return;
        }
        if (type_ == end_group) {
            if (tag_ != open[--depth]) {
                fail();
            }
        } else if (depth + depth_ >= max_depth) {
            fail();
        } else if (type_ == group) {
            open[depth++] = tag_;
        } else {
            skip_value();
        }
    }
}

} // namespace rp::handoff::wire
