"`emb ls` of many runs: which, in which order, and on how many lines"
import json
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.files import write_json
from embed_lab.runs.listing import choose_rows, run_facts, run_seconds
from embed_lab.runs.manifest import mock_manifest
from embed_lab.lab import LabError

long = 'exp_02_in_batch,batch_size=128,epochs=12,loss=in-batch,lr=0.0001,max_length=256,seed='

def add(lab, name, seed=1, place='.', **facts):
    m = mock_manifest(experiment=name.split(',')[0], end='2026-03-01T12:30:00+00:00', **facts)
    m['inputs']['parameters'] = dict(seed=seed, lr=1e-4, model='a/b')
    write_json(lab/'results'/place/name/'run.json', m)
    return lab/'results'/place/name

@pytest.fixture
def lab(tmp_path, monkeypatch):
    (tmp_path/'settings.ini').write_text('[DEFAULT]\n')
    def scores(x): return dict(headline=dict(tuned=dict(mean=x, low=x, high=x), base=dict(mean=.5, low=.4, high=.6), bm25=dict(mean=.4, low=.3, high=.5),
        gain=dict(mean=x - .5, low=x - .6, high=x - .4)), documents=1000)
    for i in range(3): add(tmp_path, f'{long}{i}', i, **scores(.5 + i/10))
    add(tmp_path, 'exp_03', status='failed', error='LabError: data/gold.jsonl is\nempty; ' + 'look at it. '*20)
    write_json(add(tmp_path, 'exp_04', **scores(.55))/'notes.json', dict(note='for the <b>paper</b>', tags=['paper']))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('COLUMNS', raising=False)
    return tmp_path

def said(*args, code=0, **env):
    res = CliRunner().invoke(app, ['ls', *args], env=env)
    assert res.exit_code == code, res.output
    return res.stdout if not code else res.stderr

@pytest.mark.parametrize('width', (30, 40, 60, 80, 100))
def test_each_run_has_one_line_whatever_the_width(lab, width):
    out = said(COLUMNS=str(width)).splitlines()
    assert len([o for o in out[1:6] if 'completed' in o]) == 4 and len([o for o in out[1:6] if 'failed' in o]) == 1
    assert all(len(o) <= width for o in out[:6])
    assert all(o.rstrip().split()[0].endswith(f'seed={i}') for i,o in enumerate(out[1:4])) or width < 40 # the end of a name tells seeds apart

def test_a_file_gets_all_of_it(lab):
    out = said().splitlines()
    assert f'{long}2' in out[3] and '+0.200 [+0.100, +0.300]' in out[3] and 'paper' in out[5]
    why = next(o for o in out if o.startswith('exp_03 failed: data/gold.jsonl is empty; look at it.'))
    assert len(why) > 200 and 'exp_04: for the <b>paper</b>' in out

def test_a_narrow_terminal_gets_a_reason_on_one_line(lab):
    why, = (o for o in said(COLUMNS='60').splitlines() if o.startswith('exp_03 failed: '))
    assert len(why) == 60 and why.endswith('…')

def test_sorted_and_chosen(lab):
    def names(*args): return [o[-6:] for o in json.loads(said('--json', *args))]
    assert names('--sort', 'ndcg@10') == ['seed=2', 'seed=1', 'exp_04', 'seed=0', 'exp_03']
    assert names('--sort', '-ndcg@10') == ['seed=0', 'exp_04', 'seed=1', 'seed=2', 'exp_03']
    assert names('--where', 'gain>0.09 status=completed', '--sort', '-seed') == ['seed=1', 'seed=2']
    assert names('--where', 'tags~paper') == names('--where', 'run=exp_04') == ['exp_04'] and names('--where', 'lr=0.0001 seed!=1') == ['seed=0', 'seed=2']
    assert 'no run is like that' in said('--where', 'seed=77')
    assert json.loads(said('--json', '--where', 'seed=77')) == {}

@pytest.mark.parametrize('args, wanted', [(('--where', 'sed=1'), 'no run has `sed`; did you mean `seed`?'), (('--where', 'seed'), 'not a condition'), (('--where', 'ndcg@10>x'), '`ndcg@10` is a number'), (('--where', "error~'x"), 'a quote is not closed'),
    (('--where', '__import__("os").system("touch evil")'), 'not a condition'), (('--sort', 'nope'), 'no run has `nope`'), (('--where', '\x1b[31m=1'), 'not a condition')])
def test_what_is_not_understood_is_said_on_one_line(lab, args, wanted):
    err = said(*args, code=2)
    assert wanted in err and err.count('\n') == 1 and '\x1b' not in err and not (lab/'evil').exists()

def test_runs_beside_the_record_are_counted(lab):
    for place in ('scratch', 'aside', 'reproduced'): add(lab, 'exp_09', place=place)
    (lab/'results'/'scratch'/'torn').mkdir()
    (lab/'results'/'scratch'/'torn'/'run.json').write_text('{')
    assert 'beside these: 1 scratch run of JupyterLab in results/scratch, 1 run moved aside in results/aside, 1 run repeated in results/reproduced' in said()

def test_links_are_not_followed_and_attempts_count(lab):
    (lab/'results'/'exp_04'/'up').symlink_to(lab)
    assert json.loads(said('--json'))['exp_04']['listed']['mib'] < .01
    earlier = dict(start='2026-03-01T10:00:00+00:00', end='2026-03-01T10:30:00+00:00', status='killed', error=None)
    assert run_seconds(mock_manifest(end='2026-03-01T12:30:00+00:00', attempts=[earlier])) == 3600
    assert run_seconds(mock_manifest(end='2026-02-01T12:30:00+00:00')) == 0 # a clock that went back

def test_odd_values_are_compared_as_what_they_are(lab):
    rows = [run_facts(lab/str(i), mock_manifest() | dict(inputs=dict(parameters=dict(x=v)))) for i,v in enumerate((True, [1, 2], None, '1e3', float('nan'), 1000))]
    assert [o['run'] for o in choose_rows(rows, 'x=1000')] == ['3', '5'] and [o['run'] for o in choose_rows(rows, 'x=true')] == ['0']
    assert [o['run'] for o in choose_rows(rows, "x='[1, 2]'")] == ['1'] and [o['run'] for o in choose_rows(rows, 'x>5')] == ['3', '5']
    for where,wanted in {'x>=1000': '35', 'x>1000': '', 'x<=1000': '35', 'x<1000': '', 'x=1': '', 'x<zz': '014'}.items(): assert ''.join(o['run'] for o in choose_rows(rows, where)) == wanted, where
    with pytest.raises(LabError): choose_rows(rows, sort='nothing')

def test_a_file_gets_what_rich_would_draw():
    from io import StringIO
    from random import Random
    from rich.console import Console
    from embed_lab.cli.terminal import _plain_lines, _table_text
    r = Random(0)
    def text(): return ''.join(r.choice('abc XYZ-_$<b>é日本語\u0301🙂.,[]/:') for _ in range(r.randint(0, 14))).strip()
    for _ in range(50):
        rows = [{k: r.choice([text(), 2.5, None, '']) for k in ('run', 'x y', 'Ⅷ日')} for _ in range(3)]
        Console(file=(drawn := StringIO()), width=1000).print(_table_text(rows, 1000))
        assert '\n'.join(_plain_lines(rows)) + '\n' == drawn.getvalue()
