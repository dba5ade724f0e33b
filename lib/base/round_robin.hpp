// Elements that take turns: a ring through pointers in the elements themselves, with a place in it that moves on. No
// memory of its own, and nothing that can fail.
#pragma once

#include <cstddef>

namespace rp::handoff {

template <class Element>
struct Turns {
    Element *before = nullptr;
    Element *after = nullptr;
};

template <class Element, Turns<Element> Element::*turns>
class RoundRobin {
  public:
    bool empty() const noexcept { return next_ == nullptr; }
    std::size_t size() const noexcept { return size_; }
    Element *next() const noexcept { return next_; } // whose turn it is; null: there are none

    // The next one's turn comes at the end again.
    Element *take_turn() noexcept {
        Element *const taken = next_;
        next_ = (taken->*turns).after; // NOLINT(clang-analyzer-core.NullDereference): only called if there are any
        return taken;
    }

    // Its turn comes last.
    void add(Element &element) noexcept {
        if (next_ == nullptr) {
            element.*turns = {&element, &element};
            next_ = &element;
        } else {
            Element *const last = (next_->*turns).before;
            element.*turns = {last, next_};
            (last->*turns).after = (next_->*turns).before = &element;
        }
        ++size_;
    }

    void remove(Element &element) noexcept {
        const Turns<Element> own = element.*turns;
        (own.before->*turns).after = own.after;
        (own.after->*turns).before = own.before;
        next_ = size_ == 1 ? nullptr : next_ == &element ? own.after : next_;
        --size_;
    }

  private:
    Element *next_ = nullptr;
    std::size_t size_ = 0;
};

} // namespace rp::handoff
