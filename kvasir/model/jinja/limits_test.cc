// No template hangs, exhausts memory or overflows the stack; errors say where and what.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "kvasir/model/jinja/template.h"

namespace kvasir::jinja {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;

Status Outcome(const std::string& source, const RenderOptions& options = {},
               const Json& context = Json::object()) {
  const auto parsed = Template::Parse(source);
  if (!parsed.ok()) return parsed.status();
  const auto rendered = parsed->Render(context, options);
  return rendered.ok() ? Status::Ok() : rendered.status();
}

std::string Times(const std::string& s, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += s;
  return out;
}

// A hostile template must fail, and within seconds: of the processor, since a busy machine, and all
// the more a sanitized build on one, may keep the test waiting for longer.
void ExpectRefused(const std::string& source) {
  const std::clock_t start = std::clock();
  const Status status = Outcome(source);
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_FALSE(status.ok()) << source.substr(0, 200);
  EXPECT_LT(seconds, 30.0) << source.substr(0, 200);
}

TEST(JinjaLimits, RefuseWhatWouldNotFitInMemory) {
  ExpectRefused("{{ 'a' * 10**12 }}");
  ExpectRefused("{{ 10**12 * 'ab' }}");
  ExpectRefused("{{ [1] * 10**12 }}");
  ExpectRefused("{{ range(10**12) }}");
  ExpectRefused("{{ range(-9223372036854775807, 9223372036854775807)|length }}");
  ExpectRefused("{{ 'x'|center(10**12) }}");
  ExpectRefused("{{ 'x'.ljust(10**12) }}");
  ExpectRefused("{{ '%1000000000d' % 1 }}");
  ExpectRefused("{{ '{:>1000000000}'.format(1) }}");
  ExpectRefused("{{ 'a\nb'|indent(10**12) }}");
  ExpectRefused("{{ [1]|tojson(indent=10**12) }}");
  ExpectRefused("{{ [1]|batch(10**12, 0)|list }}");
  ExpectRefused("{{ [1]|slice(10**12)|list }}");
  ExpectRefused(
      "{% set ns = namespace(s='ab') %}{% for i in range(100) %}"
      "{% set ns.s = ns.s + ns.s %}{% endfor %}");
  ExpectRefused(
      "{% set ns = namespace(s='ab') %}{% for i in range(100) %}"
      "{% set ns.s = ns.s.replace('', ns.s) %}{% endfor %}");
  ExpectRefused(
      "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}"
      "{% set ns.l = ns.l + ns.l %}{% endfor %}");
  ExpectRefused("{% set s = 'a' * 10**7 %}{{ ([s] * 1000)|join }}");
  ExpectRefused("{% set s = 'a' * 10**7 %}{% for i in range(1000) %}{{ s }}{% endfor %}");
}

TEST(JinjaLimits, RefuseWhatWouldNotEnd) {
  ExpectRefused("{% for a in range(10**5) %}{% for b in range(10**5) %}{% endfor %}{% endfor %}");
  ExpectRefused("{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}");
  ExpectRefused(
      "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}");
  // Doubling references: small in memory, endless when walked.
  ExpectRefused(
      "{% set ns = namespace(l=[1]) %}{% for i in range(80) %}"
      "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}");
  ExpectRefused(
      "{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(80) %}"
      "{% set ns.l = [ns.l, ns.l] %}{% set ns.m = [ns.m, ns.m] %}{% endfor %}"
      "{{ ns.l == ns.m }}");
  ExpectRefused(
      "{% set ns = namespace(t=(1,)) %}{% for i in range(80) %}"
      "{% set ns.t = (ns.t, ns.t) %}{% endfor %}{{ {ns.t: 1} }}");
}

TEST(JinjaLimits, RefuseWhatNestsTooDeeply) {
  ExpectRefused("{{ " + Times("(", 100000) + "1" + Times(")", 100000) + " }}");
  ExpectRefused("{{ " + Times("[", 100000) + " }}");
  ExpectRefused("{{ " + Times("-", 100000) + "1 }}");
  ExpectRefused("{{ " + Times("not ", 100000) + "1 }}");
  ExpectRefused("{{ 1" + Times(" if 1 else 1", 100000) + " }}");
  ExpectRefused("{{ a" + Times(".a", 100000) + " }}");
  ExpectRefused("{{ a" + Times("|upper", 100000) + " }}");
  ExpectRefused("{{ a" + Times("[0]", 100000) + " }}");
  ExpectRefused("{{ a" + Times("()", 100000) + " }}");
  ExpectRefused(Times("{% if 1 %}", 100000));
  ExpectRefused(Times("{% for x in [1] %}", 1000) + Times("{% endfor %}", 1000));
  ExpectRefused("{% set " + Times("(", 100000) + "a = 1 %}");
  ExpectRefused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
  ExpectRefused("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}");
  ExpectRefused("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}");
  ExpectRefused("{% set l = [] %}{% set _ = l.append(l) %}{{ l|tojson }}");
  ExpectRefused(
      "{% set a = [] %}{% set _ = a.append(a) %}{% set b = [] %}{% set _ = b.append(b) %}"
      "{{ a == b }}");
}

TEST(JinjaLimits, TakeLongChainsThatDoNotNest) {
  EXPECT_TRUE(Outcome("{{ 1" + Times(" + 1", 100000) + " }}").ok());
  EXPECT_TRUE(Outcome("{{ 'a'" + Times(" ~ 'a'", 100000) + " }}").ok());
  EXPECT_TRUE(Outcome("{{ 1" + Times(" and 1", 100000) + " }}").ok());
  EXPECT_TRUE(Outcome("{{ 1" + Times(" < 2 or 1", 100000) + " }}").ok());
  EXPECT_TRUE(Outcome("{% if 0 %}" + Times("{% elif 0 %}", 100000) + "{% endif %}").ok());
}

TEST(JinjaLimits, DeepChainOfListsIsFreedWithoutRecursion) {
  EXPECT_TRUE(Outcome("{% set ns = namespace(l=[]) %}{% for i in range(300000) %}"
                      "{% set ns.l = [ns.l] %}{% endfor %}")
                  .ok());
}

TEST(JinjaLimits, AreSetByTheCaller) {
  EXPECT_EQ(Outcome("{{ 'a' * 1000 }}", {.limits = {.max_bytes = 500}}).code(),
            StatusCode::kOutOfMemory);
  EXPECT_THAT(
      Outcome("{% for i in range(50) %}{% endfor %}", {.limits = {.max_steps = 60}}).message(),
      HasSubstr("60 steps"));
  EXPECT_THAT(Outcome("{{ (((1,),),) }}", {.limits = {.max_depth = 3}}).message(),
              HasSubstr("3 levels"));
}

TEST(JinjaLimits, TextBuiltUpInALoopIsNotChargedForItsPast) {
  // 1000 steps of appending 1 KB copy 500 MB in all, but hold only a few MB at once.
  EXPECT_TRUE(Outcome("{% set ns = namespace(s='') %}{% for i in range(1000) %}"
                      "{% set ns.s = ns.s + c %}{% endfor %}",
                      {.limits = {.max_bytes = 4 << 20}}, {{"c", std::string(1000, 'x')}})
                  .ok());
}

TEST(JinjaErrors, NameTheLineAndTheCause) {
  const auto expect = [](const std::string& source, StatusCode code, const std::string& line,
                         const std::string& cause) {
    const Status status = Outcome(source);
    EXPECT_EQ(status.code(), code) << status.ToString();
    EXPECT_THAT(status.message(), HasSubstr(line));
    EXPECT_THAT(status.message(), HasSubstr(cause));
  };
  using enum StatusCode;
  expect("a\n{{ 1|frobnicate }}", kUnsupported, "line 2", "no filter named 'frobnicate'");
  expect("{{ 1 is\n frob }}", kUnsupported, "line 1", "no test named 'frob'");
  expect("\n\n{% include 'x' %}", kUnsupported, "line 3", "unknown tag 'include'");
  expect("\n{{ frobnicate(1) }}", kInvalidArgument, "line 2", "'frobnicate' is undefined");
  expect("{{ x.y }}", kInvalidArgument, "line 1", "'x' is undefined");
  expect("{{ {'a': 1}.b.c }}", kInvalidArgument, "line 1", "'dict object' has no attribute 'b'");
  expect("\n{{ raise_exception('no ' ~ 1) }}", kInvalidArgument, "line 2", "no 1");
  expect("{% if 1 %}\n\n", kInvalidArgument, "line 2", "'endif'");
  expect("{{ 1 +\n\n}}", kInvalidArgument, "line 3", "an expression");
  expect("\n{{ 'x' }", kInvalidArgument, "line 2", "unexpected '}'");
  expect("\n\n{{ \"x }}", kInvalidArgument, "line 3", "string is not closed");
  expect("{{ 9223372036854775807 + 1 }}", kInvalidArgument, "line 1", "64 bits");
  expect("{{ 99999999999999999999 }}", kInvalidArgument, "line 1", "64 bits");
  expect("{{ 'abc'|replace('a') }}", kInvalidArgument, "line 1", "misses its argument 'new'");
  expect("{{ 'abc'|trim(1, 2) }}", kInvalidArgument, "line 1", "at most 2");
  expect("{{ 'abc'|indent(width='x', nope=1) }}", kInvalidArgument, "line 1", "no argument 'nope'");
}

TEST(JinjaErrors, RefuseWhatIsNoTemplateOrContext) {
  EXPECT_THAT(Template::Parse("a\xFF").status().message(), HasSubstr("byte 1"));
  EXPECT_FALSE(Template::Parse(std::string(kMaxTemplateBytes + 1, 'a')).ok());
  EXPECT_THAT(Outcome("x", {}, Json::array()).message(), HasSubstr("must be an object"));
  Json deep = 1;
  for (int i = 0; i < 1000; ++i) deep = Json::array({std::move(deep)});
  EXPECT_THAT(Outcome("x", {}, {{"deep", deep}}).message(), HasSubstr("levels"));
}

}  // namespace
}  // namespace kvasir::jinja
