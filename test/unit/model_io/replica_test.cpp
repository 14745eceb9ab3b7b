#include <ganglion/model_io/replica.hpp>

#include "operator_module.hpp"

#include <support/doctest.hpp>
#include <support/errors.hpp>
#include <support/modules.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/library.h>

#include <atomic>
#include <set>
#include <stdexcept>
#include <thread>

using namespace ganglion;
namespace modules = test_modules;

namespace {

std::atomic<bool> throws{false};

/// As an operator of somebody else's library may.
at::Tensor plus_one_or_throw(const at::Tensor& x) {
  if (throws) throw 7;
  return x + 1;
}

TORCH_LIBRARY(ganglion_replica_test, m) { m.def("plus_one(Tensor x) -> Tensor", plus_one_or_throw); }

torch::jit::Module throwing() { return operator_module("ganglion_replica_test::plus_one"); }

}  // namespace

TEST_CASE("all replicas share one storage of weights") {
  auto shown = torch::jit::Module{"Net"};
  shown.register_parameter("weight", at::rand({64, 64}), false);
  shown.define("def forward(self, x):\n  return (torch.matmul(x, self.weight), self.weight)\n");
  const auto model = trace(shown, {at::rand({2, 64})}, {.tune = false});
  std::set<const void*> storages{model.source().attr("weight").toTensor().data_ptr()};
  for (int i = 0; i < 4; ++i) {
    auto replica = model.make_replica();
    replica.warm_up();
    storages.insert(replica.run({at::rand({2, 64})}).toTupleRef().elements()[1].toTensor().data_ptr());
  }
  EXPECT(storages.size() == 1);
  EXPECT(model.weight_bytes() == 64 * 64 * sizeof(float));
}

TEST_CASE("replicas hold their weights in the same places, each named once") {
  const auto weights_of = [](const compiled_model& model) {
    auto replica = model.make_replica();
    replica.warm_up();
    return replica.weight_storages();
  };
  const auto model = trace(modules::linear(64, 64), {at::rand({2, 64})}, {.tune = false});
  const auto first = weights_of(model);
  EXPECT(std::set(first.begin(), first.end()).size() == first.size());
  EXPECT(first.size() == 2); // weight and bias
  EXPECT(weights_of(model) == first);
  EXPECT(weights_of(trace(modules::linear(64, 64), {at::rand({2, 64})}, {.tune = false})) != first);
}

TEST_CASE("the programs of a model share its weights, and each runs at its own shape") {
  const auto one = trace(modules::linear(64, 64), {at::rand({2, 64})});
  const auto three = trace(modules::linear(64, 64), {at::rand({2, 64})},
                           {.more_examples = {{at::rand({1, 64})}, {at::rand({16, 64})}}});
  REQUIRE(three.program_count() == 3);
  EXPECT(three.inputs().front().shape == std::vector<std::int64_t>{2, 64});
  EXPECT(three.signature(2).inputs.front().shape == std::vector<std::int64_t>{16, 64});
  // Each of the two kinds of program holds its weights once, whatever the number of shapes.
  EXPECT(three.weight_bytes() <= 2 * one.weight_bytes());
  auto replica = three.make_replica();
  for (std::size_t p = 0; p < 3; ++p) {
    EXPECT(replica.warm_up(p) > 0);
    const auto x = at::rand(three.signature(p).inputs.front().shape);
    EXPECT(at::allclose(replica.run({x}, p).toTensor(), modules::linear(64, 64).forward({x}).toTensor(), 1e-4, 1e-5));
  }
}

TEST_CASE("replicas on threads of their own answer as the source does") {
  const auto model = trace(modules::conv_plus_one(), {at::rand({2, 3, 8, 8})});
  const auto x = at::randn({2, 3, 8, 8});
  const auto wanted = modules::conv_plus_one().forward({x}).toTensor();
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      auto replica = model.make_replica();
      replica.warm_up();
      for (int i = 0; i < 20; ++i) right += at::allclose(replica.run({x}).toTensor(), wanted, 1e-4, 1e-4);
    });
  for (auto& thread : threads) thread.join();
  EXPECT(right == 80);
}

TEST_CASE("a forward that writes to its inputs is given copies") {
  auto replica = trace(modules::writes_input(), {at::rand({2, 3})}).make_replica();
  const auto x = at::zeros({2, 3});
  for (int i = 0; i < 5; ++i) {
    const auto answer = replica.run({x}).toTensor();
    EXPECT(answer.equal(at::tensor({2.f, 2.f, 2.f, 1.f, 1.f, 1.f}).view({2, 3})));
    EXPECT(x.equal(at::zeros({2, 3})));
  }
}

