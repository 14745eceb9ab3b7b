#pragma once

#include <span>

namespace ganglion {

/// Cores that are busy for so many seconds each take pieces of work, each core one when it is free. Returns when the
/// piece begins that comes after `work` seconds of others: the time by which the cores were free for so long together,
/// as if pieces could be cut; with no work before it, when the first core is free. Pure.
/// Precondition: at least one core.
double free_after(std::span<const double> busy, double work);

}  // namespace ganglion
