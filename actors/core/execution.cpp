#include <ganglion/actors/core/execution.hpp>

#include "coordinator/outputs.hpp"
#include "coordinator/rows_text.hpp"
#include "core/process_end.hpp"

#include <ganglion/model_io/replica.hpp>

#include <ATen/ATen.h>
#include <cxxabi.h>
#include <fmt/format.h>

#include <algorithm>

namespace ganglion {

namespace {

struct row_range {
  std::int64_t first, rows;
};

row_range rows_of(const slot& where) { return {where.first_row(), where.rows()}; }

/// The rows of its first owner that one of several forwards runs; of one alone, from the first to the last: what went
/// together again after a loss may have gaps.
row_range rows_of(const execution& work, std::int64_t forward) {
  const auto& front = work.parts.front();
  auto all = rows_of(*front.where);
  if (work.forwards > 1) return {all.first + forward * work.batch, work.batch};
  for (const auto& p : work.parts) {
    if (p.owner != front.owner) continue;
    const auto end = std::max(all.first + all.rows, p.where->first_row() + p.where->rows());
    all.first = std::min(all.first, p.where->first_row());
    all.rows = end - all.first;
  }
  return all;
}

/// The rows of a leaf along the scattered dimension.
at::Tensor view_of(const at::Tensor& leaf, std::int64_t axis, row_range range) {
  if (range.rows == leaf.size(axis)) return leaf;
  return leaf.narrow(axis, range.first, range.rows);
}

/// Copies rows into a buffer and fills up what they lack in the other dimensions.
void copy_padded(at::Tensor to, const at::Tensor& from, double pad_value) {
  to.fill_(pad_value);
  for (std::int64_t d = 1; d < from.dim(); ++d) to = to.narrow(d, 0, from.size(d));
  to.copy_(from);
}

/// Copies the rows of all parts into a buffer and fills the rest with the last row. Parts of several requests, and
/// padding, exist only along dimension 0.
void fill(const at::Tensor& buffer, const execution& work, std::size_t leaf_index, double pad_value) {
  for (const auto& p : work.parts) {
    const auto& leaf = p.owner->leaves()[leaf_index].toTensor();
    const auto range = rows_of(*p.where);
    if (leaf.sizes().slice(1) == buffer.sizes().slice(1))
      copy_rows(buffer, p.offset, leaf, range.first, range.rows);
    else
      copy_padded(buffer.narrow(0, p.offset, range.rows), view_of(leaf, 0, range), pad_value);
  }
  auto rows = work.rows();
  if (rows < work.batch)
    buffer.narrow(0, rows, work.batch - rows)
        .copy_(buffer.narrow(0, rows - 1, 1).expand_as(buffer.narrow(0, rows, work.batch - rows)));
}

/// Whether the program gets leaves of its own to write to.
bool writes_inputs(const execution& work) {
  return work.parts.front().owner->target().model.signature(work.program).writes_inputs;
}

failure on_rows(failure f, row_range range, std::int32_t core) {
  f.first_row = range.first;
  f.last_row = range.first + range.rows;
  f.core = core;
  return f;
}

failure forward_failure(const execution& work, std::int64_t forward, const std::string& what, std::int32_t core) {
  auto range = rows_of(work, forward);
  const auto& first = work.parts.front();
  auto chunk = work.forwards == 1 ? first.where->chunk()
                                  : static_cast<std::size_t>(range.first / first.owner->chunks().chunk_rows());
  auto text = fmt::format("the model failed on chunk {} ({}) on core nc:{}: {}", chunk,
                          rows_text(range.first, range.rows), core, what);
  return on_rows({errc::forward_failed, std::move(text)}, range, core);
}

}  // namespace

std::int64_t execution::rows() const {
  return parts.empty() ? 0 : parts.back().offset + parts.back().where->rows();
}

at::Tensor& staging::buffer_of(const execution& work, std::size_t tensor_index) {
  auto& buffer = buffers_[{work.program, tensor_index}];
  if (!buffer.defined()) {
    const auto& spec = work.parts.front().owner->target().model.signature(work.program).inputs[tensor_index];
    auto sizes = spec.shape;
    sizes[0] = work.batch;
    buffer = at::empty(sizes, at::TensorOptions().dtype(spec.dtype));
  }
  return buffer;
}

std::vector<c10::IValue> staging::assemble(const execution& work, std::int64_t forward) {
  const auto& first = work.parts.front();
  const bool writes = writes_inputs(work);
  const auto& set = first.owner->target().programs;
  bool whole = work.parts.size() == 1 && work.padding_rows() == 0 && !first.owner->padded();
  std::vector<c10::IValue> leaves = first.owner->leaves();
  std::size_t tensor_index = 0;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    const bool is_tensor = leaves[i].isTensor();
    const auto index = is_tensor ? tensor_index++ : 0;
    const auto axis = is_tensor ? set.rule().axis[index] : -1;
    if (axis < 0) {
      if (writes) leaves[i] = leaves[i].deepcopy();
      continue;
    }
    if (whole) {
      const auto rows = view_of(leaves[i].toTensor(), axis, rows_of(work, forward));
      leaves[i] = writes ? rows.clone(at::MemoryFormat::Contiguous) : rows.contiguous();
      continue;
    }
    auto& buffer = buffer_of(work, index);
    fill(buffer, work, i, set.pad_values.empty() ? 0 : set.pad_values[index]);
    // A program that writes to its inputs may change the shape of the tensor, too, but not of the buffer.
    leaves[i] = writes ? buffer.narrow(0, 0, work.batch) : buffer;
  }
  return leaves;
}

