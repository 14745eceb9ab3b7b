// What a careless program may hand to the embedding face: each has one clear answer, and nothing is lost.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/modules.hpp>

#include <c10/core/InferenceMode.h>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;
namespace modules = test_modules;

namespace {

}  // namespace

TEST_CASE("a batch that may wait for ever waits for the row that fills it") {
  engine_ears ears;
  engine host{ears.options(1)};
  data_parallel parallel{host, plus_one(4), {.max_queue_delay = std::chrono::nanoseconds::max(),
                                            .ageing = std::chrono::nanoseconds::max()}};
  auto first = parallel.submit({counted({3, 3})});
  EXPECT(first.wait_for(20ms) == std::future_status::timeout);
  auto second = parallel.submit({counted({1, 3})});
  REQUIRE(ready(first));
  REQUIRE(ready(second));
  EXPECT(ears.wait_for_executions(1).size() == 1);
}

TEST_CASE("deadlines at the ends of the clock are past or never") {
  engine_ears ears;
  engine host{ears.options(1)};
  data_parallel parallel{host, plus_one(4)};
  auto code = [&](std::chrono::steady_clock::time_point deadline) {
    request_options options;
    options.deadline = deadline;
    return failure_of_future(parallel.submit({counted({9, 3})}, options)).code;
  };
  using time_point = std::chrono::steady_clock::time_point;
  EXPECT(code(time_point::min()) == errc::deadline_exceeded);
  EXPECT(code({}) == errc::deadline_exceeded);
  EXPECT(code(time_point::max()) == errc::ok);
}

TEST_CASE("a request of more rows than any memory holds is refused, and the next one is answered") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto model = plus_one(4);
  data_parallel dynamic{host, model}, fixed{host, model, {.dynamic_batching = false}};
  const auto huge = at::ones({1, 3}).expand({std::int64_t{1} << 45, 3});
  EXPECT(failure_of_future(fixed.submit({huge})).code == errc::batch_size_mismatch);
  EXPECT(failure_of_future(dynamic.submit({huge})).code == errc::core_memory_exceeded);
  EXPECT(same(answer(fixed, {counted({8, 3})}), counted({8, 3}) + 1));
  EXPECT(same(answer(dynamic, {counted({9, 3})}), counted({9, 3}) + 1));
  EXPECT(at_rest(host));
}

TEST_CASE("tensors for the answer that share memory, or are more than memory, are refused") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto two = compiled(modules::scripted("def forward(self, x):\n  return x + 1, x + 2\n"), {at::ones({4, 3})});
  data_parallel one{host, plus_one(4)}, pair{host, two};
  auto refused = [](data_parallel& on, const at::Tensor& x, std::vector<at::Tensor> outputs) {
    request_options options;
    options.outputs = std::move(outputs);
    auto f = failure_of_future(on.submit({x}, options));
    EXPECT(f.code == (f.text.empty() ? errc::ok : errc::invalid_argument));
    return f.text;
  };
  const auto base = at::zeros({18, 3});
  const auto low = base.narrow(0, 0, 9), high = base.narrow(0, 9, 9), middle = base.narrow(0, 4, 9);
  EXPECT(contains(refused(one, low, {low}), "the output tensor 0 shares memory with an input"));
  EXPECT(contains(refused(one, low, {middle}), "the output tensor 0 shares memory with an input"));
  EXPECT(refused(one, low, {high}).empty());
  EXPECT(contains(refused(pair, at::zeros({9, 3}), {low, middle}), "the output tensors 0 and 1 share memory"));
  EXPECT(refused(pair, at::zeros({9, 3}), {low, high}).empty());
  at::Tensor inference;
  {
    c10::InferenceMode on;
    inference = at::zeros({9, 3});
  }
  EXPECT(contains(refused(one, low, {inference}), "is an inference tensor"));
  EXPECT(contains(refused(one, low, {at::zeros({9, 3}).requires_grad_(true)}), "requires gradients"));
  EXPECT(contains(refused(one, low, {at::zeros({9, 3})._neg_view()}), "conjugated or negated"));
}

TEST_CASE("outputs that are views of conjugated or negated values are gathered by value") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto x = at::rand({6, 6}, at::kComplexFloat), y = at::rand({6, 6});
  const auto conj = compiled(modules::scripted("def forward(self, x):\n  return torch.conj(x)\n"),
                             {at::rand({4, 6}, at::kComplexFloat)});
  const auto neg = compiled(modules::scripted("def forward(self, x):\n  return torch._neg_view(x)\n"),
                            {at::rand({4, 6})});
  data_parallel rows{host, conj}, negated{host, neg};
  EXPECT(at::equal(answer(rows, {x}), x.conj()));
  EXPECT(at::equal(answer(negated, {y}), -y));
  data_parallel columns{host, compiled(modules::scripted("def forward(self, x):\n  return torch.conj(x)\n"),
                                       {at::rand({6, 3}, at::kComplexFloat)}), {.dim = 1}};
  EXPECT(at::equal(answer(columns, {x}), x.conj()));
}
