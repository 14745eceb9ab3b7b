#pragma once

#include "bench_load.hpp"

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace ganglion::command {

/// What torch.neuron documents of its DataParallel, as a pool of threads: twice as many workers as cores; a call is cut
/// into chunks of max(1, rows // cores) rows, each worker narrows its chunk to the compiled batch, pads the last piece
/// with zeros, runs forward and joins the pieces, and the caller joins the chunks. Each worker has a replica of the
/// same program, and one intra-op thread.
class documented_pool {
 public:
  /// Returns when all workers are warm. Errors, thrown: what the model throws.
  documented_pool(const compiled_model& model, std::size_t cores);
  ~documented_pool();

  std::size_t workers() const { return threads_.size(); }

  /// One call: the tensors of the answer as a tuple.
  c10::IValue operator()(const bench_request& request);

  /// Calls it again and again for so long, and at least once. Returns the rows a second.
  double rows_per_second(const bench_request& request, double seconds);

 private:
  class worker;
  using task = std::packaged_task<std::vector<at::Tensor>(worker&)>;

  void work(std::promise<void> warm);
  void end();

  const compiled_model model_;
  const std::size_t cores_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<task> tasks_;
  bool ended_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace ganglion::command
