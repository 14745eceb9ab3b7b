#include "fused_program.hpp"

#include "arena_plan.hpp"
#include "primitives.hpp"

#include <ATen/ops/empty.h>

#include <unordered_map>
#include <utility>

namespace ganglion {

namespace {

using dnnl::memory;

constexpr std::size_t alignment = 64;

/// Memory that values lie in: the arena's, or a tensor of the caller's.
struct buffer {
  enum class owner { arena, input, output };
  owner whose = owner::arena;
  std::size_t index = 0;  ///< among the inputs or the outputs
  arena_buffer needed;
};

/// A view of a buffer.
struct located {
  std::size_t buffer = 0;
  memory::desc layout;
};

/// What runs, with its operands by oneDNN's argument number.
struct call {
  dnnl::primitive primitive;
  std::vector<std::pair<int, located>> operands;
  std::unordered_map<int, memory> constants;
};

/// Turns the steps of a plan into calls.
class compiler {
 public:
  explicit compiler(const fused_plan& plan) : plan_(plan), values_(plan.values.size()) {
    for (std::size_t i = 0; i < plan.inputs.size(); ++i) {
      const auto layout = plain_layout(plan.values[plan.inputs[i]]);
      values_[plan.inputs[i]] = {{new_buffer(layout, buffer::owner::input, i), layout}};
    }
    for (const auto& step : plan.steps) add(step);
    for (std::size_t i = 0; i < plan.outputs.size(); ++i) place_output(plan.outputs[i], i);
  }

  std::vector<call> calls;
  std::vector<buffer> buffers;

 private:
  std::size_t new_buffer(const memory::desc& layout, buffer::owner whose = buffer::owner::arena,
                         std::size_t index = 0) {
    buffers.push_back({whose, index, {layout.get_size(), calls.size(), calls.size()}});
    return buffers.size() - 1;
  }

  void use(std::pair<int, located> operand) {
    buffers[operand.second.buffer].needed.last = calls.size();
    calls_operands_.push_back(std::move(operand));
  }

  void finish_call(dnnl::primitive primitive, std::unordered_map<int, memory> constants = {}) {
    calls.push_back({std::move(primitive), std::move(calls_operands_), std::move(constants)});
    calls_operands_.clear();
  }

  void copy(const located& from, const located& to) {
    use({DNNL_ARG_FROM, from});
    use({DNNL_ARG_TO, to});
    finish_call(dnnl::reorder{{onednn_cpu(), from.layout, onednn_cpu(), to.layout}});
  }

  /// The value in a layout, copied into it once where it is not yet.
  located in_layout(std::size_t value, const memory::desc& layout) {
    for (const auto& version : values_[value])
      if (version.layout == layout) return version;
    const located made{new_buffer(layout), layout};
    copy(values_[value].front(), made);
    values_[value].push_back(made);
    return made;
  }

  void add(const fused_step& step) {
    if (step.what == fused_step::operation::reshape) {
      const auto plain = in_layout(step.inputs[0], plain_layout(plan_.values[step.inputs[0]]));
      values_[step.output] = {{plain.buffer, plain_layout(plan_.values[step.output])}};
      return;
    }
    std::vector<memory::desc> at_hand;
    for (const auto value : step.inputs) at_hand.push_back(values_[value].front().layout);
    const auto* sum = step.sum_with ? &values_[*step.sum_with].front().layout : nullptr;
    auto made = make_primitive(plan_, step, at_hand, sum);

    constexpr int sources[] = {DNNL_ARG_SRC_0, DNNL_ARG_SRC_1};
    std::vector<located> inputs;
    for (std::size_t i = 0; i < step.inputs.size(); ++i)
      inputs.push_back(in_layout(step.inputs[i], made.inputs[i].of_value));
    const auto& layout = made.output.of_value;
    const auto output = step.sum_with ? in_layout(*step.sum_with, layout) : located{new_buffer(layout), layout};
    if (made.scratchpad.get_size() > 0) use({DNNL_ARG_SCRATCHPAD, {new_buffer(made.scratchpad), made.scratchpad}});
    for (std::size_t i = 0; i < inputs.size(); ++i) use({sources[i], {inputs[i].buffer, made.inputs[i].told}});
    use({DNNL_ARG_DST, {output.buffer, made.output.told}});
    finish_call(std::move(made.primitive), std::move(made.constants));
    values_[step.output] = {output};
  }

