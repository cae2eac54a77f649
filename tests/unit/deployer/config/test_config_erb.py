"""ERB as people write it in configuration files, with the real shell behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.config.template import Rendered, Source, render
from deployer.config.template.world import local_world
from freehold.errors import ConfigError
from freehold.process import LocalRunner
from freehold.source import Location

ENV = {"PATH": "/usr/bin:/bin", "X": "ex", "EMPTY": "", "N": "3", "QUOTED": '"q"'}


def erb(tmp_path: Path, text: str, destination: str | None = None, **environ: str) -> Rendered:
    world = local_world(tmp_path, {**ENV, **environ}, LocalRunner())
    return render(Source(text, "f.yml"), world, destination)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ENV['X']", "ex"),
        ('ENV["MISSING"]', ""),
        ("ENV.fetch('X')", "ex"),
        ("ENV.fetch('MISSING', 'd')", "d"),
        ("ENV.fetch('MISSING', 86400)", "86400"),
        ("ENV.fetch('MISSING') { 'block' }", "block"),
        ("ENV.fetch('MISSING', ENV.fetch('OTHER', ENV['X']))", "ex"),
        ('ENV["MISSING"] || ENV["X"] || "no"', "ex"),
        ('ENV["EMPTY"].presence || "d"', "d"),
        ("ENV['X'] ? 'yes' : 'no'", "yes"),
        ("ENV['MISSING'].nil? && 'nil'", "nil"),
        ("ENV.key?('X')", "true"),
        ("ENV['MISSING'].to_s.empty?", "true"),
        ("ENV['MISSING']&.strip", ""),
        ("ENV['N'].to_i + 2 * 3", "9"),
        ("(ENV['N'].to_i - 1) * 2", "4"),
        ("7 / 2", "3"),
        ("`printf 'a b'`", "a b"),
        ("%x(echo hi).strip", "hi"),
        ("`echo $X`.chomp", "ex"),
        ("`exit 3`.strip", ""),
        ("`echo #{ENV['X']}#{1 + 1}`.strip", "ex2"),
        ("File.read('.ruby-version').strip", "3.4.1"),
        ("File.exist?('nothing') ? 1 : 2", "2"),
        ("File.basename(Dir.pwd) == File.basename(File.expand_path('.'))", "true"),
        ("File.join('a', 'b')", "a/b"),
        ("YAML.load_file('t.yml')['production'].map { |name, c| c['host'] }.compact.join(',')", "h1,h2"),
        ("YAML.load_file('t.yml', aliases: true).dig('production', 'one', 'host')", "h1"),
        ("JSON.parse('{\"a\": [1, 2]}')['a'].sum", "3"),
        ("%w[a b c].map(&:upcase).join('-')", "A-B-C"),
        ("(1..3).map { |n| \"w#{n}\" }.join(' ')", "w1 w2 w3"),
        ("[3, 1, 2].sort.reverse.first(2).inspect", "[3, 2]"),
        ("{ a: 1, 'b' => 2 }.map { |k, v| \"#{k}=#{v}\" }.join('&')", "a=1&b=2"),
        ("'%03d' % 7", "007"),
        ("format('%s-%d', 'a', 4)", "a-4"),
        ("'a-b_c'.tr('-', '_').gsub(/_(.)/, '.\\1')", "a.b.c"),
        ("'release/1.2'[/\\d+\\.\\d+/]", "1.2"),
        ("'abcdef'[0, 3] + 'abcdef'[0...2] + 'abcdef'[-1]", "abcabf"),
        ("'abcdef'[0..6]", "abcdef"),
        ("%w[a b c][1..-1].inspect", '["b", "c"]'),
        ("%w[a b c][-2..].inspect + %w[a b c].slice(0...-1).inspect", '["b", "c"]["a", "b"]'),
        ("%w[a b c][-2, 2].inspect + %w[a b c].last(0).inspect", '["b", "c"][]'),
        ("[%w[a][1..], %w[a][2..], 'a'.slice(0..-1), 'abc'[0...0]].inspect", '[[], nil, "a", ""]'),
        ("[1..3, 1...3, 0.presence].inspect", "[1..3, 1...3, 0]"),
        ("case 2 when 1..3 then 'in' else 'out' end", "in"),
        ('["a\nb" =~ /\\Ab/, "a\nb" =~ /^b/].inspect', "[nil, 2]"),
        ('["a\n" =~ /a\\Z/, "a\n" =~ /a\\z/].inspect', "[0, nil]"),
        ("Base64.urlsafe_encode64('???>>>')", "Pz8_Pj4-"),
        ("'a' 'b'", "ab"),
        ("'it''s'", "its"),
        ("CGI.escape('p@ss word')", "p%40ss+word"),
        ("Base64.strict_encode64('hi')", "aGk="),
        ("(raise 'x') rescue 'saved'", "saved"),
        ("Integer('x') rescue 0", "0"),
        ("ENV['X'].start_with?('e') and not false", "true"),
        ("!ENV['MISSING']", "true"),
        ("ENV['X'] =~ /x/", "1"),
        ("ENV['X'] != 'ex'", "false"),
        ("[1, [2, 3]].flatten.include? 3", "true"),
        ("case ENV['X'] when 'a' then 1 when 'ex', 'y' then 2 else 3 end", "2"),
        ("%w[a b].each_with_index.nil? rescue 'no'", "no"),
    ],
)
def test_expressions(tmp_path: Path, code: str, expected: str) -> None:
    (tmp_path / ".ruby-version").write_text("3.4.1\n")
    (tmp_path / "t.yml").write_text("production: {one: {host: h1}, two: {host: h2}, three: {host: }}\n")
    assert erb(tmp_path, f"v: <%= {code} %>\n").text == f"v: {expected}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<% host = ENV.fetch('X') %>\na: <%= host %>\n", "\na: ex\n"),
        ("<% if ENV['X'] -%>\na: 1\n<% end -%>\nb: 2\n", "a: 1\nb: 2\n"),
        ("<% unless ENV['X'] -%>\na: 1\n<% else -%>\nc: 3\n<% end -%>\n", "c: 3\n"),
        (
            "<% if ENV['X'] == 'a' -%>\n1\n<% elsif ENV['N'] == '3' -%>\n2\n<% else -%>\n3\n<% end -%>\n",
            "2\n",
        ),
        ("<% %w[a b].each do |h| -%>\n- <%= h %>\n<% end -%>\n", "- a\n- b\n"),
        ("<% 2.times { |i| -%>\n- <%= i %>\n<% } -%>\n", "- 0\n- 1\n"),
        ("<% [1, 2, 3].each do |n|\n  next if n == 2\n-%>\n- <%= n %>\n<% end -%>\n", "- 1\n- 3\n"),
        ("<% [['a', 1]].each do |name, n| %><%= name %><%= n %><% end %>\n", "a1\n"),
        ("<%# a comment with %x(exit 1) %>a\n", "a\n"),
        ("a <%% b %%> c\n", "a <% b %> c\n"),
        ("  <%- x = 1 -%>\na: <%= x %>\n", "a: 1\n"),
        ("# <%= no_such_thing.at_all %> x\na: 1\n", "#  x\na: 1\n"),
        ("#   V: <%= ENV['A'] || \"#{RUBY_ENGINE}-#{RUBY_VERSION}\" %>\n", "#   V: \n"),
        (
            "<% require 'dotenv'; Dotenv.load('.env') %>a: <%= ENV['FROM_FILE'] %><%= ENV['X'] %>\n",
            "a: valueex\n",
        ),
        ("<% ENV['X'] ||= 'y'; ENV['Z'] = 'z' %><%= ENV['X'] + ENV['Z'] %>\n", "exz\n"),
        (
            "<%\nENV.each do |key, value|\n  next unless value.is_a?(String) && value.length >= 2\n"
            "  if (value.start_with?('\"') && value.end_with?('\"')) ||\n     (value.start_with?(\"'\"))\n"
            "    ENV[key] = value[1...-1]\n  end\nend\n%>\n<%= ENV['QUOTED'] %>\n",
            "\nq\n",
        ),
        (
            "<%\n  rows = { 'a' => { 'h' => 'x' }, 'b' => {} }\n  rows.flat_map { |name, config|\n"
            "    [ config['h'], config['g'] ]\n  }.compact.each do |host|\n%>\n- <%= host %>\n<% end %>\n",
            "\n- x\n\n",
        ),
        ("<%= ENV['KAMAL_DESTINATION'] %>", "staging"),
    ],
)
def test_templates(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / ".env").write_text("FROM_FILE=value\nX=from-file\n")
    assert erb(tmp_path, text, "staging").text == expected


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: <%= ENV.fetch('MISSING') %>\n", 2, "the environment variable MISSING is not set"),
        ("<%= Rails.application.credentials.x %>", 1, "Rails is not supported"),
        ("\n\n<%= foo(1) %>", 3, "'foo' is not supported"),
        ("<%= File.read('nope') %>", 1, "nope: No such file or directory"),
        ("<%= nil.strip %>", 1, "nil has no method 'strip'"),
        ("<%= ENV['X' %>", 1, "is not understood"),
        ("<% if true %>\na\n", 3, "the template ends too early"),
        ("a\n<% end %>\n", 2, "no block for this 'end'"),
        ("a\nb <%= x", 2, "the ERB tag is never closed"),
        ("<%= 'abc %>", 1, "a quote is never closed"),
        ("<% while true %>x<% end %>", 1, "'while' is not supported"),
        ("<% def f; end %>", 1, "'def' is not supported"),
        ("<% @x = 1 %>", 1, "@variables are not supported"),
        ("<% require 'net/http' %>", 1, "require 'net/http' is not supported"),
        ("<% raise 'stop here' %>", 1, "stop here"),
        ("<%= 1 / 0 %>", 1, "'/' failed"),
        ("<%= [].fetch(3) %>", 1, "there is no 3 to fetch"),
        ("<% 1000000.times { |i| i } %>", 1, "does not end"),
        ("<%= 'x' + 1 %>", 1, "'+' failed"),
        ("<%= { [1] => 2 } %>", 1, "the values do not fit here"),
        ("<% x = [1]; x['a'] = 2 %>", 1, "the values do not fit here"),
        ("<%= {}.fetch([1]) %>", 1, "the values do not fit here"),
        ("<%= /(/ %>", 1, "is not understood"),
        ("<%= Dir.glob('/etc/x*') %>", 1, "Dir.glob was not called as expected"),
        ("<%= (1..).map(&:to_s) %>", 1, "the range is too long"),
        ("<%= " + "(" * 200 + "1" + ")" * 200 + " %>", 1, "nested too deeply"),
    ],
)
def test_what_is_not_supported_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        erb(tmp_path, text)
    assert message in caught.value.message
    assert caught.value.where is not None
    assert (caught.value.where.file, caught.value.where.line) == ("f.yml", line)


def test_places_of_the_text_are_places_of_the_template(tmp_path: Path) -> None:
    rendered = erb(
        tmp_path, "<% 2.times do |i| -%>\n- <%= i %>\n  x: 1\n<% end -%>\nlast: <%= 'a' %>\nplain: 1\n"
    )
    assert rendered.text == "- 0\n  x: 1\n- 1\n  x: 1\nlast: a\nplain: 1\n"
    moved = [rendered.move(Location("f.yml", line, 3)) for line in range(1, 7)]
    assert [(place.line, place.column) for place in moved] == [(2, 0), (3, 3), (2, 0), (3, 3), (5, 0), (6, 3)]


def test_a_failing_command_is_told(tmp_path: Path) -> None:
    rendered = erb(tmp_path, "a: 1\nb: <%= `echo oops >&2; exit 4`.strip %>\n")
    assert rendered.text == "a: 1\nb: \n"
    assert rendered.warnings == ("f.yml:2 `echo oops >&2; exit 4` exited with 4: oops",)


def test_missing_variables_are_remembered_by_line(tmp_path: Path) -> None:
    rendered = erb(
        tmp_path, "a: <%= ENV['NOPE'] %>\nb: <%= ENV['NEVER'] || 'x' %>\n<% if ENV['NO'] %><% end %>\n"
    )
    assert rendered.unset == ((1, "NOPE"),)


def test_a_file_without_tags_stays_as_it_is(tmp_path: Path) -> None:
    text = "cmd: docker inspect --format '{{.State}}' ${X} # <- no template\n"
    assert erb(tmp_path, text).text == text


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("'a.b.c'.gsub('.') { |dot| dot + dot }", "a..b..c"),
        ("'a1b2'.sub(/[0-9]/) { |digit| (digit.to_i + 4).to_s }", "a5b2"),
        ("'hello'.gsub(/[el]/, 'e' => '3', 'l' => '1')", "h311o"),
        (r"'ab'.gsub(/(?<x>a)b/, '\k<x>\1\q')", r"aa\q"),
        ("'My App_1'.downcase.tr('^a-z0-9', '-')", "my-app-1"),
        ("'a^b'.tr('^', 'x')", "axb"),
        (r"'a-z'.tr('a\-z', '123')", "123"),
        ("'hello'.tr('el', 'ip')", "hippo"),
        ("'ab1-2'.delete('^a-z')", "ab"),
        ("'a-1.2'.delete('a-z-')", "1.2"),
        ("'hello world'.delete('l', 'lo')", "heo word"),
        (r'"a\nb" =~ /a.b/ ? "all" : "line"', "line"),
        (r'"a\nb" =~ /a.b/m ? "all" : "line"', "all"),
        ("'ab' =~ /a b/x", "0"),
        ("'a1b22'.gsub(/#{'[0-9]'}+/, 'N')", "aNbN"),
        ("'x-1'[/[[:alpha:]]-/]", "x-"),
        (r'"caf\u00e9 \x41 \u{41 1F600} \xC3\xA9 \101"', "café A A\U0001f600 é A"),
        (r"'caf\u00e9'", r"caf\u00e9"),
        ("'a/b'.split(%r{/}).last", "b"),
        (r"'A.B' =~ %r{a\.b}i", "0"),
        ("%w[a b c][1..].join", "bc"),
        ("case 7 when 1..5 then 'few' when 6.. then 'many' end", "many"),
        ("{ a: 1, 'b' => [true, nil, 'c'] }.to_json", '{"a":1,"b":[true,null,"c"]}'),
        ("'a\"b'.to_json", '"a\\"b"'),
    ],
)
def test_text_is_what_ruby_makes_of_it(tmp_path: Path, code: str, expected: str) -> None:
    assert erb(tmp_path, f"<%= {code} %>").text == expected


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("'abc'.tr('c-a', 'x')", "'c-a' is no range"),
        ("'abc'.strip { 1 }", "'strip' failed"),
        ("'abc'.concat { 1 }", "a block is no text"),
        (r'"\xff"', "is no UTF-8 text"),
        (r'"\u12"', "needs a hexadecimal number"),
        (r'"\ud800"', "is no character"),
        ("'a' =~ /a/q", "the flags 'q'"),
        ("'abc'[/[[:^alpha:]]/]", "is not understood"),
    ],
)
def test_text_that_cannot_be_made_is_refused(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        erb(tmp_path, f"\n<%= {code} %>")
    assert message in caught.value.message
    assert caught.value.where == Location("f.yml", 2)
