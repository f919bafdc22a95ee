"Runs in the trackers that ship: real trackio and MLflow on stores of their own, and trackers that hang or fail"
import json, os, re, shutil, signal, socket, warnings
from dataclasses import replace
from pathlib import Path
import pytest
from support import begin, emb, exp, gone, made_lab, manifest, wait_for, whole_run, whole_run_path
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.files import write_json, write_rows
from embed_lab.lab import read_lab
from embed_lab.runs.manifest import mock_manifest
from embed_lab.runs.mirrors import _mirror, mirror_ended, mirror_runs
from embed_lab.runs.record import rehearsal
from embed_lab.runs.results import read_run
from embed_lab.runs.trackers import Tracked, followers, keep_tracked, read_tracked

token = 'hf_' + 'aB3dE5gH7jK9mN1pQ3sT5vW7'

def score(x): return {k: dict(mean=x, low=x - .1, high=x + .1) for k in ('ndcg@10', 'mrr@10')}

def add(lab, name, **facts):
    "A run that might have been made, with all that is mirrored"
    path = lab/'results'/name
    m = mock_manifest(experiment='exp_01', **dict(status='completed', end='2026-03-01T12:30:00+00:00') | facts)
    m['inputs']['parameters'] = dict(seed=1, lr=1e-4, model='/home/anna/base')
    write_json(path/'run.json', m)
    write_rows(path/'history.jsonl', [dict(step=0, dev=.3), *(dict(step=i, loss=1/i, lr=1e-4) for i in (10, 20, 30)), dict(step=30, dev=.5)])
    write_json(path/'eval'/'gold_metrics.json', dict(systems=dict(tuned=score(.6), base=score(.5), bm25=score(.4)), gain=score(.1), queries=2, documents=9))
    write_rows(path/'eval'/'per_query.jsonl', [dict(query_id=f'q{i}', query=f'a | "b" <i>{i}</i>', **{k: dict(scores={'ndcg@10': v}, hits=[]) for k,v in dict(tuned=.6, base=.5).items()}) for i in range(2)])
    printed = dict(cell_type='code', metadata={}, execution_count=1, source=f'key = "{token}"', outputs=[dict(output_type='stream', name='stdout', text=[f'{token}\n'])])
    write_json(path/'exp_01.ipynb', dict(cells=[printed], metadata={}, nbformat=4, nbformat_minor=5))
    (path/'final').mkdir()
    (path/'final'/'README.md').write_text(f'# card\n{token}\n')
    return path

def lab_with(path, tracker):
    path.mkdir(parents=True, exist_ok=True)
    (path/'settings.ini').write_text(f'[DEFAULT]\ntracker = {tracker}\n')
    return read_lab(path)

def everything(folder): return b'\n'.join(o.read_bytes() for o in sorted(folder.rglob('*')) if o.is_file())

# MLflow

@pytest.fixture(scope='module')
def mlflow_store(tmp_path_factory):
    "A lab of a hostile name, whose database is made once, and a client of it"
    mlflow = pytest.importorskip('mlflow')
    lab = lab_with(tmp_path_factory.mktemp('mlflow')/'lab <b>#1 "ü"', 'mlflow')
    return lab, mlflow.MlflowClient(f'sqlite:///{lab.results}/trackers/mlflow.db')

def in_mlflow(client, path): return client.get_run(read_tracked(path)['mlflow'].id)

def points(client, run, name): return sorted((o.step, o.value) for o in client.get_metric_history(run.info.run_id, name))

