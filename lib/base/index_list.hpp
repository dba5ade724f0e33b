// A doubly linked list of some elements of an array, by their index: no memory of its own, and nothing that can fail.
#pragma once

#include <cstdint>
#include <functional>

namespace rp::handoff {

using Index = std::uint32_t;
inline constexpr Index no_index = UINT32_MAX;

struct Links {
    Index before = no_index;
    Index after = no_index;
};

// links: the member of an element, or a function that finds them in it.
template <class Element, auto links>
class IndexList {
  public:
    explicit IndexList(Element *elements) noexcept : elements_(elements) {}

    bool empty() const noexcept { return first_ == no_index; }
    Index first() const noexcept { return first_; }
    Index last() const noexcept { return last_; }
    Index after(Index i) const noexcept { return of(i).after; }
    Index before(Index i) const noexcept { return of(i).before; }

    void push_back(Index i) noexcept { insert_after(last_, i); }

    // no_index: at the front.
    void insert_after(Index place, Index i) noexcept {
        Index &next_of_place = place == no_index ? first_ : of(place).after;
        of(i) = {place, next_of_place};
        Index &before_of_next = next_of_place == no_index ? last_ : of(next_of_place).before;
        before_of_next = i;
        next_of_place = i;
    }

    void remove(Index i) noexcept {
        const Links own = of(i);
        (own.before == no_index ? first_ : of(own.before).after) = own.after;
        (own.after == no_index ? last_ : of(own.after).before) = own.before;
    }

  private:
    Links &of(Index i) const noexcept { return std::invoke(links, elements_[i]); }

    Element *elements_;
    Index first_ = no_index;
    Index last_ = no_index;
};

} // namespace rp::handoff
