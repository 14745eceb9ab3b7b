#include <ganglion/model_io/model.hpp>
#include <ganglion/model_io/replica.hpp>

#include <support/doctest.hpp>
#include <support/errors.hpp>
#include <support/modules.hpp>
#include <support/scratch_folder.hpp>

#include <ATen/ATen.h>
#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>

using namespace ganglion;
namespace modules = test_modules;

namespace {

/// Only the program of a name is tried.
trace_options only(const std::string& name) {
  trace_options options;
  for (const auto* other : {"winograd", "onednn", "optimized", "channels_last", "frozen", "as_is"})
    if (other != name) options.excluded.emplace(other, "not asked for");
  return options;
}

/// Weights for code that calls them w0, w1, ..., seeded.
torch::jit::Module with_weights(const std::vector<std::vector<std::int64_t>>& shapes, const std::string& code) {
  torch::jit::Module module{"Net"};
  at::manual_seed(3);
  for (std::size_t i = 0; i < shapes.size(); ++i)
    module.register_parameter(fmt::format("w{}", i), at::randn(shapes[i]) * 0.2, false);
  module.define(code);
  return module;
}

/// Compiles with one program alone, runs it on rows that it has not seen, and compares with the module.
void check(const torch::jit::Module& module, const std::vector<std::int64_t>& shape,
           const std::string& name = "onednn") {
  const auto model = trace(module, {at::randn(shape)}, only(name));
  DOCTEST_INFO(model.measurements());
  REQUIRE(model.recipe() == name);
  auto reference = model.source();
  auto replica = model.make_replica();
  for (int i = 0; i < 5; ++i) {
    const auto x = at::randn(shape) * (i + 1);
    const auto kept = x.clone();
    const auto wanted = reference.forward({x}).toTensor(), given = replica.run({x}).toTensor();
    EXPECT(given.sizes() == wanted.sizes());
    EXPECT(at::allclose(given, wanted, 1e-4, 1e-4 * wanted.abs().max().item<double>()));
    EXPECT(x.equal(kept));
  }
}

/// Whether oneDNN has Winograd's method for this CPU.
const bool does_winograd = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");

/// Two blocks with a shortcut each, a pool, and a classifier, as in residual networks.
const auto residual = R"(
def forward(self, x):
  x = torch.max_pool2d(torch.relu(torch.conv2d(x, self.w0, self.w1, [2, 2], [1, 1])), [3, 3], [2, 2], [1, 1])
  a = torch.conv2d(torch.relu_(torch.conv2d(x, self.w2)), self.w3, None, [1, 1], [1, 1])
  a += torch.conv2d(x, self.w4)
  y = torch.relu_(a)
  b = torch.conv2d(torch.relu(torch.conv2d(y, self.w5)), self.w6)
  y = torch.relu(torch.add(y, b))
  return torch.linear(torch.flatten(torch.adaptive_avg_pool2d(y, [1, 1]), 1), self.w7, self.w8)
)";
const std::vector<std::vector<std::int64_t>> residual_weights{
    {16, 3, 3, 3}, {16}, {8, 16, 1, 1}, {32, 8, 3, 3}, {32, 16, 1, 1}, {8, 32, 1, 1}, {32, 8, 1, 1}, {5, 32}, {5}};

}  // namespace

TEST_CASE("fused programs are right: residual blocks, at several batches") {
  for (const std::int64_t batch : {1, 2, 5}) check(with_weights(residual_weights, residual), {batch, 3, 21, 18});
}

TEST_CASE("fused programs are right: convolutions by Winograd's method, and they are others than the direct ones") {
  const auto code = R"(
def forward(self, x):
  x = torch.relu(torch.conv2d(x, self.w0, None, [1, 1], [1, 1]))
  y = torch.conv2d(torch.relu(torch.conv2d(x, self.w1, self.w2, [1, 1], [1, 1])), self.w3, None, [1, 1], [1, 1])
  y += torch.conv2d(x, self.w4)
  return torch.conv2d(torch.relu_(y), self.w1, self.w2, [2, 2], [1, 1])
)";
  const auto module = with_weights({{16, 3, 3, 3}, {32, 16, 3, 3}, {32}, {16, 32, 3, 3}, {16, 16, 1, 1}}, code);
  const auto x = at::randn({2, 3, 29, 22});
  if (!does_winograd) {
    EXPECT(contains(trace(module, {x}).measurements(), R"("winograd":{"rejected":"it has no convolution that oneDNN)"));
    return;
  }
  for (const std::int64_t batch : {1, 2, 5}) check(module, {batch, 3, 29, 22}, "winograd");

  // Whichever was chosen, nothing of the others stays.
  const scratch_folder folder;
  const auto chosen = trace(module, {x});
  EXPECT(contains(chosen.measurements(), R"("winograd":{"seconds")"));
  save(chosen, folder / "model.pt");
  EXPECT(load(folder / "model.pt").weight_bytes() == chosen.weight_bytes());
  auto of_two_shapes = only("winograd");
  of_two_shapes.more_examples = {{at::randn({5, 3, 29, 22})}, {at::randn({1, 3, 8, 8})}};
  EXPECT(trace(module, {x}, of_two_shapes).recipe(2) == "winograd");

  auto answer_of = [&](const std::string& name) {
    return trace(module, {x}, only(name)).make_replica().run({x}).toTensor();
  };
  EXPECT_FALSE(answer_of("winograd").equal(answer_of("onednn")));
}

