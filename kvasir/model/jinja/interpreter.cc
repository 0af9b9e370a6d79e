#include "kvasir/model/jinja/interpreter.h"

#include <fmt/core.h>

namespace kvasir::jinja {
namespace {

constexpr size_t kVariableBytes = 64;  // one variable of a scope, rounded up

}  // namespace

const Value* Scope::Find(Heap& heap, std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent_) {
    heap.Step(scope->variables_.size() / 32);
    for (const auto& [bound, value] : scope->variables_) {
      if (bound == name) return &value;
    }
  }
  return nullptr;
}

void Scope::Set(Heap& heap, std::string_view name, Value value) {
  heap.Step(variables_.size() / 32);
  for (auto& [bound, old] : variables_) {
    if (bound != name) continue;
    old = std::move(value);
    return;
  }
  variables_.emplace_back(name, std::move(value));
}

Interpreter::Interpreter(const Limits& limits, std::time_t now_seconds)
    : Runtime(limits, now_seconds), globals_(&scopes_.emplace_back(nullptr)) {}

Value Interpreter::Lookup(Scope& scope, std::string_view name) {
  if (const Value* found = scope.Find(heap, name)) return *found;
  if (const Builtin* function = FindIn(Functions(), name)) {
    Value value = MakeFunction(*this, *function);
    globals_->Set(heap, name, value);
    return value;
  }
  return MakeUndefined(heap, fmt::format("'{}' is undefined", name.substr(0, 80)));
}

Scope& Interpreter::NewScope(Scope& parent) {
  heap.Charge(sizeof(Scope) + kVariableBytes);
  return scopes_.emplace_back(&parent);
}

void Interpreter::Execute(const Body& body, TextBuilder& out) {
  out_ = &out;
  body.Exec(*this, NewScope(*globals_));
}

// --- macros
// ---------------------------------------------------------------------------------------

bool MacroObject::GetAttribute(Runtime& runtime, std::string_view name, Value* out) {
  if (name != "name") return false;
  *out = runtime.heap.MakeString(spec_.name);
  return true;
}

Value MacroObject::Call(Runtime&, Arguments arguments) {
  Scope& scope = in_.NewScope(scope_);
  BindParameters(scope, arguments);
  BindSpecial(scope, arguments);
  return in_.heap.MakeString(in_.Capture([&] { spec_.body.Exec(in_, scope); }));
}

void MacroObject::BindParameters(Scope& scope, Arguments& arguments) {
  size_t n_taken = 0;
  for (const auto& [name, fallback] : spec_.params) {
    if (n_taken < arguments.positional.size()) {
      scope.Set(in_.heap, name, std::move(arguments.positional[n_taken++]));
      continue;
    }
    const auto it = std::find_if(arguments.named.begin(), arguments.named.end(),
                                 [&name = name](const auto& named) { return named.first == name; });
    if (it != arguments.named.end()) {
      scope.Set(in_.heap, name, std::move(it->second));
      arguments.named.erase(it);
    } else if (fallback != nullptr) {
      scope.Set(in_.heap, name, fallback->Eval(in_, scope));
    } else {
      scope.Set(in_.heap, name,
                MakeUndefined(in_.heap, fmt::format("parameter '{}' was not provided", name)));
    }
  }
  arguments.positional.erase(arguments.positional.begin(),
                             arguments.positional.begin() + static_cast<ptrdiff_t>(n_taken));
}

// What the parameters left over: caller, varargs, kwargs, or an error.
void MacroObject::BindSpecial(Scope& scope, Arguments& arguments) {
  Heap& heap = in_.heap;
  if (spec_.takes_caller) {
    const auto it = std::find_if(arguments.named.begin(), arguments.named.end(),
                                 [](const auto& named) { return named.first == "caller"; });
    if (it != arguments.named.end()) {
      scope.Set(heap, "caller", std::move(it->second));
      arguments.named.erase(it);
    } else {
      scope.Set(heap, "caller", MakeUndefined(heap, "no caller defined"));
    }
  }
  if (spec_.takes_varargs) {
    scope.Set(heap, "varargs", heap.MakeList(std::move(arguments.positional), Kind::kTuple));
  } else if (!arguments.positional.empty()) {
    throw Failure{fmt::format("macro '{}' takes not more than {} arguments", spec_.name,
                              spec_.params.size())};
  }
  if (spec_.takes_kwargs) {
    Dict* kwargs = heap.NewDict();
    for (auto& [name, value] : arguments.named) kwargs->Set(heap, heap.MakeString(name), value);
    scope.Set(heap, "kwargs", Value::Of(kwargs));
  } else if (!arguments.named.empty()) {
    throw Failure{fmt::format("macro '{}' takes no keyword argument '{}'", spec_.name,
                              arguments.named.front().first)};
  }
}

}  // namespace kvasir::jinja
