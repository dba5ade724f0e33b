// Some elements of an array in the order of their deadlines: which of them is the nearest?
//
// Deadlines that come in rising order, as they do where all have one timeout, stand in a list: an element costs constant
// time there. One that is nearer than the list's last goes into a heap, in which each element knows its place: that costs
// the logarithm of the heap's size, however the timeouts are mixed. Of equal deadlines the one that was added first is
// the first.
//
// Its memory is in the elements, and in one table that is made beforehand. Afterwards nothing can fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/clock.hpp"
#include "base/index_list.hpp"

namespace rp::handoff {

struct DeadlineLinks {
    Instant deadline{};
    std::uint64_t turn = 0; // rises with each that is added
    Links list;             // if it is in the list
    Index place = no_index; // if it is in the heap
};

template <class Element, DeadlineLinks Element::*links>
class DeadlineOrder {
  public:
    // At most `count` elements are in it at a time. Throws std::bad_alloc.
    DeadlineOrder(Element *elements, std::size_t count)
        : elements_(elements), list_(elements), heap_(new Index[count]) {}

    bool empty() const noexcept { return list_.empty() && size_ == 0; }

    // no_index, and the end of time: there are none.
    Index first() const noexcept {
        return size_ == 0 || (!list_.empty() && is_before(list_.first(), heap_[0])) ? list_.first() : heap_[0];
    }
    Instant nearest() const noexcept { return empty() ? end_of_time : of(first()).deadline; }

    // It is not in the order yet.
    void add(Index i, Instant deadline) noexcept {
        of(i) = {deadline, ++turns_, {}, no_index};
        if (list_.empty() || of(list_.last()).deadline <= deadline) {
            list_.push_back(i);
        } else {
            rise(size_++, i);
        }
    }

    // It is in the order.
    void remove(Index i) noexcept {
        const Index place = of(i).place;
        if (place == no_index) {
            list_.remove(i);
            return;
        }
        const Index last = heap_[--size_];
        if (is_before(last, i)) {
            rise(place, last);
        } else if (last != i) {
            sink(place, last);
        }
    }

  private:
    static Links &list_links(Element &element) noexcept { return (element.*links).list; }

    DeadlineLinks &of(Index i) const noexcept { return elements_[i].*links; }

    bool is_before(Index a, Index b) const noexcept {
        return of(a).deadline != of(b).deadline ? of(a).deadline < of(b).deadline : of(a).turn < of(b).turn;
    }

    // A binary heap: the children of place p are at 2p + 1 and 2p + 2, none of which is before its parent.
    void put(Index place, Index i) noexcept {
        heap_[place] = i;
        of(i).place = place;
    }

    // Puts an element at a place or, with its parents moving down, above.
    void rise(Index place, Index i) noexcept {
        for (; place > 0 && is_before(i, heap_[(place - 1) / 2]); place = (place - 1) / 2) {
            put(place, heap_[(place - 1) / 2]);
        }
        put(place, i);
    }

    // Puts an element at a place or, with the first of each pair of children moving up, below.
    void sink(Index place, Index i) noexcept {
        for (Index child = 2 * place + 1; child < size_; child = 2 * place + 1) {
            child += child + 1 < size_ && is_before(heap_[child + 1], heap_[child]) ? 1U : 0U;
            if (!is_before(heap_[child], i)) {
                break;
            }
            put(place, heap_[child]);
            place = child;
        }
        put(place, i);
    }

    Element *elements_;
    IndexList<Element, &DeadlineOrder::list_links> list_;
    std::unique_ptr<Index[]> heap_;
    Index size_ = 0; // of the heap
    std::uint64_t turns_ = 0;
};

} // namespace rp::handoff