TEST_CASE("fused programs are right: groups, dilation, gates, means") {
  for (const std::int64_t batch : {1, 2}) check(with_weights({{32, 1, 3, 3}, {32}, {32, 16, 3, 3}, {32, 32, 1, 1}}, R"(
def forward(self, x):
  y = torch.hardswish(torch.conv2d(x, self.w0, self.w1, [1, 1], [1, 1], [1, 1], 32))
  z = torch.conv2d(y, self.w2, None, [2, 2], [2, 2], [2, 2], 2)
  gate = torch.sigmoid(torch.conv2d(torch.mean(z, [2, 3], True), self.w3))
  return torch.mean(gate * z, [2, 3])
)"),
        {batch, 32, 10, 10});
}

TEST_CASE("fused programs are right: linear layers over rows and over sequences") {
  check(with_weights({{32, 16}, {32}, {16, 32}, {16}}, R"(
def forward(self, x):
  y = torch.linear(torch.gelu(torch.linear(x, self.w0, self.w1)), self.w2, self.w3)
  return torch.tanh(x + y)
)"),
        {3, 16});
  check(with_weights({{32, 16}, {32}, {16, 32}}, R"(
def forward(self, x):
  y = torch.linear(torch.relu(torch.linear(x, self.w0, self.w1)), self.w2)
  return torch.softmax(torch.linear(torch.transpose(y, 1, 2), self.w0[:, :5]), 1)
)"),
        {2, 5, 16});
}

TEST_CASE("fused programs are right: values that are used outside of them and inside again") {
  check(with_weights({{8, 3, 3, 3}, {8, 8, 1, 1}}, R"(
def forward(self, x):
  a = torch.conv2d(x, self.w0)
  b = torch.cumsum(torch.relu(a), 1)
  c = torch.conv2d(torch.relu(a), self.w1)
  return torch.add(torch.conv2d(b, self.w1), c) + a
)"),
        {2, 3, 9, 9});
}

TEST_CASE("fused programs are right: whole layers of an encoder") {
  for (const auto* flags : {"False, False", "True, False", "False, True", "True, True"})
    check(with_weights({{48, 16}, {48}, {16, 16}, {16}, {16}, {16}, {16}, {16}, {32, 16}, {32}, {16, 32}, {16}},
                       fmt::format(R"(
def forward(self, x):
  return torch._transformer_encoder_layer_fwd(x, 16, 2, self.w0, self.w1, self.w2, self.w3, {}, 1e-05, self.w4, self.w5,
                                              self.w6, self.w7, self.w8, self.w9, self.w10, self.w11)
)",
                                   flags)),
          {3, 7, 16});
}

TEST_CASE("a program with channels last is right") {
  check(with_weights(residual_weights, residual), {3, 3, 21, 18}, "channels_last");
}

TEST_CASE("programs of several shapes share packed weights") {
  auto options = only("onednn");
  options.more_examples = {{at::randn({4, 16})}, {at::randn({8, 16})}};
  const auto module =
      with_weights({{64, 16}, {64}}, "def forward(self, x):\n  return torch.linear(x, self.w0, self.w1)\n");
  const auto one = trace(module, {at::randn({2, 16})}, only("onednn"));
  const auto three = trace(module, {at::randn({2, 16})}, options);
  REQUIRE(three.recipe(2) == "onednn");
  // At most one layout more than for a single shape.
  EXPECT(three.weight_bytes() <= 2 * one.weight_bytes());
  auto replica = three.make_replica(), second = three.make_replica();
  for (std::size_t p = 0; p < 3; ++p) {
    replica.run({at::randn(three.signature(p).inputs[0].shape)}, p);
    second.run({at::randn(three.signature(p).inputs[0].shape)}, p);
  }
  EXPECT(replica.weight_storages() == second.weight_storages());
}

