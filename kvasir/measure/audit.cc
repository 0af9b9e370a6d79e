#include "kvasir/measure/audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "kvasir/measure/audit_baselines.h"
#include "kvasir/measure/statistics.h"

namespace kvasir {
namespace {

constexpr int64_t kDefaultDecode = 256;

Result<TeacherForcedText> SplitText(std::span<const TokenId> tokens, int32_t n_ctx,
                                    const AuditOptions& options) {
  TeacherForcedText text;
  text.tokens = tokens;
  const int64_t n = text.n_token();
  if (n < 4) {
    return Status::InvalidArgument(
        fmt::format("audit: the text has {} tokens, at least 4 are needed", n));
  }
  if (n > n_ctx) {
    return Status::InvalidArgument(fmt::format(
        "audit: the text has {} tokens, the context holds {}; --length takes its first tokens", n,
        n_ctx));
  }
  const int64_t n_decode =
      options.n_decode > 0 ? options.n_decode : std::min(kDefaultDecode, n / 2);
  if (n_decode >= n) {
    return Status::InvalidArgument(
        fmt::format("audit: the text has {} tokens, and {} of them are to be fed one at a time: "
                    "nothing is left to be read as a prompt",
                    n, n_decode));
  }
  text.n_prefill = n - n_decode;
  return text;
}

double PerplexityOf(const std::vector<double>& nll) {
  return nll.empty() ? 0 : std::exp(Summarize(nll).mean);
}

Result<std::shared_ptr<const KvPolicy>> CompileFor(Runtime& runtime, const std::string& text) {
  KVASIR_ASSIGN_OR_RETURN(const Recipe recipe, Recipe::Parse(text));
  return KvPolicy::Compile(recipe, runtime.Target());
}

// Whether the shadow's queries may be put to the recipe's cache. A selector remembers what it was
// asked last, and would answer otherwise from then on; keys that were numbered anew no longer stand
// at the angles that the shadow's queries expect.
bool TakesOtherQueries(const KvPolicy& policy) { return !policy.selects() && !policy.renumbers(); }

class Auditor {
 public:
  Auditor(std::shared_ptr<const Model> model, const TeacherForcedText& text,
          const AuditOptions& options, int32_t n_ctx, ThreadTeam& team)
      : model_(std::move(model)),
        text_(text),
        options_(options),
        runtime_options_{.n_ctx = n_ctx,
                         .n_ubatch = options.n_ubatch,
                         .memory_limit = options.memory_limit,
                         .process_bytes = ProcessBytesBeside(*model_)},
        team_(team),
        trace_bytes_(ShadowTrace::Bytes(model_->spec, text, options.n_judged)) {}

  Result<Audit> Run();

 private:
  // A runtime of its own for each stream, with the trace in its ledger.
  struct Place {
    std::unique_ptr<Runtime> runtime;
    ByteCharge trace;
  };
  Result<Place> Prepare();
  // Refuses what is known not to fit.
  Status Admit(Runtime& runtime, const KvPolicy& policy, std::string_view name) const;
  Status CheckRecipes(Runtime& runtime) const;
  Result<ShadowAudit> RunShadow(Runtime& runtime);
  Result<RecipeAudit> RunRecipe(const std::string& recipe);
  Status AddHeads(Audit* audit);
  Status AddTasks(Audit* audit) const;
  Status AddBaselines(Audit* audit);
  // Adds one baseline, or its other use where it is there already.
  Status AddBaseline(const std::string& recipe, std::span<const std::string> baseline_of,
                     Audit* audit);
  StreamOptions ProgressOf(const std::string& stage) const;

