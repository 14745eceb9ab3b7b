#include <ganglion/actors/core/execution.hpp>

#include "coordinator/outputs.hpp"

#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>

#include <span>

namespace ganglion {

at::Tensor output_stack::buffer_for(const execution& work, std::size_t leaf_index, const at::Tensor& like) {
  auto& buffer = buffers_[{work.program, leaf_index}];
  bool serves = buffer.defined() && buffer.scalar_type() == like.scalar_type() && buffer.size(0) >= work.all_rows() &&
                buffer.sizes().slice(1) == like.sizes().slice(1);
  if (!serves) {
    auto sizes = like.sizes().vec();
    sizes[0] = work.all_rows();
    buffer = at::empty(sizes, at::TensorOptions().dtype(like.scalar_type()));
  }
  return buffer.narrow(0, 0, work.all_rows());
}

expected<void> output_stack::add(const execution& work, std::int64_t forward, const c10::IValue& outputs) {
  const auto chunk = work.parts.front().where->chunk();
  const auto several = outputs.isTensor() ? std::vector<c10::IValue>{} : plain_leaves(outputs);
  const auto leaves = outputs.isTensor() ? std::span{&outputs, 1} : std::span{several};
  if (forward == 0) {
    structure_ = outputs;
    leaves_.assign(leaves.begin(), leaves.end());
  } else if (auto same = same_outputs(structure_, outputs, chunk); !same) {
    return same;
  }
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    if (!leaves[i].isTensor()) {
      if (auto same = same_value(leaves_[i], outputs, leaves[i], i, chunk); !same) return same;
      continue;
    }
    const auto& from = leaves[i].toTensor();
    if (forward == 0) {
      if (auto rows = returns_rows(outputs, from, i, work.batch); !rows) return rows;
      leaves_[i] = buffer_for(work, i, from);
    }
    const auto& to = leaves_[i].toTensor();
    if (auto same = same_rows(to, outputs, from, i, work.batch, chunk); !same) return same;
    copy_rows(to, forward * work.batch, from, 0, work.batch);
  }
  return {};
}

c10::IValue output_stack::all() const { return with_leaves(structure_, leaves_); }

void output_stack::clear() {
  structure_ = {};
  leaves_.clear();
}

}  // namespace ganglion
