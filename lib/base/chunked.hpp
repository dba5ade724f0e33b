// An array that grows without moving what it holds.
//
// It is made of chunks of equal size: a step of growth costs about the same however much there is already, and less
// than one chunk is held in vain.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace rp::handoff {

template <class T, std::size_t chunk_size>
class Chunked {
  public:
    T &operator[](std::size_t i) noexcept { return chunks_[i / chunk_size][i % chunk_size]; }

    std::size_t capacity() const noexcept { return chunks_.size() * chunk_size; }

    // Makes it hold so many at least. If it throws std::bad_alloc, all that was there is as it was.
    void reserve(std::size_t count) {
        while (capacity() < count) {
            chunks_.push_back(std::make_unique<T[]>(chunk_size));
        }
    }

  private:
    std::vector<std::unique_ptr<T[]>> chunks_;
};

} // namespace rp::handoff
