#pragma once

#include <ganglion/actors/protocol/request_options.hpp>
#include <ganglion/actors/protocol/response.hpp>
#include <ganglion/engine/device_id.hpp>
#include <ganglion/engine/engine.hpp>
#include <ganglion/model_io/model.hpp>

#include <ATen/core/ivalue.h>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace ganglion {

namespace detail {
struct completion_thread;
}

/// S1 to S26, here and in other headers, are the clauses of docs/semantics.md.
struct data_parallel_options {
  /// The cores to use, in this order; empty: every visible core (S2, S3).
  std::vector<device_id> device_ids;
  /// The dimension along which inputs are scattered and outputs gathered; negative counts from the end (S9).
  std::int64_t dim = 0;
  /// Whether any batch size may be run on the compiled one. Only for dim 0 and models whose rows are independent:
  /// otherwise it is off, with a warning (S10, S11).
  bool dynamic_batching = true;
  /// A cap on executions in flight over all cores; unset: what the cores take (S19).
  std::optional<std::size_t> num_workers;
  /// Rows a chunk; unset: the compiled batch size (S20).
  std::optional<std::int64_t> split_size;
  /// How long a batch that is not full may wait for rows of other requests, counted from its oldest row. 0: what waits
  /// when a core becomes free goes together, and no core waits for more.
  std::chrono::nanoseconds max_queue_delay{0};
  /// After each such time a request that waits rises by one priority class, so that none starves; 0: never.
  std::chrono::nanoseconds ageing{std::chrono::seconds(1)};
  /// Runs rows of the same sizes always on the same program, the one with the largest batch, so that the bits of an
  /// answer do not depend on what else is there.
  bool deterministic = false;
  /// For a model that was compiled for several sizes beside the batch, such as lengths of a sequence: what shorter
  /// inputs are filled up with to the smallest program that they fit, one value for all tensor inputs or one for each;
  /// the answer is trimmed again. Empty: inputs must be exactly as long as a program's.
  std::vector<double> pad_values;
};

/// How far the loading of a data_parallel has come.
struct loading_progress {
  std::size_t cores_ready = 0;  ///< have the model, warm
  std::size_t cores = 0;        ///< are to have it
};

class inference;

/// A compiled model replicated on cores: scatters each batch along a dimension, runs the pieces on whichever core is
/// free, gathers the results in order. What `torch.neuron.DataParallel` was, for C++ and asynchronous.
///
/// Any number of threads may call one object. Inputs must not be written to before their answer is there; answers are
/// ordinary tensors that share no storage with anything. One that was moved from can be destroyed and assigned to;
/// everything else throws `invalid_argument`. In a forked child it throws `core_unavailable`: make an engine there.
class data_parallel {
 public:
  /// Loads and warms the model on its cores; returns when all are ready. Errors: `invalid_device_id`,
  /// `dim_out_of_range`, `shape_mismatch` (inputs compiled with different sizes along dim), `invalid_argument` (an
  /// option, or one of the engine's own threads, which would wait for itself), `core_memory_exceeded`, `forward_failed`
  /// (while warming), `core_lost`, `draining`. The first is on `engine::process_default()`, and throws what that does.
  explicit data_parallel(compiled_model model, data_parallel_options options = {});
  data_parallel(engine& on, compiled_model model, data_parallel_options options = {});
  /// The same without waiting: returns at once, from any thread. Throws what is wrong with the options or the model;
  /// what only the cores can say (`core_memory_exceeded`, `forward_failed`, `core_lost`, `draining`) comes through
  /// `ready`.
  ///
  /// Requests may be submitted at once. Accepted within the engine's limits as ever, they wait for the first core that
  /// has the model; their deadlines and stop tokens count meanwhile, and where loading fails they are answered with
  /// what `ready` says. Executions of other models go between the steps of loading, the longest of which is one
  /// forward.
  static data_parallel begin_loading(engine& on, compiled_model model, data_parallel_options options = {});
  static data_parallel begin_loading(compiled_model model, data_parallel_options options = {});
  /// What was accepted is still answered. Where nothing was, a loading under way ends with `cancelled`.
  ~data_parallel();
  data_parallel(data_parallel&&) noexcept;
  data_parallel& operator=(data_parallel&&) noexcept;

