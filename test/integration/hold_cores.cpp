// A process that makes an engine and holds its cores: says how many it sees, or why it sees none; then, for each device
// id that it reads, which core that is, after having run a row there. Ends with its input.
#include <ganglion/engine/data_parallel.hpp>

#include <support/modules.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <iostream>

namespace {

void say(const std::string& line) { std::cout << line << std::endl; }

std::string failed(const ganglion::error& e) {
  return fmt::format("error {}: {}", ganglion::to_string(e.failure().code), e.what());
}

std::string use(ganglion::engine& host, const ganglion::compiled_model& model, const std::string& id) {
  try {
    ganglion::data_parallel parallel{host, model, {.device_ids = {id}}};
    auto answer = parallel({at::ones({1, 2})}).toTensor();
    const auto& core = host.cores().at(parallel.cores().at(0));
    return fmt::format("{} is core {} of the host, chip{}:core{}, and answers {}", id, core.global, core.chip,
                       core.core, answer.sum().item<double>());
  } catch (const ganglion::error& e) {
    return failed(e);
  }
}

}  // namespace

int main(int argc, char** argv) try {
  ganglion::engine_options options;
  options.lock_directory = argc > 1 ? argv[1] : "";
  options.pin = false;
  ganglion::engine host{options};
  const auto model = ganglion::trace(test_modules::plus_one(), {at::ones({1, 2})}, {.tune = false});
  say(fmt::format("sees {} cores", host.core_count()));
  for (std::string id; std::getline(std::cin, id);) say(use(host, model, id));
} catch (const ganglion::error& e) {
  say(failed(e));
  return 1;
}
