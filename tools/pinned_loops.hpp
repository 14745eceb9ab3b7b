#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace ganglion::command {

/// Where one loop runs.
struct loop_place {
  std::vector<int> cpus;
  std::size_t intra_op_threads = 1;
};

/// Threads that do nothing but call something in a loop: what whoever divides work between threads is measured against.
/// Each is set up as a lane is: its CPUs, then its intra-op threads.
class pinned_loops {
 public:
  /// What a thread calls. Returns the rows that it did.
  using work = std::function<std::int64_t()>;
  struct loop_start {
    loop_place place;
    std::function<work()> make;  ///< called on the thread itself
  };

  /// Starts a thread each, and returns when each has called its work twice. Errors, thrown: what making and calling
  /// throw.
  explicit pinned_loops(std::vector<loop_start> starts);
  ~pinned_loops();
  pinned_loops(pinned_loops&&) noexcept;

  /// Lets all of them run at once for so long, and at least one call each. Returns the rows a second of all.
  double rows_per_second(double seconds);

 private:
  class loop;
  std::vector<std::unique_ptr<loop>> loops_;
};

}  // namespace ganglion::command
