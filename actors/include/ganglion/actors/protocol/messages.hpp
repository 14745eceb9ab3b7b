#pragma once

#include <ganglion/actors/protocol/response.hpp>
#include <ganglion/actors/protocol/status.hpp>
#include <ganglion/model_io/error.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <caf/error.hpp>
#include <caf/meta/type_name.hpp>
#include <caf/sec.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

/// The messages that may cross the wire. No floating-point field is among them (CAF 0.17 cannot carry an infinite one):
/// times are whole nano- or milliseconds, tensors raw bytes.
namespace ganglion {

/// A value tree as a message field. Within a process it is passed by reference; on the wire it is `encode_value`.
struct value_message {
  c10::IValue value;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, value_message& x) {
  if constexpr (std::is_void_v<typename Inspector::result_type>) {  // for people
    auto text = describe(x.value);
    return f(caf::meta::type_name("ganglion::value_message"), text);
  } else if constexpr (Inspector::reads_state) {
    auto bytes = encode_value(x.value);
    if (!bytes) return caf::make_error(caf::sec::invalid_argument, bytes.error().text);
    return f(caf::meta::type_name("ganglion::value_message"), *bytes);
  } else {
    // In blocks: a stranger's length takes no more memory than there are bytes.
    std::size_t size = 0;
    if (auto err = f.begin_sequence(size)) return err;
    std::vector<char> bytes;
    while (bytes.size() < size) {
      constexpr std::size_t block = std::size_t{1} << 20;
      auto done = bytes.size();
      bytes.resize(done + std::min(block, size - done));
      if (auto err = f.apply_raw(bytes.size() - done, bytes.data() + done)) return err;
    }
    if (auto err = f.end_sequence()) return err;
    auto value = decode_value(bytes);
    if (!value) return caf::make_error(caf::sec::invalid_argument, value.error().text);
    x.value = std::move(*value);
    return caf::none;
  }
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, failure& x) {
  return f(caf::meta::type_name("ganglion::failure"), x.code, x.text, x.first_row, x.last_row, x.core);
}

/// The longest time that a message can ask for, a year: what a stranger asks for beyond that is taken as this.
inline constexpr std::int64_t longest_ms = std::int64_t{365} * 24 * 3'600 * 1'000;

/// Which model a message is about. An empty field stands for any.
struct model_reference {
  std::string name;
  std::string content_hash;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, model_reference& x) {
  return f(caf::meta::type_name("ganglion::model_reference"), x.name, x.content_hash);
}

/// Asks for the inference of `inputs`, a tuple with one element for each argument of forward.
struct infer_request {
  /// The sender's number for it, unique among its unanswered ones; names it in `cancel`.
  std::uint64_t id = 0;
  model_reference model;
  value_message inputs;
  /// See `request_options`; a priority is 0 for high, 1 for normal, 2 for low.
  std::string tenant;
  std::uint8_t priority = 1;
  /// Comes back with the answer.
  std::string trace_id;
  /// The time left for it, never a clock's reading; 0: no limit, negative: it has passed. When it has passed, or where
  /// it cannot be met, the answer is `deadline_exceeded`.
  std::int64_t remaining_ms = 0;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, infer_request& x) {
  return f(caf::meta::type_name("ganglion::infer_request"), x.id, x.model, x.inputs, x.tenant, x.priority, x.trace_id,
           x.remaining_ms);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, request_timing& x) {
  return f(caf::meta::type_name("ganglion::request_timing"), x.queued, x.compute, x.gather, x.executions,
           x.batched_rows, x.padded_rows, x.cores);
}

/// The one answer to an `infer_request`: outputs, or an error of which the code is not `ok`.
struct infer_response {
  std::uint64_t id = 0;
  value_message outputs;
  failure error;
  std::string trace_id;
  /// From the coordinator's receipt to the answer.
  std::int64_t total_ns = 0;
  /// Where the time went, with how many rows it ran and on which cores.
  request_timing timing;

  bool ok() const { return error.code == errc::ok; }
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, infer_response& x) {
  return f(caf::meta::type_name("ganglion::infer_response"), x.id, x.outputs, x.error, x.trace_id, x.total_ns,
           x.timing);
}

/// Takes back a request of the same sender: it is answered with `cancelled`, unless it is answered already.
struct cancel {
  std::uint64_t id = 0;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, cancel& x) {
  return f(caf::meta::type_name("ganglion::cancel"), x.id);
}

/// Asks for a `status`.
struct status_query {};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, status_query&) {
  return f(caf::meta::type_name("ganglion::status_query"));
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, core_status& x) {
  return f(caf::meta::type_name("ganglion::core_status"), x.index, x.up, x.lost, x.restarts, x.executions, x.rows,
           x.padding_rows, x.busy_ns, x.up_ns, x.model_bytes, x.models);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, model_status& x) {
  return f(caf::meta::type_name("ganglion::model_status"), x.id, x.content_hash, x.cores, x.queued_rows, x.queued_bytes,
           x.unanswered, x.executions_in_flight, x.rows, x.outcomes, x.queued, x.compute, x.total);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, status& x) {
  return f(caf::meta::type_name("ganglion::status"), x.cores, x.models, x.queued_rows, x.queued_bytes, x.unanswered,
           x.executions_in_flight, x.abandoned_lanes, x.abandoned_bytes);
}

/// Closes admission. Answered by `drained` when everything accepted is answered, or `bound_ms` have passed.
struct drain {
  std::int64_t bound_ms = 30'000;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, drain& x) {
  return f(caf::meta::type_name("ganglion::drain"), x.bound_ms);
}

struct drained {
  /// What was still unanswered when the bound had passed.
  std::uint64_t unanswered = 0;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, drained& x) {
  return f(caf::meta::type_name("ganglion::drained"), x.unanswered);
}

}  // namespace ganglion
