// Chunk plans and the compile-batch-size check. The input: rows, compiled batch, split size, where to look (6 bytes
// each), the number of cores (2 bytes), then compiled sizes (6 bytes each).
#include "fuzz.hpp"

#include <ganglion/actors/coordinator/chunk_plan.hpp>

#include <algorithm>

using namespace ganglion;
using fuzz::require;

namespace {

/// More rows than any memory holds.
constexpr std::size_t most = std::size_t{1} << 48;

std::int64_t number(test::choices& choices) { return static_cast<std::int64_t>(choices.below(most)); }

void check_plan(const chunk_plan& plan, std::size_t place) {
  if (plan.size() == 0) {
    require(plan.rows() == 0 && plan.executions() == 0, "only no rows have no chunks");
    return;
  }
  auto last = plan.at(plan.size() - 1);
  require(plan.at(0).first_row == 0, "the first chunk begins at the first row");
  require(last.first_row + last.rows == plan.rows(), "the last chunk ends at the last row");
  // Around one place, or all where they are few.
  bool all = plan.size() <= 64;
  auto first = all ? 0 : place % plan.size();
  for (auto i = first; i < plan.size() && i < first + 64; ++i) {
    auto chunk = plan.at(i);
    require(chunk.rows > 0 && chunk.rows <= plan.chunk_rows(), "no chunk is empty or too large");
    if (i > 0) {
      auto before = plan.at(i - 1);
      require(before.first_row + before.rows == chunk.first_row, "chunks follow each other");
      require(before.rows == plan.chunk_rows(), "only the last chunk is short");
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  test::choices choices{{data, size}};
  auto rows = number(choices);
  auto batch = 1 + number(choices);
  auto split = number(choices);
  auto place = choices.below(most);

  chunk_plan whole(rows, batch);
  check_plan(whole, place);
  auto fewest = static_cast<std::size_t>(rows / batch + (rows % batch > 0));
  require(whole.executions() == fewest, "without a split size there are the fewest executions");
  if (split > 0) {
    chunk_plan cut(rows, batch, split);
    check_plan(cut, place);
    require(cut.executions() >= fewest, "no plan has fewer executions than the fewest");
    require(cut.executions() >= cut.size(), "every chunk is run");
  }

  auto cores = 1 + choices.below(4096);
  std::vector<std::int64_t> sizes{batch};
  while (choices.any_left() && sizes.size() < 16) sizes.push_back(1 + number(choices));
  std::sort(sizes.begin(), sizes.end());
  auto fits = [&](std::int64_t s) { return s * static_cast<std::int64_t>(cores) == rows; };
  auto checked = check_compile_batch(rows, cores, sizes, 0);
  require(checked.has_value() == std::any_of(sizes.begin(), sizes.end(), fits), "the quotient is a compiled size");
  if (checked)
    require(fits(*checked), "it is that size");
  else
    require(checked.error().code == errc::batch_size_mismatch, "the code is batch_size_mismatch");
  return 0;
}
