#include <fmt/core.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/args.h"
#include "cli/command.h"
#include "kvasir/core/mapped_file.h"
#include "kvasir/model/chat_template.h"
#include "kvasir/model/json_file.h"

namespace kvasir::cli {
namespace {

constexpr std::string_view kSummary = "render a Jinja chat template with a JSON context";

Status Run(std::span<const std::string> words) {
  std::vector<std::string> files;
  ArgTable table("template", std::string(kSummary));
  table.SetPositionals({.metavar = "FILE.jinja CONTEXT.json",
                        .help = "the template, and its variables as a JSON object",
                        .target = &files,
                        .min = 2,
                        .max = 2});
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(const std::string source, ReadFile(files[0], jinja::kMaxTemplateBytes));
  KVASIR_ASSIGN_OR_RETURN(const auto context, ReadJsonFile(files[1]));
  const auto parsed = jinja::Template::Parse(source);
  if (!parsed.ok()) return Status(parsed.status()).WithContext(files[0]);
  const auto rendered = parsed->Render(context, ChatRenderOptions({}, std::nullopt));
  if (!rendered.ok()) return Status(rendered.status()).WithContext(files[0]);
  const std::string& text = rendered->text();
  std::fwrite(text.data(), 1, text.size(), stdout);
  return Status::Ok();
}

}  // namespace

const Command& template_command() {
  static constexpr Command command = {"template", kSummary, Run};
  return command;
}

}  // namespace kvasir::cli
