#include <fmt/format.h>

#include <cmath>

#include "kvasir/model/gguf.h"
#include "kvasir/model/hf_config.h"

namespace kvasir {
namespace {

// The `original_max_position_embeddings` of a scaling: phi3 keeps it outside, where it wins.
Result<int32_t> OriginalContext(const JsonFields& text, const JsonFields& parameters,
                                int32_t n_ctx_train) {
  const char* key = "original_max_position_embeddings";
  const JsonFields& holder = text.Has(key) ? text : parameters;
  return holder.Int(key, 1, INT32_MAX, n_ctx_train);
}

// YaRN's temperature, eq. 22 of arXiv:2309.00071, with DeepSeek's weight.
double YarnMagnitude(double factor, double weight) {
  return factor <= 1 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
}

Result<double> YarnAttnFactor(const JsonFields& parameters, double factor) {
  if (parameters.Has("attention_factor")) return parameters.Positive("attention_factor");
  KVASIR_ASSIGN_OR_RETURN(const double mscale, parameters.Number("mscale", 0.0));
  KVASIR_ASSIGN_OR_RETURN(const double all_dim, parameters.Number("mscale_all_dim", 0.0));
  if (mscale == 0 || all_dim == 0) return YarnMagnitude(factor, 1);
  return YarnMagnitude(factor, mscale) / YarnMagnitude(factor, all_dim);
}

Status FillYarn(const JsonFields& parameters, double extension, RopeSpec* rope) {
  KVASIR_ASSIGN_OR_RETURN(const bool truncate, parameters.Bool("truncate", true));
  if (!truncate) {
    return Status::Unsupported(
        fmt::format("{}: false is not supported for yarn", parameters.Where("truncate")));
  }
  rope->scaling = RopeScaling::kYarn;
  KVASIR_ASSIGN_OR_RETURN(rope->factor, parameters.Positive("factor", extension));
  KVASIR_ASSIGN_OR_RETURN(rope->attn_factor, YarnAttnFactor(parameters, rope->factor));
  KVASIR_ASSIGN_OR_RETURN(rope->beta_fast, parameters.Positive("beta_fast", 32.0));
  KVASIR_ASSIGN_OR_RETURN(rope->beta_slow, parameters.Positive("beta_slow", 1.0));
  return Status::Ok();
}

Status FillLlama3(const JsonFields& parameters, RopeSpec* rope) {
  rope->scaling = RopeScaling::kLlama3;
  KVASIR_ASSIGN_OR_RETURN(rope->factor, parameters.Positive("factor"));
  KVASIR_ASSIGN_OR_RETURN(rope->low_freq_factor, parameters.Positive("low_freq_factor"));
  KVASIR_ASSIGN_OR_RETURN(rope->high_freq_factor, parameters.Positive("high_freq_factor"));
  if (rope->high_freq_factor <= rope->low_freq_factor) {
    return Status::Corruption(fmt::format("{}: expected more than low_freq_factor {}, found {}",
                                          parameters.Where("high_freq_factor"),
                                          rope->low_freq_factor, rope->high_freq_factor));
  }
  return Status::Ok();
}

Status FillLongRope(const JsonFields& parameters, double extension, RopeSpec* rope) {
  const size_t n_pair = static_cast<size_t>(rope->n_rot / 2);
  rope->scaling = RopeScaling::kLongRope;
  KVASIR_ASSIGN_OR_RETURN(rope->long_factors, parameters.PositiveFloats("long_factor", n_pair));
  KVASIR_ASSIGN_OR_RETURN(rope->short_factors, parameters.PositiveFloats("short_factor", n_pair));
  KVASIR_ASSIGN_OR_RETURN(rope->factor, parameters.Positive("factor", extension));
  const double derived =
      rope->factor <= 1 || rope->original_context == 1
          ? 1.0
          : std::sqrt(1 + std::log(rope->factor) / std::log(rope->original_context));
  KVASIR_ASSIGN_OR_RETURN(rope->attn_factor, parameters.Positive("attention_factor", derived));
  return Status::Ok();
}

Result<int32_t> RotatedChannels(const JsonFields& text, const JsonFields* parameters,
                                const ModelSpec& spec) {
  const char* key = "partial_rotary_factor";
  const JsonFields& holder = parameters != nullptr && parameters->Has(key) ? *parameters : text;
  KVASIR_ASSIGN_OR_RETURN(const double part, holder.Positive(key, 1.0));
  if (part == 1) return spec.head_dim;
  if (part > 1 || spec.architecture != "phi3") {
    return Status::Unsupported(
        fmt::format("{}: {} is not supported for {}", holder.Where(key), part, spec.architecture));
  }
  const auto n_rot = static_cast<int32_t>(spec.head_dim * part);
  if (n_rot < 2 || n_rot % 2 != 0) {
    return Status::Corruption(
        fmt::format("{}: expected an even number of channels of a head, found {} of {}",
                    holder.Where(key), n_rot, spec.head_dim));
  }
  return n_rot;
}

// "rope_type", in old files "type"; phi3's first files call longrope "su" or "yarn".
Result<std::string> ScalingType(const JsonFields& parameters, const ModelSpec& spec) {
  KVASIR_ASSIGN_OR_RETURN(const std::string old_type, parameters.String("type", "default"));
  KVASIR_ASSIGN_OR_RETURN(std::string type, parameters.String("rope_type", old_type));
  if (spec.architecture == "phi3" && (type == "su" || type == "yarn")) type = "longrope";
  return type;
}

}  // namespace

Result<RopeSpec> ParseHfRope(const JsonFields& text, const JsonFields* parameters, double freq_base,
                             const ModelSpec& spec) {
  RopeSpec rope;
  rope.pairing = RopePairing::kHalves;
  rope.freq_base = freq_base;
  KVASIR_ASSIGN_OR_RETURN(rope.n_rot, RotatedChannels(text, parameters, spec));
  if (parameters == nullptr) return rope;
  KVASIR_ASSIGN_OR_RETURN(rope.freq_base, parameters->Positive("rope_theta", freq_base));
  KVASIR_ASSIGN_OR_RETURN(const std::string type, ScalingType(*parameters, spec));
  if (type == "default") return rope;
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
    KVASIR_ASSIGN_OR_RETURN(rope.factor, parameters->Positive("factor"));
    return rope;
  }
  KVASIR_ASSIGN_OR_RETURN(rope.original_context,
                          OriginalContext(text, *parameters, spec.n_ctx_train));
  const double extension = static_cast<double>(spec.n_ctx_train) / rope.original_context;
  Status status =
      type == "yarn"     ? FillYarn(*parameters, extension, &rope)
      : type == "llama3" ? FillLlama3(*parameters, &rope)
      : type == "longrope"
          ? FillLongRope(*parameters, extension, &rope)
          : Status::Unsupported(fmt::format("{}: \"{}\": expected default, linear, yarn, llama3 "
                                            "or longrope",
                                            parameters->Where("rope_type"), Printable(type)));
  if (!status.ok()) return status;
  return rope;
}

}  // namespace kvasir
