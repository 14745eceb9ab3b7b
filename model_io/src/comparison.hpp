#pragma once

#include "execution.hpp"

#include <ganglion/model_io/model.hpp>

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace ganglion {

/// How a program's answers differ from the module's.
struct difference_report {
  /// The largest absolute difference of any answer.
  double largest = 0;
  /// Over the floats of the example and of what was given for calibration, or where nothing was given of all rows: the
  /// norm of the difference over the norm of the module's answers, the mean absolute difference, and the share of rows
  /// whose largest element is the same.
  double relative_l2 = 0;
  double mean = 0;
  std::optional<double> top1_agreement;     ///< for answers of two dimensions, [rows, classes]
  std::optional<double> integer_agreement;  ///< for answers that are integers: the share of the same rows that is equal
};

/// Inputs of several scales with the module's answers to them.
class references {
 public:
  /// `given`: the example's leaves and further ones, before those that are made: the example's range once more with its
  /// rows in other places and larger, and at a tenth. Where the module refuses some of the made ones, they are left
  /// out, and there are the example's own rows in other places and others within its range. `stop` ends this and the
  /// comparing, see `interrupted`.
  references(const torch::jit::Module& source, const signature& sig, std::vector<std::vector<c10::IValue>> given,
             std::stop_token stop);

  bool empty() const { return all_.empty(); }
  /// Whether the module refused some of the inputs that were made.
  bool refused_some() const { return refused_some_; }
  /// Leaves that the module takes. Precondition: not empty.
  const std::vector<c10::IValue>& leaves() const { return all_.front().leaves; }

  /// Runs every input on one executor, and again once it has settled, and compares every answer. Returns why the
  /// program is not right, or nothing. `max_relative_l2` is the bound for bf16, and for the share of given integers
  /// that differ where a bf16 program answers with integers alone (half of them where nothing was given); fp32 is bound
  /// by rounding.
  std::string why_not(execution& run, auto_cast cast, double max_relative_l2, difference_report& report) const;

 private:
  struct one {
    std::vector<c10::IValue> leaves;
    c10::IValue answer;
    bool is_given = false;
  };
  /// Whether the module takes them: then they are there.
  bool add(const torch::jit::Module& source, const signature& sig, std::vector<c10::IValue> leaves, bool is_given);

  std::vector<one> all_;
  bool any_given_ = false, refused_some_ = false;
  std::stop_token stop_;
};

}  // namespace ganglion
