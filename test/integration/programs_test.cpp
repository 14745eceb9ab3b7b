// Models of several compiled programs: batch sizes, and other sizes with padding.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/modules.hpp>

#include <random>
#include <thread>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

namespace {

compiled_model compiled_for(const torch::jit::Module& module, std::vector<std::vector<c10::IValue>> examples) {
  trace_options options;
  options.tune = false;
  options.more_examples.assign(examples.begin() + 1, examples.end());
  return trace(module, examples.front(), options);
}

compiled_model linear_for(const std::vector<std::int64_t>& batches, std::int64_t features = 4) {
  std::vector<std::vector<c10::IValue>> examples;
  for (auto batch : batches) examples.push_back({at::rand({batch, features})});
  return compiled_for(modules::linear(features, features - 1), examples);
}

/// x * mask + 1, and the sum of what is not masked.
torch::jit::Module masked() {
  return modules::scripted(
      "def forward(self, x, mask):\n"
      "  y = x * mask.unsqueeze(2)\n"
      "  return y + 1, y.sum([1, 2])\n");
}

std::vector<c10::IValue> sequence(std::int64_t rows, std::int64_t length) {
  return {counted({rows, length, 3}) * 0.125, at::ones({rows, length}, at::kLong)};
}

compiled_model masked_for(const std::vector<std::pair<std::int64_t, std::int64_t>>& shapes) {
  std::vector<std::vector<c10::IValue>> examples;
  for (auto [rows, length] : shapes) examples.push_back(sequence(rows, length));
  return compiled_for(masked(), examples);
}

bool right(const c10::IValue& answer, std::int64_t rows, std::int64_t length) {
  auto alone = masked().forward(sequence(rows, length)).toTupleRef().elements().vec();
  const auto& given = answer.toTupleRef().elements();
  return same(given[0].toTensor(), alone[0].toTensor()) &&
         at::allclose(given[1].toTensor(), alone[1].toTensor(), 1e-5, 1e-5);
}

}  // namespace

TEST_CASE("several batch sizes: every number of rows is answered as by the module alone, from several threads") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, linear_for({8, 1, 4, 32})};
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (std::uint32_t seed = 0; seed < 4; ++seed)
    callers.emplace_back([&, seed, own = modules::linear()]() mutable {
      std::mt19937 random{seed};
      for (int i = 0; i < 60; ++i) {
        const auto x = at::rand({1 + static_cast<std::int64_t>(random() % 70), 4});
        wrong += !at::allclose(parallel({x}).toTensor(), own.forward({x}).toTensor(), 1e-4, 1e-5);
      }
    });
  for (auto& c : callers) c.join();
  EXPECT(wrong == 0);
}

TEST_CASE("several batch sizes: one row runs alone on the program for one, and nothing is padded") {
  engine_ears ears;
  engine host{ears.options(1)};
  // So wide that 64 rows take many times longer than one, however busy the machine is.
  const auto model = linear_for({64, 1}, 1'024);
  data_parallel parallel{host, model};
  request_options options;
  // A warm-up that the machine held up shuts the small program out for some hundred executions, not for ever.
  EXPECT(soon([&] {
    const auto r = parallel.submit({at::rand({1, 1'024})}, options).get();
    EXPECT(r.timing.executions == 1);
    return r.timing.padded_rows == 0;
  }));
  data_parallel pinned{host, model, {.deterministic = true}};
  const auto r = pinned.submit({at::rand({1, 1'024})}, options).get();
  EXPECT(r.timing.padded_rows == 63);
}

TEST_CASE("deterministic: a row's bits do not depend on what else is there") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, linear_for({1, 3, 16}), {.deterministic = true}};
  const auto x = at::rand({1, 4});
  const auto alone = parallel({x}).toTensor();
  std::vector<std::future<c10::IValue>> answers;
  std::vector<bool> is_x;
  for (int i = 0; i < 400; ++i) {
    is_x.push_back(i % 3 == 0);
    answers.push_back(parallel.submit({is_x.back() ? x : at::rand({1 + i % 20, 4})}));
  }
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const auto y = answers[i].get().toTensor();
    if (is_x[i]) EXPECT(at::equal(y, alone));
  }
}

TEST_CASE("deterministic: where a row's place in the batch matters, rows have the same places whatever else waits") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(modules::rounded_by_place(), {at::rand({8, 3})}), {.deterministic = true}};
  std::mt19937 random{5};
  for (int i = 0; i < 20; ++i) {
    const auto x = at::rand({1 + static_cast<std::int64_t>(random() % 30), 3});
    const auto alone = parallel({x}).toTensor();
    std::vector<std::future<c10::IValue>> before;
    for (int k = 0; k < 4; ++k)
      before.push_back(parallel.submit({at::rand({1 + static_cast<std::int64_t>(random() % 7), 3})}));
    EXPECT(at::equal(parallel({x}).toTensor(), alone));
    for (auto& f : before) EXPECT(ready(f));
  }
}

TEST_CASE("S13: without dynamic batching any of the compiled sizes holds on each core, and no other") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, linear_for({4, 1}), {.dynamic_batching = false}};
  for (std::int64_t rows : {2, 8}) {
    const auto x = at::rand({rows, 4});
    EXPECT(at::allclose(parallel({x}).toTensor(), modules::linear().forward({x}).toTensor(), 1e-4, 1e-5));
  }
  const auto f = failure_of([&] { parallel({at::rand({6, 4})}); });
  EXPECT(f.code == errc::batch_size_mismatch);
  EXPECT(contains(f.text, "over 2 cores is 3, but the model was compiled for 1, 4"));
}

TEST_CASE("several lengths: a request goes to the program that it fits, and others are refused") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, masked_for({{4, 8}, {4, 16}})};
  for (std::int64_t length : {8, 16}) EXPECT(right(parallel(sequence(7, length)), 7, length));
  const auto f = failure_of([&] { parallel(sequence(7, 9)); });
  EXPECT(f.code == errc::shape_mismatch);
  EXPECT(contains(f.text, "set pad_values"));
}

