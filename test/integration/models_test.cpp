// S15 to S18: what may be loaded, and what a traced model is.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/modules.hpp>
#include <support/scratch_folder.hpp>

#include <fmt/format.h>

#include <fstream>
#include <iterator>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;
namespace fs = std::filesystem;

namespace {

std::string bytes_of(const fs::path& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

void write(const fs::path& path, const std::string& bytes) {
  std::ofstream out{path, std::ios::binary};
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// Waits until core 0 has so many models; unloading comes after what was accepted.
bool models_become(engine& host, std::uint64_t models) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (host.status().cores[0].models != models)
    if (std::chrono::steady_clock::now() > end) return false;
  return true;
}

failure trace_failure(const torch::jit::Module& module, std::vector<c10::IValue> example) {
  return failure_of([&] { trace(module, std::move(example)); });
}

}  // namespace

TEST_CASE("S15: a model goes on a core that has room for it, to the byte, and status counts the bytes") {
  const auto model = compiled(modules::linear(64, 32), {at::rand({2, 64})});
  const auto bytes = model.weight_bytes();
  REQUIRE(bytes >= (64 * 32 + 32) * 4);
  engine_ears ears;
  auto options = ears.options(2);
  options.core_memory_bytes = bytes;
  engine host{options};
  data_parallel parallel{host, model, {.device_ids = {1}}};
  const auto status = host.status();
  EXPECT(status.cores[0].model_bytes == 0);
  EXPECT(status.cores[1].model_bytes == bytes);
  EXPECT(status.cores[1].models == 1);
  // Once more the same model takes no more room.
  data_parallel again{host, model};
  EXPECT(host.status().cores[0].model_bytes == bytes);
  EXPECT(host.status().cores[1].model_bytes == bytes);
  EXPECT(host.status().cores[1].models == 1);
}

TEST_CASE("S15: a model that does not fit is core_memory_exceeded with both sizes, and leaves what is there alone") {
  const auto small = compiled(modules::linear(16, 8), {at::rand({2, 16})});
  const auto large = compiled(modules::linear(64, 32), {at::rand({2, 64})});
  engine_ears ears;
  auto options = ears.options(2);
  options.core_memory_bytes = large.weight_bytes() - 1;
  engine host{options};
  const auto alone = failure_of([&] { data_parallel{host, large}; });
  EXPECT(alone.code == errc::core_memory_exceeded);
  EXPECT(contains(alone.text, fmt::format("needs {} bytes", large.weight_bytes())));
  EXPECT(contains(alone.text, fmt::format("{} are in use", large.weight_bytes() - 1)));

  options.core_memory_bytes = large.weight_bytes() + small.weight_bytes() - 1;
  engine other{options};
  std::optional<data_parallel> first;
  first.emplace(other, small);
  const auto beside = failure_of([&] { data_parallel{other, large}; });
  EXPECT(beside.code == errc::core_memory_exceeded);
  EXPECT(contains(beside.text, fmt::format("{} of {} are in use", small.weight_bytes(), *options.core_memory_bytes)));
  EXPECT(same(answer(*first, {at::ones({3, 16})}), source_answer(small, {at::ones({3, 16})}).toTensor()));
  EXPECT(other.status().cores[0].model_bytes == small.weight_bytes());
  // When the first is gone its room is free.
  first.reset();
  REQUIRE(models_become(other, 0));
  EXPECT(other.status().cores[0].model_bytes == 0);
  data_parallel second{other, large};
  EXPECT(other.status().cores[1].model_bytes == large.weight_bytes());
}

TEST_CASE("S16: an artifact that declares a pipeline of several cores is unsupported_model") {
  const scratch_folder folder;
  auto sig = compiled(modules::plus_one(), {at::rand({2})}).signature();
  for (const std::int64_t cores : {2, 4, 16}) {
    sig.pipeline_cores = cores;
    auto module = modules::plus_one();
    module.register_attribute("ganglion_signature", c10::StringType::get(), to_json(sig));
    module.save((folder / "pipeline.pt").string());
    const auto f = failure_of([&] { load(folder / "pipeline.pt"); });
    EXPECT(f.code == errc::unsupported_model);
    EXPECT(contains(f.text, fmt::format("NeuronCore Pipeline for {} cores", cores)));
  }
}

TEST_CASE("S17: archives of every version that LibTorch reads load and run, and others are refused with the versions") {
  engine_ears ears;
  engine host{ears.options(2)};
  const scratch_folder folder;
  const auto path = folder / "model.pt";
  save(compiled(modules::plus_one(), {at::rand({2, 3})}), path);
  // The record of the version is stored as it is, and its checksum is not looked at.
  auto bytes = bytes_of(path);
  const auto text = bytes.find("3\n", bytes.find("/version"));
  REQUIRE(text != bytes.npos);
  for (const char* version : {"1\n", "2\n", "5\n", "10"}) {
    write(path, bytes.replace(text, 2, version));
    data_parallel parallel{host, load(path)};
    EXPECT(same(answer(parallel, {counted({5, 3})}), counted({5, 3}) + 1));
  }
  for (const auto& [version, said] :
       {std::pair{"0\n", "version 0 "}, std::pair{"11", "version 11 "}, std::pair{"99", "version 99 "}}) {
    write(path, bytes.replace(text, 2, version));
    const auto f = failure_of([&] { load(path); });
    EXPECT(f.code == errc::model_load_failed);
    EXPECT(contains(f.text, said));
    EXPECT(contains(f.text, "this LibTorch reads 1 to 10"));
  }
}

TEST_CASE("S18: trace works on a copy in eval mode, so the module given stays as it is and may change later") {
  engine_ears ears;
  engine host{ears.options(2)};
  auto module = modules::linear();
  const auto x = at::rand({5, 4});
  const auto before = module.forward({x}).toTensor().clone();
  const auto model = trace(module, {at::rand({2, 4})});
  module.attr("weight").toTensor().zero_();
  data_parallel parallel{host, model};
  EXPECT(same(answer(parallel, {x}), before));

  auto training = modules::batch_norm();
  training.train();
  const auto norm = trace(training, {at::rand({2, 3, 4, 4})});
  EXPECT(training.is_training());
  data_parallel warned{host, norm};
  EXPECT(count_of(warned.warnings(), "was in training mode") == 1);
  EXPECT(count_of(ears.sentences(), "was in training mode") == 1);
  training.eval();
  const auto image = at::rand({3, 3, 4, 4});
  EXPECT(same(answer(warned, {image}), training.forward({image}).toTensor()));
}

TEST_CASE("S18: training wired into the graph, and a module that changes its own attributes, are unsupported_model") {
  EXPECT(trace_failure(modules::wired_dropout(), {at::rand({2, 3})}).code == errc::unsupported_model);
  EXPECT(trace_failure(modules::wired_batch_norm(), {at::rand({2, 3, 4, 4})}).code == errc::unsupported_model);
  EXPECT(trace_failure(modules::counts_calls(), {at::rand({2, 3})}).code == errc::unsupported_model);
  EXPECT(trace_failure(modules::changes_buffer(), {at::rand({2, 3})}).code == errc::unsupported_model);
  EXPECT(trace_failure(modules::no_tensor_output(), {at::rand({2, 3})}).code == errc::unsupported_model);
}

TEST_CASE(
    "S18: the program is built for the example's exact shape, and only one that gives the module's results is used") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto model = trace(modules::gated_conv(), {at::rand({4, 3, 12, 12})});
  EXPECT((model.inputs()[0].shape == std::vector<std::int64_t>{4, 3, 12, 12}));
  data_parallel parallel{host, model};
  for (const std::int64_t rows : {1, 4, 9}) {
    const auto x = at::randn({rows, 3, 12, 12}) * 5;
    EXPECT(same(answer(parallel, {x}), source_answer(model, {x}).toTensor()));
  }
}

