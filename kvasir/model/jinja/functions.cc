// Functions that every template can call.
#include <fmt/core.h>

#include <ctime>
#include <string>

#include "kvasir/model/jinja/builtin.h"
#include "kvasir/model/jinja/ops.h"
#include "kvasir/model/jinja/print.h"

namespace kvasir::jinja {
namespace {

Value Range(Runtime& rt, Bound& args) {
  const bool only_stop = !args.Has(1);
  const int64_t start = only_stop ? 0 : args.Int(0, 0);
  const int64_t stop = only_stop ? args.Int(0, 0) : args.Int(1, 0);
  const int64_t step = args.Int(2, 1);
  if (step == 0) throw Failure{"range(): argument 'step' must not be zero"};
  // Unsigned, since the distance of two 64-bit numbers may not fit a signed one.
  const auto from = static_cast<uint64_t>(start), to = static_cast<uint64_t>(stop);
  const bool empty = step > 0 ? start >= stop : start <= stop;
  const uint64_t distance = step > 0 ? to - from : from - to;
  const uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : 0 - static_cast<uint64_t>(step);
  const uint64_t n = empty ? 0 : (distance - 1) / stride + 1;
  rt.heap.Step(n);  // far too many items fail here, before any is made
  rt.heap.CheckRoom(n * sizeof(Value));
  std::vector<Value> items;
  for (uint64_t i = 0; i < n; ++i) {
    items.push_back(Value::Int(static_cast<int64_t>(from + i * static_cast<uint64_t>(step))));
  }
  return rt.heap.MakeList(std::move(items));
}

// Fills `dict` from a mapping or pairs, then from keyword arguments.
Value Fill(Runtime& rt, Dict* dict, Bound& args) {
  if (args.rest.positional.size() > 1) {
    throw Failure{fmt::format("{}() takes at most one positional argument", args.function)};
  }
  if (!args.rest.positional.empty()) {
    const Value& source = args.rest.positional[0];
    if (source.is_dict()) {
      for (const auto& [key, value] : source.dict().entries()) dict->Set(rt.heap, key, value);
    } else {
      for (const Value& pair : Iterate(rt.heap, source)) {
        const std::vector<Value> parts = Iterate(rt.heap, pair);
        if (parts.size() != 2) throw Failure{fmt::format("{}() needs pairs", args.function)};
        dict->Set(rt.heap, parts[0], parts[1]);
      }
    }
  }
  for (auto& [name, value] : args.rest.named) dict->Set(rt.heap, rt.heap.MakeString(name), value);
  return Value::Of(dict);
}

Value MakeDict(Runtime& rt, Bound& args) { return Fill(rt, rt.heap.NewDict(), args); }
Value MakeNamespace(Runtime& rt, Bound& args) {
  return Fill(rt, rt.heap.NewDict(Kind::kNamespace), args);
}

Value RaiseException(Runtime& rt, Bound& args) { throw Failure{ToText(rt.heap, args[0]).bytes()}; }

Value StrftimeNow(Runtime& rt, Bound& args) {
  std::string format = args.Str(0).bytes();
  if (format.size() > 256) throw Failure{"strftime_now(): format is longer than 256 bytes"};
  format += ' ';  // tells an empty result from one that did not fit
  std::tm local = {};
  localtime_r(&rt.now, &local);
  std::string out(8192, '\0');
  const size_t n = std::strftime(out.data(), out.size(), format.c_str(), &local);
  if (n == 0) throw Failure{"strftime_now(): result is too long"};
  out.resize(n - 1);
  return rt.heap.MakeString(Text(std::move(out)));
}

}  // namespace

std::span<const Builtin> Functions() {
  static constexpr Builtin kTable[] = {
      {"range", "start stop? step?", Range},   {"dict", "...", MakeDict},
      {"namespace", "...", MakeNamespace},     {"raise_exception", "message", RaiseException},
      {"strftime_now", "format", StrftimeNow},
  };
  return kTable;
}

}  // namespace kvasir::jinja
