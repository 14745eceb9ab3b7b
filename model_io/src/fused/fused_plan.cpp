#include "fused_plan.hpp"

#include <algorithm>

namespace ganglion {

namespace {

using operation = fused_step::operation;

/// Who makes and who reads each value of a plan, by the numbers of steps.
struct value_uses {
  explicit value_uses(const fused_plan& plan) : readers(plan.values.size()), is_output(plan.values.size()) {
    maker.resize(plan.values.size());
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
      maker[plan.steps[i].output] = i;
      for (const auto value : plan.steps[i].inputs) readers[value].push_back(i);
      if (plan.steps[i].sum_with) readers[*plan.steps[i].sum_with].push_back(i);
    }
    for (const auto value : plan.outputs) is_output[value] = true;
  }

  /// Whether the step is the only one that ever looks at the value.
  bool only_read_by(std::size_t value, std::size_t step) const {
    return !is_output[value] && readers[value] == std::vector<std::size_t>{step};
  }

  std::vector<std::optional<std::size_t>> maker;
  std::vector<std::vector<std::size_t>> readers;
  std::vector<bool> is_output;
};

bool same(const fused_value& a, const fused_value& b) { return a.dtype == b.dtype && a.sizes == b.sizes; }

bool takes_functions(const fused_step& step) {
  return is_heavy(step) || step.what == operation::add || step.what == operation::multiply;
}

/// Lets the step before a function of each element do it. Returns whether there was such a step.
bool join_function(fused_plan& plan) {
  const value_uses uses{plan};
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    auto& step = plan.steps[i];
    if (step.what != operation::each_element) continue;
    const auto maker = uses.maker[step.inputs[0]];
    if (!maker || !uses.only_read_by(step.inputs[0], i) || !takes_functions(plan.steps[*maker])) continue;
    auto& before = plan.steps[*maker];
    before.after.insert(before.after.end(), step.after.begin(), step.after.end());
    before.output = step.output;
    plan.steps.erase(plan.steps.begin() + static_cast<std::ptrdiff_t>(i));
    return true;
  }
  return false;
}

/// Whether `step`, which makes `made`, can add `other` on the way and take its memory: it is there by then, it is not
/// the caller's, and nobody looks at it later than at `addition`.
bool can_add(const fused_plan& plan, const value_uses& uses, std::size_t addition, std::size_t made,
             std::size_t other) {
  const auto maker = uses.maker[made], other_maker = uses.maker[other];
  if (!maker || !other_maker || *other_maker >= *maker || uses.is_output[other] || made == other) return false;
  const auto& step = plan.steps[*maker];
  if (!is_heavy(step) || step.sum_with || !step.after.empty() || !uses.only_read_by(made, addition)) return false;
  // A view's memory is another value's.
  if (plan.steps[*other_maker].what == operation::reshape) return false;
  if (!same(plan.values[made], plan.values[other])) return false;
  return std::all_of(uses.readers[other].begin(), uses.readers[other].end(), [&](std::size_t reader) {
    return reader == addition || (reader < *maker && plan.steps[reader].what != operation::reshape);
  });
}

bool join_addition(fused_plan& plan) {
  const value_uses uses{plan};
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    auto addition = plan.steps[i];
    if (addition.what != operation::add) continue;
    auto made = addition.inputs[0], other = addition.inputs[1];
    if (!can_add(plan, uses, i, made, other)) std::swap(made, other);
    if (!can_add(plan, uses, i, made, other)) continue;
    auto& step = plan.steps[*uses.maker[made]];
    step.sum_with = other;
    step.after = std::move(addition.after);
    step.output = addition.output;
    plan.steps.erase(plan.steps.begin() + static_cast<std::ptrdiff_t>(i));
    return true;
  }
  return false;
}

}  // namespace

bool is_heavy(const fused_step& step) {
  return step.what == operation::convolution || step.what == operation::linear;
}

fused_plan with_steps_joined(fused_plan plan) {
  // An addition first: a function that went along with a summand would keep it from being joined.
  while (join_addition(plan) || join_function(plan)) continue;
  return plan;
}

}  // namespace ganglion
