// The ledger by itself: who may swap what, what a word counts for, and two processes that race for the same words.
#include <doctest/doctest.h>

#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "session/ledger.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using namespace rp::test;
using Adoption = Ledger::Adoption;

namespace {

constexpr std::uint64_t pending = 1;
constexpr std::uint64_t adopted = 2;
constexpr std::uint64_t refused = 3;
constexpr std::uint64_t revoked = 4;

constexpr std::uint64_t word_of(std::uint64_t ticket, std::uint64_t state) {
    return ticket << 3U | state;
}

// Both sides' ledgers on one page, and the page itself.
class Pair {
  public:
    static constexpr std::uint32_t slots = 8;

    Pair() : broker(make_broker()), backend(make_backend(broker.file())) {
        void *const address = mmap(nullptr, slots * 64, PROT_READ | PROT_WRITE, MAP_SHARED, broker.file(), 0);
        REQUIRE(address != MAP_FAILED);
        words_ = static_cast<std::atomic<std::uint64_t> *>(address);
    }
    Pair(const Pair &) = delete;
    Pair &operator=(const Pair &) = delete;
    ~Pair() { munmap(words_, slots * 64); }

    std::atomic<std::uint64_t> &word(std::uint32_t slot) { return words_[slot * 8]; }
    std::atomic<std::uint64_t> &token_word(std::uint32_t slot, std::uint32_t i) { return words_[slot * 8 + 1 + i]; }

    Ledger broker;
    Ledger backend;

  private:
    static Ledger make_broker() {
        Result<Ledger> ledger = Ledger::create(slots);
        REQUIRE(ledger);
        return std::move(*ledger);
    }
    static Ledger make_backend(int file) {
        Result<Ledger> ledger = Ledger::attach(UniqueFd(dup(file)), slots);
        REQUIRE(ledger);
        return std::move(*ledger);
    }

    std::atomic<std::uint64_t> *words_;
};

Token token_of_ticket(std::uint64_t ticket) {
    Token::Bytes bytes{};
    std::memcpy(bytes.data(), &ticket, sizeof ticket);
    bytes[15] = 1;
    return Token(bytes);
}

void check_settled(const Ledger::Settled &settled, Ownership owner, bool violated) {
    CHECK(settled.owner == owner);
    CHECK(settled.violated == violated);
}

} // namespace

TEST_CASE("a new page is empty, and an offer makes its slot's word pending and its token known") {
    Pair pair;
    for (std::uint32_t slot = 0; slot < Pair::slots; ++slot) {
        CHECK(pair.word(slot) == 0);
        pair.broker.offer(slot, 100 + slot, token_of(static_cast<std::uint8_t>(slot + 1)));
        CHECK(pair.word(slot) == word_of(100 + slot, pending));
        CHECK(pair.token_word(slot, 0) == 0x0101010101010101U * (slot + 1));
        CHECK(pair.token_word(slot, 1) == 0x0101010101010101U * (slot + 1));
    }
}

TEST_CASE("the backend adopts what is pending once, and then it is the backend's however often the broker asks") {
    Pair pair;
    pair.broker.offer(2, 7, token_of(1));
    CHECK(pair.backend.adopt(2, 7, token_of(1)) == Adoption::adopted);
    CHECK(pair.word(2) == word_of(7, adopted));
    CHECK(pair.backend.adopt(2, 7, token_of(1)) == Adoption::lost);
    pair.backend.refuse(2, 7);
    CHECK(pair.word(2) == word_of(7, adopted));
    for (int i = 0; i < 2; ++i) {
        check_settled(pair.broker.settle(2, 7), Ownership::backend, false);
        CHECK(pair.word(2) == word_of(7, adopted));
    }
}

TEST_CASE("what the broker has revoked can be neither adopted nor refused") {
    Pair pair;
    pair.broker.offer(0, 7, token_of(1));
    check_settled(pair.broker.settle(0, 7), Ownership::broker, false);
    CHECK(pair.word(0) == word_of(7, revoked));
    CHECK(pair.backend.adopt(0, 7, token_of(1)) == Adoption::lost);
    pair.backend.refuse(0, 7);
    CHECK(pair.word(0) == word_of(7, revoked));
}

TEST_CASE("the token leaves the page with the handoff's end, whatever that is") {
    Pair pair;
    for (int how = 0; how < 4; ++how) {
        pair.broker.offer(0, 7, token_of(1));
        if (how == 1) {
            CHECK(pair.backend.adopt(0, 7, token_of(1)) == Adoption::adopted);
        } else if (how == 2) {
            pair.backend.refuse(0, 7);
        } else if (how == 3) {
            pair.word(0) = UINT64_MAX;
        }
        pair.broker.settle(0, 7);
        CHECK(pair.token_word(0, 0) == 0);
        CHECK(pair.token_word(0, 1) == 0);
        CHECK(pair.backend.adopt(0, 7, token_of(1)) == Adoption::lost); // and that it is gone is no violation
    }
}

