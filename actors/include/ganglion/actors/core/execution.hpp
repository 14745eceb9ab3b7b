#pragma once

#include <ganglion/actors/coordinator/request.hpp>

#include <map>
#include <memory>
#include <vector>

namespace ganglion {

class replica;

/// The cores that were lost with some rows.
struct core_losses {
  bool running = false;   ///< one of them while it ran them
  std::uint8_t held = 0;  ///< how many there were: they may have waited in its lane
};

/// Rows of one request inside an execution.
struct part {
  request_ptr owner;
  slot* where;            ///< one of the owner's slots
  std::uint32_t attempt;  ///< the attempt that this execution is
  std::int64_t offset;    ///< the first of its rows inside the execution
  core_losses losses = {};
};

/// What goes to a core at once: at most one compiled batch of rows of one or several requests, padded if need be. Where
/// a forward takes so little that handing it out would cost as much, several full batches of one request, which run one
/// after the other.
struct execution {
  std::uint64_t id = 0;             ///< counted by its batcher from 1, in the order of formation
  std::uint64_t deployment_id = 0;  ///< whose requests its parts are of
  std::uint64_t model_id = 0;       ///< which of the lane's replicas runs it
  std::size_t program = 0;          ///< which of the model's programs
  /// The program's compiled size along the scattered dimension.
  std::int64_t batch = 0;
  std::int64_t forwards = 1;
  std::int64_t queued_rows = 0;  ///< of its deployment, that still waited when it was formed
  /// Never empty; in the order of their offsets, and without gaps: padding comes after the last.
  std::vector<part> parts;
  clock::time_point enqueued;  ///< when its oldest row was accepted
  clock::time_point formed;    ///< when it was bound to a core

  /// The rows that it was made for, and those that are somebody's; the rest is padding.
  std::int64_t all_rows() const { return batch * forwards; }
  std::int64_t rows() const;
  std::int64_t padding_rows() const { return all_rows() - rows(); }
};

using execution_ptr = std::shared_ptr<execution>;

/// What a lane says of an execution when it has ended.
struct execution_report {
  execution_ptr work;  ///< what `lane::start` was given
  failure error;     ///< `forward_failed`, `gather_mismatch` among its forwards, or ok
  bool ran = false;  ///< false: all its parts had been taken back before it began
  clock::time_point started, computed, ended;  ///< began; forward returned; rows were gathered
  std::int64_t forwards = 1;  ///< how often the program ran: less than it should have where it failed or was taken back

  /// Those that ran.
  std::int64_t rows() const { return forwards < work->forwards ? forwards * work->batch : work->rows(); }
  double compute_seconds() const { return std::chrono::duration<double>(computed - started).count(); }
  double seconds_a_forward() const { return compute_seconds() / static_cast<double>(forwards); }
};

/// What the forwards of one execution return, one below the other, in buffers that are used again.
class output_stack {
 public:
  /// Puts what a forward returned below what those before it did. The first of an execution begins anew.
  /// Errors: `gather_mismatch`.
  expected<void> add(const execution& work, std::int64_t forward, const c10::IValue& outputs);
  /// All of it, which stays valid until the next execution.
  c10::IValue all() const;
  /// Lets go of what the forwards returned; the buffers stay.
  void clear();

 private:
  /// The buffer of a program's output, for all rows of the execution.
  at::Tensor buffer_for(const execution& work, std::size_t leaf_index, const at::Tensor& like);

  std::map<std::pair<std::size_t, std::size_t>, at::Tensor> buffers_;
  c10::IValue structure_;            // what the first of the forwards returned
  std::vector<c10::IValue> leaves_;  // tensors of all forwards' rows, and its other leaves
};

/// Buffers of the compiled shapes for rows that must be put together or padded; one object a replica, reused.
class staging {
 public:
  /// The leaves that one of the execution's forwards gets: a view of the request's tensors where they are whole rows
  /// of one request and contiguous, and the program does not write to them; else a copy. Rows of padding repeat the
  /// last row, so that they are as plausible as the rows themselves; rows that are shorter than the program's are
  /// filled up with the deployment's pad values.
  std::vector<c10::IValue> assemble(const execution& work, std::int64_t forward = 0);
  /// Makes them those of one of the forwards after the first.
  void advance(std::vector<c10::IValue>& leaves, const execution& work, std::int64_t forward);

  output_stack outputs;

 private:
  /// The buffer of a program's tensor input.
  at::Tensor& buffer_of(const execution& work, std::size_t tensor_index);

  std::map<std::pair<std::size_t, std::size_t>, at::Tensor> buffers_;
};

/// Runs an execution on a replica and commits its rows. What the model throws ends in the report. The calling thread is
/// the replica's.
execution_report run_execution(execution_ptr work, replica& on, staging& buffers, std::int32_t core);

}  // namespace ganglion
