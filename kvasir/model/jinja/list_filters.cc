// Filters over sequences. The lazy ones of Jinja give generators here too.
#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "kvasir/model/jinja/builtin.h"
#include "kvasir/model/jinja/ops.h"
#include "kvasir/model/jinja/print.h"
#include "kvasir/model/jinja/text_ops.h"
#include "kvasir/model/jinja/utf8.h"

namespace kvasir::jinja {
namespace {

Value Generator(Runtime& rt, std::vector<Value> items) {
  return rt.heap.MakeList(std::move(items), Kind::kGenerator);
}

// What an item is compared by: itself or its attribute, strings without case unless asked for.
Value SortKey(Runtime& rt, const Value& item, const Value& attribute, bool case_sensitive) {
  const bool whole = attribute.is_undefined() || attribute.is_none();
  Value key = whole ? item : GetPath(rt, item, attribute);
  if (case_sensitive || !key.is_string()) return key;
  return rt.heap.MakeString(Lower(rt.heap, key.text()));
}

Value First(Runtime& rt, Bound& args) {
  const std::vector<Value> items = Iterate(rt.heap, args[0]);
  return items.empty() ? MakeUndefined(rt.heap, "no first item, sequence was empty")
                       : items.front();
}

Value Last(Runtime& rt, Bound& args) {
  const std::vector<Value> items = Iterate(rt.heap, args[0]);
  return items.empty() ? MakeUndefined(rt.heap, "no last item, sequence was empty") : items.back();
}

Value ToList(Runtime& rt, Bound& args) { return rt.heap.MakeList(Iterate(rt.heap, args[0])); }

Value Reverse(Runtime& rt, Bound& args) {
  if (args[0].is_string()) {
    return GetSlice(rt, args[0], Value::None(), Value::None(), Value::Int(-1));
  }
  std::vector<Value> items = Iterate(rt.heap, args[0]);
  std::reverse(items.begin(), items.end());
  return Generator(rt, std::move(items));
}

// --- map and the four selections
// ------------------------------------------------------------------

// The name that map(), select() and their kin take as their first argument.
std::string TakeName(Bound& args, std::string_view what) {
  auto& given = args.rest.positional;
  if (given.empty() || !given.front().is_string()) {
    throw Failure{fmt::format("{}() needs the name of a {}", args.function, what)};
  }
  std::string name = given.front().str();
  given.erase(given.begin());
  return name;
}

Arguments WithFirst(const Arguments& rest, const Value& first) {
  Arguments out = rest;
  out.positional.insert(out.positional.begin(), first);
  return out;
}

Value MapFilter(Runtime& rt, Bound& args) {
  std::vector<Value> items = Iterate(rt.heap, args[0]);
  auto& named = args.rest.named;
  const bool by_attribute = args.rest.positional.empty() && !named.empty();
  if (!by_attribute) {
    const std::string filter = TakeName(args, "filter");
    for (Value& item : items) item = ApplyFilter(rt, filter, WithFirst(args.rest, item));
    return Generator(rt, std::move(items));
  }
  Value attribute, fallback;
  for (const auto& [name, value] : named) {
    if (name != "attribute" && name != "default") {
      throw Failure{fmt::format("map() has no argument '{}'", name)};
    }
    (name == "attribute" ? attribute : fallback) = value;
  }
  if (attribute.is_undefined()) throw Failure{"map() needs a filter or an attribute"};
  for (Value& item : items) {
    item = GetPath(rt, item, attribute);
    if (item.is_undefined() && !fallback.is_undefined()) item = fallback;
  }
  return Generator(rt, std::move(items));
}

template <bool kByAttribute, bool kKeep>
Value Select(Runtime& rt, Bound& args) {
  const std::vector<Value> items = Iterate(rt.heap, args[0]);
  Value attribute;
  auto& given = args.rest.positional;
  if (kByAttribute) {
    if (given.empty()) throw Failure{fmt::format("{}() needs an attribute", args.function)};
    attribute = given.front();
    given.erase(given.begin());
  }
  const bool by_truth = given.empty();
  const std::string test = by_truth ? "" : TakeName(args, "test");
  std::vector<Value> kept;
  for (const Value& item : items) {
    const Value judged = kByAttribute ? GetPath(rt, item, attribute) : item;
    const bool passes =
        by_truth ? Truth(judged) : ApplyTest(rt, test, WithFirst(args.rest, judged));
    if (passes == kKeep) kept.push_back(item);
  }
  return Generator(rt, std::move(kept));
}

// --- order
// ----------------------------------------------------------------------------------------

// Items in the order of their keys; equal ones keep theirs, also in reverse.
std::vector<Value> SortedBy(Runtime& rt, const std::vector<Value>& items,
                            const std::vector<std::vector<Value>>& keys, bool reverse) {
  std::vector<size_t> order(items.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto less = [&](size_t a, size_t b) {
    for (size_t k = 0; k < keys[a].size(); ++k) {
      if (Equal(rt.heap, keys[a][k], keys[b][k])) continue;
      return Compare(rt.heap, CompareOp::kLt, keys[a][k], keys[b][k]);
    }
    return false;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return reverse ? less(b, a) : less(a, b); });
  std::vector<Value> sorted;
  for (const size_t i : order) sorted.push_back(items[i]);
  return sorted;
}

Value Sort(Runtime& rt, Bound& args) {
  const std::vector<Value> items = Iterate(rt.heap, args[0]);
  std::vector<Value> attributes = {args[3]};
  if (args[3].is_string()) {
    attributes.clear();
    for (Text& name : Split(rt.heap, args[3].text(), ",", -1, false)) {
      attributes.push_back(rt.heap.MakeString(std::move(name)));
    }
  }
  std::vector<std::vector<Value>> keys;
  for (const Value& item : items) {
    std::vector<Value>& key = keys.emplace_back();
    for (const Value& attribute : attributes) {
      key.push_back(SortKey(rt, item, attribute, args.Bool(2, false)));
    }
  }
  return rt.heap.MakeList(SortedBy(rt, items, keys, args.Bool(1, false)));
}

Value DictSort(Runtime& rt, Bound& args) {
  if (!args[0].is_dict()) throw Failure{"dictsort() needs a dict"};
  const std::string_view by = args.Str(2, "key");
  if (by != "key" && by != "value") throw Failure{"dictsort(): argument 'by' must be key or value"};
  std::vector<Value> items;
  std::vector<std::vector<Value>> keys;
  for (const auto& [key, value] : args[0].dict().entries()) {
    items.push_back(rt.heap.MakeList({key, value}, Kind::kTuple));
    keys.push_back({SortKey(rt, by == "key" ? key : value, {}, args.Bool(1, false))});
  }
  return rt.heap.MakeList(SortedBy(rt, items, keys, args.Bool(3, false)));
}

template <CompareOp kBetter>
Value Extreme(Runtime& rt, Bound& args) {
  Value best, best_key;
  bool any = false;
  for (const Value& item : Iterate(rt.heap, args[0])) {
    Value key = SortKey(rt, item, args[2], args.Bool(1, false));
    if (any && !Compare(rt.heap, kBetter, key, best_key)) continue;
    any = true;
    best = item;
    best_key = std::move(key);
  }
  return any ? best : MakeUndefined(rt.heap, "no item, sequence was empty");
}

Value Unique(Runtime& rt, Bound& args) {
  Dict* seen = rt.heap.NewDict();
  std::vector<Value> kept;
  for (const Value& item : Iterate(rt.heap, args[0])) {
    const Value key = SortKey(rt, item, args[2], args.Bool(1, false));
    if (seen->Find(key) != nullptr) continue;
    seen->Set(rt.heap, key, Value::None());
    kept.push_back(item);
  }
  return Generator(rt, std::move(kept));
}

Value GroupBy(Runtime& rt, Bound& args) {
  std::vector<Value> items = Iterate(rt.heap, args[0]);
  std::vector<std::vector<Value>> keys;
  std::vector<Value> pairs;  // (shown key, item)
  for (const Value& item : items) {
    Value shown = GetPath(rt, item, args[1]);
    if (shown.is_undefined() && args.Has(2)) shown = args[2];
    keys.push_back({SortKey(rt, shown, {}, args.Bool(3, false))});
    pairs.push_back(rt.heap.MakeList({shown, item, keys.back()[0]}, Kind::kTuple));
  }
  std::vector<Value> groups;
  Value last_key;
  List* members = nullptr;
  for (const Value& pair : SortedBy(rt, pairs, keys, false)) {
    const auto& parts = pair.list().items;
    if (members == nullptr || !Equal(rt.heap, parts[2], last_key)) {
      members = rt.heap.NewList();
      last_key = parts[2];
      groups.push_back(rt.heap.MakeList({parts[0], Value::Of(members)}, Kind::kTuple));
    }
    rt.heap.Append(*members, parts[1]);
  }
  return rt.heap.MakeList(std::move(groups));
}

Value Sum(Runtime& rt, Bound& args) {
  Value total = args.Has(2) ? args[2] : Value::Int(0);
  for (const Value& item : Iterate(rt.heap, args[0])) {
    const bool whole = !args.Has(1) || args[1].is_none();
    total = Arithmetic(rt, BinaryOp::kAdd, total, whole ? item : GetPath(rt, item, args[1]));
  }
  return total;
}

// --- pieces
// ---------------------------------------------------------------------------------------

Value Batch(Runtime& rt, Bound& args) {
  const int64_t size = args.Int(1, 1);
  std::vector<Value> batches;
  List* batch = nullptr;
  for (const Value& item : Iterate(rt.heap, args[0])) {
    if (batch == nullptr || static_cast<int64_t>(batch->items.size()) == size) {
      batch = rt.heap.NewList();
      batches.push_back(Value::Of(batch));
    }
    rt.heap.Append(*batch, item);
  }
  if (batch != nullptr && args.Has(2) && !args[2].is_none()) {
    while (static_cast<int64_t>(batch->items.size()) < size) {
      rt.heap.Step();
      rt.heap.Append(*batch, args[2]);
    }
  }
  return Generator(rt, std::move(batches));
}

Value Slices(Runtime& rt, Bound& args) {
  const std::vector<Value> items = Iterate(rt.heap, args[0]);
  const int64_t n_slice = args.Int(1, 1);
  if (n_slice < 1) throw Failure{"slice(): argument 'slices' must be at least 1"};
  const auto n = static_cast<int64_t>(items.size());
  const int64_t each = n / n_slice, n_longer = n % n_slice;
  std::vector<Value> slices;
  size_t at = 0;
  for (int64_t i = 0; i < n_slice; ++i) {
    rt.heap.Step();
    List* slice = rt.heap.NewList();
    for (int64_t k = 0; k < each + (i < n_longer); ++k) rt.heap.Append(*slice, items[at++]);
    if (i >= n_longer && n_longer > 0 && args.Has(2) && !args[2].is_none()) {
      rt.heap.Append(*slice, args[2]);
    }
    slices.push_back(Value::Of(slice));
  }
  return Generator(rt, std::move(slices));
}

}  // namespace

std::span<const Builtin> ListFilters() {
  static constexpr Builtin kTable[] = {
      {"first", "value", First},
      {"last", "value", Last},
      {"list", "value", ToList},
      {"reverse", "value", Reverse},
      {"map", "value ...", MapFilter},
      {"select", "value ...", Select<false, true>},
      {"reject", "value ...", Select<false, false>},
      {"selectattr", "value ...", Select<true, true>},
      {"rejectattr", "value ...", Select<true, false>},
      {"sort", "value reverse? case_sensitive? attribute?", Sort},
      {"dictsort", "value case_sensitive? by? reverse?", DictSort},
      {"min", "value case_sensitive? attribute?", Extreme<CompareOp::kLt>},
      {"max", "value case_sensitive? attribute?", Extreme<CompareOp::kGt>},
      {"unique", "value case_sensitive? attribute?", Unique},
      {"groupby", "value attribute default? case_sensitive?", GroupBy},
      {"sum", "value attribute? start?", Sum},
      {"batch", "value linecount fill_with?", Batch},
      {"slice", "value slices fill_with?", Slices},
  };
  return kTable;
}

}  // namespace kvasir::jinja
