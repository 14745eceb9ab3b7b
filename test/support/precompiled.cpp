// Holds the precompiled header of the test programs, and what doctest needs in those of them that are no tests.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
