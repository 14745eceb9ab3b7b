#include <ganglion/actors/coordinator/request.hpp>

#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace ganglion {

namespace {

/// What a request's inputs take while it waits, for each of its rows: tensors, the values beside them, which its join
/// key repeats, and the name of its tenant.
std::int64_t bytes_per_row(const std::vector<c10::IValue>& leaves, std::int64_t rows, const std::string& tenant) {
  if (rows == 0) return 0;
  std::int64_t tensors = 0, others = static_cast<std::int64_t>(tenant.size());
  for (const auto& leaf : leaves) {
    if (leaf.isTensor())
      tensors += static_cast<std::int64_t>(leaf.toTensor().nbytes());
    else if (auto bytes = encode_value(leaf))
      others += 2 * static_cast<std::int64_t>(bytes->size());
  }
  return tensors / rows + (others + rows - 1) / rows;
}

/// The values that go to every chunk as they are, as bytes; empty where there are none, and nothing where they cannot
/// be compared, such as those of a dtype that has no place on the wire.
std::optional<std::string> key_of(const std::vector<c10::IValue>& leaves, const std::vector<std::int64_t>& axes) {
  std::vector<c10::IValue> common;
  std::size_t tensor_index = 0;
  for (const auto& leaf : leaves)
    if (!leaf.isTensor() || axes[tensor_index++] < 0) common.push_back(leaf);
  if (common.empty()) return "";
  auto bytes = encode_value(c10::ivalue::Tuple::create(std::move(common)));
  if (!bytes) return std::nullopt;
  return std::string(bytes->begin(), bytes->end());
}

/// The signature of the programs that take the inputs.
const signature& signature_for(const deployment& target, const checked_inputs& inputs) {
  return target.model.signature(target.programs.buckets[inputs.bucket].programs.front());
}

/// Whether all that goes to every chunk is known to be what the model was compiled with.
bool values_of_example(const signature& sig, const scatter_rule& rule, const std::vector<c10::IValue>& leaves) {
  if (std::ranges::any_of(rule.axis, [](std::int64_t axis) { return axis < 0; })) return false;
  std::size_t i = 0;
  for (const auto& argument : sig.example)
    for (const auto& wanted : leaves_of(argument)) {
      const auto& given = leaves[i++];
      if (given.isTensor()) continue;
      const auto bytes = encode_value(given);
      if (!bytes || bytes != encode_value(wanted.value)) return false;
    }
  return true;
}

/// Inputs of no rows with one in their place, of values that the example had.
checked_inputs with_a_row(checked_inputs inputs, const signature& sig, const scatter_rule& rule) {
  std::size_t tensor_index = 0;
  for (auto& leaf : inputs.leaves) {
    if (!leaf.isTensor()) continue;
    const auto& t = leaf.toTensor();
    if (const auto axis = rule.axis[tensor_index]; axis >= 0) {
      auto sizes = t.sizes().vec();
      sizes[static_cast<std::size_t>(axis)] = 1;
      leaf = at::full(sizes, sig.ranges[tensor_index].low, t.scalar_type());
    }
    ++tensor_index;
  }
  inputs.rows = 1;
  return inputs;
}

/// Why rows cannot be written into a tensor, as the end of a sentence.
std::string_view not_writable(const at::Tensor& t) {
  if (!t.defined() || !t.device().is_cpu() || t.layout() != at::kStrided || !t.is_contiguous())
    return "is not a contiguous tensor on the CPU";
  if (t.is_inference()) return "is an inference tensor: make it outside of inference mode";
  if (t.requires_grad()) return "requires gradients, which do not lead through an answer: detach it";
  if (!has_its_values(t)) return "has no memory for its values (its storage was freed or resized)";
  if (t.is_conj() || t.is_neg()) return "is a view of conjugated or negated values: resolve it first";
  return {};
}

/// The addresses between which all elements of a tensor lie.
std::pair<const char*, const char*> extent_of(const at::Tensor& t) {
  const auto* begin = static_cast<const char*>(t.data_ptr());
  if (t.numel() == 0) return {begin, begin};
  std::int64_t last = 0;
  for (std::int64_t i = 0; i < t.dim(); ++i) last += (t.size(i) - 1) * t.stride(i);
  return {begin, begin + (last + 1) * static_cast<std::int64_t>(t.element_size())};
}

bool overlap(const at::Tensor& a, const at::Tensor& b) {
  auto [a_begin, a_end] = extent_of(a);
  auto [b_begin, b_end] = extent_of(b);
  return a_begin < b_end && b_begin < a_end;
}

/// Whether the tensors for the answer have memory of their own.
expected<void> check_memory(const std::vector<c10::IValue>& leaves, const std::vector<at::Tensor>& outputs) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j)
      if (overlap(outputs[i], outputs[j]))
        return failure{errc::invalid_argument,
                       fmt::format("the output tensors {} and {} share memory: give each memory of its own", j, i)};
    for (const auto& leaf : leaves)
      if (leaf.isTensor() && overlap(outputs[i], leaf.toTensor()))
        return failure{
            errc::invalid_argument,
            fmt::format("the output tensor {} shares memory with an input: give it memory of its own", i)};
  }
  return {};
}

}  // namespace

