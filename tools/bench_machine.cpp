#include "bench_machine.hpp"

#include "bench_cpu.hpp"
#include "blas_libraries.hpp"
#include "command.hpp"

#include <ganglion/engine/cpu_allowance.hpp>

#include <fmt/chrono.h>
#include <fmt/ranges.h>

#include <sys/utsname.h>
#include <torch/version.h>
#include <cstdlib>
#include <ctime>
#include <fstream>

namespace ganglion::command {

machine_description describe_machine() {
  machine_description m;
  std::ifstream cpuinfo{"/proc/cpuinfo"};
  auto facts = read_cpu_facts(cpuinfo);
  utsname system{};
  uname(&system);
  m.cpu = facts.name.empty() ? system.machine : facts.name;
  m.isa = std::move(facts.flags);
  auto allowance = read_cpu_allowance();
  m.allowed_cpus = std::move(allowance.cpus);
  m.cpus = allowance.count;
  m.kernel = fmt::format("{} {}", system.sysname, system.release);
  m.libtorch = TORCH_VERSION;
  m.blas = loaded_blas_libraries();
  m.malloc = read_malloc_settings();
  getloadavg(&m.load, 1);
  m.date = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  return m;
}

boost::json::object to_json(const machine_description& m) {
  return {{"cpu", m.cpu},
          {"isa", strings_json(m.isa)},
          {"cpus", m.cpus},
          {"allowed_cpus", boost::json::array(m.allowed_cpus.begin(), m.allowed_cpus.end())},
          {"kernel", m.kernel},
          {"libtorch", m.libtorch},
          {"blas", strings_json(m.blas)},
          {"malloc",
           {{"allocator", m.malloc.allocator},
            {"mmap_threshold_bytes", m.malloc.mmap_threshold},
            {"trim_threshold_bytes", m.malloc.trim_threshold}}},
          {"load_average", m.load},
          {"date", m.date}};
}

std::string to_text(const machine_description& m) {
  return fmt::format("{}, {}, LibTorch {}, {}, {}, load {:.1f}", m.cpu,
                     counted(static_cast<std::int64_t>(m.cpus), "CPU"), m.libtorch, fmt::join(m.blas, ", "),
                     m.malloc.allocator, m.load);
}

}  // namespace ganglion::command
