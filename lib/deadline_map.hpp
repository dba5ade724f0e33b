// A hash map whose entries are also in the order of their deadlines: the store behind tokens and acknowledgements.
//
// All operations take constant time, amortised, as long as deadlines are added in about rising order, which they are
// where now comes from one clock and the time to live is one setting. A clock that was set back costs time, never
// correctness: an entry is put in place by walking back from the latest. Nodes live in one vector and are reused, so
// that a steady state allocates nothing; an erased key is overwritten.
#pragma once

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
    Entry insert(const Key &key, Instant deadline, Value value) {
        const Index i = take_node();
        Node &node = nodes_[i];
        node.key = key;
        node.value = std::move(value);
        node.deadline = deadline;
        node.chain = std::exchange(bucket(key), i);
        put_in_order(i);
        ++size_;
        return {this, i};
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

    Index take_node() {
        if (free_ != none) {
            return std::exchange(free_, nodes_[free_].chain);
        }
        if (nodes_.size() == buckets_.size()) {
            rehash(buckets_.empty() ? 16 : buckets_.size() * 2);
        }
        nodes_.emplace_back();
        return static_cast<Index>(nodes_.size() - 1);
    }

    // Called only while no node is free, so every node is in a bucket.
    void rehash(std::size_t count) {
        buckets_ = std::vector<Index>(count, none);
        for (Index i = 0; i < nodes_.size(); ++i) {
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
    std::vector<Index> buckets_; // as many as there is room for nodes, a power of two
    Index first_ = none;
    Index last_ = none;
    Index free_ = none;
    std::size_t size_ = 0;
};

} // namespace rp::handoff