failure past_deadline() {
  return {errc::deadline_exceeded, "the deadline of the request has passed: give it more time, or send it earlier"};
}

failure cancelled_by_caller() { return {errc::cancelled, "the request was cancelled by its caller"}; }

expected<void> check_outputs(const deployment& target, const checked_inputs& inputs,
                             const std::vector<at::Tensor>& outputs) {
  if (outputs.empty()) return {};
  const auto& rule = target.rule();
  const auto specs = rule.is_batch_dim ? answer_specs(target.model, target.programs, inputs) : target.model.outputs();
  if (outputs.size() != specs.size())
    return failure{errc::shape_mismatch,
                   fmt::format("{} output tensor{} given, but the model returns {}", outputs.size(),
                               outputs.size() == 1 ? " was" : "s were", specs.size())};
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const auto& t = outputs[i];
    const auto& spec = specs[i];
    if (auto why = not_writable(t); !why.empty())
      return failure{errc::invalid_argument, fmt::format("the tensor given for {} {}", spec.name, why)};
    auto wanted = spec.shape;
    auto axis = rule.out_axis[i];
    // Along another dimension the size of the answer is known when it is there.
    if (!rule.is_batch_dim && axis >= 0 && t.dim() == static_cast<std::int64_t>(wanted.size()))
      wanted[static_cast<std::size_t>(axis)] = t.size(axis);
    else if (!rule.is_batch_dim && axis < 0 && t.dim() == 1)
      wanted = t.sizes().vec();
    if (t.scalar_type() != spec.dtype || t.sizes() != at::IntArrayRef{wanted})
      return failure{errc::shape_mismatch,
                     fmt::format("the tensor given for {} is {}, but the answer will be {}", spec.name,
                                 to_string(t.scalar_type(), t.sizes()), to_string(spec.dtype, wanted))};
  }
  return check_memory(inputs.leaves, outputs);
}

std::uint64_t request::next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

expected<request_ptr> request::admit(std::uint64_t id, std::shared_ptr<const deployment> target, checked_inputs inputs,
                                     std::shared_ptr<admission> gate, gather::sink&& deliver,
                                     request_options&& options) {
  const auto& rule = target->rule();
  const auto& sig = signature_for(*target, inputs);
  const bool drops_rows = inputs.rows == 0 && rule.is_batch_dim && !values_of_example(sig, rule, inputs.leaves);
  if (drops_rows) inputs = with_a_row(std::move(inputs), sig, rule);
  auto row_bytes = bytes_per_row(inputs.leaves, inputs.rows, options.tenant);
  if (auto refused = gate->enter(inputs.rows, inputs.rows * row_bytes)) return *refused;
  target->counters->accepted(inputs.rows, inputs.rows * row_bytes);
  return std::make_shared<request>(id, std::move(target), std::move(inputs), drops_rows, row_bytes, std::move(gate),
                                   std::move(deliver), std::move(options));
}

