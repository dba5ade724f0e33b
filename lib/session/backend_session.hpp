// The backend's session: BackendSide for any number of threads.
#pragma once

#include <memory>

#include "session/backend_side.hpp"
#include "session/driver.hpp"

namespace rp::handoff::session {

class BackendSession final : public Driver<BackendSide> {
  public:
    // Takes config.connection_fd on success, if there is no path.
    static Result<std::shared_ptr<BackendSession>> open(Config config, std::unique_ptr<TimeSource> time,
                                                        Explanation &why);
    BackendSession(Config config, std::unique_ptr<TimeSource> time)
        : Driver(*time, std::move(config)), own_time_(std::move(time)) {}

    // ---- of an offer that an event gave out, by its number, until release
    using Info = BackendSide::Info;
    Info info(Index i) noexcept;

    struct Accepted {
        UniqueFd fd;
        bool delivered; // the acknowledgement will be
    };
    Result<Accepted> accept(Index i) noexcept; // answered, revoked, protocol
    Status refuse(Index i, std::string_view text) noexcept;
    void release(Index i) noexcept; // refuses if there was no answer

    // For destroy: at once. Not in a forked child.
    void shutdown() noexcept;

  private:
    bool may_answers_wait() const noexcept { return side_.answers_wait() && !doorbell_.has_lookout(); }
    void send_unless(bool answers_wait);

    const std::unique_ptr<TimeSource> own_time_;
};

} // namespace rp::handoff::session
