// What a handoff has come to, checked whole; and that nothing is left of any.
#pragma once

#include "support/session_hand.hpp"

namespace rp::test {

inline void check_completed(const Event &event) {
    CHECK(event.is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
    CHECK(event.outcome.result == RP_HANDOFF_COMPLETED);
    CHECK(event.outcome.stage == RP_HANDOFF_STAGE_NONE);
    CHECK(event.outcome.reason == RP_HANDOFF_REASON_NONE);
    CHECK(event.outcome.os_error == 0);
    CHECK(event.outcome.may_have_reached_backend == 1);
    CHECK(event.outcome.detail[0] == '\0');
    CHECK_FALSE(event.fd);
}

inline void check_fell_back(const Event &event, std::int32_t stage, std::int32_t reason, std::int32_t cause) {
    CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, cause));
    check_fallback(event.outcome, stage, reason, cause, RP_HANDOFF_OWNER_BROKER);
}

inline void check_at_rest(const Joined &joined) {
    CHECK(take_event(joined.offering).kind == 0);
    CHECK(take_event(joined.receiving).kind == 0);
    CHECK(statistics(joined.offering).in_flight == 0);
    CHECK(statistics(joined.receiving).in_flight == 0);
    CHECK(statistics(joined.broker).pending_tokens == 0);
    CHECK(statistics(joined.broker).pending_acks == 0);
}

} // namespace rp::test