request::request(std::uint64_t id, std::shared_ptr<const deployment> target, checked_inputs inputs,
                 bool drops_rows, std::int64_t row_bytes, std::shared_ptr<admission> admitted, gather::sink deliver,
                 request_options options)
    : id_(id),
      target_(std::move(target)),
      inputs_(std::move(inputs)),
      row_bytes_(row_bytes),
      waiting_rows_(inputs_.rows),
      admitted_(std::move(admitted)),
      deliver_(std::move(deliver)),
      options_(std::move(options)),
      drops_rows_(drops_rows) {}

request::~request() {
  leave_queue(waiting_rows_);
  if (!answer_)
    answered(
        {{},
         {errc::draining, "the engine ended before the request was looked at or answered: send it to another engine"},
         {}});
}

void request::plan(bool dynamic_batching, std::optional<std::int64_t> split_size) {
  dynamic_batching_ = dynamic_batching;
  if (!dynamic_batching) inputs_.rows = given_rows();  // of which none are no compiled size, and are refused
  const auto& rule = target_->rule();
  const auto& sizes = target_->programs.buckets[bucket()].sizes;
  auto batch = sizes.back();
  if (!dynamic_batching)  // where none fits, the request is refused when it is queued
    if (auto size = check_compile_batch(rows(), target_->cores.size(), sizes, rule.dim)) batch = *size;
  chunks_.emplace(rows(), batch, dynamic_batching ? split_size : std::nullopt);
  gather_config config;
  config.rows = rows();
  config.sliced = dynamic_batching;
  config.chunks = chunks_->size();
  if (!config.sliced) config.out_axis = rule.out_axis;
  config.trims = inputs_.trims;
  config.drops_rows = drops_rows_;
  config.outputs = options_.outputs;
  config.accepted = accepted_;
  auto key = dynamic_batching && !split_size ? key_of(leaves(), rule.axis) : std::nullopt;
  joinable_ = key.has_value();
  join_key_ = std::move(key).value_or("");
  answer_.emplace(std::move(config), [this](response&& result) { answered(std::move(result)); });
}

void request::refuse(failure f) {
  if (!answer_) plan(true, {});
  answer_->fail(std::move(f));
  leave_queue(waiting_rows_);
  if (rows() > 0)
    answer_->drop_rows(rows());
  else
    answer_->deliver_empty({});
}

void request::answer_empty() {
  std::vector<c10::IValue> leaves;
  std::size_t i = 0;
  const auto& sig = signature_for(*target_, inputs_);
  const auto specs = answer_specs(target_->model, target_->programs, inputs_);
  for (auto& leaf : leaves_of(sig.result)) {
    if (leaf.value.isTensor()) {
      leaves.emplace_back(options_.outputs.empty() ? at::empty(specs[i].shape, specs[i].dtype) : options_.outputs[i]);
      ++i;
    } else {
      leaves.push_back(leaf.value.deepcopy());
    }
  }
  answer_->deliver_empty(with_leaves(sig.result, leaves));
}

slot& request::add_slot(std::int64_t first_row, std::int64_t rows, std::size_t chunk) {
  return slots_.emplace_back(first_row, rows, chunk);
}

void request::leave_queue(std::int64_t rows) {
  if (rows == 0) return;
  waiting_rows_ -= rows;
  admitted_->leave_queue(rows, rows * row_bytes_);
  target_->counters->left_queue(rows, rows * row_bytes_);
}

void request::drop_all() {
  if (auto rows = waiting_rows_; rows > 0) {
    leave_queue(rows);
    answer_->drop_rows(rows);
  }
  for (auto& s : slots_) answer_->drop(s);
}

void request::answered(response&& result) {
  auto deliver = std::move(deliver_);
  auto gate = admitted_;
  target_->counters->answered(result);
  if (const auto& told = gate->observer())
    told({id_, given_rows(), result.code(), accepted_, clock::now(), target_->id,
          result.ok() ? 0 : target_->counters->queued_rows()});
  // The inputs are the caller's again; a lane that still reads them holds references of its own.
  // What it throws would end the core or the actor that is on this thread.
  try {
    if (deliver) deliver(std::move(result));
  } catch (const std::exception& e) {
    gate->complain(fmt::format("the callback of a request threw: {}", e.what()));
  } catch (...) {
    gate->complain("the callback of a request threw something that is no exception type of the standard");
  }
  gate->answered();
}

}  // namespace ganglion
