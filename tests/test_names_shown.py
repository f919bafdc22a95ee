"Names of files, runs and experiments are whatever someone called them, and no terminal obeys them"
import json, os, shutil
import pytest
from support import exp
from typer.testing import CliRunner

evil = 'exp\x1b]0;x\x07\x1b[31m\u202egnp\u2066\x9b2J\u200b\x85'
lines = 'one\nemb: two completed\rthree'

def answered(*args, cwd, monkeypatch):
    "What a command says, in this process"
    from embed_lab.cli.commands import app
    monkeypatch.chdir(cwd)
    res = CliRunner().invoke(app, [str(o) for o in args], catch_exceptions=True)
    assert res.exception is None or isinstance(res.exception, SystemExit), (args, res.exception)
    for said in (res.stdout, res.stderr):
        bad = [c for c in said if not (c.isprintable() or c in '\n\u200c\u200d')]
        assert not bad, (args, bad, said)
    return res

@pytest.fixture
def named(lab):
    "A lab in which everything that can have a name has a bad one"
    from embed_lab.evaluation.comparable import mock_run
    from embed_lab.lab import read_lab
    shutil.copy(lab/'experiments'/f'{exp}.ipynb', lab/'experiments'/f'{evil}.ipynb')
    shutil.copy(lab/'experiments'/f'{exp}.ipynb', lab/'experiments'/f'{lines}.ipynb')
    for i,o in enumerate((evil, lines, 'exp_ok')): mock_run(read_lab(lab), f'{o},seed={i}', dict(tuned=[.5, .6], base=[.1, .2]), seed=i)
    (lab/'results'/'exp_ok,seed=2').rename(lab/'results'/'exp_ok\udcff,seed=2') # bytes that are not UTF-8
    shutil.copy(lab/'experiments'/f'{exp}.ipynb', lab/'experiments'/'exp_\udcff.ipynb')
    (lab/'results'/evil).mkdir()
    (lab/'results'/evil/'run.json').write_text('{')
    (lab/'data'/f'{evil}.jsonl').write_text('{"query": "a"}\n')
    (lab/evil).mkdir()
    for o in ('gold', 'train', 'dev'): shutil.copy(lab/'data'/f'{o}.jsonl', lab/evil/f'{o}.jsonl')
    return lab

@pytest.mark.parametrize('args', [('ls',), ('ls', '--json'), ('compare', '*'), ('compare', 'exp*', '--json'), ('compare', f'{lines},seed=1', '--markdown'), ('compare', evil), ('run', 'exp_\udcff'), ('reproduce', 'exp_ok\udcff,seed=2'),
    ('run', evil, '--help'), ('run', lines, '--help'), ('run', evil, '-p', evil, '1'), ('run', lines, '-p', 'lr', evil), ('run', evil + 'x'), ('new', evil), ('new', 'exp_99', '--from', evil),
    ('new', 'exp_98', '--from', lines), ('check', f'data/{evil}.jsonl'), ('check', evil), ('split', f'data/{evil}.jsonl'), ('split', 'data/gold.jsonl', '--into', evil), ('import', f'data/{evil}.jsonl', '--to', f'{evil}2'),
    ('import', 'data/gold.jsonl', '--to', f'{lines}2'), ('corpus', evil), ('recipes', '--for', evil), ('sweep', evil, '-g', f'lr={evil}'), ('sweep', exp, '--points', f'{evil}'),
    ('reproduce', f'{evil},seed=0'), ('encode', f'{evil},seed=0', 'data/corpus.jsonl', '--out', evil), ('encode', evil, f'{evil}.jsonl', '--out', evil), ('init', f'{evil}/{evil}')], ids=lambda o: ascii(' '.join(o))[:40])
def test_no_name_reaches_the_terminal_as_it_is(named, monkeypatch, args):
    if args[0] in ('ls',) and '--json' not in args: shutil.rmtree(named/'results'/evil)
    res = answered(*args, cwd=named, monkeypatch=monkeypatch)
    assert 'Traceback' not in res.stderr and not any(o.startswith('emb: two completed') for o in (res.stdout + res.stderr).splitlines())

def test_a_run_of_such_a_name_says_so_on_one_line(named, monkeypatch, base):
    "Up to the refusal of its notebook, progress and all"
    nb = named/'experiments'/f'{lines}.ipynb'
    cells = json.loads(nb.read_text())
    cells['cells'] = [o for o in cells['cells'] if 'parameters' in o['metadata'].get('tags', [])] + [dict(cell_type='code', id='a1', metadata={}, outputs=[], execution_count=None, source=f'raise ValueError({evil!r})')]
    nb.write_text(json.dumps(cells))
    res = answered('run', lines, cwd=named, monkeypatch=monkeypatch)
    assert res.exit_code == 2 and 'Traceback' not in res.stderr
