#!/usr/bin/env python3
"""Renders template snippets with Jinja2 into tests/fixtures/jinja/snippets.json.

Needs: pip install jinja2. Settings are those of transformers' chat templates: trim_blocks and
lstrip_blocks on, loop controls, tojson without ASCII escapes, raise_exception. A snippet that
Jinja2 refuses is recorded with "error": true.
"""
import json
import pathlib

import jinja2
import jinja2.ext

ROOT = pathlib.Path(__file__).resolve().parent.parent

CONTEXT = {
    "s": "Hello, World", "empty": "", "pad": "  \t padded \n", "uni": "Ελληνικά 日本語 ñ",
    "lines": "one\ntwo\n\nfour", "html": "<a href=\"x\">'&'</a>",
    "i": 7, "neg": -7, "big": 9007199254740993, "f": 2.5, "zero": 0, "t": True, "fa": False,
    "n": None, "l": [3, 1, 2], "ls": ["b", "A", "c"], "nested": [[1, 2], [3, [4, 5]]], "le": [],
    "d": {"b": 1, "a": 2, "C": 3}, "de": {}, "deep": {"x": {"y": {"z": "found"}}, "items": 5},
    "msgs": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi", "n": 2},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {"k": [1, 2.5, None, True]}}]},
        {"role": "user", "content": "Bye\nnow", "n": 10},
    ],
}

