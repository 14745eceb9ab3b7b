// Classifies the 1,000 real MNIST test digits over every visible core, in batches of uneven sizes that are
// all in flight at once, and compares the answers with those of the module run alone.
#include "../example.hpp"
#include "idx_file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <future>
#include <vector>

namespace {

constexpr std::int64_t compiled_batch = 16;
constexpr double required_accuracy = 0.975;

struct digits {
  at::Tensor images;  ///< f32[N,1,28,28], from 0 to 1
  at::Tensor labels;  ///< i64[N]
};

digits read_test_digits(const std::filesystem::path& folder) {
  const auto images_path = folder / "test-images-idx3-ubyte.gz";
  const auto labels_path = folder / "test-labels-idx1-ubyte.gz";
  const auto images = read_idx_file(images_path);
  const auto labels = read_idx_file(labels_path);
  if (images.dim() != 3 || images.size(1) != 28 || images.size(2) != 28 || labels.dim() != 1
      || images.size(0) != labels.size(0) || images.size(0) < compiled_batch)
    throw ganglion::error(ganglion::errc::invalid_argument,
                          fmt::format("{} and {} should hold equally many digits of 28 x 28, at least {}",
                                      images_path.string(), labels_path.string(), compiled_batch));
  return {images.to(at::kFloat).div(255).unsqueeze(1), labels.to(at::kLong)};
}

/// The sizes of the batches: some smaller than the compiled one, some larger, few that divide by it.
std::vector<std::int64_t> uneven_sizes(std::int64_t total) {
  constexpr std::array<std::int64_t, 8> cycle = {1, 7, 16, 33, 64, 5, 50, 24};
  std::vector<std::int64_t> sizes;
  for (std::size_t i = 0; total > 0; ++i, total -= sizes.back())
    sizes.push_back(std::min(cycle[i % cycle.size()], total));
  return sizes;
}

/// Sends every batch, waits for all, and returns the scores in the order of the images.
at::Tensor classify(ganglion::data_parallel& parallel, const at::Tensor& images,
                    const std::vector<std::int64_t>& sizes) {
  std::vector<std::future<c10::IValue>> answers;
  for (const auto& batch : images.split_with_sizes(sizes))
    answers.push_back(parallel.submit({batch}));

  const bool terminal = isatty(STDERR_FILENO) != 0;
  std::vector<at::Tensor> scores;
  for (auto& answer : answers) {
    scores.push_back(answer.get().toTensor());
    if (terminal)
      fmt::print(stderr, "\r{} of {} batches", scores.size(), answers.size());
  }
  if (terminal)
    fmt::print(stderr, "\r\033[K");
  return at::cat(scores);
}

int classify_digits(const std::filesystem::path& folder) {
  const auto module = ganglion::load_module(folder / "mnist_cnn.pt");
  const auto test = read_test_digits(folder / "data");
  fmt::print("compiling the network for {} rows\n", compiled_batch);
  std::fflush(stdout);
  const auto model = ganglion::trace(module, {test.images.narrow(0, 0, compiled_batch)});

  ganglion::engine engine;
  ganglion::data_parallel parallel(engine, model);
  const auto total = test.images.size(0);
  const auto sizes = uneven_sizes(total);
  fmt::print("{} test digits in {} batches of 1 to 64, compiled for {}, over {} cores\n", total, sizes.size(),
             compiled_batch, engine.core_count());

  const auto scores = classify(parallel, test.images, sizes);
  const auto right = scores.argmax(1).eq(test.labels).sum().item<std::int64_t>();
  const auto accuracy = static_cast<double>(right) / static_cast<double>(total);
  fmt::print("accuracy: {:.1f} % ({} of {})\n", 100 * accuracy, right, total);

  const bool equal = example::report_difference(scores, example::answer_alone(module, test.images));
  if (accuracy < required_accuracy)
    fmt::print(stderr, "mnist: an accuracy of at least {:.1f} % was expected\n", 100 * required_accuracy);
  return equal && accuracy >= required_accuracy ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: mnist FOLDER\n"
               "  FOLDER: examples/mnist of the source tree, with mnist_cnn.pt and data/\n");
    return 2;
  }
  return example::run("mnist", [&] { return classify_digits(argv[1]); });
}
