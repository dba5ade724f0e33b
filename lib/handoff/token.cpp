#include "handoff/token.hpp"

#include <algorithm>

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

Result<Token> generate_token(RandomSource &random) noexcept {
    Result<Token> token;
    if (!random.fill(token->bytes_.data(), Token::size)) {
        return Failure(Status::random);
    }
    return token;
}

} // namespace rp::handoff
