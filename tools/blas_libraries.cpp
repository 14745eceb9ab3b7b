#include "blas_libraries.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <link.h>
#include <string_view>

namespace ganglion::command {

namespace fs = std::filesystem;

namespace {

bool is_blas(const fs::path& library) {
  constexpr std::array<std::string_view, 5> beginnings{"libblas", "libopenblas", "libmkl_", "libblis", "libatlas"};
  const auto name = library.filename().native();
  return std::any_of(beginnings.begin(), beginnings.end(), [&](auto begin) { return name.starts_with(begin); });
}

}  // namespace

std::vector<std::string> loaded_blas_libraries() {
  std::vector<std::string> found;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* out) {
        if (fs::path library = info->dlpi_name; is_blas(library)) {
          std::error_code ec;
          auto resolved = fs::canonical(library, ec);
          static_cast<std::vector<std::string>*>(out)->push_back((ec ? library : resolved).native());
        }
        return 0;
      },
      &found);
  return found;
}

}  // namespace ganglion::command
