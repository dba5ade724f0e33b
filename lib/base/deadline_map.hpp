// A hash map whose entries are also in the order of their deadlines: the store behind tokens and acknowledgements.
//
// There may be several orders, each with deadlines of its own: an entry is in one of them or in more, and ends with the
// last. All operations take constant time as long as deadlines are added in about rising order, which they are where now
// comes from one clock and the time to live is one setting. A clock that was set back costs time, never correctness: an
// entry is put in place by walking back from the latest.
//
// No operation does work for all entries at once. The table grows by linear hashing: an insertion that needs more room
// adds two buckets, each of which takes over its part of one other. What expires is gone at once, and its places are
// given back a few with each operation. Places are reused, so that a steady state allocates nothing; an erased key is
// overwritten.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <utility>

#include "base/chunked.hpp"
#include "base/clock.hpp"

namespace rp::handoff {

template <class Key, class Value, class Hash, std::size_t orders = 1>
class DeadlineMap {
    using Index = std::uint32_t;
    static constexpr unsigned index_bits = 25;
    static constexpr Index none = (Index{1} << index_bits) - 1;
    static constexpr Index outside = UINT32_MAX;

  public:
    // Points to an entry until that entry is erased. Default: no entry.
    class Entry {
      public:
        Entry() noexcept = default;
        explicit operator bool() const noexcept { return node_ != none; }
        const Key &key() const noexcept { return at().key; }
        Value &value() const noexcept { return at().value; }
        Instant deadline(std::size_t order = 0) const noexcept { return at().places[order].deadline; }
        Entry next(std::size_t order = 0) const noexcept { return {map_, at().places[order].later}; }

      private:
        friend DeadlineMap;
        Entry(DeadlineMap *map, Index node) noexcept : map_(map), node_(node) {}
        // Of an entry, so that there is a map. NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage)
        auto &at() const noexcept { return map_->nodes_[node_]; }
        DeadlineMap *map_ = nullptr;
        Index node_ = none;
    };

    // How many expired entries one call of expire drops.
    static constexpr std::size_t drops_per_call = 64;

    // Entries of an order, those that expired and were not dropped yet included.
    std::size_t size(std::size_t order = 0) const noexcept { return orders_[order].size; }

    Entry find(const Key &key, std::size_t order = 0) noexcept {
        const Index i = look_up(key);
        return i != none && is_in(nodes_[i], order) ? Entry(this, i) : Entry();
    }

    // The entry with the nearest deadline.
    Entry first(std::size_t order = 0) noexcept { return {this, orders_[order].first}; }

    // Puts a key into an order, making an entry for it if there is none. No entry: it is in that order already. Changes
    // nothing if it throws std::bad_alloc.
    Entry put(Key key, std::size_t order, Instant deadline) {
        reserve(1);
        if (order == 0 && is_gone(deadline)) { // the clock was set back: the dead must not be mixed up with the living
            drop_due(*gone_until_);
            gone_until_.reset();
        }
        Index i = look_up(key);
        if (i == none) {
            i = make_node(std::move(key));
        } else if (is_in(nodes_[i], order)) {
            return {this, none};
        } else if (nodes_[i].places[order].earlier != outside) { // expired, and not dropped yet
            take_out(i, order);
        }
        put_in_order(i, order, deadline);
        return {this, i};
    }
    // The key must not be in the map.
    Entry insert(Key key, Instant deadline, Value value) {
        const Entry entry = put(std::move(key), 0, deadline);
        entry.value() = std::move(value);
        return entry;
    }

    // So many insertions from now on, if nothing else inserts, do not throw.
    void reserve(std::size_t more) {
        const std::size_t needed = held_ + more;
        if (needed > none) {
            throw std::bad_alloc();
        }
        nodes_.reserve(needed);
        buckets_.reserve(needed * buckets_per_entry);
    }

    void erase(Entry entry, std::size_t order = 0) noexcept {
        take_out(entry.node_, order);
        const auto &places = nodes_[entry.node_].places;
        if (std::all_of(places.begin(), places.end(), [](const Place &place) { return place.earlier == outside; })) {
            end(entry.node_);
        }
    }

    // In the first order: from now on nothing that is due by `now` is found. Drops some of it; the rest takes up room
    // until later calls.
    void expire(Instant now) noexcept {
        gone_until_ = std::max(gone_until_.value_or(now), now);
        drop_due(now, drops_per_call);
    }

    // In the first order: erases at most `max` entries that are due or expired before, earliest first; how many.
    std::size_t drop_due(Instant now, std::size_t max = SIZE_MAX) noexcept {
        std::size_t dropped = 0;
        for (; dropped < max && has_due(now); ++dropped) {
            erase(first());
        }
        return dropped;
    }
    bool has_due(Instant now) noexcept {
        const Entry entry = first();
        return entry && (is_due(entry.deadline(), now) || is_gone(entry.deadline()));
    }

  private:
    // Says of the entry that it leads to, whose memory is cold, what most often makes it needless to go there: some bits
    // of its hash, and that it is the last of its bucket. (Where one behind it was erased, it may be without being
    // marked so.)
    struct Link {
        Index node : index_bits;
        Index tag : 6;
        Index last : 1;

