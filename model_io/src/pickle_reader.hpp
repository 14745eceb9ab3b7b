#pragma once

#include <ganglion/model_io/error.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace ganglion {

/// One value of a pickle, taken apart but never called: nothing in the file is executed.
struct pickle_item {
  enum class kind {
    none,
    boolean,
    integer,
    real,
    text,
    bytes,
    tuple,
    list,
    dict,
    set,
    name,
    reference,
    call
  };

  kind what = kind::none;
  /// An integer's value; a list's, dict's or set's number of elements.
  std::int64_t number = 0;
  /// A text, or a name as `module.name`.
  std::string text{};
  /// A tuple's elements; the id of a `reference` (a persistent id); the callee and the tuple of arguments of
  /// a `call`.
  std::vector<std::shared_ptr<const pickle_item>> parts{};
  /// One more than the deepest part's.
  int depth = 0;
};

using pickle_item_ptr = std::shared_ptr<const pickle_item>;

/// Takes a pickle of protocol 2 to 5 apart. Lists, dicts and sets keep the number of their elements only; `made` sees
/// every reference and call, also of those within them. Any bytes are safe. Errors: `invalid_argument`, with the end
/// of a sentence.
expected<pickle_item_ptr> read_pickle(std::span<const char> bytes,
                                      const std::function<void(const pickle_item&)>& made = {});

/// What an item is, for a message: `a dict of 3 entries`, `an object of class torch.nn.Linear`.
std::string describe(const pickle_item& item);

}  // namespace ganglion
