// What a saved model keeps.
#include <ganglion/model_io/replica.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include "model_files.hpp"

#include <support/scratch_folder.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/jit/serialization/import.h>

#include <atomic>
#include <thread>

using namespace ganglion;
using namespace model_files;
namespace modules = test_modules;

TEST_CASE("S18: a saved model loads again with the same signature, recipe, hash and answers") {
  const scratch_folder folder;
  const auto x = at::rand({2, 3, 8, 8});
  for (const auto cast : {auto_cast::none, auto_cast::bf16}) {
    const auto model = trace(modules::conv_plus_one(), {x}, {.auto_cast = cast});
    save(model, folder / "model.pt");
    const auto again = load(folder / "model.pt");
    EXPECT((again.inputs() == model.inputs()));
    EXPECT((again.outputs() == model.outputs()));
    EXPECT(again.recipe() == model.recipe());
    EXPECT(again.content_hash() == model.content_hash());
    EXPECT(again.measurements() == model.measurements());
    EXPECT(again.warnings() == model.warnings());
    EXPECT(again.weight_bytes() == model.weight_bytes());
    EXPECT(again.id() != model.id());
    EXPECT(to_json(again.signature()) == to_json(model.signature()));
    auto a = model.make_replica(), b = again.make_replica();
    EXPECT(at::allclose(a.run({x}).toTensor(), b.run({x}).toTensor(), 1e-3, 1e-3));
    EXPECT(folder.file_count() == 1);
    save(again, folder / "model.pt");
    EXPECT(load(folder / "model.pt").content_hash() == model.content_hash());
  }
}

TEST_CASE("models are traced, saved and loaded on several threads at once") {
  const scratch_folder folder;
  const auto x = at::rand({2, 4});
  const auto wanted = modules::linear().forward({x}).toTensor();
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      save(trace(modules::linear(), {x}), folder / "model.pt");
      auto replica = load(folder / "model.pt").make_replica();
      right += at::allclose(replica.run({x}).toTensor(), wanted, 1e-4, 1e-5);
    });
  for (auto& thread : threads) thread.join();
  EXPECT(right == 4);
  EXPECT(folder.file_count() == 1);
}

TEST_CASE("S18: nested arguments, numbers and writes to inputs survive the file") {
  const scratch_folder folder;
  const auto path = folder / "model.pt";
  c10::Dict<std::string, at::Tensor> named;
  named.insert("a", at::rand({2, 3}));
  const std::vector<c10::IValue> nested{c10::ivalue::Tuple::create(at::rand({2, 3}), at::rand({2, 3})),
                                        c10::List<at::Tensor>({at::rand({2, 3})}), named};
  save(trace(modules::nested_inputs(), nested), path);
  auto model = load(path);
  const auto checked =
      check_inputs(model.signature(), make_scatter_rule(model.signature(), 0).value(), nested).value();
  auto replica = model.make_replica();
  EXPECT(at::allclose(replica.run(checked.leaves).toTensor(),
                      modules::nested_inputs().forward(nested).toTensor()));

  save(trace(modules::with_numbers(), {at::ones({2}), 3.0}), path);
  EXPECT(load(path).make_replica().run({at::ones({2}), 4.0}).toTensor().equal(at::full({2}, 5.f)));
  save(trace(modules::writes_input(), {at::ones({2})}), path);
  EXPECT(load(path).signature().writes_inputs);
  save(trace(modules::dict_outputs(), {at::ones({2})}), path);
  EXPECT(load(path).signature().result.isGenericDict());
  for (const auto& module : {modules::batch_norm(), modules::gated_conv()}) {
    save(trace(module, {at::rand({2, 3, 4, 4})}), path);
    EXPECT(load(path).signature().eligible());
  }
}

TEST_CASE("a model of several programs loads again with all of them, their recipes and measurements") {
  const scratch_folder folder;
  const auto path = folder / "several.pt";
  const auto model = trace(modules::linear(), {at::rand({4, 4})},
                           {.more_examples = {{at::rand({1, 4})}, {at::rand({16, 4})}}});
  save(model, path);
  const auto loaded = load(path);
  REQUIRE(loaded.program_count() == 3);
  for (std::size_t p = 0; p < 3; ++p) {
    EXPECT(to_json(loaded.signature(p)) == to_json(model.signature(p)));
    EXPECT(loaded.recipe(p) == model.recipe(p));
    EXPECT(loaded.measurements(p) == model.measurements(p));
  }
  EXPECT(loaded.content_hash() == model.content_hash());
  // The traced one may hold a layout more: of a program that was tried for one size beside one chosen for another.
  EXPECT(loaded.weight_bytes() >= 4 * (4 * 4 + 4));
  EXPECT(loaded.weight_bytes() <= model.weight_bytes());
  const auto x = at::rand({16, 4});
  EXPECT(at::allclose(loaded.make_replica().run({x}, 2).toTensor(), modules::linear().forward({x}).toTensor(), 1e-4,
                      1e-5));
}

