"Whatever notebook people bring, by whatever name: run by the lab's own Python, or refused in one line"
import json, os, shutil
import pytest, typer
from support import emb, made_lab, papermill
from hypothesis import given, settings, strategies as st
from embed_lab.cli.commands import app
from embed_lab.runs.manifest import mock_manifest
from embed_lab.runs.results import run_name
from typer.testing import CliRunner

def cell(source, *tags, **more): return dict(cell_type='code', id=f'c{abs(hash(source)) % 10**6}', metadata=dict(tags=list(tags)), source=source, outputs=[], execution_count=None) | more

def notebook(*sources, metadata=None, **more):
    "An experiment that trains nothing"
    cells = [cell('lr: float = 0.1\nname: str = "x"', 'parameters'), cell('from embed_lab.runs.record import start\nrun = start(globals())'), *map(cell, sources), cell('run.finish(lr=lr)')]
    return dict(cells=cells, metadata=dict(kernelspec=dict(name='python3', display_name='python3', language='python')) if metadata is None else metadata, nbformat=4, nbformat_minor=5) | more

def write(lab, name, nb):
    (lab/'experiments'/f'{name}.ipynb').write_text(nb if isinstance(nb, str) else json.dumps(nb))
    return name

@pytest.fixture(scope='module')
def home(tmp_path_factory, data, base): return made_lab(tmp_path_factory.mktemp('notebooks')/'lab', data, base, ())

def manifest(lab, run): return json.loads((lab/'results'/run/'run.json').read_text())

bare = notebook()
for o in bare['cells']: o.pop('metadata'), o.pop('id'), o.pop('outputs'), o.pop('execution_count')
bare['cells'][0]['metadata'] = dict(tags=['parameters'])
old = dict(nbformat=3, nbformat_minor=0, metadata=dict(name=''), worksheets=[dict(metadata={}, cells=[
    dict(cell_type='code', collapsed=False, input=o['source'], language='python', metadata=o['metadata'], outputs=[]) for o in notebook()['cells']])])
readable = dict(conda=notebook(metadata=dict(kernelspec=dict(name='my-env', display_name='Python (my-env)', language='python'))), script=notebook(metadata={}),
    bare={k: o for k,o in bare.items() if k in ('cells', 'nbformat', 'nbformat_minor')}, unnumbered={k: o for k,o in notebook().items() if not k.startswith('nbformat')},
    colab=notebook(metadata=dict(colab=dict(provenance=[]), kernelspec=dict(name='python3'), language_info=dict(name='python'), widgets={'application/vnd.jupyter.widget-state+json': {'7': {}}})),
    format_3=old, odd_ids=notebook() | dict(cells=[o | dict(id='no id') for o in notebook()['cells']]), null_metadata=notebook() | dict(metadata=None), older_minor=notebook(nbformat_minor=0))

@pytest.mark.parametrize('name', readable)
def test_what_other_programs_write_is_run_by_the_labs_own_python(home, name):
    write(home, name, readable[name])
    emb('run', name, cwd=home)
    run = manifest(home, name)
    assert run['status'] == 'completed' and run['headline'] == dict(lr=.1)
    said = [o for o in run.get('warnings', []) if 'kernel' in o]
    assert ['`my-env`; the Python of this lab ran it' in o for o in said] == ([True] if name == 'conda' else [])

def test_a_folder_of_kernels_does_not_say_what_python3_is(home, tmp_path):
    spec = tmp_path/'kernels'/'python3'
    spec.mkdir(parents=True)
    (spec/'kernel.json').write_text(json.dumps(dict(argv=['/nowhere/python', '-m', 'ipykernel_launcher', '-f', '{connection_file}'], display_name='x', language='python')))
    write(home, 'elsewhere', notebook())
    emb('run', 'elsewhere', cwd=home, JUPYTER_PATH=str(tmp_path), JUPYTER_PREFER_ENV_PATH='0')
    assert manifest(home, 'elsewhere')['status'] == 'completed'

broken = {'empty': '', 'braces': '{}', 'list': '[]', 'words': 'not even a notebook', 'deep': '['*100_000, 'no_cells': '{"cells": 7}', 'odd_cell': '{"cells": [7]}', 'odd_type': '{"cells": [{"cell_type": "poem"}]}',
    'odd_source': '{"cells": [{"cell_type": "code", "source": {}}]}', 'odd_old': '{"nbformat": 3, "worksheets": 7}',
    'untagged': notebook() | dict(cells=notebook()['cells'][1:]), 'in_R': notebook(metadata=dict(kernelspec=dict(name='ir', language='R'))), 'latin': '{"cells": []}\xff'}

def said(*args):
    "Exit code and output of a command in this process, which never ends in a traceback"
    res = CliRunner().invoke(app, [*args])
    if res.exception and not isinstance(res.exception, SystemExit): raise res.exception
    assert 'Traceback' not in res.output, res.output
    return res.exit_code, res.output

