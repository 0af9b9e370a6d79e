#include "kvasir/engine/runtime.h"

#include <algorithm>

#include "kvasir/core/process_memory.h"
#include "kvasir/model/striped_weights.h"

namespace kvasir {

int64_t ProcessBytesBeside(const Model& model) {
  constexpr int64_t kFloatsPerVocabularyEntry = 8;  // logits, candidates, probabilities
  // Pages of the program that loading has not touched, stacks of threads, text and token lists.
  constexpr int64_t kRun = int64_t{4} << 20;
  int64_t bytes = kRun + model.spec.n_vocab * kFloatsPerVocabularyEntry * int64_t{sizeof(float)};
  // Small tensors are read from the file, and bring back pages around them that were let go: 25 MiB
  // of 1.1 GB were seen.
  bytes += static_cast<int64_t>(model.weight_bytes) / 28;
  if (const Result<ProcessMemory> now = ReadProcessMemory(); now.ok()) {
    const auto weights = static_cast<int64_t>(model.weight_bytes);
    bytes +=
        now->anonymous - StripedWeights::HeldBytes() + std::max<int64_t>(0, now->file - weights);
  }
  return bytes;
}

int64_t RoomSlack(int64_t memory_limit) {
  return std::clamp(memory_limit / 8, int64_t{1} << 20, int64_t{8} << 20);
}

Result<std::unique_ptr<Runtime>> Runtime::Create(std::shared_ptr<const Model> model,
                                                 const RuntimeOptions& options, ThreadTeam& team) {
  std::unique_ptr<Runtime> runtime(new Runtime(std::move(model), options));
  const Model& m = *runtime->model_;
  ByteLedger& ledger = runtime->ledger_;
  KVASIR_ASSIGN_OR_RETURN(runtime->weights_, ByteCharge::Take(ledger, ByteKind::kWeights,
                                                              StripedWeights::WeightBytes(m)));
  KVASIR_ASSIGN_OR_RETURN(runtime->process_,
                          ByteCharge::Take(ledger, ByteKind::kOther, options.process_bytes));
  KVASIR_ASSIGN_OR_RETURN(runtime->forward_, ForwardPass::Create(runtime->model_, options.n_ctx,
                                                                 options.n_ubatch, team, ledger));
  runtime->forward_->SettleWeights();  // what runs here is compared by its time too
  runtime->replay_question_ = MakeReplayQuestion(*m.tokenizer);
  return runtime;
}

PolicyTarget Runtime::Target() {
  PolicyTarget target;
  target.shape = CacheShapeOf(model_->spec);
  target.is_special = [model = model_](TokenId id) {
    return model->tokenizer->TokenBytes(id).empty();
  };
  target.fingerprint = ModelFingerprint(*model_);
  target.n_embd = model_->spec.n_embd;
  target.output_rows = [this](int layer, int64_t first, int64_t n, float* rows) {
    forward_->OutputRows(layer, first, n, rows);
  };
  target.probe_heads = [this, is_special = target.is_special] {
    // Enough for a repeat to lie far back; longer ones cost more than they tell.
    constexpr int32_t kPeriod = 512;
    return ProbeHeads(*forward_, arena_, {.period = kPeriod, .text = {}, .is_special = is_special});
  };
  return target;
}

}  // namespace kvasir
