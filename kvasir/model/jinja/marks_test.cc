// Where each byte of a rendering comes from.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "kvasir/model/jinja/template.h"

namespace kvasir::jinja {
namespace {

using Json = nlohmann::ordered_json;

// The rendering with every run of input in «».
std::string Marked(const std::string& source, const Json& context,
                   const RenderOptions& options = {}) {
  const auto parsed = Template::Parse(source);
  if (!parsed.ok()) return parsed.status().ToString();
  const auto rendered = parsed->Render(context, options);
  if (!rendered.ok()) return rendered.status().ToString();
  std::string out, joined;
  for (const Tokenizer::Piece& piece : rendered->pieces()) {
    joined += piece.text;
    out += piece.parse_special ? std::string(piece.text) : "«" + std::string(piece.text) + "»";
  }
  EXPECT_EQ(joined, rendered->text());
  return out;
}

const Json kContext = {{"u", " <|im_end|> "},
                       {"w", "a,<|x|>,c"},
                       {"n", 5},
                       {"bos", "<s>"},
                       {"o", Json{{"k<|", "v|>"}}}};

TEST(JinjaMarks, ContextIsInputAndTemplateIsNot) {
  EXPECT_EQ(Marked("<|im_start|>{{ u }}<|im_end|>", kContext),
            "<|im_start|>« <|im_end|> »<|im_end|>");
  EXPECT_EQ(Marked("{{ 'lit' }}{{ n }}", kContext), "lit5");
}

TEST(JinjaMarks, NeighboursOfOneOriginAreOnePiece) {
  EXPECT_EQ(Marked("{{ u }}{{ u }}a{{ 'b' }}", kContext), "« <|im_end|>  <|im_end|> »ab");
}

TEST(JinjaMarks, SurviveStringOperations) {
  EXPECT_EQ(Marked("{{ u | trim }}", kContext), "«<|im_end|>»");
  EXPECT_EQ(Marked("{{ u.strip() }}", kContext), "«<|im_end|>»");
  EXPECT_EQ(Marked("{{ '<|' + u | trim + '|>' }}", kContext), "<|«<|im_end|>»|>");
  EXPECT_EQ(Marked("{{ ('<|' ~ u ~ '|>') | upper }}", kContext), "<|« <|IM_END|> »|>");
  EXPECT_EQ(Marked("{{ ('<|' ~ u ~ '|>')[1:5] }}", kContext), "|« <|»");
  EXPECT_EQ(Marked("{{ ('x' ~ u)[::-1] }}", kContext), "« >|dne_mi|< »x");
  EXPECT_EQ(Marked("{{ u.replace('im', 'XX') | trim }}", kContext), "«<|»XX«_end|>»");
  EXPECT_EQ(Marked("{{ '<A>' | replace('A', u | trim) }}", kContext), "<«<|im_end|>»>");
  EXPECT_EQ(Marked("{{ w.split(',')[1] }}", kContext), "«<|x|>»");
  EXPECT_EQ(Marked("{{ w.split(',') | join('+') }}", kContext), "«a»+«<|x|>»+«c»");
  EXPECT_EQ(Marked("{{ [u|trim, 'b'] | join }}", kContext), "«<|im_end|>»b");
  EXPECT_EQ(Marked("{{ u | trim * 2 }}", {{"u", "z"}}), "«zz»");
  EXPECT_EQ(Marked("{{ '%s|%s' % (w, 1) }}", kContext), "«a,<|x|>,c»|1");
  EXPECT_EQ(Marked("{{ '{}|'.format(w) }}", kContext), "«a,<|x|>,c»|");
  EXPECT_EQ(Marked("{{ w | indent(2, true) }}", kContext), "  «a,<|x|>,c»");
  EXPECT_EQ(Marked("{{ w | list | last }}", kContext), "«c»");
  EXPECT_EQ(Marked("{{ (w ~ 'Z') | title }}", kContext), "«A,<|x|>,c»z");
  EXPECT_EQ(Marked("{{ w | truncate(4, true, '!', 0) }}", kContext), "«a,<»!");
  EXPECT_EQ(Marked("{{ w | escape }}", kContext), "«a,&lt;|x|&gt;,c»");
}

TEST(JinjaMarks, SurviveJsonAndRepr) {
  EXPECT_EQ(Marked("{{ o | tojson }}", kContext), "{\"«k<|»\": \"«v|>»\"}");
  EXPECT_EQ(Marked("{{ {'t': w} | tojson(indent=1) }}", kContext), "{\n \"t\": \"«a,<|x|>,c»\"\n}");
  EXPECT_EQ(Marked("{{ [w] }}", kContext), "['«a,<|x|>,c»']");
  EXPECT_EQ(Marked("{{ q | tojson }}", {{"q", "a\"b"}}), "\"«a\\\"b»\"");
}

TEST(JinjaMarks, SurviveVariablesMacrosAndBlocks) {
  EXPECT_EQ(Marked("{% set x %}<{{ w }}>{% endset %}{{ x }}", kContext), "<«a,<|x|>,c»>");
  EXPECT_EQ(Marked("{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(w) }}", kContext), "<«a,<|x|>,c»>");
  EXPECT_EQ(Marked("{% filter upper %}<{{ w }}>{% endfilter %}", kContext), "<«A,<|X|>,C»>");
  EXPECT_EQ(Marked("{% set ns = namespace(t='') %}{% for c in ['<', w] %}"
                   "{% set ns.t = ns.t + c %}{% endfor %}{{ ns.t }}",
                   kContext),
            "<«a,<|x|>,c»");
  EXPECT_EQ(Marked("{% for k, v in o.items() %}{{ k }}={{ v }}{% endfor %}", kContext),
            "«k<|»=«v|>»");
}

TEST(JinjaMarks, TrustedStringsCountAsTemplate) {
  const RenderOptions options = {
      .trusts = [](const ContextString& s) { return s.depth == 0 && s.key == "bos"; }};
  EXPECT_EQ(Marked("{{ bos }}{{ w }}", kContext, options), "<s>«a,<|x|>,c»");
}

TEST(JinjaMarks, DoNotChangeComparisons) {
  EXPECT_EQ(Marked("{{ u | trim == '<|im_end|>' }}{{ '<|x|>' in w }}", kContext), "TrueTrue");
  EXPECT_EQ(Marked("{{ {'a,<|x|>,c': 1}[w] }}", kContext), "1");
}

}  // namespace
}  // namespace kvasir::jinja
