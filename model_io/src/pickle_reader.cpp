#include "pickle_reader.hpp"

#include "wire.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <unordered_map>

namespace ganglion {

namespace {

using kind = pickle_item::kind;

/// The bytes are a stranger's, and items are taken apart by recursion.
constexpr int deepest = 100;

/// The stack machine that a pickle is a program for, without its calls. A failed step makes the reader fail.
class machine {
 public:
  machine(std::span<const char> bytes, const std::function<void(const pickle_item&)>& made) : in_(bytes), made_(made) {}

  expected<pickle_item_ptr> run() {
    while (in_.ok() && !done_) step(in_.get<std::uint8_t>());
    auto result = pop();
    if (!in_.ok()) return failure{errc::invalid_argument, in_.why()};
    return pickle_item_ptr{result};
  }

 private:
  using item_ptr = std::shared_ptr<pickle_item>;

  void step(std::uint8_t opcode);

  void push(pickle_item item) {
    for (const auto& part : item.parts) item.depth = std::max(item.depth, part->depth + 1);
    if (item.depth > deepest) return in_.fail(fmt::format("its values nest deeper than {}", deepest));
    if (!in_.ok()) return;
    stack_.push_back(std::make_shared<pickle_item>(std::move(item)));
    const auto& top = *stack_.back();
    if (made_ && (top.what == kind::reference || top.what == kind::call)) made_(top);
  }
  void push_integer(std::int64_t number) { push({.what = kind::integer, .number = number}); }
  void push_text(kind what, std::span<const char> text) {
    push({.what = what, .text = {text.begin(), text.end()}});
  }

  /// The items above the last mark, or above all where there is none.
  std::size_t base() const { return marks_.empty() ? 0 : marks_.back(); }

  item_ptr pop() {
    if (stack_.size() <= base()) in_.fail("it is no well-formed pickle");
    if (!in_.ok()) return std::make_shared<pickle_item>();
    auto item = std::move(stack_.back());
    stack_.pop_back();
    return item;
  }

  std::vector<pickle_item_ptr> pop_several(std::size_t count) {
    std::vector<pickle_item_ptr> items(count);
    for (auto item = items.rbegin(); item != items.rend(); ++item) *item = pop();
    return items;
  }

  std::vector<pickle_item_ptr> pop_to_mark() {
    if (marks_.empty()) in_.fail("it is no well-formed pickle");
    if (!in_.ok()) return {};
    auto items = pop_several(stack_.size() - marks_.back());
    marks_.pop_back();
    return items;
  }

  void push_tuple(std::vector<pickle_item_ptr> items) {
    push({.what = kind::tuple, .parts = std::move(items)});
  }

  /// Counts new elements of the container on top. It may be an instance of a subclass, that is, a call.
  void grow(std::size_t elements) {
    auto container = pop();
    container->number += static_cast<std::int64_t>(elements);
    stack_.push_back(std::move(container));
  }

  void push_set(std::size_t size) { push({.what = kind::set, .number = static_cast<std::int64_t>(size)}); }

  /// From a module and a name in it.
  void push_name(const std::vector<pickle_item_ptr>& parts) {
    if (in_.ok()) push({.what = kind::name, .text = fmt::format("{}.{}", parts[0]->text, parts[1]->text)});
  }

  std::string line() {
    std::string text;
    for (char c = in_.get<char>(); in_.ok() && c != '\n'; c = in_.get<char>()) text += c;
    return text;
  }

  /// Integers of more than eight bytes are never a tensor's: they read as the lowest one.
  std::int64_t long_integer(std::size_t size) {
    auto bytes = in_.get_bytes(size);
    if (bytes.empty()) return 0;
    if (size > sizeof(std::int64_t)) return std::numeric_limits<std::int64_t>::min();
    std::int64_t value = bytes.back() < 0 ? -1 : 0;
    std::memcpy(&value, bytes.data(), size);
    return value;
  }

  void remember(std::uint32_t slot) {
    auto item = pop();
    if (!in_.ok()) return;
    memo_[slot] = item;
    stack_.push_back(std::move(item));
  }

  void recall(std::uint32_t slot) {
    auto found = memo_.find(slot);
    if (found == memo_.end()) return in_.fail("it is no well-formed pickle");
    stack_.push_back(found->second);
  }

