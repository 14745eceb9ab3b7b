#include "bare_parts.hpp"

#include <ganglion/engine/cpu_allowance.hpp>
#include <ganglion/model_io/replica.hpp>

#include <ATen/ATen.h>

#include <cstring>
#include <memory>

namespace ganglion::benchmark {

namespace {

/// One part of the rows: the same work as one core's, without anybody who hands it out.
class part {
 public:
  part(const compiled_model& model, const at::Tensor& in, const at::Tensor& out) : replica_(model.make_replica()) {
    replica_.warm_up();
    const auto batch = model.inputs().front().shape.front();
    for (std::int64_t row = 0; row < in.size(0); row += batch)
      batches_.push_back({{in.narrow(0, row, batch)}, static_cast<char*>(out.narrow(0, row, batch).data_ptr())});
    rows_ = in.size(0);
  }

  std::int64_t operator()() {
    for (const auto& [in, out] : batches_) {
      const auto result = replica_.run(in).toTensor().contiguous();
      std::memcpy(out, result.data_ptr(), result.nbytes());
    }
    return rows_;
  }

 private:
  struct one_batch {
    std::vector<c10::IValue> in;
    char* out;
  };

  replica replica_;
  std::vector<one_batch> batches_;
  std::int64_t rows_ = 0;
};

at::Tensor random_rows(const tensor_spec& spec, std::int64_t rows) {
  auto sizes = spec.shape;
  sizes.front() = rows;
  return at::rand(sizes, at::TensorOptions().dtype(spec.dtype));
}

}  // namespace

command::pinned_loops bare_parts(const compiled_model& model, std::int64_t rows, std::size_t threads) {
  const auto cpus = read_cpu_allowance().cpus;
  const auto in = random_rows(model.inputs().front(), rows), out = random_rows(model.outputs().front(), rows);
  const auto each = rows / static_cast<std::int64_t>(threads);
  std::vector<command::pinned_loops::loop_start> starts(threads);
  for (std::size_t i = 0; i < threads; ++i) {
    starts[i].place.cpus = {cpus[i % cpus.size()]};
    starts[i].make = [=] {
      const auto first = static_cast<std::int64_t>(i) * each;
      auto mine = std::make_shared<part>(model, in.narrow(0, first, each), out.narrow(0, first, each));
      return [mine] { return (*mine)(); };
    };
  }
  return command::pinned_loops{std::move(starts)};
}

}  // namespace ganglion::benchmark
