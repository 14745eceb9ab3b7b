// g++'s coverage for libFuzzer, which itself knows clang's only: every place that the code passes counts in one of the
// counters that libFuzzer takes as an input's features. What is compared g++ tells it as clang does.
#include <cstdint>

namespace {

[[gnu::section("__libfuzzer_extra_counters"), gnu::used]] std::uint8_t counters[1 << 16];

}  // namespace

extern "C" {

/// What g++ calls at each place. libFuzzer has a function of the plain name, which refuses; the linker wraps it.
[[gnu::no_sanitize_coverage]] void __wrap___sanitizer_cov_trace_pc() {
  auto place = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  auto& counter = counters[(place ^ place >> 16) % sizeof counters];
  if (counter < 255) ++counter;
}

// libFuzzer makes nothing of numbers with a fraction.
void __sanitizer_cov_trace_cmpf(float, float) {}
void __sanitizer_cov_trace_cmpd(double, double) {}
}
