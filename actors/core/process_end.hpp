#pragma once

namespace ganglion {

/// Work of a thread that nobody waits for when the process ends. LibTorch's own static objects cannot be destroyed
/// under it: while one of these lives, an exit of the process flushes the standard streams and ends there, with its
/// status, before it destroys those that were there at the last `keep_what_libraries_have`. What was registered with
/// `atexit` after that has run by then.
class unfinished_work {
 public:
  unfinished_work() noexcept;
  ~unfinished_work();
  unfinished_work(const unfinished_work&) = delete;
  unfinished_work& operator=(const unfinished_work&) = delete;
};

/// LibTorch makes some of its static objects when they are first used, such as the generator of random numbers.
void keep_what_libraries_have() noexcept;

/// For a thread that something ends by unwinding, as Python does with those that come back when its interpreter has
/// gone: frames that are not ours are not to be unwound into ours.
[[noreturn]] void stay_until_the_process_ends() noexcept;

}  // namespace ganglion
