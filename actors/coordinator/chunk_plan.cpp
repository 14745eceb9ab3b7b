#include <ganglion/actors/coordinator/chunk_plan.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

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

expected<std::int64_t> check_compile_batch(std::int64_t rows, std::size_t device_count,
                                           const std::vector<std::int64_t>& compiled_sizes, std::int64_t dim) {
  auto devices = static_cast<std::int64_t>(device_count);
  for (auto size : compiled_sizes)
    if (rows == size * devices) return size;
  auto quotient = rows % devices == 0 ? fmt::format("{}", rows / devices)
                                      : fmt::format("{:.4g}", static_cast<double>(rows) / static_cast<double>(devices));
  auto accepted = compiled_sizes;
  for (auto& size : accepted) size *= devices;
  return failure{
      errc::batch_size_mismatch,
      fmt::format(
          "input.shape[{}] = {} over {} core{} is {}, but the model was compiled for {}: with dynamic batching "
          "disabled, input.shape[dim] / len(device_ids) must equal compilation_input.shape[dim], so give {} rows",
          dim, rows, devices, devices == 1 ? "" : "s", quotient, fmt::join(compiled_sizes, ", "),
          fmt::join(accepted, " or "))};
}

}  // namespace ganglion
