#pragma once

#include "bench_session.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ganglion::command {

/// Something else that runs the same rows, in turn with the engine.
struct peer_figure {
  std::string key;   ///< its name in the JSON
  std::string told;  ///< and for people
  double rows_per_second = 0;
  double ratio = 0;  ///< of the engine's figure to its own: the median of the rounds
};

/// The engine on all cores against what does nothing else, in rows a second (medians of five rounds in which each runs
/// in turn).
struct throughput_baseline {
  std::size_t cores = 0;
  std::size_t cpus = 0;
  double engine = 0;
  /// `one_loop`, `bare_loops`, `intra_op`, `intra_op_module`, `intra_op_frozen`, `thread_pool`.
  std::vector<peer_figure> peers;
  std::size_t pool_workers = 0;
  /// Of the thread pool's answer from that of the module run alone.
  double pool_difference = 0;
  /// Distinct places of weights in one bare loop's replica, and over those of one bare loop a core. The replicas on the
  /// cores are not looked at: nothing public leads to them.
  std::size_t weight_storages_of_one = 0;
  std::size_t weight_storages_of_all = 0;
};

throughput_baseline measure_throughput_baseline(const bench_session& session);

/// The process's memory as its cores are put to work one after the other.
struct memory_baseline {
  /// Resident bytes after the first 1, 2, ... cores have been warmed and have run.
  std::vector<std::int64_t> resident_bytes;
  /// (last - first) / added cores; 0 where there is one core.
  double growth_per_core = 0;
  /// The most that LibTorch's allocator gives out to one forward at a time.
  std::int64_t activation_bytes = 0;
  /// What a bare loop over the same program has added, with the arena and scratch memory of a thread of its own.
  std::int64_t growth_of_bare_loop = 0;
};

/// To be called first: what other measurements have freed would be taken for what a core needs.
memory_baseline measure_memory_baseline(const bench_session& session);

/// The smallest requests one at a time to one core, against a bare ring of three threads, in turn; seconds.
/// A hand-over between two CPUs takes several times as long as one between two threads of a CPU, so both have their
/// threads in the same places: B where the core's lane is, the client on the other CPUs, A anywhere.
struct idle_baseline {
  double engine_p50 = 0;
  double ring_p50 = 0;
  double ratio = 0;  ///< the median of ten rounds' ratios
};

idle_baseline measure_idle_baseline(const bench_session& session);

}  // namespace ganglion::command
