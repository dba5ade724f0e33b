// The slots of a broker's session: each transition, and all of them in any order beside a table that is as simple as it can be.
#include "session/slot_table.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "session/frames.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using namespace rp::handoff::session;
using namespace rp::test;

namespace {

using Phase = SlotTable::Phase;

Index add(SlotTable &table, std::uint64_t deadline = 100, std::size_t payload = 0) {
    const Index i = table.prepare(payload);
    REQUIRE(i != no_index);
    table[i].deadline = at(deadline);
    table.queue(i);
    REQUIRE(table.is_true());
    return i;
}

struct Counters {
    std::uint32_t used, queued, undecided, unanswered;
    std::size_t bytes;
    bool operator==(const Counters &o) const {
        return used == o.used && queued == o.queued && undecided == o.undecided && unanswered == o.unanswered &&
               bytes == o.bytes;
    }
};
Counters counters(const SlotTable &table) {
    CHECK(table.is_true());
    return {table.used(), table.queued(), table.undecided(), table.unanswered(), table.queued_bytes()};
}

std::vector<Index> queue_of(const SlotTable &table) {
    std::vector<Index> all;
    for (Index i = table.first_queued(); i != no_index; i = table.next_queued(i)) {
        all.push_back(i);
    }
    return all;
}
std::vector<Index> sending_of(const SlotTable &table) {
    std::vector<Index> all;
    for (Index i = table.first_sending(); i != no_index; i = table.next_sending(i)) {
        all.push_back(i);
    }
    return all;
}
std::vector<Index> events_of(const SlotTable &table) {
    std::vector<Index> all;
    for (Index i = table.first_event(); i != no_index; i = table.next_event(i)) {
        all.push_back(i);
    }
    return all;
}

// What the table has to be, in a form that cannot be wrong: a record per handoff, in the order of what happened to it.
class Naive {
  public:
    struct Record {
        Index slot;
        std::uint64_t id;
        Instant deadline;
        std::size_t payload;
        Phase phase = Phase::queued;
        bool answered = false;
        bool event = false;
        std::uint64_t concluded = 0; // when
    };

    std::vector<Record> all;
    std::uint64_t steps = 0;

    Record *any(std::mt19937_64 &random, bool (*is_one)(const Record &)) {
        std::vector<Record *> some;
        for (Record &record : all) {
            if (is_one(record)) {
                some.push_back(&record);
            }
        }
        return some.empty() ? nullptr : some[random() % some.size()];
    }
    void forget_what_is_over() {
        all.erase(std::remove_if(all.begin(), all.end(),
                                 [](const Record &r) { return r.phase == Phase::ended && r.answered && !r.event; }),
                  all.end());
    }

    void check(const SlotTable &table) const {
        Counters expected{0, 0, 0, 0, 0};
        Instant nearest = end_of_time;
        std::vector<Index> queued;
        std::vector<Index> sending;
        std::vector<const Record *> events;
        for (const Record &r : all) {
            const bool has_left = r.phase != Phase::queued;
            expected.used += 1;
            expected.queued += has_left ? 0 : 1;
            expected.bytes += has_left ? 0 : r.payload;
            expected.undecided += r.phase != Phase::ended ? 1 : 0;
            expected.unanswered += has_left && !r.answered ? 1 : 0;
            nearest = r.phase != Phase::ended ? std::min(nearest, r.deadline) : nearest;
            if (r.phase == Phase::queued) {
                queued.push_back(r.slot);
            } else if (r.phase == Phase::sending) {
                sending.push_back(r.slot);
            } else if (r.event) {
                events.push_back(&r);
            }
            CHECK(table.find(r.id) == r.slot);
            CHECK(table[r.slot].phase == r.phase);
            CHECK(table[r.slot].payload.size() == (has_left ? 0 : r.payload));
        }
        std::sort(events.begin(), events.end(),
                  [](const Record *a, const Record *b) { return a->concluded < b->concluded; });
        std::vector<Index> in_order;
        for (const Record *r : events) {
            in_order.push_back(r->slot);
        }
        CHECK(counters(table) == expected);
        CHECK(table.nearest_deadline() == nearest);
        CHECK((table.first_due() == no_index ? end_of_time : table[table.first_due()].deadline) == nearest);
        CHECK(queue_of(table) == queued);
        CHECK(sending_of(table) == sending);
        CHECK(events_of(table) == in_order);
        CHECK(table.has_free() == (all.size() < table.size()));
    }
};

class Walk {
  public:
    Walk(std::uint32_t slots, std::uint64_t seed) : random_(seed), table_(slots) {}

