#pragma once

#include <ganglion/model_io/error.hpp>

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace ganglion {

/// How urgent a request is. Strict: rows of a class go before those of the next, whose rows fill what would be padding.
/// What waits for long rises, a class for each time of `ageing`, so that no class starves.
enum class priority : std::uint8_t { high, normal, low };

inline constexpr std::size_t priority_count = 3;

/// `high`, `normal` or `low`.
std::string_view to_string(priority p) noexcept;

/// What a request can carry. A value: cheap to copy, unchecked until the request is made.
struct request_options {
  ganglion::priority priority = ganglion::priority::normal;
  /// Whose request it is. Tenants of one class share the cores evenly, counted in rows; the empty name is one of them.
  std::string tenant;
  /// When the answer is of no more use. Refused with `deadline_exceeded` where it has passed or cannot be met; the same
  /// answer comes when it passes later, and no row is started then.
  std::optional<std::chrono::steady_clock::time_point> deadline;
  /// Asks for cancellation, from any thread: rows that wait or are not begun are dropped, what runs ends for nobody,
  /// and the answer is `cancelled`, unless it was there before.
  std::stop_token stop;
  /// Tensors to write the answer into instead of new ones, one for each tensor output in order, each a contiguous CPU
  /// tensor of the answer's dtype and shape, without gradients, with memory of its own that may be written to. Nobody
  /// else may touch them before the answer is there. Empty: the answer's tensors are made. A request that fails leaves
  /// them with any contents.
  std::vector<at::Tensor> outputs;
};

/// Errors: `invalid_argument` for a priority that there is not.
expected<void> validate(const request_options& options);

}  // namespace ganglion
