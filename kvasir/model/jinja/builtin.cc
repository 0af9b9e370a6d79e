#include "kvasir/model/jinja/builtin.h"

#include <fmt/core.h>

#include "kvasir/model/jinja/ops.h"

namespace kvasir::jinja {
namespace {

class FunctionObject : public Object {
 public:
  explicit FunctionObject(const Builtin& builtin) : builtin_(builtin) {}
  FunctionObject(const Builtin& builtin, Value self)
      : builtin_(builtin), bound_(true), self_(std::move(self)) {}
  std::string_view type_name() const override { return "builtin_function_or_method"; }
  Value Call(Runtime& runtime, Arguments arguments) override {
    if (bound_) arguments.positional.insert(arguments.positional.begin(), self_);
    return CallBuiltin(runtime, builtin_, std::move(arguments));
  }

 private:
  const Builtin& builtin_;
  const bool bound_ = false;
  const Value self_;
};

// Takes the next word off the front of `params`.
std::string_view NextParam(std::string_view& params) {
  const size_t end = std::min(params.find(' '), params.size());
  const std::string_view word = params.substr(0, end);
  params.remove_prefix(std::min(end + 1, params.size()));
  return word;
}

bool TakeNamed(Arguments& arguments, std::string_view name, Value& out) {
  for (auto it = arguments.named.begin(); it != arguments.named.end(); ++it) {
    if (it->first != name) continue;
    out = std::move(it->second);
    arguments.named.erase(it);
    return true;
  }
  return false;
}

Bound Bind(const Builtin& builtin, Arguments arguments) {
  Bound bound;
  bound.function = builtin.name;
  bound.params = builtin.params;
  bool takes_rest = false;
  size_t n_taken = 0;
  for (std::string_view params = builtin.params; !params.empty();) {
    std::string_view name = NextParam(params);
    if (name == "...") {
      takes_rest = true;
      break;
    }
    const bool optional = name.ends_with('?');
    if (optional) name.remove_suffix(1);
    Value& value = bound.values.emplace_back();
    if (n_taken < arguments.positional.size()) {
      value = std::move(arguments.positional[n_taken++]);
    } else if (!TakeNamed(arguments, name, value) && !optional) {
      throw Failure{fmt::format("{}() misses its argument '{}'", builtin.name, name)};
    }
  }
  arguments.positional.erase(arguments.positional.begin(),
                             arguments.positional.begin() + static_cast<ptrdiff_t>(n_taken));
  if (!takes_rest && !arguments.positional.empty()) {
    throw Failure{fmt::format("{}() takes at most {} arguments", builtin.name, n_taken)};
  }
  if (!takes_rest && !arguments.named.empty()) {
    throw Failure{
        fmt::format("{}() has no argument '{}'", builtin.name, arguments.named.front().first)};
  }
  bound.rest = std::move(arguments);
  return bound;
}

}  // namespace

void Bound::FailType(size_t i, std::string_view wanted) const {
  std::string_view left = params;
  std::string_view name = NextParam(left);
  for (size_t n = 0; n < i; ++n) name = NextParam(left);
  if (name.ends_with('?')) name.remove_suffix(1);
  throw Failure{fmt::format("{}(): argument '{}' must be {}, found '{}'", function, name, wanted,
                            TypeName(values[i]))};
}

int64_t Bound::Int(size_t i, int64_t fallback) const {
  if (!Has(i)) return fallback;
  if (!values[i].is_integral()) FailType(i, "an integer");
  return values[i].int_value();
}

bool Bound::Bool(size_t i, bool fallback) const { return Has(i) ? Truth(values[i]) : fallback; }

const Text& Bound::Str(size_t i) const {
  if (!values[i].is_string()) FailType(i, "a string");
  return values[i].text();
}

std::string_view Bound::Str(size_t i, std::string_view fallback) const {
  return Has(i) ? std::string_view(Str(i).bytes()) : fallback;
}

Value CallBuiltin(Runtime& runtime, const Builtin& builtin, Arguments arguments) {
  Bound bound = Bind(builtin, std::move(arguments));
  return builtin.function(runtime, bound);
}

const Builtin* FindIn(std::span<const Builtin> table, std::string_view name) {
  for (const Builtin& builtin : table) {
    if (builtin.name == name) return &builtin;
  }
  return nullptr;
}

const Builtin* FindFilter(std::string_view name) {
  for (const auto table : {TextFilters(), ListFilters(), ValueFilters()}) {
    if (const Builtin* found = FindIn(table, name)) return found;
  }
  return nullptr;
}

const Builtin* FindTest(std::string_view name) { return FindIn(Tests(), name); }

Value ApplyFilter(Runtime& runtime, std::string_view name, Arguments arguments) {
  const Builtin* filter = FindFilter(name);
  if (filter == nullptr) {
    throw Failure{fmt::format("no filter named '{}'", name), StatusCode::kUnsupported};
  }
  return CallBuiltin(runtime, *filter, std::move(arguments));
}

bool ApplyTest(Runtime& runtime, std::string_view name, Arguments arguments) {
  const Builtin* test = FindTest(name);
  if (test == nullptr) {
    throw Failure{fmt::format("no test named '{}'", name), StatusCode::kUnsupported};
  }
  return CallBuiltin(runtime, *test, std::move(arguments)).bool_value();
}

Value MakeFunction(Runtime& runtime, const Builtin& builtin) {
  return Value::Of(runtime.heap.New<FunctionObject>(builtin));
}

Value MakeMethod(Runtime& runtime, const Builtin& builtin, Value self) {
  return Value::Of(runtime.heap.New<FunctionObject>(builtin, std::move(self)));
}

}  // namespace kvasir::jinja
