#include "base/text.hpp"

#include <algorithm>
#include <charconv>
#include <utf8.h>

namespace rp::handoff {

namespace {

// ASCII, which is most of what comes, needs no decoder.
std::size_t valid_length(std::string_view s) noexcept {
    const auto other = std::find_if(s.begin(), s.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
    return static_cast<std::size_t>(utf8::find_invalid(other, s.end()) - s.begin());
}

// C0 controls and DEL, and the C1 controls U+0080..U+009F, which are two bytes: 0xC2 and then 0x80..0x9F.
std::size_t control_length(std::string_view s) noexcept {
    const auto first = static_cast<unsigned char>(s[0]);
    if (first < 0x20 || first == 0x7F) {
        return 1;
    }
    if (first == 0xC2 && s.size() > 1 && static_cast<unsigned char>(s[1]) < 0xA0) {
        return 2;
    }
    return 0;
}

std::size_t character_length(std::string_view valid) noexcept {
    std::size_t n = 1;
    while (n < valid.size() && (static_cast<unsigned char>(valid[n]) & 0xC0U) == 0x80U) {
        ++n;
    }
    return n;
}

} // namespace

bool is_utf8(std::string_view s) noexcept {
    return valid_length(s) == s.size();
}

std::string_view utf8_prefix(std::string_view s, std::size_t max) noexcept {
    const std::string_view cut = s.substr(0, max);
    return cut.substr(0, valid_length(cut));
}

Text &Text::operator+=(std::string_view s) noexcept {
    while (!s.empty()) {
        std::string_view out = "?";
        std::size_t used = 1;
        if (const std::size_t control = control_length(s); control > 0) {
            used = control;
        } else if (const std::string_view head = s.substr(0, 4); valid_length(head) > 0) {
            used = character_length(head.substr(0, valid_length(head)));
            out = s.substr(0, used);
        }
        if (out.size() > capacity - size_) {
            break;
        }
        std::copy(out.begin(), out.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(size_));
        size_ += out.size();
        s.remove_prefix(used);
    }
    return *this;
}

Text &Text::operator+=(std::int64_t number) noexcept {
    std::array<char, 24> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
    return *this += std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data()));
}

} // namespace rp::handoff