  wire_reader in_;
  const std::function<void(const pickle_item&)>& made_;
  std::vector<item_ptr> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint32_t, item_ptr> memo_;
  bool done_ = false;
};

void machine::step(std::uint8_t opcode) {
  if (!in_.ok()) return;
  // clang-format off
  switch (opcode) {
    case 0x80: in_.get<std::uint8_t>(); break;  // PROTO
    case 0x95: in_.get<std::uint64_t>(); break;  // FRAME
    case '.': done_ = true; break;  // STOP
    case '(': marks_.push_back(stack_.size()); break;  // MARK
    case '0': pop(); break;  // POP
    case '1': pop_to_mark(); break;  // POP_MARK
    case 'N': push({}); break;  // NONE
    case 0x88: push({.what = kind::boolean, .number = 1}); break;  // NEWTRUE
    case 0x89: push({.what = kind::boolean}); break;  // NEWFALSE
    case 'K': push_integer(in_.get<std::uint8_t>()); break;  // BININT1
    case 'M': push_integer(in_.get<std::uint16_t>()); break;  // BININT2
    case 'J': push_integer(in_.get<std::int32_t>()); break;  // BININT
    case 0x8a: push_integer(long_integer(in_.get<std::uint8_t>())); break;  // LONG1
    case 0x8b: push_integer(long_integer(in_.get<std::uint32_t>())); break;  // LONG4
    case 'G': in_.get_bytes(8); push({.what = kind::real}); break;  // BINFLOAT
    case 'U':  // SHORT_BINSTRING
    case 0x8c: push_text(kind::text, in_.get_bytes(in_.get<std::uint8_t>())); break;  // SHORT_BINUNICODE
    case 'T':  // BINSTRING
    case 'X': push_text(kind::text, in_.get_bytes(in_.get<std::uint32_t>())); break;  // BINUNICODE
    case 0x8d: push_text(kind::text, in_.get_bytes(in_.get<std::uint64_t>())); break;  // BINUNICODE8
    case 'C': push_text(kind::bytes, in_.get_bytes(in_.get<std::uint8_t>())); break;  // SHORT_BINBYTES
    case 'B': push_text(kind::bytes, in_.get_bytes(in_.get<std::uint32_t>())); break;  // BINBYTES
    case 0x8e:  // BINBYTES8
    case 0x96: push_text(kind::bytes, in_.get_bytes(in_.get<std::uint64_t>())); break;  // BYTEARRAY8
    case ')': push_tuple({}); break;  // EMPTY_TUPLE
    case 0x85: push_tuple(pop_several(1)); break;  // TUPLE1
    case 0x86: push_tuple(pop_several(2)); break;  // TUPLE2
    case 0x87: push_tuple(pop_several(3)); break;  // TUPLE3
    case 't': push_tuple(pop_to_mark()); break;  // TUPLE
    case ']': push({.what = kind::list}); break;  // EMPTY_LIST
    case '}': push({.what = kind::dict}); break;  // EMPTY_DICT
    case 0x8f: push({.what = kind::set}); break;  // EMPTY_SET
    case 'a': pop(); grow(1); break;  // APPEND
    case 's': pop_several(2); grow(1); break;  // SETITEM
    case 'e':  // APPENDS
    case 0x90: grow(pop_to_mark().size()); break;  // ADDITEMS
    case 'u': grow(pop_to_mark().size() / 2); break;  // SETITEMS
    case 0x91: push_set(pop_to_mark().size()); break;  // FROZENSET
    case 'q': remember(in_.get<std::uint8_t>()); break;  // BINPUT
    case 'r': remember(in_.get<std::uint32_t>()); break;  // LONG_BINPUT
    case 0x94: remember(static_cast<std::uint32_t>(memo_.size())); break;  // MEMOIZE
    case 'h': recall(in_.get<std::uint8_t>()); break;  // BINGET
    case 'j': recall(in_.get<std::uint32_t>()); break;  // LONG_BINGET
    case 'c':  // GLOBAL
      push_text(kind::text, line());
      push_text(kind::text, line());
      push_name(pop_several(2));
      break;
    case 0x93: push_name(pop_several(2)); break;  // STACK_GLOBAL
    case 'Q': push({.what = kind::reference, .parts = pop_several(1)}); break;  // BINPERSID
    case 'R':  // REDUCE
    case 0x81: push({.what = kind::call, .parts = pop_several(2)}); break;  // NEWOBJ
    case 0x92: pop(); push({.what = kind::call, .parts = pop_several(2)}); break;  // NEWOBJ_EX
    case 'b': pop(); break;  // BUILD
    default: in_.fail(fmt::format("it holds the unknown pickle instruction {:#04x}", opcode));
  }
  // clang-format on
}

std::string counted(std::string_view what, std::int64_t number, std::string_view unit, std::string_view plural) {
  return fmt::format("a {} of {} {}", what, number, number == 1 ? unit : plural);
}

std::string describe_call(const pickle_item& call) {
  const std::string& callee = call.parts[0]->text;
  const auto& arguments = call.parts[1]->parts;
  if (callee == "collections.OrderedDict") return counted("dict", call.number, "entry", "entries");
  if (callee == "torch._utils._rebuild_tensor_v2" || callee == "torch._utils._rebuild_parameter")
    return "a tensor";
  if (callee == "torch._utils._rebuild_sparse_tensor") return "a sparse tensor";
  if (callee == "torch._utils._rebuild_qtensor") return "a quantized tensor";
  // How LibTorch itself writes lists and dicts.
  if (callee.starts_with("torch.jit._pickle.") && !arguments.empty()) return describe(*arguments[0]);
  return fmt::format("an object of class {}", callee);
}

}  // namespace

expected<pickle_item_ptr> read_pickle(std::span<const char> bytes,
                                      const std::function<void(const pickle_item&)>& made) {
  return machine(bytes, made).run();
}

std::string describe(const pickle_item& item) {
  switch (item.what) {
    case kind::none: return "None";
    case kind::boolean: return "a bool";
    case kind::integer: return "an int";
    case kind::real: return "a float";
    case kind::text: return "a string";
    case kind::bytes: return "bytes";
    case kind::tuple: return counted("tuple", static_cast<std::int64_t>(item.parts.size()), "element", "elements");
    case kind::list: return counted("list", item.number, "element", "elements");
    case kind::dict: return counted("dict", item.number, "entry", "entries");
    case kind::set: return counted("set", item.number, "element", "elements");
    case kind::name: return fmt::format("the class or function {}", item.text);
    case kind::reference: return "a storage";
    case kind::call: return describe_call(item);
  }
  return "something else";
}

}  // namespace ganglion
