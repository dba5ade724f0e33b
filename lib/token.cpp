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
    Result<Token> token;
    if (!random.fill(token->bytes_.data(), Token::size)) {
        return Failure(Status::random);
    }
    return token;
}

} // namespace rp::handoff