    void step() {
        switch (random_() % 8) {
        case 0:
        case 1:
            queue();
            break;
        case 2:
            leave();
            break;
        case 3:
            rest_left();
            break;
        case 4:
            conclude();
            break;
        case 5:
            answer();
            break;
        case 6:
            take_event();
            break;
        default:
            seldom();
        }
        naive_.forget_what_is_over();
        naive_.check(table_);
    }

  private:
    using Record = Naive::Record;

    void queue() {
        if (!table_.has_free()) {
            return;
        }
        const std::size_t payload = random_() % 3 == 0 ? random_() % 300 : 0;
        const Index i = table_.prepare(payload);
        REQUIRE(i != no_index);
        CHECK(ids_.insert(table_[i].ticket).second); // never used before
        if (random_() % 8 == 0) {
            table_.drop(i);
            return;
        }
        table_[i].deadline = at(random_() % 50);
        table_.queue(i);
        naive_.all.push_back({i, table_[i].ticket, table_[i].deadline, payload});
    }
    // The oldest ones leave first, as they do in a message.
    void leave() {
        if (table_.first_queued() == no_index) {
            return;
        }
        Record &record = *std::find_if(naive_.all.begin(), naive_.all.end(),
                                       [](const Record &r) { return r.phase == Phase::queued; });
        const bool whole = random_() % 2 == 0;
        table_.leave(record.slot, whole);
        record.phase = whole ? Phase::sent : Phase::sending;
    }
    void rest_left() {
        table_.rest_left();
        for (Record &record : naive_.all) {
            record.phase = record.phase == Phase::sending ? Phase::sent : record.phase;
        }
    }
    void conclude() {
        Record *const record = naive_.any(random_, [](const Record &r) { return r.phase != Phase::ended; });
        if (record == nullptr) {
            return;
        }
        record->event = random_() % 3 != 0;
        table_.conclude(record->slot, record->event);
        record->answered = record->answered || record->phase == Phase::queued;
        record->phase = Phase::ended;
        record->concluded = ++naive_.steps;
    }
    void answer() {
        Record *const record =
            naive_.any(random_, [](const Record &r) { return r.phase == Phase::ended && !r.answered; });
        if (record != nullptr) {
            table_.answer(record->slot);
            record->answered = true;
        }
    }
    void take_event() {
        Record *oldest = nullptr;
        for (Record &record : naive_.all) {
            if (record.event && (oldest == nullptr || record.concluded < oldest->concluded)) {
                oldest = &record;
            }
        }
        CHECK(table_.take_event() == (oldest != nullptr ? oldest->slot : no_index));
        if (oldest != nullptr) {
            oldest->event = false;
        }
    }
    void seldom() {
        if (random_() % 16 == 0) {
            table_.answer_all();
            for (Record &record : naive_.all) {
                record.answered = record.answered || record.phase != Phase::queued;
            }
        }
    }

    std::mt19937_64 random_;
    SlotTable table_;
    Naive naive_;
    std::set<std::uint64_t> ids_;
};

} // namespace

TEST_CASE("a slot goes from free over queued, sent, ended and answered to free, and all counters follow it") {
    SlotTable table(2);
    CHECK(counters(table) == Counters{0, 0, 0, 0, 0});
    const Index i = add(table, 100, 40);
    CHECK(counters(table) == Counters{1, 1, 1, 0, 40});
    CHECK(table.nearest_deadline() == at(100));
    table.leave(i, true);
    CHECK(table[i].phase == Phase::sent);
    CHECK(counters(table) == Counters{1, 0, 1, 1, 0});
    CHECK(table.nearest_deadline() == at(100));
    table.conclude(i, true);
    CHECK(counters(table) == Counters{1, 0, 0, 1, 0});
    CHECK(table.nearest_deadline() == end_of_time);
    table.answer(i);
    CHECK(table[i].phase == Phase::ended);
    CHECK(counters(table) == Counters{1, 0, 0, 0, 0});
    CHECK(table.take_event() == i);
    CHECK(table[i].phase == Phase::free);
    CHECK(counters(table) == Counters{0, 0, 0, 0, 0});
    CHECK(table.take_event() == no_index);
}

