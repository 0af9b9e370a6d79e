// Values of the template language, with Python's semantics, and the heap that owns and limits them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "kvasir/model/jinja/text.h"
#include "kvasir/status.h"

namespace kvasir::jinja {

// Thrown inside this folder only; Template turns it into a Status.
struct Failure {
  std::string message;
  StatusCode code = StatusCode::kInvalidArgument;
  int line = 0;  // 0 = where the interpreter stands
};

class Heap;
class Value;
class Dict;
struct List;
struct Arguments;
class Runtime;

// A string on the heap, or a literal of the template. Immutable and shared.
struct StringNode {
  explicit StringNode(Text t) : text(std::move(t)) {}
  StringNode(Text t, Heap* h);
  ~StringNode();
  StringNode(const StringNode&) = delete;
  StringNode& operator=(const StringNode&) = delete;

  Text text;
  Heap* heap = nullptr;  // where it is charged; null for literals
};
using StringRef = std::shared_ptr<const StringNode>;

// What has behaviour of its own: functions, macros, bound methods, the loop variable.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string_view type_name() const = 0;  // as in Python's messages: "macro", "function"
  // False when there is no such attribute.
  virtual bool GetAttribute(Runtime& runtime, std::string_view name, Value* out);
  // Throws Failure when the object cannot be called.
  virtual Value Call(Runtime& runtime, Arguments arguments);
};

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kGenerator,
  kDict,
  kNamespace,
  kObject,
};

// 24 bytes, cheap to copy. Lists, dicts and objects are borrowed from the heap, which must outlive
// the value; cycles are therefore harmless.
class Value {
 public:
  Value() = default;  // undefined, without a name to blame
  static Value Undefined(StringRef why) { return Value(Missing{std::move(why)}); }
  static Value None() { return Value(Null{}); }
  static Value Bool(bool b) { return Value(b); }
  static Value Int(int64_t i) { return Value(i); }
  static Value Float(double d) { return Value(d); }
  static Value String(StringRef s) { return Value(std::move(s)); }
  static Value Of(List* list) { return Value(list); }
  static Value Of(Dict* dict) { return Value(dict); }
  static Value Of(Object* object) { return Value(object); }
  // A string charged to no heap; for the template's own literals.
  static Value Literal(std::string_view text) {
    return String(std::make_shared<StringNode>(Text(std::string(text))));
  }

  Kind kind() const;
  bool is_undefined() const { return std::holds_alternative<Missing>(v_); }
  bool is_none() const { return std::holds_alternative<Null>(v_); }
  bool is_bool() const { return std::holds_alternative<bool>(v_); }
  bool is_int() const { return std::holds_alternative<int64_t>(v_); }
  bool is_float() const { return std::holds_alternative<double>(v_); }
  bool is_string() const { return std::holds_alternative<StringRef>(v_); }
  bool is_dict() const { return kind() == Kind::kDict; }
  bool is_sequence() const { return std::holds_alternative<List*>(v_); }  // list, tuple, generator
  bool is_integral() const { return is_int() || is_bool(); }
  bool is_number() const { return is_integral() || is_float(); }

  // Each needs the matching kind.
  bool bool_value() const { return std::get<bool>(v_); }
  int64_t int_value() const { return is_bool() ? bool_value() : std::get<int64_t>(v_); }
  double float_value() const {
    return is_float() ? std::get<double>(v_) : static_cast<double>(int_value());
  }
  const Text& text() const { return std::get<StringRef>(v_)->text; }
  const std::string& str() const { return text().bytes(); }
  List& list() const { return *std::get<List*>(v_); }
  Dict& dict() const { return *std::get<Dict*>(v_); }
  Object& object() const { return *std::get<Object*>(v_); }
  const StringRef& why_undefined() const { return std::get<Missing>(v_).why; }

 private:
  struct Missing {
    StringRef why;
  };
  struct Null {};
  using Variant =
      std::variant<Missing, Null, bool, int64_t, double, StringRef, List*, Dict*, Object*>;
  explicit Value(Variant v) : v_(std::move(v)) {}
  Variant v_;
};

// kList, kTuple, or kGenerator: what lazy filters give; always true, without length, read once.
struct List {
  Kind kind = Kind::kList;
  std::vector<Value> items;
};

