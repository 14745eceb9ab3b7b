#pragma once

#include <ganglion/model_io/error.hpp>
#include <ganglion/model_io/signature.hpp>
#include <ganglion/model_io/tensor_spec.hpp>

#include <ATen/core/ivalue.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace torch::jit {
struct Module;
}

namespace ganglion {

class replica;

/// Whether the program computes in bfloat16 inside; inputs and outputs stay as the example's.
enum class auto_cast { none, bf16 };

/// The largest relative deviation of a program in bf16 where the caller names none.
inline constexpr double default_max_deviation = 0.05;

struct trace_options {
  ganglion::auto_cast auto_cast = ganglion::auto_cast::none;
  /// Whether `trace` times the programs that are right and keeps the fastest; else it takes the frozen module.
  bool tune = true;
  /// The intra-op threads with which programs are timed: those of the cores that will run them
  /// (`engine_options::threads_per_core`). At least 1.
  std::size_t threads = 1;
  /// In bf16, the largest norm of the difference between a program's and the module's answer over the norm of the
  /// module's. Above 0.
  double max_deviation = default_max_deviation;
  /// Further inputs on which programs are compared with the module, and of which the deviations are recorded beside the
  /// example's: arguments like the first example's with any number of rows, cut along dimension 0 to its size; what is
  /// left over is not used.
  std::vector<std::vector<c10::IValue>> calibration;
  /// Programs that are not tried, by their name without `+bf16`, each with the reason that is recorded: for those that
  /// are known to crash or to hang LibTorch.
  std::map<std::string, std::string> excluded;
  /// Further examples, for each of which the model gets a program of its own: other batch sizes, of which the engine
  /// picks the cheapest, or other sizes, such as lengths of a sequence, of which a request goes to the one that it
  /// fits. Structure, dtypes and numbers of dimensions are those of the first example; no two have the same sizes. All
  /// programs share the model's weights.
  std::vector<std::vector<c10::IValue>> more_examples;
  /// Hears what `trace` goes on with: each time with a program, its name as in `excluded`, and with the module itself,
  /// empty. It is called on threads of `trace`, one call at a time, between two measurements: it must be quick and must
  /// not throw.
  std::function<void(std::string_view program)> progress;
};

struct load_options {
  /// Shared libraries that register the operators of a model, opened before it is read.
  std::vector<std::filesystem::path> op_libraries;
  /// Whether programs are chosen anew, as `trace` does, where they were timed on another type of CPU or with another
  /// number of threads. Else the recorded ones are built, with a warning.
  bool retune = false;
  /// The intra-op threads of the cores that will run the model; unset: as many as it was tuned for, or 1.
  std::optional<std::size_t> threads;
};

/// Where the programs of a model were timed.
struct tuned_for {
  std::string cpu;          ///< the type of CPU and the instructions that it has
  std::size_t threads = 1;  ///< intra-op

  bool operator==(const tuned_for&) const = default;
};

/// A model compiled for one exact shape or for several: its source, and a program with its signature for each shape.
/// Cheap to copy and immutable; all copies, programs and replicas share one storage of weights. Safe to use from any
/// thread.
class compiled_model {
 public:
  struct state;
  explicit compiled_model(std::shared_ptr<const state> s) : state_(std::move(s)) {}

