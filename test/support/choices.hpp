#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>

namespace ganglion::test {

/// Where a test takes its random decisions: from a seed, or from the bytes of a fuzzer, which learns to steer it.
class choices {
 public:
  explicit choices(std::uint32_t seed) : random_(seed) {}
  explicit choices(std::span<const std::uint8_t> bytes) : from_bytes_(true), bytes_(bytes) {}

  /// A number less than `n`, which is at least 1. Bytes that came to their end give 0.
  std::size_t below(std::size_t n) {
    if (!from_bytes_) return random_() % n;
    std::size_t number = 0;
    for (auto most = n - 1; most > 0; most >>= 8) number = number << 8 | next_byte();
    return number % n;
  }

  /// Whether there are bytes left; a seed has always more.
  bool any_left() const { return !from_bytes_ || !bytes_.empty(); }
  /// The bytes that are left.
  std::span<const std::uint8_t> rest() const { return bytes_; }

 private:
  std::size_t next_byte() {
    if (bytes_.empty()) return 0;
    auto byte = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return byte;
  }

  bool from_bytes_ = false;
  std::mt19937 random_;
  std::span<const std::uint8_t> bytes_;
};

}  // namespace ganglion::test
