#pragma once

#include <support/doctest.hpp>

#include <ganglion/actors/protocol/handles.hpp>
#include <ganglion/engine/data_parallel.hpp>

#include <ATen/ATen.h>
#include <caf/all.hpp>
#include <fmt/format.h>
#include <torch/csrc/jit/api/module.h>
