#include "kvasir/policy/policy_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <numeric>
#include <utility>

#include "kvasir/policy/output_norms.h"
#include "kvasir/policy/sealer.h"

namespace kvasir {
namespace {

SignalTap MakeTap(const KvPolicy& policy, ByteLedger* ledger) {
  const CacheShape& shape = policy.target().shape;
  std::vector<bool> watched(static_cast<size_t>(shape.n_layer));
  for (int layer = 0; layer < shape.n_layer; ++layer) watched[layer] = shape.window[layer] == 0;
  const int window =
      policy.scorer != nullptr ? std::max(policy.scorer->window(), policy.budget->window()) : 0;
  return {shape, window, (policy.needs() & kNeedColumnSums) != 0, std::move(watched), ledger};
}

// Tokens over all lists.
int64_t CountHeld(const SequenceCache& cache) {
  int64_t n = 0;
  for (int layer = 0; layer < cache.shape().n_layer; ++layer) {
    for (int h = 0; h < cache.shape().n_kv_head; ++h) n += cache.list(layer, h).n_kv();
  }
  return n;
}

// Of the list with the most dense tokens that wait for a codec.
int64_t MostOpenTokens(const SequenceCache& cache) {
  int64_t n = 0;
  for (int layer = 0; layer < cache.shape().n_layer; ++layer) {
    for (int h = 0; h < cache.shape().n_kv_head; ++h) {
      n = std::max(n, Sealer::OpenTokens(cache.list(layer, h)));
    }
  }
  return n;
}

// The first error of tasks that ran side by side.
Status First(std::vector<Status>& all) {
  for (Status& status : all) KVASIR_RETURN_IF_ERROR(std::move(status));
  return Status::Ok();
}

}  // namespace

// Tokens are counted from `first` on: those before it are settled.
struct PolicyRun::Cell {
  int layer, kv_head;
  HeadRole role;
  int64_t first = 0;
  std::vector<uint8_t> is_protected;
  std::span<const float> score, output;
  int64_t n_protected = 0;
  int64_t budget = 0;
  std::vector<int32_t> kept, evicted;
  bool done = false;  // the list was cut
};

int64_t SignalBytes(const KvPolicy& policy, int64_t n_kv) {
  const auto& window = policy.target().shape.window;
  return std::count(window.begin(), window.end(), 0) *
         MakeTap(policy, nullptr).LayerBytes(n_kv * policy.target().shape.n_head);
}

PolicyRun::PolicyRun(std::shared_ptr<const KvPolicy> policy, const RunResources& resources)
    : policy_(std::move(policy)),
      resources_(resources),
      tap_(MakeTap(*policy_, resources.ledger)),
      scores_(static_cast<size_t>(policy_->target().shape.n_layer)),
      score_charges_(scores_.size()),
      statistics_(scores_.size()),
      disposition_state_(scores_.size() * policy_->target().shape.n_kv_head) {}

PolicyRun::PolicyRun(const PolicyRun& other, SignalTap tap)
    : policy_(other.policy_),
      resources_(other.resources_),
      tap_(std::move(tap)),
      scores_(other.scores_.size()),
      score_charges_(scores_.size()),
      statistics_(other.statistics_),
      disposition_state_(other.disposition_state_),
      tokens_(other.tokens_),
      n_pos_(other.n_pos_),
      decode_steps_(other.decode_steps_),
      cut_pos_(other.cut_pos_),
      n_evicted_(other.n_evicted_) {}

Result<std::unique_ptr<PolicyRun>> PolicyRun::Fork() const {
  KVASIR_ASSIGN_OR_RETURN(SignalTap tap, tap_.Fork());
  return std::unique_ptr<PolicyRun>(new PolicyRun(*this, std::move(tap)));
}

Status PolicyRun::Attach(SequenceCache& cache) {
  const CacheShape& shape = cache.shape();
  for (int i = 0; policy_->streaming_window().recent > 0 && i < shape.n_layer * shape.n_kv_head;
       ++i) {
    const int layer = i / shape.n_kv_head, kv_head = i % shape.n_kv_head;
    if (!Watched(layer) || policy_->role(layer, kv_head) != HeadRole::kProtectedOnly) continue;
    cache.set_head_window(layer, kv_head, policy_->streaming_window());
  }
  cache.set_prefill_mask(policy_->prefill);
  if (!policy_->selects()) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(std::unique_ptr<Selector> selector, policy_->NewSelector(&cache.arena()));
  cache.set_selector(std::move(selector));
  return Status::Ok();
}

void PolicyRun::BeginChunk(RunPhase phase, std::span<const TokenId> tokens,
                           bool last_prefill_chunk) {
  phase_ = phase;
  last_chunk_ = last_prefill_chunk;
  n_chunk_ = static_cast<int>(tokens.size());
  n_pos_ += n_chunk_;
  if ((policy_->needs() & kNeedTokens) != 0) {
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  }
}

bool PolicyRun::WantsNorms(int layer) const {
  return phase_ == RunPhase::kReplay ? Watched(layer) : tap_.WantsNorms(layer);
}

int PolicyRun::NormRows(int /*layer*/) const {
  return phase_ == RunPhase::kReplay ? INT32_MAX : tap_.NormRows();
}

bool PolicyRun::wants_replay() const {
  return (policy_->needs() & kNeedReplay) != 0 && phase_ == RunPhase::kPrefill && last_chunk_ &&
         CutIsDue();
}

Status PolicyRun::Replay(std::span<const TokenId> prompt, ForwardPass& forward,
                         SequenceCache& cache) {
  constexpr size_t kLeastPart = 64;  // of a prompt that has as many
  const ReplayQuestion& question = resources_.replay_question;
  const auto room = static_cast<size_t>(std::max(0, forward.n_ctx() - cache.next_angle()));
  if (room < question.max_size() + std::min(kLeastPart, prompt.size())) {
    return Status::InvalidArgument(fmt::format(
        "kv recipe '{}': the prompt is read twice, which takes room for {} positions; {} of {} "
        "(n_ctx) are taken",
        policy_->recipe().ToString(), question.max_size() + std::min(kLeastPart, prompt.size()),
        cache.next_angle(), forward.n_ctx()));
  }
  const size_t part = std::min<size_t>(policy_->scorer->replay_part(), room - question.max_size());
  KVASIR_RETURN_IF_ERROR(replay_.Begin(cache, *resources_.ledger));
  const RunPhase phase = std::exchange(phase_, RunPhase::kReplay);
  // Scores are of all that the prompt's second reading sees.
  cache.set_prefill_mask(nullptr);
  Status status;
  for (size_t first = 0; status.ok() && first < prompt.size(); first += part) {
    const size_t end = std::min(first + part, prompt.size());
    status = replay_.BeginPart(static_cast<int32_t>(first), static_cast<int32_t>(end),
                               resources_.team->size(), *resources_.ledger);
    if (!status.ok()) break;
    status = ReplayPart(ReplayText(question, prompt, first, end), forward, cache);
  }
  phase_ = phase;
  cache.set_prefill_mask(policy_->prefill);
  return status;
}

Status PolicyRun::ReplayPart(std::span<const TokenId> tokens, ForwardPass& forward,
                             SequenceCache& cache) {
  // Layers with windows let tokens go that a rewind would need.
  std::unique_ptr<SequenceCache> fork;
  if (std::ranges::any_of(cache.shape().window, [](int32_t w) { return w > 0; })) {
    KVASIR_ASSIGN_OR_RETURN(fork, cache.Fork());
  }
  SequenceCache& replayed = fork != nullptr ? *fork : cache;
  const int32_t n_pos = cache.n_pos();
  Status status;
  while (status.ok() && !tokens.empty()) {
    const size_t n = std::min(tokens.size(), static_cast<size_t>(forward.max_chunk()));
    status = forward.Run(tokens.first(n), replayed, LogitsWanted::kNone, {}, this);
    tokens = tokens.subspan(n);
  }
  if (fork == nullptr) KVASIR_RETURN_IF_ERROR(cache.Truncate(n_pos));
  return status;
}

Status PolicyRun::AfterAttend(int layer, const LayerQueries& queries, SequenceCache& cache) {
  if (phase_ == RunPhase::kReplay) {
    if (!Watched(layer)) return Status::Ok();
    return replay_.Observe(layer, queries, cache, *resources_.team, *resources_.workspace);
  }
  KVASIR_RETURN_IF_ERROR(
      tap_.Observe(layer, queries, cache, *resources_.team, *resources_.workspace));
  if (!policy_->evicts() || !policy_->schedule->each_layer()) return Status::Ok();
  if (phase_ != RunPhase::kPrefill || !last_chunk_ || !Watched(layer)) return Status::Ok();
  if (Fits(cache, layer + 1)) return Status::Ok();
  KVASIR_RETURN_IF_ERROR(ScoreLayer(layer, cache));
  return Cut(layer + 1, cache);
}

Status PolicyRun::EndChunk(SequenceCache& cache) {
  if (phase_ == RunPhase::kReplay) return Status::Ok();
  if (phase_ == RunPhase::kDecode) decode_steps_ += n_chunk_;
  const bool cuts = CutIsDue();
  if (cuts) decode_steps_ = 0;
  const bool evicts = cuts && !Fits(cache, cache.shape().n_layer);
  // Evict before sealing.
  bool seals = !policy_->evicts() || phase_ == RunPhase::kDecode || last_chunk_ ||
               policy_->schedule->each_chunk();
  // Scores for the codec's sake are not made at every token.
  if (phase_ == RunPhase::kDecode && policy_->seals_by_importance()) {
    seals = n_pos_ % kTileTokens == 0;
  }
  if (evicts || (seals && policy_->seals_by_importance())) {
    for (int layer = 0; layer < cache.shape().n_layer; ++layer) {
      if (Watched(layer)) KVASIR_RETURN_IF_ERROR(ScoreLayer(layer, cache));
    }
  }
  if (evicts) KVASIR_RETURN_IF_ERROR(Cut(cache.shape().n_layer, cache));
  const Status sealed = seals ? Seal(cache) : Status::Ok();
  DropScores();
  replay_.Reset();
  return sealed;
}

bool PolicyRun::CutIsDue() const {
  if (!policy_->evicts()) return false;
  const Schedule& schedule = *policy_->schedule;
  if (phase_ == RunPhase::kDecode) {
    return schedule.decode_every() > 0 && decode_steps_ >= schedule.decode_every();
  }
  return schedule.each_chunk() ||
         (last_chunk_ && schedule.at_prefill_end() && !schedule.each_layer());
}

// Layers from `first_pending` on are yet to take the chunk.
bool PolicyRun::Fits(const SequenceCache& cache, int first_pending) const {
  if (policy_->scorer == nullptr || !policy_->keep->fills_budget()) return false;
  int64_t held = 0, n_cell = 0;
  for (int layer = 0; layer < cache.shape().n_layer; ++layer) {
    if (!Watched(layer)) continue;
    for (int kv_head = 0; kv_head < cache.shape().n_kv_head; ++kv_head) {
      const HeadRole role = policy_->role(layer, kv_head);
      if (role == HeadRole::kProtectedOnly) return false;
      if (role == HeadRole::kWhole) continue;
      held += cache.list(layer, kv_head).n_kv() - Settled(layer, kv_head) +
              (layer >= first_pending ? n_chunk_ : 0);
      ++n_cell;
    }
  }
  return held <= policy_->budget->amount().Of(n_pos_) * n_cell;
}

std::vector<uint8_t> PolicyRun::Protected(const SegmentList& list) const {
  const std::vector<int32_t> pos = list.AllPositions();
  std::vector<uint8_t> flags(pos.size());
  for (size_t i = 0; i < pos.size(); ++i) {
    flags[i] = pos[i] >= n_pos_ - policy_->protected_recent();
  }
  const ProtectInput input = {pos, n_pos_, tokens_, &policy_->target().is_special};
  for (const auto& protector : policy_->protectors) protector->Mark(input, flags);
  return flags;
}

void PolicyRun::DropScores() {
  for (LayerScores& scores : scores_) LayerScores().swap(scores);
  for (ByteCharge& charge : score_charges_) charge.Reset();
}

Status PolicyRun::ScoreLayer(int layer, const SequenceCache& cache) {
  if (policy_->scorer == nullptr) return Status::Ok();
  const CacheShape& shape = cache.shape();
  const Scorer& scorer = *policy_->scorer;
  const ScoreContext context = {layer, &cache, &tap_, n_pos_, &replay_};
  LayerScores scores(static_cast<size_t>(shape.n_kv_head));
  // Rows of query heads, the reduced row, and the shaped one.
  const int n_row = scorer.per_query_head() ? shape.group() : 1;
  int64_t n_held = 0;
  for (int kv_head = 0; kv_head < shape.n_kv_head; ++kv_head) {
    n_held += cache.list(layer, kv_head).n_kv();
  }
  constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
  LayerScores().swap(scores_[layer]);
  score_charges_[layer].Reset();
  KVASIR_ASSIGN_OR_RETURN(const ByteCharge working, ChargeScratch((n_row + 1) * n_held * kFloat));
  const int n_kept_row = (policy_->needs() & kNeedOutput) != 0 ? 2 : 1;
  KVASIR_ASSIGN_OR_RETURN(score_charges_[layer], ChargeScratch(n_kept_row * n_held * kFloat));
  std::vector<Status> status(scores.size());
  resources_.team->Run(shape.n_kv_head, [&](int64_t task, int thread) {
    const int kv_head = static_cast<int>(task);
    if (policy_->role(layer, kv_head) != HeadRole::kScored) return;
    scores[task] = HeadScores(n_row, cache.list(layer, kv_head).n_kv());
    status[task] =
        scorer.Score(context, kv_head, resources_.workspace->thread(thread), &scores[task]);
  });
  KVASIR_RETURN_IF_ERROR(First(status));
  KVASIR_RETURN_IF_ERROR(policy_->reducer->Reduce(&scores));
  for (int kv_head = 0; kv_head < shape.n_kv_head; ++kv_head) {
    HeadScores& head = scores[kv_head];
    // Newest tokens without a fair score must not colour their neighbours.
    const int64_t n_settled = std::min(head.n, Settled(layer, kv_head));
    int64_t n_judged = head.n;
    const SegmentList& list = cache.list(layer, kv_head);
    while (n_judged > n_settled && list.pos(n_judged - 1) >= n_pos_ - policy_->protected_recent()) {
      --n_judged;
    }
    std::vector<float> shaped(static_cast<size_t>(n_judged - n_settled));
    policy_->shaper->Shape(head.row(0).subspan(n_settled, shaped.size()), shaped);
    std::copy(shaped.begin(), shaped.end(), head.at.begin() + n_settled);
  }
  if ((policy_->needs() & kNeedOutput) != 0) {
    KVASIR_RETURN_IF_ERROR(MeasureOutputs(layer, cache, &scores));
  }
  KVASIR_ASSIGN_OR_RETURN(
      statistics_[layer],
      policy_->budget->Observe(context, scores, resources_.workspace->thread(0)));
  scores_[layer] = std::move(scores);
  return Status::Ok();
}

Status PolicyRun::MeasureOutputs(int layer, const SequenceCache& cache, LayerScores* scores) {
  const PolicyTarget& target = policy_->target();
  KVASIR_ASSIGN_OR_RETURN(const ByteCharge scratch,
                          ChargeScratch(resources_.team->size() * OutputNormsBytes(target)));
  std::vector<Status> status(scores->size());
  resources_.team->Run(static_cast<int64_t>(scores->size()), [&](int64_t task, int) {
    const int kv_head = static_cast<int>(task);
    if (policy_->role(layer, kv_head) != HeadRole::kScored) return;
    const SegmentList& list = cache.list(layer, kv_head);
    std::vector<float>& output = (*scores)[task].output;
    output.resize(static_cast<size_t>(list.n_kv()));
    status[task] = OutputNorms(target, layer, kv_head, list, output);
  });
  return First(status);
}

std::vector<PolicyRun::Cell> PolicyRun::Cells(int n_layer, const SequenceCache& cache) const {
  std::vector<Cell> cells;
  for (int layer = 0; layer < n_layer; ++layer) {
    for (int kv_head = 0; Watched(layer) && kv_head < cache.shape().n_kv_head; ++kv_head) {
      Cell cell = {};
      cell.layer = layer;
      cell.kv_head = kv_head;
      cell.role = policy_->role(layer, kv_head);
      if (cell.role == HeadRole::kWhole) continue;
      cell.first = Settled(layer, kv_head);
      cell.is_protected = Protected(cache.list(layer, kv_head));
      cell.is_protected.erase(cell.is_protected.begin(), cell.is_protected.begin() + cell.first);
      cell.n_protected = std::count(cell.is_protected.begin(), cell.is_protected.end(), uint8_t{1});
      if (cell.role == HeadRole::kScored) {
        const HeadScores& scores = scores_[layer][kv_head];
        cell.score = std::span<const float>(scores.at).subspan(cell.first);
        if (!scores.output.empty()) {
          cell.output = std::span<const float>(scores.output).subspan(cell.first);
        }
      } else {
        cell.budget = cell.n_protected;
      }
      cells.push_back(std::move(cell));
    }
  }
  return cells;
}

Status PolicyRun::Allot(int n_layer, std::vector<Cell>* cells) const {
  std::vector<Cell*> scored;
  for (Cell& cell : *cells) {
    if (cell.role == HeadRole::kScored) scored.push_back(&cell);
  }
  if (scored.empty()) return Status::Ok();
  std::vector<BudgetCell> budget_cells;
  std::vector<int64_t> floors, ceilings;
  for (const Cell* cell : scored) {
    floors.push_back(cell->n_protected);
    ceilings.push_back(static_cast<int64_t>(cell->is_protected.size()));
    budget_cells.push_back({cell->layer, cell->kv_head, floors.back(), ceilings.back()});
  }
  // Until the last layer is there, the first ones share what all will have.
  int64_t n_cell = static_cast<int64_t>(scored.size());
  for (int layer = n_layer; layer < policy_->target().shape.n_layer; ++layer) {
    for (int kv_head = 0; Watched(layer) && kv_head < policy_->target().shape.n_kv_head;
         ++kv_head) {
      n_cell += policy_->role(layer, kv_head) == HeadRole::kScored;
    }
  }
  BudgetInput input;
  input.shape = &policy_->target().shape;
  input.cells = budget_cells;
  const Amount amount = policy_->budget->amount();
  input.mean = static_cast<double>(amount.Of(n_pos_));
  input.total = amount.Of(n_pos_) * n_cell;
  // A share of a short text may be less than what always stays; a number of tokens is a promise.
  if (amount.tokens < 0) {
    input.total = std::max(input.total, std::accumulate(floors.begin(), floors.end(), int64_t{0}));
  }
  input.layer_statistic = statistics_;
  std::vector<double> weights(scored.size());
  policy_->budget->Weights(input, weights);
  auto budgets = Apportion(weights, input.total, floors, ceilings);
  if (!budgets.ok()) {
    return std::move(budgets).status().WithContext(
        fmt::format("kv recipe '{}'", policy_->recipe().ToString()));
  }
  for (size_t i = 0; i < scored.size(); ++i) scored[i]->budget = (*budgets)[i];
  return Status::Ok();
}

void PolicyRun::Choose(std::vector<Cell>* cells) const {
  std::vector<Cell*> together;
  const auto decide = [&] {
    if (together.empty()) return;
    std::vector<KeepCell> keep_cells;
    for (const Cell* cell : together) {
      keep_cells.push_back({cell->score, cell->is_protected, cell->budget, cell->output});
    }
    auto kept = policy_->keep->Select(keep_cells);
    for (size_t i = 0; i < kept.size(); ++i) together[i]->kept = std::move(kept[i]);
    together.clear();
  };
  const KeepScope scope = policy_->keep == nullptr ? KeepScope::kHead : policy_->keep->scope();
  for (Cell& cell : *cells) {
    if (cell.role == HeadRole::kScored) {
      const bool apart =
          scope == KeepScope::kHead ||
          (scope == KeepScope::kLayer && !together.empty() && together.back()->layer != cell.layer);
      if (apart) decide();
      together.push_back(&cell);
    } else {
      for (size_t i = 0; i < cell.is_protected.size(); ++i) {
        if (cell.is_protected[i]) cell.kept.push_back(static_cast<int32_t>(i));
      }
    }
  }
  decide();
  for (Cell& cell : *cells) {
    auto next = cell.kept.begin();
    for (int32_t i = 0; i < static_cast<int32_t>(cell.is_protected.size()); ++i) {
      if (next != cell.kept.end() && *next == i) {
        ++next;
      } else {
        assert(!cell.is_protected[i]);
        cell.evicted.push_back(i);
      }
    }
  }
}

Status PolicyRun::Dispose(Cell& cell, SequenceCache& cache) {
  SegmentList& list = cache.list(cell.layer, cell.kv_head);
  for (auto* indices : {&cell.kept, &cell.evicted}) {
    for (int32_t& i : *indices) i += static_cast<int32_t>(cell.first);
  }
  CutInput input;
  input.layer = cell.layer;
  input.kv_head = cell.kv_head;
  input.list = &list;
  input.kept = cell.kept;
  input.evicted = cell.evicted;
  if (cell.role == HeadRole::kScored) input.score = scores_[cell.layer][cell.kv_head].at;
  input.arena = &cache.arena();
  input.rope = resources_.rope ? resources_.rope(cell.layer) : nullptr;
  std::vector<float>& state = disposition_state_[ListIndex(cell.layer, cell.kv_head)];
  KVASIR_ASSIGN_OR_RETURN(ListContents contents, policy_->disposition->Cut(input, &state));
  list.Replace(std::move(contents.sealed), std::move(contents.tail));
  const int64_t n_settled = policy_->disposition->n_settled(state);
  tap_.Cut(cell.layer, cell.kv_head, cell.kept, n_settled);
  cell.done = true;
  if (cell.role == HeadRole::kScored) {
    HeadScores& scores = scores_[cell.layer][cell.kv_head];
    HeadScores left(1, n_settled + static_cast<int64_t>(cell.kept.size()));
    left.output.resize(scores.output.empty() ? 0 : left.at.size());
    for (size_t i = 0; i < cell.kept.size(); ++i) {
      left.at[n_settled + i] = scores.at[cell.kept[i]];
      if (!left.output.empty()) left.output[n_settled + i] = scores.output[cell.kept[i]];
    }
    scores = std::move(left);
  }
  if (cache.selector() == nullptr || policy_->renumbers()) return Status::Ok();
  return cache.selector()->Rebuild(cell.layer, cell.kv_head, list);
}

Result<std::optional<Renumbering>> PolicyRun::PlanRenumbering(const SequenceCache& cache) const {
  std::optional<Renumbering> plan;
  if (policy_->renumbers()) {
    KVASIR_ASSIGN_OR_RETURN(plan, Renumbering::Prepare(cache, resources_.rope));
  }
  return plan;
}

Status PolicyRun::CloseHoles(std::optional<Renumbering> plan, SequenceCache& cache) {
  if (!plan.has_value()) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(const int32_t moved, std::move(*plan).Apply(*resources_.team, cache));
  for (int layer = 0; layer < cache.shape().n_layer; ++layer) {
    if (!Watched(layer)) continue;
    KVASIR_RETURN_IF_ERROR(tap_.Turn(layer, *resources_.rope(layer), moved));
    for (int kv_head = 0; cache.selector() != nullptr && kv_head < cache.shape().n_kv_head;
         ++kv_head) {
      KVASIR_RETURN_IF_ERROR(cache.selector()->Rebuild(layer, kv_head, cache.list(layer, kv_head)));
    }
  }
  return Status::Ok();
}

Status PolicyRun::Cut(int n_layer, SequenceCache& cache) {
  // Flags, indices and turns of the tokens of all lists, and the rows that are copied at a time.
  constexpr int64_t kTokenBytes = 1 + 4 * static_cast<int64_t>(sizeof(int32_t)), kRows = 2 * 256;
  const int64_t n_thread = resources_.team->size();
  KVASIR_ASSIGN_OR_RETURN(
      const ByteCharge scratch,
      ChargeScratch(CountHeld(cache) * kTokenBytes +
                    n_thread * kRows * cache.shape().head_dim * int64_t{sizeof(float)}));
  std::vector<Cell> cells = Cells(n_layer, cache);
  KVASIR_RETURN_IF_ERROR(Allot(n_layer, &cells));
  Choose(&cells);
  std::erase_if(cells, [](const Cell& cell) { return cell.evicted.empty(); });
  if (cells.empty()) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(std::optional<Renumbering> renumbering, PlanRenumbering(cache));
  cut_pos_ = n_pos_;
  std::vector<Status> status(cells.size());
  resources_.team->Run(static_cast<int64_t>(cells.size()),
                       [&](int64_t i, int) { status[i] = Dispose(cells[i], cache); });
  for (const Cell& cell : cells) {
    if (!cell.done) continue;
    n_evicted_ += static_cast<int64_t>(cell.evicted.size());
    if (renumbering.has_value()) renumbering->Cut(cell.layer, cell.kv_head, cell.kept);
  }
  // What was cut is numbered anew even if a head could not be.
  const Status closed = CloseHoles(std::move(renumbering), cache);
  KVASIR_RETURN_IF_ERROR(First(status));
  return closed;
}

namespace {

// Brings the summaries of keys that sealing changed in line with what attention will read.
//   from  the first token that is read otherwise than before
Status Resummarise(int layer, int kv_head, int64_t from, Selector& selector,
                   const SegmentList& list) {
  constexpr int64_t kBlock = 256;  // tokens rebuilt at a time
  if (from == list.n_kv()) return Status::Ok();
  from = from / kTileTokens * kTileTokens;  // a page is summed up anew as a whole
  const bool biased = std::ranges::any_of(
      list.sealed(), [](const auto& segment) { return segment->bias() != nullptr; });
  if (from == 0 || biased) return selector.Rebuild(layer, kv_head, list);
  selector.OnTruncate(layer, kv_head, from);
  const int d = list.tail().head_dim();
  std::vector<float> k(static_cast<size_t>(kBlock * d)), v(k.size());
  for (int64_t begin = from; begin < list.n_kv(); begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, list.n_kv());
    KVASIR_RETURN_IF_ERROR(list.Decode(begin, end, k.data(), v.data()));
    KVASIR_RETURN_IF_ERROR(selector.OnAppend(layer, kv_head, begin, end - begin, k.data(), d));
  }
  return Status::Ok();
}

}  // namespace

