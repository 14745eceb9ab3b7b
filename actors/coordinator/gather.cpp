#include <ganglion/actors/coordinator/gather.hpp>

#include "coordinator/outputs.hpp"

#include <ganglion/model_io/replica.hpp>
#include <ganglion/model_io/tensor_spec.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>

namespace ganglion {

namespace {

/// The sizes without the one along an axis; all of them for -1.
std::vector<std::int64_t> sizes_beside(const at::Tensor& t, std::int64_t axis) {
  auto sizes = t.sizes().vec();
  if (axis >= 0 && axis < t.dim()) sizes[static_cast<std::size_t>(axis)] = 0;
  return sizes;
}

/// Whether the caller's tensor is as that leaf of the outputs turned out.
expected<void> takes_output(const at::Tensor& given, at::ScalarType dtype, at::IntArrayRef sizes,
                            const c10::IValue& outputs, std::size_t leaf) {
  if (given.scalar_type() == dtype && given.sizes() == sizes) return {};
  return gather_mismatch(fmt::format("{} is {}, but the tensor that was given for it is {}", leaf_name(outputs, leaf),
                                     to_string(dtype, sizes), to_string(given.scalar_type(), given.sizes())));
}

/// What `make` makes: that leaf of the answer, which takes memory of its own.
template <class Make>
at::Tensor answer_tensor(const c10::IValue& outputs, std::size_t leaf, at::ScalarType dtype, at::IntArrayRef sizes,
                         const Make& make) {
  try {
    return make();
  } catch (const std::exception&) {
    throw error(errc::core_memory_exceeded,
                fmt::format("the answer's {} of {} does not fit in memory: send fewer rows at once",
                            leaf_name(outputs, leaf), to_string(dtype, sizes)));
  }
}

/// The outputs without what padding added to them, as views.
c10::IValue trimmed(const c10::IValue& outputs, const std::vector<trim>& trims) {
  if (trims.empty()) return outputs;
  auto leaves = plain_leaves(outputs);
  std::vector<c10::IValue*> tensors;
  for (auto& leaf : leaves)
    if (leaf.isTensor()) tensors.push_back(&leaf);
  for (const auto& t : trims) {
    auto& leaf = *tensors.at(t.output);
    leaf = leaf.toTensor().narrow(static_cast<std::int64_t>(t.axis), 0, t.size);
  }
  return with_leaves(outputs, leaves);
}

}  // namespace

// -- slot -----------------------------------------------------------------------------------------------------------

bool slot::move(std::uint64_t from, phase to) {
  return word_.compare_exchange_strong(from, word(attempt_of(from), to), std::memory_order_acq_rel);
}

bool slot::revoke(phase to) {
  auto current = word_.load(std::memory_order_acquire);
  for (;;) {
    auto now = static_cast<phase>(current & 0xffffffffu);
    if (now != phase::queued && now != phase::running) return false;
    if (word_.compare_exchange_weak(current, word(attempt_of(current) + 1, to), std::memory_order_acq_rel)) return true;
  }
}

// -- gather ---------------------------------------------------------------------------------------------------------

gather::gather(gather_config config, sink deliver)
    : config_(std::move(config)), deliver_(std::move(deliver)), unresolved_(config_.rows) {}

gather::~gather() {
  if (delivered_.load(std::memory_order_acquire)) return;
  fail({errc::draining, "the engine ended before the request was looked at or answered: send it to another engine"});
  deliver();
}

bool gather::commit(slot& where, std::uint32_t attempt, const c10::IValue& outputs, std::int64_t offset,
                    std::int64_t batch, std::int32_t core, const execution_times& times) {
  if (!where.begin_commit(attempt)) return false;
  try {
    add_times(times, batch, core);
    if (!failed()) write(where, outputs, offset, batch, core);
  } catch (const error& e) {
    fail(e.failure());
  } catch (const std::exception& e) {
    fail({errc::gather_mismatch, fmt::format("the outputs of chunk {} cannot be gathered: {}", where.chunk(),
                                             brief_message(e)),
          where.first_row(), where.first_row() + where.rows(), core});
  }
  where.end_commit();
  resolve(where.rows());
  return true;
}

expected<void> gather::allocate(const c10::IValue& outputs, std::int64_t batch) {
  auto leaves = plain_leaves(outputs);
  std::vector<c10::IValue> answer;
  answer.reserve(leaves.size());
  std::size_t tensor_index = 0;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    if (!leaves[i].isTensor()) {
      answer.push_back(leaves[i].deepcopy());  // a list may be the model's own
      continue;
    }
    const auto& t = leaves[i].toTensor();
    if (auto rows = returns_rows(outputs, t, i, batch); !rows) return rows;
    auto sizes = t.sizes().vec();
    sizes[0] = config_.rows;
    if (config_.outputs.empty() || config_.drops_rows) {
      answer.emplace_back(answer_tensor(outputs, i, t.scalar_type(), sizes, [&] {
        return at::empty(sizes, at::TensorOptions().dtype(t.scalar_type()));
      }));
      continue;
    }
    const auto& given = config_.outputs[tensor_index++];
    if (auto fits = takes_output(given, t.scalar_type(), sizes, outputs, i); !fits) return fits;
    answer.emplace_back(given);
  }
  answer_ = std::move(answer);
  structure_ = outputs;
  return {};
}

