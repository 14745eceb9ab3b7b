#pragma once

#include <vector>

namespace ganglion::command {

/// Lets the calling thread run on these CPUs only; where that is not allowed, or none are named, it runs where it did.
void pin_this_thread(const std::vector<int>& cpus);

}  // namespace ganglion::command
