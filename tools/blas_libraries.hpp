#pragma once

#include <string>
#include <vector>

namespace ganglion::command {

/// The BLAS libraries that are loaded in this process, with their folders, links resolved.
std::vector<std::string> loaded_blas_libraries();

}  // namespace ganglion::command
