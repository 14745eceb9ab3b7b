// How often rows are copied on their way into a forward and out of it.
//
// Three things are looked at together, so that a copy has nowhere to hide: where the memory lies that forward was
// given; the large copies, those of LibTorch's operators and of the project's own memcpy; and the large pieces of
// memory that were allocated, since a copy needs a place to go.
#include "counted_calls.hpp"

#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/modules.hpp>
#include <support/watched_forward.hpp>

#include <ATen/record_function.h>

#include <atomic>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

namespace {

/// Floats of a row: 256 KiB, so that everything else is small beside it.
constexpr std::int64_t width = 64 << 10;
constexpr std::size_t row_bytes = width * sizeof(float);

/// The bytes that operators of LibTorch copied, on any thread, while the object lives.
class operator_copies {
 public:
  operator_copies() {
    bytes = 0;
    handle_ = at::addGlobalCallback(at::RecordFunctionCallback(count).needsInputs(true).scopes(
        {at::RecordScope::FUNCTION}));
  }
  ~operator_copies() { at::removeCallback(handle_); }

  static std::size_t so_far() { return bytes; }

 private:
  static std::unique_ptr<at::ObserverContext> count(const at::RecordFunction& call) {
    const std::string_view name = call.name();
    std::size_t moved = 0;
    if (name == "aten::copy_") {
      moved = call.inputs()[0].toTensor().nbytes();
    } else if (name == "aten::cat" || name == "aten::_cat") {
      for (const at::Tensor& piece : call.inputs()[0].toTensorVector()) moved += piece.nbytes();
    }
    if (moved >= large) bytes += moved;
    return nullptr;
  }

  static inline std::atomic<std::size_t> bytes{0};
  at::CallbackHandle handle_;
};

/// What was seen while requests ran.
struct movement {
  std::vector<at::Tensor> inputs;  ///< of the forwards
  std::size_t copied = 0;          ///< bytes, by operators and by memcpy
  std::size_t allocated = 0;       ///< bytes of large pieces

  /// The inputs of the forwards that are the caller's own memory.
  std::size_t views_of(const at::Tensor& given) const {
    const auto* begin = static_cast<const char*>(given.data_ptr());
    return static_cast<std::size_t>(std::count_if(inputs.begin(), inputs.end(), [&](const at::Tensor& seen) {
      const auto* at = static_cast<const char*>(seen.data_ptr());
      return at >= begin && at + seen.nbytes() <= begin + given.nbytes();
    }));
  }
};

/// Runs requests, each a tensor or several at once, and says what moved. What is kept for later is allocated before.
template <class Run>
movement movement_of(const Run& run) {
  run();
  movement result;
  std::mutex mutex;
  const forward_watch watch{[&](const at::Tensor& input) {
    std::lock_guard lock(mutex);
    result.inputs.push_back(input);
  }};
  const operator_copies operators;
  const calls_since calls;
  run();
  result.copied = operators.so_far() + calls().copied_bytes;
  result.allocated = calls().allocated_bytes;
  return result;
}

compiled_model watched_model(at::IntArrayRef shape) { return compiled(watched(), {at::rand(shape)}); }

bool is_first_column(const at::Tensor& found, const at::Tensor& x) { return found.equal(x.narrow(-1, 0, 1)); }

}  // namespace

TEST_CASE("contiguous rows go into forwards along dim 0 without a copy, from the caller's own memory") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, watched_model({2, 1, width})};
  const auto x = at::rand({16, 1, width});
  const auto seen = movement_of([&] { EXPECT(is_first_column(answer(parallel, {x}), x)); });
  REQUIRE(seen.inputs.size() == 8);
  EXPECT(seen.views_of(x) == 8);
  EXPECT(seen.copied == 0);
  EXPECT(seen.allocated == 0);

  std::vector<const void*> places;
  for (const auto& input : seen.inputs) {
    EXPECT(input.sizes() == at::IntArrayRef{2, 1, width});
    places.push_back(input.data_ptr());
  }
  std::sort(places.begin(), places.end());
  for (std::size_t i = 0; i < places.size(); ++i)
    EXPECT(places[i] == static_cast<const char*>(x.data_ptr()) + i * 2 * row_bytes);
}

TEST_CASE("rows of a contiguous part of a larger tensor are not copied either, whatever the split size") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, watched_model({2, 1, width}), {.split_size = 4}};
  const auto whole = at::rand({20, 1, width});
  const auto x = whole.narrow(0, 3, 16);
  const auto seen = movement_of([&] { EXPECT(is_first_column(answer(parallel, {x}), x)); });
  EXPECT(seen.inputs.size() == 8);
  EXPECT(seen.views_of(whole) == 8);
  EXPECT(seen.copied == 0);
  EXPECT(seen.allocated == 0);
}

TEST_CASE("of a last batch that is padded only its own rows are copied, once, and the padding is made") {
  engine_ears ears;
  engine host{ears.options(1)};
  data_parallel parallel{host, watched_model({4, 1, width})};
  const auto x = at::rand({7, 1, width});
  const auto seen = movement_of([&] { EXPECT(is_first_column(answer(parallel, {x}), x)); });
  EXPECT(seen.inputs.size() == 2);
  EXPECT(seen.views_of(x) == 1);
  EXPECT(seen.copied == 4 * row_bytes);  // three rows, and one of padding
  EXPECT(seen.allocated == 0);           // the buffer stays
}

