#pragma once

#include <ganglion/model_io/error.hpp>

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace ganglion {

/// NeuronCores on one Inferentia chip.
inline constexpr std::size_t cores_per_chip = 4;

/// The most cores that a host may have or pretend to have.
inline constexpr std::size_t max_host_cores = 4096;

/// The most threads that a core may have.
inline constexpr std::size_t max_threads_per_core = 1024;

/// Where a visible core is.
struct core_info {
  std::size_t index = 0;   ///< in this process, from 0: what device ids mean
  std::size_t global = 0;  ///< on the host
  std::size_t chip = 0;    ///< global / cores_per_chip
  std::size_t core = 0;    ///< on its chip

  friend bool operator==(const core_info&, const core_info&) = default;
};

/// All that decides which cores a process sees.
struct topology_request {
  std::optional<std::size_t> host_cores;         ///< the engine's option; wins over GANGLION_HOST_CORES
  std::optional<std::string> visible_cores_env;  ///< NEURON_RT_VISIBLE_CORES; unset: nothing
  std::optional<std::string> num_cores_env;      ///< NEURON_RT_NUM_CORES
  std::optional<std::string> host_cores_env;     ///< GANGLION_HOST_CORES
  std::size_t usable_cpus = 1;                   ///< CPUs that this process may use
  std::size_t threads_per_core = 1;              ///< CPU threads behind one core
};

/// A request with the three environment variables as they are now. Nothing else in the
/// library reads the environment.
topology_request read_environment();

/// The cores a process sees, in the order of their per-process index.
struct topology {
  std::vector<core_info> cores;
  std::size_t host_cores = 0;
  /// Whether the cores belong to this process alone and are to be locked: NEURON_RT_VISIBLE_CORES or
  /// NEURON_RT_NUM_CORES is set.
  bool needs_locks = false;
};

/// Asks for a core by its global index: nothing where this process may have it, else the id of the process
/// that holds it, 0 where that id is not known.
using core_query = std::function<expected<std::optional<pid_t>>(std::size_t global)>;

/// Decides which cores are visible. Pure but for `query`, which is called only for NEURON_RT_NUM_CORES, in
/// ascending order and no further than needed, so that a query that takes the cores it finds free takes
/// exactly those returned.
///
/// The host has `host_cores` cores, else GANGLION_HOST_CORES, else usable_cpus / threads_per_core, at least
/// one. NEURON_RT_VISIBLE_CORES lists cores and ranges in any order (`3`, `0-6`, `0,2,4-5`; no spaces): the
/// order given is the order of the per-process indices. It wins over NEURON_RT_NUM_CORES=n: the first n free
/// cores. Neither: all.
///
/// Fails with `errc::invalid_argument` for text that is not of this form, a core past the host's last, one
/// listed twice, a reversed range, more than `max_host_cores`, or threads_per_core of 0 or more
/// than `max_threads_per_core`; with `errc::core_unavailable` where fewer than n cores are free (naming the holders)
/// or none would be visible (a number that is 0, an empty value). The text quotes the variable and its value.
expected<topology> resolve_topology(const topology_request& request, const core_query& query);

}  // namespace ganglion
