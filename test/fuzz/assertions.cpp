// doctest's assertions in a program that is no test: one that fails ends the process, and libFuzzer keeps the input.
#define DOCTEST_CONFIG_IMPLEMENT
#include <support/doctest.hpp>

#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  static doctest::Context context;
  context.setAssertHandler([](const doctest::AssertData& failed) {
    std::fprintf(stderr, "%s:%d: does not hold: %s\n", failed.m_file, failed.m_line, failed.m_expr);
    std::abort();
  });
  context.setAsDefaultForAssertsOutOfTestCases();
  return 0;
}
