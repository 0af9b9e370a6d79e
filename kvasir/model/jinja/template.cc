#include "kvasir/model/jinja/template.h"

#include <fmt/core.h>

#include <new>
#include <nlohmann/json.hpp>

#include "kvasir/model/jinja/interpreter.h"
#include "kvasir/model/jinja/parser.h"
#include "kvasir/model/jinja/utf8.h"

namespace kvasir::jinja {
namespace {

using Json = nlohmann::ordered_json;

class Importer {
 public:
  Importer(Heap& heap, const RenderOptions& options) : heap_(heap), options_(options) {}

  Value Import(const Json& json, int depth, std::string_view key) {
    heap_.Step();
    const Heap::Level level(heap_);
    switch (json.type()) {
      case Json::value_t::boolean: return Value::Bool(json.get<bool>());
      case Json::value_t::number_integer: return Value::Int(json.get<int64_t>());
      case Json::value_t::number_unsigned: {
        const auto n = json.get<uint64_t>();
        return n <= INT64_MAX ? Value::Int(static_cast<int64_t>(n))
                              : Value::Float(static_cast<double>(n));
      }
      case Json::value_t::number_float: return Value::Float(json.get<double>());
      case Json::value_t::string: return String(json.get_ref<const std::string&>(), depth, key);
      case Json::value_t::array: {
        List* list = heap_.NewList();
        for (const Json& item : json) heap_.Append(*list, Import(item, depth + 1, key));
        return Value::Of(list);
      }
      case Json::value_t::object: {
        Dict* dict = heap_.NewDict();
        for (const auto& [name, item] : json.items()) {
          dict->Set(heap_, heap_.MakeString(Text(name, true)), Import(item, depth + 1, name));
        }
        return Value::Of(dict);
      }
      default: return Value::None();
    }
  }

 private:
  Value String(const std::string& value, int depth, std::string_view key) {
    const bool trusted = options_.trusts && options_.trusts({depth, key, value});
    heap_.CheckRoom(value.size());
    return heap_.MakeString(Text(value, !trusted));
  }

  Heap& heap_;
  const RenderOptions& options_;
};

Status ToStatus(const Failure& failure, int line) {
  const int at = failure.line != 0 ? failure.line : line;
  return {failure.code, fmt::format("chat template line {}: {}", at, failure.message)};
}

}  // namespace

struct Template::Program {
  Body body;
};

std::vector<Tokenizer::Piece> Rendered::pieces() const {
  std::vector<Tokenizer::Piece> pieces;
  text_.ForEachRun(0, text_.size(), [&](std::string_view run, bool from_input) {
    pieces.push_back({run, !from_input});
  });
  return pieces;
}

Template::Template(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

Result<Template> Template::Parse(std::string_view source) {
  if (source.size() > kMaxTemplateBytes) {
    return Status::InvalidArgument(fmt::format("chat template has {} bytes, at most {} are allowed",
                                               source.size(), kMaxTemplateBytes));
  }
  if (const size_t at = FindInvalidUtf8(source); at != std::string_view::npos) {
    return Status::InvalidArgument(fmt::format("chat template is not UTF-8 at byte {}", at));
  }
  try {
    auto program = std::make_unique<Program>();
    program->body = ParseTemplate(source);
    return Template(std::move(program));
  } catch (const Failure& failure) {
    return ToStatus(failure, 1);
  } catch (const std::bad_alloc&) {
    return Status::OutOfMemory("no memory left to parse the chat template");
  }
}

Result<Rendered> Template::Render(const Json& context, const RenderOptions& options) const {
  if (!context.is_object()) {
    return Status::InvalidArgument(
        fmt::format("template context must be an object, found {}", context.type_name()));
  }
  Interpreter in(options.limits, options.now.value_or(std::time(nullptr)));
  try {
    Importer importer(in.heap, options);
    for (const auto& [name, value] : context.items()) {
      in.globals().Set(in.heap, name, importer.Import(value, 0, name));
    }
    TextBuilder out(in.heap);
    in.Execute(program_->body, out);
    return Rendered(out.Take());
  } catch (const Failure& failure) {
    return ToStatus(failure, in.line);
  } catch (const std::bad_alloc&) {
    return Status::OutOfMemory("no memory left to render the chat template");
  }
}

}  // namespace kvasir::jinja
