"What an experiment can be given: read as annotated, or refused before anything runs, whichever way in"
import ast, json, re
from typing import Any, Literal, Optional, Union
import pytest
from support import emb, made_lab, papermill as as_anybody
from hypothesis import example, given, settings, strategies as st
from embed_lab.lab import LabError
from embed_lab.notebooks import Parameter, convert

cell = '''from typing import Literal, Optional
prompt: str = 'a=b'                      # what stands before a query
tag: str = 'none'                        # a word for the run
loss: Literal['contrastive', 'in-batch'] = 'contrastive'  # how it learns
lrs: list[float] = [
    1e-5,
    2e-5]                                # one after the other
options: 'dict[str, int | None]' = {'a': 1}  # whatever else
epochs: int = 1                          # passes over train
lr: float = 1                            # peak learning rate
shuffle: bool = True                     # order of rows
limit: Optional[int] = None              # rows at most
seed: int|None = None                    # from settings.ini
model: "Optional[str]" = None            # \\x1b[2J from settings.ini
folds = 3                                # no annotation'''
names = 'prompt tag loss lrs options epochs lr shuffle limit seed model folds'.split()
seen = ', '.join(f'{o}={o}' for o in names if o not in ('seed', 'model'))

def write(lab, name, parameters, last=f'run.finish({seen})'):
    "An experiment that trains nothing and tells what its cells see"
    from fastcore.nbio import mk_cell, new_nb, write_nb
    cells = [mk_cell(o) for o in (parameters, 'from embed_lab.runs.record import start', 'run = start(globals())', last)]
    cells[0]['metadata'] = dict(tags=['parameters'])
    nb = new_nb(cells)
    nb['metadata']['kernelspec'] = dict(name='python3', display_name='python3', language='python')
    write_nb(nb, lab/'experiments'/f'{name}.ipynb')

@pytest.fixture(scope='module')
def home(tmp_path_factory, data, base):
    "A lab with experiments of our own; no test here leaves anything that another would trip over"
    lab = made_lab(tmp_path_factory.mktemp('parameters')/'lab', data, base, ())
    write(lab, 'exp_07_kinds', cell.replace('\\x1b', '\x1b'))
    write(lab, 'exp_08_derived', 'epochs: int = 2\nwarmup: int = epochs * 2')
    return lab

def results(lab): return sorted(o.name for o in (lab/'results').iterdir())

def papermill(lab, exp, *args, ok=0):
    "papermill into results/, as anybody would call it; returns what it said and the manifest, if there is one"
    out = lab/'results'/exp
    out.mkdir(exist_ok=True)
    said = as_anybody(f'experiments/{exp}.ipynb', f'results/{exp}/{exp}.ipynb', *args, cwd=lab, ok=ok).stderr
    return said, json.loads((out/'run.json').read_text()) if (out/'run.json').exists() else None

def flat(pairs): return [o for k,v in pairs.items() for o in ('-p', k, v)]

# refusals

wrong = [
    ('epoch', '2', r'exp_07_kinds has no parameter `epoch`; did you mean `epochs`\?'),
    ('Loss', 'in-batch', r'exp_07_kinds has no parameter `Loss`; did you mean `loss`\?'),
    ('epochs', '1.5', r'`epochs` is int, and .?1\.5.? is not; its default is 1'),
    ('epochs', 'two', r"`epochs` is int, and 'two' is not"),
    ('shuffle', 'yes', r"`shuffle` is bool, and 'yes' is not; its default is True"),
    ('loss', 'triplet', r"`loss` is Literal\['contrastive', 'in-batch'\], and 'triplet' is not"),
    ('lrs', '1e-5', r'`lrs` is list\[float\], and .?1e-0?5.? is not; its default is \[1e-05, 2e-05\]'),
    ('lrs', '[1e-5, high]', r"`lrs` is list\[float\], and '\[1e-5, high\]' is not"),
    ('limit', '', r"`limit` is Optional\[int\], and '' is not"),
    ('lr', 'nan', r"`lr` is float, and '?nan'? is not"),
    ('options', '{a: 1}', r"`options` is dict\[str, int \| None\], and '\{a: 1\}' is not")]

def test_emb_run_refuses_before_a_kernel_starts(home):
    before = results(home)
    for name,text,wanted in [*wrong, ('epochs=2', '3', '-p takes a name and a value'), ('seed', '9'*30, '`seed` is int')]:
        err = emb('run', 'exp_07_kinds', '-p', name, text, cwd=home, ok=2).stderr
        assert re.search(wanted, err) and err.startswith('emb: ') and err.count('\n') == 1, err
    for o in ('-pepochs', '--parameter=epochs'): assert '-p takes a name' in emb('run', 'exp_07_kinds', o, '2', cwd=home, ok=2).stderr
    assert results(home) == before

