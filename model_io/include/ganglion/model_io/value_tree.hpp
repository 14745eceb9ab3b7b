#pragma once

#include <ganglion/model_io/error.hpp>

#include <ATen/core/ivalue.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace ganglion {

/// A leaf of a nested value, with where it stands: `x`, `x[0]`, `x["mask"]`.
struct value_leaf {
  std::string path;
  c10::IValue value;
};

/// Nested values are tuples (named tuples too), lists and dicts. Everything else is a leaf: tensors, numbers, strings,
/// None, and lists of numbers or strings as a whole.
/// The leaves in order: depth first, a dict's in its own order.
std::vector<value_leaf> leaves_of(const c10::IValue& tree, std::string_view root = "value");

/// The same tree with its leaves replaced, in the order of `leaves_of`; all container types are kept.
/// Precondition: `leaves` has as many elements as the tree has leaves.
c10::IValue with_leaves(const c10::IValue& tree, std::span<const c10::IValue> leaves);

/// Whether two trees have the same containers with the same sizes, keys (in the same order) and kinds of leaves. A
/// named tuple is a tuple here. Errors: `shape_mismatch`, one sentence that names the first place where they differ.
expected<void> same_structure(const c10::IValue& expected_tree, const c10::IValue& given,
                              std::string_view root = "value");

/// Whether two non-tensor leaves are equal in type and value; a NaN equals itself. False for tensors.
bool equal_leaves(const c10::IValue& a, const c10::IValue& b);

/// What to call a value's type in a message: `tensor f32[2,3]`, `tuple of 2`, `int`, `None`.
std::string describe(const c10::IValue& value);

/// A short text for the leaf's value: `3`, `"abc"`, `None`.
std::string leaf_text(const c10::IValue& value);

/// The tree as bytes, for the wire: tensors as raw little-endian bytes, floats as their bits, nothing that executes.
/// Errors: `invalid_argument` for a value that has no place on the wire (a class, a function, a tensor off the CPU).
expected<std::vector<char>> encode_value(const c10::IValue& tree);

/// The reverse. Bytes from a stranger are safe: every length is checked before it is used.
/// Errors: `invalid_argument`.
expected<c10::IValue> decode_value(std::span<const char> bytes);

}  // namespace ganglion