TEST_CASE("what the backend has refused is the broker's") {
    Pair pair;
    pair.broker.offer(0, 7, token_of(1));
    pair.backend.refuse(0, 7);
    CHECK(pair.word(0) == word_of(7, refused));
    CHECK(pair.backend.adopt(0, 7, token_of(1)) == Adoption::lost);
    check_settled(pair.broker.settle(0, 7), Ownership::broker, false);
    CHECK(pair.word(0) == word_of(7, refused));
}

TEST_CASE("whatever else the word holds counts as adopted, and as a violation") {
    Pair pair;
    const std::uint64_t ticket = 7;
    std::vector<std::uint64_t> words = {0, 1, UINT64_MAX, std::uint64_t{1} << 63U};
    for (unsigned bit = 0; bit < 64; ++bit) {
        words.push_back(word_of(ticket, pending) ^ std::uint64_t{1} << bit);
        words.push_back(word_of(ticket, adopted) ^ std::uint64_t{1} << bit);
    }
    for (std::uint64_t state = 0; state < 8; ++state) {
        for (const std::uint64_t other : {ticket - 1, ticket, ticket + 1}) {
            words.push_back(word_of(other, state));
        }
    }
    for (const std::uint64_t word : words) {
        CAPTURE(word);
        pair.broker.offer(1, ticket, token_of(1));
        pair.word(1) = word;
        const Ledger::Settled settled = pair.broker.settle(1, ticket);
        if (word == word_of(ticket, pending) || word == word_of(ticket, refused)) {
            check_settled(settled, Ownership::broker, false);
        } else {
            check_settled(settled, Ownership::backend, word != word_of(ticket, adopted));
            CHECK(pair.word(1) == word); // and is left alone
        }
    }
}

TEST_CASE("an offer of another ticket than the slot's is lost, with whatever token") {
    Pair pair;
    pair.broker.offer(1, 8, token_of(1));
    for (const std::uint64_t ticket : {std::uint64_t{0}, std::uint64_t{7}, std::uint64_t{9}, Ledger::max_ticket}) {
        CHECK(pair.backend.adopt(1, ticket, token_of(1)) == Adoption::lost);
        CHECK(pair.backend.adopt(1, ticket, token_of(2)) == Adoption::lost);
        pair.backend.refuse(1, ticket);
    }
    CHECK(pair.word(1) == word_of(8, pending));
}

TEST_CASE("another token beside the word that was offered is a violation, in either half; beside another it is lost") {
    Pair pair;
    for (std::uint32_t half = 0; half < 2; ++half) {
        pair.broker.offer(1, 8, token_of(1));
        pair.token_word(1, half) = 77;
        CHECK(pair.backend.adopt(1, 8, token_of(1)) == Adoption::violated);
        CHECK(pair.word(1) == word_of(8, pending));
        for (const std::uint64_t word :
             {word_of(8, adopted), word_of(8, refused), word_of(8, revoked), word_of(9, pending), std::uint64_t{0}}) {
            pair.word(1) = word;
            CHECK(pair.backend.adopt(1, 8, token_of(1)) == Adoption::lost);
            CHECK(pair.word(1) == word);
        }
    }
}

TEST_CASE("a stale offer for a slot that is used again is lost, and does not touch the new one") {
    Pair pair;
    pair.broker.offer(3, 20, token_of(1));
    check_settled(pair.broker.settle(3, 20), Ownership::broker, false);
    pair.broker.offer(3, 21, token_of(2));
    CHECK(pair.backend.adopt(3, 20, token_of(1)) == Adoption::lost);
    pair.backend.refuse(3, 20);
    CHECK(pair.word(3) == word_of(21, pending));
    CHECK(pair.backend.adopt(3, 21, token_of(2)) == Adoption::adopted);
}

TEST_CASE("slots are neighbours and nothing more") {
    Pair pair;
    for (std::uint32_t slot = 0; slot < Pair::slots; ++slot) {
        pair.broker.offer(slot, slot + 1, token_of(1));
    }
    CHECK(pair.backend.adopt(3, 4, token_of(1)) == Adoption::adopted);
    check_settled(pair.broker.settle(5, 6), Ownership::broker, false);
    pair.backend.refuse(6, 7);
    const std::uint64_t states[] = {pending, pending, pending, adopted, pending, revoked, refused, pending};
    for (std::uint32_t slot = 0; slot < Pair::slots; ++slot) {
        CHECK(pair.word(slot) == word_of(slot + 1, states[slot]));
    }
}

