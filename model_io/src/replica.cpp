#include <ganglion/model_io/replica.hpp>

#include "execution.hpp"
#include "model_state.hpp"
#include "rows.hpp"

#include <chrono>

namespace ganglion {

struct replica::impl {
  execution run;
};

replica::replica(compiled_model model) : model_(std::move(model)) {
  const auto& state = model_.internals();
  impl_.reset(new impl{{state.program, state.signature, state.cast}});
}

replica::~replica() = default;
replica::replica(replica&&) noexcept = default;
replica& replica::operator=(replica&&) noexcept = default;

replica compiled_model::make_replica() const { return replica{*this}; }

c10::IValue replica::run(const std::vector<c10::IValue>& leaves) { return impl_->run.run(leaves); }

double replica::warm_up() {
  // The executor profiles the first run, compiles in the second, and may do so once more.
  constexpr int runs = 4;
  using clock = std::chrono::steady_clock;
  const auto leaves = made_leaves(model_.signature(), 1);
  std::chrono::duration<double> seconds{};
  for (int i = 0; i < runs; ++i) {
    const auto begin = clock::now();
    try {
      run(leaves);
    } catch (const std::exception&) {
      break;
    }
    seconds = clock::now() - begin;
  }
  return seconds.count();
}

std::vector<const void*> replica::weight_storages() const { return impl_->run.weight_storages(); }

}  // namespace ganglion