def test_mlflow_has_all_of_a_run_and_nothing_twice(mlflow_store):
    lab, client = mlflow_store
    path = add(lab.path, 'exp_01,lr=0.0001', error=None)
    assert _mirror(lab, path) and not _mirror(lab, path)
    run = in_mlflow(client, path)
    assert (run.info.status, run.info.run_name) == ('FINISHED', path.name)
    assert run.data.params == dict(seed='1', lr='0.0001', model='base')
    assert run.data.metrics['gold/tuned/ndcg_10/low'] == .5 and run.data.metrics['gold/gain/ndcg_10'] == .1
    assert points(client, run, 'loss') == [(10, .1), (20, .05), (30, 1/30)] and points(client, run, 'eval_dev_cosine_ndcg_10') == [(0, .3), (30, .5)]
    [table] = [o for o in client.list_artifacts(run.info.run_id) if o.path == 'queries.json']
    text = Path(client.download_artifacts(run.info.run_id, table.path)).read_text()
    assert json.loads(text)['data'][0][:2] == ['q0', 'a | "b" <i>0</i>']
    assert {o.path for o in client.list_artifacts(run.info.run_id)} == {'eval', 'exp_01.ipynb', 'final', 'history.jsonl', 'queries.json', 'run.json'}
    write_json(path/'notes.json', dict(note='served since May'))
    assert _mirror(lab, path)
    again = in_mlflow(client, path)
    assert again.info.run_id == run.info.run_id and again.data.tags['lab.note'] == 'served since May'
    assert points(client, again, 'loss') == points(client, run, 'loss') and len(points(client, again, 'gold/gain/ndcg_10')) == 1

@pytest.mark.parametrize('status, shown', [('failed', 'FAILED'), ('interrupted', 'KILLED'), ('killed', 'KILLED')])
def test_a_run_that_did_not_complete_is_closed_as_that(mlflow_store, status, shown):
    lab, client = mlflow_store
    path = add(lab.path, f'exp_01,{status}', status=status, error=f'RuntimeError: no {token}')
    assert _mirror(lab, path)
    run = in_mlflow(client, path)
    assert run.info.status == shown and run.data.tags['lab.error'] == 'RuntimeError: no ***'

def test_no_secret_and_no_path_of_this_machine_leaves_the_lab(mlflow_store):
    lab, client = mlflow_store
    path = add(lab.path, 'exp_01,secrets', git=dict(commit='c', branch='main', remote=f'https://u:{token}@host/r', dirty=None, untracked=[], ignored=[]))
    assert _mirror(lab, path)
    assert client.download_artifacts(in_mlflow(client, path).info.run_id, 'exp_01.ipynb') and in_mlflow(client, path).data.tags['lab.git/commit'] == 'c'
    kept = everything(lab.results/'trackers')
    assert token.encode() not in kept and b'/home/anna' not in kept.replace(json.dumps('/home/anna/base').encode(), b'') # the manifest says what it says

def test_a_store_that_was_deleted_gets_the_run_anew(mlflow_store):
    lab, client = mlflow_store
    path = add(lab.path, 'exp_01,anew')
    keep_tracked(path, 'mlflow', id='0'*32, name=path.name, status='killed')
    assert _mirror(lab, path) and in_mlflow(client, path).info.status == 'FINISHED'

def test_the_command_closes_what_was_left_open_too(mlflow_store, monkeypatch):
    lab, client = mlflow_store
    ran, dead = add(lab.path, 'exp_01,cli'), add(lab.path, 'exp_01,dead', status='running')
    assert read_run(dead)['status'] == 'killed'
    keep_tracked(dead, 'mlflow', status='running')
    monkeypatch.chdir(lab.path)
    res = CliRunner().invoke(app, ['mirror', 'exp_01,c*', '--json'])
    assert res.exit_code == 0 and json.loads(res.stdout) == {o.name: dict(status='mirrored') for o in (ran, dead)}, res.output
    assert in_mlflow(client, dead).info.status == 'KILLED'

# trackio

def test_trackio_has_all_of_a_run_and_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setenv('TRACKIO_DIR', str(tmp_path/'trackio')) # read when it is imported, here for the first time
    pytest.importorskip('trackio')
    from trackio.sqlite_storage import SQLiteStorage
    lab = lab_with(tmp_path/'lab <b>#1 "ü"', 'trackio')
    path = add(lab.path, 'exp_01,lr=0.0001')
    assert _mirror(lab, path) and not _mirror(lab, path)
    [project] = SQLiteStorage.get_projects()
    [run] = SQLiteStorage.get_runs(project)
    logs = SQLiteStorage.get_logs(project, run)
    assert run == path.name and [(o['train/global_step'], o['train/loss']) for o in logs if 'train/loss' in o] == [(10, .1), (20, .05), (30, 1/30)]
    assert [o['gold/gain/ndcg@10/low'] for o in logs if 'gold/gain/ndcg@10' in o] == [0.]
    [table] = [o['queries'] for o in logs if 'queries' in o]
    assert table['_value'][1]['query'] == 'a | "b" <i>1</i>'
    config = SQLiteStorage.get_run_config(project, run)
    assert (config['lr'], config['model'], config['status']) == (1e-4, 'base', 'completed')
    [record] = SQLiteStorage.get_artifacts(project)
    assert token.encode() not in everything(tmp_path/'trackio')
    write_json(path/'notes.json', dict(note='later'))
    assert _mirror(lab, path) and SQLiteStorage.get_runs(project) == [run] and len(SQLiteStorage.get_logs(project, run)) == len(logs) + 1
    assert SQLiteStorage.get_run_config(project, run)['note'] == 'later'