Status PolicyRun::Seal(SequenceCache& cache) {
  if (!policy_->seals()) return Status::Ok();
  const CacheShape& shape = cache.shape();
  const Sealer sealer(policy_->codec_k, policy_->codec_v);
  KVASIR_ASSIGN_OR_RETURN(
      const ByteCharge scratch,
      ChargeScratch(resources_.team->size() *
                    Sealer::ScratchBytes(MostOpenTokens(cache), shape.head_dim)));
  std::vector<Status> status(static_cast<size_t>(shape.n_layer) * shape.n_kv_head);
  resources_.team->Run(static_cast<int64_t>(status.size()), [&](int64_t i, int) {
    const int layer = static_cast<int>(i) / shape.n_kv_head;
    const int kv_head = static_cast<int>(i) % shape.n_kv_head;
    if (!Watched(layer)) return;
    SegmentList& list = cache.list(layer, kv_head);
    Sealer::Place place = {
        layer, kv_head, resources_.rope ? resources_.rope(layer) : nullptr, &cache.arena(), {}, {}};
    place.joins = !policy_->evicts() && !policy_->makes_room();
    if (policy_->renumbers()) {
      place.first_angle = cache.next_angle() - static_cast<int32_t>(list.n_kv());
    }
    if (!scores_[layer].empty() && scores_[layer][kv_head].n == list.n_kv()) {
      place.importance = scores_[layer][kv_head].at;
    }
    // A head that is not scored stays dense.
    if (policy_->seals_by_importance() && place.importance.empty()) return;
    const Result<int64_t> changed = sealer.Seal(place, list);
    if (!changed.ok()) {
      status[i] = changed.status();
    } else if (cache.selector() != nullptr) {
      status[i] = Resummarise(layer, kv_head, *changed, *cache.selector(), list);
    }
  });
  return First(status);
}

