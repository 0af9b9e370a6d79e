// What KV recipes cost on a text: every recipe reads it as a session would, and is held against the
// exact cache over the same weights, position by position and layer by layer, beside the bytes and
// seconds that it took.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/measure/audit_tasks.h"
#include "kvasir/measure/bench_report.h"
#include "kvasir/measure/head_map.h"
#include "kvasir/measure/shadow.h"

namespace kvasir {

struct AuditOptions {
  std::vector<std::string> recipes = {};
  // Tokens at the end of the text that are fed one at a time; 0 = 256, or half of a short text.
  int64_t n_decode = 0;
  // Positions of the prompt that are compared, spread evenly.
  int64_t n_judged = 2048;
  int32_t n_ctx = 0;  // positions a session may reach; 0 = what the model was trained for
  int32_t n_ubatch = 512;
  int64_t memory_limit = 0;  // bytes; the shadow counts; 0 = none
  // Adds trivial recipes of the same bytes for every recipe that holds less than exact, and rotated
  // q8_0 and q4_0.
  bool baselines = true;
  bool heads = true;  // measure where heads look
  TaskPlan tasks = {};
  // What is under way, tokens done and in all. May be empty.
  std::function<void(std::string_view stage, int64_t done, int64_t total)> progress = {};
};

struct RecipeAudit {
  std::string recipe;                    // as it was asked for
  std::string parts;                     // canonical text
  std::vector<std::string> baseline_of;  // empty for a recipe that was asked for
  bool cuts_in_decode = false;           // whether generated tokens are evicted too
  TokenReads prefill_reads;            // what a prefill= part made of the prompt
  StreamCost cost;
  PositionErrors prefill, decode;
  ErrorSummary prefill_summary, decode_summary;
  std::vector<LayerError> stream_error;    // by layer, Comparer::stream_error
  std::vector<LayerError> isolated_error;  // by layer; empty where it cannot be had
  std::vector<TaskRunResult> tasks;
};

struct ShadowAudit {
  StreamCost cost;
  double prefill_perplexity = 0, decode_perplexity = 0;
  std::vector<TaskRunResult> tasks;
};

struct Audit {
  Machine machine;
  BenchedModel model;
  int n_thread = 0;
  int32_t n_ubatch = 0;
  int64_t memory_limit = 0;
  std::vector<TokenId> tokens;  // the text
  int64_t n_token = 0, n_prefill = 0, n_decode = 0;
  int64_t n_judged = 0;  // positions of the prompt
  ShadowAudit exact;
  std::vector<RecipeAudit> recipes;  // as asked for, then baselines
  std::optional<HeadMap> heads;
  std::vector<std::string> notes;  // what could not be had, and why
};

// Errors: kInvalidArgument for a text too short for n_decode or too long for the context (with the
// numbers), kNotFound and kInvalidArgument for a recipe, kOutOfMemory before any work where the
// limit is known to be passed. A recipe that fails while it reads is left out and named in the
// notes; where all fail, the first error is returned, with the recipe's name in front.
Result<Audit> RunAudit(std::shared_ptr<const Model> model, std::span<const TokenId> tokens,
                       const AuditOptions& options, ThreadTeam& team);

}  // namespace kvasir