  void place_output(std::size_t value, std::size_t index) {
    const auto plain = plain_layout(plan_.values[value]);
    for (const auto& version : values_[value]) {
      auto& where = buffers[version.buffer];
      if (version.layout != plain || where.whose != buffer::owner::arena) continue;
      where.whose = buffer::owner::output;
      where.index = index;
      return;
    }
    copy(values_[value].front(), {new_buffer(plain, buffer::owner::output, index), plain});
  }

  const fused_plan& plan_;
  std::vector<std::vector<located>> values_;  // the layouts in which each value is at hand
  std::vector<std::pair<int, located>> calls_operands_;  // of the call in the making
};

}  // namespace

struct fused_program::impl {
  struct ready_call {
    dnnl::primitive primitive;
    std::unordered_map<int, memory> arguments;
  };

  explicit impl(std::shared_ptr<const fused_plan> p)
      : plan(std::move(p)), inputs(plan->inputs.size()), outputs(plan->outputs.size()) {
    compiler compiled{*plan};
    place(compiled.buffers);
    for (auto& c : compiled.calls) {
      auto arguments = std::move(c.constants);
      for (const auto& [number, where] : c.operands)
        arguments.emplace(number, memory_at(compiled.buffers[where.buffer], places[where.buffer], where.layout));
      calls.push_back({std::move(c.primitive), std::move(arguments)});
    }
  }

  void place(const std::vector<buffer>& buffers) {
    std::vector<arena_buffer> own;
    for (const auto& b : buffers)
      own.push_back(b.whose == buffer::owner::arena ? b.needed : arena_buffer{});
    auto planned = plan_arena(own, alignment);
    arena = at::empty({static_cast<std::int64_t>(planned.bytes + alignment)}, at::kByte);
    places = std::move(planned.offsets);
  }

  memory memory_at(const buffer& b, std::size_t offset, const memory::desc& layout) {
    if (b.whose == buffer::owner::arena) {
      auto begin = reinterpret_cast<std::uintptr_t>(arena.data_ptr());
      begin = (begin + alignment - 1) / alignment * alignment;
      return {layout, onednn_cpu(), reinterpret_cast<void*>(begin + offset)};
    }
    memory external{layout, onednn_cpu(), nullptr};
    (b.whose == buffer::owner::input ? inputs : outputs)[b.index].push_back(external);
    return external;
  }

  std::shared_ptr<const fused_plan> plan;
  at::Tensor arena;
  std::vector<std::size_t> places;  // of each buffer in the arena
  std::vector<ready_call> calls;
  std::vector<std::vector<memory>> inputs, outputs;  // what points to each tensor of the caller's
  dnnl::stream stream{onednn_cpu()};
};

fused_program::fused_program(std::shared_ptr<const fused_plan> plan) : impl_(std::make_unique<impl>(std::move(plan))) {}

fused_program::~fused_program() = default;

std::vector<at::Tensor> fused_program::run(const std::vector<at::Tensor>& inputs) {
  const auto& plan = *impl_->plan;
  std::vector<at::Tensor> held, outputs;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    held.push_back(inputs[i].contiguous());
    for (auto& place : impl_->inputs[i]) place.set_data_handle(held.back().data_ptr());
  }
  for (std::size_t i = 0; i < plan.outputs.size(); ++i) {
    const auto& [dtype, sizes] = plan.values[plan.outputs[i]];
    outputs.push_back(at::empty(sizes, dtype));
    for (auto& place : impl_->outputs[i]) place.set_data_handle(outputs.back().data_ptr());
  }
  for (const auto& [primitive, arguments] : impl_->calls) primitive.execute(impl_->stream, arguments);
  impl_->stream.wait();
  return outputs;
}

}  // namespace ganglion
