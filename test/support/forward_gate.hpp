#pragma once

#include <torch/csrc/jit/api/module.h>

#include <cstddef>

namespace ganglion::test {

/// A door inside of forward: while an object lives, forwards of `gated_plus_one` stop at it until it is opened. One
/// object at a time; any thread may wait for those that stand before it.
class forward_gate {
 public:
  static constexpr std::size_t all = static_cast<std::size_t>(-1);

  /// Stops the next `count` forwards that come; those after them pass.
  explicit forward_gate(std::size_t count = all);
  /// Opens, and waits until nobody stands in the door.
  ~forward_gate();
  forward_gate(const forward_gate&) = delete;
  forward_gate& operator=(const forward_gate&) = delete;

  /// Lets those through that stand before it, and the next `count` that come; stops the one after them.
  void let_pass(std::size_t count);
  /// Lets everybody through, now and later.
  void open();
  /// Waits until `count` forwards stand before it. Returns false if they do not come within a minute.
  bool wait_for(std::size_t count);
  /// Whether `count` forwards stand before it now.
  bool stands(std::size_t count) const;
};

/// x + 1, behind the gate; fails where any element is above 1e6, and leaves all columns but the first out where one is
/// below -1e6. Traced and warmed while no gate is closed.
torch::jit::Module gated_plus_one();

}  // namespace ganglion::test
