#pragma once

#include <support/deterministic_system.hpp>

#include <algorithm>
#include <deque>
#include <optional>

namespace ganglion::test {

/// An actor of the test's own: a client, a parent, or the double of any role. It handles nothing: what it gets is kept
/// until the test looks at it, and what the test has not looked at fails the test at the end.
class probe {
 public:
  explicit probe(deterministic_system& on) : system_(on), inbox_(std::make_shared<inbox>()) {
    // The inbox is an argument since CAF 0.17 dereferences null where there is none.
    auto behave = [](caf::event_based_actor* self, const std::shared_ptr<inbox>& box) -> caf::behavior {
      self->set_default_handler([self, box](caf::scheduled_actor*, caf::message_view& m) -> caf::result<caf::message> {
        box->push_back({m.move_content_to_message(), self->make_response_promise()});
        return box->back().promise;
      });
      self->set_down_handler([box](caf::down_msg& m) { box->push_back({caf::make_message(m), {}}); });
      return {[](caf::unit_t) {}};
    };
    handle_ = on.system().spawn(behave, inbox_);
  }
  ~probe() {
    system_.run();
    if (!forgiving_)
      for (const auto& l : *inbox_)
        DOCTEST_ADD_FAIL_CHECK_AT(__FILE__, __LINE__, "nobody expected " << name_of(l.content));
    inbox_->clear();
    last_ = {};
    caf::anon_send_exit(handle_, caf::exit_reason::user_shutdown);
    handle_ = nullptr;
    system_.run();
  }
  probe(const probe&) = delete;
  probe& operator=(const probe&) = delete;

  /// Itself as an actor of that role.
  template <class Handle>
  Handle as() {
    return caf::actor_cast<Handle>(handle_);
  }
  caf::local_actor& parent() { return *self(); }
  void watch(const caf::actor_addr& other) { self()->monitor(other); }

  /// Sends a plain message and runs.
  template <class Handle, class Message>
  void send(const Handle& to, Message m) {
    post(to, std::move(m));
    system_.run();
  }
  /// Sends a plain message that stays in the mailbox of its receiver until something runs.
  template <class Handle, class Message>
  void post(const Handle& to, Message m) {
    self()->send(caf::actor_cast<caf::actor>(to), std::move(m));
  }
  /// Sends a request and runs; its answer of type `Reply`, or its `caf::error`, is kept like a message.
  template <class Reply, class Handle, class Message>
  void ask(const Handle& to, Message m) {
    post_request<Reply>(to, std::move(m));
    system_.run();
  }
  /// Sends a request that stays in the mailbox of its receiver until something runs.
  template <class Reply, class Handle, class Message>
  void post_request(const Handle& to, Message m) {
    self()
        ->request(caf::actor_cast<caf::actor>(to), caf::infinite, std::move(m))
        .then([box = inbox_](const Reply& r) { box->push_back({caf::make_message(r), {}}); },
              [box = inbox_](caf::error& e) { box->push_back({caf::make_message(std::move(e)), {}}); });
  }

  /// The oldest message, which must be a `T`.
  template <class T>
  T expect() {
    system_.run();
    REQUIRE_FALSE(inbox_->empty());
    auto l = std::move(inbox_->front());
    inbox_->pop_front();
    NOTE("the message is " << name_of(l.content));
    REQUIRE(l.content.template match_elements<T>());
    return l.content.template get_as<T>(0);
  }
  /// The oldest message of that type, whatever came before it.
  template <class T>
  T take() {
    system_.run();
    auto found = std::ranges::find_if(*inbox_, [](auto& l) { return l.content.template match_elements<T>(); });
    REQUIRE(found != inbox_->end());
    auto result = found->content.template get_as<T>(0);
    inbox_->erase(found);
    return result;
  }
  /// The same as `expect`, for a message that `reply` answers. Until then its sender is held.
  template <class T>
  T expect_and_answer() {
    system_.run();
    if (!inbox_->empty()) last_ = inbox_->front().promise;
    return expect<T>();
  }
  /// Nothing has come that was not looked at.
  void expect_none() {
    system_.run();
    EXPECT(inbox_->empty());
    for (const auto& l : *inbox_) DOCTEST_MESSAGE("unexpected: " << name_of(l.content));
  }
  /// No message of that type is among those that have come.
  template <class T>
  void expect_none() {
    system_.run();
    EXPECT_FALSE(has<T>());
  }
  template <class T>
  bool has() const {
    return std::any_of(inbox_->begin(), inbox_->end(), [](auto& l) { return l.content.template match_elements<T>(); });
  }
  /// Answers the message that `expect_and_answer` gave last.
  template <class T>
  void reply(T m) {
    self();  // the promise answers through it
    std::exchange(last_, {}).deliver(std::move(m));
    system_.run();
  }
  /// Everything may come from now on, and is not looked at.
  void ignore_the_rest() { forgiving_ = true; }

 private:
  struct letter {
    caf::message content;
    caf::response_promise promise;
  };
  using inbox = std::deque<letter>;

  /// Itself, for what it does outside of any handler.
  caf::event_based_actor* self() {
    auto* actor = dynamic_cast<caf::event_based_actor*>(caf::actor_cast<caf::abstract_actor*>(handle_));
    // The unit on which it ran last is gone.
    actor->context(system_.system().dummy_execution_unit());
    return actor;
  }
  static std::string name_of(const caf::message& m) {
    if (m.empty()) return "an empty message";
    auto* type = m.type(0).second;
    return type != nullptr ? type->name() : std::to_string(m.type(0).first);
  }

  deterministic_system& system_;
  std::shared_ptr<inbox> inbox_;
  caf::actor handle_;
  caf::response_promise last_;
  bool forgiving_ = false;
};

}  // namespace ganglion::test
