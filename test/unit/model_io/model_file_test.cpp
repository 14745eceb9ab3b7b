// Files that are no models, damaged ones, and those of other versions: each is refused with what it is.
#include <ganglion/model_io/replica.hpp>

#include "model_files.hpp"

#include <support/scratch_folder.hpp>

#include <ATen/ATen.h>
#include <boost/json.hpp>
#include <fmt/format.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <sys/stat.h>

using namespace ganglion;
using namespace model_files;
namespace fs = std::filesystem;
namespace modules = test_modules;

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
