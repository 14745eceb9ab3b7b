#include <ganglion/actors/coordinator/chunk_plan.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace ganglion {

namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return a / b + (a % b != 0); }

}  // namespace

chunk_plan::chunk_plan(std::int64_t rows, std::int64_t batch, std::optional<std::int64_t> split_size)
    : rows_(rows), batch_(batch), chunk_rows_(split_size.value_or(batch)) {}

std::size_t chunk_plan::size() const { return static_cast<std::size_t>(ceil_div(rows_, chunk_rows_)); }

chunk_plan::chunk chunk_plan::at(std::size_t index) const {
  auto first = static_cast<std::int64_t>(index) * chunk_rows_;
  return {first, std::min(chunk_rows_, rows_ - first)};
}

std::size_t chunk_plan::executions() const {
  auto whole = rows_ / chunk_rows_;
  auto rest = rows_ % chunk_rows_;
  return static_cast<std::size_t>(whole * ceil_div(chunk_rows_, batch_) + ceil_div(rest, batch_));
}

expected<void> check_compile_batch(std::int64_t rows, std::size_t device_count, std::int64_t compiled_size,
                                   std::int64_t dim) {
  auto devices = static_cast<std::int64_t>(device_count);
  if (rows % devices == 0 && rows / devices == compiled_size) return {};
  auto quotient = rows % devices == 0 ? fmt::format("{}", rows / devices)
                                      : fmt::format("{:.4g}", static_cast<double>(rows) / static_cast<double>(devices));
  return failure{
      errc::batch_size_mismatch,
      fmt::format(
          "input.shape[{}] = {} over {} core{} is {}, but the model was compiled for {}: with dynamic batching "
          "disabled, input.shape[dim] / len(device_ids) must equal compilation_input.shape[dim], so give {} rows",
          dim, rows, devices, devices == 1 ? "" : "s", quotient, compiled_size, compiled_size * devices)};
}

}  // namespace ganglion
