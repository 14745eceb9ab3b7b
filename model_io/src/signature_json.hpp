#pragma once

#include <ganglion/model_io/model.hpp>

namespace ganglion {

/// What the attribute of an artifact holds: the JSON of the signature, with the cast beside it where there is one.
/// `signature_from_json` reads it too.
std::string attribute_text(const signature& sig, auto_cast cast);

/// The cast of such a text; none where it names none. Errors: `model_load_failed`.
expected<auto_cast> cast_from_attribute(const std::string& text);

/// A cast by its name, `none` or `bf16`, and back. Reading another name throws `std::runtime_error`.
std::string_view cast_name(auto_cast cast);
auto_cast cast_from_name(std::string_view name);

/// Whether a leaf has a place in the JSON of a signature: tensors, numbers, strings, None, and lists of such values.
bool is_storable(const c10::IValue& leaf);

}  // namespace ganglion
