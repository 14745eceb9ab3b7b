#include "command.hpp"
#include "malloc_settings.hpp"

#include <ganglion/model_io/replica.hpp>

#include <fmt/format.h>
#include <torch/csrc/jit/runtime/print_handler.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <sstream>
#include <system_error>

namespace {

using namespace ganglion;
using namespace ganglion::command;

/// A model may print. Stdout is for what the command says, which may be one JSON object and nothing else.
void let_models_print_to_stderr() {
  torch::jit::setPrintHandler([](const std::string& text) {
    print_stderr_line(text.substr(0, text.find_last_not_of('\n') + 1));
  });
}

/// LibTorch answers a number of threads that is none with a stack of its own symbols, again in each thread.
void drop_bad_thread_numbers() {
  for (const char* name : {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}) {
    const char* text = std::getenv(name);
    if (text == nullptr) continue;
    int threads = 0;
    const auto* end = text + std::strlen(text);
    if (const auto read = std::from_chars(text, end, threads); read.ec == std::errc{} && read.ptr == end && threads > 0)
      continue;
    print_warning(fmt::format("{} is '{}', which is no number of threads: it is left out of account", name, text));
    unsetenv(name);
  }
}

void add_verbs(CLI::App& app) {
  app.set_version_flag("--version", "ganglion " GANGLION_VERSION, "Print the version and exit");
  app.require_subcommand(1);  // also keeps verbs from being seen in another verb's arguments
  add_cores(app);
  add_trace(app);
  add_info(app);
  add_run(app);
  add_bench(app);
  add_tune(app);
  app.footer("Exit status: 0; 1 the work failed or a value was refused; 2 the command line could not be read.\n"
             "Environment: NEURON_RT_VISIBLE_CORES (3, 0-6, 0,2,4-5) or NEURON_RT_NUM_CORES choose the cores of this\n"
             "process and lock them; GANGLION_HOST_CORES pretends a host of so many cores.");
}

/// `ganglion run --help`, once the verb is known.
std::string help_command(const CLI::App& app) {
  auto verbs = app.get_subcommands();
  return fmt::format("'ganglion {}--help' shows what it may be", verbs.empty() ? "" : verbs.front()->get_name() + " ");
}

std::string parse_error_sentence(const CLI::App& app, const CLI::ParseError& e) {
  auto rest = app.remaining();
  if (app.get_subcommands().empty())
    return rest.empty() ? "a verb is missing: cores, trace, info, run, bench or tune"
                        : fmt::format("'{}' is no verb: it is one of cores, trace, info, run, bench and tune",
                                      rest.front());
  // What is missing is looked at first, and may be missing for a flag's sake.
  if (const auto all = app.remaining(true); dynamic_cast<const CLI::RequiredError*>(&e) != nullptr)
    for (const auto& word : all)
      if (word.starts_with("--"))
        return fmt::format("'{}' is no option of {}", word, app.get_subcommands().front()->get_name());
  std::string sentence = e.what();
  if (sentence.ends_with("disallowed flag override"))
    return fmt::format("--{} takes no value: it is given or not", sentence.substr(0, sentence.find(' ')));
  if (sentence.starts_with("The ")) sentence.front() = 't';
  return sentence;
}

int parse_and_work(CLI::App& app, int argc, char** argv) {
  auto cannot_read = [&](std::string_view why) {
    print_error(to_string(errc::invalid_argument), fmt::format("{} ({})", why, help_command(app)));
    return 2;
  };
  try {
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& wanted) {  // --help, --version
      std::ostringstream text;
      app.exit(wanted, text, text);
      fmt::print("{}", text.str());
    }
    flush_printed();
    return 0;
  } catch (const CLI::ParseError& e) {
    return cannot_read(parse_error_sentence(app, e));
  } catch (const said_already& e) {
    return e.exit_status;
  } catch (const usage_error& e) {
    return cannot_read(e.what());
  } catch (const error& e) {
    print_error(to_string(e.failure().code), e.what());
  } catch (const std::system_error& e) {
    print_error(to_string(errc::io_failed), e.what());
  } catch (const std::bad_alloc&) {
    print_error("internal", "there is not enough memory");
  } catch (const std::exception& e) {
    print_error("internal", brief_message(e));
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  tune_malloc();
  let_models_print_to_stderr();
  drop_bad_thread_numbers();
  std::signal(SIGXFSZ, SIG_IGN);  // an output beyond the limit on file sizes is an error like any other
  CLI::App app{"Data-parallel inference of TorchScript models on NeuronCores", "ganglion"};
  app.option_defaults()->disable_flag_override();  // a flag is there or not, it has no value
  add_verbs(app);
  return parse_and_work(app, argc, argv);
}