  /// Becomes ready when all cores have the model (those that were down load it when they start again), or holds the
  /// `ganglion::error` of why it could not be loaded. Always becomes ready, and may outlive this object.
  std::shared_future<void> ready() const;
  /// The same for any completion token of Boost.Asio, signature `void(std::exception_ptr)`; as often as wanted.
  /// See <ganglion/engine/async_infer.hpp>, which defines it.
  template <class CompletionToken>
  auto async_ready(CompletionToken&& token) const;
  /// What both are made of: calls `done` exactly once, with code `ok` or the failure, like `start` does; with
  /// `cancelled` when the stop token says so before. Loading goes on then.
  void when_ready(std::function<void(failure&&)> done, std::stop_token stop = {}) const;
  /// Of this moment. Never blocks.
  loading_progress progress() const;

  /// Puts another model in the place of this one, while requests come and run. None is refused or fails for it: those
  /// that came before are answered wholly by the old model, those after it wholly by the new one. Returns when the new
  /// one serves, so that every call after it gets the new one's answer. The old one's weights are let go when the last
  /// request that is its own is answered and nobody else holds the model.
  ///
  /// The new model is loaded on the same cores beside the old one, which serves meanwhile, and goes on where it cannot
  /// be. All settings stay; a cap of `num_workers` counts for each of the two while both run. Several replacements are
  /// done in the order of their calls, and after a loading that is under way. A core that is down loads the new model
  /// when it starts again.
  /// Errors: `shape_mismatch` (other inputs or outputs than the old one's, in whichever of its programs),
  /// `unsupported_model` (rows that depend on each other, where the old one's do not), and as the constructor's:
  /// `invalid_argument` (on one of the engine's own threads, or where the old model could not be loaded),
  /// `core_memory_exceeded` (no room for both), `forward_failed`, `core_lost`, `draining`.
  void replace(compiled_model model);
  /// The same without waiting, from any thread. Throws what is wrong with the model; the rest comes through the future,
  /// which always becomes ready: with `cancelled` where this object is destroyed before.
  std::shared_future<void> begin_replacing(compiled_model model);

  /// Runs forward(inputs...) data-parallel and waits for the answer.
  ///
  /// `inputs` has one element for each argument of forward, structured as the example was. Its tensors are dense, on
  /// the CPU, of the example's dtypes and of its sizes but for the one along dim: with dynamic batching any number of
  /// rows from 0 on, else `len(device_ids)` times the compiled size, one and the same in all of them. Values that are
  /// no tensors, and 0-dimensional tensors, go to every chunk as they are.
  /// The answer is what forward returns, structure and dtypes kept, with all tensors gathered along dim. A
  /// 0-dimensional output becomes a vector of one element a chunk.
  ///
  /// Throws `ganglion::error`: `shape_mismatch` (an input is not as above), `batch_size_mismatch` (dynamic batching
  /// off), `gather_mismatch`, `core_memory_exceeded` (no memory for the answer), `forward_failed`, `core_lost`,
  /// `queue_full`, `draining`; `invalid_argument` when called on one of the engine's own threads, which would wait for
  /// itself.
  c10::IValue operator()(std::vector<c10::IValue> inputs);
  /// The same without waiting, on any thread. The future always becomes ready, with the answer or with the
  /// `ganglion::error` (all but the last of those above), also when the engine ends or a core dies. It may be dropped.
  std::future<c10::IValue> submit(std::vector<c10::IValue> inputs);

  /// With what a request can carry, and what it took in the answer. Errors besides, all through the future:
  /// `deadline_exceeded`, `cancelled`; `shape_mismatch` and `invalid_argument` for output tensors that cannot take the
  /// answer; `invalid_argument` for a priority that there is not.
  std::future<response> submit(std::vector<c10::IValue> inputs, request_options options);
  /// For coroutines without Asio: `response r = co_await parallel.infer(inputs, options);`. Throws like `submit`, and
  /// `queue_full` where as many coroutines and handlers as `max_queued_rows`, 4,096 at least, wait for the completion
  /// thread. The
  /// coroutine goes on on the engine's completion thread, never inside the call, and may call anything there but must
  /// not block it for long. The object must live until the coroutine was suspended.
  inference infer(std::vector<c10::IValue> inputs, request_options options);
  inference infer(std::vector<c10::IValue> inputs);
  /// Any completion token of Boost.Asio, signature `void(std::exception_ptr, response)`; the exception is a
  /// `ganglion::error`. See <ganglion/engine/async_infer.hpp>, which defines it.
  template <class CompletionToken>
  auto async_infer(std::vector<c10::IValue> inputs, request_options options, CompletionToken&& token);
  /// What the others are made of: calls `done` exactly once, with the failure inside of the response. It is called on
  /// one of the engine's own threads, a core's among them, or inside of this call where the request is refused: it
  /// must not block. What it throws there is told to the log; inside of this call it is thrown on. Errors:
  /// `invalid_argument` for a `done` that is empty.
  void start(std::vector<c10::IValue> inputs, request_options options, std::function<void(response&&)> done);
  /// Runs functions on the engine's completion thread, which is there for the user's code: what they throw is logged.
  /// It may outlive this object; what is posted after the engine and all of its data_parallels are gone runs on a
  /// thread of its own. Throws `queue_full` as `infer` does.
  std::function<void(std::function<void()>)> poster() const;