expected<void> gather::write_slice(const slot& where, const c10::IValue& outputs, std::int64_t offset,
                                   std::int64_t batch) {
  {
    std::lock_guard lock(mutex_);
    auto agreed = structure_ ? same_outputs(*structure_, outputs, where.chunk()) : allocate(outputs, batch);
    if (!agreed) return agreed;
  }
  const auto& answer = answer_;  // set by the first, and left alone until the last row is resolved
  auto leaves = plain_leaves(outputs);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    if (!leaves[i].isTensor()) {
      if (auto same = same_value(answer[i], outputs, leaves[i], i, where.chunk()); !same) return same;
      continue;
    }
    const auto& from = leaves[i].toTensor();
    const auto& to = answer[i].toTensor();
    if (auto same = same_rows(to, outputs, from, i, batch, where.chunk()); !same) return same;
    copy_rows(to, where.first_row(), from, offset, where.rows());
  }
  return {};
}

expected<void> gather::keep(const slot& where, const c10::IValue& outputs) {
  std::lock_guard lock(mutex_);
  if (kept_.empty()) kept_.resize(config_.chunks);  // not before: a request of any size may yet be refused
  kept_[where.chunk()] = outputs;
  if (!structure_) {
    structure_ = outputs;
    return {};
  }
  if (auto same = same_outputs(*structure_, outputs, where.chunk()); !same) return same;
  auto first = plain_leaves(*structure_), leaves = plain_leaves(outputs);
  std::size_t tensor_index = 0;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    if (!leaves[i].isTensor()) {
      if (auto same = same_value(first[i], outputs, leaves[i], i, where.chunk()); !same) return same;
      continue;
    }
    auto axis = config_.out_axis[tensor_index++];
    const auto &piece = leaves[i].toTensor(), &reference = first[i].toTensor();
    if (piece.scalar_type() != reference.scalar_type() || sizes_beside(piece, axis) != sizes_beside(reference, axis))
      return gather_mismatch(
          fmt::format("{} is {} in chunk {} and {} in another: dtype and all sizes but the one along the scattered "
                      "dimension must agree between chunks",
                      leaf_name(outputs, i), to_string(piece.scalar_type(), piece.sizes()), where.chunk(),
                      to_string(reference.scalar_type(), reference.sizes())));
  }
  return {};
}

std::vector<c10::IValue> gather::without_rows() const {
  auto leaves = answer_;
  std::size_t tensor_index = 0;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    if (!leaves[i].isTensor()) continue;
    auto none = leaves[i].toTensor().narrow(0, 0, 0).clone();
    if (!config_.outputs.empty()) {
      const auto& given = config_.outputs[tensor_index++];
      auto fits = takes_output(given, none.scalar_type(), none.sizes(), *structure_, i);
      if (!fits) throw error(fits.error());
      none = given;
    }
    leaves[i] = std::move(none);
  }
  return leaves;
}