# TensorBoard and W&B, where they are installed

def test_tensorboard_files_lie_in_the_run(tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    lab = lab_with(tmp_path/'lab', 'tensorboard')
    path = add(lab.path, 'exp_01')
    assert _mirror(lab, path) and not _mirror(lab, path)
    read = EventAccumulator(str(path/'tensorboard'))
    read.Reload()
    assert [o.step for o in read.Scalars('train/loss')] == [10, 20, 30] and [o.step for o in read.Scalars('gold/tuned/ndcg@10/high')] == [30]
    assert token.encode() not in everything(path/'tensorboard')

def test_wandb_offline_keeps_what_it_would_send(tmp_path, monkeypatch):
    pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    lab = lab_with(tmp_path/'lab <b>#1', 'wandb')
    path = add(lab.path, 'exp_01')
    assert mirror_runs(lab, [path]) == {path: ('mirrored', '')} and mirror_runs(lab, [path]) == {path: ('up to date', '')}
    [sent] = (lab.results/'trackers'/'wandb').glob('offline-run-*/run-*.wandb')
    assert b'train/loss' in sent.read_bytes() and token.encode() not in everything(lab.results/'trackers')

# trackers that fail or hang

brought = '''
import time

class Sleeps:
    def __call__(self, run): time.sleep(600)
    def mirror(self, m):
        print('noise')
        time.sleep(600)

sleeps = Sleeps()
'''

@pytest.fixture
def sleeping(tmp_path, monkeypatch):
    "A lab whose tracker does not answer"
    site = tmp_path/'site'
    about = site/'sleepy-1.0.dist-info'
    about.mkdir(parents=True)
    (site/'sleepy.py').write_text(brought)
    (about/'METADATA').write_text('Metadata-Version: 2.1\nName: sleepy\nVersion: 1.0\n')
    (about/'entry_points.txt').write_text('[embed_lab.trackers]\nsleeps = sleepy:sleeps\n')
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv('PYTHONPATH', f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return lab_with(tmp_path/'lab', 'sleeps')

def test_a_tracker_that_hangs_at_the_end_is_left_behind(sleeping):
    paths = [add(sleeping.path, f'exp_0{i}') for i in range(2)]
    assert mirror_runs(sleeping, paths, patience=2) == {paths[0]: ('failed', 'no answer in 2 seconds'), paths[1]: ('failed', 'the process that called the tracker has died')}

def followed(run, tracker, monkeypatch, patience=1):
    monkeypatch.setattr('embed_lab.runs.trackers.tracker_patience', patience)
    run.lab = replace(run.lab, tracker=tracker)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        return followers(run), run.manifest.get('warnings')

def test_a_tracker_that_hangs_at_the_start_costs_a_warning(sleeping, monkeypatch):
    assert followed(rehearsal('m'), 'sleeps', monkeypatch) == ([], ['tracker sleeps does not follow this run (TimeoutError: no answer in 1 seconds)'])

def test_what_is_mirrored_from_home_is_not_followed_elsewhere(sleeping, monkeypatch):
    run = rehearsal('m')
    run.manifest['reproduces'] = 'exp_01'
    assert followed(run, 'sleeps', monkeypatch) == ([], None)
    monkeypatch.setenv('EMB_ELSEWHERE', '1')
    assert followed(rehearsal('m'), 'sleeps', monkeypatch) == ([], None)

@pytest.mark.parametrize('listens', [True, False])
def test_a_server_that_is_gone_or_silent_costs_a_line(tmp_path, monkeypatch, listens):
    pytest.importorskip('mlflow')
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
        if not listens: server.close()
        for k,v in dict(TRACKING_URI=f'http://127.0.0.1:{port}', HTTP_REQUEST_TIMEOUT='1', HTTP_REQUEST_MAX_RETRIES='0').items(): monkeypatch.setenv(f'MLFLOW_{k}', v)
        lab = lab_with(tmp_path/'lab', 'mlflow')
        path = add(lab.path, 'exp_01')
        [said] = mirror_ended(lab, path)
    assert said.startswith('it is not, or not whole, in the tracker mlflow (MlflowException: ') and '\n' not in said and said.endswith('later, `emb mirror` sends the rest')
    assert read_tracked(path) == {}

def test_a_tracker_that_is_not_installed_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'trackio', None)
    monkeypatch.setattr('importlib.util.find_spec', lambda name, *args: None)
    found, [said] = followed(rehearsal('m'), 'trackio', monkeypatch, 30)
    assert found == [] and said == "tracker trackio does not follow this run (`trackio` is not installed: pip install 'embed-lab[trackio]')"

def test_without_a_tracker_there_is_nothing_to_mirror_to(tmp_path, monkeypatch):
    lab = lab_with(tmp_path/'lab', '')
    path = add(lab.path, 'exp_01')
    assert mirror_ended(lab, path) == []
    monkeypatch.chdir(lab.path)
    res = CliRunner().invoke(app, ['mirror', 'exp_01'], catch_exceptions=True)
    assert res.exit_code and 'settings.ini names no tracker' in str(res.exception) + res.output

def test_a_torn_note_of_what_a_tracker_has_is_no_obstacle(tmp_path):
    path = tmp_path/'exp_01'
    path.mkdir()
    (path/'tracker.json').write_text('{"mlflow": {"step": "x"')
    assert read_tracked(path) == {} and keep_tracked(path, 'mlflow', step=3) == Tracked(step=3) == read_tracked(path)['mlflow']

# a real run, killed in training

def test_a_killed_run_resumes_in_the_tracker_and_no_run_depends_on_it(tmp_path, data, shaky, whole):
    mlflow = pytest.importorskip('mlflow')
    lab = made_lab(tmp_path/'lab', data, shaky)
    ini = lab/'settings.ini'
    ini.write_text(ini.read_text() + 'tracker = mlflow\nkeep_checkpoints = yes\n')
    run, client = whole_run_path(lab), mlflow.MlflowClient(f'sqlite:///{lab}/results/trackers/mlflow.db')
    p = begin('emb', 'run', *whole_run, cwd=lab)
    wait_for(lambda: p.poll() is not None or list((run/'checkpoints').glob('checkpoint-*/sealed.json')))
    assert p.poll() is None, p.communicate()
    pid = manifest(run)['process']['pid']
    p.kill(); os.kill(pid, signal.SIGKILL); p.communicate(); gone(pid)
    first = in_mlflow(client, run)
    assert first.info.status == 'RUNNING' and points(client, first, 'loss')
    said = emb('run', *whole_run, cwd=lab)
    assert 'was resumed from checkpoint-' in said.stdout and 'tracker' not in said.stderr, said.stderr
    now = in_mlflow(client, run)
    assert now.info.run_id == first.info.run_id and now.info.status == 'FINISHED'
    steps = [step for step,_ in points(client, now, 'loss')]
    history = [json.loads(o) for o in (run/'history.jsonl').read_text().splitlines()]
    assert steps == sorted({*steps}) == [o['step'] for o in history if 'loss' in o]
    assert now.data.metrics['gold/tuned/ndcg_10'] == manifest(run)['headline']['tuned']['mean']
    other = whole_run_path(whole)
    assert manifest(run)['outcome']['weights'] == manifest(other)['outcome']['weights'] and manifest(run)['inputs'] == manifest(other)['inputs']
    ini.write_text(re.sub('(?m)^tracker = .*$', 'tracker = tensorboard', ini.read_text()))
    assert 'is up to date' in emb('run', *whole_run, cwd=lab).stdout