TEST_CASE("several lengths: shorter inputs are padded, share executions, and their answers are trimmed") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, masked_for({{4, 8}, {1, 8}, {4, 16}}), {.pad_values = {0}}};
  std::vector<std::future<c10::IValue>> answers;
  const auto rows_of = [](int i) { return std::int64_t{1 + i % 6}; };
  const auto length_of = [](int i) { return std::int64_t{1 + (7 * i) % 16}; };
  for (int i = 0; i < 300; ++i) answers.push_back(parallel.submit(sequence(rows_of(i), length_of(i))));
  for (int i = 0; i < 300; ++i)
    EXPECT(right(answers[static_cast<std::size_t>(i)].get(), rows_of(i), length_of(i)));
  EXPECT(right(parallel(sequence(0, 5)), 0, 5));
  EXPECT(failure_of([&] { parallel(sequence(1, 17)); }).code == errc::shape_mismatch);
}

TEST_CASE("several lengths: any value fills rows up to the smallest length that holds them") {
  const auto sums = modules::scripted("def forward(self, x):\n  return x.sum(1), x * 2\n");
  std::vector<std::vector<c10::IValue>> examples;
  for (const auto& [rows, length] : {std::pair{4, 4}, {1, 9}, {4, 9}, {2, 16}})
    examples.push_back({at::rand({rows, length})});
  const auto model = compiled_for(sums, examples);
  engine_ears ears;
  engine host{ears.options(2)};
  std::mt19937 random{11};
  for (const double value : {0.0, -3.5, 1024.0}) {
    data_parallel parallel{host, model, {.pad_values = {value}}};
    std::vector<std::pair<at::Tensor, std::future<c10::IValue>>> sent;
    for (int i = 0; i < 200; ++i) {
      const auto rows = 1 + static_cast<std::int64_t>(random() % 9);
      const auto length = 1 + static_cast<std::int64_t>(random() % 16);
      const auto x = at::rand({rows, length});
      sent.emplace_back(x, parallel.submit({x}));
    }
    for (auto& [x, answer] : sent) {
      const auto length = x.size(1), filled = length <= 4 ? 4 - length : length <= 9 ? 9 - length : 16 - length;
      NOTE("value " << value << ", rows " << x.size(0) << ", length " << length);
      const auto outputs = answer.get().toTupleRef().elements().vec();
      EXPECT(at::allclose(outputs[0].toTensor(), x.sum(1) + static_cast<double>(filled) * value, 1e-5, 1e-4));
      EXPECT(same(outputs[1].toTensor(), x * 2));
    }
  }
}

TEST_CASE("several lengths: with dynamic batching off whole batches of shorter rows are padded, too") {
  engine_ears ears;
  engine host{ears.options(1)};
  data_parallel parallel{host, masked_for({{4, 8}, {4, 16}}), {.dynamic_batching = false, .pad_values = {0, 0}}};
  EXPECT(right(parallel(sequence(4, 11)), 4, 11));
}

TEST_CASE("several lengths: the caller's output tensors have the trimmed sizes") {
  engine_ears ears;
  engine host{ears.options(1)};
  data_parallel parallel{host, masked_for({{4, 8}, {4, 16}}), {.pad_values = {0}}};
  request_options options;
  options.outputs = {at::empty({5, 6, 3}), at::empty({5})};
  auto first = options.outputs.front();
  EXPECT(right(parallel.submit(sequence(5, 6), options).get().outputs, 5, 6));
  EXPECT(same(first, masked().forward(sequence(5, 6)).toTupleRef().elements()[0].toTensor()));
  options.outputs = {at::empty({5, 8, 3}), at::empty({5})};
  const auto f = failure_of_future(parallel.submit(sequence(5, 6), options));
  EXPECT(f.code == errc::shape_mismatch);
  EXPECT(contains(f.text, "but the answer will be f32[5,6,3]"));
}

TEST_CASE("pad values that cannot be used are refused where the data_parallel is made") {
  engine_ears ears;
  engine host{ears.options(1)};
  const auto f = failure_of([&] { data_parallel(host, linear_for({1, 4}), {.pad_values = {0}}); });
  EXPECT(f.code == errc::invalid_argument);
  EXPECT(contains(f.text, "all programs of the model take the same sizes"));
}
