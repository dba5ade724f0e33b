// Structs that have grown since a caller was compiled, and callers that know more than this library: what the boundary makes of
// them, shown with a struct of the test's own that has grown.
#include <doctest/doctest.h>

#include "boundary.hpp"

namespace {

// As the first version had it, as this library has it, and as a later one might.
struct First {
    std::uint32_t struct_size;
    std::uint32_t a;
};
struct Grown {
    std::uint32_t struct_size;
    std::uint32_t a;
    std::uint64_t b;
};
struct Later {
    Grown known;
    std::uint64_t c;
};

} // namespace

namespace rp::handoff::capi {

template <>
inline constexpr std::size_t smallest_size<Grown> = sizeof(First);

} // namespace rp::handoff::capi

using namespace rp::handoff;

TEST_CASE("what an older caller's struct does not have is zero") {
    struct {
        First first{sizeof(First), 7};
        std::uint64_t not_its = UINT64_MAX;
    } caller;
    Grown out{1, 2, 3};
    REQUIRE(capi::read_struct(reinterpret_cast<const Grown *>(&caller.first), out) == Status::ok);
    CHECK(out.a == 7);
    CHECK(out.b == 0);
}

TEST_CASE("into an older caller's struct is written only what it has room for") {
    struct {
        First first{sizeof(First), 0};
        std::uint64_t not_its = 42;
    } caller;
    auto *const out = reinterpret_cast<Grown *>(&caller.first);
    REQUIRE(capi::check_result_struct(out) == Status::ok);
    capi::write_struct(out, Grown{0, 7, 9});
    CHECK(caller.first.struct_size == sizeof(First));
    CHECK(caller.first.a == 7);
    CHECK(caller.not_its == 42);
}

TEST_CASE("a newer caller's struct is read if it sets nothing that is not known, and is not written behind what is") {
    Later caller{{sizeof(Later), 7, 8}, 0};
    Grown out{};
    CHECK(capi::read_struct(&caller.known, out) == Status::ok);
    CHECK(out.b == 8);
    caller.c = 1;
    CHECK(capi::read_struct(&caller.known, out) == Status::unsupported);
    capi::write_struct(&caller.known, Grown{0, 1, 2});
    CHECK(caller.known.struct_size == sizeof(Later));
    CHECK(caller.known.b == 2);
    CHECK(caller.c == 1);
}

TEST_CASE("a struct that is smaller than any version, or longer than any can be, has no size") {
    Grown out{};
    for (const std::uint32_t size : {0U, 4U, 7U, 4097U, UINT32_MAX}) {
        Grown in{size, 0, 0};
        CHECK(capi::read_struct(&in, out) == Status::struct_size);
        CHECK(capi::check_result_struct(&in) == Status::struct_size);
    }
}

TEST_CASE("a handle that has ended says so in its memory, whatever the compiler thinks of it") {
    alignas(capi::Handle) unsigned char room[sizeof(capi::Handle)];
    auto *const handle = new (room) capi::Handle(capi::Kind::broker);
    handle->~Handle();
    const unsigned char *memory = room;
    asm volatile("" : "+r"(memory) : : "memory"); // as whoever comes later, of whom the compiler knows nothing
    capi::Kind kind{};
    std::memcpy(&kind, memory, sizeof kind);
    CHECK(kind == capi::Kind::dead);
}