refusing = [('run', '{}'), ('run', '{}', '--estimate'), ('run', '{}', '--estimate', '--json'), ('sweep', '{}', '-g', 'lr=.1,.2'), ('sweep', '{}', '-g', 'lr=.1..1', '--trials', '2'), ('reproduce', '{}'), ('reproduce', '{}', '--archive', 'a.tar.gz'),
    ('compare', '{}'), ('encode', '{}', 'data/gold.jsonl', '--out', 'vectors'), ('search', '{}', 'words'), ('promote', '{}'),
    ('threshold', '{}'), ('drift', '{}', 'data/gold.jsonl'), ('merge', '{}'), ('export', '{}'), ('parity', '{}', 'data'), ('push', '{}', 'org/name'), ('stamp', '{}'), ('mirror', '{}'), ('judge', '{}')]
showing = [('run', '{}', '--help'), ('sweep', '{}', '--help'), ('ls',), ('ls', '--verify', '--json'), ('recipes',), ('recipes', '--for', 'data'), ('check',), ('corpus',), ('init', '.'),
    ('board',), ('doctor',), ('note', '{}', 'words'), ('tag', '{}', 'odd'), ('tidy',), ('mv', '{}', '{},seed=1'), ('rm', '{},seed=1', '--yes')]

@pytest.mark.parametrize('name', broken)
def test_what_is_no_experiment_is_refused_in_one_line_by_every_command(home, monkeypatch, name):
    monkeypatch.chdir(home)
    nb, run = home/'experiments'/f'{name}.ipynb', home/'results'/name
    nb.write_bytes(broken[name].encode('latin-1') if isinstance(broken[name], str) else json.dumps(broken[name]).encode())
    try:
        for words in refusing[:5]:
            code, err = said(*(o.format(name) for o in words))
            assert code == 2 and f'{name}.ipynb' in err and err.count('\n') == 1, (words, err)
            assert not run.exists()
        code, err = said('new', 'exp_77', '--from', name)
        assert (code == 0 or code == 2 and err.count('\n') == 1) and (home/'experiments'/'exp_77.ipynb').exists() == (code == 0), err
        run.mkdir()
        shutil.copy(nb, run) # a run of when it was one
        (run/'run.json').write_text(json.dumps(mock_manifest(experiment=name, outcome=dict(weights=None, metrics=None))))
        for words in refusing[5:]:
            code, err = said(*(o.format(name) for o in words))
            assert code == 2 and err.count('\n') == 1, (words, err)
        for words in showing: assert said(*(o.format(name) for o in words))[0] in (0, 1, 2), words
    finally:
        for o in (nb, home/'experiments'/'exp_77.ipynb'): o.unlink(missing_ok=True)
        for o in (run, run.with_name(f'{name},seed=1')): shutil.rmtree(o, ignore_errors=True)

def test_every_command_that_takes_an_experiment_or_a_run_has_met_them():
    "A command that is new has its place in `refusing` or `showing`"
    tried = {o[0] for o in refusing + showing} | {'new'}
    other = {'import', 'split', 'demo', 'generate', 'seal', 'unseal'} # neither reads nor runs an experiment
    assert {*typer.main.get_command(app).commands} - other == tried

def test_what_is_no_file_is_refused_too(home):
    (home/'experiments'/'folder.ipynb').mkdir()
    os.mkfifo(home/'experiments'/'pipe.ipynb')
    (home/'experiments'/'loop.ipynb').symlink_to('loop.ipynb')
    try:
        for o in ('folder', 'pipe', 'loop'):
            err = emb('run', o, cwd=home, ok=2).stderr
            assert f'experiments/{o}.ipynb' in err and err.count('\n') == 1, err
    finally:
        (home/'experiments'/'folder.ipynb').rmdir()
        for o in ('pipe', 'loop'): (home/'experiments'/f'{o}.ipynb').unlink()

def test_braces_in_the_path_of_a_lab_are_a_path(tmp_path, fresh):
    lab = shutil.copytree(fresh, tmp_path/'{project}'/'{lab}')
    emb('run', write(lab, 'q', notebook()), cwd=lab)
    assert manifest(lab, 'q')['status'] == 'completed' and (lab/'results'/'q'/'q.ipynb').is_file()

# how it ended

display = 'class A:\n    def __repr__(self): raise ValueError("broken")\nA()'

@pytest.mark.parametrize('source, error', [(display, 'ValueError: broken'), ('a = 1\n1/0', 'ZeroDivisionError: division by zero (cell 3, line 2)'), ('1 +', 'SyntaxError')], ids=['display', 'cell', 'syntax'])
def test_an_error_anywhere_in_a_cell_fails_the_run(home, source, error):
    write(home, 'q', notebook(source))
    shutil.rmtree(home/'results'/'q', ignore_errors=True)
    assert emb('run', 'q', cwd=home, ok=1).stderr.splitlines()[-1].startswith(f'emb: q failed: {error}')
    assert manifest(home, 'q')['status'] == 'failed' and error in manifest(home, 'q')['error']
    (home/'results'/'p').mkdir(exist_ok=True)
    papermill(f'experiments/{write(home, "p", notebook(source))}.ipynb', 'results/p/p.ipynb', cwd=home, ok=1)
    assert manifest(home, 'p')['status'] == 'failed' and error.split(' (')[0] in manifest(home, 'p')['error']
    shutil.rmtree(home/'results'/'p')

