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

/// Copies the rows of all parts into a buffer and fills the rest with the last row. Parts of several requests, and
/// padding, exist only along dimension 0.
void fill(const at::Tensor& buffer, const execution& work, std::size_t leaf_index) {
  for (const auto& p : work.parts)
    buffer.narrow(0, p.offset, p.where->rows())
        .copy_(rows_of(p.owner->leaves()[leaf_index].toTensor(), 0, *p.where));
  auto rows = work.rows();
  if (rows < work.batch)
    buffer.narrow(0, rows, work.batch - rows)
        .copy_(buffer.narrow(0, rows - 1, 1).expand_as(buffer.narrow(0, rows, work.batch - rows)));
}

failure forward_failure(const execution& work, const std::string& what, std::int32_t core) {
  const auto& where = *work.parts.front().where;
  return {errc::forward_failed,
          fmt::format("the model failed on chunk {} ({}) on core nc:{}: {}", where.chunk(), rows_text(where), core, what),
          where.first_row(), where.first_row() + where.rows(), core};
}

}  // namespace

std::int64_t execution::rows() const {
  return parts.empty() ? 0 : parts.back().offset + parts.back().where->rows();
}

std::vector<c10::IValue> staging::assemble(const execution& work) {
  const auto& first = work.parts.front();
  const auto& axes = first.owner->target().rule.axis;
  bool whole = work.parts.size() == 1 && work.padding_rows() == 0;
  std::vector<c10::IValue> leaves = first.owner->leaves();
  std::size_t tensor_index = 0;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    if (!leaves[i].isTensor()) continue;
    auto axis = axes[tensor_index];
    if (buffers_.size() <= tensor_index) buffers_.resize(tensor_index + 1);
    auto& buffer = buffers_[tensor_index++];
    if (axis < 0) continue;
    if (whole) {
      leaves[i] = rows_of(leaves[i].toTensor(), axis, *first.where).contiguous();
      continue;
    }
    if (!buffer.defined()) {
      const auto& leaf = leaves[i].toTensor();
      auto sizes = leaf.sizes().vec();
      sizes[0] = work.batch;
      buffer = at::empty(sizes, at::TensorOptions().dtype(leaf.scalar_type()));
    }
    fill(buffer, work, i);
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
    auto outputs = on.run(buffers.assemble(*work));
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