TEST_CASE("S18: a saved model that is loaded again gives the same answers") {
  engine_ears ears;
  engine host{ears.options(2)};
  const scratch_folder folder;
  const auto model = trace(modules::conv_plus_one(), {at::rand({2, 3, 8, 8})});
  save(model, folder / "model.pt");
  data_parallel a{host, model}, b{host, load(folder / "model.pt")};
  EXPECT((a.model().inputs() == b.model().inputs()));
  EXPECT((a.model().outputs() == b.model().outputs()));
  const auto x = at::rand({7, 3, 8, 8});
  EXPECT(same(answer(a, {x}), answer(b, {x})));
}

TEST_CASE("S18: a plain TorchScript file is refused with how to trace it, and can be traced") {
  const scratch_folder folder;
  const auto path = folder / "plain.pt";
  modules::plus_one().save(path.string());
  const auto f = failure_of([&] { load(path); });
  EXPECT(f.code == errc::model_load_failed);
  EXPECT(contains(f.text, "ganglion trace"));
  EXPECT(contains(f.text, path.string()));
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, trace(load_module(path), {at::ones({2, 3})})};
  EXPECT(same(answer(parallel, {counted({5, 3})}), counted({5, 3}) + 1));
}

TEST_CASE("S18: a model with Inferentia operators says so, and runs with the library that has them") {
  const scratch_folder folder;
  const auto artifact = folder / "neuron.pt", plain = folder / "plain.pt";
  REQUIRE(std::system(fmt::format("'{}' '{}' '{}' '{}'", GANGLION_NEURON_WRITER, GANGLION_NEURON_OPS, artifact.string(),
                                  plain.string()).c_str()) == 0);
  const auto f = failure_of([&] { load(artifact); });
  EXPECT(f.code == errc::model_load_failed);
  EXPECT(contains(f.text, "neuron::"));
  EXPECT(contains(f.text, "op_libraries"));
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, load(artifact, {.op_libraries = {GANGLION_NEURON_OPS}})};
  EXPECT(same(answer(parallel, {counted({5, 3})}), counted({5, 3}) * 2));
}
