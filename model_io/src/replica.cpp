#include <ganglion/model_io/replica.hpp>

#include "execution.hpp"
#include "model_state.hpp"
#include "rows.hpp"

#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <set>

namespace ganglion {

struct replica::impl {
  std::deque<execution> programs;  // which cannot be moved
};

replica::replica(compiled_model model) : model_(std::move(model)) {
  const auto& state = model_.internals();
  impl_ = std::make_unique<impl>();
  for (const auto& [sig, made] : state.programs) impl_->programs.emplace_back(made.module, sig, state.policy.cast);
}

replica::~replica() = default;
replica::replica(replica&&) noexcept = default;
replica& replica::operator=(replica&&) noexcept = default;

replica compiled_model::make_replica() const { return replica{*this}; }

c10::IValue replica::run(const std::vector<c10::IValue>& leaves, std::size_t program) {
  return impl_->programs[program].run(leaves);
}

c10::IValue replica::run_on_own(const std::vector<c10::IValue>& leaves, std::size_t program) {
  return impl_->programs[program].run(leaves, /*own=*/true);
}

double replica::warm_up(std::size_t program) {
  warm_up_runs runs{*this, program};
  while (runs.step()) {
  }
  return runs.seconds();
}

std::vector<const void*> replica::weight_storages() const {
  std::set<const void*> all;
  for (auto& program : impl_->programs) all.merge(program.weight_storages());
  return {all.begin(), all.end()};
}

namespace {

/// The leaves with the one row in place of all.
std::vector<c10::IValue> all_rows_as(std::int64_t row, const std::vector<c10::IValue>& leaves) {
  return with_rows_changed(leaves, [row](std::size_t, const at::Tensor& t) {
    return t.narrow(0, row % t.size(0), 1).expand_as(t).contiguous();
  });
}

bool rows_are_equal(const c10::IValue& answer) {
  const at::NoGradGuard guard;
  return std::ranges::all_of(leaves_of(answer), [](const auto& leaf) {
    if (!leaf.value.isTensor()) return true;
    const auto& t = leaf.value.toTensor();
    return at::equal(t, t.narrow(0, 0, 1).expand_as(t));
  });
}

}  // namespace

// The executor profiles the first run, compiles in the second, and may do so once more.
warm_up_runs::warm_up_runs(replica& of, std::size_t program)
    : of_(of), program_(program), leaves_(made_leaves(of.model().signature(program), 1)), left_(4) {}

bool warm_up_runs::step() {
  using clock = std::chrono::steady_clock;
  const bool independent = of_.model().signature(program_).not_eligible.empty();
  try {
    const auto leaves = independent ? all_rows_as(left_, leaves_) : leaves_;
    const auto begin = clock::now();
    const auto answer = of_.run(leaves, program_);
    seconds_ = std::chrono::duration<double>(clock::now() - begin).count();
    places_are_alike_ = places_are_alike_ && independent && rows_are_equal(answer);
  } catch (...) {  // what an operator throws need not be a std::exception
    places_are_alike_ = false;
    return false;
  }
  return --left_ > 0;
}

}  // namespace ganglion
