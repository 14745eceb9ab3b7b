#pragma once

#include <ganglion/actors/batcher/admission.hpp>
#include <ganglion/actors/coordinator/chunk_plan.hpp>
#include <ganglion/actors/coordinator/gather.hpp>
#include <ganglion/actors/coordinator/model_counters.hpp>
#include <ganglion/actors/protocol/coalescing_options.hpp>
#include <ganglion/actors/protocol/request_options.hpp>
#include <ganglion/model_io/program_set.hpp>

#include <chrono>
#include <list>
#include <memory>

namespace ganglion {

using clock = std::chrono::steady_clock;

/// A model on a choice of cores, scattered along one dimension. Immutable; shared by the actors and their requests.
struct deployment {
  std::uint64_t id = 0;
  compiled_model model;
  program_set programs;
  /// The cores that it may use, as per-process indices in the order given.
  std::vector<std::size_t> cores;
  coalescing_options coalescing;
  std::shared_ptr<model_counters> counters = std::make_shared<model_counters>();

  const scatter_rule& rule() const { return programs.rule(); }
};

/// A request's place in a queue: the queue's own.
struct queue_entry;

failure cancelled_by_caller();
failure past_deadline();

/// Sentence if the tensors cannot take the answer to such inputs: `shape_mismatch`, `invalid_argument`.
expected<void> check_outputs(const deployment& target, const checked_inputs& inputs,
                             const std::vector<at::Tensor>& outputs);

/// One inference on its way: the checked inputs, the plan of its chunks and the gather of its answer. Shared by
/// pointer between the actors and the lanes; never changed by two of them. When the last reference goes, whatever the
/// reason, the gather has answered or answers `draining`: no request is lost in the mailbox of an actor that ended.
class request {
 public:
  /// A number unique within the process.
  static std::uint64_t next_id();

  /// Takes the inputs through the gate. Errors: `draining`, `queue_full`; sink and options are left alone then. What
  /// the sink throws is told to the gate's log.
  static expected<std::shared_ptr<request>> admit(std::uint64_t id, std::shared_ptr<const deployment> target,
                                                  checked_inputs inputs, std::shared_ptr<admission> gate,
                                                  gather::sink&& deliver, request_options&& options = {});

  /// Use `admit`: the gate has counted `row_bytes` for each row, and is told when the request is answered.
  request(std::uint64_t id, std::shared_ptr<const deployment> target, checked_inputs inputs, bool drops_rows,
          std::int64_t row_bytes, std::shared_ptr<admission> admitted, gather::sink deliver, request_options options);
  ~request();

  std::uint64_t id() const { return id_; }
  const deployment& target() const { return *target_; }
  const std::shared_ptr<const deployment>& shared_target() const { return target_; }
  /// How many rows run. One where there are none, with other values beside them than the example's: what the model
  /// returns for those is not known before it has run.
  std::int64_t rows() const { return inputs_.rows; }
  /// How many rows its sender has given.
  std::int64_t given_rows() const { return drops_rows_ ? 0 : rows(); }
  std::int64_t row_bytes() const { return row_bytes_; }
  clock::time_point accepted() const { return accepted_; }
  const std::vector<c10::IValue>& leaves() const { return inputs_.leaves; }
  /// Which of its deployment's buckets takes it, and whether its rows are padded to the bucket's sizes.
  std::size_t bucket() const { return inputs_.bucket; }
  bool padded() const { return inputs_.padded; }
  const request_options& options() const { return options_; }

  /// Says that nobody waits for it any more, before a message that says so is sent: it may overtake the request. Any
  /// thread.
  void mark_cancelled() { cancelled_.store(true, std::memory_order_release); }
  bool is_cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  /// Whether anybody still waits for its answer then.
  bool is_wanted(clock::time_point now) const { return !is_cancelled() && options_.deadline.value_or(now) >= now; }

  // -- set once by the coordinator, before any row is queued --------------------------------------------------------

  /// Makes it a request to another deployment of the same signature, for which the check of its inputs holds too.
  /// Precondition: not planned.
  void retarget(const std::shared_ptr<const deployment>& target) { target_ = target; }
  /// Fixes the rules under which this request runs (S14): its chunks, and whether dynamic batching cuts and pads it.
  void plan(bool dynamic_batching, std::optional<std::int64_t> split_size);
  bool dynamic_batching() const { return dynamic_batching_; }
  const chunk_plan& chunks() const { return *chunks_; }
  /// Whether its rows may be in one execution with those of other requests, whose `join_key` must be equal then: the
  /// values that go to every chunk as they are.
  bool joinable() const { return joinable_; }
  /// From now on it is run alone, chunk by chunk, so that each of its rows has a place of its own in a batch whatever
  /// else waits. Before any row is queued.
  void keep_apart() { joinable_ = false; }
  const std::string& join_key() const { return join_key_; }
  /// Precondition: planned.
  gather& answer() { return *answer_; }

  /// Answers with a failure a request of which no row was given to the batcher.
  void refuse(failure f);
  /// Answers a request of no rows with empty outputs of the compiled trailing shapes, without running the model (S12).
  void answer_empty();

  // -- the batcher's ------------------------------------------------------------------------------------------------

  /// Adds the slot of a part that goes into an execution. References stay valid.
  slot& add_slot(std::int64_t first_row, std::int64_t rows, std::size_t chunk);
  /// Leaves the queue's count for rows that were put into an execution or dropped.
  void leave_queue(std::int64_t rows);
  /// Resolves all rows that no lane is committing, in slots or not.
  void drop_all();
  /// Its place in a queue, while rows of it wait there for their first time.
  void waiting(queue_entry* place) { place_ = place; }
  queue_entry* waiting() const { return place_; }

 private:
  void answered(response&& result);

  std::uint64_t id_;
  std::shared_ptr<const deployment> target_;
  checked_inputs inputs_;
  std::int64_t row_bytes_;
  std::int64_t waiting_rows_;  // admitted, and not yet in an execution
  std::shared_ptr<admission> admitted_;
  gather::sink deliver_;
  request_options options_;
  clock::time_point accepted_ = clock::now();
  std::atomic<bool> cancelled_{false};
  bool drops_rows_ = false;
  bool dynamic_batching_ = true;
  bool joinable_ = false;
  std::string join_key_;
  queue_entry* place_ = nullptr;
  std::optional<chunk_plan> chunks_;
  std::list<slot> slots_;  // of which an empty one takes no memory
  std::optional<gather> answer_;
};

using request_ptr = std::shared_ptr<request>;

}  // namespace ganglion
