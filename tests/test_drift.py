"Today's questions beside those of dev: the same, others, and files that are none"
import gzip, json
import numpy as np
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.files import write_json, write_rows
from embed_lab.data.reading import read_rows
from embed_lab.delivery.drift import asked_queries, energy_test, written
from embed_lab.lab import LabError
from embed_lab.models.base import weights_hash
from embed_lab.runs.manifest import mock_manifest

def command(*args):
    res = CliRunner().invoke(app, [str(o) for o in args])
    return res.exit_code, res.stdout if '--json' in args else res.stdout + res.stderr

def test_the_distance_is_the_one_of_its_definition():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) + 1
    def mean(x, y, same): return np.mean([np.linalg.norm(x[i] - y[j]) for i in range(len(x)) for j in range(len(y)) if not same or i != j])
    assert energy_test(a, b).energy == pytest.approx(2*mean(a, b, False) - mean(a, a, True) - mean(b, b, True), abs=1e-5)
    assert energy_test(a, b) == energy_test(a, b) and energy_test(b, a).energy == pytest.approx(energy_test(a, b).energy, abs=1e-6)

def test_equal_questions_are_no_drift():
    same = np.eye(6)[[0]*6]
    assert energy_test(same, same).p == 1

@pytest.mark.parametrize('name, text, says', [('a.txt', '', 'no question'), ('a.txt', b'\xff\xfe\x00\xd8', 'not UTF-8'), ('a.jsonl', '{"query": "x"}\n{"query": 1}\n', 'a.jsonl:2: no `query`'),
    ('a.jsonl', '{"query": "x", "count": -1}\n', r'a.jsonl:1: `count` is -1'), ('a.jsonl', '{"query": "x", "count": 1e400}\n', 'a.jsonl:1'), ('a.jsonl', '{"query": "x"}\n{"query": \n', 'a.jsonl:2: '),
    ('a.csv', 'query,count\nx,often\n', "a.csv:2: `count` is 'often'"), ('a.csv', 'question,day\nx,1\n', r"this row has \['question', 'day'\]"), ('b.txt', None, 'no such file')])
def test_what_is_no_log_is_refused(tmp_path, name, text, says):
    if text is not None: (tmp_path/name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LabError, match=says): asked_queries(tmp_path/name)

def test_logs_of_every_kind_are_read(tmp_path):
    (tmp_path/'a.csv').write_text('\ufeffquery\n"a, b"\nc\nc\n')
    (tmp_path/'b.jsonl').write_text('{"query": "c", "count": 2}\n{"query": "a, b"}\n')
    (tmp_path/'c.jsonl.gz').write_bytes(gzip.compress((tmp_path/'b.jsonl').read_bytes()))
    (tmp_path/'d.tsv').write_text('count\tquery\n1\ta, b\n2\tc\n')
    assert all(asked_queries(tmp_path/o) == {'a, b': 1, 'c': 2} for o in ('a.csv', 'b.jsonl', 'c.jsonl.gz', 'd.tsv'))

def test_symbols_alone_have_no_script(): assert written(['?!', '123'])['letters not ?'] == 1

@pytest.fixture(scope='module')
def served(tmp_path_factory, data, base):
    "A lab with a run that no one has computed"
    home = (tmp_path_factory.mktemp('served')/'lab').resolve()
    for k in ('train', 'dev', 'gold'): write_rows(home/'data'/f'{k}.jsonl', list(read_rows(data/f'{k}.jsonl')))
    (home/'settings.ini').write_text('[DEFAULT]\n')
    import shutil
    shutil.copytree(base, home/'results'/'exp_01'/'final')
    run = mock_manifest(experiment='exp_01', status='completed')
    run['inputs'] |= dict(parameters=dict(model=str(base), seed=42), base_model=weights_hash(base))
    write_json(home/'results'/'exp_01'/'run.json', run)
    return home

def test_other_questions_are_told_apart_and_written_down(served, tmp_path, monkeypatch):
    monkeypatch.chdir(served)
    dev = list(dict.fromkeys(o['query'] for o in read_rows('data/dev.jsonl')))
    (tmp_path/'same.txt').write_text('\n'.join(' '.join(o.split()) for o in dev))
    code, said = command('drift', 'exp_01', tmp_path/'same.txt', '--json')
    assert (code, json.loads(said)['drifted']) == (0, False)
    odd = [f'как сбросить роутер {i}' for i in range(30)]
    write_rows(tmp_path/'today.jsonl', [dict(query=o, count=i + 1) for i,o in enumerate(odd)])
    code, said = command('drift', 'exp_01', tmp_path/'today.jsonl', '--to', tmp_path/'judge.jsonl')
    assert code == 1 and 'no longer look like' in said and 'letters not Latin' in said and 'wrote ' in said
    rows = [json.loads(o) for o in (tmp_path/'judge.jsonl').read_text().splitlines()]
    assert len(rows) % 5 == 0 and rows[0]['query'] in odd and rows[0]['label'] is None and len({o['query'] for o in rows}) == len(rows)/5
    code, said = command('drift', 'exp_01', tmp_path/'today.jsonl', '--json')
    again = json.loads(command('drift', 'exp_01', tmp_path/'today.jsonl', '--json')[1])
    assert json.loads(said) == again and again['traits']['unknown tokens']['today'] > .5
    write_rows('data/more.jsonl', rows)
    assert command('check', 'data/more.jsonl')[0] == 1

@pytest.mark.parametrize('args, says', [(['exp_01', 'none.txt'], 'none.txt: no such file'), (['exp_99', 'few.txt'], 'few.txt has 2 distinct questions'),
    (['exp_01', 'few.txt', '--to', 'a.csv'], 'ends in .jsonl'), (['exp_01', 'few.txt', '--to', 'data/dev.jsonl'], 'already exists'), (['exp_01', 'few.txt', '--to', 'no/a.jsonl'], 'no: no such folder')])
def test_what_cannot_be_compared_is_said_in_a_line(served, monkeypatch, args, says):
    monkeypatch.chdir(served)
    (served/'few.txt').write_text('a\nb\n')
    code, said = command('drift', *args)
    assert code == 2 and says in said and said.count('\n') <= 1

def test_what_was_not_read_is_said(served, tmp_path, monkeypatch):
    monkeypatch.chdir(served)
    monkeypatch.setattr('embed_lab.delivery.drift._read', 30)
    queries = list(dict.fromkeys(o['query'] for o in read_rows('data/dev.jsonl')))
    (tmp_path/'q.txt').write_text('\n'.join(queries))
    known = len({o['query'] for o in read_rows('data/train.jsonl')})
    said = command('drift', 'exp_01', tmp_path/'q.txt')[1]
    assert f'the 30 most frequent questions were read; {len(queries) - 30} rarer ones were not' in said and f'{known - 30} others were not looked at' in said
    assert json.loads(command('drift', 'exp_01', tmp_path/'q.txt', '--json')[1])['unread'] == dict(today=len(queries) - 30, train=known - 30)
