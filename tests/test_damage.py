"What is damaged, edited or gone takes nothing else with it, and is not taken for what it was"
import copy, json, os, shutil, socket
from types import SimpleNamespace
import numpy as np, pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from typer.testing import CliRunner
from support import checkpoints, emb, exp, manifest, whole_run as args, whole_run_path as name, write_manifest
from embed_lab.cli.commands import app
from embed_lab.evaluation import reproduce as repeat
from embed_lab.evaluation.comparable import completed_runs, mock_run
from embed_lab.lab import LabError, read_lab
from embed_lab.runs import execute as executing
from embed_lab.runs.execute import Plan, _prepare, execute
from embed_lab.runs.results import read_run, result_facts, survey_runs, verify_runs

rng = np.random.default_rng(0)

def said(*args):
    "Exit code and output of a command in this process, which never ends in a traceback"
    res = CliRunner().invoke(app, [str(o) for o in args], env=dict(COLUMNS='200'))
    if res.exception and not isinstance(res.exception, SystemExit): raise res.exception
    assert res.exit_code in (0, 1, 2) and 'Traceback' not in res.output, res.output
    return res.exit_code, res.output

def mocked(lab, name, seed=1):
    "A completed run with everything in it, and a record of its files"
    run = mock_run(lab, name, dict(tuned=rng.random(20), base=rng.random(20)), seed, guard=dict(tuned=rng.random(9), base=rng.random(9)))
    for file,text in {'final/config.json': '{}', 'final/model.safetensors': 'weights', 'history.jsonl': '{"step":5,"dev":0.5}\n', 'eval/guard_metrics.json': '{}',
            'exp_01.ipynb': '{"cells": [{"cell_type": "code", "source": "1", "outputs": []}]}'}.items():
        (run/file).parent.mkdir(exist_ok=True)
        (run/file).write_text(text)
    write_manifest(run, manifest(run) | result_facts(run, 'exp_01.ipynb') | dict(headline=dict(tuned=dict(mean=.5, low=.4, high=.6))))
    return run

@pytest.fixture
def lab(tmp_path, monkeypatch):
    "A lab with two good runs, and one between them to damage"
    (tmp_path/'settings.ini').write_text('[DEFAULT]\n')
    monkeypatch.chdir(tmp_path)
    res = read_lab(tmp_path)
    for i in (1, 2, 3): mocked(res, f'exp_01,seed={i}', i)
    return res

def damaged(lab): return lab.results/'exp_01,seed=2'

def whole(lab):
    "A function that puts the damaged run back as it was, times and all"
    kept = shutil.copytree(damaged(lab), lab.path/'kept')
    def restore():
        shutil.rmtree(damaged(lab), ignore_errors=True)
        return shutil.copytree(kept, damaged(lab))
    return restore

def put_socket(p):
    here = os.getcwd()
    os.chdir(p.parent) # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as s: s.bind(p.name)
    os.chdir(here)

def put_sparse(p):
    with p.open('wb') as f: f.truncate(2 << 30)

instead = {'gone': lambda p: None, 'dangling': lambda p: p.symlink_to('nowhere'), 'empty': lambda p: p.touch(), 'pipe': os.mkfifo, 'socket': put_socket, 'folder': lambda p: p.mkdir(),
    'device': lambda p: p.symlink_to('/dev/zero'), 'loop': lambda p: p.symlink_to(p.name), '2 GB': put_sparse, 'deep': lambda p: p.write_text('['*100_000),
    'bytes': lambda p: p.write_bytes(bytes(range(256))), 'nan': lambda p: p.write_text('{"status": NaN}'), 'list': lambda p: p.write_text('[1, 2]'), 'null': lambda p: p.write_text('null')}

def replace(p, how):
    p.unlink()
    instead[how](p)

# reading

