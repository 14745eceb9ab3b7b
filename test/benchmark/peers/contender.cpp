// The contenders of the peers' table that are C++: told on stdin what to do, they answer on stdout (see contender.py,
// whose words these are).
//
//   benchmark_contender loops ROWS ARTIFACT...              bare loops over a compiled program, one a CPU; of several
//                                                           artifacts, compiled for different batches, the best
//   benchmark_contender torch THREADS ROWS MODEL.pt frozen|traced SHAPE BATCH...
//                                                           LibTorch alone: one forward at a time on so many intra-op
//                                                           threads; SHAPE is that of a row, such as 3x224x224
//   benchmark_contender engine ROWS ARTIFACT...             the engine on all cores, one call at a time
#include "../bare_parts.hpp"
#include "../measure.hpp"

#include <ganglion/engine/cpu_allowance.hpp>
#include <ganglion/engine/data_parallel.hpp>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/passes/freeze_module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cstdio>
#include <iostream>
#include <map>
#include <sstream>

namespace {

using namespace ganglion;
using namespace ganglion::benchmark;

/// Does the work for so many seconds, and returns the rows a second.
using contender = std::function<double(double seconds)>;
/// Ways of doing it, by the name of the choice.
using choices = std::map<std::string, std::function<contender()>>;

contender calling(command::pinned_loops made) {
  auto shared = std::make_shared<command::pinned_loops>(std::move(made));
  return [shared](double seconds) { return shared->rows_per_second(seconds); };
}

contender plain_libtorch(const std::string& path, bool frozen, const std::vector<std::int64_t>& sizes,
                         std::int64_t rows, std::size_t threads) {
  const auto make = [=] {
    auto module = std::make_shared<torch::jit::Module>(torch::jit::load(path));
    module->eval();
    if (frozen) *module = torch::jit::freeze(*module);
    // Also the first run, or the executor would prepare for gradients.
    const c10::InferenceMode guard;
    auto all = sizes;
    all.front() = rows;
    const auto x = at::rand(all), out = module->forward({x}).toTensor().clone();
    return [=, batch = sizes.front()] {
      const c10::InferenceMode guard;
      for (std::int64_t row = 0; row < rows; row += batch)
        out.narrow(0, row, batch).copy_(module->forward({x.narrow(0, row, batch)}).toTensor());
      return rows;
    };
  };
  return calling(command::pinned_loops{{{{read_cpu_allowance().cpus, threads}, make}}});
}

contender engine_of(const compiled_model& model, std::int64_t rows) {
  auto host = std::make_shared<engine>();
  auto parallel = std::make_shared<data_parallel>(*host, model);
  auto sizes = model.inputs().front().shape;
  sizes.front() = rows;
  return [host, parallel, rows, x = at::rand(sizes)](double seconds) {
    (*parallel)({x});
    std::int64_t done = 0;
    double passed = 0;
    for (const auto begin = benchmark::clock::now(); passed < seconds;
         passed = seconds_between(begin, benchmark::clock::now())) {
      (*parallel)({x});
      done += rows;
    }
    return static_cast<double>(done) / passed;
  };
}

/// One choice an artifact, named by its batch.
choices of_artifacts(const std::vector<std::string>& words,
                     const std::function<contender(const compiled_model&)>& make) {
  choices result;
  for (std::size_t i = 2; i < words.size(); ++i) {
    const auto model = load(words[i]);
    result[fmt::format("batch {}", model.inputs().front().shape.front())] = [=] { return make(model); };
  }
  return result;
}

choices choices_of(const std::vector<std::string>& words) {
  if (words.at(0) == "loops")
    return of_artifacts(words, [rows = std::stoll(words.at(1))](const compiled_model& model) {
      return calling(bare_parts(model, rows, read_cpu_allowance().count));
    });
  if (words.at(0) == "engine")
    return of_artifacts(words, [rows = std::stoll(words.at(1))](const compiled_model& model) {
      return engine_of(model, rows);
    });
  const auto threads = std::stoul(words.at(1));
  const auto rows = std::stoll(words.at(2));
  const auto path = words.at(3);
  const bool frozen = words.at(4) == "frozen";
  std::vector<std::int64_t> sizes{0};
  std::istringstream shape{words.at(5)};
  for (std::string size; std::getline(shape, size, 'x');) sizes.push_back(std::stoll(size));
  choices result;
  for (std::size_t i = 6; i < words.size(); ++i) {
    sizes.front() = std::stoll(words[i]);
    result["batch " + words[i]] = [=] { return plain_libtorch(path, frozen, sizes, rows, threads); };
  }
  return result;
}

std::int64_t minor_faults() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return used.ru_minflt;
}

void say(const std::string& json) {
  fmt::print("{}\n", json);
  std::fflush(stdout);
}

void serve(const choices& of) {
  auto name = of.begin()->first;
  auto best = of.begin()->second();
  say("{}");
  std::string what;
  double seconds = 0;
  while (std::cin >> what >> seconds) {
    double rate = 0, faults = 0;
    if (what == "choose") {
      for (const auto& [other, make] : of) {
        auto made = make();
        const auto measured = made(seconds);
        if (measured <= rate) continue;
        rate = measured;
        name = other;
        best = std::move(made);
      }
    } else {
      const auto before = minor_faults();
      rate = best(seconds);
      faults = static_cast<double>(minor_faults() - before) / (rate * seconds);
    }
    say(fmt::format(R"({{"rows_per_second": {}, "choice": "{}", "faults_per_row": {}, "resident_mib": {}}})", rate,
                    name, faults, static_cast<double>(resident_bytes()) / (1 << 20)));
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    serve(choices_of({argv + 1, argv + argc}));
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "benchmark_contender: {}\n", e.what());
    return 1;
  }
}
