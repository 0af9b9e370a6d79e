// Methods of lists and dicts.
#include <fmt/core.h>

#include <algorithm>

#include "kvasir/model/jinja/builtin.h"
#include "kvasir/model/jinja/ops.h"

namespace kvasir::jinja {
namespace {

// The items of a list that may change; tuples may not.
std::vector<Value>& Mutable(Bound& args) {
  if (args[0].kind() != Kind::kList) {
    throw Failure{fmt::format("'{}' object has no method '{}'", TypeName(args[0]), args.function)};
  }
  return args[0].list().items;
}

Value Append(Runtime& rt, Bound& args) {
  Mutable(args);
  rt.heap.Append(args[0].list(), args[1]);
  return Value::None();
}

Value Extend(Runtime& rt, Bound& args) {
  Mutable(args);
  for (const Value& item : Iterate(rt.heap, args[1])) rt.heap.Append(args[0].list(), item);
  return Value::None();
}

Value Insert(Runtime& rt, Bound& args) {
  std::vector<Value>& items = Mutable(args);
  const auto n = static_cast<int64_t>(items.size());
  int64_t at = std::clamp(args.Int(1, 0), -n, n);
  if (at < 0) at += n;
  rt.heap.Step(items.size());
  rt.heap.Append(args[0].list(), args[2]);
  std::vector<Value> inserted(items.begin(), items.begin() + at);
  inserted.push_back(items.back());
  inserted.insert(inserted.end(), items.begin() + at, items.end() - 1);
  items = std::move(inserted);
  return Value::None();
}

Value PopItem(Runtime& rt, Bound& args) {
  std::vector<Value>& items = Mutable(args);
  const auto n = static_cast<int64_t>(items.size());
  int64_t at = args.Int(1, -1);
  if (at < 0 && at >= -n) at += n;
  if (at < 0 || at >= n) throw Failure{"pop index out of range"};
  rt.heap.Step(static_cast<uint64_t>(n - at));
  Value item = items[static_cast<size_t>(at)];
  items.erase(items.begin() + at);
  return item;
}

Value Clear(Runtime&, Bound& args) {
  Mutable(args).clear();
  return Value::None();
}

Value CopyList(Runtime& rt, Bound& args) {
  return rt.heap.MakeList(Iterate(rt.heap, args[0]), args[0].kind());
}

Value ReverseList(Runtime& rt, Bound& args) {
  std::vector<Value>& items = Mutable(args);
  rt.heap.Step(items.size());
  items = std::vector<Value>(items.rbegin(), items.rend());
  return Value::None();
}

Value Index(Runtime& rt, Bound& args) {
  const auto& items = args[0].list().items;
  for (size_t i = 0; i < items.size(); ++i) {
    if (Equal(rt.heap, items[i], args[1])) return Value::Int(static_cast<int64_t>(i));
  }
  throw Failure{"value is not in list"};
}

Value Remove(Runtime& rt, Bound& args) {
  std::vector<Value>& items = Mutable(args);
  const int64_t at = Index(rt, args).int_value();
  items.erase(items.begin() + at);
  return Value::None();
}

Value Count(Runtime& rt, Bound& args) {
  int64_t n = 0;
  for (const Value& item : args[0].list().items) n += Equal(rt.heap, item, args[1]);
  return Value::Int(n);
}

// --- dicts
// ----------------------------------------------------------------------------------------

Value Items(Runtime& rt, Bound& args) {
  std::vector<Value> items;
  for (const auto& [key, value] : args[0].dict().entries()) {
    items.push_back(rt.heap.MakeList({key, value}, Kind::kTuple));
  }
  return rt.heap.MakeList(std::move(items));
}

Value Keys(Runtime& rt, Bound& args) { return rt.heap.MakeList(Iterate(rt.heap, args[0])); }

Value Values(Runtime& rt, Bound& args) {
  std::vector<Value> items;
  rt.heap.Step(args[0].dict().size());
  for (const auto& [key, value] : args[0].dict().entries()) items.push_back(value);
  return rt.heap.MakeList(std::move(items));
}

Value Get(Runtime&, Bound& args) {
  if (const Value* found = args[0].dict().Find(args[1])) return *found;
  return args.Has(2) ? args[2] : Value::None();
}

Value SetDefault(Runtime& rt, Bound& args) {
  if (const Value* found = args[0].dict().Find(args[1])) return *found;
  const Value value = args.Has(2) ? args[2] : Value::None();
  args[0].dict().Set(rt.heap, args[1], value);
  return value;
}

Value PopKey(Runtime& rt, Bound& args) {
  const Value* found = args[0].dict().Find(args[1]);
  if (found == nullptr) {
    if (args.Has(2)) return args[2];
    throw Failure{"pop(): the key is not in the dict"};
  }
  Value value = *found;
  args[0].dict().Erase(rt.heap, args[1]);
  return value;
}

void Merge(Runtime& rt, Dict& into, const Value& from) {
  if (!from.is_dict())
    throw Failure{fmt::format("update() needs a dict, found '{}'", TypeName(from))};
  const std::vector<Dict::Entry> entries = from.dict().entries();
  rt.heap.Step(entries.size());
  for (const auto& [key, value] : entries) into.Set(rt.heap, key, value);
}

Value Update(Runtime& rt, Bound& args) {
  Dict& dict = args[0].dict();
  for (const Value& from : args.rest.positional) Merge(rt, dict, from);
  for (auto& [name, value] : args.rest.named) dict.Set(rt.heap, rt.heap.MakeString(name), value);
  return Value::None();
}

Value CopyDict(Runtime& rt, Bound& args) {
  Dict* copy = rt.heap.NewDict();
  Merge(rt, *copy, args[0]);
  return Value::Of(copy);
}

Value ClearDict(Runtime&, Bound& args) {
  args[0].dict().Clear();
  return Value::None();
}

}  // namespace

std::span<const Builtin> ListMethods() {
  static constexpr Builtin kTable[] = {
      {"append", "self object", Append},
      {"extend", "self iterable", Extend},
      {"insert", "self index object", Insert},
      {"pop", "self index?", PopItem},
      {"clear", "self", Clear},
      {"copy", "self", CopyList},
      {"reverse", "self", ReverseList},
      {"index", "self value", Index},
      {"remove", "self value", Remove},
      {"count", "self value", Count},
  };
  return kTable;
}

std::span<const Builtin> DictMethods() {
  static constexpr Builtin kTable[] = {
      {"items", "self", Items},
      {"keys", "self", Keys},
      {"values", "self", Values},
      {"get", "self key default?", Get},
      {"setdefault", "self key default?", SetDefault},
      {"pop", "self key default?", PopKey},
      {"update", "self ...", Update},
      {"copy", "self", CopyDict},
      {"clear", "self", ClearDict},
  };
  return kTable;
}

}  // namespace kvasir::jinja