EXPRESSIONS = r"""
1 + 2 * 3
(1 + 2) * 3
7 // 2
-7 // 2
7 % 3
-7 % 3
7 % -3
-7.5 % 2
7.5 // 2
-7.5 // 2
7 / 2
8 / 2
2 ** 10
2 ** 3 ** 2
2 ** -1
2 ** 0.5
-2 ** 2
1_000 + 1
0x1f + 0o17 + 0b11
1.5e3
1e100
1e16
1e15
123456789012345.0
0.0001
0.00001
1.0
-0.0
0.1 + 0.2
1/3
100 * 1.1
3 * 'ab'
'ab' * 3
[1, 2] * 2
[1] + [2, 3]
(1, 2) + (3,)
'a' + 'b'
'a' 'b' "c"
'a' ~ 1 ~ 2.0 ~ none ~ true ~ [1, 'x']
1 + true
true + true
-true
+5
-i
- - 3
1 < 2
1 < 2 < 3
1 < 3 < 2
1 == 1.0
1 == true
'a' < 'b'
'a' == 'a' == 'a'
[1, 2] < [1, 3]
[1, 2] == [1, 2]
(1, 2) == [1, 2]
{'a': 1} == {'a': 1.0}
none == none
none == undefined_thing
undefined_thing == other_undefined
1 != 2
'ell' in s
'x' not in s
2 in l
5 not in l
'a' in d
'zz' in d
'x' in undefined_thing
1 in 'abc'
'a' in 5
true and false
1 and 2
0 and 2
0 or 'x'
'' or none
not 0
not not 1
not 1 == 2
1 if true else 2
1 if false else 2
1 if false
'a' if zero else 'b' if i else 'c'
(1 if false) is undefined
s[0]
s[-1]
s[100]
uni[3]
uni[-1]
s[1:4]
s[:-1]
s[::-1]
s[::2]
s[10:2:-3]
uni[2:11]
uni[::-1]
l[0]
l[-1]
l[5]
l[1:]
l[::-1]
l[-2:]
l[5:]
l[:100]
l[-100:2]
l[2:0:-1]
l['0']
l[none:2]
(1,2,3)[1:]
l[1.0]
l[true]
d['a']
d.a
d['zz']
d.zz
d.zz is defined
deep.x.y.z
deep['x']['y'].z
deep.items is callable
deep['items']
d.items is defined
nested.1.1.0
nested[1][1][0]
s.upper is callable
n.foo
n.foo.bar
undefined_thing.foo
undefined_thing
undefined_thing + 1
1 + undefined_thing
undefined_thing ~ 'x'
undefined_thing | length
undefined_thing | upper
undefined_thing | list
undefined_thing | join(',')
undefined_thing|default('dflt')
undefined_thing|d
undefined_thing is defined
undefined_thing is not defined
undefined_thing is undefined
undefined_thing is iterable
undefined_thing is sequence
undefined_thing is mapping
undefined_thing is none
undefined_thing is string
undefined_thing()
undefined_thing < 1
-undefined_thing
not undefined_thing
[]
()
(1,)
(1, 2)
{}
{'a': 1, 'b': [1, 2], 3: none}
[1, 'two', 3.0, none, true, [4], (5,), {'k': 'v'}]
{1: 'a', true: 'b'}
{'a': 1}['a']
['it\'s', "say \"x\"", 'both \' and "']
['tab\t', 'nl\n', 'back\\slash', 'é', '\x00', '\u200b', '日']
'\u00e9\x41\n\\'
'\101\60'
'\q'
s|length
uni|length
l|length
d|length
d|count
i|length
none|length
s|upper
s|lower
uni|upper
s|title
'hello-world foo(bar)'|title
"it's o'clock"|title
"it's o'clock".title()
'hELLO'|capitalize
s|replace('l', 'L')
s|replace('l', 'L', 1)
s.replace('l', 'L', 2)
'abc'|replace('', '-')
i|replace('7', '8')
pad|trim
pad|trim|length
'xxhixx'|trim('x')
'xyhiyx'.strip('xy')
'  a '.lstrip() ~ '|'
'  a '.rstrip() ~ '|'
'   '|trim ~ '|'
''|trim ~ '|'
n|trim
42|trim
s|first
s|last
l|first
l|last
le|first
le|last
l|sort
l|sort(reverse=true)
ls|sort
ls|sort(case_sensitive=true)
msgs|sort(attribute='role')|map(attribute='role')|join(',')
msgs|sort(attribute='role,content', reverse=true)|map(attribute='role')|list
[3,'a']|sort
l|reverse|list
s|reverse
l|join
l|join(', ')
l|join(d='-')
msgs|join(', ', attribute='role')
[1, none, 'x', undefined_thing]|join('|')
d|join(',')
msgs|map(attribute='role')|list
msgs|map(attribute='tool_calls.0.name')|list
msgs|map(attribute='n', default=0)|list
ls|map('upper')|list
ls|map('upper')|join
['a b', 'c']|map('replace', ' ', '_')|list
l|map('string')|list
[1,2,3,4]|select('odd')|list
[1,2,3,4]|reject('odd')|list
[1,2,3,4]|select('gt', 2)|list
[1,2,3,4]|select('>=', 2)|list
[0,1,'',none,'x']|select|list
[0,1,'',none,'x']|reject|list
msgs|selectattr('role', 'equalto', 'user')|list|length
msgs|selectattr('role', '==', 'user')|map(attribute='content')|join('+')
msgs|selectattr('n')|map(attribute='content')|list
msgs|selectattr('n', 'defined')|list|length
msgs|rejectattr('role', 'in', ['user', 'system'])|map(attribute='role')|list
msgs|selectattr('tool_calls', 'undefined')|list|length
msgs|selectattr('role', 'equalto', 'nobody')|first is defined
(msgs|selectattr('role', 'equalto', 'nobody')) is defined
'yes' if msgs|selectattr('role', 'equalto', 'nobody') else 'no'
'yes' if msgs|selectattr('role', 'equalto', 'nobody')|list else 'no'
msgs|selectattr('role')|length
(l|map('string'))[0] is defined
l|map('nosuchfilter')|list
l|select('nosuchtest')|list
l|unique|list
['a','A','b','a']|unique|list
['a','A','b','a']|unique(case_sensitive=true)|list
l|min
l|max
le|max
ls|min
ls|max(case_sensitive=true)
msgs|selectattr('n','defined')|max(attribute='n')|tojson
l|sum
l|sum(start=10)
[1.5, 2]|sum
msgs|selectattr('n','defined')|sum(attribute='n')
le|sum
l|batch(2)|list
l|batch(2, 'x')|list
[1,2,3,4,5]|slice(2)|list
[1,2,3,4,5]|slice(3, 0)|list
d|items|list
d.items()|list
d.keys()|list
d.values()|list
d|list
undefined_thing|items|list
s|items|list
s|list|length
'añb'|list
d|dictsort
d|dictsort(case_sensitive=true)
d|dictsort(by='value', reverse=true)
d|dictsort(false, 'value')
'x'|default('y')
''|default('y')
''|default('y', true)
''|default('y', boolean=true)
none|default('y')
none|d('y', true)
deep.nope|default('z')
false|default('y', true)
'12'|int
'12.7'|int
' 42 '|int
'abc'|int
'abc'|int(5)
'abc'|int(default=-1)
'ff'|int(base=16)
'0x1F'|int(0, 16)
3.99|int
-3.99|int
true|int
none|int
none|int(3)
''|int
'1e3'|int
'3.5'|float
'x'|float
'x'|float(1.5)
3|float
'1e-3'|float
3|string
none|string
true|string
2.0|string
[1,'a']|string
(l|string)[0]
(-5)|abs
-5|abs
2.5|abs
2.5|round
3.5|round
2.4|round
2.567|round(2)
2.567|round(1, 'floor')
2.512|round(1, 'ceil')
42|round
42.55|round(1)
2.675|round(2)
1234.5|round(-2)
html|escape
html|e
'safe<'|safe
lines|indent
lines|indent(2)
lines|indent(2, true)
lines|indent(2, first=true, blank=true)
lines|indent('>> ')
lines|indent(width=1)
'one'|indent
'trail\n'|indent(2)
s|wordcount
'a b_c d-e'|wordcount
s|truncate(5)
s|truncate(5, true)
s|truncate(8, false, '..', 0)
'foo bar baz qux'|truncate(9)
'foo bar baz qux'|truncate(9, true)
'foo bar baz qux'|truncate(11, false, '...', 0)
'ab'|center(7)
'abc'|center(6)
'abc'.center(8, '*')
'%s-%s'|format(1, 'x')
'%(a)s'|format(a=3)
'%s' % 'x'
'%d items' % 3
'%5d|%-5d|%05d' % (1, 2, 3)
'%.2f' % 3.14159
'%8.3f|%+d|% d' % (3.14159, 5, 6)
'%x %X %o %#x' % (255, 255, 8, 255)
'%e' % 12345.678
'%g %g %g' % (0.0001, 1e10, 100000)
'%s %s' % (1, [2])
'%r' % 'q'
'100%%' % ()
'%5s|%-5s|%.2s' % ('a', 'b', 'cde')
'%s' % (1, 2)
'%s %s' % 1
'%d' % 'x'
'%q' % 1
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format('x', 'y')
'{name}!'.format(name='Bob')
'{:>5}|{:<5}|{:^5}|'.format('a', 'b', 'c')
'{:05d}'.format(42)
'{:.2f}'.format(2.0)
'{:,}'.format(1234567)
'{:,.1f}'.format(1234567.89)
'{:*^9}'.format('mid')
'{:x}'.format(255)
'{:+d}'.format(3)
'{{}}'.format()
'{!r}'.format('a')
'{a[k]}'.format(a={'k': 1})
'{:%}'.format(0.25)
'{'.format(1)
d|tojson
msgs|tojson
msgs[2]|tojson(indent=2)
{'a': [], 'b': {}}|tojson(indent=2)
[1, [2, {'x': 'y'}]]|tojson(indent=4)
uni|tojson
html|tojson
'"quote" \\ \n\t\b\f\r\x01\x7f'|tojson
[1.0, 1e20, 1e-7, 0.1]|tojson
none|tojson
true|tojson
{'b': 1, 'a': 2}|tojson(sort_keys=true)
{'a': 1}|tojson(separators=(',', ':'))
{1: 2, none: 3, true: 4, 2.5: 5}|tojson
uni|tojson(ensure_ascii=true)
'😀'|tojson(ensure_ascii=true)
undefined_thing|tojson
[undefined_thing]|tojson
(1, 2)|tojson
s|attr('upper') is callable
d|attr('a')
'3' is number
3 is number
3.0 is number
true is number
true is integer
3 is integer
3.0 is integer
3.0 is float
3 is float
true is boolean
1 is boolean
true is true
1 is true
false is false
0 is false
s is string
l is string
l is sequence
d is sequence
s is sequence
i is sequence
l is iterable
s is iterable
d is iterable
i is iterable
n is iterable
d is mapping
l is mapping
n is none
n is not none
zero is none
range is callable
s is callable
3 is odd
4 is even
4 is odd
'a' is odd
9 is divisibleby 3
9 is divisibleby(2)
3 is eq 3
3 is equalto 4
3 is ne 4
3 is lt 4
3 is le 3
3 is gt 4
3 is ge 3
3 is lessthan 4
3 is greaterthan 4
3 is sameas 3
'a' is in 'abc'
2 is in [1, 2]
2 is not in [1, 2]
'abc' is lower
'ABC' is upper
'aBC' is upper
'123' is lower
'x' is filter
'upper' is filter
'odd' is test
3 is nosuchtest
3|nosuchfilter
s is defined and s is string
s is defined or undefined_thing
not s is defined
s is string == true
'a.b.c'.split('.')
'a.b.c'.split('.', 1)
'a.b.c'.rsplit('.', 1)
' a  b c '.split()
' a  b c '.split(none, 1)
' a  b c '.rsplit(none, 1)
''.split()
''.split(',')
'a,b,'.split(',')
'abc'.split('')
'<think>x</think>y'.split('</think>')[-1]
lines.splitlines()
'a\r\nb\rc'.splitlines()
'a\nb\n'.splitlines(true)
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('-')
s.startswith('Hell')
s.startswith(('x', 'H'))
s.startswith('World', 7)
s.endswith('ld')
s.endswith('l', 0, -1)
s.find('o')
s.find('o', 5)
s.rfind('o')
s.find('zzz')
uni.find('日')
s.index('W')
s.index('zzz')
s.count('l')
'aaa'.count('aa')
'abc'.count('')
s.upper()
s.lower()
s.swapcase()
s.capitalize()
'ß'.lower()
', '.join(['a', 'b'])
', '.join([1])
'-'.join('abc')
'12'.isdigit()
'1a'.isdigit()
''.isdigit()
'ab'.isalpha()
'a1'.isalnum()
' '.isspace()
'AB'.isupper()
'ab'.islower()
'abc'.removeprefix('a')
'abc'.removesuffix('bc')
'abc'.removesuffix('x')
'42'.zfill(5)
'-42'.zfill(5)
'ab'.ljust(4) ~ '|'
'ab'.rjust(4, '.')
s.nosuch()
s.nosuch
d.get('a')
d.get('zz')
d.get('zz', 5)
l.index(1)
l.index(9)
l.count(3)
range(5)|list
range(2, 5)|list
range(10, 0, -3)|list
range(0)|list
range(5)[2]
range(5, 1)|list
range(1, 2, 0)
dict(a=1, b=2)
dict({'x': 1}, y=2)
dict([('a', 1)])
namespace(a=1).a
namespace(a=1).b is defined
raise_exception('boom')
1 / 0
1 // 0
1 % 0
'a' + 1
1 + 'a'
[1] + 'a'
none + 1
'a' - 'b'
'a' < 1
none < 1
-'a'
{} < {}
{[1]: 2}
l[0:2:0]
s('x')
l.append is callable
[1,2,3]|last
(1, 2, 3)|last
loop
3.5 // 1
5.0 % 3
1e308 * 10
-1e308 * 10
'a' in ['a', 'b'] and 'b' not in ['a']
1 in [1.0]
[[1]] == [[1.0]]
{'a': {'b': [1]}} == {'a': {'b': [1]}}
s.split(', ')|map('lower')|join('/')
(l + [9])|sort|first
l|map('int')|sum / l|length
s[7:]|lower|replace('w', 'W') ~ '!'
1,2
1,
msgs[-1]['content'].split('\n')[0]
msgs[1:]|length
msgs[0].role ~ ':' ~ msgs[0]['content']
'tool_calls' in msgs[2]
msgs[2].content is none
msgs[2].tool_calls[0].arguments|tojson
msgs|map(attribute='content')|select('string')|list
msgs|groupby('role')|map('first')|list
""".strip("\n").split("\n")