TEST_CASE("what a program of a model would be no other than the frozen one is said") {
  const auto model = trace(modules::plus_one(), {at::randn({2, 3})});
  EXPECT(contains(model.measurements(), R"("onednn":{"rejected":"it has no convolution and no linear layer)"));
  EXPECT(contains(model.measurements(), R"("channels_last":{"rejected":"it has no convolution over images)"));
  const auto pointwise = with_weights({{4, 3, 1, 1}}, "def forward(self, x):\n  return torch.conv2d(x, self.w0)\n");
  EXPECT(contains(trace(pointwise, {at::randn({2, 3, 5, 5})}).measurements(),
                  R"("winograd":{"rejected":"it has no convolution that oneDNN does by Winograd's method here)"));
}

TEST_CASE("every program is timed, the module itself too, and the fastest is kept") {
  const auto model = trace(with_weights(residual_weights, residual), {at::randn({2, 3, 21, 18})});
  const auto measured = boost::json::parse(model.measurements());
  std::map<double, std::string> by_seconds;
  for (const auto& [name, entry] : measured.as_object())
    if (const auto* seconds = entry.as_object().if_contains("seconds"))
      by_seconds.emplace(seconds->to_number<double>(), name);
  for (const auto* name : {"as_is", "frozen", "channels_last", "optimized", "onednn"})
    EXPECT(measured.as_object().contains(name));
  REQUIRE(by_seconds.size() >= 4);
  DOCTEST_INFO(model.measurements());
  EXPECT(model.recipe() == by_seconds.begin()->second);
  EXPECT(measured.at("as_is").at("deviation").to_number<double>() == 0);
}

TEST_CASE("the module itself may be the program, in bf16 too, also when it was saved") {
  const scratch_folder folder;
  const auto x = at::randn({4, 8});
  for (const auto cast : {auto_cast::none, auto_cast::bf16}) {
    auto options = only("as_is");
    options.auto_cast = cast;
    const auto model = trace(modules::linear(8, 5), {x}, options);
    REQUIRE(model.recipe() == (cast == auto_cast::none ? "as_is" : "as_is+bf16"));
    save(model, folder / "model.pt");
    const auto again = load(folder / "model.pt");
    EXPECT(again.recipe() == model.recipe());
    auto module = model.source();
    const auto wanted = module.forward({x}).toTensor();
    EXPECT(at::allclose(again.make_replica().run({x}).toTensor(), wanted, 0.05, 0.05));
  }
}

TEST_CASE("programs are compared on rows of other scales than the example's") {
  // In bf16 wrong by far for values that the example does not have, nor others of its scale.
  const auto module = modules::scripted("def forward(self, x):\n  return torch.where(x > 2.5, (x + 1000) - 1000, x)\n");
  const auto refused = failure_of([&] { trace(module, {at::rand({64, 8})}, {.auto_cast = auto_cast::bf16}); });
  EXPECT(refused.code == errc::unsupported_model);
  EXPECT(contains(refused.text, "relative deviation"));
}

TEST_CASE("a module that refuses values beyond its example's range is compared within it, also when it is loaded") {
  const auto module = with_weights(
      {{8}}, "def forward(self, x):\n  assert bool((x >= 0).all()) and bool((x <= 1).all())\n  return x * self.w0\n");
  const auto model = trace(module, {at::rand({4, 8})}, only("frozen"));
  REQUIRE(model.recipe() == "frozen");
  REQUIRE(model.warnings().size() == 1);
  EXPECT(contains(model.warnings()[0], "refuses some of the inputs that were made"));
  const scratch_folder folder;
  save(model, folder / "model.pt");
  const auto again = load(folder / "model.pt");
  EXPECT(again.recipe() == "frozen");
  EXPECT(again.warnings() == model.warnings());
}

TEST_CASE("measurements tell deviations of every program, and agreement for classes") {
  const auto model = trace(modules::linear(8, 5), {at::randn({4, 8})}, {.auto_cast = auto_cast::bf16});
  for (const auto* name : {"seconds", "deviation", "relative_l2", "mean_deviation", "top1_agreement"})
    EXPECT(contains(model.measurements(), fmt::format("\"{}\":", name)));
}

TEST_CASE("what trace goes on with is heard, and the module itself between programs and at the end") {
  std::vector<std::string> heard;
  trace_options options;
  options.excluded["optimized"] = "it crashed";
  options.progress = [&](std::string_view program) { heard.emplace_back(program); };
  trace(modules::linear(), {at::rand({2, 4})}, options);
  REQUIRE(heard.size() > 6);
  EXPECT(heard[0] == "frozen");  // the graph is looked at as it is then
  EXPECT(heard[1] == "");
  EXPECT(heard[2] == "as_is");
  EXPECT(heard[3] == "");
  EXPECT(heard.back() == "");
  EXPECT(std::ranges::count(heard, "onednn") > 1);  // once to be compared, and each time that it is timed
  EXPECT(std::ranges::count(heard, "optimized") == 0);
}

TEST_CASE("programs that are excluded are not tried, and the reason is recorded") {
  auto options = only("frozen");
  options.excluded["optimized"] = "it crashed";
  const auto model = trace(modules::linear(), {at::rand({2, 4})}, options);
  EXPECT(model.recipe() == "frozen");
  EXPECT(contains(model.measurements(), R"("optimized":{"rejected":"it crashed","excluded":true})"));
  options.excluded = {{"fastest", "no such"}};
  EXPECT(contains(failure_of([&] { trace(modules::linear(), {at::rand({2, 4})}, options); }).text,
                  "excluded has 'fastest', which is no program"));
}

TEST_CASE("bf16: the bound on the deviation can be moved, and is kept in the artifact") {
  const auto cancels = modules::scripted("def forward(self, x):\n  return (x + 4) - 4\n");
  const auto example = at::randn({64, 8}) * 0.3;
  const auto refused =
      failure_of([&] { trace(cancels, {example}, {.auto_cast = auto_cast::bf16, .max_deviation = 1e-4}); });
  EXPECT(refused.code == errc::unsupported_model);
  EXPECT(contains(refused.text, "at most 0.0001 is allowed (the largest difference is"));
  const auto model = trace(cancels, {example}, {.auto_cast = auto_cast::bf16, .max_deviation = 0.9});
  const scratch_folder folder;
  save(model, folder / "model.pt");
  EXPECT(load(folder / "model.pt").recipe() == model.recipe());
}

TEST_CASE("bf16: of answers that are integers alone the share that differs is bounded and told") {
  const auto classes = modules::scripted("def forward(self, x):\n  return torch.argmax(x, 1)\n");
  const auto apart = at::eye(8);
  const auto model = trace(classes, {apart}, {.auto_cast = auto_cast::bf16});
  EXPECT(contains(model.measurements(), R"("integer_agreement":1)"));
  // Of 1,000 values between 0 and 1 several are rounded to the largest.
  const auto saved = modules::scripted("def forward(self, x):\n  return torch.argmax(torch.abs(x), 1)\n");
  const scratch_folder folder;
  save(trace(saved, {apart}, {.auto_cast = auto_cast::bf16, .threads = 2}), folder / "model.pt");
  EXPECT(contains(load(folder / "model.pt", {.retune = true, .threads = 1}).measurements(), "integer_agreement"));
  const auto refused = failure_of([&] { trace(classes, {at::rand({32, 1000})}, {.auto_cast = auto_cast::bf16}); });
  EXPECT(refused.code == errc::unsupported_model);
  EXPECT(contains(refused.text, "of its integers differ, but at most 0.05 may"));
}

TEST_CASE("calibration is cut to the compiled rows, judged, and must fit") {
  auto linear = modules::linear(8, 5);
  trace_options options{.auto_cast = auto_cast::bf16};
  options.calibration = {{at::randn({11, 8})}};
  EXPECT(contains(trace(linear, {at::randn({4, 8})}, options).measurements(), "top1_agreement"));
  options.calibration = {{at::randn({3, 8})}};
  const auto few = failure_of([&] { trace(linear, {at::randn({4, 8})}, options); });
  EXPECT(few.code == errc::invalid_argument);
  EXPECT(contains(few.text, "the calibration has 3 rows, but the model is compiled for 4"));
  options.calibration = {{at::randn({4, 9})}};
  EXPECT(contains(failure_of([&] { trace(linear, {at::randn({4, 8})}, options); }).text,
                  "the calibration does not fit the example"));
  // What bf16 does to values that the example does not have is found out.
  const auto cancels = modules::scripted("def forward(self, x):\n  return torch.where(x > 500, (x + 7) - x, x)\n");
  options.calibration = {{at::full({4, 8}, 1000.)}};
  EXPECT(trace(cancels, {at::rand({4, 8})}, {.auto_cast = auto_cast::bf16}).recipe().ends_with("+bf16"));
  EXPECT(failure_of([&] { trace(cancels, {at::rand({4, 8})}, options); }).code == errc::unsupported_model);
}

TEST_CASE("options of trace and load are checked") {
  for (const std::size_t threads : {std::size_t{0}, std::size_t{1025}}) {
    const failure wanted{errc::invalid_argument, fmt::format("threads is {}: it must be from 1 to 1024", threads)};
    EXPECT(failure_of([&] { trace(modules::linear(), {at::rand({2, 4})}, {.threads = threads}); }) == wanted);
    EXPECT(failure_of([&] { load("missing.pt", {.threads = threads}); }) == wanted);
  }
  EXPECT(contains(failure_of([&] { trace(modules::linear(), {at::rand({2, 4})}, {.max_deviation = 0}); }).text,
                  "max_deviation is 0: it must be above 0"));
}

TEST_CASE("a model that was tuned for other threads says so when it is loaded, or is tuned again") {
  const scratch_folder folder;
  const auto path = folder / "model.pt";
  const auto model = trace(modules::linear(), {at::rand({2, 4})}, {.threads = 2});
  REQUIRE(model.tuned());
  EXPECT(model.tuned()->threads == 2);
  save(model, path);
  load_options options;
  options.threads = 2;
  EXPECT(load(path, options).warnings().empty());
  EXPECT(load(path).warnings().empty());  // it has not been said on how many it will run
  const auto other = load(path, {.threads = 1});
  REQUIRE(other.warnings().size() == 1);
  EXPECT(contains(other.warnings()[0], "with 2 intra-op thread(s), and this is "));
  EXPECT(other.recipe() == model.recipe());
  EXPECT(other.measurements() == model.measurements());
  options = {.retune = true, .threads = 1};
  const auto again = load(path, options);
  EXPECT(again.warnings().empty());
  EXPECT(again.tuned()->threads == 1);
  EXPECT(again.tuned()->cpu == model.tuned()->cpu);
  EXPECT(again.content_hash() == model.content_hash());

  EXPECT(load(path, {.retune = true}).measurements() == model.measurements());  // for the same threads

  const auto untuned = trace(modules::linear(), {at::rand({2, 4})}, {.tune = false});
  EXPECT_FALSE(untuned.tuned());
  save(untuned, path);
  EXPECT(load(path, {.threads = 3}).warnings().empty());
}

TEST_CASE("a model that was tuned on another type of CPU says so when it is loaded, or is tuned again") {
  const scratch_folder folder;
  const auto path = folder / "model.pt";
  const auto model = trace(modules::linear(), {at::rand({2, 4})}, {.threads = 2});
  save(model, path);
  auto module = load_module(path);
  auto manifest = module.attr("ganglion_manifest").toStringRef();
  const auto at = manifest.find(model.tuned()->cpu);
  REQUIRE(at != manifest.npos);
  manifest.replace(at, model.tuned()->cpu.size(), "abacus");
  module.setattr("ganglion_manifest", manifest);
  const auto other = restore(module);
  REQUIRE(other.warnings().size() == 1);
  EXPECT(contains(other.warnings()[0], "was tuned on abacus with 2 intra-op thread(s), and this is "));
  EXPECT(other.recipe() == model.recipe());
  // What is said of this machine does not go to the next one.
  save(other, path);
  const auto next = load(path);
  REQUIRE(next.warnings().size() == 1);
  EXPECT(contains(next.warnings()[0], fmt::format("'{}' was tuned on abacus", path.native())));
}

TEST_CASE("tuning again measures anew, and does not try what was excluded") {
  const scratch_folder folder;
  const auto path = folder / "model.pt";
  trace_options options{.auto_cast = auto_cast::bf16, .threads = 2};
  options.excluded["optimized"] = "it crashed";
  const auto model = trace(modules::linear(8, 5), {at::randn({4, 8})}, options);
  save(model, path);
  const auto again = load(path, {.retune = true, .threads = 1});
  const auto before = boost::json::parse(model.measurements()), after = boost::json::parse(again.measurements());
  EXPECT(after.at("optimized+bf16") == before.at("optimized+bf16"));
  EXPECT(again.excluded() == options.excluded);
  const auto& measured = after.at("frozen+bf16").as_object();
  for (const auto* name : {"seconds", "deviation", "relative_l2", "mean_deviation"}) {
    DOCTEST_INFO(name);
    EXPECT(measured.at(name).to_number<double>() > 0);
  }
  EXPECT(measured.contains("top1_agreement"));
  EXPECT(measured != before.at("frozen+bf16").as_object());
}
