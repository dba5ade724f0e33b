// What every entry point of the C API goes through: the exception wall, the kinds of handles, sized structs.
//
// The only try blocks of the library are here.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <new>
#include <pthread.h>
#include <string_view>

#include "base/explanation.hpp"
#include "base/status.hpp"
#include "base/text.hpp"
#include "os/fork_mark.hpp"
#include "rp_handoff.h"
#include "struct_sizes.hpp"

namespace rp::handoff::capi {

constexpr std::int32_t code(Status status) noexcept {
    return static_cast<std::int32_t>(status);
}

// A thread that is cancelled unwinds, and what unwinds out of a noexcept function ends the process. So cancellation
// waits until the call returns.
class CancellationOff {
  public:
    CancellationOff() noexcept { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
    CancellationOff(const CancellationOff &) = delete;
    CancellationOff &operator=(const CancellationOff &) = delete;
    ~CancellationOff() { pthread_setcancelstate(before_, nullptr); }

  private:
    int before_ = PTHREAD_CANCEL_ENABLE;
};

// Runs a part of an entry point, which answers a Status or a number that is not negative.
template <class Body>
std::int32_t walled(Body body) noexcept {
    try {
        return static_cast<std::int32_t>(body());
    } catch (const std::bad_alloc &) {
        return RP_HANDOFF_ERR_NO_MEMORY;
    } catch (...) {
        return RP_HANDOFF_ERR_INTERNAL;
    }
}

// Runs the body of an entry point.
template <class Body>
std::int32_t guarded(Body body) noexcept {
    const CancellationOff off;
    return walled(body);
}

// Runs a callback of the caller's, which may come from a language that throws through it.
template <class Call>
bool callback_succeeded(Call call) noexcept {
    try {
        return call() == RP_HANDOFF_CALLBACK_OK;
    } catch (...) {
        return false;
    }
}

// No struct is longer, so a larger size is garbage and nobody knows what lies there. The limit is that of openat2(2).
constexpr std::uint32_t max_struct_size = 4096;

template <class T>
bool is_size_of(std::uint32_t size) noexcept {
    static_assert(smallest_size<T> > 0 && smallest_size<T> <= sizeof(T));
    return size >= smallest_size<T> && size <= max_struct_size;
}

// Whether a member that only a newer library knows is set.
template <class T>
auto uses_reserved(const T &in, int) noexcept -> decltype(in.reserved != 0) {
    return in.reserved != 0;
}
template <class T>
bool uses_reserved(const T &, long) noexcept {
    return false;
}

// Reads a struct that says its own size: what the caller's header did not have yet is zero, and what this library does
// not know must be. `name`: what the caller calls it.
template <class T>
Status read_struct(const T *in, T &out, std::string_view name, Explanation &why) noexcept {
    if (in == nullptr) {
        return why.about(Status::invalid_argument, name, "is NULL and must not be");
    }
    if (!is_size_of<T>(in->struct_size)) {
        return why.about(Status::struct_size, "struct_size",
                         "is no size that this struct has in any version: set it to sizeof the struct");
    }
    const std::size_t known = std::min<std::size_t>(in->struct_size, sizeof(T));
    const auto *bytes = reinterpret_cast<const unsigned char *>(in);
    if (std::any_of(bytes + known, bytes + in->struct_size, [](unsigned char byte) { return byte != 0; })) {
        return why.because(Status::unsupported, {}, "a member is set that this version of the library does not know");
    }
    std::memset(&out, 0, sizeof out);
    std::memcpy(&out, in, known);
    return uses_reserved(out, 0) ? why.about(Status::unsupported, "reserved", "must be 0") : Status::ok;
}
template <class T>
Status read_struct(const T *in, T &out) noexcept {
    Explanation unheard;
    return read_struct(in, out, {}, unheard);
}

// Options: NULL stands for all defaults.
template <class T>
Status read_options(const T *in, T &out, Explanation &why) noexcept {
    return in == nullptr ? Status::ok : read_struct(in, out, {}, why);
}

template <class T>
Status check_result_struct(const T *out) noexcept {
    if (out == nullptr) {
        return Status::invalid_argument;
    }
    return is_size_of<T>(out->struct_size) ? Status::ok : Status::struct_size;
}
template <class T>
Status check_result_struct(const T *out, std::string_view name, Explanation &why) noexcept {
    const Status status = check_result_struct(out);
    return status == Status::ok
               ? status
               : why.about(status, name,
                           out == nullptr ? "is NULL and must not be"
                                          : "has a struct_size of no version: set it to sizeof the struct");
}
template <class T>
Status check_given(const T *out, std::string_view name, Explanation &why) noexcept {
    return out != nullptr ? Status::ok : why.about(Status::invalid_argument, name, "is NULL and must not be");
}
// For results that nobody has to want.
template <class T>
Status check_optional_struct(const T *out) noexcept {
    return out == nullptr ? Status::ok : check_result_struct(out);
}

// What the caller's struct has room for. Keeps the size that the caller set.
template <class T>
void write_struct(T *out, T value) noexcept {
    value.struct_size = out->struct_size;
    std::memcpy(out, &value, std::min<std::size_t>(value.struct_size, sizeof(T)));
}

// The first member of every handle. The numbers are arbitrary, and not likely to be met by chance.
enum class Kind : std::uint32_t {
    dead = 0,
    broker = 0x52504201,
    backend = 0x52504202,
    offer = 0x52504203,
    queue = 0x52504204,
    front_door = 0x52504205,
    session = 0x52504206,
    listener = 0x52504207
};

struct Handle {
    Kind kind;
    std::uint64_t owner; // the mark of the process that made it

