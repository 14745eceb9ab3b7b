#include "cpu_type.hpp"

#include <dnnl.hpp>
#include <fmt/format.h>

#include <fstream>
#include <string_view>

namespace ganglion {

namespace {

std::string name_of_cpu() {
  std::ifstream file{"/proc/cpuinfo"};
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    if (const auto at = line.find_first_not_of(" \t", line.find(':') + 1); at != line.npos) return line.substr(at);
  }
  return "an unknown CPU";
}

std::string_view instructions() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41: return "sse41";
    case dnnl::cpu_isa::avx: return "avx";
    case dnnl::cpu_isa::avx2: return "avx2";
    case dnnl::cpu_isa::avx2_vnni: return "avx2_vnni";
    case dnnl::cpu_isa::avx512_core: return "avx512_core";
    case dnnl::cpu_isa::avx512_core_vnni: return "avx512_core_vnni";
    case dnnl::cpu_isa::avx512_core_bf16: return "avx512_core_bf16";
    case dnnl::cpu_isa::avx512_core_amx: return "avx512_core_amx";
    default: return "other instructions";
  }
}

}  // namespace

const std::string& cpu_type() {
  static const auto text = fmt::format("{}, {}", name_of_cpu(), instructions());
  return text;
}

bool cpu_has_bf16() {
  const auto has = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto needed = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (has & needed) == needed;
}

}  // namespace ganglion
