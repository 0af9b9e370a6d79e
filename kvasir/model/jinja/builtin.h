// Functions that templates call: filters, tests, global functions, and methods of strings, lists
// and dicts. Each subject has one file with one table.
#pragma once

#include <ctime>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "kvasir/model/jinja/value.h"

namespace kvasir::jinja {

// What one rendering carries around.
class Runtime {
 public:
  Runtime(const Limits& limits, std::time_t now_seconds) : heap(limits), now(now_seconds) {}
  Heap heap;
  const std::time_t now;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;
};

// Arguments put in the order that a Builtin declares. Missing ones are undefined.
class Bound {
 public:
  const Value& operator[](size_t i) const { return values[i]; }
  bool Has(size_t i) const { return !values[i].is_undefined(); }
  // Convert, or throw Failure naming the function and the parameter.
  int64_t Int(size_t i, int64_t fallback) const;
  bool Bool(size_t i, bool fallback) const;  // truth of any value
  const Text& Str(size_t i) const;
  std::string_view Str(size_t i, std::string_view fallback) const;

  std::string_view function;
  std::string_view params;
  std::vector<Value> values;
  Arguments rest;  // with "..." in params: what was left over

 private:
  [[noreturn]] void FailType(size_t i, std::string_view wanted) const;
};

struct Builtin {
  std::string_view name;
  // Names separated by spaces; "?" after a name makes it optional; "..." takes what is left.
  std::string_view params;
  Value (*function)(Runtime& runtime, Bound& args);
};

Value CallBuiltin(Runtime& runtime, const Builtin& builtin, Arguments arguments);

// The tables. A filter's or test's first parameter is the value it is applied to, a method's the
// object it belongs to.
std::span<const Builtin> TextFilters();
std::span<const Builtin> ListFilters();
std::span<const Builtin> ValueFilters();
std::span<const Builtin> Tests();
std::span<const Builtin> Functions();
std::span<const Builtin> StringMethods();
std::span<const Builtin> ListMethods();
std::span<const Builtin> DictMethods();

// Null when there is none of that name.
const Builtin* FindIn(std::span<const Builtin> table, std::string_view name);
const Builtin* FindFilter(std::string_view name);
const Builtin* FindTest(std::string_view name);

// Call by name, or throw Failure(kUnsupported) naming the missing filter or test.
Value ApplyFilter(Runtime& runtime, std::string_view name, Arguments arguments);
bool ApplyTest(Runtime& runtime, std::string_view name, Arguments arguments);

// A Builtin as a value; with `self` it is a bound method.
Value MakeFunction(Runtime& runtime, const Builtin& builtin);
Value MakeMethod(Runtime& runtime, const Builtin& builtin, Value self);

}  // namespace kvasir::jinja
