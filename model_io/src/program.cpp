#include "program.hpp"

#include "execution.hpp"
#include "quiet.hpp"
#include "rows.hpp"

#include <ganglion/model_io/replica.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <ATen/Parallel.h>
#include <ATen/ops/roll.h>
#include <boost/json.hpp>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <limits>
#include <memory>
#include <optional>

namespace ganglion {

namespace jit = torch::jit;
namespace json = boost::json;

namespace {

constexpr double bf16_tolerance = 5e-2;
/// The executor changes a graph after its first runs, so each input runs this often before a program counts
/// as right.
constexpr int runs_each = 3;

std::string_view suffix(auto_cast cast) { return cast == auto_cast::bf16 ? "+bf16" : ""; }

jit::Module cast_copy(const jit::Module& source, auto_cast cast) {
  if (cast == auto_cast::none) return source;
  auto copy = source.deepcopy();
  copy.to(at::kBFloat16);
  return copy;
}

// --- comparing -------------------------------------------------------------------------------------------

/// Inputs of several scales with the source's answers to them.
struct reference {
  std::vector<c10::IValue> leaves;
  c10::IValue answer;
};

std::vector<reference> references(const program_request& request) {
  std::vector<std::vector<c10::IValue>> inputs;
  if (!request.example_leaves.empty()) inputs.push_back(request.example_leaves);
  inputs.push_back(made_leaves(request.sig, 11));
  // The same rows once more, in other places and larger.
  inputs.push_back(with_rows_changed(made_leaves(request.sig, 11, 4),
                                     [](std::size_t, const at::Tensor& t) { return at::roll(t, 1, 0); }));
  inputs.push_back(made_leaves(request.sig, 12, 0.1));
  std::vector<reference> all;
  for (auto& leaves : inputs) {
    try {
      auto answer = run_source(request.builder.source(), request.sig, leaves);
      all.push_back({std::move(leaves), std::move(answer)});
    } catch (const std::exception&) {
      // Made values may be ones that the model refuses; the others remain.
    }
  }
  return all;
}

/// What one program did.
struct trial {
  jit::Module module;
  std::unique_ptr<execution> run;
  double deviation = 0;
  double seconds = std::numeric_limits<double>::infinity();
  std::string rejected;
};

std::string too_far(const at::Tensor& wanted, const at::Tensor& given, auto_cast cast, trial& result) {
  const auto difference = compare(wanted, given);
  if (!difference)
    return fmt::format("an output is {} instead of {}", to_string(given.scalar_type(), given.sizes()),
                       to_string(wanted.scalar_type(), wanted.sizes()));
  if (cast == auto_cast::bf16) {
    // Integers follow from rounded values here (an argmax may flip), so the floats alone are judged.
    if (!wanted.is_floating_point()) return {};
    result.deviation = std::max(result.deviation, difference->relative);
    if (difference->relative <= bf16_tolerance) return {};
    return fmt::format("relative deviation {:.2g}, but at most {:.2g} is allowed", difference->relative,
                       bf16_tolerance);
  }
  result.deviation = std::max(result.deviation, difference->largest);
  const auto allowed = rounding_tolerance(wanted.scalar_type(), difference->magnitude);
  if (difference->largest <= allowed) return {};
  return fmt::format("deviation {:.2g}, but at most {:.2g} is allowed", difference->largest, allowed);
}

std::string too_far(const c10::IValue& wanted, const c10::IValue& given, auto_cast cast, trial& result) {
  if (auto same = same_structure(wanted, given, "output"); !same) return same.error().text;
  const auto a = leaves_of(wanted), b = leaves_of(given);
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].value.isTensor()) {
      if (auto reason = too_far(a[i].value.toTensor(), b[i].value.toTensor(), cast, result); !reason.empty())
        return reason;
    } else if (!equal_leaves(a[i].value, b[i].value)) {
      return fmt::format("an output is {} instead of {}", leaf_text(b[i].value), leaf_text(a[i].value));
    }
  }
  return {};
}

/// Runs every input several times on one executor, and compares every answer.
void verify(execution& run, const std::vector<reference>& references, auto_cast cast, trial& result) {
  for (int round = 0; round < runs_each; ++round)
    for (const auto& [leaves, answer] : references)
      if (result.rejected = too_far(answer, run.run(leaves), cast, result); !result.rejected.empty()) return;
}

trial tried(const program_request& request, const std::vector<reference>& references, std::string_view kind) {
  const quiet guard;
  trial result;
  try {
    result.module = request.builder.module(kind);
    result.run = std::make_unique<execution>(result.module, request.sig, request.builder.cast());
    verify(*result.run, references, request.builder.cast(), result);
  } catch (const std::exception& e) {
    result.rejected = brief_message(e);
  }
  return result;
}

/// The best of several runs of each program that is right, in turns, so that what else the machine does meets
/// all alike.
void measure(std::vector<std::pair<std::string, trial>>& trials, const std::vector<c10::IValue>& leaves) {
  using clock = std::chrono::steady_clock;
  constexpr int runs = 3;
  for (int i = 0; i < runs; ++i)
    for (auto& [recipe, candidate] : trials) {
      if (!candidate.rejected.empty()) continue;
      const auto begin = clock::now();
      candidate.run->run(leaves);
      candidate.seconds =
          std::min(candidate.seconds, std::chrono::duration<double>(clock::now() - begin).count());
    }
}

