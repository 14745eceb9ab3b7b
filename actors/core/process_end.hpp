#pragma once

namespace ganglion {

/// Work of a thread that nobody waits for when the process ends. LibTorch's own static objects cannot be destroyed
/// under it: while one of these lives, an exit of the process flushes the standard streams and ends there, with its
/// status. What was registered with `atexit` in `main` or later has run by then.
class unfinished_work {
 public:
  unfinished_work() noexcept;
  ~unfinished_work();
  unfinished_work(const unfinished_work&) = delete;
  unfinished_work& operator=(const unfinished_work&) = delete;
};

}  // namespace ganglion
