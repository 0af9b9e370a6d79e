#include "kvasir/model/jinja/value.h"

#include <fmt/core.h>

#include <cmath>
#include <optional>

#include "kvasir/model/jinja/builtin.h"
#include "kvasir/model/jinja/ops.h"

namespace kvasir::jinja {
namespace {

constexpr size_t kEntryBytes = 160;  // a dict's entry with its slot in the index, rounded up

// Equal keys, and only they, have equal spellings: True, 1 and 1.0 are one key. False when the key
// cannot be hashed; `n_left` bounds the parts of nested tuples, which may share much.
bool AppendKey(std::string& out, const Value& key, int& n_left) {
  if (--n_left < 0) return false;
  switch (key.kind()) {
    case Kind::kUndefined: out += 'u'; return true;
    case Kind::kNone: out += 'n'; return true;
    case Kind::kBool:
    case Kind::kInt: out += fmt::format("i{};", key.int_value()); return true;
    case Kind::kFloat: {
      const double d = key.float_value();
      const bool integral = std::floor(d) == d && std::fabs(d) < 9e18;
      out += integral ? fmt::format("i{};", static_cast<int64_t>(d)) : fmt::format("f{};", d);
      return true;
    }
    case Kind::kString: out += fmt::format("s{}:", key.text().size()) + key.str(); return true;
    case Kind::kTuple:
      out += '(';
      for (const Value& item : key.list().items) {
        if (!AppendKey(out, item, n_left)) return false;
      }
      out += ')';
      return true;
    case Kind::kObject:
      out += fmt::format("o{};", static_cast<const void*>(&key.object()));
      return true;
    default: return false;
  }
}

std::optional<std::string> CanonicalKey(const Value& key) {
  constexpr int kMaxKeyParts = 256;
  int n_left = kMaxKeyParts;
  std::string out;
  if (!AppendKey(out, key, n_left)) return std::nullopt;
  return out;
}

}  // namespace

StringNode::StringNode(Text t, Heap* h) : text(std::move(t)), heap(h) {}
StringNode::~StringNode() {
  if (heap != nullptr) heap->Release(text.footprint() + sizeof(StringNode));
}

bool Object::GetAttribute(Runtime&, std::string_view, Value*) { return false; }

Value Object::Call(Runtime&, Arguments) {
  throw Failure{fmt::format("'{}' object is not callable", type_name())};
}

Kind Value::kind() const {
  switch (v_.index()) {
    case 0: return Kind::kUndefined;
    case 1: return Kind::kNone;
    case 2: return Kind::kBool;
    case 3: return Kind::kInt;
    case 4: return Kind::kFloat;
    case 5: return Kind::kString;
    case 6: return list().kind;
    case 7: return dict().kind();
    default: return Kind::kObject;
  }
}

bool IsHashable(const Value& value) { return CanonicalKey(value).has_value(); }

const Value* Dict::Find(const Value& key) const {
  const auto canonical = CanonicalKey(key);
  if (!canonical) return nullptr;
  const auto it = index_.find(*canonical);
  return it == index_.end() ? nullptr : &entries_[it->second].second;
}

const Value* Dict::Find(std::string_view key) const {
  const auto it = index_.find(fmt::format("s{}:{}", key.size(), key));
  return it == index_.end() ? nullptr : &entries_[it->second].second;
}

void Dict::Set(Heap& heap, const Value& key, Value value) {
  auto canonical = CanonicalKey(key);
  if (!canonical) throw Failure{fmt::format("unhashable type: '{}'", TypeName(key))};
  if (const auto it = index_.find(*canonical); it != index_.end()) {
    entries_[it->second].second = std::move(value);
    return;
  }
  heap.Charge(kEntryBytes + canonical->size());
  index_.emplace(*std::move(canonical), entries_.size());
  entries_.emplace_back(key, std::move(value));
}

bool Dict::Erase(Heap& heap, const Value& key) {
  const auto canonical = CanonicalKey(key);
  const auto it = canonical ? index_.find(*canonical) : index_.end();
  if (it == index_.end()) return false;
  const size_t position = it->second;
  heap.Step(entries_.size());
  heap.Release(kEntryBytes + it->first.size());
  index_.erase(it);
  entries_.erase(entries_.begin() + static_cast<ptrdiff_t>(position));
  for (auto& [unused, at] : index_) {
    if (at > position) --at;
  }
  return true;
}

// What was charged stays charged: clearing in a loop must not be a way around the limits.
void Dict::Clear() {
  entries_.clear();
  index_.clear();
}

Value Heap::MakeString(Text text) {
  Charge(text.footprint() + sizeof(StringNode));
  return Value::String(std::make_shared<StringNode>(std::move(text), this));
}

List* Heap::NewList(Kind kind) {
  Charge(sizeof(List) + kNodeBytes);
  lists_.push_back({kind, {}});
  return &lists_.back();
}

Value Heap::MakeList(std::vector<Value> items, Kind kind) {
  Charge(items.size() * sizeof(Value));
  List* list = NewList(kind);
  list->items = std::move(items);
  return Value::Of(list);
}

void Heap::Append(List& list, Value item) {
  Charge(2 * sizeof(Value));  // a vector may hold twice what it shows
  list.items.push_back(std::move(item));
}

Dict* Heap::NewDict(Kind kind) {
  Charge(sizeof(Dict) + kNodeBytes);
  return &dicts_.emplace_back(kind);
}

void Heap::FailSteps() const {
  throw Failure{fmt::format("more than {} steps: the template does not end in reasonable time",
                            limits_.max_steps)};
}

void Heap::FailRoom(size_t bytes) const {
  throw Failure{fmt::format("needs {} bytes more than the {} in use, over the limit of {}", bytes,
                            used_, limits_.max_bytes),
                StatusCode::kOutOfMemory};
}

void Heap::FailDepth() const {
  throw Failure{fmt::format("nested or recursive deeper than {} levels", limits_.max_depth)};
}

}  // namespace kvasir::jinja
