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
  /// Over the floats of the example and of what was given for calibration: the norm of the difference over the norm of
  /// the module's answers, the mean absolute difference, and the share of rows whose largest element is the same.
  double relative_l2 = 0;
  double mean = 0;
  std::optional<double> top1_agreement;  ///< for answers of two dimensions, [rows, classes]
};

/// Inputs of several scales with the module's answers to them.
class references {
 public:
  /// `given`: the example's leaves and further ones, before those that are made: the example's range once more with its
  /// rows in other places and larger, and at a tenth. Values that the module refuses are left out. `stop` ends this and
  /// the comparing, see `interrupted`.
  references(const torch::jit::Module& source, const signature& sig, std::vector<std::vector<c10::IValue>> given,
             std::stop_token stop);

  bool empty() const { return all_.empty(); }
  /// Leaves that the module takes. Precondition: not empty.
  const std::vector<c10::IValue>& leaves() const { return all_.front().leaves; }

  /// Runs every input on one executor, and again once it has settled, and compares every answer. Returns why the
  /// program is not right, or nothing. `max_relative_l2` is the bound for bf16; fp32 is bound by rounding.
  std::string why_not(execution& run, auto_cast cast, double max_relative_l2, difference_report& report) const;

 private:
  struct one {
    std::vector<c10::IValue> leaves;
    c10::IValue answer;
    bool is_given = false;
  };
  std::vector<one> all_;
  std::stop_token stop_;
};

}  // namespace ganglion
