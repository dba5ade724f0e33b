// Why a call fails, in words: filled in by whoever knows the reason, beside the status that it returns.
//
// A function that has more to say than its status takes an Explanation& as its last parameter and returns why.because(...),
// or why.about(...).
// The first reason stands: who passes a failure on does not overwrite it.
#pragma once

#include <string_view>

#include "base/status.hpp"
#include "base/text.hpp"

namespace rp::handoff {

class Explanation {
  public:
    // member: the setting that is at fault, as the caller spells it; empty if it is none of them. text: a sentence that
    // says what is wrong and, where it can, what to do. os_error: errno of the system call that failed, or 0.
    [[gnu::cold, gnu::noinline]] Status because(Status status, std::string_view member, std::string_view text,
                                                int os_error = 0) noexcept {
        if (status_ == Status::ok) {
            status_ = status;
            member_ = Text(member);
            text_ = Text(text);
            os_error_ = os_error;
        }
        return status;
    }
    // The same of a setting that has a name: predicate is what the sentence says of it, "is NULL and must not be".
    [[gnu::cold, gnu::noinline]] Status about(Status status, std::string_view member,
                                              std::string_view predicate) noexcept {
        Text text(member);
        text += " ";
        text += predicate;
        return because(status, member, text.view());
    }

    bool empty() const noexcept { return status_ == Status::ok; }
    Status status() const noexcept { return status_; }
    int os_error() const noexcept { return os_error_; }
    std::string_view member() const noexcept { return member_.view(); }
    std::string_view text() const noexcept { return text_.view(); }

  private:
    Status status_ = Status::ok;
    int os_error_ = 0;
    Text member_;
    Text text_;
};

} // namespace rp::handoff
