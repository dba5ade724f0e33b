#include "v1/backend_tokens.hpp"

namespace rp::handoff {

Status accept_token(TokenStore &store, const Token &expected, ByteView presented, Instant now) noexcept {
    const Result<Token> token = Token::parse(presented);
    return token ? store.consume_matching(expected, *token, now) : token.error();
}

Text rejection_text(Status reason, std::size_t presented_length) noexcept {
    switch (reason) {
    case Status::token_missing:
        return Text("handoff token is missing");
    case Status::token_length: {
        Text text("handoff token length was ");
        text += static_cast<std::int64_t>(presented_length);
        return text += " bytes; expected 16";
    }
    case Status::token_mismatch:
        return Text("handoff token mismatch");
    case Status::token_expired:
        return Text("handoff token expired");
    case Status::token_not_pending:
        return Text("handoff token is not pending");
    case Status::limit_descriptors:
        return Text("the connection was not delivered: the backend is out of descriptors");
    case Status::descriptors:
        return Text("the connection was not delivered: the system kept it from the backend");
    case Status::protocol:
        return Text("this backend speaks v1, not sessions");
    default:
        return Text("handoff token could not be checked");
    }
}

} // namespace rp::handoff
