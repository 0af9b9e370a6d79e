// Python's operators on values, and the template language's rules for attributes and subscripts.
// All throw Failure where Python raises.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kvasir/model/jinja/builtin.h"
#include "kvasir/model/jinja/value.h"

namespace kvasir::jinja {

std::string_view TypeName(const Value& value);  // as in Python's messages
bool Truth(const Value& value);

enum class BinaryOp { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
Value Arithmetic(Runtime& runtime, BinaryOp op, const Value& a, const Value& b);
Value Negate(const Value& value);
Value Posit(const Value& value);

enum class CompareOp { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };
bool Equal(Heap& heap, const Value& a, const Value& b);
bool Compare(Heap& heap, CompareOp op, const Value& a, const Value& b);

// Characters of a string, keys of a dict, items of a list; nothing for undefined. Empties a
// generator.
std::vector<Value> Iterate(Heap& heap, const Value& value);
// Throws for what has no length, generators included.
size_t Length(Heap& heap, const Value& value);

// `object.name` tries the methods first, `object[key]` the contents. What is not there is
// undefined; only an undefined `object` is an error.
Value GetAttribute(Runtime& runtime, const Value& object, std::string_view name);
Value GetItem(Runtime& runtime, const Value& object, const Value& key);
// Bounds that are none or undefined are open.
Value GetSlice(Runtime& runtime, const Value& object, const Value& start, const Value& stop,
               const Value& step);
// "a.b.0" as the attribute= parameters of filters take it; also an integer.
Value GetPath(Runtime& runtime, const Value& object, const Value& path);

// An undefined value that says `why` when it is used.
Value MakeUndefined(Heap& heap, std::string why);
// An error that an undefined value was used; `value` must be undefined.
[[noreturn]] void FailUndefined(const Value& value);

}  // namespace kvasir::jinja
