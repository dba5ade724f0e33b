// Whether to attempt a handoff at all: what client, service and machine allow, and a limit on failures per backend.
//
// Pure: the caller gives the instant, and locks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/counts_per_window.hpp"
#include "handoff/outcome.hpp"

namespace rp::handoff {

// Which backend failures are counted for. Every part takes part in equality: the same service and version built anew
// (with another hash) is another backend.
class BackendKey {
  public:
    enum class Instance : std::int32_t { shared = 0, of_service = 1, named = 2 };

    BackendKey() = default;
    // `name`: the service of an of_service instance, the name of a named one, ignored for shared.
    BackendKey(Instance instance, std::string_view name, std::string_view service, std::string_view version,
               std::string_view executable_hash);

    // "shared", "private:<service>" or "explicit:<name>".
    static std::string instance_id(Instance instance, std::string_view name);

    friend bool operator==(const BackendKey &a, const BackendKey &b) noexcept { return a.parts_ == b.parts_; }
    std::size_t hash() const noexcept { return std::hash<std::string>{}(parts_); }

  private:
    std::string parts_; // each part with its length in front, so that no two keys run into each other
};

struct AttemptInputs {
    bool client_supports = false;
    bool service_enabled = false;
    bool fd_pressure = false;
    bool adopted_backend = false;
};

// Why no attempt is made, for whoever reads a log.
Text describe(const Decision &objection) noexcept;

class AttemptPolicy {
  public:
    // Zeros are clamped: counts to 1, the window to 1 ms.
    struct Config {
        std::uint32_t max_failed = 8;
        Duration window = std::chrono::seconds(30);
        std::size_t max_keys = 1024;
    };

    AttemptPolicy() : AttemptPolicy(Config{}) {}
    explicit AttemptPolicy(Config config) noexcept;

    // Nothing: attempt. Otherwise the first objection in the order of AttemptInputs, then the rate limit, which alone
    // says when to try again and alone looks at counts.
    std::optional<Decision> objection(const BackendKey &key, const AttemptInputs &inputs, Instant now) noexcept;

    Decision record_failure(BackendKey key, FailureClass failure, Instant now);

    // So many failures can be recorded without memory.
    void reserve(std::size_t failures) { windows_.reserve(failures); }

    void record_success(const BackendKey &key) noexcept { windows_.forget(key); }
    std::uint32_t failures(const BackendKey &key, Instant now) noexcept { return windows_.count(key, now); }
    std::size_t keys() const noexcept { return windows_.keys(); }

  private:
    struct KeyHash {
        std::size_t operator()(const BackendKey &key) const noexcept { return key.hash(); }
    };

    std::uint32_t max_failed_;
    Windows<BackendKey, KeyHash> windows_;
};

} // namespace rp::handoff
