// Visible cores: the environment's variables. The input: which variables are set and which cores are free (2 bytes),
// the number of CPUs and threads a core (3 bytes), then the variables' texts, each with a zero byte behind it.
#include "fuzz.hpp"

#include <ganglion/engine/topology.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

using namespace ganglion;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  test::choices choices{{data, size}};
  auto is_set = choices.below(8);
  auto free = choices.below(256);
  topology_request request;
  request.usable_cpus = choices.below(256);
  request.threads_per_core = choices.below(2048);
  auto texts = fuzz::split(fuzz::text_of(choices.rest()), '\0');
  texts.resize(3);
  if (is_set & 1) request.visible_cores_env = texts[0];
  if (is_set & 2) request.num_cores_env = texts[1];
  if (is_set & 4) request.host_cores_env = texts[2];

  std::vector<std::size_t> asked, taken;
  auto found = resolve_topology(request, [&](std::size_t core) -> expected<std::optional<pid_t>> {
    asked.push_back(core);
    if (free >> core % 8 & 1) {
      taken.push_back(core);
      return std::optional<pid_t>{};
    }
    return std::optional<pid_t>{static_cast<pid_t>(core % 3)};
  });
  for (std::size_t i = 0; i < asked.size(); ++i) require(asked[i] == i, "cores are asked for in ascending order");
  bool counts = request.num_cores_env && !request.visible_cores_env;
  require(counts || asked.empty(), "cores are asked for only where their number is given");
  if (!found) {
    auto code = found.error().code;
    require(code == errc::invalid_argument || code == errc::core_unavailable, "the code is one of the two");
    require(!found.error().text.empty(), "there is a sentence");
    return 0;
  }
  require(!found->cores.empty() && found->cores.size() <= found->host_cores, "at least one core, at most the host's");
  require(found->host_cores <= max_host_cores, "the host has no more cores than a host may have");
  require(found->needs_locks == ((is_set & 3) != 0), "cores are locked where a variable chooses them");
  std::vector<std::size_t> globals;
  for (const auto& core : found->cores) {
    require(core.index == globals.size(), "indices count from 0");
    require(core.global < found->host_cores, "a core is one of the host's");
    require(core.chip * cores_per_chip + core.core == core.global && core.core < cores_per_chip, "it is on its chip");
    globals.push_back(core.global);
  }
  require(std::set(globals.begin(), globals.end()).size() == globals.size(), "no core is there twice");
  require(!counts || globals == taken, "what was taken is what is returned");

  topology_request again;
  again.host_cores = found->host_cores;
  again.visible_cores_env = fmt::format("{}", fmt::join(globals, ","));
  auto same = resolve_topology(again, {});
  require(same && same->cores == found->cores, "the cores written as a list are these cores");
  return 0;
}