        Link() noexcept : node(none), tag(0), last(1) {}
        Link(Index to, Index its_tag, bool is_last) noexcept : node(to & none), tag(its_tag & 63U), last(is_last) {}
    };
    struct Place {
        Instant deadline{};
        Index earlier = outside;
        Index later = none; // of the first: also the next free node
    };
    struct Node {
        Key key{};
        std::array<Place, orders> places;
        Link chain; // to the next of this bucket
        Value value{};
    };
    struct Order {
        Index first = none;
        Index last = none;
        std::size_t size = 0;
    };

    static constexpr std::size_t buckets_per_entry = 2; // so that most lead to no or one entry
    static constexpr Index tag_of(std::size_t hash) noexcept { return static_cast<Index>(hash >> index_bits) & 63U; }

    bool is_gone(Instant deadline) const noexcept { return gone_until_ && is_due(deadline, *gone_until_); }

    bool is_in(const Node &node, std::size_t order) const noexcept {
        const Place &place = node.places[order];
        return place.earlier != outside && (order != 0 || !is_gone(place.deadline));
    }

    // ---- the table --------------------------------------------------------------------------------------------------

    // Of the buckets that a full table of the next power of two would have, the last ones may not be there yet: their
    // entries are in the bucket from which they will be split.
    Link &bucket(std::size_t hash) noexcept {
        const Index place = static_cast<Index>(hash) & mask_;
        return buckets_[place < bucket_count_ ? place : place & (mask_ >> 1U)];
    }

    Index look_up(const Key &key) noexcept {
        if (recent_ != none && nodes_[recent_].key == key) {
            return recent_;
        }
        if (held_ == 0) {
            return none;
        }
        const std::size_t hash = Hash{}(key);
        for (Link link = bucket(hash); link.node != none; link = link.last != 0 ? Link() : nodes_[link.node].chain) {
            if (link.tag == tag_of(hash) && nodes_[link.node].key == key) {
                return recent_ = link.node;
            }
        }
        return none;
    }

    void add_bucket() noexcept {
        if (bucket_count_ > mask_) {
            mask_ = 2 * mask_ + 1;
        }
        const Index split = bucket_count_++ & (mask_ >> 1U);
        Link rest = std::exchange(buckets_[split], Link());
        while (rest.node != none) {
            const Index moved = rest.node;
            rest = nodes_[moved].chain;
            chain_up(moved);
        }
    }

    void chain_up(Index i) noexcept {
        Node &node = nodes_[i];
        const std::size_t hash = Hash{}(node.key);
        Link &head = bucket(hash);
        node.chain = std::exchange(head, Link(i, tag_of(hash), head.node == none));
    }

    void unchain(Index i) noexcept {
        Node &node = nodes_[i];
        Link *link = &bucket(Hash{}(node.key));
        while (link->node != i) {
            link = &nodes_[link->node].chain;
        }
        *link = node.chain;
    }

    // There is room for one.
    Index make_node(Key key) noexcept {
        ++held_;
        while (bucket_count_ < held_ * buckets_per_entry) {
            add_bucket();
        }
        const Index i = free_ == none ? nodes_taken_++ : std::exchange(free_, nodes_[free_].places[0].later);
        nodes_[i].key = std::move(key);
        chain_up(i);
        return recent_ = i;
    }

    void end(Index i) noexcept {
        unchain(i);
        recent_ = recent_ == i ? none : recent_;
        Node &node = nodes_[i];
        node.key = Key{};
        node.value = Value{};
        node.places[0].later = std::exchange(free_, i);
        --held_;
    }

    // ---- the orders -------------------------------------------------------------------------------------------------

    void put_in_order(Index i, std::size_t which, Instant deadline) noexcept {
        Order &order = orders_[which];
        const auto place = [&](Index node) -> Place & { return nodes_[node].places[which]; };
        Index before = order.last;
        while (before != none && place(before).deadline > deadline) {
            before = place(before).earlier;
        }
        const Index behind = std::exchange(before == none ? order.first : place(before).later, i);
        (behind == none ? order.last : place(behind).earlier) = i;
        place(i) = {deadline, before, behind};
        ++order.size;
    }

    void take_out(Index i, std::size_t which) noexcept {
        Order &order = orders_[which];
        Place &place = nodes_[i].places[which];
        (place.earlier == none ? order.first : nodes_[place.earlier].places[which].later) = place.later;
        (place.later == none ? order.last : nodes_[place.later].places[which].earlier) = place.earlier;
        place = {};
        --order.size;
    }

    Chunked<Node, 256> nodes_;
    Chunked<Link, 4096> buckets_;
    std::array<Order, orders> orders_;
    std::size_t held_ = 0; // entries
    Index recent_ = none;  // the one that was found or made last: callers ask for it several times in a row
    Index nodes_taken_ = 0;
    Index free_ = none;
    Index bucket_count_ = 0;
    Index mask_ = 0;                    // the least 2^n - 1 that covers them
    std::optional<Instant> gone_until_; // what was due by then in the first order has expired
};

} // namespace rp::handoff
