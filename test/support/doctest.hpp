#pragma once

// doctest and glog (which comes with LibTorch) both define CHECK: the short names are off, and these stand for the few
// macros that the tests use.
#define DOCTEST_CONFIG_NO_SHORT_MACRO_NAMES
#include <doctest/doctest.h>

#define TEST_CASE(name) DOCTEST_TEST_CASE(name)
#define SUBCASE(name) DOCTEST_SUBCASE(name)
#define EXPECT(...) DOCTEST_CHECK(__VA_ARGS__)
#define EXPECT_FALSE(...) DOCTEST_CHECK_FALSE(__VA_ARGS__)
#define REQUIRE(...) DOCTEST_REQUIRE(__VA_ARGS__)
#define REQUIRE_FALSE(...) DOCTEST_REQUIRE_FALSE(__VA_ARGS__)
#define EXPECT_THROWS_AS(...) DOCTEST_CHECK_THROWS_AS(__VA_ARGS__)
#define NOTE(...) DOCTEST_INFO(__VA_ARGS__)
