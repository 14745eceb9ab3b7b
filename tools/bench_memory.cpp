#include "bench_memory.hpp"

#include "bench_input.hpp"

#include <ganglion/model_io/replica.hpp>

#include <ATen/Parallel.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <omp.h>
#include <torch/version.h>

#include <unistd.h>
#include <algorithm>
#include <fstream>
#include <functional>
#include <future>

namespace ganglion::command {

namespace {

#if TORCH_VERSION_MAJOR >= 2
using total_bytes = std::size_t;
#else
using total_bytes = std::int64_t;
#endif

class allocation_peak final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, std::int64_t size, total_bytes, total_bytes, c10::Device device) override {
    if (!device.is_cpu()) return;
    held_ += size;  // negative when memory is given back
    most_ = std::max(most_, held_);
  }
  bool memoryProfilingEnabled() const override { return true; }

  std::int64_t most() const { return most_; }

 private:
  std::int64_t held_ = 0;
  std::int64_t most_ = 0;
};

std::int64_t peak_of_another_replica(const compiled_model& model) {
  // As on a core: LibTorch sets the number of threads at the first look, for the calling thread; ours comes after it.
  at::get_num_threads();
  omp_set_num_threads(1);
  const auto program = largest_program(model);
  auto first = model.make_replica();
  first.warm_up(program);  // packs the weights that all replicas share
  const auto leaves = random_leaves(model, compiled_rows(model), 1);
  auto peak = std::make_shared<allocation_peak>();
  const c10::DebugInfoGuard told{c10::DebugInfoKind::PROFILER_STATE, peak};
  auto another = model.make_replica();
  another.warm_up(program);  // takes the arena, if the program has one
  another.run(leaves, program);
  return peak->most();
}

}  // namespace

std::int64_t resident_bytes() {
  std::ifstream statm{"/proc/self/statm"};
  std::int64_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

std::int64_t activation_bytes(const compiled_model& model) {
  return std::async(std::launch::async, peak_of_another_replica, std::cref(model)).get();
}

}  // namespace ganglion::command
