// Structs that say another size than this header's, given to a call and filled in by one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "support/capi.hpp"

namespace rp::test {

// A struct of a header that knows more members than this library.
template <class T>
struct Newer {
    T known;
    std::uint8_t tail[40];
};

constexpr std::uint32_t too_small[] = {0, 1, 3, 4};

template <class T>
void set_size(T &value, std::size_t size) {
    value.struct_size = static_cast<std::uint32_t>(size);
}

// call(const T *) has to answer `usual` for `valid`, every time.
template <class T, class Call>
void check_input(const T &valid, Call call, std::int32_t usual = RP_HANDOFF_OK) {
    static_assert(offsetof(Newer<T>, tail) == sizeof(T), "a tail begins where the struct ends");
    Newer<T> in{valid, {}};
    for (const std::uint32_t size : too_small) {
        set_size(in.known, size);
        CHECK(call(&in.known) == RP_HANDOFF_ERR_STRUCT_SIZE);
    }
    set_size(in.known, sizeof(T) - 1);
    CHECK(call(&in.known) == RP_HANDOFF_ERR_STRUCT_SIZE);
    set_size(in.known, sizeof(T));
    CHECK(call(&in.known) == usual);
    in.tail[0] = 1;
    CHECK(call(&in.known) == usual); // not a part of the struct
    in.tail[0] = 0;
    set_size(in.known, sizeof in);
    CHECK(call(&in.known) == usual);
    for (std::uint8_t &byte : in.tail) {
        byte = 1;
        CHECK(call(&in.known) == RP_HANDOFF_ERR_UNSUPPORTED);
        byte = 0;
    }
}

template <class T>
bool is_pattern(const Newer<T> &out) {
    return std::all_of(std::begin(out.tail), std::end(out.tail), [](std::uint8_t byte) { return byte == 0xA5; });
}

// call(T *) has to answer RP_HANDOFF_OK and fill in, every time.
template <class T, class Call>
void check_result(Call call) {
    Newer<T> out;
    const auto fill = [&out](std::size_t size) {
        std::memset(&out, 0xA5, sizeof out);
        set_size(out.known, size);
    };
    const auto check_refused = [&](std::size_t size) {
        fill(size);
        const Newer<T> before = out;
        CHECK(call(&out.known) == RP_HANDOFF_ERR_STRUCT_SIZE);
        CHECK(std::memcmp(&out, &before, sizeof out) == 0);
    };
    std::for_each(std::begin(too_small), std::end(too_small), check_refused);
    check_refused(sizeof(T) - 1);
    for (const std::size_t size : {sizeof(T), sizeof(T) + 1, sizeof out}) {
        fill(size);
        const Newer<T> before = out;
        CHECK(call(&out.known) == RP_HANDOFF_OK);
        CHECK(out.known.struct_size == size);
        CHECK(std::memcmp(&out.known, &before.known, sizeof out.known) != 0);
        CHECK(is_pattern(out));
    }
}

} // namespace rp::test
