#pragma once

#include "timeline.hpp"

#include <string>

namespace ganglion::command {

/// The picture of a timeline as an SVG document: a lane a core, a bar an execution (rows and padding one above the
/// other, then the gather), the time that it waited as a thin line above (of a long queue the last part), how many
/// waited below, and a legend. It needs no other file: text is in the fonts of the system.
std::string timeline_svg(const timeline& picture);

}  // namespace ganglion::command
