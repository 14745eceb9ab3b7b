#pragma once

#include <ganglion/engine/numa_nodes.hpp>
#include <ganglion/model_io/error.hpp>

#include <cstddef>
#include <map>
#include <span>
#include <vector>

namespace ganglion {

/// For each core the CPUs of its threads, ascending: one number a thread. A number occurs again only where a
/// core has more threads than there are CPUs.
using cpu_plan = std::vector<std::vector<int>>;

/// How many threads are booked on each CPU, and where the next ones go. Pure.
class cpu_ledger {
 public:
  /// Books `threads_per_core` CPUs out of `allowed` (not empty) for each core, given by its global index; the
  /// cores in order, each on the CPUs that are then booked least. Among equals a core prefers those from the
  /// position global * threads_per_core on, wrapping: two processes that share a host's cores, each with a
  /// ledger of its own, spread over its CPUs too. The threads of one core share what they compute, so all of
  /// them are on one of the host's memory nodes, unless a CPU would have to take more threads for that.
  cpu_plan book(std::span<const std::size_t> globals, std::size_t threads_per_core,
                std::span<const int> allowed, const numa_nodes& nodes = {});

  /// Takes back what `book` returned.
  void release(const cpu_plan& plan);

  /// Threads booked on a CPU.
  std::size_t booked(int cpu) const;

 private:
  /// So many CPUs, of equally booked ones the first in order; each again only where there are fewer than that.
  std::vector<int> least_booked(std::vector<int> order, std::size_t count) const;
  std::size_t booked_on(const std::vector<int>& cpus) const;

  std::map<int, std::size_t> threads_on_;
};

/// The CPUs of one engine's cores, booked in the process's one ledger until destruction. Move-only. A forked
/// child starts with an empty ledger, and its copy of a booking does nothing.
class cpu_booking {
 public:
  cpu_booking(std::span<const std::size_t> globals, std::size_t threads_per_core,
              std::span<const int> allowed, const numa_nodes& nodes = {});
  cpu_booking(cpu_booking&& other) noexcept;
  cpu_booking& operator=(cpu_booking&& other) noexcept;
  ~cpu_booking();

  /// The CPUs of each core, in the order in which the cores were given.
  const cpu_plan& plan() const noexcept { return plan_; }

 private:
  void release() noexcept;

  cpu_plan plan_;
  /// Tells a forked child's copy from the parent's booking.
  unsigned generation_ = 0;
};

/// The CPUs to book from: those of the engine's `cpus` option, ascending, or all `usable` ones where it is
/// empty. Fails with `errc::invalid_argument`, naming the usable CPUs, where the option lists another one or
/// one twice.
expected<std::vector<int>> choose_cpus(std::span<const int> option, std::span<const int> usable);

}  // namespace ganglion
