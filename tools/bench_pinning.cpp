#include "bench_pinning.hpp"

#include <pthread.h>
#include <sched.h>

namespace ganglion::command {

void pin_this_thread(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const auto cpu : cpus) CPU_SET(cpu, &set);
  if (!cpus.empty()) pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

}  // namespace ganglion::command
