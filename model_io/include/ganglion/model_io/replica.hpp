#pragma once

#include <ganglion/model_io/model.hpp>

namespace ganglion {

/// A compiled model on one core: for each program a graph and executor of its own over weights that all replicas share.
/// One thread at a time. Create it, warm it and run it on the thread that will keep it: executors specialize there.
class replica {
 public:
  explicit replica(compiled_model model);
  ~replica();
  replica(replica&&) noexcept;
  replica& operator=(replica&&) noexcept;

  const compiled_model& model() const { return model_; }

  /// Runs a program's forward on the leaves of the arguments, each tensor of exactly its compiled size, in inference
  /// mode.
  /// The answer's tensors may be inference tensors, views of inputs or of weights: copy what is to be kept.
  /// Throws what LibTorch throws.
  c10::IValue run(const std::vector<c10::IValue>& leaves, std::size_t program = 0);
  /// The same on leaves that nobody else looks at, so that a program which writes to its inputs may have these.
  c10::IValue run_on_own(const std::vector<c10::IValue>& leaves, std::size_t program = 0);

  /// All of `warm_up_runs` of a program at once. Returns the seconds of the last run.
  double warm_up(std::size_t program = 0);

  /// What holds the weights of this replica's programs, as they run now, each place in memory once: equal pointers of
  /// two replicas are shared memory. Operators that keep packed copies inside of an object of theirs are not seen.
  std::vector<const void*> weight_storages() const;

 private:
  struct impl;
  compiled_model model_;
  std::unique_ptr<impl> impl_;
};

/// The runs on made-up rows of its compiled shape that a program of a replica needs until its executor has settled.
/// Where its rows are independent, all rows of a run are equal, so that it shows whether the place of a row matters.
/// Each is a step of its own, so that other work can go between them. Used on the replica's thread, and gone before the
/// replica.
class warm_up_runs {
 public:
  explicit warm_up_runs(replica& of, std::size_t program = 0);

  /// Runs forward once. Returns whether there is more to do. A model that refuses made-up values is no error, and the
  /// end of it: its first real rows warm it then.
  bool step();
  /// What the last run took; 0 while there was none.
  double seconds() const { return seconds_; }
  /// Whether the rows of each run, which were equal, had equal bits in the answer. Matrix products, for one, may
  /// compute the last rows of a batch with instructions of their own.
  bool places_are_alike() const { return places_are_alike_; }

 private:
  replica& of_;
  std::size_t program_;
  std::vector<c10::IValue> leaves_;
  int left_;
  double seconds_ = 0;
  bool places_are_alike_ = true;
};

/// What a LibTorch exception says, in one line, without the stack of C++ symbols and the places in LibTorch's
/// sources: of an exception that a TorchScript model raised its own message up to an empty line, with `; ` for the
/// ends of lines; of any other the first line.
std::string brief_message(const std::exception& e);

}  // namespace ganglion
