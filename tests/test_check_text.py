"What `emb check` says to people: one entry for one kind, whole words, and colour where it is wanted"
import io, json, random, sys
from dataclasses import replace
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.cli.terminal import level_painter, text_width
from embed_lab.data.check import check_folder
from embed_lab.data.files import write_rows
from embed_lab.data.report import _cells, report_lines

def row(q, p, label=1, **kw): return dict(query=q, passage=p, label=label, **kw)

def unrelated(n, seed):
    draw = random.Random(seed)
    def text(k): return ' '.join(''.join(draw.choices('bcdfghjklmnprstvwz', k=5)) for _ in range(k))
    return [row(text(6), text(12)) for _ in range(n)]

@pytest.fixture(scope='module')
def home(tmp_path_factory):
    "Rows that leak between all splits, repeat, contradict one another, and bring keys of their own"
    home = tmp_path_factory.mktemp('text')
    train = unrelated(60, 1) + [row('ボタンを長く押すにはどうしますか', '十秒間ボタンを長く押してから、もう一度お試しください。' * 9)]
    again = [row(o['query'], o['passage'], shelf=3) for o in train[:6]]
    write_rows(home/'train.jsonl', [*train, *again, row(train[8]['query'], train[8]['passage'], 0)])
    write_rows(home/'dev.jsonl', unrelated(20, 2) + train[9:13] + again[:1])
    write_rows(home/'gold.jsonl', unrelated(20, 3) + train[13:19] + again[:2] + train[60:] + [row('quite another question', train[20]['passage'])])
    return home

@pytest.fixture(scope='module')
def report(home): return check_folder(home)

def test_a_kind_is_said_once_with_a_table_of_where(report):
    lines = report_lines(report, 80)
    assert [lines.count(f'  {o}') for o in ('leak: passage', 'schema: unknown')] == [2, 2] # the entry, and its examples
    assert ' '.join(lines).count('tomorrow\'s new passages') == 1
    kind, = (o for o in report.kinds() if o.rule == 'leak: passage')
    assert [o[0] for o in kind.where] == ['splits', 'train → gold', 'train → dev', 'dev → gold'] and all('of' in o[1] for o in kind.where[1:])
    other, = (o for o in report.kinds() if o.rule == 'schema: unknown')
    assert other.where == [['where', 'count'], ['train.jsonl', '6'], ['gold.jsonl', '2'], ['dev.jsonl', '1']]

def test_the_order_is_verdict_then_what_fails_then_what_is_fine_then_examples(report):
    lines = report_lines(report, 80)
    heads = [lines.index(o) for o in ('What fails', 'What to look at', 'What is fine', 'Examples')]
    assert lines[0].startswith('Not sound, with') and heads == sorted(heads)
    assert lines.index('  no corpus') < lines.index('  schema: unknown')
    assert lines.index('  leak: passage') < lines.index('  leak: pair')  # one row more

@pytest.mark.parametrize('width', [40, 60, 80, 100])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_broken(report, width):
    lines = report_lines(report, width)
    assert max(_cells(o) for o in lines if ' ' in o.strip()) <= width # a path that is longer stays whole
    assert {w for o in report.kinds() for w in o.says.split()} <= {w for o in lines for w in o.split()}

def test_a_file_gets_whole_lines(report):
    assert any(len(o) > 200 for o in report_lines(report)) and not [o for o in report_lines(report) if '\x1b' in o]

def test_a_report_with_warnings_is_not_green(report):
    some = replace(report, findings=[o for o in report.findings if o.level != 'fail'])
    assert some.clean and some.verdict().startswith('sound, with ') and 'level warn">Sound' in some._repr_html_() and 'level fine' not in some._repr_html_()
    painted = report_lines(some, 80, lambda text, level: f'<{level}>{text}')
    assert painted[0].startswith('<warn>Sound')

class Terminal(io.StringIO):
    def isatty(self): return True

@pytest.mark.parametrize('stream, env, coloured', [(Terminal, {}, True), (Terminal, dict(NO_COLOR='1'), False), (Terminal, dict(TERM='dumb'), False), (io.StringIO, {}, False)])
def test_colour_is_for_terminals_that_want_it(monkeypatch, stream, env, coloured):
    for o in ('NO_COLOR', 'FORCE_COLOR', 'COLUMNS', 'TTY_COMPATIBLE', 'TTY_INTERACTIVE', 'JPY_PARENT_PID', 'COLORTERM'): monkeypatch.delenv(o, raising=False)
    for k,v in (dict(TERM='xterm-256color') | env).items(): monkeypatch.setenv(k, v)
    monkeypatch.setattr(sys, 'stdout', stream())
    assert ('\x1b[' in level_painter()('fails', 'fail')) == coloured and (text_width() is None) == (stream is io.StringIO)

def test_the_command_answers_for_the_corpus_where_there_is_no_lab(home, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    def levels(*args): return {o['rule']: o['level'] for o in json.loads(CliRunner().invoke(app, ['check', str(home), '--json', *args]).stdout)['findings']}
    assert [levels(*o)['leak: passage'] for o in ([], ['--corpus', 'open'], ['--corpus', 'fixed'])] == ['fail', 'fail', 'note']
    wrong = CliRunner().invoke(app, ['check', str(home), '--corpus', 'closed'])
    assert (wrong.exit_code, wrong.stderr) == (2, 'emb: --corpus closed: say `open` or `fixed`\n')
    (tmp_path/'settings.ini').write_text('[DEFAULT]\ndata = .\n')
    write_rows(tmp_path/'gold.jsonl', unrelated(3, 1))
    own = CliRunner().invoke(app, ['check', '--corpus', 'fixed'])
    assert own.exit_code == 2 and 'says `corpus = open`, and runs go by that' in own.stderr

def test_json_has_what_it_had_and_the_verdict(report):
    assert {'version', 'clean', 'path', 'corpus', 'threshold', 'splits', 'findings', 'leaks', 'same', 'lengths', 'charts', 'documents', 'searched', 'verdict'} == {*report.to_dict()}
    assert {*report.to_dict()['findings'][0]} == {'rule', 'level', 'count', 'says', 'examples'}
