// Backend keys, subjects and decisions between the public structs and the core.
#pragma once

#include <optional>

#include "boundary.hpp"
#include "handoff/broker.hpp"

namespace rp::handoff::capi {

// invalid_argument, unsupported.
Result<BackendKey> to_backend_key(const rp_handoff_backend_key *key, Explanation &why);

// Nothing for NULL.
Result<std::optional<Broker::Subject>> to_subject(const rp_handoff_subject *subject, Explanation &why);

rp_handoff_decision to_decision(const std::optional<Decision> &objection) noexcept;

} // namespace rp::handoff::capi
