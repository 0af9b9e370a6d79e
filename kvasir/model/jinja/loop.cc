// The for statement and its `loop` variable.
#include <fmt/core.h>

#include <algorithm>

#include "kvasir/model/jinja/interpreter.h"

namespace kvasir::jinja {
namespace {

// loop.cycle and loop.changed as values.
class LoopMethod : public Object {
 public:
  LoopMethod(LoopObject& loop, bool cycle) : loop_(loop), cycle_(cycle) {}
  std::string_view type_name() const override { return "method"; }
  Value Call(Runtime&, Arguments arguments) override {
    if (cycle_) return loop_.Cycle(std::move(arguments));
    return Value::Bool(loop_.Changed(std::move(arguments.positional)));
  }

 private:
  LoopObject& loop_;
  const bool cycle_;
};

}  // namespace

bool LoopObject::Peek() {
  while (next_.empty() && at_ < source_.size()) {
    Value item = std::move(source_[at_++]);
    if (stmt_.test != nullptr) {
      Scope test_scope(&scope_);
      stmt_.target.Assign(in_, test_scope, item);
      if (!Truth(stmt_.test->Eval(in_, test_scope))) continue;
    }
    next_.push_back(std::move(item));
  }
  return !next_.empty();
}

// What follows, all of it: its number is loop.length.
void LoopObject::PullAll() {
  std::deque<Value> pulled;
  while (Peek()) {
    pulled.push_back(std::move(next_.front()));
    next_.pop_front();
  }
  next_ = std::move(pulled);
}

bool LoopObject::Advance() {
  if (!Peek()) return false;
  previous_ = std::move(current_);
  current_ = std::move(next_.front());
  next_.pop_front();
  ++index0_;
  return true;
}

void LoopObject::Finish() {
  in_.heap.Release(source_.size() * sizeof(Value));
  at_ = 0;
  source_ = {};
  next_.clear();
}

Value LoopObject::Cycle(Arguments arguments) {
  if (arguments.positional.empty()) throw Failure{"loop.cycle() misses its arguments"};
  return arguments.positional[static_cast<size_t>(index0_) % arguments.positional.size()];
}

bool LoopObject::Changed(std::vector<Value> values) {
  const bool same =
      has_changed_ &&
      std::equal(values.begin(), values.end(), last_changed_.begin(), last_changed_.end(),
                 [this](const Value& a, const Value& b) { return Equal(in_.heap, a, b); });
  if (same) return false;
  has_changed_ = true;
  last_changed_ = std::move(values);
  return true;
}

bool LoopObject::GetAttribute(Runtime& runtime, std::string_view name, Value* out) {
  const auto length = [this] {
    PullAll();
    return index0_ + 1 + static_cast<int64_t>(next_.size());
  };
  if (name == "index") {
    *out = Value::Int(index0_ + 1);
  } else if (name == "index0") {
    *out = Value::Int(index0_);
  } else if (name == "first") {
    *out = Value::Bool(index0_ == 0);
  } else if (name == "last") {
    *out = Value::Bool(!Peek());
  } else if (name == "length") {
    *out = Value::Int(length());
  } else if (name == "revindex") {
    *out = Value::Int(length() - index0_);
  } else if (name == "revindex0") {
    *out = Value::Int(length() - index0_ - 1);
  } else if (name == "depth") {
    *out = Value::Int(depth_);
  } else if (name == "depth0") {
    *out = Value::Int(depth_ - 1);
  } else if (name == "previtem") {
    *out = index0_ == 0 ? MakeUndefined(in_.heap, "there is no previous item") : previous_;
  } else if (name == "nextitem") {
    *out = Peek() ? next_.front() : MakeUndefined(in_.heap, "there is no next item");
  } else if (name == "cycle" || name == "changed") {
    *out = Value::Of(runtime.heap.New<LoopMethod>(*this, name == "cycle"));
  } else {
    return false;
  }
  return true;
}

Value LoopObject::Call(Runtime&, Arguments arguments) {
  if (!stmt_.recursive) throw Failure{"loop is called, but the for tag lacks 'recursive'"};
  if (arguments.positional.size() != 1) throw Failure{"loop() takes one iterable"};
  return in_.heap.MakeString(in_.Capture(
      [&] { stmt_.Run(in_, scope_, Iterate(in_.heap, arguments.positional[0]), depth_ + 1); }));
}

Flow ForStmt::Exec(Interpreter& in, Scope& scope) const {
  in.line = line;
  return Run(in, scope, Iterate(in.heap, iterable->Eval(in, scope)), 1);
}

Flow ForStmt::Run(Interpreter& in, Scope& scope, std::vector<Value> items, int depth) const {
  in.heap.Charge(items.size() * sizeof(Value));
  auto* loop = in.heap.New<LoopObject>(in, *this, scope, std::move(items), depth);
  bool ran = false;
  Flow flow = Flow::kNext;
  Scope* inner = nullptr;
  while (flow != Flow::kBreak && loop->Advance()) {
    // A new scope each time: macros of one iteration must not see the next one's variables.
    if (inner == nullptr || has_macro) inner = &in.NewScope(scope);
    inner->Clear();
    ran = true;
    target.Assign(in, *inner, loop->current());
    inner->Set(in.heap, "loop", Value::Of(loop));
    flow = body.Exec(in, *inner);
  }
  loop->Finish();
  return ran ? Flow::kNext : otherwise.Exec(in, scope);
}

}  // namespace kvasir::jinja
