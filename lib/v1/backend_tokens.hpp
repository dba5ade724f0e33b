// The backend's decision on a presented token, and the words in which it tells the broker of a refusal.
//
// Pure. What the token stands for (a descriptor, an offer) stays with the caller, who closes it after a rejection.
#pragma once

#include "base/text.hpp"
#include "handoff/token_store.hpp"

namespace rp::handoff {

// ok: the token is consumed. token_missing, token_length: the store was not touched, not even pruned. Otherwise what
// TokenStore::consume_matching says.
Status accept_token(TokenStore &store, const Token &expected, ByteView presented, Instant now) noexcept;

// And what is wrong with an offer whose token was not looked at: limit_descriptors, descriptors (it came without its
// connection), protocol (it is no offer of v1).
//
// The text for HandoffAck.error_detail; peers compare it (it is a part of the v1 wire).
Text rejection_text(Status reason, std::size_t presented_length) noexcept;

} // namespace rp::handoff