// A Python dict, or a namespace. Keeps the order of insertion.
class Dict {
 public:
  explicit Dict(Kind k = Kind::kDict) : kind_(k) {}
  Kind kind() const { return kind_; }
  using Entry = std::pair<Value, Value>;
  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  // Null when absent, as any key that cannot be hashed is.
  const Value* Find(const Value& key) const;
  const Value* Find(std::string_view key) const;
  // Throws Failure for a key that cannot be hashed.
  void Set(Heap& heap, const Value& key, Value value);
  bool Erase(Heap& heap, const Value& key);
  void Clear();

 private:
  Kind kind_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> index_;  // canonical key -> position
};

// True for what Python can hash: anything but lists, dicts and tuples that hold them.
bool IsHashable(const Value& value);

// What one rendering may use. Reaching a limit is an error, never a crash.
struct Limits {
  size_t max_bytes = size_t{256} << 20;  // values and output alive at any moment
  uint64_t max_steps = 20'000'000;       // nodes evaluated, and one more per 64 bytes moved
  int max_depth = 400;                   // nesting of expressions, blocks, macro calls and values
};

// Owns the containers and objects of one rendering and enforces its limits. Strings are counted
// while referenced; containers live until the end. Not thread-safe.
class Heap {
 public:
  explicit Heap(const Limits& limits) : limits_(limits) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  // Throw Failure past a limit.
  void Step(uint64_t n = 1) {
    if ((steps_ += n) > limits_.max_steps) FailSteps();
  }
  void CheckRoom(size_t bytes) const {
    if (bytes > limits_.max_bytes - used_) FailRoom(bytes);
  }
  void Charge(size_t bytes) {
    CheckRoom(bytes);
    used_ += bytes;
  }
  void Release(size_t bytes) { used_ -= bytes; }

  Value MakeString(Text text);
  Value MakeString(std::string_view text) { return MakeString(Text(std::string(text))); }
  List* NewList(Kind kind = Kind::kList);
  Value MakeList(std::vector<Value> items, Kind kind = Kind::kList);
  void Append(List& list, Value item);
  Dict* NewDict(Kind kind = Kind::kDict);
  template <typename T, typename... Args>
  T* New(Args&&... args) {
    Charge(sizeof(T) + kNodeBytes);
    auto owned = std::make_unique<T>(std::forward<Args>(args)...);
    T* raw = owned.get();
    objects_.push_back(std::move(owned));
    return raw;
  }

  // One level of nesting for as long as it lives.
  class Level {
   public:
    explicit Level(Heap& heap) : heap_(heap) {
      if (++heap_.depth_ > heap_.limits_.max_depth) {
        --heap_.depth_;
        heap_.FailDepth();
      }
    }
    ~Level() { --heap_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Heap& heap_;
  };

  size_t used() const { return used_; }

 private:
  static constexpr size_t kNodeBytes = 64;  // allocator and bookkeeping of one node, rounded up
  [[noreturn]] void FailSteps() const;
  [[noreturn]] void FailRoom(size_t bytes) const;
  [[noreturn]] void FailDepth() const;

  const Limits limits_;
  size_t used_ = 0;
  uint64_t steps_ = 0;
  int depth_ = 0;
  std::deque<List> lists_;
  std::deque<Dict> dicts_;
  std::vector<std::unique_ptr<Object>> objects_;
};

// Grows a Text within the heap's limits: every append is charged before it allocates, and what was
// charged is given back when the text is taken.
class TextBuilder {
 public:
  explicit TextBuilder(Heap& heap) : heap_(heap) {}
  ~TextBuilder() { heap_.Release(charged_); }
  TextBuilder(const TextBuilder&) = delete;
  TextBuilder& operator=(const TextBuilder&) = delete;

  void Append(std::string_view bytes, bool from_input = false) {
    Charge(bytes.size() + sizeof(size_t));
    text_.Append(bytes, from_input);
  }
  void Append(const Text& text) { AppendRange(text, 0, text.size()); }
  void AppendRange(const Text& text, size_t begin, size_t end) {
    Charge(end - begin +
           std::min((end - begin + 1) * sizeof(size_t), text.footprint() - text.size()));
    text_.AppendRange(text, begin, end);
  }
  const Text& text() const { return text_; }
  Text Take() {
    heap_.Release(std::exchange(charged_, 0));
    return std::exchange(text_, Text());
  }
  Value TakeString() { return heap_.MakeString(Take()); }
  Heap& heap() const { return heap_; }

 private:
  void Charge(size_t n) {
    heap_.Step(n / 64);
    heap_.Charge(n);
    charged_ += n;
  }
  Heap& heap_;
  Text text_;
  size_t charged_ = 0;
};

}  // namespace kvasir::jinja
