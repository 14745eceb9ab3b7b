#include <ganglion/engine/async_infer.hpp>

#include "deployment_reports.hpp"
#include "engine_state.hpp"

#include <ganglion/actors/coordinator/coordinator.hpp>

#include <boost/asio/post.hpp>
#include <caf/all.hpp>
#include <fmt/format.h>

#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>

namespace ganglion {

namespace {

/// Which program is the fastest hangs on the threads of a core.
void warn_of_other_threads(warning_log& warnings, const compiled_model& model, std::size_t threads_per_core) {
  if (const auto& tuned = model.tuned(); tuned && tuned->threads != threads_per_core)
    warnings.add("tuned for other threads",
                 fmt::format("the model was tuned for cores of {0} intra-op thread(s), and those of this engine have "
                             "{1} (`threads_per_core`): other programs may be faster here; trace it with `threads` = "
                             "{1}, or load it with `retune` and these",
                             tuned->threads, threads_per_core));
}

}  // namespace

struct data_parallel::impl {
  // Destroyed last: the handle must go before its actor system can.
  std::shared_ptr<engine::state> host;
  std::shared_ptr<warning_log> warnings;
  std::shared_ptr<served_deployment> target;
  std::vector<std::size_t> cores;
  std::shared_ptr<coordinator_line> line = std::make_shared<coordinator_line>();
  std::shared_ptr<readiness> ready;

  mutable std::mutex mutex;  // guards the settings as the coordinator was told them
  bool dynamic_batching = true;
  std::optional<std::size_t> num_workers;
  std::optional<std::int64_t> split_size;

  void tell(const configure& settings) {
    if (auto valid = validate(settings); !valid) throw error(valid.error());
    line->send(settings);
  }

  ~impl() { line->close(); }
};

namespace {

/// A promise that is kept by a response: with the outputs alone, or with all of it. Copyable, as a sink must be.
template <class T>
class promise_sink {
 public:
  std::future<T> future() { return promise_->get_future(); }

  void operator()(response&& result) const {
    if (!result.ok())
      promise_->set_exception(std::make_exception_ptr(error(std::move(result.error))));
    else if constexpr (std::is_same_v<T, response>)
      promise_->set_value(std::move(result));
    else
      promise_->set_value(std::move(result.outputs));
  }

