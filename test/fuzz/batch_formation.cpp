// Batch formation: the world of the property test, whose events the fuzzer chooses.
#include <unit/actors/formation_world.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ganglion::test;
  formation_world world{choices{{data, size}}};
  while (world.any_left()) world.step();
  world.settle();
  return 0;
}
