#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ganglion::command {

/// `1 row`, `2 rows`.
std::string counted(std::int64_t n, std::string_view noun);

}  // namespace ganglion::command