def test_a_manifest_that_is_none_hides_no_other_run(lab):
    restore = whole(lab)
    for how in instead:
        replace(restore()/'run.json', how)
        runs, unreadable = survey_runs(lab)
        assert [*runs] == ['exp_01,seed=1', 'exp_01,seed=3'] and all('\n' not in o for o in unreadable.values())
        assert [o.startswith('results/exp_01,seed=2/run.json: ') for o in unreadable.values()] == ([] if how in ('gone', 'dangling') else [True]), how
        assert [o.name for o in completed_runs(lab, ['exp_01*'])[0]] == [*runs]
        with pytest.raises(LabError): completed_runs(lab, [str(damaged(lab))])
        if how not in ('folder', 'list'): continue
        code, out = said('ls')
        assert code == 0 and 'exp_01,seed=1' in out and 'exp_01,seed=3' in out and 'emb: results/exp_01,seed=2/run.json: ' in out
        assert [*json.loads(CliRunner().invoke(app, ['ls', '--json']).stdout)] == [*runs]
        code, out = said('compare', 'exp_01*')
        assert code == 0 and 'skipped: exp_01,seed=2 (results/exp_01,seed=2/run.json: ' in out
        for command in (['reproduce', 'exp_01,seed=2'], ['encode', 'exp_01,seed=2', 'settings.ini', '--out', 'vectors']):
            code, out = said(*command)
            assert code == 2 and out.count('\n') == 1, out

scored = 'eval/gold_metrics.json', 'eval/per_query.jsonl', 'eval/guard_per_query.jsonl'

@pytest.mark.parametrize('recorded', [True, False])
def test_scores_that_are_none_hide_no_other_run(lab, recorded):
    "Also in runs of earlier versions, without a record of their files"
    if not recorded:
        for o in lab.results.iterdir(): write_manifest(o, {k: v for k,v in manifest(o).items() if k != 'files'})
    restore = whole(lab)
    for file in scored:
        for how in instead:
            replace(restore()/file, how)
            runs, skipped = completed_runs(lab, ['exp_01*'])
            if recorded or how not in ('gone', 'dangling'): assert ([o.name for o in runs], len(skipped)) == (['exp_01,seed=1', 'exp_01,seed=3'], 1), (file, how)
            if recorded: assert damaged(lab) in verify_runs(lab, survey_runs(lab)[0] and {damaged(lab): read_run(damaged(lab))})
    (damaged(lab)/'eval'/'guard_per_query.jsonl').unlink(missing_ok=True)
    (damaged(lab)/'eval'/'per_query.jsonl').write_text('{}')
    code, out = said('compare', 'exp_01*')
    assert code == 0 and 'skipped: exp_01,seed=2 (' in out

# edited by anything

values = st.recursive(st.none() | st.booleans() | st.integers() | st.integers(10**18, 10**40) | st.floats() | st.text(max_size=5) | st.sampled_from(['\0', '../..', '2026-01-01', 'a\nb', '\x1b[2J', '0001-01-01T00:00:00+14:00']),
    lambda o: st.lists(o, max_size=3) | st.dictionaries(st.text(max_size=3), o, max_size=3), max_leaves=6)

@st.composite
def edited(draw, value):
    "JSON of which one place is another value, is gone, or is one more"
    new = here = copy.deepcopy(value)
    while True:
        if not here or not isinstance(here, dict | list): return new
        k = draw(st.sampled_from([*here] if isinstance(here, dict) else range(len(here))))
        if not isinstance(here[k], dict | list) or not here[k] or draw(st.integers(0, 3)) == 0: break
        here = here[k]
    how = draw(st.sampled_from(['other', 'other', 'gone', 'more']))
    if how == 'gone': del here[k]
    elif how == 'more' and isinstance(here, dict): here[draw(st.text(max_size=3))] = draw(values)
    else: here[k] = draw(values)
    return new

def text(value): return json.dumps(value, ensure_ascii=False).encode(errors='replace')

def ask_everything(lab):
    "What every command makes of a lab; raises what none of them may raise"
    said('ls')
    json.loads(CliRunner().invoke(app, ['ls', '--json']).stdout)
    for words in (['exp_01,seed=2'], ['exp_01*']): said('compare', *words)
    said('reproduce', 'exp_01,seed=2')
    said('reproduce', 'exp_01,seed=2', '--archive', 'a.tar.gz')
    plan = Plan(lab, lab.experiments/'exp_01.ipynb', {}, manifest(lab.results/'exp_01,seed=1')['inputs'], damaged(lab), [])
    plan.done, plan.doubt
    try: _prepare(plan, False)
    except LabError as e: assert '\n' not in str(e)

@pytest.fixture
def quick(lab, monkeypatch):
    "Reproducing a run takes its time; here another run is what came of it"
    other = lab.results/'exp_01,seed=3'
    def made(plan, *args): return read_run(shutil.copytree(other, lab.results/'reproduced'/'exp_01,seed=2', dirs_exist_ok=True))
    monkeypatch.setattr(repeat, 'execute', made)
    monkeypatch.setattr(repeat, 'plan', lambda *args: SimpleNamespace())
    monkeypatch.setattr(repeat, 'read_parameters', lambda path: {})
    return lab