def test_a_notebook_that_stops_short_has_failed_either_way(home):
    nb = notebook()
    nb['cells'].pop()
    emb('run', write(home, 'short', nb), cwd=home, ok=1)
    (home/'results'/'brief').mkdir()
    papermill(f'experiments/{write(home, "brief", nb)}.ipynb', 'results/brief/brief.ipynb', cwd=home)
    for o in ('short', 'brief'): assert [manifest(home, o)[k] for k in ('status', 'error')] == ['failed', 'the notebook ended before run.finish()']

# names

def test_a_path_is_a_path(home):
    write(home, 'q', notebook())
    (home/'drafts').mkdir()
    (home/'drafts'/'q.ipynb').write_text('not even a notebook')
    (home/'q.ipynb').write_text('not even a notebook')
    for path,wanted in (('drafts/q.ipynb', 'drafts/q.ipynb is not in experiments/'), ('drafts/q', 'drafts/q is not in experiments/'), ('q.ipynb', 'q.ipynb is not in experiments/'),
                        ('no/such/folder/q.ipynb', 'no/such/folder/q.ipynb: no such notebook'), ('/q', '/q: no such notebook')):
        for command in (('run', path), ('sweep', path, '-g', 'lr=.1,.2'), ('new', 'other', '--from', path)):
            err = emb(*command, cwd=home, ok=2).stderr
            assert wanted in err and err.count('\n') == 1, err
    (home/'q.ipynb').unlink()
    for path,cwd in (('q', home), ('q.ipynb', home), ('experiments/q.ipynb', home), ('./experiments/q', home), ('q.ipynb', home/'experiments'), ('experiments/q', home/'data'), (home/'experiments'/'q.ipynb', '/')):
        if cwd == '/': cwd, path = home/'nbs', str(path)
        assert 'Parameters of q:' in emb('run', path, '--help', cwd=cwd).stdout

def test_an_experiment_does_not_take_over_a_folder_of_results(home):
    for o in ('scratch', 'cache', 'aside', 'reproduced', 'Cache'):
        write(home, o, notebook())
        err = emb('run', o, cwd=home, ok=2).stderr
        assert f'`{o}` is already a folder of results/; rename it' in err and err.count('\n') == 1, err
        (home/'experiments'/f'{o}.ipynb').unlink()

def test_a_renamed_experiment_is_named_where_its_old_name_is_asked_for(home):
    emb('run', write(home, 'draft', notebook('lucky = 7')), cwd=home)
    (home/'experiments'/'draft.ipynb').rename(home/'experiments'/'exp_30_lucky.ipynb')
    assert 'no experiment `draft` in experiments/; its runs executed the code of `exp_30_lucky`, which may be its new name' in emb('run', 'draft', cwd=home, ok=2).stderr

def test_parameters_that_differ_in_punctuation_are_two_runs(home):
    write(home, 'q', notebook())
    shutil.rmtree(home/'results'/'q', ignore_errors=True)
    for o in ('a b', 'a-b', 'a/b'): emb('run', 'q', '-p', 'name', o, cwd=home)
    made = sorted(o.name for o in (home/'results').glob('q,*'))
    assert len(made) == 3 and 'q,name=a-b' in made and not (home/'results'/'aside').exists() and {manifest(home, o)['overrides']['name'] for o in made} == {'a b', 'a-b', 'a/b'}

values = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False, allow_infinity=False, width=16), st.text(st.sampled_from('a7 -/,=.Né中'), max_size=60),
    st.lists(st.integers(0, 9), max_size=3))
changes = st.tuples(st.sampled_from(['exp', 'exp,a=1', 'é'*100]), st.dictionaries(st.sampled_from('ab'), values, max_size=2))

@settings(deadline=None, max_examples=1000)
@given(changes, changes)
def test_no_two_runs_share_a_name_and_every_name_fits_a_file_system(one, other):
    def exact(o): return o[0], repr(sorted(o[1].items()))
    names = run_name(*one), run_name(*other)
    assert (names[0] == names[1]) == (exact(one) == exact(other)), names
    for o in names: assert len(o.encode()) <= 120 and '/' not in o and o.isprintable()

def test_a_run_of_another_lab_does_not_stand_for_ones_own(home, tmp_path):
    emb('run', write(home, 'own', notebook()), cwd=home)
    (tmp_path/'results').mkdir()
    shutil.copytree(home/'results'/'own', tmp_path/'results'/'own')
    err = emb('reproduce', str(tmp_path/'results'/'own'), cwd=home, ok=2).stderr
    assert f"{tmp_path/'results'/'own'} is not a run of this lab" in err and err.count('\n') == 1, err
