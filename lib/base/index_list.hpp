// A doubly linked list of some elements of an array, by their index: no memory of its own, and nothing that can fail.
#pragma once

#include <cstdint>

namespace rp::handoff {

using Index = std::uint32_t;
inline constexpr Index no_index = UINT32_MAX;

struct Links {
    Index before = no_index;
    Index after = no_index;
};

template <class Element, Links Element::*links>
class Chain {
  public:
    explicit Chain(Element *elements) noexcept : elements_(elements) {}

    bool empty() const noexcept { return first_ == no_index; }
    Index first() const noexcept { return first_; }
    Index last() const noexcept { return last_; }
    Index after(Index i) const noexcept { return (elements_[i].*links).after; }
    Index before(Index i) const noexcept { return (elements_[i].*links).before; }

    void push_back(Index i) noexcept { insert_after(last_, i); }

    // no_index: at the front.
    void insert_after(Index place, Index i) noexcept {
        Index &next_of_place = place == no_index ? first_ : (elements_[place].*links).after;
        elements_[i].*links = {place, next_of_place};
        Index &before_of_next = next_of_place == no_index ? last_ : (elements_[next_of_place].*links).before;
        before_of_next = i;
        next_of_place = i;
    }

    void remove(Index i) noexcept {
        const Links own = elements_[i].*links;
        (own.before == no_index ? first_ : (elements_[own.before].*links).after) = own.after;
        (own.after == no_index ? last_ : (elements_[own.after].*links).before) = own.before;
    }

  private:
    Element *elements_;
    Index first_ = no_index;
    Index last_ = no_index;
};

} // namespace rp::handoff
