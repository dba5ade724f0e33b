// The way from the library to the functions that a caller gave to one handle: open until the handle is destroyed.
//
// A handle may be destroyed while others that need its clock live on, and other languages free the functions then. So
// close() returns only when no other thread is in one of them, and from then on none is called. A function that itself
// destroys its handle is not waited for.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "base/lock_probe.hpp"
#include "boundary.hpp"

namespace rp::handoff::capi {

class Gate {
  public:
    // Whether the caller's function was called and succeeded.
    template <class Call>
    bool pass(Call call) noexcept {
        Visitor visitor{std::this_thread::get_id(), nullptr};
        if (!enter(visitor)) {
            return false;
        }
        const bool succeeded = callback_succeeded(call);
        leave(visitor);
        return succeeded;
    }

    void close() noexcept {
        std::unique_lock<std::mutex> lock(mutex_);
        is_closed_ = true;
        left_.wait(lock, [this] { return !has_others(); });
    }

    bool is_closed() noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        return is_closed_;
    }

    bool can_be_freed() noexcept { return are_free(mutex_); }

  private:
    struct Visitor {
        std::thread::id thread;
        Visitor *next;
    };

    bool enter(Visitor &visitor) noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (is_closed_) {
            return false;
        }
        visitor.next = std::exchange(visitors_, &visitor);
        return true;
    }

    void leave(const Visitor &visitor) noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        Visitor **at = &visitors_;
        while (*at != &visitor) {
            at = &(*at)->next;
        }
        *at = visitor.next;
        if (is_closed_) {
            left_.notify_all();
        }
    }

    bool has_others() const noexcept {
        const Visitor *at = visitors_;
        while (at != nullptr && at->thread == std::this_thread::get_id()) {
            at = at->next;
        }
        return at != nullptr;
    }

    std::mutex mutex_;
    std::condition_variable left_;
    Visitor *visitors_ = nullptr; // threads in a function of the caller's
    bool is_closed_ = false;
};

// A gate, if there is a function to be called at all.
template <class... Functions>
std::shared_ptr<Gate> make_gate(Functions... functions) {
    return ((functions != nullptr) || ...) ? std::make_shared<Gate>() : nullptr;
}

inline bool can_be_freed(const std::shared_ptr<Gate> &gate) noexcept {
    return gate == nullptr || gate->can_be_freed();
}

} // namespace rp::handoff::capi
