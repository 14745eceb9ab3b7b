#include "bench_session.hpp"

#include "bench_input.hpp"

namespace ganglion::command {

data_parallel bench_session::net_on(std::size_t count) const {
  data_parallel_options options;
  for (std::size_t i = 0; i < count; ++i) options.device_ids.emplace_back(static_cast<int>(cores[i]));
  return {host, model, std::move(options)};
}

bench_request bench_session::request_for(scenario kind, std::size_t count) const {
  return make_request(model, given.batch ? *given.batch : default_rows(model, count, kind), given.seed);
}

int bench_session::cpu_of(std::size_t core, const std::vector<int>& cpus) const {
  return cpus[host.cores()[core].global % cpus.size()];
}

}  // namespace ganglion::command