TEST_CASE("warming up returns the seconds of a run, also where made-up values are refused") {
  auto replica = trace(modules::linear(), {at::rand({2, 4})}).make_replica();
  EXPECT(replica.warm_up() > 0);
  const auto strict =
      modules::scripted("def forward(self, x):\n  assert bool(x[0] == 1), 'no'\n  return x + 1\n");
  auto picky = trace(strict, {at::tensor({1.f, 5.f})}).make_replica();
  EXPECT(picky.warm_up() == 0);
  EXPECT(picky.run({at::tensor({1.f, 5.f})}).toTensor().equal(at::tensor({2.f, 6.f})));
}

TEST_CASE("warming up tells whether the place of a row in the batch matters, in any bit") {
  const auto alike = [](const torch::jit::Module& module, at::Tensor example) {
    const auto model = trace(module, {std::move(example)}, {.tune = false});
    auto program = model.make_replica();
    warm_up_runs runs{program};
    while (runs.step()) {
    }
    return runs.places_are_alike();
  };
  EXPECT(alike(modules::plus_one(), at::rand({8, 3})));
  EXPECT_FALSE(alike(modules::rounded_by_place(), at::rand({8, 3})));
  EXPECT_FALSE(alike(modules::rounded_by_place(), at::zeros({8, 3})));  // other rows warm it up
  EXPECT(alike(modules::rounded_by_place(), at::rand({1, 3})));
  // Nothing is known of rows that depend on each other, and where made-up values are refused.
  EXPECT_FALSE(alike(modules::scripted("def forward(self, x):\n  return x - x.mean(0)\n"), at::rand({8, 3})));
}

TEST_CASE("warming up bears what is no std::exception") {
  const auto model = trace(throwing(), {at::rand({2})}, {.tune = false});
  throws = true;
  auto replica = model.make_replica();
  EXPECT(replica.warm_up() == 0);
  throws = false;
  EXPECT(replica.run({at::zeros({2})}).toTensor().equal(at::ones({2})));
}

TEST_CASE("a failing run throws the model's message and the replica goes on working") {
  auto replica = trace(modules::fails_on_marked_rows(), {at::rand({2, 3})}).make_replica();
  replica.warm_up();
  for (int i = 0; i < 3; ++i) {
    std::string message;
    try {
      replica.run({at::full({2, 3}, 2e6)});
    } catch (const std::exception& e) {
      message = brief_message(e);
    }
    EXPECT(message == "AssertionError: a row is marked");
    EXPECT(replica.run({at::zeros({2, 3})}).toTensor().equal(at::ones({2, 3})));
  }
}

TEST_CASE("a model's own message is kept whole, in one line") {
  const auto message_of = [](const std::string& raised) {
    const auto source = fmt::format(
        "def forward(self, x):\n  if bool(torch.any(x > 5)):\n    assert False, {}\n  return x\n", raised);
    auto replica = trace(modules::scripted(source.c_str()), {at::zeros({2})}, {.tune = false}).make_replica();
    try {
      replica.run({at::full({2}, 9.)});
    } catch (const std::exception& e) {
      return brief_message(e);
    }
    return std::string{"nothing was thrown"};
  };
  EXPECT(message_of(R"("first line\nsecond line")") == "AssertionError: first line; second line");
  EXPECT(message_of(R"("RuntimeError: x\nframe #3: y")") == "AssertionError: RuntimeError: x; frame #3: y");
  EXPECT(message_of(R"("value at::x is c10::foo")") == "AssertionError: value at::x is c10::foo");
  EXPECT(message_of(R"("a paragraph\n\nand another")") == "AssertionError: a paragraph");
}

TEST_CASE("a message of LibTorch's own loses its place in the sources and its stack") {
  const auto brief = [](const std::string& text) { return brief_message(std::runtime_error{text}); };
  EXPECT(brief("[enforce fail at inline_container.cc:148] . Couldn't parse the version x as Long Long.") ==
         "Couldn't parse the version x as Long Long.");
  EXPECT(brief("false INTERNAL ASSERT FAILED at \"../a.cpp\":3, please report a bug to PyTorch. No such tensor") ==
         "No such tensor");
  EXPECT(brief("x INTERNAL ASSERT FAILED at y") == "no message");
  EXPECT(brief("Unknown type name 'X':\nSerialized   File") == "Unknown type name 'X'");
  EXPECT(brief("sizes differ\nException raised from f at a.cpp:3 (most recent call first):\nframe #0: c10::f()") ==
         "sizes differ");
  EXPECT(brief("") == "no message");
}

TEST_CASE("a replica may be moved and outlives the handles of its model") {
  auto replica = trace(modules::plus_one(), {at::rand({2})}).make_replica();
  auto moved = std::move(replica);
  EXPECT(moved.run({at::zeros({2})}).toTensor().equal(at::ones({2})));
  EXPECT(moved.model().id() > 0);
}

TEST_CASE("every model has a number of its own and copies share it") {
  const auto a = trace(modules::plus_one(), {at::rand({2})});
  const auto b = trace(modules::plus_one(), {at::rand({2})});
  const auto copy = a;
  EXPECT(a.id() != b.id());
  EXPECT(a.id() == copy.id());
}
