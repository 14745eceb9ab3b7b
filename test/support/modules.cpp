#include <support/modules.hpp>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

namespace test_modules {

using torch::jit::Module;

namespace {

class weights {
 public:
  at::Tensor operator()(at::IntArrayRef shape) { return at::randn(shape, generator_) * 0.3; }

 private:
  at::Generator generator_ = at::make_generator<at::CPUGeneratorImpl>(7);
};

void add_norm(Module& module) {
  weights weight;
  module.register_parameter("weight", weight({3}), false);
  module.register_parameter("bias", weight({3}), false);
  module.register_buffer("mean", weight({3}));
  module.register_buffer("variance", weight({3}).abs() + 1);
  module.register_buffer("batches", at::zeros({}, at::kLong));
  module.register_attribute("training", c10::BoolType::get(), false);
}

}  // namespace

Module scripted(const std::string& code) {
  Module module{"Net"};
  module.define(code);
  return module;
}

Module plus_one() { return scripted("def forward(self, x):\n  return x + 1\n"); }

Module no_op() { return scripted("def forward(self, x):\n  return x\n"); }

Module linear(std::int64_t in, std::int64_t out) {
  weights weight;
  Module module{"Net"};
  module.register_parameter("weight", weight({out, in}), false);
  module.register_parameter("bias", weight({out}), false);
  module.define("def forward(self, x):\n  return torch.linear(x, self.weight, self.bias)\n");
  return module;
}

Module rounded_by_place() {
  return scripted(
      "def forward(self, x):\n"
      "  return x * (1.0 + 1e-6 * torch.arange(x.size(0)).unsqueeze(1))\n");
}

Module conv_plus_one() {
  weights weight;
  Module module{"Net"};
  module.register_parameter("weight", weight({3, 3, 3, 3}), false);
  module.register_parameter("bias", weight({3}), false);
  module.define("def forward(self, x):\n  return torch.conv2d(x, self.weight, self.bias) + 1\n");
  return module;
}

Module batch_norm() {
  Module module{"Net"};
  add_norm(module);
  module.define(R"(
def forward(self, x):
  if self.training:
    self.batches.add_(1)
  return torch.batch_norm(x, self.weight, self.bias, self.mean, self.variance, self.training, 0.1, 1e-5, False)
)");
  return module;
}

Module gated_conv() {
  weights weight;
  Module module{"Net"};
  module.register_parameter("body", weight({12, 3, 3, 3}), false);
  module.register_parameter("gate", weight({12, 3, 1, 1}), false);
  module.register_parameter("bias", weight({12}), false);
  module.define(R"(
def forward(self, x):
  a = torch.relu(torch.conv2d(x, self.body, self.bias, [1, 1], [1, 1]))
  g = torch.conv2d(torch.adaptive_avg_pool2d(x, [1, 1]), self.gate, self.bias)
  return a * torch.hardsigmoid(g)
)");
  return module;
}

Module minus_batch_mean() {
  return scripted("def forward(self, x):\n  return x - torch.mean(x, [0], True)\n");
}

Module plus_row_number() {
  return scripted(R"(
def forward(self, x):
  return x + torch.unsqueeze(torch.arange(x.size(0)), 1)
)");
}

Module total() { return scripted("def forward(self, x):\n  return torch.sum(x)\n"); }

Module two_inputs() { return scripted("def forward(self, x, y):\n  return x + 2 * y\n"); }

Module with_numbers() {
  return scripted("def forward(self, x, scale: float, shift: int = 1):\n  return x * scale + shift\n");
}

Module nested_inputs() {
  return scripted(R"(
def forward(self, pair: Tuple[Tensor, Tensor], more: List[Tensor], named: Dict[str, Tensor]):
  result = pair[0] + pair[1]
  for tensor in more:
    result = result + tensor
  for key in named.keys():
    result = result + named[key]
  return result
)");
}

Module nested_outputs() { return scripted("def forward(self, x):\n  return (x + 1, [x * 2, x * 3])\n"); }

Module dict_outputs() {
  return scripted("def forward(self, x):\n  return {\"sum\": x + 1, \"product\": x * 2}\n");
}

Module with_plain_outputs() { return scripted("def forward(self, x):\n  return (x + 1, 7, \"seven\")\n"); }

Module no_tensor_output() { return scripted("def forward(self, x):\n  return x.size(0)\n"); }

Module writes_input() { return scripted("def forward(self, x):\n  x[0].add_(1)\n  return x.add_(1)\n"); }

Module counts_calls() {
  Module module{"Net"};
  module.register_attribute("calls", c10::IntType::get(), 0);
  module.define("def forward(self, x):\n  self.calls += 1\n  return x + self.calls\n");
  return module;
}

Module changes_buffer() {
  Module module{"Net"};
  module.register_buffer("total", at::zeros({}));
  module.define("def forward(self, x):\n  self.total.add_(1)\n  return x + self.total\n");
  return module;
}

Module wired_dropout() { return scripted("def forward(self, x):\n  return torch.dropout(x, 0.5, True)\n"); }

Module wired_batch_norm() {
  Module module{"Net"};
  add_norm(module);
  module.define(R"(
def forward(self, x):
  return torch.batch_norm(x, self.weight, self.bias, self.mean, self.variance, True, 0.1, 1e-5, False)
)");
  return module;
}

Module random() { return scripted("def forward(self, x):\n  return x + torch.rand_like(x)\n"); }

Module fails_on_marked_rows() {
  return scripted(R"(
def forward(self, x):
  assert bool(torch.all(x < 1e6)), "a row is marked"
  return x + 1
)");
}

Module fails() {
  return scripted(R"(
def forward(self, x):
  assert x.size(0) < 0, "it never works"
  return x
)");
}

}  // namespace test_modules
