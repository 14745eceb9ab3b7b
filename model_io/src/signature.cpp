#include <ganglion/model_io/signature.hpp>

#include "value_kinds.hpp"

#include <ganglion/model_io/value_tree.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>

namespace ganglion {

namespace {

failure mismatch(std::string text) { return {errc::shape_mismatch, std::move(text)}; }

bool is_leaf(const c10::IValue& value) { return value.isTensor() || node_kind_of(value) == node_kind::leaf; }

/// The leaves as `leaves_of` orders them, without the paths that only a message needs.
void collect(const c10::IValue& tree, std::vector<c10::IValue>& leaves) {
  switch (node_kind_of(tree)) {
    case node_kind::leaf:
      leaves.push_back(tree);
      break;
    case node_kind::tuple:
      for (const auto& element : tree.toTupleRef().elements()) collect(element, leaves);
      break;
    case node_kind::list:
      for (const auto& element : tree.toListRef()) collect(element, leaves);
      break;
    case node_kind::dict:
      for (const auto& entry : tree.toGenericDict()) collect(entry.value(), leaves);
  }
}

std::size_t leaf_count(const c10::IValue& tree) {
  std::vector<c10::IValue> leaves;
  collect(tree, leaves);
  return leaves.size();
}

failure wrong_spec(const tensor_spec& compiled, const at::Tensor& given, std::int64_t axis) {
  const auto rule = axis < 0 ? std::string{"its size is fixed"} : fmt::format("only dim {} may differ", axis);
  return mismatch(fmt::format("input {} is {}, but the model was compiled for {}: {}", compiled.name,
                              to_string(given.scalar_type(), given.sizes()), to_string(compiled), rule));
}

bool fits(const tensor_spec& compiled, const at::Tensor& given, std::int64_t axis, const std::vector<bool>* any_size) {
  if (given.scalar_type() != compiled.dtype ||
      given.dim() != static_cast<std::int64_t>(compiled.shape.size()))
    return false;
  const auto sizes = given.sizes();
  for (std::size_t d = 0; d < sizes.size(); ++d)
    if (static_cast<std::int64_t>(d) != axis && sizes[d] != compiled.shape[d] && !(any_size && (*any_size)[d]))
      return false;
  return true;
}

/// Checks the tensor inputs one after the other and keeps the number of rows that the first of them has.
class tensor_check {
 public:
  tensor_check(const signature& sig, const scatter_rule& rule, const std::vector<std::vector<bool>>* any_size)
      : sig_(sig), rule_(rule), any_size_(any_size) {}

  expected<void> next(const at::Tensor& tensor) {
    const auto index = next_++;
    const auto& compiled = sig_.inputs[index];
    if (!tensor.defined()) return mismatch(fmt::format("input {} is an undefined tensor", compiled.name));
    if (!tensor.device().is_cpu())
      return mismatch(
          fmt::format("input {} is on {}: move it to the CPU first", compiled.name, tensor.device().str()));
    if (tensor.layout() != at::kStrided)
      return mismatch(fmt::format("input {} has the layout {}: make it dense first", compiled.name,
                                  c10::str(tensor.layout())));
    if (tensor.is_quantized())
      return mismatch(fmt::format("input {} is quantized: dequantize it first", compiled.name));
    const auto axis = rule_.axis[index];
    if (!fits(compiled, tensor, axis, any_size_ ? &(*any_size_)[index] : nullptr))
      return wrong_spec(compiled, tensor, axis);
    if (!has_its_values(tensor))
      return mismatch(fmt::format("input {} is {}, but its values are not in its memory (its storage was freed or "
                                  "resized): give a tensor that has them",
                                  compiled.name, to_string(tensor.scalar_type(), tensor.sizes())));
    return axis < 0 ? expected<void>{} : same_rows(index, tensor.size(axis));
  }

  std::int64_t rows() const { return rows_; }

 private:
  expected<void> same_rows(std::size_t index, std::int64_t rows) {
    if (rows_ < 0) {
      rows_ = rows;
      first_ = index;
    } else if (rows_ != rows) {
      return mismatch(
          fmt::format("input {} has {} rows along dim {}, but input {} has {}: all inputs are scattered "
                      "together",
                      sig_.inputs[first_].name, rows_, rule_.dim, sig_.inputs[index].name, rows));
    }
    return {};
  }