 private:
  std::shared_ptr<std::promise<T>> promise_ = std::make_shared<std::promise<T>>();
};

/// Takes a request back when its caller says so, for as long as it is not answered.
using cancellation = std::stop_callback<std::function<void()>>;

}  // namespace

data_parallel::data_parallel(compiled_model model, data_parallel_options options)
    : data_parallel(engine::process_default(), std::move(model), std::move(options)) {}

data_parallel::data_parallel(engine& on, compiled_model model, data_parallel_options options) {
  refuse_engine_thread("data_parallel()");
  *this = begin_loading(on, std::move(model), std::move(options));
  ready().get();
}

data_parallel::data_parallel(std::unique_ptr<impl> made) : impl_(std::move(made)) {}

data_parallel data_parallel::begin_loading(compiled_model model, data_parallel_options options) {
  return begin_loading(engine::process_default(), std::move(model), std::move(options));
}

data_parallel data_parallel::begin_loading(engine& on, compiled_model model, data_parallel_options options) {
  auto& host = on.own();
  auto made = std::make_unique<impl>();
  made->host = on.state_;
  auto warn = [log = host.options.log](std::string_view sentence) { log(log_level::warning, sentence); };
  made->warnings = std::make_shared<warning_log>(warn);
  deploy wanted{std::move(model)};
  wanted.cores = resolve_device_ids(options.device_ids, on.core_count()).value();
  wanted.dim = options.dim;
  wanted.dynamic_batching = options.dynamic_batching;
  wanted.num_workers = made->num_workers = options.num_workers;
  wanted.split_size = made->split_size = options.split_size;
  wanted.coalescing = {options.max_queue_delay, options.ageing, options.deterministic};
  wanted.pad_values = options.pad_values;
  warn_of_other_threads(*made->warnings, wanted.model, host.options.threads_per_core);
  wanted.warnings = made->warnings;
  wanted.target = make_deployment(wanted, on.core_count()).value();
  made->target = std::make_shared<served_deployment>(wanted.target);
  made->cores = wanted.target->cores;
  made->dynamic_batching = options.dynamic_batching && wanted.target->rule().is_batch_dim &&
                           wanted.target->model.not_eligible().empty();
  made->ready = std::make_shared<readiness>(made->cores.size(), warn);
  auto report = std::make_shared<loading_report>(made->line, made->ready);
  wanted.progress = [report](const deployment_progress& p) { report->came(p); };
  wanted.reply = [report](const deployed& d) { report->settle(d.error); };
  caf::anon_send(host.supervisor, std::move(wanted));
  return data_parallel{std::move(made)};
}

std::shared_future<void> data_parallel::ready() const { return impl_->ready->future(); }

void data_parallel::when_ready(std::function<void(failure&&)> done, std::stop_token stop) const {
  impl_->ready->when_known(std::move(done), stop);
}

loading_progress data_parallel::progress() const { return impl_->ready->progress(); }

void data_parallel::replace(compiled_model model) {
  refuse_engine_thread("replace()");
  begin_replacing(std::move(model)).get();
}

std::shared_future<void> data_parallel::begin_replacing(compiled_model model) {
  auto report = std::make_shared<replacement_report>(impl_->target);
  auto future = report->future();
  warn_of_other_threads(*impl_->warnings, model, impl_->host->options.threads_per_core);
  replace_model wanted{std::move(model)};
  wanted.target = make_replacement(*impl_->target->load(), wanted.model).value();
  wanted.reply = [report = std::move(report)](const deployed& d) { report->settle(d); };
  impl_->line->send(std::move(wanted));
  return future;
}

data_parallel::owned_impl::owned_impl(std::unique_ptr<impl> p) : p_(std::move(p)) {}

data_parallel::impl* data_parallel::owned_impl::operator->() const {
  if (!p_) throw error(errc::invalid_argument, "this data_parallel was moved from: use the one that it was moved to");
  if (p_->host) p_->host->refuse_forked_copy();
  return p_.get();
}

data_parallel::owned_impl::owned_impl(owned_impl&&) noexcept = default;

data_parallel::owned_impl& data_parallel::owned_impl::operator=(owned_impl&& other) noexcept {
  auto taken = std::move(other.p_);
  owned_impl replaced{std::move(p_)};
  p_ = std::move(taken);
  return *this;
}

data_parallel::owned_impl::~owned_impl() {
  // To let go of an actor is a message to threads that a forked child does not have.
  if (p_ && p_->host && p_->host->is_forked_copy()) static_cast<void>(p_.release());
}

data_parallel::~data_parallel() = default;
data_parallel::data_parallel(data_parallel&&) noexcept = default;
data_parallel& data_parallel::operator=(data_parallel&&) noexcept = default;

c10::IValue data_parallel::operator()(std::vector<c10::IValue> inputs) {
  refuse_engine_thread("a blocking call");
  return submit(std::move(inputs)).get();
}

std::future<c10::IValue> data_parallel::submit(std::vector<c10::IValue> inputs) {
  promise_sink<c10::IValue> sink;
  auto future = sink.future();
  start(std::move(inputs), {}, std::move(sink));
  return future;
}

std::future<response> data_parallel::submit(std::vector<c10::IValue> inputs, request_options options) {
  promise_sink<response> sink;
  auto future = sink.future();
  start(std::move(inputs), std::move(options), std::move(sink));
  return future;
}

void data_parallel::start(std::vector<c10::IValue> inputs, request_options options,
                          std::function<void(response&&)> done) {
  auto target = impl_->target->load();
  if (!done) throw error(errc::invalid_argument, "done is empty: give start a function to call with the answer");
  auto refuse = [&](failure why) {
    target->counters->refused(why.code);
    done({{}, std::move(why), {}});
  };
  if (auto valid = validate(options); !valid) return refuse(valid.error());
  auto checked = match_inputs(target->model, target->programs, inputs);
  if (!checked) return refuse(checked.error());
  if (auto fits = check_outputs(*target, *checked, options.outputs); !fits) return refuse(fits.error());
  if (options.stop.stop_requested()) return refuse(cancelled_by_caller());

  const auto stop = options.stop;
  auto cancels = stop.stop_possible() ? std::make_shared<std::optional<cancellation>>() : nullptr;
  if (cancels)
    done = [cancels, done = std::move(done)](response&& result) {
      cancels->reset();  // waits for a cancellation that is under way
      done(std::move(result));
    };
  auto made = request::admit(request::next_id(), target, std::move(*checked), impl_->host->gate, std::move(done),
                             std::move(options));
  if (!made) return refuse(made.error());
  if (cancels)
    cancels->emplace(stop, [supervisor = caf::actor_cast<caf::weak_actor_ptr>(impl_->host->supervisor),
                            weak = std::weak_ptr<request>(*made)] {
      if (auto r = weak.lock()) {
        r->mark_cancelled();
        tell(supervisor, withdraw{r->id(), cancelled_by_caller(), {}});
      }
    });
  impl_->line->send(submission{std::move(*made)});
}

namespace {

/// On a thread of its own, but where there is none to be had.
void call_on_a_thread(std::function<void()> f) {
  const auto call = [f = std::make_shared<std::function<void()>>(std::move(f))] {
    try {
      (*f)();
    } catch (...) {  // nobody is left who could be told
    }
  };
  try {
    std::thread(call).detach();
  } catch (const std::system_error&) {
    call();
  }
}

}  // namespace

std::function<void(std::function<void()>)> data_parallel::poster() const {
  // The thread is made here: what is posted later comes from threads that must not throw.
  detail::completion_thread::require_room(*this);
  return [host = std::weak_ptr<engine::state>(impl_->host)](std::function<void()> f) {
    if (auto strong = host.lock()) {
      auto* const waiting = &strong->done.waiting();
      ++*waiting;
      return boost::asio::post(strong->done.executor(), [waiting, f = std::move(f)] {
        --*waiting;
        f();
      });
    }
    // A lane that was still writing an answer when its engine had ended: who waits for it goes on nevertheless.
    call_on_a_thread(std::move(f));
  };
}

detail::completion_thread detail::completion_thread::of(const data_parallel& parallel) {
  auto& done = parallel.impl_->host->done;
  return {done.executor(), &done.waiting()};
}

void detail::completion_thread::start(const data_parallel& parallel) { parallel.impl_->host->done.start(); }

void detail::completion_thread::require_room(const data_parallel& parallel) {
  start(parallel);
  // Quick handlers of many small answers that came at once are no overload.
  constexpr std::int64_t least = 4'096;
  const auto waiting = of(parallel).waiting->load();
  const auto most = std::max(least, parallel.impl_->host->gate->limits().max_queued_rows);
  if (waiting < most) return;
  parallel.impl_->target->load()->counters->refused(errc::queue_full);
  throw error(errc::queue_full,
                fmt::format("{} handlers wait for the engine's completion thread, and no more than {} "
                            "(max_queued_rows, or {}) may: give them an executor of their own, or make them shorter",
                            waiting, most, least));
}

boost::asio::any_io_executor completion_executor(const data_parallel& of) {
  detail::completion_thread::start(of);
  return detail::completion_thread::of(of).executor;
}

void data_parallel::disable_dynamic_batching() {
  std::lock_guard lock(impl_->mutex);
  impl_->tell({true, {}, {}});
  impl_->dynamic_batching = false;
}

bool data_parallel::dynamic_batching() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->dynamic_batching;
}

void data_parallel::num_workers(std::size_t n) {
  std::lock_guard lock(impl_->mutex);
  impl_->tell({false, n, {}});
  impl_->num_workers = n;
}

std::size_t data_parallel::num_workers() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->num_workers.value_or(2 * impl_->cores.size());
}

void data_parallel::split_size(std::int64_t rows) {
  std::lock_guard lock(impl_->mutex);
  impl_->tell({false, {}, rows});
  impl_->split_size = rows;
}

void data_parallel::split_size(std::nullopt_t) {
  std::lock_guard lock(impl_->mutex);
  impl_->tell({.unset_split_size = true});
  impl_->split_size.reset();
}

std::optional<std::int64_t> data_parallel::split_size() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->split_size;
}

std::vector<std::string> data_parallel::warnings() const { return impl_->warnings->sentences(); }

const std::vector<std::size_t>& data_parallel::cores() const { return impl_->cores; }

compiled_model data_parallel::model() const { return impl_->target->load()->model; }

std::uint64_t data_parallel::id() const { return impl_->target->load()->id; }

}  // namespace ganglion
