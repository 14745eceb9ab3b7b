#pragma once

#include "bench_load.hpp"

namespace ganglion::command {

/// The largest absolute difference between the answer to a request and what the module itself gives for the same rows,
/// run alone on one compiled batch after the other; infinite where a NaN stands against a number. Errors, thrown: what
/// the module throws.
double largest_difference(const compiled_model& model, const bench_request& request, const c10::IValue& answer);

}  // namespace ganglion::command
