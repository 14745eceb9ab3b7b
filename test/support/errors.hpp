#pragma once

#include <ganglion/model_io/error.hpp>

/// The failure that a call throws; `ok` where it throws none.
template <class Call>
ganglion::failure failure_of(Call&& call) {
  try {
    call();
  } catch (const ganglion::error& e) {
    return e.failure();
  }
  return {};
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }
