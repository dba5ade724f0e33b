#include "environment.hpp"
#include "os/random.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

static_assert(RP_HANDOFF_TOKEN_SIZE == Token::size);

int32_t rp_handoff_token_generate(rp_handoff_token *out_token) {
    return guarded([&] {
        if (out_token == nullptr) {
            return Status::invalid_argument;
        }
        os::SystemRandom random;
        const Result<Token> token = generate_token(random);
        if (token) {
            *out_token = to_c(*token);
        }
        return token ? Status::ok : token.error();
    });
}

int32_t rp_handoff_token_equal(const rp_handoff_token *a, const rp_handoff_token *b) {
    return a != nullptr && b != nullptr && to_token(*a) == to_token(*b) ? 1 : 0;
}

void rp_handoff_token_wipe(rp_handoff_token *token) {
    if (token != nullptr) {
        explicit_bzero(token->bytes, sizeof token->bytes);
    }
}
