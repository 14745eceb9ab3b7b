#pragma once

#include <ganglion/actors/protocol/response.hpp>
#include <ganglion/model_io/signature.hpp>

#include <ATen/core/Tensor.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

namespace ganglion {

/// A range of a request's rows that goes into one execution, with the one atomic word that decides who may write it.
///
/// The word holds an attempt and a phase: queued -> running -> committing -> done, or queued | running -> dropped.
/// A retry moves it to queued again under the next attempt, so that a lane that was given up finds another attempt and
/// writes nothing. Committing cannot be revoked: whoever waits for the answer waits for it.
class slot {
 public:
  slot(std::int64_t first_row, std::int64_t rows, std::size_t chunk)
      : first_row_(first_row), rows_(rows), chunk_(chunk) {}

  std::int64_t first_row() const { return first_row_; }
  std::int64_t rows() const { return rows_; }
  /// The index of the chunk that the rows are of.
  std::size_t chunk() const { return chunk_; }
  std::uint32_t attempt() const { return attempt_of(word_.load(std::memory_order_acquire)); }
  /// Whether a lane is in the middle of its attempt.
  bool is_running() const { return current() == phase::running; }
  /// Whether a lane is in the middle of that attempt, which was not revoked.
  bool is_running(std::uint32_t attempt) const {
    return word_.load(std::memory_order_acquire) == word(attempt, phase::running);
  }
  /// Whether its rows are in the answer.
  bool done() const { return current() == phase::done; }
  /// Whether its rows are in the answer or on their way into it.
  bool is_settled() const { return current() == phase::done || current() == phase::committing; }

  // -- the lane's moves; each returns false where the attempt was revoked -----------------------------------------
  bool start(std::uint32_t attempt) { return move(word(attempt, phase::queued), phase::running); }
  bool begin_commit(std::uint32_t attempt) { return move(word(attempt, phase::running), phase::committing); }
  void end_commit() { word_.store(word(attempt(), phase::done), std::memory_order_release); }

  // -- the batcher's moves; each returns false where the slot is committing, done or dropped -----------------------
  bool drop() { return revoke(phase::dropped); }
  bool retry() { return revoke(phase::queued); }

 private:
  enum class phase : std::uint32_t { queued, running, committing, done, dropped };

  static constexpr std::uint64_t word(std::uint32_t attempt, phase p) {
    return (std::uint64_t{attempt} << 32) | static_cast<std::uint32_t>(p);
  }
  static constexpr std::uint32_t attempt_of(std::uint64_t w) { return static_cast<std::uint32_t>(w >> 32); }
  phase current() const { return static_cast<phase>(word_.load(std::memory_order_acquire) & 0xffffffffu); }

  bool move(std::uint64_t from, phase to);
  bool revoke(phase to);

  std::int64_t first_row_;
  std::int64_t rows_;
  std::size_t chunk_;
  std::atomic<std::uint64_t> word_{word(0, phase::queued)};
};

/// What a request is told of an execution that it had a part of.
struct execution_times {
  std::chrono::steady_clock::time_point started, computed;
  std::int64_t rows = 0;  ///< that were somebody's
  std::int64_t forwards = 1;
};

/// How a gather puts rows together.
struct gather_config {
  std::int64_t rows = 0;
  /// True where an execution of n rows returns n rows (dynamic batching): the answer is allocated once, by the first
  /// that commits, and each lane writes its slice. False: chunks are kept and concatenated by the last.
  bool sliced = true;
  /// The number of chunks, for `sliced == false`.
  std::size_t chunks = 0;
  /// Per tensor output the dimension along which chunks are joined; -1 for a 0-dimensional one, which becomes a vector
  /// with one element a chunk (S22 of docs/semantics.md). Only for `sliced == false`; a slice is always of dimension 0.
  std::vector<std::int64_t> out_axis;
  /// What is cut off from the outputs of every execution, since it came of padding.
  std::vector<trim> trims;
  /// Whether the answer has none of the rows: they ran for their sizes and for the values beside them. Only where
  /// `sliced`.
  bool drops_rows = false;
  /// Tensors to write the answer into, one for each tensor output; empty: they are made.
  std::vector<at::Tensor> outputs;
  /// When the request was accepted.
  std::chrono::steady_clock::time_point accepted;
};

/// Merges a request's rows into one answer: all or an error, by slot and never in arrival order, exactly once.
///
/// The one piece of state that lanes share. Every row is resolved once: committed by the lane that holds its slot's
/// attempt, or dropped by the batcher. Whoever resolves the last row delivers, so an answer waits for a lane that is
/// committing and for nothing else. A gather that is destroyed undelivered delivers `draining`:
/// only the end of an engine drops requests.
class gather {
 public:
  using sink = std::function<void(response&&)>;

  gather(gather_config config, sink deliver);
  ~gather();
  gather(const gather&) = delete;
  gather& operator=(const gather&) = delete;

  /// Copies the rows [offset, offset + slot.rows()) of an execution's outputs into the answer, if `attempt` still holds
  /// the slot. `batch` is the number of rows that the execution was given, padding included. Any thread.
  /// Returns false if the slot was revoked; a mismatch fails the whole gather with `gather_mismatch`.
  bool commit(slot& where, std::uint32_t attempt, const c10::IValue& outputs, std::int64_t offset, std::int64_t batch,
              std::int32_t core, const execution_times& times = {});

  /// Records a failure; the first one is the request's. Rows are still to be resolved. Any thread.
  void fail(failure f);
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  bool delivered() const { return delivered_.load(std::memory_order_acquire); }

  /// Resolves rows that never reached a lane.
  void drop_rows(std::int64_t rows) { resolve(rows); }
  /// Takes a slot back, if it is not committing or resolved, and resolves its rows.
  void drop(slot& where);
  /// Answers a request of no rows with `outputs`.
  void deliver_empty(c10::IValue outputs);

 private:
  void resolve(std::int64_t rows);
  void deliver();
  c10::IValue assemble();
  /// The answer of as many rows as its tensors have, as one of none.
  std::vector<c10::IValue> without_rows() const;
  void add_times(const execution_times& times, std::int64_t batch, std::int32_t core);
  request_timing timing() const;
  void write(slot& where, const c10::IValue& outputs, std::int64_t offset, std::int64_t batch, std::int32_t core);
  expected<void> write_slice(const slot& where, const c10::IValue& outputs, std::int64_t offset, std::int64_t batch);
  expected<void> keep(const slot& where, const c10::IValue& outputs);
  /// Makes the buffers of the answer after the first outputs.
  expected<void> allocate(const c10::IValue& outputs, std::int64_t batch);

  gather_config config_;
  sink deliver_;
  std::atomic<std::int64_t> unresolved_;
  std::atomic<bool> failed_{false};
  std::atomic<bool> delivered_{false};

  std::mutex mutex_;  // guards what follows; never held while rows are copied
  failure failure_;
  std::optional<c10::IValue> structure_; // the first outputs that were committed; they may be None
  std::vector<c10::IValue> answer_;      // sliced: a buffer a tensor leaf, other leaves as they are
  std::vector<c10::IValue> kept_;        // not sliced: the outputs of each chunk
  request_timing timing_;
  std::chrono::steady_clock::time_point begun_, computed_;
};

}  // namespace ganglion
