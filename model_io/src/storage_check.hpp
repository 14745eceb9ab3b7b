#pragma once

#include <ganglion/model_io/error.hpp>

#include <caffe2/serialize/inline_container.h>

namespace ganglion {

/// Whether every storage that a TorchScript archive's pickles speak of is in the archive with all its bytes, and every
/// tensor lies within its storage: LibTorch believes the pickles and would read past the end.
/// Errors: `model_load_failed`, with the end of a sentence that the file's name begins.
expected<void> check_storages(caffe2::serialize::PyTorchStreamReader& archive);

}  // namespace ganglion
