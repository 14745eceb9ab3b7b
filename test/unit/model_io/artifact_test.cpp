#include <ganglion/model_io/model.hpp>
#include <ganglion/model_io/replica.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <support/doctest.hpp>
#include <support/errors.hpp>
#include <support/modules.hpp>
#include <support/scratch_folder.hpp>

#include <ATen/ATen.h>
#include <boost/json.hpp>
#include <fmt/format.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <fstream>
#include <sstream>

#include <sys/stat.h>

using namespace ganglion;
namespace fs = std::filesystem;
namespace modules = test_modules;

namespace {

std::string bytes_of(const fs::path& path) {
  std::ifstream in{path, std::ios::binary};
  std::ostringstream all;
  all << in.rdbuf();
  return all.str();
}

void write(const fs::path& path, std::string_view bytes) {
  std::ofstream out{path, std::ios::binary};
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

failure load_failure(const fs::path& path, load_options options = {}) {
  return failure_of([&] { load(path, std::move(options)); });
}

/// Puts other text of the same length into a file, wherever it stands.
void patch(const fs::path& path, const std::string& from, const std::string& to) {
  auto bytes = bytes_of(path);
  const auto at = bytes.find(from);
  REQUIRE(at != bytes.npos);
  write(path, bytes.replace(at, from.size(), to));
}

/// The archive of a module that carries a signature of the test's own.
void write_with_signature(const fs::path& path, const std::string& signature) {
  auto module = modules::plus_one();
  module.register_attribute("ganglion_signature", c10::StringType::get(), signature);
  module.save(path.string());
}

}  // namespace

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
  EXPECT(loaded.weight_bytes() == model.weight_bytes());
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

TEST_CASE("a file that is no model is refused with what it is instead") {
  const scratch_folder folder;
  const auto refused = [&](const fs::path& path) {
    const auto f = load_failure(path);
    EXPECT(f.code == errc::model_load_failed);
    EXPECT(contains(f.text, path.string()));
    EXPECT_FALSE(contains(f.text, "\n"));
    EXPECT(failure_of([&] { load_module(path); }) == f);
    return f.text;
  };
  EXPECT(contains(refused(folder / "missing.pt"), "cannot be read: "));
  fs::create_directory(folder / "directory");
  EXPECT(contains(refused(folder / "directory"), "is a directory, not a model file"));
  write(folder / "empty.pt", "");
  EXPECT(contains(refused(folder / "empty.pt"), "is empty"));
  write(folder / "text.pt", "hello, this is text");
  EXPECT(contains(refused(folder / "text.pt"), "does not begin as a zip archive"));
  write(folder / "legacy.pt", std::string{"\x80\x02\x8a\x0a", 4} + "rest of a pickle");
  EXPECT(contains(refused(folder / "legacy.pt"), "old format"));
  write(folder / "garbage.pt", std::string{"PK\x03\x04"} + std::string(5000, '\x5a'));
  EXPECT(contains(refused(folder / "garbage.pt"), "truncated, damaged, or no archive of PyTorch"));
  const auto tensor = torch::jit::pickle_save(at::ones({2}));
  write(folder / "tensor.pt", {tensor.data(), tensor.size()});
  EXPECT(contains(refused(folder / "tensor.pt"), "holds a tensor or another value that torch.save wrote"));
  c10::Dict<std::string, at::Tensor> dict;
  dict.insert("a", at::ones({2}));
  const auto state = torch::jit::pickle_save(dict);
  write(folder / "dict.pt", {state.data(), state.size()});
  EXPECT(contains(refused(folder / "dict.pt"), "holds a tensor or another value that torch.save wrote"));
}

TEST_CASE("a truncated model is refused at every length") {
  const scratch_folder folder;
  save(trace(modules::linear(), {at::rand({2, 4})}), folder / "whole.pt");
  const auto whole = bytes_of(folder / "whole.pt");
  for (std::size_t n = 0; n < whole.size(); n += n < 64 ? 1 : 61) {
    write(folder / "part.pt", std::string_view{whole}.substr(0, n));
    const auto f = load_failure(folder / "part.pt");
    NOTE("length " << n << ": " << f.text);
    EXPECT(f.code == errc::model_load_failed);
  }
}

TEST_CASE("a model with bytes changed is refused or is whole, and never crashes") {
  const scratch_folder folder;
  const auto model = trace(modules::linear(), {at::rand({2, 4})}, {.tune = false});
  save(model, folder / "whole.pt");
  const auto whole = bytes_of(folder / "whole.pt");
  for (std::size_t n = 0; n < whole.size(); n += 37) {
    auto damaged = whole;
    damaged[n] = static_cast<char>(damaged[n] ^ 0x5a);
    write(folder / "damaged.pt", damaged);
    std::string hash;
    const auto f = failure_of([&] { hash = load(folder / "damaged.pt").content_hash(); });
    NOTE("byte " << n << ": " << f.text);
    EXPECT((f.code == errc::model_load_failed || hash == model.content_hash()));
  }
}

TEST_CASE("weights that are shorter than the pickle says are refused with both sizes, and never read past their end") {
  const scratch_folder folder;
  const auto refused = [&](const torch::jit::Module& module, const std::string& from, const std::string& to) {
    module.save((folder / "short.pt").string());
    patch(folder / "short.pt", from, to);
    const auto f = failure_of([&] { load_module(folder / "short.pt"); });
    EXPECT(f.code == errc::model_load_failed);
    return f.text;
  };
  auto module = modules::scripted("def other(self, x):\n  return x\n");
  // The storage's number of elements, the last of its description, as BININT2: 1000 become 60000.
  module.register_parameter("weight", at::ones({1000}), false);
  module.define("def forward(self, x):\n  return x + self.weight\n");
  EXPECT(contains(refused(module, std::string{"M\xe8\x03tQ", 5}, std::string{"M\x60\xeatQ", 5}),
                  "its record data/0 has 4000 bytes, but its tensors need 240000"));
  // A tensor that reaches past its storage: its size stands before its stride.
  EXPECT(contains(refused(module, std::string{"(M\xe8\x03t", 5}, std::string{"(M\x60\xeat", 5}),
                  "sizes [60000] with strides [1] at 0 are not within its storage of 4000 bytes"));
}

TEST_CASE("a pipe is no model file, and nobody waits for its writer") {
  const scratch_folder folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  for (const auto& path : {folder / "pipe", fs::path{"/dev/zero"}}) {
    EXPECT(contains(load_failure(path).text, "is a device, a pipe or a socket, not a model file"));
    EXPECT(failure_of([&] { load_module(path); }).code == errc::model_load_failed);
  }
}

TEST_CASE("S18: plain TorchScript is refused by load with how to trace it, and read by load_module") {
  const scratch_folder folder;
  const auto path = folder / "plain.pt";
  modules::plus_one().save(path.string());
  const auto f = load_failure(path);
  EXPECT(f.code == errc::model_load_failed);
  EXPECT(contains(f.text, "was never traced by Ganglion: run `ganglion trace " + path.string()));
  EXPECT(load_module(path).forward({at::zeros({1})}).toTensor().equal(at::ones({1})));
}

TEST_CASE("S17: an archive of a version that LibTorch does not read is refused with the versions") {
  const scratch_folder folder;
  const auto path = folder / "model.pt";
  save(trace(modules::plus_one(), {at::rand({2})}), path);
  // The record's stored text is "3\n"; its checksum is not looked at.
  auto bytes = bytes_of(path);
  const auto name = bytes.find("/version");
  REQUIRE(name != bytes.npos);
  const auto text = bytes.find("3\n", name);
  REQUIRE(text != bytes.npos);
  for (const auto& [version, said] : {std::pair{"0\n", "0"}, std::pair{"99", "99"}}) {
    write(path, bytes.replace(text, 2, version));
    const auto f = load_failure(path);
    EXPECT(f.code == errc::model_load_failed);
    EXPECT(contains(
        f.text, fmt::format("has version {} of the archive format, but this LibTorch reads 1 to 10", said)));
  }
  for (const char* version : {"1\n", "10"}) {
    write(path, bytes.replace(text, 2, version));
    EXPECT(load(path).inputs().size() == 1);
  }
}

TEST_CASE("S16: a model compiled with NeuronCore Pipeline is refused") {
  const scratch_folder folder;
  auto sig = trace(modules::plus_one(), {at::rand({2})}).signature();
  sig.pipeline_cores = 4;
  write_with_signature(folder / "model.pt", to_json(sig));
  const auto f = load_failure(folder / "model.pt");
  EXPECT(f.code == errc::unsupported_model);
  EXPECT(contains(f.text, "NeuronCore Pipeline for 4 cores"));
}

TEST_CASE("signatures and manifests of other versions, or that do not fit, are refused") {
  const scratch_folder folder;
  const auto path = folder / "model.pt";
  const auto model = trace(modules::plus_one(), {at::rand({2})});
  auto text = to_json(model.signature());
  write_with_signature(path, text.replace(text.find("\"version\":1"), 11, "\"version\":9"));
  EXPECT(contains(load_failure(path).text, "its signature has version 9, but this Ganglion reads version 1"));
  write_with_signature(path, "not JSON");
  EXPECT(contains(load_failure(path).text, "its signature cannot be read"));
  write_with_signature(path,
                       to_json(trace(modules::two_inputs(), {at::rand({2}), at::rand({2})}).signature()));
  EXPECT(contains(load_failure(path).text, "has a signature that does not fit its forward"));
  text = to_json(model.signature());
  write_with_signature(path, text.insert(1, R"("auto_cast":"fp8",)"));
  EXPECT(contains(load_failure(path).text, "its signature cannot be read: the auto_cast \"fp8\" is unknown"));

  const auto with_manifest = [&](const std::string& manifest) {
    auto source = model.source();
    source.save(path.string(), {{"ganglion_manifest.json", manifest}});
    return load_failure(path);
  };
  EXPECT(contains(with_manifest(R"({"version":2})").text,
                  "has a manifest of version 2, but this Ganglion reads version 1"));
  EXPECT(contains(with_manifest("{").text, "has a manifest that cannot be read"));
  const auto good = fmt::format(R"({{"version":1,"recipe":"frozen","auto_cast":"none","measurements":{{}},)"
                                R"("content_hash":"{}","warnings":[]}})",
                                model.content_hash());
  const auto with = [&](const std::string& member, const std::string& value, const std::string& said) {
    auto object = boost::json::parse(good).as_object();
    if (value.empty())
      object.erase(member);
    else
      object[member] = boost::json::parse(value);
    const auto f = with_manifest(boost::json::serialize(object));
    NOTE(f.text);
    EXPECT(f.code == errc::model_load_failed);
    EXPECT(contains(f.text, said));
    EXPECT(contains(f.text, "trace it again"));
  };
  EXPECT(with_manifest(good).code == errc::ok);
  with("recipe", "", "its \"recipe\" is missing");
  with("recipe", "3", "its \"recipe\" is no string: 3");
  with("recipe", "\"nope\"", "its recipe \"nope\" is unknown for the auto_cast \"none\"");
  with("recipe", "\"frozen+bf16\"", "its recipe \"frozen+bf16\" is unknown");
  with("measurements", "[]", "its \"measurements\" is no object: []");
  with("warnings", "\"x\"", "its \"warnings\" is no list of strings: \"x\"");
  const auto other_cast = with_manifest(fmt::format(R"({{"version":1,"recipe":"frozen+bf16","auto_cast":"bf16",)"
                                                    R"("measurements":{{}},"content_hash":"{}","warnings":[]}})",
                                                    model.content_hash()));
  EXPECT(contains(other_cast.text, "has the auto_cast bf16 in its manifest, but none in its signature"));
  const auto other = with_manifest(R"({"version":1,"recipe":"frozen","auto_cast":"none","measurements":{},)"
                                   R"("content_hash":"00","warnings":[]})");
  EXPECT(other.code == errc::model_load_failed);
  EXPECT(contains(other.text, "but 00 was recorded: it was changed or damaged"));
}

TEST_CASE("weights that were damaged on the way are noticed by the hash") {
  const scratch_folder folder;
  const auto path = folder / "model.pt";
  auto module = modules::scripted("def other(self, x):\n  return x\n");
  module.register_parameter("weight", at::full({4}, 1.5), false);
  module.define("def forward(self, x):\n  return x + self.weight\n");
  save(trace(module, {at::rand({2, 4})}), path);
  const float value = 1.5, other = 2.5;
  patch(path, {reinterpret_cast<const char*>(&value), 4}, {reinterpret_cast<const char*>(&other), 4});
  EXPECT(contains(load_failure(path).text, "it was changed or damaged after it was traced"));
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

TEST_CASE("S18: a model with Inferentia code loads only with the library of its operators") {
  const scratch_folder folder;
  const auto artifact = folder / "neuron.pt", plain = folder / "plain.pt";
  const auto command = fmt::format("'{}' '{}' '{}' '{}'", GANGLION_NEURON_WRITER, GANGLION_NEURON_OPS,
                                   artifact.string(), plain.string());
  REQUIRE(std::system(command.c_str()) == 0);
  for (const auto& path : {artifact, plain}) {
    const auto f = load_failure(path);
    EXPECT(f.code == errc::model_load_failed);
    EXPECT(contains(f.text, "holds Inferentia code (neuron:: operators)"));
    EXPECT(contains(f.text, "op_libraries"));
  }
  const auto missing = load_failure(artifact, {.op_libraries = {folder / "missing.so"}});
  EXPECT(missing.code == errc::model_load_failed);
  EXPECT(contains(missing.text, "missing.so' cannot be opened"));
  auto replica = load(artifact, {.op_libraries = {GANGLION_NEURON_OPS}}).make_replica();
  EXPECT(replica.run({at::ones({2, 3})}).toTensor().equal(at::full({2, 3}, 2.f)));
  EXPECT(contains(load_failure(plain).text, "was never traced by Ganglion"));
}
