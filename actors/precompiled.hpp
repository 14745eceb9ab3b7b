#pragma once

#include <ganglion/actors/protocol/handles.hpp>

#include <caf/all.hpp>
#include <fmt/format.h>
#include <torch/script.h>
