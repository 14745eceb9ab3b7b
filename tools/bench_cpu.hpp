#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace ganglion::command {

/// What /proc/cpuinfo says of a processor, as far as it matters for the speed of a model.
struct cpu_facts {
  std::string name;                ///< empty where the kernel tells none
  std::vector<std::string> flags;  ///< the instruction sets of interest that it has, in a fixed order
};

cpu_facts read_cpu_facts(std::istream& cpuinfo);

}  // namespace ganglion::command
