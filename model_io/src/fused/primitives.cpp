#include "primitives.hpp"

#include <fmt/format.h>

#include <numeric>
#include <stdexcept>
#include <string_view>

namespace ganglion {

namespace {

using dnnl::algorithm;
using dnnl::memory;
using operation = fused_step::operation;
using sizes_2d = fused_step::sizes_2d;

constexpr auto inference = dnnl::prop_kind::forward_inference;

algorithm algorithm_of(elementwise function) {
  switch (function) {
    case elementwise::relu: return algorithm::eltwise_relu;
    case elementwise::clip: return algorithm::eltwise_clip;
    case elementwise::sigmoid: return algorithm::eltwise_logistic;
    case elementwise::tanh: return algorithm::eltwise_tanh;
    case elementwise::gelu_erf: return algorithm::eltwise_gelu_erf;
    case elementwise::gelu_tanh: return algorithm::eltwise_gelu_tanh;
    case elementwise::hardswish: return algorithm::eltwise_hardswish;
    case elementwise::swish: return algorithm::eltwise_swish;
  }
  throw std::logic_error{"no such function"};
}

memory::desc any_layout(const fused_value& value) {
  return {value.sizes, onednn_type(value.dtype), memory::format_tag::any};
}

dnnl::primitive_attr attributes_of(const fused_step& step) {
  dnnl::post_ops ops;
  if (step.sum_with) ops.append_sum(1.0F);
  for (const auto& [function, alpha, beta] : step.after)
    ops.append_eltwise(1.0F, algorithm_of(function), alpha, beta);
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(ops);
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

template <class Description>
bool is_reference(const Description& description) {
  return std::string_view(description.impl_info_str()).starts_with("ref");
}

template <class Description>
made_primitive made(std::string_view what, const Description& description) {
  if (is_reference(description))
    throw std::runtime_error{fmt::format("oneDNN has only its slow reference for {}", what)};
  made_primitive result;
  result.scratchpad = description.scratchpad_desc();
  return result;
}

/// The padding behind the last element: what the output's size leaves.
memory::dims padding_behind(const fused_value& from, const fused_value& to, const fused_step& step) {
  memory::dims padding;
  for (std::size_t d = 0; d < 2; ++d) {
    const auto window = (step.kernel[d] - 1) * step.dilation[d] + 1;
    padding.push_back((to.sizes[2 + d] - 1) * step.stride[d] + window - from.sizes[2 + d] - step.padding[d]);
  }
  return padding;
}

memory::dims dims(const sizes_2d& sizes) { return {sizes.begin(), sizes.end()}; }

memory::desc bias_layout(std::int64_t size) {
  return {{size}, memory::data_type::f32, memory::format_tag::a};
}

template <class Description>
void add_constants(made_primitive& result, const Description& description, const fused_step& step) {
  result.constants.emplace(DNNL_ARG_WEIGHTS, step.weights->in_layout(description.weights_desc()));
  if (step.bias) result.constants.emplace(DNNL_ARG_BIAS, step.bias->in_layout(description.bias_desc()));
}

/// Empty where oneDNN does not have the method for it. `sum` is the layout of what is added, or null.
dnnl::convolution_forward::primitive_desc described(const fused_plan& plan, const fused_step& step, algorithm method,
                                                    const memory::desc* sum) {
  const auto& from = plan.values[step.inputs[0]];
  const auto& to = plan.values[step.output];
  const auto in = from.sizes[1] / step.groups, out = to.sizes[1] / step.groups;
  memory::dims sizes{out, in, step.kernel[0], step.kernel[1]};
  if (step.groups > 1) sizes.insert(sizes.begin(), step.groups);
  const memory::desc weights{sizes, onednn_type(from.dtype), memory::format_tag::any};
  const auto bias = step.bias ? bias_layout(to.sizes[1]) : memory::desc{};
  memory::dims dilation{step.dilation[0] - 1, step.dilation[1] - 1};
  const dnnl::convolution_forward::desc wanted{inference,
                                               method,
                                               any_layout(from),
                                               weights,
                                               bias,
                                               sum ? *sum : any_layout(to),
                                               dims(step.stride),
                                               dilation,
                                               dims(step.padding),
                                               padding_behind(from, to, step)};
  constexpr bool may_be_empty = true;
  return {wanted, attributes_of(step), onednn_cpu(), may_be_empty};
}

/// Whether Winograd's method is for it.
bool is_for_winograd(const fused_plan& plan, const fused_step& step) {
  const sizes_2d one{1, 1}, three{3, 3};
  return step.what == operation::convolution && step.kernel == three && step.stride == one && step.dilation == one &&
         step.groups == 1 && plan.values[step.inputs[0]].dtype == at::kFloat;
}

made_primitive convolution(const fused_plan& plan, const fused_step& step, const memory::desc* sum) {
  dnnl::convolution_forward::primitive_desc description;
  if (plan.winograd && is_for_winograd(plan, step))
    description = described(plan, step, algorithm::convolution_winograd, sum);
  if (!description) description = described(plan, step, algorithm::convolution_direct, sum);
  auto result = made("a convolution of these sizes", description);
  result.primitive = dnnl::convolution_forward{description};
  result.inputs = {description.src_desc()};
  result.output = description.dst_desc();
  add_constants(result, description, step);
  return result;
}

/// The rows of all leading dimensions together.
memory::desc as_rows(const fused_value& value) {
  const auto columns = value.sizes.back();
  const auto elements = std::accumulate(value.sizes.begin(), value.sizes.end(), std::int64_t{1}, std::multiplies<>());
  return plain_layout({elements / columns, columns}, onednn_type(value.dtype));
}

/// In and out are plain: oneDNN's products of matrices take that as it is.
made_primitive linear(const fused_plan& plan, const fused_step& step) {
  const auto& from = plan.values[step.inputs[0]];
  const auto& to = plan.values[step.output];
  const memory::desc weights{{to.sizes.back(), from.sizes.back()}, onednn_type(from.dtype), memory::format_tag::any};
  const auto bias = step.bias ? bias_layout(to.sizes.back()) : memory::desc{};
  const dnnl::inner_product_forward::desc wanted{inference, as_rows(from), weights, bias, as_rows(to)};
  const dnnl::inner_product_forward::primitive_desc description{wanted, attributes_of(step), onednn_cpu()};
  auto result = made("a linear layer of these sizes", description);
  result.primitive = dnnl::inner_product_forward{description};
  result.inputs = {{plain_layout(from), as_rows(from)}};
  result.output = {plain_layout(to), as_rows(to)};
  add_constants(result, description, step);
  return result;
}

made_primitive pool(const fused_plan& plan, const fused_step& step, const std::vector<memory::desc>& inputs) {
  const auto& from = plan.values[step.inputs[0]];
  const auto& to = plan.values[step.output];
  const auto kind = step.what == operation::max_pool ? algorithm::pooling_max
                    : step.counts_padding            ? algorithm::pooling_avg_include_padding
                                                     : algorithm::pooling_avg_exclude_padding;
  const dnnl::pooling_forward::desc wanted{inference,
                                           kind,
                                           inputs[0],
                                           any_layout(to),
                                           dims(step.stride),
                                           dims(step.kernel),
                                           dims(step.padding),
                                           padding_behind(from, to, step)};
  const dnnl::pooling_forward::primitive_desc description{wanted, attributes_of(step), onednn_cpu()};
  auto result = made("a pool of these sizes", description);
  result.primitive = dnnl::pooling_forward{description};
  result.inputs = {description.src_desc()};
  result.output = description.dst_desc();
  return result;
}

made_primitive binary(const fused_step& step, const std::vector<memory::desc>& inputs) {
  const auto kind = step.what == operation::add ? algorithm::binary_add : algorithm::binary_mul;
  auto with_second_as = [&](const memory::desc& second) {
    const dnnl::binary::desc wanted{kind, inputs[0], second, inputs[0]};
    return dnnl::binary::primitive_desc{wanted, attributes_of(step), onednn_cpu()};
  };
  auto description = with_second_as(inputs[1]);
  // Operands of two layouts are not for every CPU.
  if (is_reference(description) && inputs[0].dims() == inputs[1].dims()) description = with_second_as(inputs[0]);
  auto result = made("an addition or product of these sizes", description);
  result.primitive = dnnl::binary{description};
  result.inputs = {description.src0_desc(), description.src1_desc()};
  result.output = description.dst_desc();
  return result;
}

made_primitive each_element(const fused_step& step, const std::vector<memory::desc>& inputs) {
  const auto& [function, alpha, beta] = step.after.front();
  const dnnl::eltwise_forward::desc wanted{inference, algorithm_of(function), inputs[0], alpha, beta};
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::eltwise_forward::primitive_desc description{wanted, attributes, onednn_cpu()};
  auto result = made("a function of each element", description);
  result.primitive = dnnl::eltwise_forward{description};
  result.inputs = {description.src_desc()};
  result.output = description.dst_desc();
  return result;
}

}  // namespace

bool can_use_winograd(const fused_plan& plan, const fused_step& step) {
  if (!is_for_winograd(plan, step)) return false;
  return static_cast<bool>(described(plan, step, algorithm::convolution_winograd, nullptr));
}

memory::desc plain_layout(const fused_value& value) { return plain_layout(value.sizes, onednn_type(value.dtype)); }

made_primitive make_primitive(const fused_plan& plan, const fused_step& step, const std::vector<memory::desc>& inputs,
                              const memory::desc* sum) {
  switch (step.what) {
    case operation::convolution: return convolution(plan, step, sum);
    case operation::linear: return linear(plan, step);
    case operation::max_pool:
    case operation::mean_pool: return pool(plan, step, inputs);
    case operation::add:
    case operation::multiply: return binary(step, inputs);
    case operation::each_element: return each_element(step, inputs);
    case operation::reshape: break;
  }
  throw std::logic_error{"a reshape has no primitive"};
}

}  // namespace ganglion
