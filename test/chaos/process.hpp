#pragma once

#include <fmt/format.h>

#include <malloc.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace ganglion::test {

struct process_size {
  std::size_t threads = 0;
  std::size_t bytes = 0;  ///< allocated and not freed

  process_size() : bytes(::mallinfo2().uordblks + ::mallinfo2().hblkhd) {
    for ([[maybe_unused]] const auto& task : std::filesystem::directory_iterator("/proc/self/task")) ++threads;
  }
};

/// The same when threads that were joined have gone, of which one may linger.
inline process_size process_size_at_rest() {
  process_size now;
  for (int i = 0; i < 1'000 && now.threads > 1; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    now = {};
  }
  return now;
}

/// What is not as it should be. Any thread.
class problems {
 public:
  void expect(bool fine, std::string_view sentence) {
    if (fine) return;
    std::lock_guard lock(mutex_);
    ++found_[std::string{sentence}];
  }
  /// That the process has no more threads, and about as much memory, as before.
  void expect_no_more_than(const process_size& before) {
    const auto now = process_size_at_rest();
    fmt::print("{} threads and {:.2f} MiB before, {} and {:.2f} after\n", before.threads, mib(before.bytes),
               now.threads, mib(now.bytes));
    expect(now.threads <= before.threads, "a thread is left behind");
    expect(now.bytes <= before.bytes + (std::size_t{1} << 20), "more than 1 MiB of memory is left behind");
  }
  /// Says what there is on stderr. Returns the exit status.
  int report() const {
    for (const auto& [sentence, count] : found_) fmt::print(stderr, "problem, {} times: {}\n", count, sentence);
    return found_.empty() ? 0 : 1;
  }

 private:
  static double mib(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

  std::mutex mutex_;
  std::map<std::string, std::size_t> found_;
};

}  // namespace ganglion::test
