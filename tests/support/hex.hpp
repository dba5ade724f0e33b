// Bytes as hexadecimal text, spaces between them allowed.
#pragma once

#include <cctype>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rp::test {

using Bytes = std::vector<std::uint8_t>;

inline std::basic_string_view<std::uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t *>(text.data()), text.size()};
}

inline std::uint8_t hex_digit(char c) {
    const auto digit = std::string_view("0123456789abcdef").find(c);
    return static_cast<std::uint8_t>(digit);
}

inline Bytes unhex(std::string_view text) {
    std::string digits;
    for (const char c : text) {
        if (c != ' ') {
            digits += c;
        }
    }
    Bytes bytes;
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
        bytes.push_back(static_cast<std::uint8_t>(hex_digit(digits[i]) << 4U | hex_digit(digits[i + 1])));
    }
    return bytes;
}

template <class Container>
std::string hex(const Container &bytes) {
    std::string text;
    for (const auto byte : bytes) {
        const auto value = static_cast<std::uint8_t>(byte);
        text += "0123456789abcdef"[value >> 4U];
        text += "0123456789abcdef"[value & 15U];
    }
    return text;
}

} // namespace rp::test
