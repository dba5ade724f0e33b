#include "handoff/value.hpp"

namespace rp::handoff {

using Kind = Handoff::Event::Kind;

Handoff::Action ValueTransport::send(const Attempt &attempt, Handoff &handoff, Text &detail) noexcept {
    const auto duplicated = duplicator_.duplicate(handle_, attempt);
    if (!duplicated) {
        detail = duplicated.error().describe();
        return handoff.on({Kind::send_failed, duplicated.error()});
    }
    duplicated_ = *duplicated;
    handoff.on({Kind::sent_part, {}});
    if (!channel_.deliver(*duplicated, attempt)) {
        const TransportError error{Cause::offer_failed};
        detail = error.describe();
        return handoff.on({Kind::send_failed, error});
    }
    return handoff.on({Kind::sent_all, {}});
}

} // namespace rp::handoff
