#pragma once

namespace ganglion {

/// How many forks led to this process since the first call. Any thread.
unsigned fork_count() noexcept;

}  // namespace ganglion
