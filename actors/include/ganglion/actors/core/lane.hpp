#pragma once

#include <ganglion/actors/core/execution.hpp>
#include <ganglion/actors/core/warm_up.hpp>
#include <ganglion/model_io/model.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ganglion {

/// What a lane knows of a model once it is loaded.
struct load_report {
  std::uint64_t model_id = 0;
  failure error;                ///< `forward_failed`, `cancelled`, or ok
  std::size_t bytes = 0;        ///< of the programs' weights
  warm_up found;                ///< nothing where it was not loaded
};

/// Where a lane tells what happened; called from any thread, inside of the lane's own functions too, and also after
/// the lane was given up (then without effect). Nothing here blocks.
class lane_sink {
 public:
  virtual ~lane_sink() = default;
  /// Once for each `load`, in their order.
  virtual void loaded(load_report report) = 0;
  /// Each execution once, in the order of `start`; several at once where the program is short. Not empty.
  virtual void finished(std::vector<execution_report> reports) = 0;
  /// The lane can run nothing any more; what it held is not reported. At most once, and the last call that counts: the
  /// core quits, and another one is started with another lane.
  virtual void lost(std::string reason) = 0;
};

/// What a lane is in the middle of.
struct lane_activity {
  clock::time_point since;
  bool loading = false;  ///< a step of a load; else an execution
};

/// What stands behind a core: a thread, later a device, another process or another host. Takes executions in order.
/// All functions return at once and never throw; only the core's actor calls them.
///
/// Destroying it gives the lane up: it starts nothing more, and what it runs at that moment, a step of a load included,
/// ends by itself and touches nothing that is not its own.
class lane {
 public:
  virtual ~lane() = default;
  /// The number of executions that were started and not yet reported.
  virtual std::size_t depth() const noexcept = 0;
  /// What it is in the middle of; nothing while it idles.
  virtual std::optional<lane_activity> activity() const noexcept = 0;
  /// Makes and warms a replica; answered by `loaded`. Takes its steps in turn with the executions: what waits goes
  /// before the next step, the longest of which is one execution. Loads end in the order in which they began. A model
  /// that is there already is loaded again.
  virtual void load(compiled_model model) noexcept = 0;
  /// Lets a replica go; of a model that is not there: nothing. Loads of it that are not over are answered with
  /// `cancelled`, at the latest after their step.
  virtual void unload(std::uint64_t model_id) noexcept = 0;
  /// Runs an execution: moves its parts from queued to running and commits their rows, as `run_execution` does, and
  /// reports it. Preconditions: `work` is not null; its model was loaded without an error, and not unloaded since.
  /// Executions beyond those that run wait in the lane.
  virtual void start(execution_ptr work) noexcept = 0;
};

struct lane_config {
  std::size_t core = 0;          ///< per-process index, for names and messages
  std::size_t threads = 1;       ///< intra-op threads
  std::vector<int> cpus;         ///< the CPUs to pin to; empty: wherever the scheduler likes
  /// How long a thread that has run out of work looks for more before it sleeps.
  std::chrono::nanoseconds idle_spin{0};
};

/// Makes the lane of a core, each time that the core is started; on a thread of the scheduler, so it must not block.
/// Where it throws, or returns null, the core has died and is started again after the back-off.
using lane_factory = std::function<std::unique_ptr<lane>(const lane_config&, std::shared_ptr<lane_sink>)>;

}  // namespace ganglion
