// A model that takes the place of another while requests come.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/forward_gate.hpp>
#include <support/modules.hpp>

#include <ganglion/model_io/replica.hpp>

#include <algorithm>
#include <atomic>
#include <thread>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;
namespace modules = test_modules;

namespace {

compiled_model same_sizes() {
  return compiled(modules::scripted("def forward(self, x):\n    return x + 2\n"), {at::ones({4, 3})});
}

/// The memory of the weights that a model's replicas share; whoever holds this keeps none of it alive.
std::vector<c10::weak_intrusive_ptr<c10::StorageImpl>> weights_of(const compiled_model& model) {
  const auto shared = model.make_replica().weight_storages();
  std::vector<c10::weak_intrusive_ptr<c10::StorageImpl>> result;
  for (const auto& weight : model.source().parameters())
    if (std::find(shared.begin(), shared.end(), weight.storage().data()) != shared.end())
      result.push_back(weight.storage().getWeakStorageImpl());
  return result;
}

}  // namespace

TEST_CASE("while a model is replaced again and again no request fails, and each is answered wholly by one of the two") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto one = plus_one(4), two = same_sizes();
  data_parallel parallel{host, one};
  std::atomic<bool> stop{false};
  std::atomic<int> by_one{0}, by_two{0}, wrong{0}, failed{0};
  std::vector<std::thread> clients;
  for (int t = 0; t < 2; ++t)
    clients.emplace_back([&] {
      const auto x = counted({23, 3});  // six executions
      while (!stop) {
        std::vector<std::future<c10::IValue>> futures;
        for (int i = 0; i < 20; ++i) futures.push_back(parallel.submit({x}));
        for (auto& future : futures) try {
            const auto y = future.get().toTensor();
            ++(same(y, x + 1) ? by_one : same(y, x + 2) ? by_two : wrong);
          } catch (const error&) {
            ++failed;
          }
      }
    });
  EXPECT(soon([&] { return by_one > 0; }));
  for (int i = 0; i < 20; ++i) {
    const auto& next = i % 2 == 0 ? two : one;
    parallel.replace(next);
    if (i == 0) EXPECT(soon([&] { return by_two > 0; }));
    EXPECT(parallel.model().id() == next.id());
    const auto x = counted({9, 3});
    EXPECT(same(answer(parallel, {x}), x + (i % 2 == 0 ? 2 : 1)));
  }
  stop = true;
  for (auto& c : clients) c.join();
  EXPECT(wrong == 0);
  EXPECT(failed == 0);
}

TEST_CASE("what was accepted before is answered by the old model, which the cores then let go") {
  engine_ears ears;
  engine host{ears.options(1)};
  data_parallel parallel{host, compiled(gated_plus_one(), {at::ones({4, 3})})};
  const auto old_id = parallel.id();
  std::optional<forward_gate> gate{std::in_place};
  const auto x = counted({30, 3});
  auto old = parallel.submit({x});
  REQUIRE(gate->wait_for(1));
  auto ready_now = parallel.begin_replacing(same_sizes());
  EXPECT(ready_now.wait_for(0s) == std::future_status::timeout);
  gate.reset();
  REQUIRE(ready_now.wait_for(1min) == std::future_status::ready);
  ready_now.get();
  EXPECT(parallel.id() != old_id);
  EXPECT(same(answer(parallel, {x}), x + 2));
  EXPECT(same(old.get().toTensor(), x + 1));
  EXPECT(soon([&] { return host.status().cores[0].models == 1; }));
  const auto s = host.status();
  REQUIRE(s.models.size() == 1);
  EXPECT(s.models[0].id == parallel.id());
  EXPECT(s.models[0].rows == 60);  // of both
  EXPECT(s.models[0].queued_rows == 0);
  EXPECT(s.models[0].outcomes[0] == 2);
}

TEST_CASE("the memory of a model that was replaced returns when what was accepted for it has run") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto linear = [](std::int64_t from) {
    auto module = modules::linear(256, 256);
    module.attr("bias").toTensor().fill_(from);
    return compiled(module, {at::ones({4, 256})});
  };
  std::optional<compiled_model> model = linear(1);
  const auto old = weights_of(*model);
  const auto bytes = model->weight_bytes();
  REQUIRE(old.size() == 2);  // weight and bias
  data_parallel parallel{host, *model};
  model.reset();
  const auto x = at::rand({23, 256});
  const auto y = answer(parallel, {x});
  EXPECT(std::ranges::none_of(old, [](const auto& weight) { return weight.expired(); }));
  auto accepted = parallel.submit({x});
  parallel.replace(linear(2));
  EXPECT(same(answer(parallel, {x}), y + 1));
  REQUIRE(ready(accepted));
  EXPECT(same(accepted.get().toTensor(), y));
  EXPECT(soon([&] { return std::ranges::all_of(old, [](const auto& weight) { return weight.expired(); }); }));
  for (const auto& c : host.status().cores) EXPECT(c.model_bytes == bytes);
}

TEST_CASE("a model that cannot serve in the place of another is refused, and the old one goes on") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one(4)};
  auto f = failure_of([&] { parallel.replace(compiled(modules::plus_one(), {at::ones({5, 3})})); });
  NOTE(f.text);
  EXPECT(f.code == errc::shape_mismatch);
  EXPECT(contains(f.text, "f32[5,3], not f32[4,3]"));
  f = failure_of([&] { parallel.replace(compiled(modules::minus_batch_mean(), {at::ones({4, 3})})); });
  EXPECT(f.code == errc::unsupported_model);
  const auto x = counted({9, 3});
  EXPECT(same(answer(parallel, {x}), x + 1));
}

TEST_CASE("settings stay when a model is replaced") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one(4), {.num_workers = 1}};
  parallel.disable_dynamic_batching();
  parallel.replace(same_sizes());
  EXPECT(parallel.num_workers() == 1);
  EXPECT(failure_of([&] { parallel({counted({9, 3})}); }).code == errc::batch_size_mismatch);
  EXPECT(same(answer(parallel, {counted({8, 3})}), counted({8, 3}) + 2));
  ears.wait_for_executions(2);
  EXPECT(largest_overlap(ears.executions()) == 1);
}

TEST_CASE("a replacement that is under way when the object or the engine goes is answered") {
  engine_ears ears;
  std::optional<engine> host{ears.options(1)};
  std::optional<data_parallel> parallel{std::in_place, *host, plus_one(4)};
  const auto next = compiled(gated_plus_one(), {at::ones({4, 3})});
  {
    forward_gate gate;
    auto cancelled = parallel->begin_replacing(next);
    REQUIRE(gate.wait_for(1));
    parallel.reset();
    REQUIRE(cancelled.wait_for(1min) == std::future_status::ready);
    EXPECT(failure_of([&] { cancelled.get(); }).code == errc::cancelled);
  }
  parallel.emplace(*host, plus_one(4));
  forward_gate gate;
  auto drained = parallel->begin_replacing(next);
  REQUIRE(gate.wait_for(1));
  host.reset();
  REQUIRE(drained.wait_for(1min) == std::future_status::ready);
  EXPECT(failure_of([&] { drained.get(); }).code == errc::draining);
}
