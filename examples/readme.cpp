// The program that README.md shows; a test compares the two.
// [readme]
#include <ganglion/engine/data_parallel.hpp>

#include <torch/script.h>

#include <iostream>

int main(int argc, char** argv) try {
  auto module = ganglion::load_module(argc > 1 ? argv[1] : "model.pt");   // any TorchScript file
  auto digits = [](std::int64_t rows) { return at::zeros({rows, 1, 28, 28}); };
  auto model = ganglion::trace(module, {digits(16)});       // compiled for batches of 16
  ganglion::data_parallel parallel(model);                  // a replica on every core that is visible

  auto answer = parallel({digits(100)}).toTensor();         // any batch size: cut, padded, gathered in order
  std::vector<std::future<c10::IValue>> answers;            // or without waiting
  for (auto rows : {1, 7, 50}) answers.push_back(parallel.submit({digits(rows)}));

  std::cout << answer.sizes();
  for (auto& a : answers) std::cout << ' ' << a.get().toTensor().sizes();
  std::cout << '\n';
} catch (const ganglion::error& e) {                        // a code, and one sentence with the numbers in it
  std::cerr << ganglion::to_string(e.failure().code) << ": " << e.what() << '\n';
  return 1;
}
// [readme]
