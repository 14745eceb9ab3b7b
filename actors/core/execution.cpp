#include <ganglion/actors/core/execution.hpp>

#include "coordinator/rows_text.hpp"

#include <ganglion/model_io/replica.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstring>

namespace ganglion {

namespace {

/// The rows of a leaf that belong to a slot, along the scattered dimension.
at::Tensor rows_of(const at::Tensor& leaf, std::int64_t axis, const slot& where) {
  if (where.rows() == leaf.size(axis)) return leaf;
  return leaf.narrow(axis, where.first_row(), where.rows());
}

/// Copies rows into a buffer, and fills up what they lack in the other dimensions.
void copy_padded(at::Tensor to, const at::Tensor& from, double pad_value) {
  if (to.sizes() == from.sizes()) {
    to.copy_(from);
    return;
  }
  to.fill_(pad_value);
  for (std::int64_t d = 1; d < from.dim(); ++d) to = to.narrow(d, 0, from.size(d));
  to.copy_(from);
}

/// Copies the rows of all parts into a buffer and fills the rest with the last row. Parts of several requests, and
/// padding, exist only along dimension 0.
void fill(const at::Tensor& buffer, const execution& work, std::size_t leaf_index, double pad_value) {
  for (const auto& p : work.parts)
    copy_padded(buffer.narrow(0, p.offset, p.where->rows()),
                rows_of(p.owner->leaves()[leaf_index].toTensor(), 0, *p.where), pad_value);
  auto rows = work.rows();
  if (rows < work.batch)
    buffer.narrow(0, rows, work.batch - rows)
        .copy_(buffer.narrow(0, rows - 1, 1).expand_as(buffer.narrow(0, rows, work.batch - rows)));
}

failure forward_failure(const execution& work, const std::string& what, std::int32_t core) {
  const auto& where = *work.parts.front().where;
  return {
      errc::forward_failed,
      fmt::format("the model failed on chunk {} ({}) on core nc:{}: {}", where.chunk(), rows_text(where), core, what),
      where.first_row(), where.first_row() + where.rows(), core};
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

std::vector<c10::IValue> staging::assemble(const execution& work) {
  const auto& first = work.parts.front();
  const auto& set = first.owner->target().programs;
  bool whole = work.parts.size() == 1 && work.padding_rows() == 0 && !first.owner->padded();
  std::vector<c10::IValue> leaves = first.owner->leaves();
  std::size_t tensor_index = 0;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    if (!leaves[i].isTensor()) continue;
    auto index = tensor_index++;
    auto axis = set.rule().axis[index];
    if (axis < 0) continue;
    if (whole) {
      leaves[i] = rows_of(leaves[i].toTensor(), axis, *first.where).contiguous();
      continue;
    }
    auto& buffer = buffer_of(work, index);
    fill(buffer, work, i, set.pad_values.empty() ? 0 : set.pad_values[index]);
    leaves[i] = buffer;
  }
  return leaves;
}

execution_report run_execution(execution_ptr work, replica& on, staging& buffers, std::int32_t core) {
  execution_report report{work, {}, false, clock::now(), {}, {}};
  for (const auto& p : work->parts)
    if (p.where->start(p.attempt)) report.ran = true;
  if (!report.ran) {
    report.computed = report.ended = report.started;
    return report;
  }
  try {
    at::NoGradGuard no_grad;
    auto outputs = on.run(buffers.assemble(*work), work->program);
    report.computed = clock::now();
    for (const auto& p : work->parts)
      p.owner->answer().commit(*p.where, p.attempt, outputs, p.offset, work->batch, core,
                               {report.started, report.computed, work->rows()});
  } catch (const std::exception& e) {
    report.computed = clock::now();
    report.error = forward_failure(*work, brief_message(e), core);
  } catch (...) {
    report.computed = clock::now();
    report.error = forward_failure(*work, "it threw something that is no exception type of the standard", core);
  }
  report.ended = clock::now();
  return report;
}

}  // namespace ganglion
