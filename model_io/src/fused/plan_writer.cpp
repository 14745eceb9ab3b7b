#include "plan_writer.hpp"

#include <torch/csrc/jit/ir/constants.h>

#include <algorithm>
#include <limits>

namespace ganglion {

namespace jit = torch::jit;

namespace {

using operation = fused_step::operation;
using sizes_2d = fused_step::sizes_2d;

/// A constant, also one that is a list of constants.
std::optional<c10::IValue> constant(const jit::Value* value) {
  if (auto known = jit::toIValue(value)) return known;
  if (value->node()->kind() != c10::prim::ListConstruct) return {};
  c10::List<std::int64_t> items;
  for (const auto* item : value->node()->inputs()) {
    const auto known = jit::toIValue(item);
    if (!known || !known->isInt()) return {};
    items.push_back(known->toInt());
  }
  return c10::IValue{items};
}

std::optional<c10::IValue> argument(const jit::Node* node, const std::string& name) {
  return constant(node->namedInput(name));
}

/// Two whole numbers, or one for both.
std::optional<sizes_2d> pair_argument(const jit::Node* node, const std::string& name) {
  const auto known = argument(node, name);
  if (!known || !known->isIntList()) return {};
  const auto list = known->toIntVector();
  if (list.size() == 1) return sizes_2d{list[0], list[0]};
  if (list.size() == 2) return sizes_2d{list[0], list[1]};
  return {};
}

std::optional<at::Tensor> tensor_argument(const jit::Node* node, const std::string& name) {
  const auto known = argument(node, name);
  if (!known || !known->isTensor() || !known->toTensor().defined()) return {};
  return known->toTensor();
}

bool is_true(const jit::Node* node, const std::string& name) {
  const auto known = argument(node, name);
  return known && known->isBool() && known->toBool();
}

bool is_false(const jit::Node* node, const std::string& name) {
  const auto known = argument(node, name);
  return known && known->isBool() && !known->toBool();
}

bool is_none(const jit::Node* node, const std::string& name) {
  const auto known = argument(node, name);
  return known && known->isNone();
}

std::optional<float> number_argument(const jit::Node* node, const std::string& name) {
  const auto known = argument(node, name);
  if (!known || !known->isScalar()) return {};
  return known->toScalar().to<float>();
}

/// `relu` of `aten::relu_`; whether it writes to its first argument is told apart.
std::string_view base_name(const jit::Node* node) {
  std::string_view name = node->kind().toUnqualString();
  if (name.ends_with('_')) name.remove_suffix(1);
  return name;
}

bool in_place(const jit::Node* node) { return std::string_view(node->kind().toUnqualString()).ends_with('_'); }

std::optional<elementwise_step> function_of(const jit::Node* node) {
  const auto name = base_name(node);
  if (name == "relu") return elementwise_step{elementwise::relu};
  if (name == "relu6") return elementwise_step{elementwise::clip, 0, 6};
  if (name == "sigmoid") return elementwise_step{elementwise::sigmoid};
  if (name == "tanh") return elementwise_step{elementwise::tanh};
  if (name == "hardswish") return elementwise_step{elementwise::hardswish};
  if (name == "silu") return elementwise_step{elementwise::swish, 1};
  if (name == "hardtanh") {
    const auto low = number_argument(node, "min_val"), high = number_argument(node, "max_val");
    if (low && high) return elementwise_step{elementwise::clip, *low, *high};
  }
  if (name == "gelu") {
    const auto approximate = argument(node, "approximate");
    if (!approximate || !approximate->isString()) return {};
    return elementwise_step{approximate->toStringRef() == "tanh" ? elementwise::gelu_tanh : elementwise::gelu_erf};
  }
  return {};
}

}  // namespace

plan_writer::handler plan_writer::handler_of(std::string_view name) {
  static const std::unordered_map<std::string_view, handler> handlers{
      {"_convolution", &plan_writer::convolution},
      {"conv2d", &plan_writer::convolution},
      {"linear", &plan_writer::linear},
      {"add", &plan_writer::binary},
      {"mul", &plan_writer::binary},
      {"relu", &plan_writer::each_element},
      {"relu6", &plan_writer::each_element},
      {"sigmoid", &plan_writer::each_element},
      {"tanh", &plan_writer::each_element},
      {"hardswish", &plan_writer::each_element},
      {"silu", &plan_writer::each_element},
      {"hardtanh", &plan_writer::each_element},
      {"gelu", &plan_writer::each_element},
      {"max_pool2d", &plan_writer::max_pool},
      {"avg_pool2d", &plan_writer::mean_pool},
      {"adaptive_avg_pool2d", &plan_writer::adaptive_mean_pool},
      {"mean", &plan_writer::mean},
      {"flatten", &plan_writer::reshape},
      {"reshape", &plan_writer::reshape},
      {"view", &plan_writer::reshape},
      {"dropout", &plan_writer::nothing},
  };
  const auto found = handlers.find(name);
  return found == handlers.end() ? nullptr : found->second;
}

bool plan_writer::add(jit::Node* node) {
  if (node->kind().ns() != c10::namespaces::aten || node->outputs().size() != 1 || node->inputs().empty() ||
      !node->maybeSchema())
    return false;
  const auto* result = shape_of(node->output());
  const auto* first = shape_of(node->inputs()[0]);
  if (!result || !first || result->dtype != first->dtype) return false;
  if (result->dtype != at::kFloat && result->dtype != at::kBFloat16) return false;
  const auto empty = [](const fused_value& v) { return std::find(v.sizes.begin(), v.sizes.end(), 0) != v.sizes.end(); };
  if (empty(*result) || empty(*first) || result->sizes.empty() || first->sizes.empty()) return false;
  if (in_place(node) && overwrites_what_others_see(node)) return false;
  const auto found = handler_of(base_name(node));
  return found && (this->*found)(node);
}

bool plan_writer::has_heavy_steps() const { return std::any_of(plan_.steps.begin(), plan_.steps.end(), is_heavy); }

fused_plan plan_writer::finish(const std::vector<jit::Value*>& outputs) && {
  for (const auto* value : outputs) plan_.outputs.push_back(numbers_.at(value));
  return with_steps_joined(std::move(plan_));
}

// -- operators ---------------------------------------------------------------------------------------------

bool plan_writer::convolution(jit::Node* node) {
  const auto weight = tensor_argument(node, "weight");
  const auto stride = pair_argument(node, "stride"), padding = pair_argument(node, "padding"),
             dilation = pair_argument(node, "dilation");
  const auto groups = argument(node, "groups");
  if (!weight || weight->dim() != 4 || !stride || !padding || !dilation || !groups || !groups->isInt()) return false;
  if (node->kind() == c10::aten::_convolution && !is_false(node, "transposed")) return false;
  if (!is_supported(node->inputs()[0], 4) || weight->scalar_type() != shape_of(node->inputs()[0])->dtype) return false;
  fused_step step;
  step.what = operation::convolution;
  step.weights = packable(*weight);
  if (const auto bias = tensor_argument(node, "bias"))
    step.bias = packable(*bias);
  else if (!is_none(node, "bias"))
    return false;
  step.kernel = {weight->size(2), weight->size(3)};
  step.stride = *stride;
  step.padding = *padding;
  step.dilation = *dilation;
  step.groups = groups->toInt();
  add_step(std::move(step), node, {node->inputs()[0]});
  return true;
}

bool plan_writer::linear(jit::Node* node) {
  const auto weight = tensor_argument(node, "weight");
  const auto* from = shape_of(node->inputs()[0]);
  if (!weight || weight->dim() != 2 || from->sizes.size() < 2 || weight->scalar_type() != from->dtype) return false;
  fused_step step;
  step.what = operation::linear;
  step.weights = packable(*weight);
  if (const auto bias = tensor_argument(node, "bias"))
    step.bias = packable(*bias);
  else if (!is_none(node, "bias"))
    return false;
  add_step(std::move(step), node, {node->inputs()[0]});
  return true;
}

bool plan_writer::binary(jit::Node* node) {
  const auto *a = shape_of(node->inputs()[0]), *b = shape_of(node->inputs()[1]);
  // Where one is repeated oneDNN has only its slow reference.
  if (!a || !b || a->dtype != b->dtype || a->sizes != b->sizes) return false;
  const bool adds = base_name(node) == "add";
  if (adds && number_argument(node, "alpha") != 1.0F) return false;
  fused_step step;
  step.what = adds ? operation::add : operation::multiply;
  add_step(std::move(step), node, {node->inputs()[0], node->inputs()[1]});
  return true;
}

bool plan_writer::each_element(jit::Node* node) {
  const auto function = function_of(node);
  if (!function) return false;
  fused_step step;
  step.what = operation::each_element;
  step.after = {*function};
  add_step(std::move(step), node, {node->inputs()[0]});
  return true;
}

bool plan_writer::max_pool(jit::Node* node) {
  fused_step step;
  step.what = operation::max_pool;
  const auto kernel = pair_argument(node, "kernel_size"), padding = pair_argument(node, "padding"),
             dilation = pair_argument(node, "dilation");
  if (!kernel || !padding || dilation != sizes_2d{1, 1} || !is_supported(node->inputs()[0], 4)) return false;
  step.kernel = *kernel;
  step.padding = *padding;
  step.stride = pair_argument(node, "stride").value_or(*kernel);
  add_step(std::move(step), node, {node->inputs()[0]});
  return true;
}

bool plan_writer::mean_pool(jit::Node* node) {
  fused_step step;
  step.what = operation::mean_pool;
  const auto kernel = pair_argument(node, "kernel_size"), padding = pair_argument(node, "padding");
  if (!kernel || !padding || !is_false(node, "ceil_mode") || !is_none(node, "divisor_override")) return false;
  if (!is_supported(node->inputs()[0], 4)) return false;
  step.kernel = *kernel;
  step.padding = *padding;
  step.stride = pair_argument(node, "stride").value_or(*kernel);
  step.counts_padding = is_true(node, "count_include_pad");
  add_step(std::move(step), node, {node->inputs()[0]});
  return true;
}

bool plan_writer::adaptive_mean_pool(jit::Node* node) {
  if (!is_supported(node->inputs()[0], 4)) return false;
  const auto *from = shape_of(node->inputs()[0]), *to = shape_of(node->output());
  fused_step step;
  step.what = operation::mean_pool;
  for (std::size_t d = 0; d < 2; ++d) {
    if (from->sizes[2 + d] % to->sizes[2 + d] != 0) return false;
    step.kernel[d] = step.stride[d] = from->sizes[2 + d] / to->sizes[2 + d];
  }
  add_step(std::move(step), node, {node->inputs()[0]});
  return true;
}

/// The mean over height and width.
bool plan_writer::mean(jit::Node* node) {
  if (node->inputs().size() != 4 || !is_supported(node->inputs()[0], 4) || !is_none(node, "dtype")) return false;
  const auto dims = argument(node, "dim"), keep = argument(node, "keepdim");
  if (!dims || !dims->isIntList() || !keep || !keep->isBool()) return false;
  auto over = dims->toIntVector();
  for (auto& d : over) d = d < 0 ? d + 4 : d;
  std::sort(over.begin(), over.end());
  if (over != std::vector<std::int64_t>{2, 3}) return false;
  const auto* from = shape_of(node->inputs()[0]);
  fused_step step;
  step.what = operation::mean_pool;
  step.kernel = step.stride = {from->sizes[2], from->sizes[3]};
  if (keep->toBool()) {
    add_step(std::move(step), node, {node->inputs()[0]});
    return true;
  }
  step.inputs = {number_of(node->inputs()[0])};
  step.output = plan_.values.size();
  plan_.values.push_back({from->dtype, {from->sizes[0], from->sizes[1], 1, 1}});
  fused_step flat;
  flat.inputs = {step.output};
  flat.output = plan_.values.size();
  plan_.values.push_back(*shape_of(node->output()));
  numbers_[node->output()] = flat.output;
  plan_.steps.push_back(std::move(step));
  plan_.steps.push_back(std::move(flat));
  return true;
}

/// Only of what the plan makes: of what it is given a view costs nothing where it is.
bool plan_writer::reshape(jit::Node* node) {
  if (!knows(node->inputs()[0]) || shape_of(node->output())->sizes.empty()) return false;
  add_step({}, node, {node->inputs()[0]});
  return true;
}

bool plan_writer::nothing(jit::Node* node) {
  if (!is_false(node, "train") || !knows(node->inputs()[0])) return false;
  numbers_[node->output()] = number_of(node->inputs()[0]);
  return true;
}

// -- values ------------------------------------------------------------------------------------------------

const fused_value* plan_writer::shape_of(const jit::Value* value) const {
  const auto found = shapes_.find(value);
  return found == shapes_.end() ? nullptr : &found->second;
}

bool plan_writer::is_supported(const jit::Value* value, std::size_t dimensions) const {
  const auto* shape = shape_of(value);
  return shape && shape->sizes.size() == dimensions;
}

/// A plan writes each result to a place of its own. That is the same only where nobody sees the old place later.
bool plan_writer::overwrites_what_others_see(const jit::Node* node) const {
  const auto* written = node->inputs()[0];
  if (written->uses().size() != 1) return true;
  const auto made = numbers_.find(written);
  if (made == numbers_.end()) return true;
  const auto same_value = [&](const auto& known) { return known.second == made->second && known.first != written; };
  if (std::any_of(numbers_.begin(), numbers_.end(), same_value)) return true;
  const auto maker = std::find_if(plan_.steps.begin(), plan_.steps.end(),
                                  [&](const fused_step& step) { return step.output == made->second; });
  return maker == plan_.steps.end() || maker->what == operation::reshape;
}

std::shared_ptr<packable_weights> plan_writer::packable(const at::Tensor& tensor) {
  auto& [held, packed] = weights_[tensor.unsafeGetTensorImpl()];
  if (!packed) {
    held = tensor;
    packed = std::make_shared<packable_weights>(tensor.detach());
  }
  return packed;
}

std::size_t plan_writer::number_of(jit::Value* value) {
  if (const auto found = numbers_.find(value); found != numbers_.end()) return found->second;
  const auto number = plan_.values.size();
  plan_.values.push_back(*shape_of(value));
  plan_.inputs.push_back(number);
  inputs_.push_back(value);
  return numbers_[value] = number;
}

void plan_writer::add_step(fused_step step, jit::Node* node, std::vector<jit::Value*> inputs) {
  for (auto* input : inputs) step.inputs.push_back(number_of(input));
  step.output = plan_.values.size();
  plan_.values.push_back(*shape_of(node->output()));
  numbers_[node->output()] = step.output;
  plan_.steps.push_back(std::move(step));
}

}  // namespace ganglion
