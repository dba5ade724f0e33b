#include "token.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/random.h>

namespace rp::handoff {

Result<Token> Token::parse(ByteView bytes) noexcept {
    if (bytes.empty()) {
        return Failure(Status::token_missing);
    }
    if (bytes.size() != size) {
        return Failure(Status::token_length);
    }
    Token token;
    std::copy(bytes.begin(), bytes.end(), token.bytes_.begin());
    return token;
}

// Tokens are random as a rule, but a replaced source may count upwards, at either end: the high half is folded into the
// low one before the multiplication, which only spreads upwards, and after it, since buckets are chosen by the low bits.
std::size_t Token::hash() const noexcept {
    std::uint64_t mixed = word(0) ^ (word(1) * 0x9E3779B97F4A7C15U);
    mixed = (mixed ^ (mixed >> 32U)) * 0xD6E8FEB86659FD93U;
    return static_cast<std::size_t>(mixed ^ (mixed >> 32U));
}

bool SystemRandom::fill(std::uint8_t *out, std::size_t length) noexcept {
    while (length > 0) {
        const ssize_t n = getrandom(out, length, 0);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        if (n > 0) {
            out += n;
            length -= static_cast<std::size_t>(n);
        }
    }
    return true;
}

Result<Token> generate_token(RandomSource &random) noexcept {
    Token::Bytes bytes{};
    if (!random.fill(bytes.data(), bytes.size())) {
        return Failure(Status::random);
    }
    Token token(bytes);
    explicit_bzero(bytes.data(), bytes.size());
    return token;
}

} // namespace rp::handoff