Result<bool> PolicyRun::MakeRoom(SequenceCache& cache) {
  KVASIR_ASSIGN_OR_RETURN(const bool gave,
                          GiveUp(
                              [&](const SegmentList& list, std::vector<int32_t>* kept) {
                                if (AfterMakingRoom(list.n_kv()) < list.n_kv()) {
                                  return policy_->overflow->Choose(list, kept);
                                }
                                kept->resize(static_cast<size_t>(list.n_kv()));
                                return Status::Ok();
                              },
                              cache));
  if (gave) cut_pos_ = n_pos_;
  return gave;
}

Status PolicyRun::Forget(int32_t begin, int32_t end, SequenceCache& cache) {
  return GiveUp(
             [&](const SegmentList& list, std::vector<int32_t>* kept) {
               const std::vector<int32_t> pos = list.AllPositions();
               for (size_t i = 0; i < pos.size(); ++i) {
                 if (pos[i] < begin || pos[i] >= end) kept->push_back(static_cast<int32_t>(i));
               }
               return Status::Ok();
             },
             cache)
      .status();
}

Result<bool> PolicyRun::GiveUp(const ChooseKept& choose, SequenceCache& cache) {
  KVASIR_ASSIGN_OR_RETURN(std::optional<Renumbering> renumbering, PlanRenumbering(cache));
  Renumbering* const plan = renumbering.has_value() ? &*renumbering : nullptr;
  Status status;
  bool gave = false;
  for (int layer = 0; layer < cache.shape().n_layer; ++layer) {
    for (int kv_head = 0; Watched(layer) && kv_head < cache.shape().n_kv_head; ++kv_head) {
      std::vector<int32_t> kept;
      if (status.ok()) status = choose(cache.list(layer, kv_head), &kept);
      const auto n_kept = static_cast<int64_t>(kept.size());
      if (!status.ok() || n_kept == cache.list(layer, kv_head).n_kv()) continue;
      status = KeepOnly(layer, kv_head, kept, plan, cache);
      gave = gave || status.ok();
    }
  }
  // Lists that were cut are numbered anew even if others could not be.
  const Status closed = gave ? CloseHoles(std::move(renumbering), cache) : Status::Ok();
  KVASIR_RETURN_IF_ERROR(std::move(status));
  KVASIR_RETURN_IF_ERROR(closed);
  return gave;
}

