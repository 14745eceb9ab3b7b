#pragma once

#include <ganglion/model_io/model.hpp>

#include <cstdint>
#include <vector>

namespace ganglion {

/// The programs of a model that take the same rows and differ only in how many of them one execution takes.
struct program_bucket {
  scatter_rule rule;                   ///< of the one that takes the most rows
  std::vector<std::int64_t> sizes;     ///< the compiled sizes along the scattered dimension, ascending
  std::vector<std::size_t> programs;   ///< the number, in the model, of the program of each size
  std::vector<std::int64_t> lengths;   ///< the bucket's size of each of the set's `varying`

  /// The number of the program of one of `sizes`.
  std::size_t program_of(std::int64_t size) const;
};

/// A dimension of a tensor, by its index among the inputs or the outputs.
struct tensor_axis {
  std::size_t tensor = 0;
  std::size_t axis = 0;

  bool operator==(const tensor_axis&) const = default;
};

/// The programs of a model as they are deployed along one dimension, and which of them takes a request. Immutable.
struct program_set {
  /// A dimension of the inputs that is not scattered and in which the programs differ, such as a sequence's length.
  struct varying_size {
    tensor_axis where;
    /// The first of `varying` that is as long as this one in every program: so it must be in a request that is padded.
    std::size_t same_as = 0;
  };
  /// A dimension of the outputs that is as long as one of `varying` in every program: padding is trimmed from it.
  struct trimmed_size {
    tensor_axis where;
    std::size_t as = 0;
  };

  /// At least one; in the order of the first example of each.
  std::vector<program_bucket> buckets;
  std::vector<varying_size> varying;
  std::vector<trimmed_size> trimmed;
  /// For each tensor input what shorter ones are filled up with; empty: a request must fit a bucket exactly.
  std::vector<double> pad_values;

  /// What does not differ between buckets: the dimension, the axes, whether dynamic batching may be used.
  const scatter_rule& rule() const { return buckets.front().rule; }
};

/// Sorts a model's programs for deployment along a dimension. `pad_values`: one for all tensor inputs or one for each;
/// none: no padding. Errors: those of `make_scatter_rule`; `invalid_argument` for pad values that cannot be used: a
/// wrong number of them, one that is no value of its input's dtype, programs that all take the same sizes, a dimension
/// other than 0, or an output of which the padding could not be trimmed.
expected<program_set> make_program_set(const compiled_model& model, std::int64_t dim,
                                       std::vector<double> pad_values = {});

/// Checks a request's inputs, as `check_inputs` does, and finds the bucket that they fit, or with `pad_values` the
/// smallest that they fit after padding. Errors: `shape_mismatch`.
expected<checked_inputs> match_inputs(const compiled_model& model, const program_set& set,
                                      const std::vector<c10::IValue>& inputs);

/// The specs of the answer to such inputs: those of the bucket's program with as many rows, trimmed. Only for a set
/// with `rule().is_batch_dim`.
std::vector<tensor_spec> answer_specs(const compiled_model& model, const program_set& set,
                                      const checked_inputs& inputs);

/// Whether a program may stand beside another in one model: they differ in sizes and in nothing else, and do differ.
/// Errors: `invalid_argument`.
expected<void> check_beside(const signature& one, const signature& other);

/// Whether a model can serve in the place of another: whatever inputs one of them takes the other takes too, and
/// answers in the same structure, dtypes and sizes. Errors: `shape_mismatch`, naming what differs; `unsupported_model`
/// where rows of `given` depend on each other, and those of `served` do not.
expected<void> check_same_signature(const compiled_model& served, const compiled_model& given);

}  // namespace ganglion
