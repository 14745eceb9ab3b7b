#pragma once

#include <ganglion/actors/core/execution.hpp>
#include <ganglion/model_io/model.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace ganglion {

/// What a lane knows of a model once it is loaded.
struct load_report {
  std::uint64_t model_id = 0;
  failure error;
  std::size_t bytes = 0;   ///< of the program's weights
  double seconds = 0;      ///< of the last warm-up execution
};

/// Where a lane tells what happened; called from any thread, also after the lane was given up (then without effect).
class lane_sink {
 public:
  virtual ~lane_sink() = default;
  virtual void loaded(load_report report) = 0;
  /// In the order of `start`; several at once where the program is short.
  virtual void finished(std::vector<execution_report> reports) = 0;
  /// The lane can run nothing any more; what it held is not reported.
  virtual void lost(std::string reason) = 0;
};

/// What stands behind a core: a thread, later a device, another process or another host. Takes executions in order.
/// All functions return at once and never throw; only the core's actor calls them.
///
/// Destroying it gives the lane up: it starts nothing more, and what it runs at that moment ends by itself and touches
/// nothing that is not its own.
class lane {
 public:
  virtual ~lane() = default;
  /// The number of executions that were started and not yet reported.
  virtual std::size_t depth() const noexcept = 0;
  /// Makes and warms a replica; answered by `loaded`. Comes in turn with the executions.
  virtual void load(compiled_model model) noexcept = 0;
  virtual void unload(std::uint64_t model_id) noexcept = 0;
  /// The model of the execution is loaded.
  virtual void start(execution_ptr work) noexcept = 0;
};

struct lane_config {
  std::size_t core = 0;          ///< per-process index, for names and messages
  std::size_t threads = 1;       ///< intra-op threads
  std::vector<int> cpus;         ///< the CPUs to pin to; empty: wherever the scheduler likes
};

using lane_factory = std::function<std::unique_ptr<lane>(const lane_config&, std::shared_ptr<lane_sink>)>;

}  // namespace ganglion