TEST_CASE("the greatest ticket has a word of its own") {
    Pair pair;
    pair.broker.offer(0, Ledger::max_ticket, token_of(1));
    CHECK(pair.word(0) == word_of(Ledger::max_ticket, pending));
    CHECK(pair.backend.adopt(0, Ledger::max_ticket - 1, token_of(1)) == Adoption::lost);
    CHECK(pair.backend.adopt(0, Ledger::max_ticket, token_of(1)) == Adoption::adopted);
    check_settled(pair.broker.settle(0, Ledger::max_ticket), Ownership::backend, false);
}

TEST_CASE("what the broker announces the backend sees, and neither owes it any belief") {
    Pair pair;
    CHECK(pair.backend.announced() == 0);
    pair.broker.announce_sent(5);
    CHECK(pair.backend.announced() == 5);
    pair.broker.offer(0, 1, token_of(1));
    CHECK(pair.backend.announced() == 5);
}

namespace {

constexpr std::uint64_t rounds = 100'000;
constexpr std::uint32_t racing_slots = 4; // few, so that they are used again while somebody still looks

// What two processes of a race leave for the judge.
struct Race {
    std::atomic<std::uint64_t> offered; // so many so far
    std::atomic<std::uint64_t> seen;    // by the backend
    std::uint8_t by_backend[rounds + 1];
    std::uint8_t by_broker[rounds + 1];
};
enum Mark : std::uint8_t { none = 0, took = 1, gave_back = 2, was_lost = 3, found_violation = 4 };

std::uint32_t slot_of(std::uint64_t ticket) {
    return static_cast<std::uint32_t>(ticket % racing_slots);
}

// Goes for every offer as soon as it hears of it; of some it only says no.
void run_backend(Ledger &ledger, Race &race) {
    for (std::uint64_t ticket = 1; ticket <= rounds; ++ticket) {
        while (race.offered.load(std::memory_order_relaxed) < ticket) {
            sched_yield();
        }
        if (ticket % 7 == 0) {
            ledger.refuse(slot_of(ticket), ticket);
            race.by_backend[ticket] = gave_back;
        } else {
            const Adoption adoption = ledger.adopt(slot_of(ticket), ticket, token_of_ticket(ticket));
            race.by_backend[ticket] = adoption == Adoption::adopted ? took
                                      : adoption == Adoption::lost  ? was_lost
                                                                    : found_violation;
        }
        race.seen.store(ticket, std::memory_order_relaxed);
    }
}

// Revokes every offer after a while, which is none for some, and for others until the backend had its turn.
void run_broker(Ledger &ledger, Race &race) {
    for (std::uint64_t ticket = 1; ticket <= rounds; ++ticket) {
        ledger.offer(slot_of(ticket), ticket, token_of_ticket(ticket));
        if (ticket % 101 != 0) {
            race.offered.store(ticket, std::memory_order_relaxed);
        }
        for (std::uint64_t spin = ticket % 50; spin > 0; --spin) {
            race.offered.load(std::memory_order_relaxed);
        }
        while (ticket % 103 == 0 && ticket % 101 != 0 && race.seen.load(std::memory_order_relaxed) < ticket) {
            sched_yield();
        }
        const Ledger::Settled settled = ledger.settle(slot_of(ticket), ticket);
        race.by_broker[ticket] = settled.violated                     ? found_violation
                                 : settled.owner == Ownership::broker ? gave_back
                                                                      : took;
        race.offered.store(ticket, std::memory_order_relaxed);
    }
}

} // namespace

TEST_CASE("two processes that race for a hundred thousand offers agree on the owner of each") {
    Result<Ledger> made = Ledger::create(racing_slots);
    REQUIRE(made);
    void *const memory = mmap(nullptr, sizeof(Race), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    auto &race = *new (memory) Race{};
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        Result<Ledger> attached = Ledger::attach(UniqueFd(dup(made->file())), racing_slots);
        if (!attached) {
            _exit(1);
        }
        run_backend(*attached, race);
        _exit(0);
    }
    run_broker(*made, race);
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(status == 0);
    std::uint64_t by_broker[5] = {};
    std::uint64_t wrong = 0;
    for (std::uint64_t ticket = 1; ticket <= rounds; ++ticket) {
        ++by_broker[race.by_broker[ticket]];
        const bool agreed = (race.by_backend[ticket] == took) == (race.by_broker[ticket] == took) &&
                            race.by_backend[ticket] != found_violation && race.by_broker[ticket] != found_violation;
        wrong += agreed ? 0 : 1;
    }
    CHECK(wrong == 0);
    CHECK(by_broker[took] >= rounds / 103 * 6 / 7 - 100); // those that the broker waited for
    CHECK(by_broker[gave_back] >= rounds / 101);          // those that were revoked before the backend heard of them
    munmap(memory, sizeof(Race));
}
