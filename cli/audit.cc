#include "kvasir/measure/audit.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/common_args.h"
#include "cli/conversation.h"
#include "cli/input.h"
#include "cli/stage_bar.h"
#include "cli/tasks_run.h"
#include "kvasir/core/isa.h"
#include "kvasir/measure/audit_report.h"
#include "kvasir/model/chat_file.h"

namespace kvasir::cli {
namespace {

constexpr std::string_view kSummary = "measure what KV recipes cost, against an exact shadow";

struct Args {
  ModelArgs model;
  ChatArgs chat;
  PromptArgs text;
  std::vector<std::string> recipes;
  int64_t length = 0;
  AuditOptions audit;
  std::vector<std::string> tasks;
  std::string output = "table";
  std::string json, html;  // files
};

std::vector<Option> AuditOptionTable(Args& args) {
  return {{.names = {"-f", "--file"},
           .metavar = "FILE",
           .help = "the text, or a chat as a JSON list of messages (*.json), which the model's "
                   "template renders; without it, what stdin gives",
           .target = &args.text.file},
          {.names = {"-c", "--length"},
           .metavar = "N",
           .help = "take the first N tokens of the text; 0 = all",
           .target = &args.length,
           .min = 0,
           .max = 1 << 30},
          {.names = {"-n", "--decode"},
           .metavar = "N",
           .help = "tokens at the end that are fed one at a time, as if they were generated; 0 = "
                   "256, or half of a short text",
           .target = &args.audit.n_decode,
           .min = 0,
           .max = 1 << 30},
          {.names = {"--prompt-positions"},
           .metavar = "N",
           .help = "positions of the prompt whose logits are compared too, spread evenly",
           .target = &args.audit.n_judged,
           .min = 0,
           .max = 1 << 30},
          {.names = {"--kv"},
           .metavar = "RECIPE",
           .help = "a recipe to audit, as `kvasir recipes` lists them; may be repeated",
           .target = &args.recipes},
          {.names = {"--baselines"},
           .help = "add sinks and the newest tokens, and random tokens, at the bytes of every "
                   "recipe, and rotated q8_0 and q4_0",
           .target = &args.audit.baselines},
          {.names = {"--heads"},
           .help = "map where the heads of the model look",
           .target = &args.audit.heads},
          {.names = {"--mem"},
           .metavar = "BYTES",
           .help = "limit on weights, KV, indexes, scratch and the shadow together: 512M, 4G; 0 = "
                   "none",
           .target = ByteSize{&args.audit.memory_limit}},
          {.names = {"-ub", "--ubatch-size"},
           .metavar = "N",
           .help = "tokens computed together during prefill",
           .target = &args.audit.n_ubatch,
           .min = 1,
           .max = 65536,
           .llama_env = "UBATCH"},
          {.names = {"-o", "--output"},
           .metavar = "FORMAT",
           .help = "what to print",
           .target = &args.output,
           .choices = {"table", "json"}},
          {.names = {"--json"},
           .metavar = "FILE",
           .help = "write the JSON to a file too",
           .target = &args.json},
          {.names = {"--html"},
           .metavar = "FILE",
           .help = "write a page with plots, which needs nothing beside itself",
           .target = &args.html}};
}

std::vector<Option> TaskOptionTable(Args& args) {
  return {{.names = {"--tasks"},
           .metavar = "NAME,...",
           .help = "score recipes on these tasks too, as `kvasir tasks` lists them, or on all",
           .target = &args.tasks,
           .comma_list = true},
          {.names = {"--task-length"},
           .metavar = "N",
           .help = "tokens of a whole conversation",
           .target = &args.audit.tasks.length,
           .min = 1,
           .max = 1 << 30},
          {.names = {"--count"},
           .metavar = "N",
           .help = "cases of each task",
           .target = &args.audit.tasks.n_case,
           .min = 1,
           .max = 1 << 20}};
}

bool IsChatFile(const std::string& path) { return path.ends_with(".json"); }

Result<std::vector<TokenId>> ReadTokens(const Model& model, const Args& args) {
  KVASIR_ASSIGN_OR_RETURN(const std::string text, ReadPrompt(args.text, /*p_given=*/false));
  if (!IsChatFile(args.text.file)) {
    const Tokenizer& tokenizer = *model.tokenizer;
    return tokenizer.Encode(text,
                            Tokenizer::EncodeOptions{.add_bos = tokenizer.add_bos_by_default()});
  }
  KVASIR_ASSIGN_OR_RETURN(const auto messages, ParseChatFile(text, args.text.file));
  KVASIR_ASSIGN_OR_RETURN(const Conversation conversation, OpenConversation(model, args.chat));
  return conversation.Render(messages, /*add_generation_prompt=*/false);
}

// The first tokens that --length asks for.
Status Shorten(int64_t length, std::vector<TokenId>* tokens) {
  if (length == 0) return Status::Ok();
  const auto held = static_cast<int64_t>(tokens->size());
  if (held < length) {
    return Status::InvalidArgument(
        fmt::format("--length: expected a text of {} tokens, found {}", length, held));
  }
  tokens->resize(static_cast<size_t>(length));
  return Status::Ok();
}

Status WriteError(const std::string& path) {
  return Status::IoError(fmt::format("{}: {}", path, std::strerror(errno)));
}

// Before the work, so that it is not lost.
Status CheckWritable(const std::string& path) {
  if (path.empty() || std::ofstream(path, std::ios::app).good()) return Status::Ok();
  return WriteError(path);
}

template <typename Make>
Status WriteReport(const std::string& path, const Make& make) {
  if (path.empty()) return Status::Ok();
  std::ofstream file(path, std::ios::binary);
  file << make() << std::flush;
  return file.good() ? Status::Ok() : WriteError(path);
}

Status Run(std::span<const std::string> words) {
  Args args;
  ArgTable table("audit", std::string(kSummary));
  table.Add("audit", AuditOptionTable(args));
  table.Add("tasks", TaskOptionTable(args));
  table.Add("model", ModelOptions(args.model));
  table.Add("chat files", ChatOptions(args.chat));
  table.Add("accepted from llama.cpp's command lines", CompatibilityOptions());
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  KVASIR_RETURN_IF_ERROR(CheckIsaSetting());
  if (args.model.model.empty()) return Status::InvalidArgument("-m: expected the path of a model");
  if (args.recipes.empty()) {
    return Status::InvalidArgument("--kv: expected at least one recipe; `kvasir recipes` has them");
  }
  args.audit.recipes = args.recipes;
  KVASIR_RETURN_IF_ERROR(CheckWritable(args.json));
  KVASIR_RETURN_IF_ERROR(CheckWritable(args.html));
  KVASIR_ASSIGN_OR_RETURN(args.audit.tasks.tasks, ChooseTasks(args.tasks));

  KVASIR_ASSIGN_OR_RETURN(const auto model, LoadWithBar(args.model.model));
  KVASIR_ASSIGN_OR_RETURN(std::vector<TokenId> tokens, ReadTokens(*model, args));
  KVASIR_RETURN_IF_ERROR(Shorten(args.length, &tokens));
  args.audit.n_ctx = std::max(model->spec.n_ctx_train, static_cast<int32_t>(args.length));

  ThreadTeam team(std::max(args.model.n_thread, 0));
  StageBar bar;
  args.audit.progress = [&](std::string_view stage, int64_t done, int64_t total) {
    bar.Update(stage, done, total);
  };
  KVASIR_ASSIGN_OR_RETURN(const Audit audit, RunAudit(model, tokens, args.audit, team));
  bar.Clear();
  const std::string text = args.output == "json" ? AuditJson(audit) : AuditTable(audit);
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
  KVASIR_RETURN_IF_ERROR(WriteReport(args.json, [&] { return AuditJson(audit); }));
  return WriteReport(args.html, [&] { return AuditHtml(audit); });
}

}  // namespace

const Command& audit_command() {
  static constexpr Command command = {"audit", kSummary, Run};
  return command;
}

}  // namespace kvasir::cli
