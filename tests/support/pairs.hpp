// Text and bytes of public structs: a member `x` and its `x_length`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace rp::test {

inline void set_pair(const char *&data, std::size_t &length, std::string_view words) noexcept {
    data = words.data();
    length = words.size();
}
inline void set_pair(const std::uint8_t *&data, std::size_t &length, std::string_view words) noexcept {
    data = reinterpret_cast<const std::uint8_t *>(words.data());
    length = words.size();
}

template <class Byte>
std::string_view view_pair(const Byte *data, std::size_t length) noexcept {
    return data == nullptr ? std::string_view() : std::string_view(reinterpret_cast<const char *>(data), length);
}

} // namespace rp::test

#define SET_PAIR(object, member, words) rp::test::set_pair((object).member, (object).member##_length, words)
#define VIEW_PAIR(object, member) rp::test::view_pair((object).member, (object).member##_length)
