#pragma once

#include <ganglion/model_io/error.hpp>
#include <ganglion/model_io/tensor_spec.hpp>

#include <ATen/core/ivalue.h>

#include <optional>
#include <string>
#include <vector>

namespace ganglion {

/// The range of an example tensor, from which plausible rows are made (for integers the values stay inside it).
struct value_range {
  double low = 0;
  double high = 1;
  double mean = 0.5;
  double deviation = 0.25;
};

/// What a model was compiled for: the example's exact structure, dtypes and sizes, and what is known of its rows.
/// Immutable once made. S9, S10 and so on are clauses of docs/semantics.md.
struct signature {
  /// The arguments of forward, one element an argument; tensors are placeholders of the compiled dtype and size.
  std::vector<c10::IValue> example;
  /// The arguments' names, as forward declares them.
  std::vector<std::string> argument_names;
  /// The tensor leaves of `example` in order, and their ranges.
  std::vector<tensor_spec> inputs;
  std::vector<value_range> ranges;
  /// What forward returned for the example: the structure, with tensors as placeholders; its tensor leaves in order.
  c10::IValue result;
  std::vector<tensor_spec> outputs;
  /// Empty where dynamic batching is possible on dim 0; else the reason why not, as the end of a sentence.
  std::string not_eligible;
  /// Whether forward writes to its inputs, which are then copied first.
  bool writes_inputs = false;
  /// More than one: compiled with NeuronCore Pipeline, which is not supported (S16).
  std::int64_t pipeline_cores = 1;

  /// Whether any batch size can be run on the compiled one along dim 0 (S10).
  bool eligible() const { return not_eligible.empty(); }
};

/// `dim` as the index of a dimension of a tensor of `rank` dimensions; negative values count from the end.
/// Nothing where it is out of range.
std::optional<std::int64_t> normalized_dim(std::int64_t dim, std::int64_t rank);

/// How a signature is scattered and gathered along one dimension.
struct scatter_rule {
  std::int64_t dim = 0;               ///< as given
  bool is_batch_dim = false;          ///< dim is 0 for every tensor input and output: dynamic batching may be used
  std::int64_t compiled_size = 0;     ///< the inputs' size along dim that one execution takes
  std::vector<std::int64_t> axis;     ///< per tensor input, dim as an index; -1: 0-dimensional, goes to every chunk
  std::vector<std::int64_t> out_axis; ///< per tensor output, likewise; -1: 0-dimensional, gathered as a vector (S22)
};

/// Checks a dimension against a signature (S9, S21, S22).
/// Errors: `dim_out_of_range` (also where no input has a dimension at all), `shape_mismatch` where the inputs were
/// compiled with different sizes along it.
expected<scatter_rule> make_scatter_rule(const signature& sig, std::int64_t dim);

/// A size of a tensor output that is cut down to `size`, since what is beyond came of padding.
struct trim {
  std::size_t output = 0;
  std::size_t axis = 0;
  std::int64_t size = 0;
};

/// A request's inputs after the check: the leaves in order, and the number of rows along the scatter dimension.
struct checked_inputs {
  std::vector<c10::IValue> leaves;
  std::int64_t rows = 0;
  /// Which of the model's buckets takes them, whether it pads their rows, and what is trimmed from the answer: see
  /// `match_inputs`.
  std::size_t bucket = 0;
  bool padded = false;
  std::vector<trim> trims;
};

/// Checks a request's inputs against the compiled signature: number, structure, dtypes, all sizes but the one along
/// dim, which must be the same for all scattered tensors (S21, S23).
/// Errors: `shape_mismatch`, naming the input, the expected and the given spec.
/// `any_size` says, for each tensor input and dimension, where the size is not looked at either.
expected<checked_inputs> check_inputs(const signature& sig, const scatter_rule& rule,
                                      const std::vector<c10::IValue>& inputs,
                                      const std::vector<std::vector<bool>>* any_size = nullptr);

/// The arguments of forward, rebuilt from leaves in the order of `checked_inputs`.
std::vector<c10::IValue> arguments_from(const signature& sig, const std::vector<c10::IValue>& leaves);

/// A signature as JSON and back. The JSON holds the structures of arguments and result, specs and ranges; `types` are
/// the argument types that forward declares, `result_type` the type that it returns: containers get their element types
/// from them. Reading errors: `model_load_failed`.
std::string to_json(const signature& sig);
expected<signature> signature_from_json(const std::string& text, const std::vector<c10::TypePtr>& types,
                                        const c10::TypePtr& result_type);

}  // namespace ganglion