  /// Turns dynamic batching off for all calls that come after it; there is no way back (S14). From then on
  /// `input.shape[dim] / len(device_ids)` must be the compiled size exactly (S13).
  void disable_dynamic_batching();
  bool dynamic_batching() const;

  /// Errors: `invalid_argument` for 0. Unset it reads 2 x cores.
  void num_workers(std::size_t n);
  std::size_t num_workers() const;
  /// Errors: `invalid_argument` for values below 1. `nullopt`: as where it was never set.
  void split_size(std::int64_t rows);
  void split_size(std::nullopt_t);
  std::optional<std::int64_t> split_size() const;

  /// What its user should know, each said once here and in the log.
  std::vector<std::string> warnings() const;
  /// The cores in use, as per-process indices in the order given.
  const std::vector<std::size_t>& cores() const;
  /// The one that serves now.
  compiled_model model() const;
  /// Its number in `execution_record`: a new one for each model that takes the place of another.
  std::uint64_t id() const;

 private:
  friend struct detail::completion_thread;

  struct impl;
  explicit data_parallel(std::unique_ptr<impl> made);
  /// Throws where it cannot be followed: the object was moved from, or this is its copy in a forked child.
  class owned_impl {
   public:
    explicit owned_impl(std::unique_ptr<impl> p = nullptr);
    owned_impl(owned_impl&& other) noexcept;
    owned_impl& operator=(owned_impl&& other) noexcept;
    ~owned_impl();
    impl* operator->() const;

   private:
    std::unique_ptr<impl> p_;
  };

  owned_impl impl_;
};

/// An inference that a coroutine awaits, once. See `data_parallel::infer`. A coroutine that is destroyed while it waits
/// is never resumed, and its request is taken back: destroy it on the completion thread, or where it cannot go on at
/// that moment.
class [[nodiscard]] inference {
 public:
  inference(data_parallel& on, std::vector<c10::IValue> inputs, request_options options)
      : on_(on), inputs_(std::move(inputs)), options_(std::move(options)) {}
  inference(inference&&) noexcept = default;
  inference& operator=(inference&&) = delete;
  ~inference() {
    if (!answer_) return;
    answer_->wanted = false;
    answer_->gone.request_stop();
  }

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> caller) {
    auto resume = on_.poster();
    answer_ = std::make_shared<answer>();
    if (options_.stop.stop_possible())
      answer_->callers.emplace(options_.stop, [gone = answer_->gone] {
        auto kept = gone;  // what it stops may be the end of this callback
        kept.request_stop();
      });
    options_.stop = answer_->gone.get_token();
    auto done = [to = answer_, caller, resume = std::move(resume)](response&& r) {
      to->value = std::move(r);
      resume([to, caller] {
        if (to->wanted) caller.resume();
      });
    };
    on_.start(std::move(inputs_), std::move(options_), std::move(done));
  }
  response await_resume() {
    if (!answer_->value.ok()) throw error(std::move(answer_->value.error));
    return std::move(answer_->value);
  }

 private:
  /// Of both the coroutine and whoever answers: either may go first.
  struct answer {
    response value;
    std::atomic<bool> wanted{true};
    std::stop_source gone;  ///< asked where the coroutine goes away, or the caller's own token says so
    std::optional<std::stop_callback<std::function<void()>>> callers;
  };

  data_parallel& on_;
  std::vector<c10::IValue> inputs_;
  request_options options_;
  std::shared_ptr<answer> answer_;
};

inline inference data_parallel::infer(std::vector<c10::IValue> inputs, request_options options) {
  return {*this, std::move(inputs), std::move(options)};
}

inline inference data_parallel::infer(std::vector<c10::IValue> inputs) {
  return infer(std::move(inputs), request_options{});
}

}  // namespace ganglion
