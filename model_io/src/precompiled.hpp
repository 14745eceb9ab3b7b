#pragma once

#include <fmt/format.h>
#include <torch/script.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>
