#pragma once

#include <ganglion/model_io/error.hpp>

#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace ganglion {

/// Which of the process's visible NeuronCores to use: a zero-based index, or that index as `"nc:#"`.
/// Keeps what was given, good or bad, so that a message can quote it; `resolve_device_ids` judges it.
/// Zero-based per process, whatever the core's global index is, as `torch.neuron.DataParallel` documents it.
class device_id {
 public:
  device_id(int index) : given_(index) {}
  /// What no int holds is kept as text, which no host has.
  template <std::integral Index>
  device_id(Index index) {
    if (std::in_range<int>(index))
      given_ = static_cast<int>(index);
    else
      given_ = std::to_string(index);
  }
  device_id(std::string name) : given_(std::move(name)) {}
  device_id(const char* name) : given_(std::string{name}) {}
  device_id(std::nullptr_t) = delete;

  /// An item of a command line's list: decimal digits are an int, everything else is a name. Digits that no
  /// int holds stay text, which no host has.
  static device_id parse_command_line_item(std::string_view item);

  /// The index it stands for, whether or not such a core is visible; nothing where it stands for none: a
  /// negative int, or text that is not exactly `nc:` and decimal digits without a sign, a space or a leading
  /// zero (`nc:01` is refused, so that a core has one name). An index too large for the type is its largest
  /// value.
  std::optional<std::size_t> index() const noexcept;

  /// What was given: `3`, or in quotation marks `"nc:3"`.
  std::string to_string() const;

  friend bool operator==(const device_id&, const device_id&) = default;

 private:
  std::variant<int, std::string> given_;
};

/// The per-process core indices that the ids stand for, in the order given; an empty list stands for all
/// `visible` cores. Fails with `errc::invalid_device_id`, naming the id and how many cores are visible, where
/// an id stands for no index, for one at or past `visible`, or for a core that an earlier id names already.
expected<std::vector<std::size_t>> resolve_device_ids(std::span<const device_id> ids, std::size_t visible);

}  // namespace ganglion
