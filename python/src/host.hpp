#pragma once

#include <ganglion/engine/engine.hpp>

#include <pybind11/pybind11.h>

#include <chrono>

namespace ganglion::python {

/// The one engine of this process, made at the first use and never destroyed. It logs to Python: see
/// `say_what_was_logged`. The caller holds the GIL, which others may have while the engine is made.
engine& host();

/// How it is to be made: a dict with names of `engine_options`, durations as seconds. Throws `error`, with
/// `invalid_argument` where it was made already.
void configure(const pybind11::dict& given);

/// The engine where it was made already, else null.
engine* made_host() noexcept;

/// Once, at import: from then on a fork knows what it lacks.
void watch_forks();

class parallel;

/// Passes on what the engine logged since the last time: warnings through Python's `warnings`, which may
/// raise, the rest through `logging`. `place` is where in the user's code it belongs, as torch_neuron._warnings.here
/// has it; None: where that calls us. What another one than `own` warned of is left for that one's next call. The
/// caller holds the GIL.
void say_what_was_logged(const pybind11::object& place = pybind11::none(), const parallel* own = nullptr);

/// What is in flight when the interpreter ends, and what futures call back, may take so long together.
inline constexpr std::chrono::seconds end_bound{5};

/// Ends the engine, where there is one: takes no more, answers what was accepted, with `draining` when `end_bound` has
/// passed, and waits as long again for what the cores are in the middle of.
void end_host();

}  // namespace ganglion::python
