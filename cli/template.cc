#include <fmt/core.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "kvasir/core/mapped_file.h"
#include "kvasir/model/chat_template.h"

namespace kvasir::cli {
namespace {

Status Run(std::span<const std::string> args) {
  if (args.size() != 2) {
    return Status::InvalidArgument("usage: kvasir template FILE.jinja CONTEXT.json");
  }
  KVASIR_ASSIGN_OR_RETURN(const std::string source, ReadFile(args[0], jinja::kMaxTemplateBytes));
  KVASIR_ASSIGN_OR_RETURN(const std::string json, ReadFile(args[1]));
  const auto context = nlohmann::ordered_json::parse(json, nullptr, false);
  if (context.is_discarded()) return Status::InvalidArgument(args[1] + ": not JSON");
  auto parsed = jinja::Template::Parse(source);
  if (!parsed.ok()) return std::move(parsed).status().WithContext(args[0]);
  auto rendered = parsed->Render(context, ChatRenderOptions({}, std::nullopt));
  if (!rendered.ok()) return std::move(rendered).status().WithContext(args[0]);
  fmt::print("{}", rendered->text());
  return Status::Ok();
}

}  // namespace

const Command& template_command() {
  static constexpr Command command = {"template", "render a chat template with a JSON context",
                                      Run};
  return command;
}

}  // namespace kvasir::cli
