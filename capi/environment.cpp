#include "environment.hpp"

#include "os/peer.hpp"
#include "os/random.hpp"

#include <atomic>
#include <charconv>
#include <cstdlib>

namespace rp::handoff::capi {

namespace {

constexpr std::uint32_t max_uids = 64;

class CallbackTime final : public TimeSource {
  public:
    CallbackTime(rp_handoff_now_fn now_fn, rp_handoff_wait_fn wait_fn, void *user_data, std::shared_ptr<Gate> gate,
                 ClosedClock closed) noexcept
        : now_(now_fn), wait_(wait_fn), user_data_(user_data), gate_(std::move(gate)), closed_(closed) {}

    Instant now() noexcept override {
        std::uint64_t ns = UINT64_MAX;
        if (gate_->pass([&] { return now_(user_data_, &ns); })) {
            last_ = ns;
            return Instant(Duration(ns));
        }
        return closed_ == ClosedClock::stopped && gate_->is_closed() ? Instant(Duration(last_)) : end_of_time;
    }

    Wait wait(int fd, short events, Instant until) noexcept override {
        std::int32_t ready = 0;
        const bool waited = gate_->pass([&] { return wait_(user_data_, fd, events, nanoseconds(until), &ready); });
        return waited && ready == 1 ? Wait::ready : Wait::timed_out;
    }

  private:
    rp_handoff_now_fn now_;
    rp_handoff_wait_fn wait_;
    void *user_data_;
    std::shared_ptr<Gate> gate_;
    ClosedClock closed_;
    std::atomic<std::uint64_t> last_{UINT64_MAX};
};

class CallbackRandom final : public RandomSource {
  public:
    CallbackRandom(rp_handoff_random_fn random, void *user_data, std::shared_ptr<Gate> gate) noexcept
        : random_(random), user_data_(user_data), gate_(std::move(gate)) {}

    bool fill(std::uint8_t *out, std::size_t length) noexcept override {
        std::fill_n(out, length, unset);
        return gate_->pass([&] { return random_(user_data_, out, length); }) &&
               std::any_of(out, out + length, [](std::uint8_t byte) { return byte != unset; });
    }

  private:
    static constexpr std::uint8_t unset = 0xDB; // all of it: the callback filled in nothing

    rp_handoff_random_fn random_;
    void *user_data_;
    std::shared_ptr<Gate> gate_;
};

} // namespace

Result<std::unique_ptr<TimeSource>> make_time(rp_handoff_now_fn now, rp_handoff_wait_fn wait, void *user_data,
                                              std::shared_ptr<Gate> gate, Explanation &why, ClosedClock closed) {
    if ((now == nullptr) != (wait == nullptr)) {
        return Failure(why.about(Status::invalid_argument, now == nullptr ? "now" : "wait",
                                 "is missing: give both now and wait, or neither"));
    }
    if (now == nullptr) {
        return std::make_unique<SystemTime>();
    }
    return std::make_unique<CallbackTime>(now, wait, user_data, gate ? std::move(gate) : std::make_shared<Gate>(),
                                          closed);
}

std::unique_ptr<RandomSource> make_random(rp_handoff_random_fn random, void *user_data, std::shared_ptr<Gate> gate) {
    if (random == nullptr) {
        return std::make_unique<os::PooledRandom>();
    }
    return std::make_unique<CallbackRandom>(random, user_data, std::move(gate));
}

Result<PeerPolicy> make_peers(const PeerSettings &s, Explanation &why) {
    if ((s.flags & ~s.allowed_flags) != 0) {
        return Failure(why.about(Status::invalid_argument, s.flags_name, "has a flag that means nothing here"));
    }
    if (s.uids_length > max_uids) {
        return Failure(why.about(Status::invalid_argument, s.uids_name, "has more than 64 user ids"));
    }
    if (s.uids_length > 0 && s.uids == nullptr) {
        return Failure(why.about(Status::invalid_argument, s.uids_name, "is NULL, though its length is not 0"));
    }
    std::vector<std::uint32_t> allowed;
    if (s.uids_length > 0) {
        allowed.assign(s.uids, s.uids + s.uids_length);
    }
    return PeerPolicy((s.flags & RP_HANDOFF_PEER_ANY_UID) != 0, (s.flags & RP_HANDOFF_PEER_MATCH_PID) != 0,
                      std::move(allowed), os::overflow_ids());
}

Status check_descriptor(int fd, Zero zero, std::string_view name, Explanation &why) noexcept {
    if (fd < 0) {
        return why.about(Status::invalid_argument, name, "is not set: give a descriptor");
    }
    if (fd == 0 && zero == Zero::is_forgotten) {
        return why.about(
            Status::invalid_argument, name,
            "is 0, which stands there when it was forgotten: set the flag ..._ANY_DESCRIPTOR where there is "
            "one, or dup(2) it");
    }
    return Status::ok;
}

bool is_trust(std::int32_t trust) noexcept {
    return trust == RP_HANDOFF_TRUST_CREDENTIALS || trust == RP_HANDOFF_TRUST_CALLER;
}

Status check_trust(std::int32_t trust, std::string_view name, Explanation &why) noexcept {
    return is_trust(trust) ? Status::ok
                           : why.about(Status::invalid_argument, name,
                                       "does not say what vouches for the other end: give one of RP_HANDOFF_TRUST_");
}

Duration environment_timeout(const char *name, Duration fallback) noexcept {
    const char *value = secure_getenv(name);
    std::string_view text = value != nullptr ? value : "";
    const auto is_blank = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
    while (!text.empty() && is_blank(text.front())) {
        text.remove_prefix(1);
    }
    while (!text.empty() && is_blank(text.back())) {
        text.remove_suffix(1);
    }
    std::uint64_t ms = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ms);
    const bool valid =
        error == std::errc() && end == text.data() + text.size() && ms > 0 && ms <= UINT64_MAX / 1'000'000;
    return valid ? Duration(ms * 1'000'000) : fallback;
}

} // namespace rp::handoff::capi
