#include <bench_cpu.hpp>

#include <support/doctest.hpp>

#include <sstream>

using namespace ganglion::command;

namespace {

cpu_facts facts_of(const std::string& cpuinfo) {
  std::istringstream stream{cpuinfo};
  return read_cpu_facts(stream);
}

}  // namespace

TEST_CASE("of an x86 processor the name and the instruction sets of interest are told") {
  const auto facts = facts_of(
      "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC 9R14\nflags\t\t: fpu vme amx_bf16 avx2 fma avx512f "
      "avx512_bf16 syscall\nbogomips\t: 5192.27\n\nprocessor\t: 1\nmodel name\t: other\nflags\t\t: amx_int8\n");
  EXPECT(facts.name == "AMD EPYC 9R14");
  EXPECT(facts.flags == std::vector<std::string>{"fma", "avx2", "avx512f", "avx512_bf16", "amx_bf16"});
}

TEST_CASE("an Arm processor has no name, and its features") {
  const auto facts = facts_of("processor\t: 0\nFeatures\t: fp asimd crc32 asimddp sve i8mm bf16\n");
  EXPECT(facts.name.empty());
  EXPECT(facts.flags == std::vector<std::string>{"asimd", "asimddp", "sve", "bf16", "i8mm"});
}

TEST_CASE("a flag is a whole word, and a file that says nothing gives nothing") {
  EXPECT(facts_of("flags\t\t: avx512_bf16_more xavx2\n").flags.empty());
  EXPECT(facts_of("").flags.empty());
  EXPECT(facts_of("model name\nflags\n").name.empty());
}
