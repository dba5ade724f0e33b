#include "handoff/token.hpp"

#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <new>

#include "os/random.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::ScriptedRandom;
using rp::test::status_of;
using rp::test::token_of;

namespace {

Token flipped(Token::Bytes bytes, unsigned bit) {
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] ^ 1U << bit % 8);
    return Token(bytes);
}

// A counter of two bytes, low byte at one place and high byte at another.
Token counted(unsigned count, std::size_t low, std::size_t high) {
    Token::Bytes bytes{};
    bytes[low] = static_cast<std::uint8_t>(count);
    bytes[high] = static_cast<std::uint8_t>(count >> 8U);
    return Token(bytes);
}

// How many of 4096 tokens that count upwards share the fullest of 4096 buckets.
unsigned fullest_bucket(std::size_t low, std::size_t high) {
    std::map<std::size_t, unsigned> buckets;
    unsigned fullest = 0;
    for (unsigned count = 0; count < 4096; ++count) {
        fullest = std::max(fullest, ++buckets[counted(count, low, high).hash() % 4096]);
    }
    return fullest;
}

class CountedFills final : public RandomSource {
  public:
    bool fill(std::uint8_t *, std::size_t length) noexcept override {
        lengths.push_back(length);
        return true;
    }
    std::vector<std::size_t> lengths;
};

} // namespace

TEST_CASE("a token is exactly sixteen bytes") {
    const std::vector<std::uint8_t> bytes(32, 7);
    CHECK(status_of(Token::parse({})) == Status::token_missing);
    CHECK(status_of(Token::parse({bytes.data(), 0})) == Status::token_missing);
    CHECK(status_of(Token::parse({bytes.data(), 1})) == Status::token_length);
    CHECK(status_of(Token::parse({bytes.data(), 15})) == Status::token_length);
    CHECK(status_of(Token::parse({bytes.data(), 17})) == Status::token_length);
    CHECK(status_of(Token::parse({bytes.data(), 32})) == Status::token_length);
    const Result<Token> token = Token::parse({bytes.data(), 16});
    REQUIRE(token);
    CHECK(token->view() == ByteView(bytes.data(), 16));
    CHECK(*token == token_of(7));
}

TEST_CASE("tokens that differ in any one bit are different") {
    const Token token = token_of(0x5A);
    CHECK(token == token_of(0x5A));
    CHECK_FALSE(token != token_of(0x5A));
    for (unsigned bit = 0; bit < 128; ++bit) {
        CAPTURE(bit);
        REQUIRE(token != flipped(token.bytes(), bit));
        REQUIRE_FALSE(token == flipped(token.bytes(), bit));
    }
}

TEST_CASE("tokens whose differences cancel out between their halves are different") {
    CHECK(token_of(0) != token_of(0xFF));
    CHECK(flipped(token_of(0).bytes(), 3) != flipped(token_of(0).bytes(), 67));
}

TEST_CASE("a wiped token is all zeros, and its copy is not") {
    Token token = token_of(9);
    const Token copy = token;
    token.wipe();
    CHECK(token == Token());
    CHECK(token == token_of(0));
    CHECK(copy == token_of(9));
}

TEST_CASE("a token that ends leaves no bytes in memory") {
    alignas(Token) unsigned char memory[sizeof(Token)];
    Token *token = new (memory) Token(token_of(0xA5));
    token->~Token();
    for (const volatile unsigned char &byte : memory) {
        CHECK(byte == 0);
    }
}

TEST_CASE("a token is made of sixteen bytes that the source is asked for once") {
    CountedFills lengths;
    REQUIRE(generate_token(lengths));
    CHECK(lengths.lengths == std::vector<std::size_t>{16});
    ScriptedRandom random({0xC3});
    const Result<Token> token = generate_token(random);
    REQUIRE(token);
    CHECK(*token == token_of(0xC3));
}

TEST_CASE("there is no token if the source of random bytes fails") {
    ScriptedRandom random({});
    CHECK(status_of(generate_token(random)) == Status::random);
    CHECK(random.calls() == 1);
}

TEST_CASE("the system's source fills any number of bytes, to the last") {
    os::SystemRandom random;
    CHECK(random.fill(nullptr, 0));
    for (const std::size_t length : {std::size_t{1}, std::size_t{16}, std::size_t{300}, std::size_t{100000}}) {
        CAPTURE(length);
        // Sixteen times the same last byte by chance: once in 2^120 runs.
        std::vector<std::uint8_t> bytes(length + 1, 0xEE);
        std::map<std::uint8_t, int> last;
        for (int i = 0; i < 16; ++i) {
            REQUIRE(random.fill(bytes.data(), length));
            ++last[bytes[length - 1]];
        }
        CHECK(last.size() > 1);
        CHECK(bytes[length] == 0xEE);
    }
}

TEST_CASE("two tokens of the system's source are different") {
    os::SystemRandom random;
    const Result<Token> a = generate_token(random);
    const Result<Token> b = generate_token(random);
    REQUIRE(a);
    REQUIRE(b);
    CHECK(*a != *b);
    CHECK(*a != Token());
}

TEST_CASE("equal tokens have equal hashes") {
    CHECK(token_of(3).hash() == token_of(3).hash());
    CHECK(TokenHash{}(token_of(3)) == token_of(3).hash());
}

TEST_CASE("tokens of a source that counts upwards spread over the buckets, wherever its bytes are") {
    for (std::size_t i = 0; i + 1 < Token::size; ++i) {
        CAPTURE(i);
        CHECK(fullest_bucket(i, i + 1) <= 32);
        CHECK(fullest_bucket(i + 1, i) <= 32);
    }
}
