#pragma once

#include "model_state.hpp"

namespace ganglion {

/// What the attribute of an artifact holds: the JSON of the first program's signature, beside it the cast and the
/// further programs' signatures where there are such. `signature_from_json` reads the first.
std::string attribute_text(const std::vector<compiled_program>& programs, auto_cast cast);

/// The signatures of such a text, likewise; at least one. Errors: `model_load_failed`.
expected<std::vector<signature>> signatures_from_attribute(const std::string& text,
                                                           const std::vector<c10::TypePtr>& types,
                                                           const c10::TypePtr& result_type);

/// The cast of such a text; none where it names none. Errors: `model_load_failed`.
expected<auto_cast> cast_from_attribute(const std::string& text);

/// A cast by its name, `none` or `bf16`, and back. Reading another name throws `std::runtime_error`.
std::string_view cast_name(auto_cast cast);
auto_cast cast_from_name(std::string_view name);

/// Whether a leaf has a place in the JSON of a signature: tensors, numbers, strings, None, and lists of such values.
bool is_storable(const c10::IValue& leaf);

}  // namespace ganglion
