#include "probe.hpp"

#include "execution.hpp"
#include "interruption.hpp"
#include "rows.hpp"

#include <ganglion/model_io/replica.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

namespace ganglion {

namespace {

constexpr std::uint64_t base_seed = 1;
constexpr std::uint64_t neighbour_seed = 2;
constexpr std::int64_t most_rows_tried = 8;
constexpr std::uint64_t most_draws = 16;

/// Why the sizes alone forbid it; empty where inputs and outputs agree on one size at dim 0.
std::string sizes_disagree(const signature& sig) {
  const tensor_spec* first = nullptr;
  for (const auto& input : sig.inputs) {
    if (input.shape.empty()) continue;
    if (!first) first = &input;
    if (input.shape[0] != first->shape[0])
      return fmt::format("the inputs {} and {} have the sizes {} and {} at dim 0", first->name, input.name,
                         first->shape[0], input.shape[0]);
  }
  if (!first) return "no input has a dimension";
  for (const auto& output : sig.outputs) {
    if (output.shape.empty()) return fmt::format("the {} has no dimension", output.name);
    if (output.shape[0] != first->shape[0])
      return fmt::format("the {} has the size {} at dim 0, but the inputs have {}", output.name,
                         output.shape[0], first->shape[0]);
  }
  return {};
}

std::int64_t batch_of(const signature& sig) {
  for (const auto& input : sig.inputs)
    if (!input.shape.empty()) return input.shape[0];
  return 0;
}

/// The first, the last and some between them.
std::set<std::int64_t> rows_to_try(std::int64_t batch) {
  std::set<std::int64_t> rows;
  const auto n = std::min(batch, most_rows_tried);
  for (std::int64_t i = 0; i < n; ++i) rows.insert(n == 1 ? 0 : i * (batch - 1) / (n - 1));
  return rows;
}

// --- rows that can be told apart -------------------------------------------------------------------------

std::vector<c10::IValue> with_rows_moved(const std::vector<c10::IValue>& leaves) {
  return with_rows_changed(leaves, [](std::size_t, const at::Tensor& t) { return t.roll(1, 0); });
}

bool differ(const std::vector<c10::IValue>& a, const std::vector<c10::IValue>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i].isTensor() && !a[i].toTensor().equal(b[i].toTensor())) return true;
  return false;
}

bool rows_differ(const std::vector<c10::IValue>& leaves) { return differ(leaves, with_rows_moved(leaves)); }

/// What `make(draw)` makes first that is `good`, else the last: a few small integers are often equal by chance.
template <class Make, class Good>
std::vector<c10::IValue> drawn(Make make, Good good) {
  for (std::uint64_t draw = 0;; ++draw)
    if (auto leaves = make(draw); good(leaves) || draw + 1 == most_draws) return leaves;
}

/// Rows of which at least two differ, wherever the example's range leaves room for that.
std::vector<c10::IValue> distinct_rows(const signature& sig) {
  return drawn([&](std::uint64_t draw) { return made_leaves(sig, base_seed + draw); }, rows_differ);
}

/// Why nothing can be learned of rows that are all equal.
std::string rows_are_equal(const signature& sig) {
  std::vector<std::string> values;
  for (std::size_t i = 0; i < sig.inputs.size(); ++i) {
    if (sig.inputs[i].shape.empty()) continue;
    const auto& [low, high, mean, deviation] = sig.ranges[i];
    const auto range = low == high ? fmt::format("only {:g}", low) : fmt::format("{:g} to {:g}", low, high);
    values.push_back(fmt::format("{} in {}", range, sig.inputs[i].name));
  }
  return fmt::format("its rows cannot be told apart, since its example has {}: trace it with distinct values",
                     fmt::join(values, " and "));
}

/// The lowest or the highest value of an example's tensor; of floats, one that is far from all that it has.
at::Scalar extreme(const tensor_spec& spec, const value_range& range, bool high) {
  if (spec.dtype == at::kBool) return high;
  if (c10::isIntegralType(spec.dtype, false)) return static_cast<std::int64_t>(high ? range.high : range.low);
  const auto far = 100 * (range.deviation > 0 ? range.deviation : 1.0);
  return range.mean + (high ? far : -far);
}

/// The leaves with rows of one extreme value each: one for those at even places, one for those at odd places.
std::vector<c10::IValue> with_extreme_rows(std::vector<c10::IValue> leaves, const signature& sig, bool even_high,
                                           bool odd_high) {
  std::size_t tensors = 0;
  for (auto& leaf : leaves) {
    if (!leaf.isTensor()) continue;
    const auto& spec = sig.inputs[tensors];
    const auto& range = sig.ranges[tensors++];
    if (spec.shape.empty()) continue;
    auto rows = at::full(spec.shape, extreme(spec, range, even_high), spec.dtype);
    rows.slice(0, 1, c10::nullopt, 2).fill_(extreme(spec, range, odd_high));
    leaf = std::move(rows);
  }
  return leaves;
}

class probe {
 public:
  probe(const torch::jit::Module& source, const signature& sig, std::vector<c10::IValue> base,
        const std::stop_token& stop)
      : source_(source),
        sig_(sig),
        stop_(stop),
        batch_(batch_of(sig)),
        base_(std::move(base)),
        expected_(outputs(base_)) {
    for (const auto& output : expected_) magnitudes_.push_back(compare(output, output)->magnitude);
  }

