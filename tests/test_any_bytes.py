"Whatever is in settings.ini, an experiment or a model's JSON files, every command answers, and never with a traceback"
import copy, json, os, shutil
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from support import exp
from typer.testing import CliRunner

calm = settings(deadline=None, max_examples=25, derandomize=True, suppress_health_check=[*HealthCheck])
fewer = settings(calm, max_examples=8)
simple = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(['', '../x', '\0', 'a' * 300, '\ud800', -1, 0, 1e400, 10**30, [], {}, [[]], {'': None}, ['x'], 'bert', {'a': 1}]))
anything = st.recursive(st.one_of(simple, st.text(max_size=8)), lambda o: st.one_of(st.lists(o, max_size=3), st.dictionaries(st.text(max_size=6), o, max_size=3)), max_leaves=6)
deep = b'[' * 3000 + b']' * 3000
odd_bytes = st.one_of(st.binary(max_size=60), st.sampled_from([b'', b'\xff\xfe', b'null', b'[]', b'{}', b'0', b'"x"', deep, b'{"cells": ' + deep + b'}', b'\xef\xbb\xbf{}', b'NaN', b'{"cells": {}}', b'{"a":1,"a":2}']))

def places(o, at=()):
    "Every place in a JSON value"
    yield at
    for k,v in (o.items() if isinstance(o, dict) else enumerate(o) if isinstance(o, list) else ()): yield from places(v, (*at, k))

def changed(value, at, new, drop):
    "A JSON value with one thing in it replaced, or left out"
    if not at: return new
    res = copy.deepcopy(value)
    inner = res
    for k in at[:-1]: inner = inner[k]
    if drop: del inner[at[-1]]
    else: inner[at[-1]] = new
    return res

def encoded(o): return json.dumps(o).encode()

def altered(value):
    "Bytes that were once this JSON value"
    some = st.tuples(st.sampled_from([*places(value)]), anything, st.booleans())
    return st.one_of(odd_bytes, some.map(lambda o: encoded(changed(value, *o))))

@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch):
    "Up to where a kernel would start, and nothing is asked of the hub"
    from embed_lab.runs import execute, sweep
    monkeypatch.setattr(execute, 'execute', lambda plan, *o, **kw: dict(status='completed', headline={}))
    monkeypatch.setattr(sweep, 'sweep', lambda some, *o, **kw: some)

def answers(lab, *commands):
    "Run commands in this process, each of which has to answer"
    from embed_lab.cli.commands import app
    was = os.getcwd()
    os.chdir(lab)
    try:
        for args in commands:
            res = CliRunner().invoke(app, [str(o) for o in args], catch_exceptions=True)
            if res.exception and not isinstance(res.exception, SystemExit): raise AssertionError(args) from res.exception
            assert res.exit_code in (0, 1, 2), (args, res.exit_code)
            assert 'Traceback' not in res.stderr, res.stderr
            if res.exit_code == 2: assert len([o for o in res.stderr.splitlines() if o.startswith('emb: ')]) >= 1 and len(res.stderr) < 6000, (args, res.stderr)
    finally: os.chdir(was)

@pytest.fixture(scope='module')
def home(tmp_path_factory, fresh):
    "A lab with a run, which the tests of this file change"
    from embed_lab.evaluation.comparable import mock_run
    from embed_lab.lab import read_lab
    lab = shutil.copytree(fresh, tmp_path_factory.mktemp('bytes')/'lab')
    mock_run(read_lab(lab), f'{exp},seed=1', dict(tuned=[.5, .6], base=[.1, .2]))
    return lab

reading = ('ls',), ('compare', f'{exp}*'), ('recipes', '--for', '.'), ('run', exp, '--help'), ('reproduce', f'{exp},seed=1'), ('corpus',), ('doctor',)

