#include "kvasir/policy/recipe_text.h"

#include <fmt/format.h>

namespace kvasir {
namespace {

constexpr size_t kMaxBytes = 4096;

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsNameChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.' || c == '%';
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Result<std::vector<RecipeItem>> Items() {
    std::vector<RecipeItem> items;
    SkipSpace();
    while (at_ < text_.size()) {
      KVASIR_ASSIGN_OR_RETURN(RecipeItem item, Item());
      items.push_back(std::move(item));
      const size_t end = at_;
      SkipSpace();
      if (at_ == text_.size()) break;
      if (Take('+')) {
        SkipSpace();
        if (at_ == text_.size()) return Expected("a part");
      } else if (at_ == end) {
        return Expected("'+', a space or the end");
      }
    }
    if (items.empty()) return Expected("a recipe such as exact");
    return items;
  }

 private:
  Result<RecipeItem> Item() {
    const size_t begin = at_;
    RecipeItem item;
    KVASIR_ASSIGN_OR_RETURN(std::string name, Name());
    if (Take('=')) {
      item.kind = std::move(name);
      KVASIR_ASSIGN_OR_RETURN(name, Name());
    }
    KVASIR_ASSIGN_OR_RETURN(PartCall call, Call(std::move(name)));
    item.calls.push_back(std::move(call));
    while (!item.kind.empty() && Take(',')) {
      KVASIR_ASSIGN_OR_RETURN(name, Name());
      KVASIR_ASSIGN_OR_RETURN(call, Call(std::move(name)));
      item.calls.push_back(std::move(call));
    }
    item.text = text_.substr(begin, at_ - begin);
    return item;
  }

  Result<std::string> Name() {
    const size_t begin = at_;
    while (at_ < text_.size() && IsNameChar(text_[at_])) ++at_;
    if (at_ == begin) return Expected("a name");
    return std::string(text_.substr(begin, at_ - begin));
  }

  Result<PartCall> Call(std::string name) {
    PartCall call = {std::move(name), {}};
    if (Take(':')) {
      const std::string value = Value("+, \t\r\n()");
      if (value.empty()) return Expected("a value");
      call.args.emplace_back("", value);
    }
    if (!Take('(')) return call;
    SkipSpace();
    if (Take(')')) return call;
    do {
      std::string first = Value(",()=");
      std::string second = Take('=') ? Value(",()=") : "";
      if (first.empty() || (text_[at_ - 1] == '=')) return Expected("a value");
      if (second.empty()) {
        call.args.emplace_back("", std::move(first));
      } else {
        call.args.emplace_back(std::move(first), std::move(second));
      }
    } while (Take(','));
    if (!Take(')')) return Expected("',' or ')'");
    return call;
  }

  // Up to one of `ends`, without the spaces around it.
  std::string Value(std::string_view ends) {
    SkipSpace();
    const size_t begin = at_;
    while (at_ < text_.size() && ends.find(text_[at_]) == std::string_view::npos) ++at_;
    size_t end = at_;
    while (end > begin && IsSpace(text_[end - 1])) --end;
    return std::string(text_.substr(begin, end - begin));
  }

  void SkipSpace() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
  }
  bool Take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Status Expected(std::string_view what) const {
    return Status::InvalidArgument(
        fmt::format("recipe '{}': byte {}: expected {}, found {}", text_, at_, what,
                    at_ < text_.size() ? fmt::format("'{}'", text_[at_]) : "the end"));
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Result<std::vector<RecipeItem>> SplitRecipe(std::string_view text) {
  if (text.size() > kMaxBytes) {
    return Status::InvalidArgument(
        fmt::format("recipe: expected at most {} bytes, found {}", kMaxBytes, text.size()));
  }
  return Reader(text).Items();
}

}  // namespace kvasir