  std::string run() const {
    if (auto reason = sizes_changed(expected_); !reason.empty()) return reason;
    for (auto row : rows_to_try(batch_))
      if (auto reason = neighbours_matter(row); !reason.empty()) return reason;
    if (auto reason = position_matters(); !reason.empty()) return reason;
    return far_neighbours_matter();
  }

 private:
  std::vector<at::Tensor> outputs(const std::vector<c10::IValue>& leaves) const {
    go_on(stop_);
    std::vector<at::Tensor> tensors;
    for (auto& leaf : leaves_of(run_source(source_, sig_, leaves)))
      if (leaf.value.isTensor()) tensors.push_back(leaf.value.toTensor());
    return tensors;
  }

  std::string sizes_changed(const std::vector<at::Tensor>& given) const {
    if (given.size() != sig_.outputs.size())
      return fmt::format(
          "the number of its outputs depends on the values: {} for the example, {} for other rows",
          sig_.outputs.size(), given.size());
    for (std::size_t i = 0; i < given.size(); ++i)
      if (given[i].sizes() != at::IntArrayRef{sig_.outputs[i].shape})
        return fmt::format(
            "the size of the {} depends on the values: {} for the example, {} for other rows",
            sig_.outputs[i].name, to_string(sig_.outputs[i]),
            to_string(given[i].scalar_type(), given[i].sizes()));
    return {};
  }

  /// Runs one row among neighbours of other values.
  std::string neighbours_matter(std::int64_t row) const {
    const auto among_others = [&](std::uint64_t draw) {
      const auto others = made_leaves(sig_, neighbour_seed + static_cast<std::uint64_t>(row) + most_rows_tried * draw);
      return with_rows_changed(base_, [&](std::size_t i, const at::Tensor& tensor) {
        auto changed = others[i].toTensor();
        changed.select(0, row).copy_(tensor.select(0, row));
        return changed;
      });
    };
    const auto given = outputs(drawn(among_others, [&](const auto& leaves) { return differ(base_, leaves); }));
    if (auto reason = sizes_changed(given); !reason.empty()) return reason;
    for (std::size_t i = 0; i < given.size(); ++i)
      if (auto change = changed(expected_[i].select(0, row), given[i].select(0, row), magnitudes_[i]))
        return depends_on_neighbours(i, row, *change);
    return {};
  }

  std::string depends_on_neighbours(std::size_t output, std::int64_t row, double change) const {
    return fmt::format(
        "the {} depends on its neighbours' rows (row {} of {} changed by {:.2g} when other rows "
        "were replaced)",
        sig_.outputs[output].name, row, batch_, change);
  }

  /// Runs rows of extreme values among their like, and then low and high ones in turn: what depends on the largest of
  /// the batch, on whether any is set, or on how many are equal, is often the same for all rows that are drawn.
  std::string far_neighbours_matter() const {
    const auto answers = [this](bool even_high, bool odd_high) {
      return outputs(with_extreme_rows(base_, sig_, even_high, odd_high));
    };
    std::vector<at::Tensor> low, high, mixed;
    try {
      low = answers(false, false);
      high = answers(true, true);
      mixed = answers(false, true);
    } catch (const std::exception&) {
      return {};  // no values for this model, such as indices in floats: nothing is learned from them
    }
    for (const auto* given : {&low, &high, &mixed})
      if (auto reason = sizes_changed(*given); !reason.empty()) return reason;
    for (std::size_t i = 0; i < mixed.size(); ++i) {
      const auto magnitude = std::max(compare(low[i], low[i])->magnitude, compare(high[i], high[i])->magnitude);
      for (std::int64_t row = 0; row < batch_; ++row) {
        const auto& alike = row % 2 == 0 ? low[i] : high[i];
        if (auto change = changed(alike.select(0, row), mixed[i].select(0, row), magnitude))
          return depends_on_neighbours(i, row, *change);
      }
    }
    return {};
  }

  /// Moves every row on by one place: all that a row may notice is where it stands.
  std::string position_matters() const {
    const auto given = outputs(with_rows_moved(base_));
    if (auto reason = sizes_changed(given); !reason.empty()) return reason;
    for (std::size_t i = 0; i < given.size(); ++i)
      if (auto change = changed(expected_[i].roll(1, 0), given[i], magnitudes_[i]))
        return fmt::format(
            "the {} depends on the place of a row in the batch (it changed by {:.2g} when the rows "
            "were moved by one)",
            sig_.outputs[i].name, *change);
    return {};
  }

  /// By how much, where it is more than rounding; judged by the magnitude of the whole output.
  static std::optional<double> changed(const at::Tensor& reference, const at::Tensor& given, double magnitude) {
    const auto difference = compare(reference, given);
    if (difference && difference->largest <= rounding_tolerance(reference.scalar_type(), magnitude)) return {};
    return difference ? difference->largest : 0;
  }

  const torch::jit::Module& source_;
  const signature& sig_;
  const std::stop_token& stop_;
  std::int64_t batch_;
  std::vector<c10::IValue> base_;
  std::vector<at::Tensor> expected_;
  std::vector<double> magnitudes_;
};

}  // namespace

std::string probe_rows(const torch::jit::Module& source, const signature& sig, const std::stop_token& stop) {
  if (auto reason = sizes_disagree(sig); !reason.empty()) return reason;
  if (batch_of(sig) == 1) return {};
  try {
    auto base = distinct_rows(sig);
    return rows_differ(base) ? probe{source, sig, std::move(base), stop}.run() : rows_are_equal(sig);
  } catch (const std::exception& e) {
    return fmt::format("the model failed on rows that were made to probe it: {}", brief_message(e));
  }
}

}  // namespace ganglion
