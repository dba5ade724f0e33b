// A backend's answers on their way: they accumulate, and leave many in one frame.
//
// Its memory is taken at once. Every offer that the broker may have on its way finds room for its answer, so it is a text that
// gives way.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "session/frames.hpp"

namespace rp::handoff::session {

class AnswerBox {
  public:
    explicit AnswerBox(std::uint32_t answers);

    bool empty() const noexcept { return bytes_.empty(); }
    // False: there are more answers than offers can be; the broker reads none, or answers itself.
    bool add(std::uint32_t slot, std::uint64_t ticket, Answer::Verdict verdict, std::string_view text) noexcept;

    // The first of them that fit into one frame, without its header.
    struct Some {
        ByteView bytes;
        std::uint16_t count;
    };
    Some first() const noexcept;
    void drop(const Some &some) noexcept;
    void clear() noexcept;

  private:
    const std::size_t most_; // bytes, of all that wait: memory does not grow by what a peer does
    std::vector<std::uint8_t> bytes_;
    std::uint16_t count_ = 0;
};

} // namespace rp::handoff::session