c10::IValue gather::assemble() {
  if (config_.sliced) return with_leaves(*structure_, config_.drops_rows ? without_rows() : answer_);
  std::vector<std::vector<c10::IValue>> leaves;
  for (const auto& outputs : kept_) leaves.push_back(plain_leaves(outputs));
  std::vector<c10::IValue> joined;
  std::size_t tensor_index = 0;
  for (std::size_t i = 0; i < leaves.front().size(); ++i) {
    if (!leaves.front()[i].isTensor()) {
      joined.push_back(leaves.front()[i].deepcopy());  // a list may be the model's own
      continue;
    }
    auto axis = config_.out_axis[tensor_index++];
    std::vector<at::Tensor> pieces;
    for (const auto& chunk : leaves) {
      const auto& piece = chunk[i].toTensor();
      pieces.push_back(axis < 0 || piece.dim() == 0 ? piece.unsqueeze(0) : piece);
    }
    auto along = axis < 0 ? 0 : axis;
    auto sizes = pieces.front().sizes().vec();
    for (std::size_t n = 1; n < pieces.size(); ++n) sizes[static_cast<std::size_t>(along)] += pieces[n].size(along);
    const auto dtype = pieces.front().scalar_type();
    if (config_.outputs.empty()) {
      joined.emplace_back(
          answer_tensor(kept_.front(), i, dtype, sizes, [&] { return at::cat(pieces, along).detach(); }));
      continue;
    }
    auto given = config_.outputs[tensor_index - 1];
    auto fits = takes_output(given, dtype, sizes, kept_.front(), i);
    if (!fits) throw error(fits.error());
    at::NoGradGuard no_grad;
    at::cat_out(given, pieces, along);
    joined.emplace_back(std::move(given));
  }
  return with_leaves(kept_.front(), joined);
}

void gather::write(slot& where, const c10::IValue& outputs, std::int64_t offset, std::int64_t batch,
                   std::int32_t core) {
  // Answers are ordinary tensors, also where the caller is in inference mode.
  c10::InferenceMode ordinary(false);
  auto wanted = trimmed(outputs, config_.trims);
  auto written = config_.sliced ? write_slice(where, wanted, offset, batch) : keep(where, wanted);
  if (written) return;
  auto f = written.error();
  f.first_row = where.first_row();
  f.last_row = where.first_row() + where.rows();
  f.core = core;
  fail(std::move(f));
}

void gather::add_times(const execution_times& times, std::int64_t batch, std::int32_t core) {
  std::lock_guard lock(mutex_);
  if (timing_.executions == 0 || times.started < begun_) begun_ = times.started;
  computed_ = std::max(computed_, times.computed);
  timing_.executions += times.forwards;
  timing_.batched_rows += times.rows;
  timing_.padded_rows += batch - times.rows;
  auto index = static_cast<std::size_t>(core);
  auto& cores = timing_.cores;
  if (std::find(cores.begin(), cores.end(), index) == cores.end()) cores.push_back(index);
}

request_timing gather::timing() const {
  auto result = timing_;
  if (result.executions == 0) return result;
  result.queued = begun_ - config_.accepted;
  result.compute = computed_ - begun_;
  result.gather = std::chrono::steady_clock::now() - computed_;
  return result;
}

void gather::fail(failure f) {
  std::lock_guard lock(mutex_);
  if (failed()) return;
  failure_ = std::move(f);
  failed_.store(true, std::memory_order_release);
}

void gather::drop(slot& where) {
  if (where.drop()) resolve(where.rows());
}

void gather::deliver_empty(c10::IValue outputs) {
  structure_ = outputs;
  answer_ = plain_leaves(outputs);
  config_.sliced = true;
  deliver();
}

void gather::resolve(std::int64_t rows) {
  if (unresolved_.fetch_sub(rows, std::memory_order_acq_rel) == rows && rows > 0) deliver();
}

void gather::deliver() {
  if (delivered_.exchange(true, std::memory_order_acq_rel)) return;
  response result;
  if (!failed()) {
    try {
      c10::InferenceMode ordinary(false);
      result.outputs = assemble();
    } catch (const error& e) {
      fail(e.failure());
    } catch (const std::exception& e) {
      fail({errc::gather_mismatch, fmt::format("the chunks cannot be gathered: {}", brief_message(e))});
    }
  }
  {
    std::lock_guard lock(mutex_);
    result.timing = timing();
    if (failed()) {
      result.outputs = {};
      result.error = failure_;
    }
  }
  // What the chunks held is let go before the caller wakes up and reuses its memory.
  kept_.clear();
  answer_.clear();
  structure_.reset();
  deliver_(std::move(result));
}

}  // namespace ganglion
