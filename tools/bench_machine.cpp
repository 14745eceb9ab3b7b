#include "bench_machine.hpp"

#include "blas_libraries.hpp"

#include <ganglion/engine/cpu_allowance.hpp>

#include <fstream>
#include <sys/utsname.h>
#include <torch/version.h>

namespace ganglion::command {

namespace {

std::string cpu_name() {
  std::ifstream file{"/proc/cpuinfo"};
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const auto at = line.find_first_not_of(" \t", line.find(':') + 1);
    if (at != line.npos) return line.substr(at);
  }
  utsname system{};
  uname(&system);
  return system.machine;
}

}  // namespace

machine_description describe_machine() {
  return {cpu_name(), read_cpu_allowance().count, TORCH_VERSION, loaded_blas_libraries()};
}

}  // namespace ganglion::command
