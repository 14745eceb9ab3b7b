#pragma once

#include <ganglion/actors/protocol/status.hpp>
#include <ganglion/engine/topology.hpp>
#include <ganglion/model_io/error.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace ganglion {

class lane;
class lane_sink;
struct lane_config;

/// `warning`: something is not as it should be: a death, a limit, what a handler threw. `info`: it is well again.
enum class log_level { info, warning };

/// Rows of one request inside an execution.
struct execution_part {
  std::uint64_t request_id = 0;
  std::int64_t first_row = 0, rows = 0;
  std::int64_t request_rows = 0;  ///< of the whole request
  std::uint32_t attempt = 0;      ///< how often these rows were taken back before
  std::chrono::steady_clock::time_point accepted;
};

/// One execution that ended: at most a compiled batch of rows on one core.
struct execution_record {
  using time_point = std::chrono::steady_clock::time_point;

  std::size_t core = 0;               ///< per-process index
  std::uint64_t data_parallel_id = 0; ///< which of the engine's data_parallels
  std::uint64_t execution_id = 0;     ///< in the order of formation
  std::int64_t rows = 0;
  std::int64_t padding_rows = 0;
  /// How often the program ran, one batch after the other: more than once only where a forward takes microseconds, and
  /// the rows are full batches of one request.
  std::int64_t forwards = 1;
  bool failed = false;
  /// Rows of its data_parallel that still waited for their first execution when it was formed.
  std::int64_t queued_rows = 0;
  std::vector<execution_part> parts;
  time_point enqueued;  ///< its oldest row was accepted
  time_point formed;    ///< it was bound to the core
  time_point started;   ///< forward began
  time_point computed;  ///< forward returned
  time_point gathered;  ///< its rows were in the answer
};

struct engine_options {
  /// The number of cores of the host, for a host that is pretended; wins over GANGLION_HOST_CORES. Unset, and the
  /// variable too: the CPUs that the process may use (its affinity, `cpus`, the quota of its control group) divided by
  /// `threads_per_core`, at least 1. At most 4,096; more cores than CPUs share them.
  std::optional<std::size_t> host_cores;
  /// Intra-op threads of a core.
  std::size_t threads_per_core = 1;
  /// Whether each core is pinned to CPUs of its own (shared where there are more cores than CPUs).
  bool pin = true;
  /// Which CPUs to use; empty: all that the process may use.
  std::vector<int> cpus;
  /// Told of warnings, deaths and restarts, one sentence each, on any thread, the engine's included: it must not block.
  /// What it throws is dropped. Unset: stderr.
  std::function<void(log_level, std::string_view)> log;

  /// How long a core that has run out of work looks for more before its thread sleeps, at most a second: a request that
  /// comes meanwhile is not kept by waking it. Other threads that want the CPU go before. Not done where cores share
  /// CPUs.
  std::chrono::nanoseconds idle_spin{50'000};
  /// The most bytes of model weights on one core; unset: no limit. More is `core_memory_exceeded`.
  std::optional<std::size_t> core_memory_bytes;
  /// What may wait: beyond it `queue_full`. See `admission_limits`.
  std::int64_t max_queued_rows = 65'536;
  std::int64_t max_queued_bytes = std::int64_t{1} << 30;
  /// The longest that a request may be expected to wait, by the measured executions, beyond which it is refused with
  /// `queue_full`; unset: no limit.
  std::optional<std::chrono::nanoseconds> max_queue_time;
  /// The longest that an execution may take: a core that is still in the middle of one then is taken to hang. It is
  /// started again on a fresh thread, what it held runs on other cores or fails with `core_lost`, and the stuck thread
  /// is left behind, where it can write nowhere any more (`status().abandoned_lanes`). Give it several times what the
  /// slowest execution takes under load. Unset: no limit.
  std::optional<std::chrono::nanoseconds> max_execution_time;
  /// The same for one step of loading a model on a core: making its replica, or one forward of its warm-up, of which
  /// the first ones take several times what later executions do. Unset: no limit; but where `max_execution_time` is
  /// set, a core that starts again has ten times that, and 10 s at least, and so has a step from when executions of
  /// other models wait behind it. A core that hangs again before it serves counts as lost at once.
  std::optional<std::chrono::nanoseconds> max_load_step_time;
  /// How long the destructor waits for accepted requests; those left are answered with `draining`. The completion
  /// thread then has as long again, and a second at least, for the handlers and for work of yours that was posted
  /// there: what is left of that is dropped. An answer that a core is writing at that moment is waited for, for 10 s at
  /// most. At least 0.
  std::chrono::milliseconds shutdown_bound{30'000};
  /// Where cores are locked when NEURON_RT_VISIBLE_CORES or NEURON_RT_NUM_CORES is set; empty: a fixed directory that
  /// all processes of the host share.
  std::filesystem::path lock_directory;
  /// Told of every execution that ended, on an engine's thread: it must not block. What it throws is dropped. It comes
  /// after the answers that the execution completed, and before the engine's destructor returns; not of an execution
  /// that still computes, for nobody, 100 ms after the engine was told to end.
  std::function<void(const execution_record&)> on_execution;
  /// Where a timeline of the run is written while it goes on, in the trace-event format that Perfetto and
  /// chrome://tracing open: executions on the lanes of their cores, requests as flows through them, rows that wait.
  /// A file that is there is replaced; one that cannot be written is `io_failed`. Empty: none.
  std::filesystem::path trace_out;
  /// What stands behind a core; unset: a pinned CPU thread.
  std::function<std::unique_ptr<lane>(const lane_config&, std::shared_ptr<lane_sink>)> make_lane;
};

/// The cores of a process, or a part of them, and the actors that run them. Several may live in one process. All
/// functions may be called from any thread; those of one that was moved from throw `invalid_argument`. A forked child
/// has none of an engine's threads: there all but the destructor throw `core_unavailable`. NEURON_RT_VISIBLE_CORES,
/// NEURON_RT_NUM_CORES and GANGLION_HOST_CORES are read once, here.
class engine {
 public:
  /// Errors: `invalid_argument` (an option or one of the variables), `core_unavailable` (another process has a core, no
  /// core is visible, or the system gives no thread), `io_failed` (the lock directory).
  explicit engine(engine_options options = {});
  /// Takes no more requests, answers everything accepted, ends the cores. On one of the engine's own threads, which it
  /// cannot wait for, it returns at once and the engine ends by itself.
  ~engine();
  /// What the destructor does, now: what comes later is refused with `draining`. Not on one of the engine's own
  /// threads, where it is `invalid_argument`.
  void shut_down();
  engine(engine&&) noexcept;
  engine& operator=(engine&&) noexcept;

  /// The number of cores that this process sees.
  std::size_t core_count() const;
  const std::vector<core_info>& cores() const;
  /// A picture of this moment; waits for the engine's actors. Errors: `draining` when the engine has ended,
  /// `invalid_argument` on one of the engine's own threads (inside of `log`, `on_execution` or a stop callback).
  ganglion::status status() const;
  /// Closes admission (requests are refused with `draining` from now on) and waits until everything accepted is
  /// answered; no batch waits for `max_queue_delay` then. Returns false where `bound` has passed before. There is no
  /// way back. Errors: `invalid_argument` on one of the engine's own threads.
  bool drain(std::chrono::milliseconds bound);

  /// The engine of those who name none; made with default options at the first use, and never destroyed. Errors: those
  /// of the constructor; the next call tries again then.
  static engine& process_default();

  struct state;

 private:
  friend class data_parallel;
  /// The state, if it was not moved away.
  state& own() const;

  std::shared_ptr<state> state_;
};

}  // namespace ganglion
