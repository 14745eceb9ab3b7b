#pragma once

#include "malloc_settings.hpp"

#include <boost/json.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace ganglion::command {

/// On what a figure was measured, and when.
struct machine_description {
  std::string cpu;                ///< the model's name as the kernel knows it
  std::vector<std::string> isa;   ///< the instruction sets that matter
  std::vector<int> allowed_cpus;  ///< the CPUs that this process may use
  std::size_t cpus = 0;           ///< how many of them it may keep busy
  std::string kernel;             ///< `Linux 6.1.0`
  std::string libtorch;           ///< its version
  std::vector<std::string> blas;  ///< the BLAS libraries in use
  malloc_settings malloc;
  double load = 0;   ///< the load average of the minute before
  std::string date;  ///< in UTC, `2026-11-28T01:00:00Z`
};

machine_description describe_machine();

boost::json::object to_json(const machine_description& machine);
/// One line, for people.
std::string to_text(const machine_description& machine);

}  // namespace ganglion::command
