// Iteration, attributes, subscripts and slices of ops.h.
#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "kvasir/model/jinja/ops.h"
#include "kvasir/model/jinja/utf8.h"

namespace kvasir::jinja {
namespace {

// Keeps messages short whatever the key.
std::string_view Clip(std::string_view s) { return s.substr(0, 80); }

std::string Describe(const Value& value) {
  return value.is_none() ? "None" : fmt::format("{} object", TypeName(value));
}

Value NoAttribute(Heap& heap, const Value& object, std::string_view name) {
  return MakeUndefined(heap,
                       fmt::format("'{}' has no attribute '{}'", Describe(object), Clip(name)));
}

Value NoElement(Heap& heap, const Value& object, const Value& key) {
  if (key.is_string()) return NoAttribute(heap, object, key.str());
  const std::string element =
      key.is_int() ? fmt::format("{}", key.int_value()) : std::string(TypeName(key));
  return MakeUndefined(heap, fmt::format("{} has no element {}", Describe(object), element));
}

// Sets `out` to the method or attribute, or returns false. Keys of a dict are no attributes.
bool FindAttribute(Runtime& runtime, const Value& object, std::string_view name, Value* out) {
  std::span<const Builtin> methods;
  switch (object.kind()) {
    case Kind::kString: methods = StringMethods(); break;
    case Kind::kList:
    case Kind::kTuple: methods = ListMethods(); break;
    case Kind::kDict: methods = DictMethods(); break;
    case Kind::kNamespace:
      if (const Value* found = object.dict().Find(name)) {
        *out = *found;
        return true;
      }
      return false;
    case Kind::kObject: return object.object().GetAttribute(runtime, name, out);
    default: return false;
  }
  const Builtin* method = FindIn(methods, name);
  if (method == nullptr) return false;
  *out = MakeMethod(runtime, *method, object);
  return true;
}

// Position of index `i` of Python in a sequence of `n`, or -1.
int64_t Position(int64_t i, size_t n) {
  const auto size = static_cast<int64_t>(n);
  if (i < 0) i += size;
  return i >= 0 && i < size ? i : -1;
}

bool FindItem(Runtime& runtime, const Value& object, const Value& key, Value* out) {
  if (object.is_dict()) {
    const Value* found = object.dict().Find(key);
    if (found != nullptr) *out = *found;
    return found != nullptr;
  }
  if (!key.is_integral()) return false;
  if (object.kind() == Kind::kList || object.kind() == Kind::kTuple) {
    const auto& items = object.list().items;
    const int64_t at = Position(key.int_value(), items.size());
    if (at >= 0) *out = items[static_cast<size_t>(at)];
    return at >= 0;
  }
  if (!object.is_string()) return false;
  const Text& text = object.text();
  runtime.heap.Step(text.size() / 16);
  const int64_t index = Position(key.int_value(), CountUtf8(text.bytes()));
  if (index < 0) return false;
  size_t at = 0;
  for (int64_t i = 0; i < index; ++i) at += DecodeUtf8(text.bytes(), at).length;
  *out = runtime.heap.MakeString(text.Slice(at, at + DecodeUtf8(text.bytes(), at).length));
  return true;
}

// Where each character starts, and the end.
std::vector<size_t> CharOffsets(Heap& heap, std::string_view s) {
  heap.Step(s.size() / 16);
  heap.CheckRoom(s.size() * sizeof(size_t));
  std::vector<size_t> offsets = {0};
  while (offsets.back() < s.size()) {
    offsets.push_back(offsets.back() + DecodeUtf8(s, offsets.back()).length);
  }
  return offsets;
}

struct SliceBounds {
  int64_t start, stop, step;
};

std::optional<int64_t> SliceIndex(const Value& value) {
  if (value.is_none() || value.is_undefined()) return std::nullopt;
  if (!value.is_integral()) {
    throw Failure{
        fmt::format("slice indices must be integers or None, found '{}'", TypeName(value))};
  }
  return value.int_value();
}

// Python's PySlice_AdjustIndices.
SliceBounds AdjustSlice(const Value& start, const Value& stop, const Value& step, size_t n) {
  const auto size = static_cast<int64_t>(n);
  const int64_t by = std::clamp<int64_t>(SliceIndex(step).value_or(1), -INT64_MAX, INT64_MAX);
  if (by == 0) throw Failure{"slice step cannot be zero"};
  const auto adjust = [&](const Value& value, int64_t open) {
    std::optional<int64_t> at = SliceIndex(value);
    if (!at) return open;
    if (*at < 0) *at = std::max<int64_t>(*at, -size - 1) + size;
    return std::clamp<int64_t>(*at, by < 0 ? -1 : 0, by < 0 ? size - 1 : size);
  };
  return {adjust(start, by < 0 ? size - 1 : 0), adjust(stop, by < 0 ? -1 : size), by};
}

// Visits the indices that the slice picks.
template <typename Visit>
void ForSlice(const SliceBounds& s, const Visit& visit) {
  int64_t i = s.start;
  while (s.step > 0 ? i < s.stop : i > s.stop) {
    visit(static_cast<size_t>(i));
    if (__builtin_add_overflow(i, s.step, &i)) return;
  }
}

}  // namespace

Value MakeUndefined(Heap& heap, std::string why) {
  heap.Charge(why.size() + sizeof(StringNode));
  return Value::Undefined(std::make_shared<StringNode>(Text(std::move(why)), &heap));
}

std::vector<Value> Iterate(Heap& heap, const Value& value) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Kind::kUndefined: return items;
    case Kind::kString: {
      const Text& text = value.text();
      for (size_t at = 0; at < text.size();) {
        heap.Step();
        const size_t length = DecodeUtf8(text.bytes(), at).length;
        items.push_back(heap.MakeString(text.Slice(at, at + length)));
        at += length;
      }
      return items;
    }
    case Kind::kList:
    case Kind::kTuple:
      heap.Step(value.list().items.size());
      heap.CheckRoom(value.list().items.size() * sizeof(Value));
      return value.list().items;
    case Kind::kGenerator: return std::exchange(value.list().items, {});
    case Kind::kDict:
      heap.Step(value.dict().size());
      heap.CheckRoom(value.dict().size() * sizeof(Value));
      for (const auto& [key, unused] : value.dict().entries()) items.push_back(key);
      return items;
    default: break;
  }
  throw Failure{fmt::format("'{}' object is not iterable", TypeName(value))};
}

