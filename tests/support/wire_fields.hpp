// Encoded fields, by tag and wire type, for tests that want each of them.
#pragma once

#include "support/hex.hpp"

namespace rp::test {

inline constexpr unsigned wire_types[] = {0, 1, 2, 3, 5}; // 3: a group, with its end

inline void put_varint(Bytes &out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7U) {
        out.push_back(static_cast<std::uint8_t>(value | 0x80U));
    }
    out.push_back(static_cast<std::uint8_t>(value));
}

// A well-formed field of that type. What is delimited is good as text, as bytes, and as an entry of a map.
inline Bytes field(std::uint32_t tag, unsigned type) {
    Bytes out;
    put_varint(out, std::uint64_t{tag} << 3U | type);
    switch (type) {
    case 0:
        out.push_back(1);
        break;
    case 1:
        out.insert(out.end(), 8, 1);
        break;
    case 2:
        out.insert(out.end(), {2, 0x0a, 0});
        break;
    case 3:
        put_varint(out, std::uint64_t{tag} << 3U | 4U);
        break;
    default:
        out.insert(out.end(), 4, 1);
    }
    return out;
}

inline Bytes operator+(Bytes a, const Bytes &b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

} // namespace rp::test