Status PolicyRun::KeepOnly(int layer, int kv_head, std::span<const int32_t> kept,
                           Renumbering* renumbering, SequenceCache& cache) {
  SegmentList& list = cache.list(layer, kv_head);
  KVASIR_ASSIGN_OR_RETURN(ListContents contents, GatherKept(list, kept, cache.arena()));
  n_evicted_ += list.n_kv() - static_cast<int64_t>(kept.size());
  list.Replace(std::move(contents.sealed), std::move(contents.tail));
  tap_.Cut(layer, kv_head, kept, 0);
  if (renumbering != nullptr) {
    renumbering->Cut(layer, kv_head, kept);
    return Status::Ok();
  }
  return cache.selector() == nullptr ? Status::Ok()
                                     : cache.selector()->Rebuild(layer, kv_head, list);
}

int32_t PolicyRun::rewind_floor() const { return std::max(cut_pos_, tap_.rewind_floor()); }

void PolicyRun::Truncate(const SequenceCache& cache, int32_t pos) {
  n_pos_ = std::min(n_pos_, pos);
  tap_.Truncate(cache, pos);
  if (tokens_.size() > static_cast<size_t>(pos)) tokens_.resize(static_cast<size_t>(pos));
  DropScores();
  if (pos > 0) return;
  cut_pos_ = 0;
  decode_steps_ = 0;
  for (auto& state : disposition_state_) state.clear();
}

}  // namespace kvasir
