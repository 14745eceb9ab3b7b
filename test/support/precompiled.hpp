#pragma once

#include <support/doctest.hpp>

#include <ganglion/actors/protocol/handles.hpp>
#include <ganglion/engine/data_parallel.hpp>

#include <caf/all.hpp>
#include <fmt/format.h>
#include <torch/script.h>
