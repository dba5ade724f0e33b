#include "handoff/pending_queue.hpp"

#include <memory>
#include <mutex>

#include "base/unique_fd.hpp"
#include "environment.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

namespace {

constexpr std::uint32_t max_capacity = 1048576;

struct Parked {
    UniqueFd fd;
    std::uint64_t user_data = 0;
};

} // namespace

struct rp_handoff_queue {
    static constexpr Kind own_kind = Kind::queue;
    Handle base{own_kind};
    std::unique_ptr<TimeSource> time;
    std::mutex mutex;
    PendingQueue<Parked> queue;

    rp_handoff_queue(std::unique_ptr<TimeSource> t, std::size_t capacity, Duration ttl)
        : time(std::move(t)), queue(capacity, ttl) {}

    bool can_be_freed() noexcept { return are_free(mutex); }
    void end(Ending) noexcept {}
};

namespace {

using Lock = std::lock_guard<std::mutex>;

// A queue never waits.
std::int32_t no_wait(void *, std::int32_t, std::int32_t, std::uint64_t, std::int32_t *) {
    return 0;
}

} // namespace

int32_t rp_handoff_queue_create(const rp_handoff_queue_options *options, rp_handoff_queue **out_queue,
                                rp_handoff_error *out_error) {
    return explained(out_error, [&](Explanation &why) {
        rp_handoff_queue_options o{};
        const Status given = first_failure({check_given(out_queue, "out_queue", why), read_options(options, o, why),
                                            check_at_most(o.capacity, max_capacity, "capacity", why)});
        if (given != Status::ok) {
            return given;
        }
        auto time = make_time(o.now, o.now != nullptr ? no_wait : nullptr, o.time_user_data, nullptr, why);
        *out_queue = new rp_handoff_queue(std::move(*time), or_default(o.capacity, 64U),
                                          limited(o.ttl_ns, std::chrono::milliseconds(100)));
        return Status::ok;
    });
}

void rp_handoff_queue_destroy(rp_handoff_queue *queue) {
    destroy(queue);
}

int32_t rp_handoff_queue_enqueue(rp_handoff_queue *queue, int32_t fd, uint64_t user_data) {
    return guarded_with(queue, [&] {
        if (fd < 0) {
            return Status::invalid_argument;
        }
        const Instant now = queue->time->now();
        const Lock lock(queue->mutex);
        return queue->queue.enqueue_with(now, [&] { return Parked{UniqueFd(fd), user_data}; });
    });
}

int32_t rp_handoff_queue_dequeue(rp_handoff_queue *queue, int32_t *out_fd, uint64_t *out_user_data) {
    return guarded_with(queue, [&]() -> std::int32_t {
        if (out_fd == nullptr) {
            return RP_HANDOFF_ERR_INVALID_ARGUMENT;
        }
        const Instant now = queue->time->now();
        const Lock lock(queue->mutex);
        std::optional<Parked> oldest = queue->queue.dequeue(now);
        if (!oldest) {
            return 0;
        }
        *out_fd = oldest->fd.release();
        if (out_user_data != nullptr) {
            *out_user_data = oldest->user_data;
        }
        return 1;
    });
}

int32_t rp_handoff_queue_expire(rp_handoff_queue *queue, uint32_t *out_expired) {
    return guarded_with(queue, [&] {
        if (out_expired == nullptr) {
            return Status::invalid_argument;
        }
        const Instant now = queue->time->now();
        const Lock lock(queue->mutex);
        *out_expired = static_cast<std::uint32_t>(queue->queue.expire(now));
        return Status::ok;
    });
}

int32_t rp_handoff_queue_get_length(rp_handoff_queue *queue, uint32_t *out_length) {
    return guarded_with(queue, [&] {
        if (out_length == nullptr) {
            return Status::invalid_argument;
        }
        const Lock lock(queue->mutex);
        *out_length = static_cast<std::uint32_t>(queue->queue.pending_len());
        return Status::ok;
    });
}
