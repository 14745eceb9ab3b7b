#include "comparison.hpp"

#include "interruption.hpp"
#include "rows.hpp"

#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace ganglion {

namespace {

/// Sums over the answers that a report speaks of.
class totals {
 public:
  void add(const at::Tensor& wanted, const at::Tensor& given) {
    if (!wanted.is_floating_point() || wanted.numel() == 0) return;
    const auto a = wanted.to(at::kDouble), difference = (given.to(at::kDouble) - a).abs();
    difference_squares_ += difference.square().sum().item<double>();
    squares_ += a.square().sum().item<double>();
    difference_sum_ += difference.sum().item<double>();
    elements_ += wanted.numel();
    if (wanted.dim() != 2 || wanted.size(1) < 2) return;
    rows_ += wanted.size(0);
    agreeing_ += wanted.argmax(1).eq(given.argmax(1)).sum().item<std::int64_t>();
  }

  void write(difference_report& report) const {
    if (elements_ == 0) return;
    report.relative_l2 = difference_squares_ == 0 ? 0 : std::sqrt(difference_squares_ / squares_);
    report.mean = difference_sum_ / static_cast<double>(elements_);
    if (rows_ > 0) report.top1_agreement = static_cast<double>(agreeing_) / static_cast<double>(rows_);
  }

 private:
  double difference_squares_ = 0, squares_ = 0, difference_sum_ = 0;
  std::int64_t elements_ = 0, rows_ = 0, agreeing_ = 0;
};

/// Compares two answers leaf by leaf.
class comparer {
 public:
  comparer(auto_cast cast, double max_relative_l2, difference_report& report)
      : cast_(cast), max_relative_l2_(max_relative_l2), report_(report) {}

  std::string compare_answers(const c10::IValue& wanted, const c10::IValue& given, totals* sums) {
    if (auto same = same_structure(wanted, given, "output"); !same) return same.error().text;
    const auto a = leaves_of(wanted), b = leaves_of(given);
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (a[i].value.isTensor()) {
        if (auto reason = too_far(a[i].value.toTensor(), b[i].value.toTensor()); !reason.empty()) return reason;
        if (sums) sums->add(a[i].value.toTensor(), b[i].value.toTensor());
      } else if (!equal_leaves(a[i].value, b[i].value)) {
        return fmt::format("an output is {} instead of {}", leaf_text(b[i].value), leaf_text(a[i].value));
      }
    }
    return {};
  }

 private:
  std::string too_far(const at::Tensor& wanted, const at::Tensor& given) {
    const auto difference = compare(wanted, given);
    if (!difference)
      return fmt::format("an output is {} instead of {}", to_string(given.scalar_type(), given.sizes()),
                         to_string(wanted.scalar_type(), wanted.sizes()));
    // In bf16 integers follow from rounded values (an argmax may flip), so the floats alone are judged.
    if (cast_ == auto_cast::bf16 && !wanted.is_floating_point()) return {};
    report_.largest = std::max(report_.largest, difference->largest);
    if (cast_ == auto_cast::bf16) {
      if (difference->relative <= max_relative_l2_) return {};
      return fmt::format("relative deviation {:.2g}, but at most {:.2g} is allowed (the largest difference is {:.2g}, "
                         "the largest value {:.2g})",
                         difference->relative, max_relative_l2_, difference->largest, difference->magnitude);
    }
    const auto allowed = rounding_tolerance(wanted.scalar_type(), difference->magnitude);
    if (difference->largest <= allowed) return {};
    return fmt::format("deviation {:.2g}, but at most {:.2g} is allowed", difference->largest, allowed);
  }

  auto_cast cast_;
  double max_relative_l2_;
  difference_report& report_;
};

}  // namespace

references::references(const torch::jit::Module& source, const signature& sig,
                       std::vector<std::vector<c10::IValue>> given, std::stop_token stop)
    : stop_(std::move(stop)) {
  const auto count = given.size();
  auto inputs = std::move(given);
  inputs.push_back(made_leaves(sig, 11));
  // The same rows once more, in other places and larger.
  inputs.push_back(with_rows_changed(made_leaves(sig, 11, 4),
                                     [](std::size_t, const at::Tensor& t) { return at::roll(t, 1, 0); }));
  inputs.push_back(made_leaves(sig, 12, 0.1));
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    go_on(stop_);
    try {
      auto answer = run_source(source, sig, inputs[i]);
      all_.push_back({std::move(inputs[i]), std::move(answer), i < count});
    } catch (const std::exception&) {
      // Made values may be ones that the model refuses; the others remain.
    }
  }
}

std::string references::why_not(execution& run, auto_cast cast, double max_relative_l2,
                                difference_report& report) const {
  // The executor changes a graph after its first runs: all inputs must be right while it does, and once it has settled.
  const int rounds = all_.size() >= 3 ? 2 : 3;
  comparer all{cast, max_relative_l2, report};
  totals sums;
  for (int round = 0; round < rounds; ++round)
    for (const auto& [leaves, answer, is_given] : all_) {
      go_on(stop_);
      const bool counts = is_given && round + 1 == rounds;
      if (auto reason = all.compare_answers(answer, run.run(leaves), counts ? &sums : nullptr); !reason.empty())
        return reason;
    }
  sums.write(report);
  return {};
}

}  // namespace ganglion
