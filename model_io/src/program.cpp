#include "program.hpp"

#include "comparison.hpp"
#include "execution.hpp"
#include "interruption.hpp"
#include "quiet.hpp"

#include <ganglion/model_io/replica.hpp>

#include <ATen/Parallel.h>
#include <boost/json.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <limits>
#include <memory>
#include <optional>
#include <system_error>
#include <type_traits>

namespace ganglion {

namespace jit = torch::jit;
namespace json = boost::json;

namespace {

/// What one program did.
struct trial {
  std::string recipe;
  std::optional<jit::Module> module;
  std::unique_ptr<execution> run;
  difference_report difference;
  double seconds = std::numeric_limits<double>::infinity();
  std::string rejected;
  bool excluded = false;
};

references references_of(const program_request& request) {
  return {request.builder.source(), request.sig, request.given, request.builder.stop()};
}

/// Whether a kind is the source itself, with which all others are compared.
bool is_exact(const program_request& request, std::string_view kind) {
  return kind == "as_is" && request.builder.cast() == auto_cast::none;
}

trial tried(const program_request& request, const references& wanted, std::string_view kind) {
  go_on(request.builder.stop());
  const quiet guard;
  trial result;
  result.recipe = recipe_of(kind, request.builder.cast());
  if (const auto found = request.how.excluded.find(std::string(kind)); found != request.how.excluded.end()) {
    result.rejected = found->second;
    result.excluded = true;
    return result;
  }
  request.how.goes_on_with(kind);
  try {
    result.module = request.builder.module(kind, request.sig);
    result.run = std::make_unique<execution>(*result.module, request.sig, request.builder.cast());
    if (!is_exact(request, kind))
      result.rejected =
          wanted.why_not(*result.run, request.builder.cast(), request.how.max_deviation, result.difference);
  } catch (const std::exception& e) {
    result.rejected = brief_message(e);
  }
  if (!result.rejected.empty()) {
    result.run.reset();
    result.module.reset();
  }
  request.how.goes_on_with({});
  return result;
}

/// The best of several runs of each program that is right, in turns, so that what else the machine does meets
/// all alike. Short runs are repeated until there is something to measure.
void measure(std::vector<trial>& trials, const program_request& request, const std::vector<c10::IValue>& leaves) {
  using clock = std::chrono::steady_clock;
  constexpr int least_rounds = 5, most_rounds = 200;
  constexpr auto enough = std::chrono::milliseconds(100);
  const auto begin = clock::now();
  for (int i = 0; i < most_rounds && (i < least_rounds || clock::now() - begin < enough); ++i)
    for (auto& candidate : trials) {
      if (!candidate.rejected.empty()) continue;
      go_on(request.builder.stop());
      request.how.goes_on_with(kind_of(candidate.recipe));
      const auto started = clock::now();
      candidate.run->run(leaves);
      candidate.seconds =
          std::min(candidate.seconds, std::chrono::duration<double>(clock::now() - started).count());
    }
}

/// Does `work` on a thread of its own with so many intra-op threads: programs are compared as a core will run
/// them, and the caller's own setting stays as it is.
template <class Work>
auto with_threads(std::size_t threads, Work work) {
  const auto as_on_a_core = [&] {
    at::get_num_threads();  // ATen sets up this thread's number on the first such call, and would overwrite ours later
    omp_set_num_threads(static_cast<int>(threads));
    return work();
  };
  std::future<std::invoke_result_t<Work>> result;
  try {
    result = std::async(std::launch::async, as_on_a_core);
  } catch (const std::system_error& e) {
    throw error(errc::core_unavailable,
                fmt::format("the programs of a model are compared on a thread of their own, and the system gave none "
                            "({}): raise the limit on processes (ulimit -u)",
                            e.code().message()));
  }
  return result.get();
}

// --- choosing --------------------------------------------------------------------------------------------

/// Four digits: more are noise, and as text they come back as the same number from any reader of JSON.
double rounded(double figure) { return std::stod(fmt::format("{:.4g}", figure)); }

json::object record_of(const trial& result) {
  if (result.excluded) return {{"rejected", result.rejected}, {"excluded", true}};
  if (!result.rejected.empty()) return {{"rejected", result.rejected}};
  const auto& [largest, relative_l2, mean, top1_agreement, integer_agreement] = result.difference;
  json::object record{{"seconds", rounded(result.seconds)},
                      {"deviation", rounded(largest)},
                      {"relative_l2", rounded(relative_l2)},
                      {"mean_deviation", rounded(mean)}};
  if (top1_agreement) record["top1_agreement"] = rounded(*top1_agreement);
  if (integer_agreement) record["integer_agreement"] = rounded(*integer_agreement);
  return record;
}

bool is_as_is(const trial& result) { return kind_of(result.recipe) == "as_is"; }

failure none_right(auto_cast cast, const std::vector<std::string>& reasons) {
  return {errc::unsupported_model,
          fmt::format("the model cannot run in {}: {}", cast == auto_cast::bf16 ? "bf16" : "fp32",
                      fmt::join(reasons, "; "))};
}

/// The first of the kinds that is right.
expected<program> first_right(const program_request& request, const references& wanted,
                              const std::vector<std::string_view>& kinds) {
  const auto cast = request.builder.cast();
  std::vector<std::string> reasons;
  for (const auto kind : kinds) {
    auto result = is_exact(request, kind) ? trial{.recipe = "as_is", .module = request.builder.source()}
                                          : tried(request, wanted, kind);
    if (result.rejected.empty()) {
      program chosen{std::move(*result.module), std::move(result.recipe)};
      for (const auto& reason : reasons)
        chosen.warnings.push_back(fmt::format("a program was not used: {}", reason));
      return chosen;
    }
    reasons.push_back(fmt::format("{}: {}", result.recipe, result.rejected));
  }
  return none_right(cast, reasons);
}

expected<program> fastest_right(const program_request& request, const references& wanted) {
  std::vector<trial> trials;
  for (const auto kind : tuned_programs()) trials.push_back(tried(request, wanted, kind));
  measure(trials, request, wanted.leaves());
  request.how.goes_on_with({});

  std::vector<std::string> reasons;
  json::object measurements;
  for (const auto& candidate : trials) {
    measurements[candidate.recipe] = record_of(candidate);
    if (!candidate.rejected.empty()) reasons.push_back(fmt::format("{}: {}", candidate.recipe, candidate.rejected));
  }
  auto& fastest = *std::min_element(trials.begin(), trials.end(),
                                    [](const trial& a, const trial& b) { return a.seconds < b.seconds; });
  auto chosen = fastest.rejected.empty() ? expected<program>{program{*fastest.module, fastest.recipe}}
                                         : first_right(request, wanted, {"as_is"});
  if (!chosen) return none_right(request.builder.cast(), reasons);
  if (std::all_of(trials.begin(), trials.end(), [](const trial& t) { return !t.rejected.empty() || is_as_is(t); }))
    chosen->warnings.push_back(
        fmt::format("the module runs as it is, for no program matched it: {}", fmt::join(reasons, "; ")));
  chosen->measurements = json::serialize(measurements);
  return chosen;
}

/// What was left out of the comparison, said where the model is made.
expected<program> with_warning(expected<program> chosen, const references& wanted) {
  if (chosen && wanted.refused_some())
    chosen->warnings.push_back(
        "the module refuses some of the inputs that were made to compare programs on: they were compared on the "
        "example's rows, also in other places, and on what it takes of others within its range");
  return chosen;
}

/// What remains where the source refuses every input that could be made: no program could be compared with
/// it.
expected<program> unchecked(const program_request& request, const references& none) {
  auto last = first_right(request, none, {"as_is"});
  if (last)
    last->warnings.push_back(
        "the module fails on inputs that were made from its example's range, so no program could be "
        "compared with it, and it runs as it is");
  return last;
}

}  // namespace

std::map<std::string, std::string> excluded_in(const std::string& measurements) {
  std::map<std::string, std::string> excluded;
  const auto text = [](const json::object& entry, const char* name) -> std::string {
    const auto* value = entry.if_contains(name);
    return value && value->is_string() ? std::string{value->get_string()} : std::string{};
  };
  const auto recorded = json::parse(measurements);
  for (const auto& [recipe, entry] : recorded.as_object())
    if (const auto* object = entry.if_object(); object && object->contains("excluded"))
      excluded.emplace(kind_of(recipe), text(*object, "rejected"));
  return excluded;
}

expected<program> fastest_program(const program_request& request) {
  const auto wanted = references_of(request);
  if (wanted.empty()) return unchecked(request, wanted);
  return with_warning(with_threads(request.how.threads, [&] { return fastest_right(request, wanted); }), wanted);
}

expected<program> safe_program(const program_request& request) {
  const auto wanted = references_of(request);
  if (wanted.empty()) return unchecked(request, wanted);
  return with_warning(first_right(request, wanted, {"frozen", "as_is"}), wanted);
}

expected<program> rebuild_program(const program_request& request, const std::string& recipe) {
  const auto wanted = references_of(request);
  if (wanted.empty()) return unchecked(request, wanted);
  std::vector<std::string_view> kinds{"as_is"};
  const auto kind = recipe.empty() ? "onednn" : kind_of(recipe);
  if (kind != "as_is") kinds.insert(kinds.begin(), "frozen");
  if (kind == "winograd") kinds.insert(kinds.begin(), "onednn");
  if (kind != "as_is" && kind != "frozen") kinds.insert(kinds.begin(), kind);
  return with_threads(request.how.threads, [&] { return first_right(request, wanted, kinds); });
}

}  // namespace ganglion