TEST_CASE("rows of several requests that run together are copied once") {
  engine_ears ears;
  engine host{ears.options(1)};
  data_parallel parallel{host, watched_model({4, 1, width}), {.max_queue_delay = std::chrono::minutes(1)}};
  const auto a = at::rand({1, 1, width}), b = at::rand({3, 1, width});
  const auto seen = movement_of([&] {
    auto first = parallel.submit({a}), second = parallel.submit({b});
    EXPECT(is_first_column(first.get().toTensor(), a));
    EXPECT(is_first_column(second.get().toTensor(), b));
  });
  EXPECT(seen.inputs.size() == 1);
  EXPECT(seen.copied == 4 * row_bytes);
  EXPECT(seen.allocated == 0);
}

TEST_CASE("rows that are not contiguous are copied once") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, watched_model({2, 1, width})};
  const auto strided = at::rand({8, 1, 2 * width}).narrow(2, 0, width);
  REQUIRE_FALSE(strided.is_contiguous());
  const auto seen = movement_of([&] { EXPECT(is_first_column(answer(parallel, {strided}), strided)); });
  EXPECT(seen.inputs.size() == 4);
  EXPECT(seen.copied == 8 * row_bytes);
  EXPECT(seen.allocated == where_counted(8 * row_bytes));
}

TEST_CASE("along another dimension rows are copied once") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, watched_model({2, 2, width}), {.dim = 1}};
  const auto x = at::rand({2, 4, width});
  const auto seen = movement_of([&] { EXPECT(is_first_column(answer(parallel, {x}), x)); });
  EXPECT(seen.inputs.size() == 2);
  EXPECT(seen.copied == 8 * row_bytes);
  EXPECT(seen.allocated == where_counted(8 * row_bytes));
}

TEST_CASE("rows of an answer are copied once, from the output of their forward to their place") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(modules::plus_one(), {at::rand({2, width})})};
  const auto x = at::rand({16, width});
  at::Tensor found;
  const auto seen = movement_of([&] { found = answer(parallel, {x}); });
  EXPECT(same(found, x + 1));
  EXPECT(seen.copied == 16 * row_bytes);
  EXPECT(seen.allocated == where_counted(2 * 16 * row_bytes));  // the outputs, and the answer
}

TEST_CASE("rows of a model that writes to its inputs are copied once, whichever way they come together") {
  engine_ears ears;
  engine host{ears.options(1)};
  const auto writes = modules::scripted("def forward(self, x):\n  return x.add_(1)\n");
  data_parallel parallel{host, compiled(writes, {at::rand({4, width})})};
  const auto whole = at::rand({8, width}), padded = at::rand({3, width});
  const auto strided = at::rand({8, 2 * width}).narrow(1, 0, width);
  // And once each of the outputs.
  for (const auto& [x, rows] : {std::pair{whole, 8 + 8}, {padded, 4 + 3}, {strided, 8 + 8}}) {
    const auto kept = x.clone();
    at::Tensor found;
    const auto seen = movement_of([&] { found = answer(parallel, {x}); });
    EXPECT(same(found, kept + 1));
    EXPECT(x.equal(kept));
    EXPECT(seen.copied == static_cast<std::size_t>(rows) * row_bytes);
  }
}

TEST_CASE("a model that changes the shape of its input in place gets one of the compiled shape each time") {
  engine_ears ears;
  engine host{ears.options(1)};
  for (const auto* code : {"def forward(self, x):\n  x.t_()\n  return x.t() + 1\n",
                           "def forward(self, x):\n  x.unsqueeze_(1)\n  return x.sum(1) + 1\n"}) {
    data_parallel parallel{host, compiled(modules::scripted(code), {at::rand({4, 4})})};
    for (int i = 0; i < 3; ++i)
      for (const std::int64_t rows : {3, 4, 6}) {
        const auto x = at::rand({rows, 4});
        EXPECT(same(answer(parallel, {x}), x + 1));
      }
  }
}

TEST_CASE("along another dimension the outputs are joined once, into the caller's tensor where there is one") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(modules::plus_one(), {at::rand({1, 2, width})}), {.dim = 1}};
  const auto x = at::rand({1, 4, width});
  at::Tensor found;
  const auto seen = movement_of([&] { found = answer(parallel, {x}); });
  EXPECT(same(found, x + 1));
  EXPECT(seen.copied == 4 * row_bytes);  // of one row of the dimensions before it the chunks are contiguous
  EXPECT(seen.allocated == where_counted(2 * 4 * row_bytes));

  const auto given = at::empty({1, 4, width});
  const auto into_given = movement_of([&] {
    request_options options;
    options.outputs = {given};
    parallel.submit({x}, std::move(options)).get();
  });
  EXPECT(same(given, x + 1));
  EXPECT(into_given.copied == 4 * row_bytes);
  EXPECT(into_given.allocated == where_counted(4 * row_bytes));
}
