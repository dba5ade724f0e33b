#include "session/answer_box.hpp"

#include "base/text.hpp"

namespace rp::handoff::session {

namespace {

constexpr std::size_t max_texts = std::size_t{16} * 1024; // of all together

} // namespace

AnswerBox::AnswerBox(std::uint32_t answers) : most_(answers * Answer::fixed_size + max_texts) {
    bytes_.reserve(most_);
}

bool AnswerBox::add(std::uint32_t slot, std::uint64_t ticket, Answer::Verdict verdict, std::string_view text) noexcept {
    const std::size_t room = most_ - bytes_.size();
    if (room < Answer::fixed_size) {
        return false;
    }
    const std::size_t texts = bytes_.size() - count_ * Answer::fixed_size;
    const std::string_view cut = utf8_prefix(text, max_refusal);
    const bool fits = texts + cut.size() <= max_texts && cut.size() <= room - Answer::fixed_size;
    const Answer answer{slot, verdict, ticket, fits ? cut : std::string_view()};
    const std::size_t at = bytes_.size();
    bytes_.resize(at + Answer::fixed_size + answer.text.size());
    encode_answer(bytes_.data() + at, answer);
    ++count_;
    return true;
}

AnswerBox::Some AnswerBox::first() const noexcept {
    constexpr std::size_t room = max_answers_frame - header_size;
    const ByteView all(bytes_.data(), bytes_.size());
    if (all.size() <= room) {
        return {all, count_};
    }
    Some some{{}, 0};
    for (ByteView next = all; next_answer(next) && all.size() - next.size() <= room; ++some.count) {
        some.bytes = all.substr(0, all.size() - next.size());
    }
    return some;
}

void AnswerBox::drop(const Some &some) noexcept {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(some.bytes.size()));
    count_ = static_cast<std::uint16_t>(count_ - some.count);
}

void AnswerBox::clear() noexcept {
    bytes_.clear();
    count_ = 0;
}

} // namespace rp::handoff::session
