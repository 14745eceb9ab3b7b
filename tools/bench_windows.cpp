#include "bench_windows.hpp"

#include <utility>

namespace ganglion::command {

measured_load measure_windows(double window_seconds, const std::function<load_result(std::size_t)>& run,
                              const std::function<double(const load_result&)>& figure) {
  stability_rule rule;
  rule.most_seconds = static_cast<double>(rule.most) * window_seconds;
  stability_window windows{rule};
  std::vector<load_result> last;
  std::vector<std::int64_t> requests;
  while (!windows.ended() && (last.empty() || !last.back().cut_short)) {
    if (last.size() == windows_that_count) last.erase(last.begin());
    last.push_back(run(windows.figures().size()));
    requests.push_back(last.back().requests_sent);
    windows.add(figure(last.back()), last.back().seconds);
  }
  return {merged(last), window_seconds, windows.figures(), std::move(requests), windows.agreed()};
}

}  // namespace ganglion::command