cheap = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], derandomize=True, database=None)

@pytest.mark.parametrize('file', ['run.json', 'eval/gold_metrics.json', 'eval/per_query.jsonl'])
def test_nothing_in_a_run_brings_a_traceback_out_of_any_command(quick, file):
    full = dict(progress=dict(stage='training', done=1, total=2), attempts=[dict(start='2026-03-01T12:00:00+00:00', end=None, status='killed', error='')], used=dict(memory=1, disk=2),
        estimate=dict(seconds=dict(estimated=1, was=2, off=.5)), torn=['checkpoint-5 is torn'], warnings=['few'], resumed='checkpoint-5', documents=7)
    judged = dict(task=dict(gold='sha256:1', corpus='sha256:2'), measures=dict(implementation='pytrec-eval', version='1'), queries=20)
    for o in ('exp_01,seed=1', 'exp_01,seed=2', 'exp_01,seed=3'): (quick.results/o/'eval'/'gold_metrics.json').write_text(json.dumps(judged))
    run = damaged(quick)
    write_manifest(run, manifest(run) | full | dict(status='running') if file == 'run.json' else {k: v for k,v in manifest(run).items() if k not in ('files', 'outcome')})
    restore, lines = whole(quick), (run/file).read_bytes()
    if file == 'per_query.jsonl': first, rest = lines.split(b'\n', 1)
    else: first, rest = (lines, b'') if not file.endswith('l') else lines.split(b'\n', 1)
    status = st.sampled_from(['running', 'completed', 'failed', 'interrupted', 'killed'])
    known = json.loads(first)
    @cheap
    @given(st.one_of(st.binary(max_size=60), edited(known).map(text), edited(known).map(text)), status)
    def check(new, status):
        restore()
        if file == 'run.json': new = new.replace(b'"status": "running"', b'"status": "%s"' % status.encode())
        (run/file).write_bytes(new + (b'\n' + rest if rest else b''))
        ask_everything(quick)
    check()

def test_a_run_whose_manifest_is_damaged_is_set_aside_and_made_again(lab, monkeypatch):
    "It was announced and then refused"
    plan = Plan(lab, lab.experiments/'exp_01.ipynb', {}, manifest(lab.results/'exp_01,seed=1')['inputs'], damaged(lab), [])
    (damaged(lab)/'run.json').write_text('{broken')
    ran = []
    monkeypatch.setattr(executing, '_papermill', lambda *args: (ran.append(1), ('failed', 'stopped here'))[1])
    monkeypatch.setattr(executing, '_conclude', lambda *args: dict(status='failed'))
    monkeypatch.setattr(executing, '_judged', lambda plan, run: run)
    assert plan.doubt and execute(plan)['status'] == 'failed' and ran == [1]
    assert [o.name[:11] for o in (lab.results/'aside').iterdir()] == ['exp_01,seed']

# completed means that it is still there

def test_a_run_of_which_something_is_gone_or_changed_is_not_up_to_date(lab):
    restore = whole(lab)
    def ask(breaks):
        run = restore()
        breaks(run)
        plan = Plan(lab, lab.experiments/'exp_01.ipynb', {}, read_run(run)['inputs'], run, [])
        return plan.done, plan.doubt, said('ls')[1]
    def edit(file, old, new, same_time=False):
        def done(run):
            at = (run/file).stat()
            (run/file).write_bytes((run/file).read_bytes().replace(old, new))
            if same_time: os.utime(run/file, ns=(at.st_atime_ns, at.st_mtime_ns))
        return done
    def rid(file): return lambda run: shutil.rmtree(run/file) if (run/file).is_dir() else (run/file).unlink()
    ways = {'final/ is gone': rid('final'), 'final/model.safetensors is gone': rid('final/model.safetensors'), 'final/config.json has changed': edit('final/config.json', b'{}', b'{ }', True),
        'final/model.safetensors has changed': edit('final/model.safetensors', b'weights', b'WEIGHTS'), 'eval/ is gone': rid('eval'), 'eval/per_query.jsonl has changed': edit('eval/per_query.jsonl', b'0.', b'0.9'),
        'eval/gold_metrics.json has changed': edit('eval/gold_metrics.json', b'{', b'{ '), 'history.jsonl is gone': rid('history.jsonl'), 'history.jsonl has changed': edit('history.jsonl', b'0.5', b'0.6'),
        'exp_01.ipynb is gone': rid('exp_01.ipynb')}
    for what,breaks in ways.items():
        done, doubt, out = ask(breaks)
        assert not done and doubt == f'{what} since it completed', what
        assert f'exp_01,seed=2: {what} since it completed; `emb run exp_01` makes it again' in out and out.split()[out.split().index('exp_01,seed=2') + 1] == 'changed'
    assert ask(edit('exp_01.ipynb', b'"1"', b'"2"'))[:2] == (True, '') and 'exp_01.ipynb has changed since it completed\n' in ask(edit('exp_01.ipynb', b'"1"', b'"2"'))[2]
    for harmless in (edit('exp_01.ipynb', b'"cells"', b'"metadata": {"trusted": true}, "cells"'), lambda run: os.utime(run/'final'/'config.json'), lambda run: (run/'final'/'README.md').write_text('Ours')):
        done, doubt, out = ask(harmless)
        assert done and not doubt and 'since it completed' not in out

