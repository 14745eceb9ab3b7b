#pragma once

#include <torch/csrc/jit/api/module.h>

#include <string>

/// Small TorchScript modules for the tests, one property each. Weights are seeded, so that two calls give
/// equal modules.
namespace test_modules {

/// A module with nothing but the given code.
torch::jit::Module scripted(const std::string& code);

/// x + 1 for a tensor of any size.
torch::jit::Module plus_one();
/// Returns its input.
torch::jit::Module no_op();
/// [n, in] -> [n, out], with weight and bias.
torch::jit::Module linear(std::int64_t in = 4, std::int64_t out = 3);
/// x, row by row, in bits that depend on the row's place in the batch, by no more than rounding does: as matrix
/// products do whose last rows are multiplied by other instructions.
torch::jit::Module rounded_by_place();
/// The seed's model: a 3x3 convolution of 3 channels, plus 1.
torch::jit::Module conv_plus_one();
/// Batch normalization in eval mode, scripted with the branch that counts its batches in training.
torch::jit::Module batch_norm();
/// relu(conv(x)) * hardsigmoid(conv(avgpool(x))) for [n, 3, h, w], which `optimize_for_inference` of
/// LibTorch 1.13.1 breaks at batch > 1, for it loses the padding of 12 channels to blocks of 8 or 16.
torch::jit::Module gated_conv();

/// Subtracts the mean over dim 0: rows depend on each other.
torch::jit::Module minus_batch_mean();
/// Adds each row's number to it: rows depend on their place.
torch::jit::Module plus_row_number();
/// The sum of everything, without a dimension.
torch::jit::Module total();

/// forward(x, y): x + 2 y.
torch::jit::Module two_inputs();
/// forward(x, scale: float, shift = 1): x * scale + shift.
torch::jit::Module with_numbers();
/// forward(pair: Tuple[Tensor, Tensor], more: List[Tensor], named: Dict[str, Tensor]): the sum of all.
torch::jit::Module nested_inputs();
/// (x + 1, [x * 2, x * 3]).
torch::jit::Module nested_outputs();
/// {"sum": x + 1, "product": x * 2}.
torch::jit::Module dict_outputs();
/// (x + 1, 7, "seven").
torch::jit::Module with_plain_outputs();
/// The number of rows, as an int: no tensor.
torch::jit::Module no_tensor_output();

/// Adds 1 to its input in place.
torch::jit::Module writes_input();
/// Counts its calls in an int attribute.
torch::jit::Module counts_calls();
/// Adds 1 to its buffer `total` in place.
torch::jit::Module changes_buffer();
/// Dropout that is on whatever the mode.
torch::jit::Module wired_dropout();
/// Batch normalization that is training whatever the mode.
torch::jit::Module wired_batch_norm();
/// x + random numbers.
torch::jit::Module random();

/// x + 1, but fails with "a row is marked" where any element is above 1e6.
torch::jit::Module fails_on_marked_rows();
/// Fails always.
torch::jit::Module fails();

}  // namespace test_modules