// --- choosing --------------------------------------------------------------------------------------------

/// Does `work` on a thread of its own with one intra-op thread: programs are compared as a core will run
/// them, and the caller's own setting stays as it is.
template <class Work>
auto on_one_thread(Work work) {
  return std::async(std::launch::async,
                    [&] {
                      at::get_num_threads(); // ATen sets up this thread's number on the first such call, and
                                             // would overwrite ours later
                      omp_set_num_threads(1);
                      return work();
                    })
      .get();
}

/// Four digits: more are noise, and as text they come back as the same number from any reader of JSON.
double rounded(double figure) { return std::stod(fmt::format("{:.4g}", figure)); }

json::object record_of(const trial& result) {
  if (!result.rejected.empty()) return {{"rejected", result.rejected}};
  return {{"seconds", rounded(result.seconds)}, {"deviation", rounded(result.deviation)}};
}

failure none_right(auto_cast cast, const std::vector<std::string>& reasons) {
  return {errc::unsupported_model,
          fmt::format("the model cannot run in {}: {}", cast == auto_cast::bf16 ? "bf16" : "fp32",
                      fmt::join(reasons, "; "))};
}

/// The first of the kinds that is right. The source itself is right by definition, but not when it is cast.
expected<program> first_right(const program_request& request, const std::vector<reference>& references,
                              const std::vector<std::string_view>& kinds) {
  std::vector<std::string> reasons;
  for (const auto kind : kinds) {
    const auto cast = request.builder.cast();
    const auto exact = kind == "as_is" && cast == auto_cast::none;
    auto result = exact ? trial{.module = request.builder.source()} : tried(request, references, kind);
    if (result.rejected.empty()) {
      program chosen{std::move(result.module), fmt::format("{}{}", kind, suffix(cast))};
      for (const auto& reason : reasons)
        chosen.warnings.push_back(fmt::format("a program was not used: {}", reason));
      return chosen;
    }
    reasons.push_back(fmt::format("{}{}: {}", kind, suffix(cast), result.rejected));
  }
  return none_right(request.builder.cast(), reasons);
}

expected<program> fastest_right(const program_request& request, const std::vector<reference>& references) {
  std::vector<std::pair<std::string, trial>> trials;
  for (const std::string_view kind : {"optimized", "frozen"})
    trials.emplace_back(fmt::format("{}{}", kind, suffix(request.builder.cast())), tried(request, references, kind));
  measure(trials, references[0].leaves);

  std::vector<std::string> reasons;
  json::object measurements;
  for (const auto& [recipe, candidate] : trials) {
    measurements[recipe] = record_of(candidate);
    if (!candidate.rejected.empty()) reasons.push_back(fmt::format("{}: {}", recipe, candidate.rejected));
  }
  auto& [recipe, fastest] = *std::min_element(trials.begin(), trials.end(), [](const auto& a, const auto& b) {
    return a.second.seconds < b.second.seconds;
  });
  expected<program> chosen = program{fastest.module, recipe};
  if (reasons.size() == trials.size()) {
    chosen = first_right(request, references, {"as_is"});
    if (!chosen) return none_right(request.builder.cast(), reasons);
    chosen->warnings.push_back(
        fmt::format("the module runs as it is, for no program matched it: {}", fmt::join(reasons, "; ")));
  }
  chosen->measurements = json::serialize(measurements);
  return chosen;
}

/// What remains where the source refuses every input that could be made: no program could be compared with
/// it.
expected<program> unchecked(const program_request& request) {
  auto last = first_right(request, {}, {"as_is"});
  if (last)
    last->warnings.push_back(
        "the module fails on inputs that were made from its example's range, so no program could be "
        "compared with it, and it runs as it is");
  return last;
}

}  // namespace

const jit::Module& program_builder::module(std::string_view kind) {
  if (auto found = made_.find(kind); found != made_.end()) return found->second;
  const at::NoGradGuard guard;
  auto made = kind == "as_is" ? cast_copy(source_, cast_) : jit::freeze(module("as_is"));
  if (kind == "optimized") made = jit::optimize_for_inference(made);
  return made_.emplace(kind, std::move(made)).first->second;
}

expected<program> choose_program(const program_request& request, bool tune) {
  const auto all = references(request);
  if (all.empty()) return unchecked(request);
  if (!tune) return first_right(request, all, {"frozen", "as_is"});
  return on_one_thread([&] { return fastest_right(request, all); });
}

bool is_recipe(std::string_view recipe, auto_cast cast) {
  for (const std::string_view kind : {"optimized", "frozen", "as_is"})
    if (recipe == fmt::format("{}{}", kind, suffix(cast))) return true;
  return false;
}

expected<program> rebuild_program(const program_request& request, const std::string& recipe) {
  const auto all = references(request);
  if (all.empty()) return unchecked(request);
  const auto kind = recipe.substr(0, recipe.find('+'));
  std::vector<std::string_view> kinds;
  if (kind != "frozen" && kind != "as_is") kinds.push_back("optimized");
  if (kind != "as_is") kinds.push_back("frozen");
  kinds.push_back("as_is");
  return first_right(request, all, kinds);
}

}  // namespace ganglion