  const signature& sig_;
  const scatter_rule& rule_;
  const std::vector<std::vector<bool>>* any_size_;
  std::size_t next_ = 0;
  std::size_t first_ = 0;
  std::int64_t rows_ = -1;
};

failure dim_out_of_range(std::string_view what, const tensor_spec& spec, std::int64_t dim) {
  const auto rank = spec.shape.size();
  return {errc::dim_out_of_range,
          fmt::format("dim {} is out of range for {} {}, which is {}: give {} to {}", dim, what, spec.name,
                      to_string(spec), -static_cast<std::int64_t>(rank), rank - 1)};
}

}  // namespace

std::optional<std::int64_t> normalized_dim(std::int64_t dim, std::int64_t rank) {
  if (dim < -rank || dim >= rank) return std::nullopt;
  return dim < 0 ? dim + rank : dim;
}

expected<scatter_rule> make_scatter_rule(const signature& sig, std::int64_t dim) {
  scatter_rule rule;
  rule.dim = dim;
  rule.is_batch_dim = true;
  const tensor_spec* first = nullptr;
  for (const auto& input : sig.inputs) {
    if (input.shape.empty()) {
      rule.axis.push_back(-1);
      continue;
    }
    const auto axis = normalized_dim(dim, static_cast<std::int64_t>(input.shape.size()));
    if (!axis) return dim_out_of_range("input", input, dim);
    const auto size = input.shape[static_cast<std::size_t>(*axis)];
    if (!first) {
      first = &input;
      rule.compiled_size = size;
    } else if (size != rule.compiled_size) {
      return mismatch(fmt::format(
          "inputs {} and {} were compiled as {} and {}: their sizes along dim {} are {} and {}, "
          "but all inputs are scattered together",
          first->name, input.name, to_string(*first), to_string(input), dim, rule.compiled_size, size));
    }
    rule.axis.push_back(*axis);
    rule.is_batch_dim = rule.is_batch_dim && *axis == 0;
  }
  if (!first)
    return failure{
        errc::dim_out_of_range,
        fmt::format("dim {} is out of range: no input of the model has a dimension to scatter along", dim)};
  for (const auto& output : sig.outputs) {
    const auto axis = normalized_dim(dim, static_cast<std::int64_t>(output.shape.size()));
    if (!axis && !output.shape.empty()) return dim_out_of_range("output", output, dim);
    rule.out_axis.push_back(axis.value_or(-1));
    rule.is_batch_dim = rule.is_batch_dim && rule.out_axis.back() <= 0;
  }
  return rule;
}

expected<checked_inputs> check_inputs(const signature& sig, const scatter_rule& rule,
                                      const std::vector<c10::IValue>& inputs,
                                      const std::vector<std::vector<bool>>* any_size) {
  if (inputs.size() != sig.example.size())
    return mismatch(fmt::format("the model was compiled for {} input{} ({}), but {} {} given",
                                sig.example.size(), sig.example.size() == 1 ? "" : "s",
                                fmt::join(sig.argument_names, ", "), inputs.size(),
                                inputs.size() == 1 ? "was" : "were"));
  checked_inputs checked;
  checked.leaves.reserve(std::max(inputs.size(), sig.inputs.size()));
  tensor_check check{sig, rule, any_size};
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    auto begin = checked.leaves.size();
    if (sig.example[i].isTensor() && inputs[i].isTensor()) {
      checked.leaves.push_back(inputs[i]);
    } else {
      if (auto same = same_structure(sig.example[i], inputs[i], sig.argument_names[i]); !same)
        return mismatch(same.error().text);
      collect(inputs[i], checked.leaves);
    }
    for (; begin < checked.leaves.size(); ++begin)
      if (checked.leaves[begin].isTensor())
        if (auto good = check.next(checked.leaves[begin].toTensor()); !good) return good.error();
  }
  checked.rows = std::max<std::int64_t>(check.rows(), 0);
  return checked;
}

std::vector<c10::IValue> arguments_from(const signature& sig, const std::vector<c10::IValue>& leaves) {
  std::vector<c10::IValue> arguments;
  arguments.reserve(sig.example.size());
  std::span<const c10::IValue> rest{leaves};
  for (const auto& example : sig.example) {
    if (is_leaf(example)) {
      arguments.push_back(rest[0]);
      rest = rest.subspan(1);
    } else {
      const auto n = leaf_count(example);
      arguments.push_back(with_leaves(example, rest.first(n)));
      rest = rest.subspan(n);
    }
  }
  return arguments;
}

}  // namespace ganglion