    explicit Handle(Kind of) noexcept : kind(of), owner(os::fork_mark()) {}
    // The compiler must not take it that nobody reads this.
    ~Handle() { *static_cast<volatile Kind *>(&kind) = Kind::dead; }
    Handle(const Handle &) = delete;
    Handle &operator=(const Handle &) = delete;

    bool in_forked_child() const noexcept { return owner != os::fork_mark(); }
};

template <class T>
Status check_kind(const T *handle) noexcept {
    if (handle == nullptr) {
        return Status::invalid_argument;
    }
    return handle->base.kind == T::own_kind ? Status::ok : Status::wrong_handle;
}

// For every call but destroy: what a child inherited shares locks, sockets and memory with its parent's.
template <class T>
Status check_handle(const T *handle) noexcept {
    const Status status = check_kind(handle);
    return status == Status::ok && handle->base.in_forked_child() ? Status::forked : status;
}

// As guarded, for a call on a handle.
template <class T, class Body>
std::int32_t guarded_with(T *handle, Body body) noexcept {
    const Status status = check_handle(handle);
    return status == Status::ok ? guarded(body) : code(status);
}

// A status, and the error of the system call that caused it, if one did.
Text in_words(std::int32_t status, int os_error) noexcept;

// Fills in the caller's struct: what was explained, or else the status in words.
void tell(rp_handoff_error *out_error, std::int32_t status, const Explanation &why, int os_error) noexcept;

// As guarded, for a call that can say why it failed: body(why).
template <class Body>
std::int32_t explained(rp_handoff_error *out_error, Body body) noexcept {
    if (out_error != nullptr && !is_size_of<rp_handoff_error>(out_error->struct_size)) {
        return RP_HANDOFF_ERR_STRUCT_SIZE;
    }
    Explanation why;
    const std::int32_t status = guarded([&] { return body(why); });
    if (status < 0 && out_error != nullptr) {
        tell(out_error, status, why, errno);
    }
    return status;
}

inline const char *why_no_handle(Status status) noexcept {
    switch (status) {
    case Status::forked:
        return "was inherited by fork(2): a child may only destroy it";
    case Status::wrong_handle:
        return "is a handle of another kind, or was destroyed";
    default:
        return "is NULL and must not be";
    }
}

// name: the handle's parameter.
template <class T, class Body>
std::int32_t explained_with(T *handle, std::string_view name, rp_handoff_error *out_error, Body body) noexcept {
    return explained(out_error, [&](Explanation &why) -> std::int32_t {
        const Status status = check_handle(handle);
        if (status != Status::ok) {
            return code(why.about(status, name, why_no_handle(status)));
        }
        return static_cast<std::int32_t>(body(why));
    });
}

enum class Ending { of_owner, of_copy };

// Ends a handle, if it is one of this kind. In a forked child it is a copy, and only memory and descriptors are given back:
// all that it stands for is the parent's. Where a thread of the parent held a lock of the handle, or of what it keeps, at the
// fork, what that lock guards may be in the middle of a change for ever, so the copy is left alone. The fork is the only
// time at which this can be asked: so in this process nobody takes a lock while it is.
template <class T, class End>
void destroy(T *handle, End end) noexcept {
    if (check_kind(handle) != Status::ok) {
        return;
    }
    const CancellationOff off;
    if (!handle->base.in_forked_child()) {
        end(Ending::of_owner);
    } else if (handle->can_be_freed()) {
        end(Ending::of_copy);
    }
}
template <class T>
void destroy(T *handle) noexcept {
    destroy(handle, [handle](Ending ending) {
        handle->end(ending);
        delete handle;
    });
}

// Cut to fit, at a character's boundary, and NUL-terminated. `out` is zero.
template <std::size_t Size>
void put_text(char (&out)[Size], std::string_view text) noexcept {
    const std::string_view cut = utf8_prefix(text, Size - 1);
    std::copy(cut.begin(), cut.end(), out);
}

// A text of the caller's, empty for NULL. invalid_argument: longer than max, or not UTF-8.
inline Result<std::string_view> to_text(const char *text, std::size_t max) noexcept {
    const std::string_view view = text == nullptr ? std::string_view() : std::string_view(text, strnlen(text, max + 1));
    if (view.size() > max || !is_utf8(view)) {
        return Failure(Status::invalid_argument);
    }
    return view;
}
enum class Presence { optional, required };
inline Result<std::string_view> to_text(const char *text, std::size_t max, Presence presence, std::string_view name,
                                        Explanation &why) noexcept {
    if (text == nullptr && presence == Presence::required) {
        return Failure(why.about(Status::invalid_argument, name, "is NULL and must not be"));
    }
    Result<std::string_view> view = to_text(text, max);
    if (!view) {
        why.about(view.error(), name, "is too long, or not UTF-8");
    }
    return view;
}

template <class T>
T or_default(T value, T fallback) noexcept {
    return value == T{} ? fallback : value;
}

// invalid_argument, and why.
inline Status check_at_most(std::uint64_t value, std::uint64_t most, std::string_view name, Explanation &why) noexcept {
    if (value <= most) {
        return Status::ok;
    }
    Text predicate("is above its limit, which is ");
    predicate += static_cast<std::int64_t>(most);
    return why.about(Status::invalid_argument, name, predicate.view());
}

inline Status first_failure(std::initializer_list<Status> statuses) noexcept {
    const auto *const failed = std::find_if(statuses.begin(), statuses.end(), [](Status s) { return s != Status::ok; });
    return failed != statuses.end() ? *failed : Status::ok;
}

} // namespace rp::handoff::capi