STATEMENTS = [
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }};{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in le %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in l %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% endfor %}",
    "{% for x in l if x > 5 %}{{ x }}{% else %}nothing{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for k, v in d|items %}{{ k }}={{ v }} {% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}",
    "{% for (a, b) in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}",
    "{% for c in 'añ' %}[{{ c }}]{% endfor %}",
    "{% for x in n %}{% endfor %}",
    "{% for x in undefined_thing %}x{% else %}e{% endfor %}",
    "{% for x in i %}{% endfor %}",
    "{% for x in [1,2,3,4,5] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}",
    "{% for x in [1,2,3] %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in [1,1,2,2,1] %}{% if loop.changed(x) %}{{ x }}{% endif %}{% endfor %}",
    "{% for x in [1,2] %}{% for y in [1,2] %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}",
    "{% for x in [[1,[2]],[3]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}",
    "{% set ns = namespace(found=false) %}{% for x in l if not ns.found %}{{ x }}{% if x == 1 %}{% set ns.found = true %}{% endif %}{% endfor %}",
    "{% set ns = namespace(found=false) %}{% for x in [1,2,3,4] if not ns.found %}{{ x }}{{ loop.last }}{% if x == 2 %}{% set ns.found = true %}{% endif %}{% endfor %}",
    "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}",
    "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace() %}{% set ns.a = [] %}{% set ns.a = ns.a + [1] %}{{ ns.a }}",
    "{% set d.a = 1 %}",
    "{% set undefined_thing.a = 1 %}",
    "{% set a, b = 1, 2 %}{{ b }}{{ a }}",
    "{% set a, b = [1] %}",
    "{% set (a, b) = (1, 2) %}{{ a + b }}",
    "{% set x %}block {{ i }}{% endset %}[{{ x }}]",
    "{% set x | upper | replace('B', '-') %}block {{ i }}{% endset %}[{{ x }}]",
    "{% set x = 'a' if false %}{{ x is defined }}",
    "{% set x = [] %}{% set _ = x.append(1) %}{% set _ = x.extend([2, 3]) %}{{ x }}{{ x.pop() }}{{ x.pop(0) }}{{ x }}",
    "{% set x = {} %}{% set _ = x.update({'a': 1}) %}{% set _ = x.update(b=2) %}{{ x }}{{ x.pop('a') }}{{ x.setdefault('z', 9) }}{{ x }}",
    "{% set x = [1, 2] %}{% set y = x %}{% set _ = y.append(3) %}{{ x }}",
    "{% set x = [3, 1] %}{% set _ = x.insert(0, 9) %}{% set _ = x.insert(-1, 8) %}{% set _ = x.reverse() %}{% set _ = x.remove(1) %}{{ x }}{{ x.copy() }}",
    "{% if l %}a{% elif d %}b{% else %}c{% endif %}",
    "{% if le %}a{% elif d %}b{% else %}c{% endif %}",
    "{% if le %}a{% elif de %}b{% else %}c{% endif %}",
    "{% if le %}a{% endif %}|",
    "{% if 1, 2 %}x{% endif %}",
    "{% macro m(a, b=2, c=a) %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c=5) }} {{ m(b=9, a=8) }} {{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}",
    "{% macro m() %}{{ caller() }}!{% endmacro %}{% call m() %}inner {{ i }}{% endcall %}",
    "{% macro m() %}{% for x in l %}{{ caller(x, y=x*2) }}{% endfor %}{% endmacro %}{% call(x, y=0) m() %}<{{ x }},{{ y }}>{% endcall %}",
    "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}",
    "{% macro fact(n) %}{% if n <= 1 %}1{% else %}{{ n * fact(n - 1)|int }}{% endif %}{% endmacro %}{{ fact(10) }}",
    "{% macro m(x) %}{% set y = x %}{{ y }}{% endmacro %}{{ m(1) }}{{ y is defined }}",
    "{% set g = 1 %}{% macro m() %}{{ g }}{% endmacro %}{% set g = 2 %}{{ m() }}",
    "{% macro m() %}a{% endmacro %}{{ m()|upper }}{{ m.name }}{{ m() ~ m() }}",
    "{% for x in [1, 2] %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% for x in [1, 2] %}{{ loop.index }}{% macro m() %}{{ loop is defined }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% macro inner(t) %}{% if t.c is defined %}({% for k in t.c %}{{ inner(k) }}{% endfor %}){% else %}{{ t.v }}{% endif %}{% endmacro %}{{ inner({'c': [{'v': 1}, {'c': [{'v': 2}, {'v': 3}]}]}) }}",
    "{% filter upper %}abc {{ s }}{% endfilter %}",
    "{% filter replace('a', 'b')|upper %}banana{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z is defined }}",
    "{% raw %}{{ not }} {% this %} {# either #}{% endraw %}",
    "a\n{% raw -%}\n  x  \n{%- endraw %}\nb",
    "a {# comment #} b",
    "a {#- comment -#} b",
    "line\n   {# comment #}\nnext",
    "{# {{ nested }} {% stuff %} #}x",
    "{% generation %}x{% endgeneration %}",
    "x\n{% if true %}\n  y\n{% endif %}\nz\n",
    "x\n  {% if true %}\n  y\n  {% endif %}\nz",
    "x\n  {%- if true %}\n  y\n  {%- endif %}\nz",
    "x\n  {% if true -%}\n  y\n  {% endif -%}\nz",
    "x\n  {%+ if true %}\n  y\n  {%+ endif %}\nz",
    "x\n  {% if true +%}\n  y\n  {% endif +%}\nz",
    "  {{ i }}  \n  {{ i }}\n",
    "  {{- i -}}  \n  {{- i -}}\n",
    "a  {{- i }}\n\n\n{{ i -}}   b",
    "   {% set x = 1 %}   \n y",
    "text {% set x = 1 %}\nmore",
    "  {% set x = 1 %}{% set y = 2 %}\nmore",
    "\n\n{% if true %}\n\na\n\n{% endif %}\n\n",
    "a\r\n{% if true %}\r\nb\r\n{% endif %}\r\nc\r\n",
    "{% if true %}\n   \n{% endif %}|",
    "{{ 'a\n  b' }}\n{{ '  x  ' -}}\n",
    "one\n\n",
    "",
    "\n",
    "just text with { braces } and % signs {",
    "{{ '{{' }}{{ '}}' }}{{ '%}' }}",
    "{{ {'a': {'b': 1}}['a'] }}",
    "{{ {'a': {'b': {}}} }}",
    "{%if true%}tight{%endif%}",
    "{%- if true -%}  tight  {%- endif -%}",
    "{{i}}{{-i-}}{{ - i }}",
    "{{ i }}{{+ i }}",
    "{% for x in range(3) %}\n{{ x }}\n{% endfor %}\nend",
    "{% for x in range(3) -%}\n{{ x }}\n{%- endfor %}\nend",
    "{% for m in msgs %}{{ m.role }}: {{ m.content or '-' }}{% if m.tool_calls %} {{ m.tool_calls|length }}{% endif %}\n{% endfor %}",
    "{% for m in msgs %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}x{% else %}y{% endif %}{% endfor %}",
    "{% if msgs[0].role == 'system' %}{% set sys = msgs[0].content %}{% set rest = msgs[1:] %}{% else %}{% set rest = msgs %}{% endif %}{{ sys }}{{ rest|length }}",
    "{% for m in msgs if m.role == 'user' %}{{ loop.index }}{{ m.content }}{{ '' if loop.last else '|' }}{% endfor %}",
    "{% for m in msgs[::-1] %}{{ m.role[0] }}{% endfor %}",
    "{% set u = msgs|selectattr('role', 'equalto', 'user') %}{% for x in u %}{{ x.content }}{% endfor %}{% for x in u %}again{% endfor %}",
    "{% if not x is defined %}{% set x = 5 %}{% endif %}{{ x }}",
    "{% if",
    "{{ 1",
    "{% if true %}",
    "{% endif %}",
    "{% for x in l %}{% endif %}",
    "{{ }}",
    "{% %}",
    "{% nosuchtag %}",
    "{{ 1 + }}",
    "{{ (1 }}",
    "{{ 'abc }}",
    "{{ a b }}",
    "{# open",
    "{% raw %}open",
    "{{ [1, 2 }}",
    "{% set x %}",
    "{% set 1 = 2 %}",
    "{% set none = 2 %}",
    "{% break %}",
    "{% macro m(a=1, b) %}{% endmacro %}",
    "{{ 1 is defined is string }}",
    "{{ f(a=1, 2) }}",
    "{{ $ }}",
]


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


class GenerationTag(jinja2.ext.Extension):
    """{% generation %}...{% endgeneration %} renders as its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def main():
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True,
                             extensions=[jinja2.ext.loopcontrols, GenerationTag])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    cases = []
    for source in ["{{ " + e + " }}" for e in EXPRESSIONS] + STATEMENTS:
        context = json.loads(json.dumps(CONTEXT))
        try:
            cases.append({"template": source, "rendered": env.from_string(source).render(**context)})
        except Exception:  # whatever Python raises, the engine must refuse too
            cases.append({"template": source, "error": True})
    out = ROOT / "tests" / "fixtures" / "jinja" / "snippets.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    fixture = {"jinja2": jinja2.__version__, "context": CONTEXT, "cases": cases}
    out.write_text(json.dumps(fixture, ensure_ascii=True, indent=0) + "\n")
    errors = [c["template"] for c in cases if "error" in c]
    print(f"{len(cases)} cases, {len(errors)} of them errors, in {out.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
