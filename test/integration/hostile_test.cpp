// What a careless program may do to the embedding face: each has one clear answer, and nothing is lost.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/modules.hpp>

#include <ganglion/engine/async_infer.hpp>

#include <pthread.h>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

namespace {

compiled_model plus_one(std::int64_t batch = 4) { return compiled(modules::plus_one(), {at::ones({batch, 3})}); }

/// While it lives no thread can be made: none has room for a stack of that size.
class no_more_threads {
 public:
  no_more_threads() {
    pthread_getattr_default_np(&before_);
    pthread_attr_t huge;
    pthread_attr_init(&huge);
    pthread_attr_setstacksize(&huge, std::size_t{1} << 47);
    pthread_setattr_default_np(&huge);
    pthread_attr_destroy(&huge);
  }
  ~no_more_threads() { pthread_setattr_default_np(&before_); }
  no_more_threads(const no_more_threads&) = delete;

 private:
  pthread_attr_t before_;
};

}  // namespace

TEST_CASE("an engine of which the threads cannot be made is refused, and can be made later") {
  engine_ears ears;
  {
    no_more_threads now;
    auto f = failure_of([&] { engine{ears.options(2)}; });
    EXPECT(f.code == errc::core_unavailable);
    EXPECT(contains(f.text, "the engine needs 5 threads, but the system gave 0"));
  }
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one()};
  {
    no_more_threads now;
    auto f = failure_of([&] { parallel.async_infer({counted({5, 3})}, {}, [](auto, auto) {}); });
    EXPECT(f.code == errc::core_unavailable);
    EXPECT(contains(f.text, "the engine's completion thread cannot be made"));
  }
  std::promise<response> promise;
  parallel.async_infer({counted({5, 3})}, {}, [&](std::exception_ptr, response r) { promise.set_value(std::move(r)); });
  auto future = promise.get_future();
  REQUIRE(ready(future));
  EXPECT(same(future.get().outputs.toTensor(), counted({5, 3}) + 1));
}