def test_papermill_is_refused_by_the_first_toolkit_call(home):
    lost = [('tag', '007', r"`tag` is str, and 7 is not: papermill's -p turned text into that; use -r tag"), ('tag', 'None', r'`tag` is str, and None is not: papermill')]
    for name,text,wanted in [wrong[0], wrong[2], *wrong[4:10], *lost]: # ten kernels
        err, run = papermill(home, 'exp_07_kinds', '-p', name, text, ok=1)
        [line] = [o for o in err.splitlines() if o.startswith('LabError: ')]
        assert re.search(wanted, line) and run is None, err

@pytest.mark.parametrize('line', ['warmup = epochs * 2', "warmup: str = f'{epochs}'", 'warmup = int(epochs)', 'warmup = [epochs]', 'epochs += 1', 'epochs = 3',
    'a, b = 1, 2', 'a = b = 1', 'if epochs: a = 1', 'import os', "a: int = 'x'", 'a: float = 1e999', 'a: Path = 1', 'a: int', 'a = None', 'a: dict[int, str] = {}'])
def test_a_cell_that_is_not_plain_is_refused_with_the_line(home, line, tmp_path):
    from embed_lab.notebooks import read_parameters
    (tmp_path/'experiments').mkdir()
    write(tmp_path, 'exp', f'epochs: int = 2\n{line}')
    with pytest.raises(LabError, match='parameters line 2: '): read_parameters(tmp_path/'experiments'/'exp.ipynb')

def test_derived_values_are_refused_either_way(home):
    wanted = 'experiments/exp_08_derived.ipynb, parameters line 2: `warmup` is computed, so it would not follow an override; move the line below'
    err = emb('run', 'exp_08_derived', '-p', 'epochs', '3', cwd=home, ok=2).stderr
    assert wanted in err and err.count('\n') == 1 and 'exp_08_derived' not in results(home)
    err, run = papermill(home, 'exp_08_derived', '-p', 'epochs', '3', ok=1)
    assert wanted in err and run is None

beyond = dict(epochs=0, batch_size=1, lr='-1e-4', max_length=2, seed=2**32, dim=0, rank=-1, layers=-1, temperature=0, negatives=0, top=0, candidates=0,
    mini_batch=-1, skip=-1, threads=0, chunk=-1, devices=0, attention_dropout=1, rows=0, steps=0, pull=-1, most_lost='-.1')

def test_every_number_of_a_recipe_has_limits_and_is_refused_beyond_them():
    from embed_lab.notebooks import limits_text, override_parameters, read_overrides, read_parameters, shipped_notebooks
    seen = set()
    for nb in sorted(shipped_notebooks('experiments').glob('*.ipynb')):
        numbers = {k for k,o in (override_parameters | read_parameters(nb)).items() if re.search('int|float', o.kind)}
        assert all(limits_text(o) for o in numbers - {'margin'}), nb # a difference of scores may have either sign
        seen |= numbers
        for k in numbers & beyond.keys():
            with pytest.raises(LabError, match=f'parameter `{k}` is .*give a number [<>]'): read_overrides(nb, {k: str(beyond[k])})
    assert beyond.keys() == seen - {'margin', 'relative_margin'}
    with pytest.raises(LabError, match='`dims` is 0; give a number >= 1'):
        read_overrides(shipped_notebooks('experiments')/'exp_04_matryoshka.ipynb', dict(dims='[64, 0]'))

def test_limits_are_kept_by_run_sweep_and_papermill(home):
    before = results(home)
    for args in (('run', 'exp_07_kinds', '-p', 'epochs', '0'), ('sweep', 'exp_07_kinds', '-g', 'epochs=1,0'), ('run', 'exp_07_kinds', '-p', 'seed', '4294967296')):
        err = emb(*args, cwd=home, ok=2).stderr
        assert re.search('parameter `(epochs|seed)` is .*; give a number', err) and err.count('\n') == 1, err
    assert results(home) == before
    err, run = papermill(home, 'exp_07_kinds', '-p', 'epochs', '0', ok=1)
    assert 'LabError: parameter `epochs` is 0; give a number > 0, such as its default 1' in err and run is None

# settings