size_t Length(Heap& heap, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined: return 0;
    case Kind::kString: heap.Step(value.text().size() / 16); return CountUtf8(value.str());
    case Kind::kList:
    case Kind::kTuple: return value.list().items.size();
    case Kind::kDict: return value.dict().size();
    default: break;
  }
  throw Failure{fmt::format("object of type '{}' has no len()", TypeName(value))};
}

Value GetAttribute(Runtime& runtime, const Value& object, std::string_view name) {
  if (object.is_undefined()) FailUndefined(object);
  Value out;
  if (FindAttribute(runtime, object, name, &out)) return out;
  if (object.is_dict()) {
    if (const Value* found = object.dict().Find(name)) return *found;
  }
  return NoAttribute(runtime.heap, object, name);
}

Value GetItem(Runtime& runtime, const Value& object, const Value& key) {
  if (object.is_undefined()) FailUndefined(object);
  Value out;
  if (FindItem(runtime, object, key, &out)) return out;
  if (key.is_string() && FindAttribute(runtime, object, key.str(), &out)) return out;
  return NoElement(runtime.heap, object, key);
}

Value GetSlice(Runtime& runtime, const Value& object, const Value& start, const Value& stop,
               const Value& step) {
  if (object.is_undefined()) FailUndefined(object);
  Heap& heap = runtime.heap;
  if (object.is_string()) {
    const Text& text = object.text();
    const std::vector<size_t> offsets = CharOffsets(heap, text.bytes());
    const SliceBounds s = AdjustSlice(start, stop, step, offsets.size() - 1);
    TextBuilder out(heap);
    if (s.step == 1) {
      if (s.start < s.stop) {
        out.AppendRange(text, offsets[static_cast<size_t>(s.start)],
                        offsets[static_cast<size_t>(s.stop)]);
      }
    } else {
      ForSlice(s, [&](size_t i) { out.AppendRange(text, offsets[i], offsets[i + 1]); });
    }
    return out.TakeString();
  }
  if (object.kind() != Kind::kList && object.kind() != Kind::kTuple) {
    return MakeUndefined(heap, fmt::format("'{}' cannot be sliced", Describe(object)));
  }
  const auto& source = object.list().items;
  const SliceBounds s = AdjustSlice(start, stop, step, source.size());
  std::vector<Value> items;
  heap.CheckRoom(source.size() * sizeof(Value));
  ForSlice(s, [&](size_t i) { items.push_back(source[i]); });
  heap.Step(items.size());
  return heap.MakeList(std::move(items), object.kind());
}

Value GetPath(Runtime& runtime, const Value& object, const Value& path) {
  if (!path.is_string()) return GetItem(runtime, object, path);
  Value at = object;
  std::string_view left = path.str();
  while (true) {
    const size_t dot = std::min(left.find('.'), left.size());
    const std::string_view part = left.substr(0, dot);
    const bool digits = !part.empty() && part.size() < 10 &&
                        part.find_first_not_of("0123456789") == std::string_view::npos;
    at =
        GetItem(runtime, at,
                digits ? Value::Int(std::stoll(std::string(part))) : runtime.heap.MakeString(part));
    if (dot == left.size()) return at;
    left.remove_prefix(dot + 1);
  }
}

}  // namespace kvasir::jinja
