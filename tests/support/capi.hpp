// What the tests of the C API share: handles that end with their scope, results that a failed call must leave alone, and
// a clock and a source of random bytes that the test turns by hand.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <poll.h>

#include "rp_handoff.h"

namespace rp::test {

constexpr std::uint64_t second = 1'000'000'000;

template <class T, void (*Destroy)(T *)>
struct Destroyer {
    void operator()(T *handle) const noexcept { Destroy(handle); }
};
using Broker = std::unique_ptr<rp_handoff_broker, Destroyer<rp_handoff_broker, rp_handoff_broker_destroy>>;
using Backend = std::unique_ptr<rp_handoff_backend, Destroyer<rp_handoff_backend, rp_handoff_backend_destroy>>;
using Queue = std::unique_ptr<rp_handoff_queue, Destroyer<rp_handoff_queue, rp_handoff_queue_destroy>>;
using FrontDoor =
    std::unique_ptr<rp_handoff_front_door, Destroyer<rp_handoff_front_door, rp_handoff_front_door_destroy>>;
using Session = std::unique_ptr<rp_handoff_session, Destroyer<rp_handoff_session, rp_handoff_session_destroy>>;
using Listener = std::unique_ptr<rp_handoff_listener, Destroyer<rp_handoff_listener, rp_handoff_listener_destroy>>;
using Offer = std::unique_ptr<rp_handoff_offer, Destroyer<rp_handoff_offer, rp_handoff_offer_destroy>>;

// What a callback may return that is not success.
constexpr std::int32_t garbage[] = {
    0, 1, -1, INT32_MIN, INT32_MAX, RP_HANDOFF_CALLBACK_OK + 1, RP_HANDOFF_CALLBACK_OK - 1};

// All zero but for its size.
template <class T>
T sized() noexcept {
    T value{};
    value.struct_size = sizeof value;
    return value;
}

// An out-parameter full of a pattern.
template <class T>
class Out {
  public:
    Out() noexcept {
        std::memset(&value, 0xA5, sizeof value);
        before_ = value;
    }
    T *get() noexcept { return &value; }
    bool untouched() const noexcept { return std::memcmp(&value, &before_, sizeof value) == 0; }

    T value;

  protected:
    T before_;
};

// One that has to say its size.
template <class T>
class OutStruct : public Out<T> {
  public:
    OutStruct() noexcept { this->value.struct_size = this->before_.struct_size = sizeof(T); }
};

// A clock that stands still unless it is set, and a wait that takes no time: it lets the others act, and then either what
// was waited for is there, or the time has passed.
class FakeTime {
  public:
    std::uint64_t now = 1000 * second;
    bool broken = false;
    int waits = 0;
    std::function<void()> meanwhile;

    template <class Options>
    Options in(Options options) noexcept {
        options.now = read;
        options.wait = wait;
        options.time_user_data = this;
        return options;
    }

  private:
    static std::int32_t read(void *user_data, std::uint64_t *out_now) {
        const auto *self = static_cast<FakeTime *>(user_data);
        *out_now = self->now;
        return self->broken ? 0 : RP_HANDOFF_CALLBACK_OK;
    }
    static std::int32_t wait(void *user_data, std::int32_t fd, std::int32_t events, std::uint64_t until,
                             std::int32_t *out_ready) {
        auto *self = static_cast<FakeTime *>(user_data);
        ++self->waits;
        if (self->meanwhile) {
            self->meanwhile();
        }
        pollfd target{fd, static_cast<short>(events), 0};
        *out_ready = poll(&target, 1, 0) > 0 ? 1 : 0;
        if (*out_ready == 0) {
            self->now = until;
        }
        return RP_HANDOFF_CALLBACK_OK;
    }
};

// Tokens of sixteen equal bytes: 1, 2, 3 and so on, or always the same.
class FakeRandom {
  public:
    std::uint8_t next = 1;
    std::uint8_t step = 1;
    int calls = 0;
    std::int32_t answer = RP_HANDOFF_CALLBACK_OK;

    rp_handoff_broker_options in(rp_handoff_broker_options options) noexcept {
        options.random = fill;
        options.random_user_data = this;
        return options;
    }

  private:
    static std::int32_t fill(void *user_data, std::uint8_t *out, std::size_t length) {
        auto *self = static_cast<FakeRandom *>(user_data);
        ++self->calls;
        std::memset(out, self->next, length);
        self->next = static_cast<std::uint8_t>(self->next + self->step);
        return self->answer;
    }
};

inline rp_handoff_token token_of(std::uint8_t byte) noexcept {
    rp_handoff_token token{};
    std::memset(token.bytes, byte, sizeof token.bytes);
    return token;
}

inline Broker make_broker(const rp_handoff_broker_options &options = sized<rp_handoff_broker_options>()) {
    rp_handoff_broker *broker = nullptr;
    REQUIRE(rp_handoff_broker_create(&options, &broker, nullptr) == RP_HANDOFF_OK);
    return Broker(broker);
}

inline Backend make_backend(const rp_handoff_backend_options &options = sized<rp_handoff_backend_options>()) {
    rp_handoff_backend *backend = nullptr;
    REQUIRE(rp_handoff_backend_create(&options, &backend, nullptr) == RP_HANDOFF_OK);
    return Backend(backend);
}

inline Queue make_queue(const rp_handoff_queue_options &options = sized<rp_handoff_queue_options>()) {
    rp_handoff_queue *queue = nullptr;
    REQUIRE(rp_handoff_queue_create(&options, &queue, nullptr) == RP_HANDOFF_OK);
    return Queue(queue);
}

inline FrontDoor make_front_door(const Broker &broker) {
    rp_handoff_front_door *front_door = nullptr;
    REQUIRE(rp_handoff_front_door_create(broker.get(), nullptr, &front_door, nullptr) == RP_HANDOFF_OK);
    return FrontDoor(front_door);
}

inline rp_handoff_token issue(const Broker &broker, const char *service_name = "service", std::uint32_t pid = 0) {
    rp_handoff_token token{};
    REQUIRE(rp_handoff_broker_issue(broker.get(), service_name, pid, &token) == RP_HANDOFF_OK);
    return token;
}

inline rp_handoff_broker_statistics statistics(const Broker &broker) {
    auto out = sized<rp_handoff_broker_statistics>();
    REQUIRE(rp_handoff_broker_get_statistics(broker.get(), &out) == RP_HANDOFF_OK);
    return out;
}

inline rp_handoff_backend_statistics statistics(const Backend &backend) {
    auto out = sized<rp_handoff_backend_statistics>();
    REQUIRE(rp_handoff_backend_get_statistics(backend.get(), &out) == RP_HANDOFF_OK);
    return out;
}

// The next offer that is there already, or none: as an event loop does it, for so long as there is something to do.
inline Offer take_offer(const Backend &backend) {
    rp_handoff_offer *offer = nullptr;
    pollfd target{rp_handoff_backend_get_fd(backend.get()), POLLIN, 0};
    do {
        const std::int32_t status = rp_handoff_backend_next_offer(backend.get(), 0, &offer);
        REQUIRE((status == RP_HANDOFF_OK || status == RP_HANDOFF_ERR_TIMED_OUT));
    } while (offer == nullptr && poll(&target, 1, 0) == 1);
    return Offer(offer);
}

inline rp_handoff_offer_info info_of(const Offer &offer) {
    auto info = sized<rp_handoff_offer_info>();
    REQUIRE(rp_handoff_offer_get_info(offer.get(), &info) == RP_HANDOFF_OK);
    return info;
}

} // namespace rp::test
