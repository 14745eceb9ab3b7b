#pragma once

#include <ganglion/model_io/tensor_spec.hpp>

#include <ATen/core/ivalue.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ganglion::command {

/// What the command line says of the arguments of an example, one spec each.
using specs = std::vector<tensor_spec>;

/// Errors, thrown: `usage_error` for a spec that cannot be read.
specs read_specs(const std::vector<std::string>& texts);

std::vector<std::string> split(const std::string& list, char at);

/// `1,8,32`: positive whole numbers. `name` is the option's. Errors, thrown: `usage_error` for text that is none;
/// `invalid_argument` for a number that is not positive or that no 64 bits hold.
std::vector<std::int64_t> read_counts(const std::string& name, const std::string& list);

/// The same arguments with so many rows.
specs with_batch(specs arguments, std::int64_t batch);

/// One argument a spec, with made-up values: always the same ones. Errors, thrown: `invalid_argument` for more than
/// this machine could hold.
std::vector<c10::IValue> example_of(const specs& arguments);

/// One argument of forward a tensor file, or nothing for none. Errors, thrown: those of `read_tensor_file`.
std::vector<std::vector<c10::IValue>> read_calibration(const std::vector<std::string>& files);

}  // namespace ganglion::command
