#include "os/random.hpp"
#include "handoff/token.hpp"

#include <doctest/doctest.h>

#include <set>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace rp::handoff;

namespace {

using Piece = Token::Bytes;

Piece draw(os::PooledRandom &random) {
    Piece piece{};
    REQUIRE(random.fill(piece.data(), piece.size()));
    return piece;
}

std::vector<Piece> draw(os::PooledRandom &random, std::size_t count) {
    std::vector<Piece> pieces(count);
    for (Piece &piece : pieces) {
        piece = draw(random);
    }
    return pieces;
}

void check_all_different(const std::vector<std::vector<Piece>> &lists) {
    std::set<Piece> seen;
    std::size_t count = 0;
    for (const std::vector<Piece> &pieces : lists) {
        count += pieces.size();
        seen.insert(pieces.begin(), pieces.end());
    }
    CHECK(seen.size() == count);
    CHECK(seen.count(Piece{}) == 0);
}

// What a forked child draws.
std::vector<Piece> draw_in_child(os::PooledRandom &random, std::size_t count) {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    std::vector<Piece> pieces(count);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    const std::size_t size = count * sizeof(Piece);
    if (child == 0) {
        for (Piece &piece : pieces) {
            random.fill(piece.data(), piece.size());
        }
        _exit(write(ends[1], pieces.data(), size) == static_cast<ssize_t>(size) ? 0 : 1);
    }
    close(ends[1]);
    REQUIRE(read(ends[0], pieces.data(), size) == static_cast<ssize_t>(size)); // less than a pipe's atomic write
    close(ends[0]);
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    return pieces;
}

} // namespace

TEST_CASE("no two pieces of a pool are equal, over many blocks") {
    os::PooledRandom random;
    check_all_different({draw(random, 10 * os::PooledRandom::block / sizeof(Piece) + 1)});
}

TEST_CASE("two pools give different bytes") {
    os::PooledRandom a;
    os::PooledRandom b;
    check_all_different({draw(a, 10), draw(b, 10)});
}

TEST_CASE("a pool fills any number of bytes, to the last and not beyond, whatever is left of its block") {
    os::PooledRandom random;
    CHECK(random.fill(nullptr, 0));
    for (const std::size_t length : {std::size_t{1}, std::size_t{7}, std::size_t{16}, os::PooledRandom::block - 1,
                                     os::PooledRandom::block, os::PooledRandom::block + 1, std::size_t{100000}}) {
        CAPTURE(length);
        // Sixteen times the same last byte by chance: once in 2^120 runs.
        std::vector<std::uint8_t> bytes(length + 1, 0xEE);
        std::set<std::uint8_t> last;
        for (int i = 0; i < 16; ++i) {
            REQUIRE(random.fill(bytes.data(), length));
            last.insert(bytes[length - 1]);
        }
        CHECK(last.size() > 1);
        CHECK(bytes[length] == 0xEE);
    }
}

TEST_CASE("a forked child and its parent draw different bytes, also if the fork splits a block") {
    constexpr std::size_t per_block = os::PooledRandom::block / sizeof(Piece);
    for (const std::size_t before : {std::size_t{0}, std::size_t{1}, per_block - 1, per_block}) {
        CAPTURE(before);
        os::PooledRandom random;
        const std::vector<Piece> common = draw(random, before);
        const std::vector<Piece> child = draw_in_child(random, per_block);
        const std::vector<Piece> sibling = draw_in_child(random, per_block);
        check_all_different({common, child, sibling, draw(random, 2 * per_block)});
    }
}

TEST_CASE("several threads draw different bytes from one pool") {
    os::PooledRandom random;
    std::vector<std::vector<Piece>> drawn(4);
    std::vector<std::thread> threads;
    for (std::vector<Piece> &pieces : drawn) {
        threads.emplace_back([&] { pieces = draw(random, 2000); });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    check_all_different(drawn);
}
