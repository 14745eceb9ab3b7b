#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace ganglion::command {

/// On what a figure was measured.
struct machine_description {
  std::string cpu;                ///< the model's name as the kernel knows it
  std::size_t cpus = 0;           ///< how many CPUs this process may keep busy
  std::string libtorch;           ///< its version
  std::vector<std::string> blas;  ///< the BLAS libraries in use
};

machine_description describe_machine();

}  // namespace ganglion::command