void staging::advance(std::vector<c10::IValue>& leaves, const execution& work, std::int64_t forward) {
  if (writes_inputs(work)) {
    leaves = assemble(work, forward);
    return;
  }
  const auto& owner = *work.parts.front().owner;
  const auto& axes = owner.target().programs.rule().axis;
  const auto range = rows_of(work, forward);
  std::size_t tensor_index = 0;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    if (!leaves[i].isTensor() || axes[tensor_index++] < 0) continue;
    const auto& all = owner.leaves()[i].toTensor();
    auto& rows = leaves[i].toTensor();
    // The view is ours alone, unless the model kept it. It is cheaper to move than to make: all lanes count the views
    // of one request in the same place.
    if (all.is_contiguous() && rows.use_count() == 1)
      rows.unsafeGetTensorImpl()->set_storage_offset(all.storage_offset() + range.first * all.stride(0));
    else
      leaves[i] = view_of(all, 0, range).contiguous();
  }
}

namespace {

/// Runs the program as often as the execution says, but no further than until it is taken back, when its outputs are
/// for nobody. `begun` counts.
expected<c10::IValue> run_forwards(const execution& work, replica& on, staging& buffers, std::int64_t& begun) {
  auto leaves = buffers.assemble(work);
  begun = 1;
  if (work.forwards == 1) return on.run_on_own(leaves, work.program);
  const auto& [owner, where, attempt, offset, losses] = work.parts.front();
  for (std::int64_t forward = 0; forward < work.forwards; ++forward) {
    if (forward > 0) {
      if (!where->is_running(attempt)) break;
      buffers.advance(leaves, work, forward);
      ++begun;
    }
    auto outputs = on.run_on_own(leaves, work.program);
    if (auto added = buffers.outputs.add(work, forward, outputs); !added) return added.error();
  }
  return buffers.outputs.all();
}

}  // namespace

execution_report run_execution(execution_ptr work, replica& on, staging& buffers, std::int32_t core) {
  execution_report report{work, {}, false, clock::now(), {}, {}};
  // What nobody waits for any more is not started: the batcher ends it as soon as it hears of it.
  for (const auto& p : work->parts)
    if (p.owner->is_wanted(report.started) && p.where->start(p.attempt)) report.ran = true;
  if (!report.ran) {
    report.computed = report.ended = report.started;
    return report;
  }
  std::int64_t begun = 1;
  try {
    at::NoGradGuard no_grad;
    auto outputs = run_forwards(*work, on, buffers, begun);
    report.computed = clock::now();
    if (outputs) {
      for (const auto& p : work->parts)
        p.owner->answer().commit(*p.where, p.attempt, *outputs, p.offset, work->all_rows(), core,
                                 {report.started, report.computed, work->rows(), work->forwards});
    } else {
      report.error = on_rows(outputs.error(), rows_of(*work, begun - 1), core);
    }
  } catch (const std::exception& e) {
    report.computed = clock::now();
    report.error = forward_failure(*work, begun - 1, brief_message(e), core);
  } catch (const abi::__forced_unwind&) {
    stay_until_the_process_ends();
  } catch (...) {
    report.computed = clock::now();
    report.error =
        forward_failure(*work, begun - 1, "it threw something that is no exception type of the standard", core);
  }
  report.forwards = begun;
  buffers.outputs.clear();
  report.ended = clock::now();
  return report;
}

}  // namespace ganglion
