#include <ganglion/model_io/replica.hpp>

#include "execution.hpp"
#include "model_state.hpp"
#include "rows.hpp"

#include <c10/util/Exception.h>

#include <chrono>
#include <string_view>

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

std::string brief_message(const std::exception& e) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&e);
  const std::string text = torch_error ? torch_error->what_without_backtrace() : e.what();
  std::string_view rest{text};
  // TorchScript puts its own traceback before the message, and the exception's type: `\nbuiltins.ValueError: `.
  if (rest.find("Traceback of TorchScript") != rest.npos) {
    const auto end = rest.find_last_not_of(" \t\r\n");
    const auto line = rest.rfind('\n', end);
    const auto type = rest.find(": ", line == rest.npos ? 0 : line);
    if (const auto marker = rest.rfind("\nRuntimeError: "); marker != rest.npos)
      rest.remove_prefix(marker + std::string_view{"\nRuntimeError: "}.size());
    else if (type != rest.npos)
      rest.remove_prefix(type + 2);
  }
  constexpr std::string_view blank = " \t\r\n";
  rest.remove_prefix(std::min(rest.find_first_not_of(blank), rest.size()));
  rest = rest.substr(0, rest.find('\n'));
  rest = rest.substr(0, rest.find_last_not_of(blank) + 1);
  return rest.empty() ? "no message" : std::string{rest};
}

}  // namespace ganglion
