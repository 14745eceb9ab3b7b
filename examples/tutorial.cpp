// The program of docs/tutorial.md: from a TorchScript file to requests that nobody waits for. A test compares what is
// between lines such as // [compile] with the page.
#include <ganglion/engine/async_infer.hpp>
#include <ganglion/engine/data_parallel.hpp>
#include <ganglion/model_io/model.hpp>

#include <torch/script.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <iostream>
#include <vector>

namespace {

namespace fs = std::filesystem;

// [compile]
void compile(const fs::path& script, const fs::path& compiled) {
  const auto module = ganglion::load_module(script);                         // what torch.jit.save wrote
  const auto model = ganglion::trace(module, {at::rand({16, 1, 28, 28})});   // for 16 digits at a time
  for (const auto& sentence : model.warnings()) std::cerr << sentence << '\n';
  ganglion::save(model, compiled);
}
// [compile]

// [ask]
at::Tensor ask(ganglion::data_parallel& parallel) {
  const auto digits = at::rand({100, 1, 28, 28});              // any number of rows
  const auto scores = parallel({digits}).toTensor();           // waits: f32[100,10], in the order of the digits

  std::vector<std::future<c10::IValue>> later;                 // does not wait
  for (const auto rows : {1, 7, 50}) later.push_back(parallel.submit({at::rand({rows, 1, 28, 28})}));
  for (auto& answer : later) std::cout << answer.get().toTensor().sizes() << '\n';
  return scores;
}
// [ask]

// [errors]
void ask_wrongly(ganglion::data_parallel& parallel) {
  try {
    parallel({at::rand({4, 3, 28, 28})});                      // three colours, where the model was compiled for one
  } catch (const ganglion::error& e) {
    std::cout << ganglion::to_string(e.failure().code) << ": " << e.what() << '\n';
    if (e.retryable()) std::cout << "the same call may succeed later\n";
  }
}
// [errors]

// [callback]
void ask_and_be_called(ganglion::data_parallel& parallel, std::promise<void>& done) {
  ganglion::request_options options;
  options.priority = ganglion::priority::high;
  options.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  parallel.async_infer({at::rand({1, 1, 28, 28})}, options, [&](std::exception_ptr, ganglion::response r) {
    if (r.ok())
      std::cout << "a " << r.outputs.toTensor().argmax().item<std::int64_t>() << ", after "
                << std::chrono::duration<double, std::milli>(r.timing.queued).count() << " ms in the queue\n";
    else
      std::cout << ganglion::to_string(r.code()) << ": " << r.text() << '\n';
    done.set_value();
  });
}
// [callback]

int run(const fs::path& script, const fs::path& compiled) {
  compile(script, compiled);

  // [load]
  ganglion::engine engine;                                     // the cores of this process
  ganglion::data_parallel parallel(engine, ganglion::load(compiled));
  std::cout << engine.core_count() << " cores, compiled for " << to_string(parallel.model().inputs().front()) << '\n';
  // [load]

  ask(parallel);
  ask_wrongly(parallel);
  std::promise<void> done;
  ask_and_be_called(parallel, done);
  done.get_future().wait();

  // [end]
  const bool all_answered = engine.drain(std::chrono::seconds(10));   // no more requests; those accepted are answered
  // [end]
  std::cout << (all_answered ? "ended in order\n" : "not all requests were answered\n");
  return all_answered ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: tutorial MODEL.pt OUT.pt\n"
                 "  MODEL.pt: examples/mnist/mnist_cnn.pt of the source tree; OUT.pt: where the compiled model goes\n";
    return 2;
  }
  return run(argv[1], argv[2]);
} catch (const ganglion::error& e) {
  std::cerr << "tutorial: error[" << ganglion::to_string(e.failure().code) << "]: " << e.what() << '\n';
  return 1;
}
