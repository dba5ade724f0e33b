// What goes over a client's connection.
//
// The client says which attempt it is and how many numbered bytes follow. Each byte can be told from its number and the
// attempt's, so that one that is lost, doubled, or of another connection shows. The server answers what it reads with
// records that say who it is. A prologue is a record of another kind, in the name of the broker that asked for it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace rp::chaos {

using Bytes = std::vector<std::uint8_t>;

struct Opening {
    std::uint32_t attempt;
    std::uint32_t length; // of numbered bytes, or `unlimited`
    std::uint32_t wants_prologue;
    std::uint32_t check; // ~attempt: a stream that starts anywhere else is noticed
};
static_assert(sizeof(Opening) == 16);

constexpr std::uint32_t unlimited = UINT32_MAX;

enum : std::uint32_t { record_answer = 0x52535741, record_prologue = 0x4C4F5250 };

struct Record {
    std::uint32_t kind;
    std::uint32_t life;
    std::uint32_t serial;   // of the connection in that life
    std::uint32_t padding;  // bytes that follow: of a prologue
    std::uint64_t received; // numbered bytes so far
};
static_assert(sizeof(Record) == 24);

// What a broker tells a backend beside a connection; numbered bytes of the attempt follow, to make it longer.
struct Tag {
    std::uint32_t attempt;
    std::uint32_t broker; // its life
    std::uint32_t filling;
    std::uint32_t check; // ~attempt
};
static_assert(sizeof(Tag) == 16);

inline std::uint8_t numbered_byte(std::uint32_t attempt, std::uint32_t number) noexcept {
    return static_cast<std::uint8_t>(attempt * 31 + number * 7 + (number >> 8));
}

inline void append_numbered(Bytes &to, std::uint32_t attempt, std::uint32_t from, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
        to.push_back(numbered_byte(attempt, from + i));
    }
}

template <class Value>
void append(Bytes &to, const Value &value) {
    const auto *bytes = reinterpret_cast<const std::uint8_t *>(&value);
    to.insert(to.end(), bytes, bytes + sizeof value);
}

// Reads a client's side of a stream, in pieces of any size.
class Numbers {
  public:
    enum class Verdict { good, bad };

    Verdict take(const std::uint8_t *data, std::size_t size) {
        while (size != 0 && opened_ < sizeof(Opening)) {
            reinterpret_cast<std::uint8_t *>(&opening_)[opened_++] = *data++;
            --size;
            if (opened_ == sizeof(Opening) && opening_.check != ~opening_.attempt) {
                return Verdict::bad;
            }
        }
        for (; size != 0; --size) {
            if (received_ == opening_.length || *data++ != numbered_byte(opening_.attempt, received_++)) {
                return Verdict::bad;
            }
        }
        return Verdict::good;
    }

    bool is_opened() const noexcept { return opened_ == sizeof(Opening); }
    const Opening &opening() const noexcept { return opening_; }
    std::uint32_t received() const noexcept { return received_; }

  private:
    Opening opening_{};
    std::uint32_t opened_ = 0;
    std::uint32_t received_ = 0;
};

} // namespace rp::chaos
