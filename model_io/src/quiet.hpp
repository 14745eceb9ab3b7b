#pragma once

#include <c10/util/Exception.h>
#include <torch/version.h>

namespace ganglion {

/// Keeps what LibTorch warns of on this thread from the terminal: some optimized programs warn in every run.
class quiet {
 private:
  struct handler final : c10::WarningHandler {
#if TORCH_VERSION_MAJOR >= 2
    void process(const c10::Warning&) override {}
#else
    void process(const c10::SourceLocation&, const std::string&, bool) override {}
#endif
  };

  handler handler_;
#if TORCH_VERSION_MAJOR >= 2
  c10::WarningUtils::WarningHandlerGuard guard_{&handler_};
#else
  c10::Warning::WarningHandlerGuard guard_{&handler_};
#endif
};

}  // namespace ganglion
