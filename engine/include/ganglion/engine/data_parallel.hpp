#pragma once

#include <ganglion/engine/device_id.hpp>
#include <ganglion/engine/engine.hpp>
#include <ganglion/model_io/model.hpp>

#include <ATen/core/ivalue.h>

#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ganglion {

struct data_parallel_options {
  /// The cores to use, in this order; empty: every visible core (S2, S3).
  std::vector<device_id> device_ids;
  /// The dimension along which inputs are scattered and outputs gathered; negative counts from the end (S9).
  std::int64_t dim = 0;
  /// Whether any batch size may be run on the compiled one. Only for dim 0 and models whose rows are independent:
  /// otherwise it is off, with a warning (S10, S11).
  bool dynamic_batching = true;
  /// A cap on executions in flight over all cores; unset: what the cores take (S19).
  std::optional<std::size_t> num_workers;
  /// Rows a chunk; unset: the compiled batch size (S20).
  std::optional<std::int64_t> split_size;
};

/// A compiled model replicated on cores: scatters each batch along a dimension, runs the pieces on whichever core is
/// free, gathers the results in order. What `torch.neuron.DataParallel` was, for C++ and asynchronous.
///
/// Any number of threads may call one object. Inputs must not be written to before their answer is there; answers are
/// ordinary tensors that share no storage with anything.
class data_parallel {
 public:
  /// Loads and warms the model on its cores; returns when all are ready. Errors: `invalid_device_id`,
  /// `dim_out_of_range`, `shape_mismatch` (inputs compiled with different sizes along dim), `invalid_argument`,
  /// `core_memory_exceeded`, `forward_failed` (while warming), `core_lost`, `draining`.
  explicit data_parallel(compiled_model model, data_parallel_options options = {});
  data_parallel(engine& on, compiled_model model, data_parallel_options options = {});
  /// What was accepted is still answered.
  ~data_parallel();
  data_parallel(data_parallel&&) noexcept;
  data_parallel& operator=(data_parallel&&) noexcept;

  /// Runs forward(inputs...) data-parallel and waits for the answer: what forward returns, with all tensors gathered
  /// along dim. Throws `ganglion::error`: `shape_mismatch`, `batch_size_mismatch` (dynamic batching off),
  /// `gather_mismatch`, `forward_failed`, `core_lost`, `queue_full`, `draining`; `invalid_argument` when called on one
  /// of the engine's own threads, which would wait for itself.
  c10::IValue operator()(std::vector<c10::IValue> inputs);
  /// The same without waiting. The future always becomes ready, with the answer or the `ganglion::error`, also when
  /// the engine ends or a core dies.
  std::future<c10::IValue> submit(std::vector<c10::IValue> inputs);

  /// Turns dynamic batching off for all calls that come after it; there is no way back (S14). From then on
  /// `input.shape[dim] / len(device_ids)` must be the compiled size exactly (S13).
  void disable_dynamic_batching();
  bool dynamic_batching() const;

  /// Errors: `invalid_argument` for 0. Unset it reads 2 x cores.
  void num_workers(std::size_t n);
  std::size_t num_workers() const;
  /// Errors: `invalid_argument` for values below 1.
  void split_size(std::int64_t rows);
  std::optional<std::int64_t> split_size() const;

  /// What its user should know, each said once here and in the log.
  std::vector<std::string> warnings() const;
  /// The cores in use, as per-process indices in the order given.
  const std::vector<std::size_t>& cores() const;
  const compiled_model& model() const;
  /// Its number in `execution_record`.
  std::uint64_t id() const;

 private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

}  // namespace ganglion