  std::shared_ptr<const Model> model_;
  const TeacherForcedText& text_;
  const AuditOptions& options_;
  RuntimeOptions runtime_options_;
  ThreadTeam& team_;
  int64_t trace_bytes_;
  std::unique_ptr<ShadowTrace> trace_;
};

Result<Auditor::Place> Auditor::Prepare() {
  Place place;
  KVASIR_ASSIGN_OR_RETURN(place.runtime, Runtime::Create(model_, runtime_options_, team_));
  KVASIR_ASSIGN_OR_RETURN(
      place.trace, ByteCharge::Take(place.runtime->ledger(), ByteKind::kOther, trace_bytes_));
  KVASIR_RETURN_IF_ERROR(
      WarmUp(*place.runtime, text_.tokens.first(static_cast<size_t>(text_.n_prefill))));
  return place;
}

Status Auditor::Admit(Runtime& runtime, const KvPolicy& policy, std::string_view name) const {
  const ByteLedger& ledger = runtime.ledger();
  if (ledger.limit() == 0 || policy.makes_room()) return Status::Ok();
  const int64_t needed = policy.forecast_bytes(text_.n_token(), options_.n_ubatch);
  if (needed <= ledger.available()) return Status::Ok();
  return Status::OutOfMemory(fmt::format(
      "audit: {} needs {} of KV for {} tokens; {} of {} are free ({}; of these, {} keep what the "
      "exact shadow gave)",
      name, FormatBytes(needed), text_.n_token(), FormatBytes(ledger.available()),
      FormatBytes(ledger.limit()), ledger.Describe(), FormatBytes(trace_bytes_)));
}

Status Auditor::CheckRecipes(Runtime& runtime) const {
  KVASIR_ASSIGN_OR_RETURN(const auto exact, CompileFor(runtime, "exact"));
  KVASIR_RETURN_IF_ERROR(Admit(runtime, *exact, "the exact shadow"));
  for (const std::string& recipe : options_.recipes) {
    KVASIR_ASSIGN_OR_RETURN(const auto policy, CompileFor(runtime, recipe));
    KVASIR_RETURN_IF_ERROR(Admit(runtime, *policy, fmt::format("--kv {}", recipe)));
  }
  return Status::Ok();
}

StreamOptions Auditor::ProgressOf(const std::string& stage) const {
  StreamOptions options;
  options.foreign_bytes = trace_bytes_;
  if (options_.progress) {
    options.progress = [this, stage](int64_t done, int64_t total) {
      options_.progress(stage, done, total);
    };
  }
  return options;
}

Result<ShadowAudit> Auditor::RunShadow(Runtime& runtime) {
  trace_ = std::make_unique<ShadowTrace>(model_->spec, text_, options_.n_judged);
  KVASIR_ASSIGN_OR_RETURN(const auto policy, CompileFor(runtime, "exact"));
  ShadowRecorder recorder(*trace_);
  ShadowAudit shadow;
  KVASIR_ASSIGN_OR_RETURN(
      shadow.cost, RunTeacherForced(runtime, policy, text_, recorder, ProgressOf("exact shadow")));
  shadow.prefill_perplexity = PerplexityOf(recorder.prefill_nll());
  shadow.decode_perplexity = PerplexityOf(recorder.decode_nll());
  return shadow;
}

Result<RecipeAudit> Auditor::RunRecipe(const std::string& recipe) {
  KVASIR_ASSIGN_OR_RETURN(const Place place, Prepare());
  Runtime& runtime = *place.runtime;
  KVASIR_ASSIGN_OR_RETURN(const auto policy, CompileFor(runtime, recipe));
  Comparer comparer(*trace_, team_, runtime.forward().workspace(), TakesOtherQueries(*policy));
  RecipeAudit row;
  row.recipe = recipe;
  row.parts = policy->recipe().ToString();
  row.cuts_in_decode = policy->evicts() && policy->schedule->decode_every() > 0;
  auto cost = RunTeacherForced(runtime, policy, text_, comparer, ProgressOf(recipe));
  if (!cost.ok()) return std::move(cost).status().WithContext("--kv " + recipe);
  row.cost = std::move(*cost);
  row.prefill_reads = runtime.forward().workspace().prefill_reads();
  row.prefill = comparer.prefill();
  row.decode = comparer.decode();
  row.prefill_summary = SummarizeErrors(row.prefill);
  row.decode_summary = SummarizeErrors(row.decode);
  row.stream_error = comparer.stream_error();
  row.isolated_error = comparer.isolated_error();
  return row;
}

Status Auditor::AddBaseline(const std::string& recipe, std::span<const std::string> baseline_of,
                            Audit* audit) {
  for (RecipeAudit& row : audit->recipes) {
    if (row.recipe != recipe || row.baseline_of.empty()) continue;
    row.baseline_of.insert(row.baseline_of.end(), baseline_of.begin(), baseline_of.end());
    return Status::Ok();
  }
  Result<RecipeAudit> row = RunRecipe(recipe);
  if (!row.ok()) {
    audit->notes.push_back(
        fmt::format("baseline {} could not run: {}", recipe, row.status().message()));
    return Status::Ok();
  }
  row->baseline_of.assign(baseline_of.begin(), baseline_of.end());
  audit->recipes.push_back(std::move(*row));
  return Status::Ok();
}

Status Auditor::AddHeads(Audit* audit) {
  KVASIR_ASSIGN_OR_RETURN(const Place place, Prepare());
  auto heads =
      MeasureHeads(*place.runtime, text_.tokens.first(static_cast<size_t>(text_.n_prefill)),
                   {.progress = ProgressOf("heads").progress});
  if (heads.ok()) {
    audit->heads = std::move(*heads);
  } else {
    audit->notes.push_back("no map of the heads: " + heads.status().message());
  }
  return Status::Ok();
}

Status Auditor::AddTasks(Audit* audit) const {
  if (options_.tasks.tasks.empty()) return Status::Ok();
  EngineOptions engine;
  engine.model_path = model_->path;
  engine.n_thread = team_.size();
  engine.n_ctx = runtime_options_.n_ctx;
  engine.n_ubatch = options_.n_ubatch;
  engine.memory_limit = options_.memory_limit;
  const auto score = [&](const std::string& recipe, std::vector<TaskRunResult>* scores) -> Status {
    auto results = ScoreRecipe(engine, recipe, options_.tasks, options_.progress);
    if (!results.ok()) return std::move(results).status().WithContext("tasks, --kv " + recipe);
    *scores = std::move(*results);
    return Status::Ok();
  };
  KVASIR_RETURN_IF_ERROR(score("exact", &audit->exact.tasks));
  for (RecipeAudit& row : audit->recipes) {
    const Status scored = score(row.recipe, &row.tasks);
    if (!scored.ok()) audit->notes.push_back(scored.message());
  }
  return Status::Ok();
}

Status Auditor::AddBaselines(Audit* audit) {
  const CacheShape shape = CacheShapeOf(model_->spec);
  const auto n_full = std::count(shape.window.begin(), shape.window.end(), 0);
  const ReadingPlan plan = {text_.n_prefill, text_.n_decode(), options_.n_ubatch};
  const size_t n_asked = audit->recipes.size();
  std::vector<std::string> asked;
  for (size_t i = 0; i < n_asked; ++i) {
    const RecipeAudit row = audit->recipes[i];
    asked.push_back(row.recipe);
    if (row.cost.kv_bytes >= audit->exact.cost.kv_bytes || n_full == 0) {
      audit->notes.push_back(fmt::format(
          "{} holds no fewer bytes than exact: it has no baselines of equal bytes", row.recipe));
      continue;
    }
    const double head_bytes = static_cast<double>(row.cost.full_layer_bytes) /
                              static_cast<double>(n_full * shape.n_kv_head);
    KVASIR_ASSIGN_OR_RETURN(const std::vector<std::string> baselines,
                            SolveBaselines(shape.head_dim, plan, head_bytes, row.cuts_in_decode));
    for (const std::string& baseline : baselines) {
      KVASIR_ASSIGN_OR_RETURN(const Recipe recipe, Recipe::Parse(baseline));
      if (recipe.ToString() == row.parts) continue;
      KVASIR_RETURN_IF_ERROR(AddBaseline(baseline, {&row.recipe, 1}, audit));
    }
  }
  for (const std::string& recipe : FixedBaselines()) {
    KVASIR_RETURN_IF_ERROR(AddBaseline(recipe, asked, audit));
  }
  return Status::Ok();
}

Result<Audit> Auditor::Run() {
  Audit audit;
  audit.machine = DescribeMachine();
  audit.model = DescribeBenchedModel(*model_);
  audit.n_thread = team_.size();
  audit.n_ubatch = options_.n_ubatch;
  audit.memory_limit = options_.memory_limit;
  audit.tokens.assign(text_.tokens.begin(), text_.tokens.end());
  audit.n_token = text_.n_token();
  audit.n_prefill = text_.n_prefill;
  audit.n_decode = text_.n_decode();
  {
    KVASIR_ASSIGN_OR_RETURN(const Place place, Prepare());
    KVASIR_RETURN_IF_ERROR(CheckRecipes(*place.runtime));
    KVASIR_ASSIGN_OR_RETURN(audit.exact, RunShadow(*place.runtime));
  }
  audit.n_judged = static_cast<int64_t>(trace_->judged().size());
  Status failure;
  for (const std::string& recipe : options_.recipes) {
    Result<RecipeAudit> row = RunRecipe(recipe);
    if (row.ok()) {
      if (row->prefill_reads.held > 0) {
        audit.notes.push_back(fmt::format(
            "{}: the prompt's queries read {:.1f} % of the tokens that they may leave out", recipe,
            100 * row->prefill_reads.share()));
      }
      audit.recipes.push_back(std::move(*row));
    } else {
      // The others' work is not lost for it.
      audit.notes.push_back(row.status().message());
      if (failure.ok()) failure = std::move(row).status();
    }
  }
  if (audit.recipes.empty() && !failure.ok()) return failure;
  if (options_.heads) KVASIR_RETURN_IF_ERROR(AddHeads(&audit));
  if (options_.baselines) KVASIR_RETURN_IF_ERROR(AddBaselines(&audit));
  KVASIR_RETURN_IF_ERROR(AddTasks(&audit));
  return audit;
}

}  // namespace

Result<Audit> RunAudit(std::shared_ptr<const Model> model, std::span<const TokenId> tokens,
                       const AuditOptions& options, ThreadTeam& team) {
  const int32_t n_ctx = options.n_ctx > 0 ? options.n_ctx : model->spec.n_ctx_train;
  KVASIR_ASSIGN_OR_RETURN(const TeacherForcedText text, SplitText(tokens, n_ctx, options));
  Auditor auditor(std::move(model), text, options, n_ctx, team);
  return auditor.Run();
}

}  // namespace kvasir