TEST_CASE("a slot whose event was taken is kept until the backend has answered, and freed at once where nobody wants "
          "the event") {
    SlotTable table(2);
    const Index asked = add(table);
    table.leave(asked, true);
    table.conclude(asked, true);
    CHECK(table.take_event() == asked);
    CHECK(table[asked].phase == Phase::ended);
    table.answer(asked);
    CHECK(table[asked].phase == Phase::free);

    const Index unwanted = add(table);
    table.leave(unwanted, true);
    table.conclude(unwanted, false);
    CHECK(counters(table) == Counters{1, 0, 0, 1, 0});
    table.answer(unwanted);
    CHECK(counters(table) == Counters{0, 0, 0, 0, 0});
}

TEST_CASE("what never left needs no answer") {
    SlotTable table(1);
    const Index i = add(table, 100, 7);
    table.conclude(i, true);
    CHECK(counters(table) == Counters{1, 0, 0, 0, 0});
    CHECK(table.first_queued() == no_index);
    CHECK(table.take_event() == i);
    CHECK(counters(table) == Counters{0, 0, 0, 0, 0});
}

TEST_CASE("what is sending stays so until the rest has left, and may end before") {
    SlotTable table(3);
    const Index first = add(table);
    const Index second = add(table);
    const Index third = add(table);
    table.leave(first, false);
    table.leave(second, false);
    CHECK(sending_of(table) == std::vector<Index>{first, second});
    CHECK(queue_of(table) == std::vector<Index>{third});
    table.conclude(first, false);
    CHECK(sending_of(table) == std::vector<Index>{second});
    CHECK(counters(table) == Counters{3, 1, 2, 2, 0});
    table.rest_left();
    CHECK(table[second].phase == Phase::sent);
    CHECK(table[third].phase == Phase::queued);
    CHECK(sending_of(table).empty());
    CHECK(table.is_true());
}

TEST_CASE("a handoff is found by its id as long as it has a slot, and its id is not used again") {
    SlotTable table(3);
    const Index i = add(table);
    const std::uint64_t id = table[i].ticket;
    CHECK(table.find(id) == i);
    CHECK(table.find(id + max_in_flight) == no_index);                           // the same slot, at another time
    CHECK(table.find((id & ~std::uint64_t{max_in_flight - 1}) | 3) == no_index); // beyond the table
    CHECK(table.find(0) == no_index);
    table.conclude(i, true);
    CHECK(table.find(id) == i);
    table.take_event();
    CHECK(table.find(id) == no_index);
    for (int n = 0; n < 6; ++n) {
        const Index next = add(table);
        CHECK(table[next].ticket != id);
        CHECK(table.find(id) == no_index);
        table.conclude(next, false);
    }
}

TEST_CASE("a slot that was prepared and dropped is free again, and its payload is gone") {
    SlotTable table(1);
    const Index i = table.prepare(500);
    REQUIRE(i == 0);
    CHECK_FALSE(table.has_free());
    CHECK(table.find(table[i].ticket) == no_index);
    table.drop(i);
    CHECK(table.has_free());
    CHECK(counters(table) == Counters{0, 0, 0, 0, 0});
}

TEST_CASE("when no answer will come any more, what has left is answered and what was not sent is left alone") {
    SlotTable table(5);
    const Index queued = add(table);
    const Index sent = add(table);
    const Index sending = add(table);
    const Index ended = add(table);
    const Index answered = add(table);
    table.leave(sent, true);
    table.leave(sending, false);
    table.leave(ended, true);
    table.leave(answered, true);
    table.conclude(ended, false);
    table.conclude(answered, true);
    table.answer(answered);
    table.answer_all();
    CHECK(table[queued].answered == false);
    CHECK(table[sent].answered);
    CHECK(table[sending].answered);
    CHECK(table[ended].phase == Phase::free);
    CHECK(counters(table) == Counters{4, 1, 3, 0, 0});
    table.conclude(sent, false);
    CHECK(table[sent].phase == Phase::free);
}

TEST_CASE("whatever happens to slots in whatever order, the table is what a simple one is") {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        CAPTURE(seed);
        Walk walk(static_cast<std::uint32_t>(seed % 5 * 4 + 1), seed);
        for (int step = 0; step < 400; ++step) {
            CAPTURE(step);
            walk.step();
        }
    }
}