keys = st.sampled_from(['inventory', 'nbs', 'data', 'experiments', 'results', 'seed', 'model', 'corpus', 'tracker', 'x'])
values = st.text(max_size=12).map(lambda o: o.replace('/', '').replace('..', ''))
lines = st.lists(st.tuples(keys, st.one_of(values, st.sampled_from(['', '\0', 'a' * 300, '%(seed)s', '${x}', '9' * 5000, '1e5', '\x1b[31m', 'open', '.', '~']))), max_size=5)
ini = lines.map(lambda some: ('[DEFAULT]\n' + ''.join(f'{k} = {v}\n' for k,v in some)).encode(errors='replace'))

@calm
@given(content=st.one_of(odd_bytes, ini))
def test_any_settings(home, content):
    file = home/'settings.ini'
    good = file.read_bytes()
    file.write_bytes(content)
    try: answers(home, *reading, ('check', 'data'), ('run', exp), ('sweep', exp, '-g', 'lr=1,2'), ('encode', f'{exp},seed=1', 'data/corpus.jsonl', '--out', 'vectors'))
    finally: file.write_bytes(good)

def notebook(): 
    from embed_lab.notebooks import shipped_notebooks
    return json.loads((shipped_notebooks('experiments')/f'{exp}.ipynb').read_text())

cells = st.text(max_size=30).map(lambda o: changed(notebook(), ('cells', next(i for i,c in enumerate(notebook()['cells']) if 'parameters' in c['metadata'].get('tags', [])), 'source'), o, False))
code = st.sampled_from(['lr: float = 1', 'x: "int" = ' + '(' * 300, 'x = ' + '[' * 150 + ']' * 150, 'a: Literal[{}] = 1', 'a: Literal[[1]] = 1', 'a: Optional[()] = None', 'a = -' * 50, 'x: int = 0x', 'x = "\0"',
    'lr: float = 1e999', 'x: list[[]] = []', 'x: Union[int] = 1', 'x: dict[str, Literal[[]]] = {}', 'x = {[]: 1}', 'x = {1: 2, **{}}', 'x = 1_0', 'x: int = ' + '9' * 5000, 'x = f"{1}"', 'x: "1 +" = 1', 'x: int | None', '\tx = 1', 'x = 1 # \x1b[2J', 'é = 1', 'x: None = None', 'x: "x" * 3 = 1'])
parameters = code.map(lambda o: changed(notebook(), ('cells', next(i for i,c in enumerate(notebook()['cells']) if 'parameters' in c['metadata'].get('tags', [])), 'source'), o, False))

@settings(calm, max_examples=60)
@given(content=st.one_of(altered(notebook()), cells.map(encoded), parameters.map(encoded)))
def test_any_experiment(home, content):
    (home/'experiments'/'exp_77.ipynb').write_bytes(content)
    try: answers(home, ('ls',), ('run', 'exp_77', '--help'), ('run', 'exp_77'), ('sweep', 'exp_77', '-g', 'lr=1,2'), ('new', 'exp_78', '--from', 'exp_77'), ('recipes', '--for', '.'))
    finally: (home/'experiments'/'exp_78.ipynb').unlink(missing_ok=True)

@pytest.mark.parametrize('name', ['config.json', 'modules.json', '1_Pooling/config.json', 'config_sentence_transformers.json', 'tokenizer_config.json', 'sentence_bert_config.json', 'tokenizer.json'])
@fewer
@given(data=st.data())
def test_any_model(home, bert, tmp_path_factory, name, data):
    if not (bert/name).exists(): pytest.skip('not in this model')
    good = json.loads((bert/name).read_text())
    if name == 'tokenizer.json': good['model']['vocab'] = dict([*good['model']['vocab'].items()][:5])
    content = data.draw(altered(good))
    model = home/'model'
    shutil.rmtree(model, ignore_errors=True)
    shutil.copytree(bert, model)
    (model/name).write_bytes(content)
    shutil.rmtree(home/'vectors', ignore_errors=True)
    (home/'few.jsonl').write_text('{"_id": "a", "text": "call us"}\n')
    answers(home, ('check', 'data', '--model', 'model'), ('run', exp, '-p', 'model', 'model'), ('encode', 'model', 'few.jsonl', '--out', 'vectors'))