def test_a_copied_lab_is_read_once_and_nothing_is_written_into_its_runs(lab, tmp_path, monkeypatch):
    from embed_lab.runs import results
    copied = shutil.copytree(lab.path, tmp_path/'copy', copy_function=shutil.copy) # without times
    there, read = read_lab(copied), []
    hashed = results.file_hash
    monkeypatch.setattr(results, 'file_hash', lambda o: read.append(o) or hashed(o))
    before = {o: o.stat().st_mtime_ns for o in copied.rglob('*') if 'cache' not in o.parts}
    def ask(): return verify_runs(there, {there.results/k: o for k,o in survey_runs(there)[0].items()})
    assert (ask(), len(read)) == ({}, 3*7)
    assert (ask(), len(read)) == ({}, 3*7)
    (there.results/'cache'/'verified.json').write_text('{"a": 1}')
    assert (ask(), len(read)) == ({}, 6*7)
    now = {o: o.stat().st_mtime_ns for o in copied.rglob('*') if 'cache' not in o.parts}
    assert {o for o in now if before.get(o) != now[o]} <= {there.results}

def test_on_demand_every_file_is_read(lab):
    file = damaged(lab)/'final'/'model.safetensors'
    at = file.stat()
    file.write_text('WEIGHTS')
    os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert 'since it completed' not in said('ls')[1]
    code, out = said('ls', '--verify')
    assert code == 1 and 'exp_01,seed=2: final/model.safetensors has changed since it completed' in out
    file.write_text('weights')
    assert said('ls', '--verify')[0] == 0 and 'every file of 3 runs is as recorded' in said('ls', '--verify')[1]
    (damaged(lab)/'final'/'adapter.safetensors').touch()
    assert 'final/adapter.safetensors is new' in said('ls', '--verify')[1]

# real runs

@pytest.fixture
def mine(tmp_path, request): return shutil.copytree(request.getfixturevalue('whole'), tmp_path/'lab')

def test_a_run_that_lost_its_model_is_made_again(mine):
    run = name(mine)
    assert 'up to date' in emb('run', *args, cwd=mine).stdout
    old = manifest(run)
    assert 'exp_02_in_batch.ipynb' in old['files'] and old['files']['final/model.safetensors']['size'] == (run/'final'/'model.safetensors').stat().st_size
    shutil.rmtree(run/'final')
    res = emb('run', *args, cwd=mine)
    assert f'{run.name}: final/ is gone since it completed; what is left of it goes to results/aside' in res.stderr and 'up to date' not in res.stdout
    assert manifest(run)['outcome'] == old['outcome'] and (next((mine/'results'/'aside').iterdir())/'eval'/'per_query.jsonl').exists()

def test_mended_judgements_do_not_cost_the_training(mine):
    run, gold = name(mine), mine/'data'/'gold.jsonl'
    old, lines = manifest(run), gold.read_text().splitlines(True)
    write_manifest(run, {k: v for k,v in old.items() if k not in ('headline', 'outcome', 'files', 'end')} | dict(status='failed', error='LabError: a grade beyond 1,000'))
    shutil.rmtree(run/'eval')
    gold.write_text(''.join(lines[:-9]))
    emb('run', *args, cwd=mine)
    new = manifest(run)
    assert new['resumed'] == f'checkpoint-{checkpoints(run)[-1]}' and new['outcome']['weights'] == old['outcome']['weights'] and not (mine/'results'/'aside').exists()
    assert new['inputs']['data']['gold.jsonl'] != old['inputs']['data']['gold.jsonl'] and new['outcome']['metrics'] != old['outcome']['metrics']