  /// The number of its programs, one for each example; at least 1. The first example's is number 0.
  std::size_t program_count() const;
  /// The first example's tensors, in the order of forward's arguments, depth first.
  const std::vector<tensor_spec>& inputs() const;
  /// What forward returned for the first example.
  const std::vector<tensor_spec>& outputs() const;
  /// What a program was compiled for. Precondition, here and below: program < program_count().
  const ganglion::signature& signature(std::size_t program = 0) const;
  /// Empty where dynamic batching is possible on dim 0 (S10); else the reason why not, of the first program that has
  /// one.
  const std::string& not_eligible() const;
  /// How a program was made: `frozen`; `optimized`, LibTorch's own optimization for inference; `channels_last`;
  /// `onednn`, with fused operators over prepacked weights; `winograd`, the same with convolutions of 3 times 3 by
  /// Winograd's method; or the module itself, `as_is`; and `+bf16`.
  const std::string& recipe(std::size_t program = 0) const;
  /// What the maker should know of the model, one sentence each.
  const std::vector<std::string>& warnings() const;
  /// What trace tried for a program, as JSON; `{}` without. For each candidate why it was `rejected`, or `seconds` of
  /// one execution, the largest absolute `deviation` from the module, and on example and calibration `relative_l2` (the
  /// norm of the difference over the norm), `mean_deviation`, `top1_agreement` for answers [rows, classes], and
  /// `integer_agreement`, the share of equal elements, for integers. `excluded` ones were not tried.
  const std::string& measurements(std::size_t program = 0) const;
  /// The programs that were not tried, by their name without `+bf16`, with the reasons: `trace_options::excluded`.
  std::map<std::string, std::string> excluded(std::size_t program = 0) const;
  /// The bound on the deviation of programs in bf16 that it was traced with.
  double max_deviation() const;
  /// Where they were timed; nothing for programs that were taken without.
  const std::optional<tuned_for>& tuned() const;
  /// The hash of weights, code, signatures and auto_cast, in hex.
  const std::string& content_hash() const;
  /// The bytes of the distinct weight storages of all programs.
  std::size_t weight_bytes() const;
  /// A number of this model alone within the process; copies share it.
  std::uint64_t id() const;

  /// A graph and executor of its own over the shared weights. One thread at a time may use a replica.
  replica make_replica() const;
  /// The unoptimized module, in eval mode: the reference for every result. Callers share it and must not change it.
  const torch::jit::Module& source() const;
  /// For the library itself.
  const state& internals() const { return *state_; }

 private:
  std::shared_ptr<const state> state_;
};

/// The names of the programs that `trace` chooses from, without `+bf16`, the simplest first.
std::span<const std::string_view> tuned_programs();

/// Compiles a module for the example's exact shape (S18 of docs/semantics.md), and for those of `more_examples`.
/// Works on a copy in eval mode. Of several ways to compile it the fastest is kept; one is used only after its outputs
/// matched the module's on permuted, differently scaled rows. Any thread, several at once; nobody may use the module
/// or change the examples meanwhile.
/// Errors: `unsupported_model` (changes its own attributes, training wired into its graph, no tensor output, pipeline),
/// `shape_mismatch` (the example does not fit forward's arguments), `forward_failed` (the module fails on the example),
/// `invalid_argument` (an example that holds no tensor, or one with an empty dimension; examples that differ in more
/// than sizes, or not at all; options out of range; calibration that does not fit the example).
compiled_model trace(const torch::jit::Module& module, std::vector<c10::IValue> example_inputs,
                     trace_options options = {});

/// Writes the artifact: a TorchScript archive of the source with the signature as an attribute, and a manifest. The
/// file is whole or as it was before. Any thread, several at once, also of one model and to one path: the last one that
/// is done stays. Errors: `io_failed`.
void save(const compiled_model& model, const std::filesystem::path& path);

/// Reads an artifact and builds its programs anew, the ones that were recorded, or with `retune` those that are the
/// fastest here. Any thread, several at once. Operator libraries stay opened, for the whole process.
/// Errors: `model_load_failed` (missing, empty, truncated, damaged, changed since, no TorchScript, a version that
/// LibTorch does not read, never traced, or an operator library that cannot be opened), `unsupported_model` (pipeline;
/// or traced for bf16, and no program in bf16 is right on this machine), `invalid_argument` (`threads` out of range).
compiled_model load(const std::filesystem::path& path, load_options options = {});

/// The model of a traced module that LibTorch itself saved and read again (`torch.jit.save` and `load`): builds its
/// program anew. The module must be the caller's own; its weights are shared. Any thread, several at once with modules
/// that share nothing; the module is put into eval mode and gets attributes, so nobody else may use it meanwhile.
/// Errors: `model_load_failed` (never traced, or changed since), `unsupported_model` (as `load`).
compiled_model restore(const torch::jit::Module& module);

/// Reads a plain TorchScript file, for `trace`, in the mode in which it was saved. Any thread, several at once.
/// Errors: `model_load_failed`.
torch::jit::Module load_module(const std::filesystem::path& path, const load_options& options = {});

}  // namespace ganglion
