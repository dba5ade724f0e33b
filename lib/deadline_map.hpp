// A hash map whose entries are also in the order of their deadlines: the store behind tokens and acknowledgements.
//
// All operations take constant time, amortised, as long as deadlines are added in about rising order, which they are
// where now comes from one clock and the time to live is one setting. A clock that was set back costs time, never
// correctness: an entry is put in place by walking back from the latest. Nodes live in one vector and are reused, so
// that a steady state allocates nothing; an erased key is overwritten.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "clock.hpp"

namespace rp::handoff {

template <class Key, class Value, class Hash>
class DeadlineMap {
    using Index = std::uint32_t;
    static constexpr Index none = UINT32_MAX;

  public:
    // Points to an entry until that entry is erased. Default: no entry.
    class Entry {
      public:
        Entry() noexcept = default;
        explicit operator bool() const noexcept { return node_ != none; }
        const Key &key() const noexcept { return at().key; }
        Value &value() const noexcept { return at().value; }
        Instant deadline() const noexcept { return at().deadline; }
        Entry next() const noexcept { return {map_, at().later}; }

      private:
        friend DeadlineMap;
        Entry(DeadlineMap *map, Index node) noexcept : map_(map), node_(node) {}
        auto &at() const noexcept { return map_->nodes_[node_]; }
        DeadlineMap *map_ = nullptr;
        Index node_ = none;
    };

    std::size_t size() const noexcept { return size_; }

    Entry find(const Key &key) noexcept {
        if (buckets_.empty()) {
            return {};
        }
        for (Index i = bucket(key); i != none; i = nodes_[i].chain) {
            if (nodes_[i].key == key) {
                return {this, i};
            }
        }
        return {};
    }

    // The entry with the nearest deadline.
    Entry first() noexcept { return {this, first_}; }

    // The key must not be in the map. Changes nothing if it throws std::bad_alloc.
    Entry insert(Key key, Instant deadline, Value value) {
        reserve(1);
        const Index i = take_node();
        Node &node = nodes_[i];
        node.key = std::move(key);
        node.value = std::move(value);
        node.deadline = deadline;
        node.chain = std::exchange(bucket(node.key), i);
        put_in_order(i);
        ++size_;
        return {this, i};
    }

    // So many insertions from now on, if nothing else inserts, do not throw.
    void reserve(std::size_t more) {
        const std::size_t needed = size_ + more;
        if (needed > nodes_.capacity()) {
            nodes_.reserve(std::max(needed, nodes_.capacity() * 2));
        }
        if (needed > buckets_.size()) {
            rehash(needed);
        }
    }

    void erase(Entry entry) noexcept {
        const Index i = entry.node_;
        Node &node = nodes_[i];
        Index *link = &bucket(node.key);
        while (*link != i) {
            link = &nodes_[*link].chain;
        }
        *link = node.chain;
        (node.earlier == none ? first_ : nodes_[node.earlier].later) = node.later;
        (node.later == none ? last_ : nodes_[node.later].earlier) = node.earlier;
        node.key = Key{};
        node.value = Value{};
        node.chain = std::exchange(free_, i);
        --size_;
    }

  private:
    struct Node {
        Key key{};
        Value value{};
        Instant deadline{};
        Index earlier = none;
        Index later = none;
        Index chain = none; // the next node of this bucket, or the next free node
    };

    Index &bucket(const Key &key) noexcept { return buckets_[Hash{}(key) & (buckets_.size() - 1)]; }

    // There is room for one.
    Index take_node() noexcept {
        if (free_ != none) {
            return std::exchange(free_, nodes_[free_].chain);
        }
        nodes_.emplace_back();
        return static_cast<Index>(nodes_.size() - 1);
    }

    void rehash(std::size_t needed) {
        std::size_t count = std::max<std::size_t>(buckets_.size(), 16);
        while (count < needed) {
            count *= 2;
        }
        buckets_ = std::vector<Index>(count, none);
        for (Index i = first_; i != none; i = nodes_[i].later) {
            nodes_[i].chain = std::exchange(bucket(nodes_[i].key), i);
        }
    }

    void put_in_order(Index i) noexcept {
        Index before = last_;
        while (before != none && nodes_[before].deadline > nodes_[i].deadline) {
            before = nodes_[before].earlier;
        }
        nodes_[i].earlier = before;
        nodes_[i].later = std::exchange(before == none ? first_ : nodes_[before].later, i);
        (nodes_[i].later == none ? last_ : nodes_[nodes_[i].later].earlier) = i;
    }

    std::vector<Node> nodes_;
    std::vector<Index> buckets_; // at least as many as entries, a power of two
    Index first_ = none;
    Index last_ = none;
    Index free_ = none;
    std::size_t size_ = 0;
};

} // namespace rp::handoff
