#pragma once

#include <ATen/core/ivalue.h>

inline c10::IValue tuple(std::vector<c10::IValue> elements) { return c10::ivalue::Tuple::create(std::move(elements)); }
