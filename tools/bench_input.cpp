#include "bench_input.hpp"

#include "command.hpp"

#include <ganglion/model_io/program_set.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>

namespace ganglion::command {

namespace {

program_bucket bucket_of(const compiled_model& model) {
  return make_program_set(model, 0).value().buckets.front();
}

scatter_rule rule_of(const compiled_model& model) { return bucket_of(model).rule; }

at::Tensor random_like(const tensor_spec& spec, const value_range& range, std::uint64_t seed) {
  if (!at::isIntegralType(spec.dtype, /*includeBool=*/false)) return random_tensor(spec, seed);
  // Indices into a table must be ones that it has.
  const auto share = random_tensor({at::kDouble, spec.shape, {}}, seed);
  return (share * (range.high - range.low + 1) + range.low).floor().clamp(range.low, range.high).to(spec.dtype);
}

}  // namespace

std::int64_t compiled_rows(const compiled_model& model) { return rule_of(model).compiled_size; }

std::size_t largest_program(const compiled_model& model) { return bucket_of(model).programs.back(); }

std::int64_t smallest_request(const compiled_model& model, std::size_t cores) {
  const auto rule = rule_of(model);
  if (rule.is_batch_dim && model.not_eligible().empty()) return 1;
  return rule.compiled_size * static_cast<std::int64_t>(cores);
}

std::int64_t default_rows(const compiled_model& model, std::size_t cores, scenario kind) {
  const auto smallest = smallest_request(model, cores);
  if (kind != scenario::offline || smallest > 1) return smallest;
  return 2 * compiled_rows(model) * static_cast<std::int64_t>(cores);
}

std::vector<c10::IValue> random_leaves(const compiled_model& model, std::int64_t rows, std::uint64_t seed) {
  const auto rule = rule_of(model);
  const auto& sig = model.signature();
  std::vector<c10::IValue> leaves;
  std::size_t tensor = 0;
  for (const auto& argument : sig.example) {
    for (auto& leaf : leaves_of(argument)) {
      leaves.push_back(std::move(leaf.value));
      if (!leaves.back().isTensor()) continue;
      auto spec = sig.inputs[tensor];
      if (const auto axis = rule.axis[tensor]; axis >= 0) spec.shape[static_cast<std::size_t>(axis)] = rows;
      leaves.back() = random_like(spec, sig.ranges[tensor], seed + tensor);
      ++tensor;
    }
  }
  return leaves;
}

std::vector<c10::IValue> random_arguments(const compiled_model& model, std::int64_t rows, std::uint64_t seed) {
  return arguments_from(model.signature(), random_leaves(model, rows, seed));
}

row_counter::row_counter(const compiled_model& model)
    : row_for_row_(rule_of(model).is_batch_dim && model.not_eligible().empty()) {}

std::int64_t row_counter::rows_in(const c10::IValue& answer, std::int64_t requested) const {
  if (!row_for_row_) return requested;
  if (answer.isTensor()) return answer.toTensor().size(0);
  for (const auto& leaf : leaves_of(answer))
    if (leaf.value.isTensor()) return leaf.value.toTensor().size(0);
  return requested;
}

const char* row_noun(const compiled_model& model) {
  const auto& first = model.inputs().front();
  const bool image = first.shape.size() == 4 && (first.shape[1] == 1 || first.shape[1] == 3);
  return image ? "image" : "row";
}

}  // namespace ganglion::command
