#pragma once

#include <ganglion/actors/protocol/handles.hpp>

#include <ATen/ATen.h>
#include <caf/all.hpp>
#include <fmt/format.h>
