// The value model of a handoff: the broker duplicates a handle into the backend's own table, and tells it the number.
//
// Platform-neutral: who duplicates and who delivers is given. It drives the same machine as the descriptor model,
// through the same orchestrate.
#pragma once

#include <cstdint>
#include <optional>

#include "handoff/blocking.hpp"

namespace rp::handoff {

class Duplicator {
  public:
    Duplicator() = default;
    Duplicator(const Duplicator &) = delete;
    Duplicator &operator=(const Duplicator &) = delete;
    virtual ~Duplicator() = default;

    // The handle as the backend sees it.
    virtual tl::expected<std::uint64_t, TransportError> duplicate(std::uint64_t handle,
                                                                  const Attempt &attempt) noexcept = 0;
};

// That of a platform without DuplicateHandle.
class UnsupportedDuplicator final : public Duplicator {
  public:
    tl::expected<std::uint64_t, TransportError> duplicate(std::uint64_t, const Attempt &) noexcept override {
        return tl::unexpected(TransportError{Cause::unsupported_platform});
    }
};

class DeliveryChannel {
  public:
    DeliveryChannel() = default;
    DeliveryChannel(const DeliveryChannel &) = delete;
    DeliveryChannel &operator=(const DeliveryChannel &) = delete;
    virtual ~DeliveryChannel() = default;

    // Tells the backend of its handle. False: it was not told.
    virtual bool deliver(std::uint64_t backend_handle, const Attempt &attempt) noexcept = 0;
};

class ValueTransport final : public Transport {
  public:
    ValueTransport(std::uint64_t handle, Duplicator &duplicator, DeliveryChannel &channel) noexcept
        : handle_(handle), duplicator_(duplicator), channel_(channel) {}

    Handoff::Action send(const Attempt &attempt, Handoff &handoff, Text &detail) noexcept override;
    int connection() const noexcept override { return -1; }
    Handoff::Model model() const noexcept override { return Handoff::Model::value; }

    // What stands in the backend's table from the duplication on; after a fallback the broker cannot close it.
    std::optional<std::uint64_t> duplicated() const noexcept { return duplicated_; }

  private:
    std::uint64_t handle_;
    Duplicator &duplicator_;
    DeliveryChannel &channel_;
    std::optional<std::uint64_t> duplicated_;
};

} // namespace rp::handoff
