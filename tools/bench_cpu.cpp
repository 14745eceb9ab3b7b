#include "bench_cpu.hpp"

#include <algorithm>
#include <istream>
#include <iterator>
#include <sstream>

namespace ganglion::command {

namespace {

/// As the kernel writes them: x86's "flags", then Arm's "Features". What LibTorch and oneDNN choose their kernels by.
constexpr const char* of_interest[] = {"avx",      "f16c",        "fma",      "avx2",        "avx512f",
                                       "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
                                       "amx_tile", "amx_bf16",    "amx_int8", "asimd",       "asimddp",
                                       "sve",      "sve2",        "bf16",     "i8mm"};

/// The text behind the colon, without the white space around it.
std::string value_of(const std::string& line) {
  const auto colon = line.find(':');
  const auto first = colon == line.npos ? line.npos : line.find_first_not_of(" \t", colon + 1);
  return first == line.npos ? "" : line.substr(first);
}

}  // namespace

cpu_facts read_cpu_facts(std::istream& cpuinfo) {
  cpu_facts facts;
  std::vector<std::string> all;
  for (std::string line; std::getline(cpuinfo, line);) {
    if (facts.name.empty() && line.starts_with("model name")) facts.name = value_of(line);
    if (!all.empty() || (!line.starts_with("flags") && !line.starts_with("Features"))) continue;
    std::istringstream words{value_of(line)};
    all.assign(std::istream_iterator<std::string>{words}, {});
  }
  for (const auto* flag : of_interest)
    if (std::find(all.begin(), all.end(), flag) != all.end()) facts.flags.emplace_back(flag);
  return facts;
}

}  // namespace ganglion::command
