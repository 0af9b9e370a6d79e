// State of one rendering: scopes, output, and where it stands.
#pragma once

#include <deque>
#include <string_view>
#include <utility>
#include <vector>

#include "kvasir/model/jinja/ast.h"
#include "kvasir/model/jinja/builtin.h"

namespace kvasir::jinja {

// Names bound in one block, on top of those around it. Names borrow from the template or context.
class Scope {
 public:
  explicit Scope(Scope* parent) : parent_(parent) {}
  // Null when no scope outwards has the name.
  const Value* Find(Heap& heap, std::string_view name) const;
  void Set(Heap& heap, std::string_view name, Value value);
  void Clear() { variables_.clear(); }
  Scope* parent() const { return parent_; }

 private:
  Scope* const parent_;
  std::vector<std::pair<std::string_view, Value>> variables_;
};

class Interpreter : public Runtime {
 public:
  Interpreter(const Limits& limits, std::time_t now_seconds);

  // Context first, then the functions every template has.
  Value Lookup(Scope& scope, std::string_view name);
  Scope& globals() { return *globals_; }
  // Lives until the end of the rendering, since macros may keep it.
  Scope& NewScope(Scope& parent);

  TextBuilder& out() { return *out_; }
  // What `body()` writes, as a text of its own.
  template <typename BodyFn>
  Text Capture(const BodyFn& body) {
    TextBuilder text(heap);
    TextBuilder* const outer = std::exchange(out_, &text);
    const Restore restore{*this, outer};
    body();
    return text.Take();
  }
  void Execute(const Body& body, TextBuilder& out);

  int line = 0;  // of the node last entered

 private:
  struct Restore {
    Interpreter& in;
    TextBuilder* outer;
    ~Restore() { in.out_ = outer; }
  };
  std::deque<Scope> scopes_;
  Scope* globals_;
  TextBuilder* out_ = nullptr;
};

// Throws Failure when `function` cannot be called.
Value CallValue(Runtime& runtime, const Value& function, Arguments arguments);

// A macro, or the body of a call block. Borrows its spec from the template.
class MacroObject : public Object {
 public:
  MacroObject(Interpreter& in, const MacroSpec& spec, Scope& scope)
      : in_(in), spec_(spec), scope_(scope) {}
  std::string_view type_name() const override { return "Macro"; }
  bool GetAttribute(Runtime& runtime, std::string_view name, Value* out) override;
  Value Call(Runtime& runtime, Arguments arguments) override;

 private:
  void BindParameters(Scope& scope, Arguments& arguments);
  void BindSpecial(Scope& scope, Arguments& arguments);

  Interpreter& in_;
  const MacroSpec& spec_;
  Scope& scope_;
};

// The variable `loop`. Pulls items one at a time, since the loop's filter may depend on what the
// body has set.
class LoopObject : public Object {
 public:
  LoopObject(Interpreter& in, const ForStmt& stmt, Scope& scope, std::vector<Value> source,
             int depth)
      : in_(in), stmt_(stmt), scope_(scope), source_(std::move(source)), depth_(depth) {}
  std::string_view type_name() const override { return "LoopContext"; }
  bool GetAttribute(Runtime& runtime, std::string_view name, Value* out) override;
  Value Call(Runtime& runtime, Arguments arguments) override;

  // Moves to the next item; false at the end.
  bool Advance();
  const Value& current() const { return current_; }
  void Finish();
  Value Cycle(Arguments arguments);
  bool Changed(std::vector<Value> values);

 private:
  bool Peek();  // whether an item follows; it is then in next_
  void PullAll();

  Interpreter& in_;
  const ForStmt& stmt_;
  Scope& scope_;
  std::vector<Value> source_;
  const int depth_;
  size_t at_ = 0;  // first item of source_ not yet looked at
  std::deque<Value> next_;
  Value previous_, current_;
  int64_t index0_ = -1;
  std::vector<Value> last_changed_;
  bool has_changed_ = false;
};

}  // namespace kvasir::jinja
