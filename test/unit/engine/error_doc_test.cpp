#include <ganglion/model_io/error.hpp>

#include <support/doctest.hpp>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

using namespace ganglion;

namespace {

std::string trimmed(const std::string& text) {
  auto first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

/// The cells of each table row whose first cell is a name in backticks.
std::vector<std::vector<std::string>> documented_rows() {
  std::ifstream file{GANGLION_ERRORS_DOCUMENT};
  REQUIRE(file.is_open());
  std::vector<std::vector<std::string>> rows;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| `")) continue;
    std::vector<std::string> cells;
    for (auto start = std::size_t{1}; start < line.size();) {
      auto end = std::min(line.find('|', start), line.size());
      cells.push_back(trimmed(line.substr(start, end - start)));
      start = end + 1;
    }
    rows.push_back(cells);
  }
  return rows;
}

}  // namespace

TEST_CASE(
    "docs/errors.md has one full row for each code, in the order of the enumeration, with its retryable "
    "flag") {
  auto rows = documented_rows();
  REQUIRE(rows.size() == errc_count);
  for (std::size_t i = 0; i < errc_count; ++i) {
    auto code = static_cast<errc>(i);
    NOTE(std::string{to_string(code)});
    REQUIRE(rows[i].size() == 4);
    EXPECT(rows[i][0] == '`' + std::string{to_string(code)} + '`');
    EXPECT(rows[i][1] == (retryable(code) ? "yes" : "no"));
    EXPECT_FALSE(rows[i][2].empty());
    EXPECT_FALSE(rows[i][3].empty());
  }
}
