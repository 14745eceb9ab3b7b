#pragma once

#include <boost/system/system_error.hpp>

#include <exception>
#include <stdexcept>
#include <string>

namespace ganglion {

/// What is wrong with a JSON text, without the place in Boost's sources that its exceptions tell.
inline std::string json_problem(const std::exception& e) {
  const auto* parsing = dynamic_cast<const boost::system::system_error*>(&e);
  if (parsing) return parsing->code().message();
  const auto* missing = dynamic_cast<const std::out_of_range*>(&e);
  return missing ? "a member is missing" : e.what();
}

}  // namespace ganglion