TEST_CASE("an artifact that was saved again by plain TorchScript keeps all that was found out") {
  const scratch_folder folder;
  const auto model = trace(modules::linear(), {at::rand({2, 4})}, {.auto_cast = auto_cast::bf16});
  save(model, folder / "model.pt");
  torch::jit::load((folder / "model.pt").string()).save((folder / "again.pt").string());
  const auto again = load(folder / "again.pt");
  EXPECT(again.content_hash() == model.content_hash());
  EXPECT(again.measurements() == model.measurements());
  EXPECT(again.recipe() == model.recipe());
}

TEST_CASE("a traced module that LibTorch saved and read is restored") {
  std::stringstream archive;
  const auto x = at::rand({2, 4});
  const auto model = trace(modules::linear(), {x}, {.auto_cast = auto_cast::bf16});
  model.source().save(archive);
  auto module = torch::jit::load(archive);
  const auto again = restore(module);
  EXPECT(again.content_hash() == model.content_hash());
  EXPECT(again.recipe() == model.recipe());
  EXPECT(again.make_replica().run({x}).toTensor().equal(model.make_replica().run({x}).toTensor()));

  (*module.parameters().begin()).zero_();
  const auto changed = failure_of([&] { restore(module); });
  EXPECT(changed.code == errc::model_load_failed);
  EXPECT(contains(changed.text, "the module has the content hash"));
  EXPECT(contains(failure_of([] { restore(modules::linear()); }).text, "the module was never traced by Ganglion"));
}

TEST_CASE("a bf16 model that was saved again by plain TorchScript still computes in bf16") {
  const scratch_folder folder;
  const auto x = at::rand({2, 4});
  const auto model = trace(modules::linear(), {x}, {.auto_cast = auto_cast::bf16, .tune = false});
  save(model, folder / "model.pt");
  torch::jit::load((folder / "model.pt").string()).save((folder / "again.pt").string());
  const auto again = load(folder / "again.pt");
  EXPECT(contains(again.recipe(), "+bf16"));
  EXPECT(again.content_hash() == model.content_hash());
  EXPECT(model.content_hash() != trace(modules::linear(), {x}, {.tune = false}).content_hash());
  const auto coarse = model.make_replica().run({x}).toTensor(), coarse_again = again.make_replica().run({x}).toTensor();
  const auto fine = modules::linear().forward({x}).toTensor();
  EXPECT(at::allclose(coarse_again, coarse, 2e-2, 2e-2));  // without its manifest another recipe may round otherwise
  EXPECT_FALSE(coarse_again.equal(fine));
}

TEST_CASE("the hash tells weights, code and examples apart") {
  const auto hash = [](const torch::jit::Module& module, at::IntArrayRef shape) {
    return trace(module, {at::ones(shape)}, {.tune = false}).content_hash();
  };
  const auto first = hash(modules::linear(), {2, 4});
  EXPECT(first == hash(modules::linear(), {2, 4}));
  EXPECT(first != hash(modules::linear(), {3, 4}));
  auto weights = modules::linear();
  weights.attr("weight").toTensor()[0][0] += 1;
  EXPECT(first != hash(weights, {2, 4}));
  EXPECT(hash(modules::plus_one(), {2}) !=
         hash(modules::scripted("def forward(self, x):\n  return x + 2\n"), {2}));
  EXPECT(hash(modules::plus_one(), {2}) !=
         hash(modules::scripted("def forward(self, x):\n  return x - 1\n"), {2}));
}

TEST_CASE("a recipe that is not right any more gives way with a warning") {
  const scratch_folder folder;
  const auto path = folder / "model.pt";
  const auto model = trace(modules::gated_conv(), {at::rand({4, 3, 12, 12})});
  model.source().save(
      path.string(),
      {{"ganglion_manifest.json",
        fmt::format(R"({{"version":1,"recipe":"optimized","auto_cast":"none","measurements":{{}},)"
                    R"("content_hash":"{}","warnings":["kept"]}})",
                    model.content_hash())}});
  const auto again = load(path);
  EXPECT(again.recipe() == "frozen");
  REQUIRE(again.warnings().size() == 2);
  EXPECT(again.warnings()[0] == "kept");
  EXPECT(contains(again.warnings()[1], "a program was not used: optimized: deviation"));
}

TEST_CASE("a model that cannot be written says why and leaves nothing behind") {
  const scratch_folder folder;
  const auto model = trace(modules::plus_one(), {at::rand({2})});
  const auto f = failure_of([&] { save(model, folder / "no" / "model.pt"); });
  EXPECT(f.code == errc::io_failed);
  EXPECT(contains(f.text, "No such file or directory"));
  EXPECT(folder.file_count() == 0);
}