odd = [('modle = ../my_model', '3: no setting is called `modle`; did you mean `model`?'), ('seed = 1.5', '3: seed = 1.5; write a whole number from 0 to 4294967295'),
    ('seed = -1', '3: seed = -1;'), ('seed = ', '3: seed = ;'), ('seed = 4294967296', '3: seed = 4294967296;'), ('corpus = fixed # of 2026', '3: corpus = fixed # of 2026; write `open`'),
    ('data =', '3: data is empty; write `data = data`'), ('model =', '3: model is empty'), ('[lab]\nseed = 3', '3: [lab] is not read; write every setting under [DEFAULT]'),
    ('seed = \x1b[2J', r'3: seed = \x1b[2J cannot be meant'), ('no equals sign', 'not readable as settings'), ('seed = 1\nseed = 2', 'not readable as settings')]

@pytest.mark.parametrize('line, wanted', odd, ids=[o for o,_ in odd])
def test_a_setting_nobody_could_mean_is_refused_with_its_line(home, line, wanted, monkeypatch):
    file = home/'settings.ini'
    kept = file.read_text()
    file.write_text(f'[DEFAULT]\nresults = results\n{line}\n')
    try: err = emb('run', 'exp_07_kinds', cwd=home, ok=2).stderr
    finally: file.write_text(kept)
    assert wanted in err and str(file) in err and err.count('\n') == 1, err

def test_folders_of_settings_may_begin_at_home(tmp_path, monkeypatch):
    from embed_lab.lab import read_lab
    monkeypatch.setenv('HOME', str(tmp_path/'me'))
    (tmp_path/'settings.ini').write_text('[DEFAULT]\ndata = ~/rows\nresults = ../runs\n')
    lab = read_lab(tmp_path)
    assert lab.data == tmp_path/'me'/'rows' and lab.results == tmp_path/'..'/'runs'

def test_settings_of_another_program_are_not_a_labs(tmp_path):
    (tmp_path/'settings.ini').write_text('[DEFAULT]\nlib_name = poems\nuser = nobody\n')
    for args in (('ls',), ('run', 'exp_01_baseline')):
        err = emb(*args, cwd=tmp_path, ok=2).stderr
        assert f"the only settings.ini here, {tmp_path/'settings.ini'}, is not a lab's: make a lab with `emb init`" in err and err.count('\n') == 1, err
    err = emb('init', '.', cwd=tmp_path, ok=2).stderr
    assert "settings.ini is not a lab's; make a lab elsewhere" in err and sorted(o.name for o in tmp_path.iterdir()) == ['settings.ini'], err

# what is accepted

def test_every_experiment_can_be_told_how_to_compute(home):
    write(home, 'exp_09_machine', 'epochs: int = 1', '''import torch
from embed_lab.models.base import overrides
from embed_lab.models.base import hardware
run.finish(threads=torch.get_num_threads(), precision=hardware().precision, chunk=overrides.chunk)''')
    told = dict(threads=2, precision='bf16', chunk=0) # the environment says OMP_NUM_THREADS=1
    emb('run', 'exp_09_machine', *flat(told), cwd=home)
    run = json.loads((home/'results'/'exp_09_machine,chunk=0,precision=bf16,threads=2'/'run.json').read_text())
    assert run['headline'] == told and run['inputs']['parameters'].items() >= told.items()
    emb('run', 'exp_09_machine', cwd=home)
    run = json.loads((home/'results'/'exp_09_machine'/'run.json').read_text())
    assert run['headline'] == dict(threads=1, precision='fp32', chunk=None) and not run['inputs']['parameters'].keys() & told.keys()
    assert 'How this machine computes' in emb('run', 'exp_09_machine', '--help', cwd=home).stdout

texts = dict(prompt='c=d "e" \\n é', loss='in-batch', lrs='[1, 2e-5,\n 3e-5]', options="{'b': None}", epochs='1_000', lr='1e-4', shuffle='false', limit='5', folds='4')
values = dict(prompt='c=d "e" \\n é', tag='007', loss='in-batch', lrs=[1., 2e-5, 3e-5], options=dict(b=None), epochs=1000, lr=1e-4, shuffle=False, limit=5, folds=4)

def test_emb_run_and_papermill_hand_the_cells_the_same_typed_values(home):
    emb('run', 'exp_07_kinds', *flat(texts), '-p', 'tag', '007', '-p', 'seed', '7', cwd=home)
    [ours] = [json.loads(o.read_text()) for o in (home/'results').glob('exp_07_kinds,*/run.json')]
    _, theirs = papermill(home, 'exp_07_kinds', *flat(texts), '-r', 'tag', '007', '-r', 'seed', '7')
    (home/'results'/'exp_07_kinds'/'run.json').unlink()
    for o in (ours, theirs):
        assert o['status'] == 'completed' and o['overrides'] == values | dict(seed=7)
        assert {k: o['inputs']['parameters'][k] for k in values} == values and o['inputs']['parameters']['seed'] == 7
        assert o['headline'] == values # what the cells below `start` see
    assert ours['inputs'] == theirs['inputs']

