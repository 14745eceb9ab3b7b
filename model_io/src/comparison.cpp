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
    if (at::isIntegralType(wanted.scalar_type(), /*includeBool=*/true)) {
      integers_ += wanted.numel();
      equal_integers_ += wanted.eq(given).sum().item<std::int64_t>();
    }
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
    if (integers_ > 0) report.integer_agreement = share(equal_integers_, integers_);
    if (elements_ == 0) return;
    report.relative_l2 = difference_squares_ == 0 ? 0 : std::sqrt(difference_squares_ / squares_);
    report.mean = difference_sum_ / static_cast<double>(elements_);
    if (rows_ > 0) report.top1_agreement = share(agreeing_, rows_);
  }

  bool only_integers() const { return integers_ > 0 && elements_ == 0; }

 private:
  static double share(std::int64_t part, std::int64_t whole) {
    return static_cast<double>(part) / static_cast<double>(whole);
  }

  double difference_squares_ = 0, squares_ = 0, difference_sum_ = 0;
  std::int64_t elements_ = 0, rows_ = 0, agreeing_ = 0, integers_ = 0, equal_integers_ = 0;
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
    // In bf16 integers follow from rounded values (an argmax may flip): where there are floats, they are judged, else
    // how many integers differ.
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
    : any_given_(!given.empty()), stop_(std::move(stop)) {
  const auto in_other_places = [](std::vector<c10::IValue> leaves) {
    return with_rows_changed(std::move(leaves), [](std::size_t, const at::Tensor& t) { return at::roll(t, 1, 0); });
  };
  for (auto& leaves : given) add(source, sig, leaves, true);
  bool all_taken = add(source, sig, made_leaves(sig, 11), false);
  all_taken &= add(source, sig, in_other_places(made_leaves(sig, 11, 4)), false);
  all_taken &= add(source, sig, made_leaves(sig, 12, 0.1), false);
  if (all_taken) return;
  refused_some_ = true;
  if (any_given_) add(source, sig, in_other_places(std::move(given.front())), false);
  add(source, sig, within_ranges(made_leaves(sig, 13), sig), false);
}

bool references::add(const torch::jit::Module& source, const signature& sig, std::vector<c10::IValue> leaves,
                     bool is_given) {
  go_on(stop_);
  try {
    auto answer = run_source(source, sig, leaves);
    all_.push_back({std::move(leaves), std::move(answer), is_given});
    return true;
  } catch (const std::exception&) {
    return false;
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
      const bool counts = (is_given || !any_given_) && round + 1 == rounds;
      if (auto reason = all.compare_answers(answer, run.run(leaves), counts ? &sums : nullptr); !reason.empty())
        return reason;
    }
  sums.write(report);
  // Of rows that were made to be random a rounded value decides more often than of true ones.
  const auto most = any_given_ ? max_relative_l2 : 0.5;
  if (cast == auto_cast::bf16 && sums.only_integers() && 1 - *report.integer_agreement > most)
    return fmt::format("{:.3g} of its integers differ, but at most {:.2g} may", 1 - *report.integer_agreement, most);
  return {};
}

}  // namespace ganglion
