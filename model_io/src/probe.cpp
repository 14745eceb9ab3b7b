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
#include <limits>
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

double magnitude_of(const at::Tensor& tensor) { return compare(tensor, tensor)->magnitude; }

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
    for (const auto& output : expected_) magnitudes_.push_back(magnitude_of(output));
  }

  std::string run() const {
    if (auto reason = sizes_changed(expected_); !reason.empty()) return reason;
    for (auto row : rows_to_try(batch_))
      if (auto reason = neighbours_matter(row); !reason.empty()) return reason;
    for (auto look : {&probe::position_matters, &probe::far_neighbours_matter, &probe::nan_neighbour_matters,
                      &probe::size_matters})
      if (auto reason = (this->*look)(); !reason.empty()) return reason;
    return {};
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

  /// What the model makes of rows that may be none for it: nothing where it fails on them, and nothing is learned.
  std::optional<std::vector<at::Tensor>> answers(const std::vector<c10::IValue>& leaves) const {
    try {
      return outputs(leaves);
    } catch (const std::exception&) {
      return {};
    }
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
    return row_changed(row, expected_, given, magnitudes_);
  }

  std::string row_changed(std::int64_t row, const std::vector<at::Tensor>& reference,
                          const std::vector<at::Tensor>& given, const std::vector<double>& magnitudes) const {
    for (std::size_t i = 0; i < given.size(); ++i)
      if (auto change = changed(reference[i].select(0, row), given[i].select(0, row), magnitudes[i]))
        return fmt::format(
            "the {} depends on its neighbours' rows (row {} of {} changed by {:.2g} when other rows "
            "were replaced)",
            sig_.outputs[i].name, row, batch_, *change);
    return {};
  }

  /// Runs rows of extreme values among their like, and then low and high ones in turn: what depends on the largest of
  /// the batch, on whether any is set, or on how many are equal, is often the same for all rows that are drawn.
  std::string far_neighbours_matter() const {
    const auto low = answers(with_extreme_rows(base_, sig_, false, false));
    const auto high = answers(with_extreme_rows(base_, sig_, true, true));
    const auto mixed = answers(with_extreme_rows(base_, sig_, false, true));
    if (!low || !high || !mixed) return {};
    for (const auto* given : {&*low, &*high, &*mixed})
      if (auto reason = sizes_changed(*given); !reason.empty()) return reason;
    std::vector<double> magnitudes;
    for (std::size_t i = 0; i < mixed->size(); ++i)
      magnitudes.push_back(std::max(magnitude_of((*low)[i]), magnitude_of((*high)[i])));
    for (std::int64_t row = 0; row < batch_; ++row)
      if (auto reason = row_changed(row, row % 2 == 0 ? *low : *high, *mixed, magnitudes); !reason.empty())
        return reason;
    return {};
  }

  /// Runs all rows with NaN in the place of the last.
  std::string nan_neighbour_matters() const {
    const auto given = answers(with_rows_changed(base_, [](std::size_t, const at::Tensor& tensor) {
      if (!tensor.is_floating_point()) return tensor;
      auto changed = tensor.clone();
      changed.select(0, -1).fill_(std::numeric_limits<double>::quiet_NaN());
      return changed;
    }));
    if (!given || !sizes_changed(*given).empty()) return {};
    for (std::int64_t row = 0; row + 1 < batch_; ++row)
      if (auto reason = row_changed(row, expected_, *given, magnitudes_); !reason.empty()) return reason;
    return {};
  }

  /// Runs all rows but the last, where the model takes so many.
  std::string size_matters() const {
    const auto fewer = batch_ - 1;
    const auto given = answers(with_rows_changed(
        base_, [&](std::size_t, const at::Tensor& tensor) { return tensor.narrow(0, 0, fewer).clone(); }));
    if (!given || given->size() != expected_.size()) return {};
    for (std::size_t i = 0; i < given->size(); ++i) {
      const auto reference = expected_[i].narrow(0, 0, fewer);
      if ((*given)[i].sizes() != reference.sizes()) return {};  // traced for its own size alone
      if (auto change = changed(reference, (*given)[i], magnitudes_[i]))
        return fmt::format("the {} depends on how many rows run together (it changed by {:.2g} when {} of {} rows ran)",
                           sig_.outputs[i].name, *change, fewer, batch_);
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