# any value there can be

finite, whole, words = st.floats(allow_nan=False, allow_infinity=False), st.integers(-2**63, 2**63 - 1), st.text(st.characters(exclude_categories=['Cs']))
kinds = {int: whole, float: finite, bool: st.booleans(), str: words, Optional[int]: whole | st.none(), Optional[str]: words.filter(lambda o: o != 'None') | st.none(),
    Union[int, float]: whole | finite, Literal['a', '7', 7, None]: st.sampled_from(['a', 7, None]), list: st.lists(whole | words), list[float]: st.lists(finite),
    list[list[str]]: st.lists(st.lists(words)), dict[str, Optional[int]]: st.dictionaries(words, whole | st.none()),
    Optional[list[bool]]: st.lists(st.booleans()) | st.none(), dict[str, Any]: st.dictionaries(words, st.lists(finite | words | st.none()))}
pairs = st.sampled_from(list(kinds)).flatmap(lambda k: st.tuples(st.just(k), kinds[k]))

def same(a, b): return type(a) is type(b) and repr(a) == repr(b)

@settings(deadline=None, max_examples=500)
@given(pairs)
@example((str, '007'))
@example((str, 'nan'))
@example((Optional[str], None))
def test_text_becomes_the_value_it_was_written_from(pair):
    "And what papermill makes of the same text is that value too, or is refused: never another"
    from papermill.cli import _resolve_type
    kind, value = pair
    text, param = value if isinstance(value, str) else repr(value), Parameter('x', kind, '', '', 'kind')
    read = convert(param, text)
    assert same(read, value) and same(convert(param, read), value)
    try: assert same(convert(param, _resolve_type(text)), value)
    except LabError as e: assert 'use -r x' in str(e) and isinstance(value, str)

@settings(deadline=None, max_examples=500)
@given(st.sampled_from(list(kinds)), words | pairs.map(lambda o: repr(o[1])))
def test_any_text_is_read_or_refused(kind, text):
    try: value = convert(Parameter('x', kind, object(), '', 'kind'), text)
    except LabError as e: return
    json.dumps(value, allow_nan=False)
    assert same(convert(Parameter('x', kind, object(), '', 'kind'), value), value)

# help

def test_help_lists_an_experiments_parameters(home, tmp_path):
    plain = emb('run', '--help', cwd=home, COLUMNS='200').stdout
    res = emb('run', 'exp_07_kinds', '--help', cwd=home, COLUMNS='200')
    assert res.stdout.startswith(plain) and not res.stderr
    own, _, machine = res.stdout[len(plain):].partition('How this machine computes')
    title, head, *rows = own.strip().splitlines()
    assert title == 'Parameters of exp_07_kinds:' and head.split() == ['name', 'type', 'limits', 'default', 'comment']
    assert [o.split()[0] for o in rows] == names and [o.split()[0] for o in machine.splitlines()[2:]] == ['precision', 'threads', 'chunk', 'devices', 'attention_dropout', 'rows']
    assert re.search(r"^loss +Literal\['contrastive', 'in-batch'\] +'contrastive' +how it learns", res.stdout, re.M)
    assert re.search(r'^model +Optional\[str\] +None +\\x1b\[2J from', res.stdout, re.M) and '\x1b' not in res.stdout
    for args,cwd,wanted in [(['exp_7_kinds'], home, 'did you mean `exp_07_kinds`'), (['exp_08_derived'], home, '`warmup` is computed'), (['exp_07_kinds'], tmp_path, 'emb init')]:
        res = emb('run', *args, '-h', cwd=cwd, COLUMNS='200')
        assert res.stdout == plain and re.search(wanted, res.stderr) and res.stderr.strip().count('\n') == 0

def test_a_run_in_a_lab_without_a_corpus_says_among_how_few_gold_is_searched(home):
    from embed_lab.data.split import narrow_search
    write(home, 'exp_09_narrow', 'epochs: int = 1', 'run.finish()')
    corpus = home/'data'/'corpus.jsonl'
    kept = corpus.read_bytes()
    n = len(kept.splitlines()) # of the fixture: gold's own
    try:
        corpus.unlink()
        said = emb('run', 'exp_09_narrow', cwd=home).stderr
        made = json.loads((home/'results'/'exp_09_narrow'/'run.json').read_text())
        assert made['warnings'] == [narrow_search(home/'data')] and made['warnings'][0] in said and f'its own {n} passages' in said and 'of 725 in all splits' in said
    finally: corpus.write_bytes(kept)
    emb('run', 'exp_09_narrow', '--restart', cwd=home)
    assert not json.loads((home/'results'/'exp_09_narrow'/'run.json').read_text()).get('warnings')
