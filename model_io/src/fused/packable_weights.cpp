#include "packable_weights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace ganglion {

namespace {

/// Winograd's layouts hold other numbers than the weights: they are made from plain ones, and nothing is made of them.
bool is_opaque(const dnnl::memory::desc& layout) { return layout.data.format_kind == dnnl_format_kind_wino; }

dnnl::memory copied_into(const dnnl::memory::desc& layout, dnnl::memory from) {
  dnnl::memory to{layout, onednn_cpu()};
  dnnl::stream stream{onednn_cpu()};
  dnnl::reorder(from, to).execute(stream, from, to);
  stream.wait();
  return to;
}

}  // namespace

const dnnl::engine& onednn_cpu() {
  static const dnnl::engine one{dnnl::engine::kind::cpu, 0};
  return one;
}

dnnl::memory::data_type onednn_type(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return dnnl::memory::data_type::f32;
    case at::kBFloat16: return dnnl::memory::data_type::bf16;
    default: throw std::runtime_error{fmt::format("oneDNN is not used for {}", c10::toString(dtype))};
  }
}

dnnl::memory::desc plain_layout(const dnnl::memory::dims& sizes, dnnl::memory::data_type type) {
  dnnl::memory::dims strides(sizes.size());
  dnnl::memory::dim step = 1;
  for (auto d = sizes.size(); d-- > 0; step *= sizes[d]) strides[d] = step;
  return {sizes, type, strides};
}

dnnl::memory packable_weights::in_layout(const dnnl::memory::desc& layout) {
  std::lock_guard lock(mutex_);
  for (const auto& packed : packed_)
    if (packed.get_desc() == layout) return packed;
  packed_.push_back(copied_into(layout, source_for(layout)));
  if (!is_opaque(layout)) plain_.reset();
  return packed_.back();
}

dnnl::memory packable_weights::source_for(const dnnl::memory::desc& layout) const {
  if (plain_.defined())
    return {plain_layout(layout.dims(), onednn_type(plain_.scalar_type())), onednn_cpu(), plain_.data_ptr()};
  const auto clear = [](const dnnl::memory& m) { return !is_opaque(m.get_desc()); };
  const auto packed = *std::ranges::find_if(packed_, clear);
  if (!is_opaque(layout)) return packed;
  return copied_into(plain_layout(layout.dims(), packed.get_desc().data_type()), packed);
}

std::vector<const void*> packable_weights::places() const {
  std::lock_guard lock(mutex_);
  std::vector<const void*> all;
  if (plain_.defined()) all.push_back(plain_.storage().data());
  for (const auto& packed : packed_) all.push_back(packed.get_data_handle());
  return all;
}

std::size_t packable_weights::bytes() const {
  std::lock_guard lock(mutex_);
  std::size_t sum = plain_.defined() ? plain_.nbytes() : 0;
  for (const auto& packed : packed_) sum += packed.get_desc().get_size();
  return sum;
}

}  // namespace ganglion
