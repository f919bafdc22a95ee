"Sweeps: every point a run, the rest of them when one fails, and the same command again after a stop"
import json, os, shutil, signal, subprocess, time
import pytest
from support import begin, bin, change_cell, emb, made_lab, manifest, wait_for, write_manifest

exp = 'exp_02_in_batch'

@pytest.fixture(scope='module')
def shared(tmp_path_factory, data, base): return made_lab(tmp_path_factory.mktemp('sweep')/'lab', data, base)

def started(lab, *args):
    "A sweep in the background, with Ctrl-C as a terminal would have it"
    return subprocess.Popen([bin/'emb', 'sweep', *map(str, args)], cwd=lab, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))

def running(lab): return [p for p in (lab/'results').glob(f'{exp}*/run.json') if (m := json.loads(p.read_text()))['status'] == 'running' and m.get('progress')]


def test_every_point_is_a_run_and_one_that_fails_stops_no_other(shared):
    res = emb('sweep', exp, '-g', 'lr=.1,.01,1e300', '-p', 'epochs', 2, '--seeds', 2, '--jobs', 2, cwd=shared, ok=1)
    runs = json.loads(emb('ls', '--json', cwd=shared).stdout)
    assert sorted(o['status'] for o in runs.values()) == ['completed']*4 + ['failed']*2
    assert all('lr=1e+300' in k for k,o in runs.items() if o['status'] == 'failed') and res.stderr.count('failed:') == 2
    two = [o['hardware'] for o in runs.values() if o['status'] == 'completed']
    assert {o['threads'] for o in two} == {max(1, len(os.sched_getaffinity(0))//2)} and len({o['precision'] for o in two}) == 1
    lines = res.stdout.splitlines()
    assert 'dev nDCG@10' in lines[0] and 'lr=1e+300' not in res.stdout and 'By dev' in lines[-1]

    again = emb('sweep', exp, '-g', 'lr=.1,.01', '-p', 'epochs', 2, '--seeds', 2, '--json', cwd=shared)
    said, curves = json.loads(again.stdout).values()
    assert curves == []
    assert [o['status'] for o in said] == ['up to date']*4 and all(0 < o['dev'] <= 1 for o in said)
    assert {k: o['end'] for k,o in json.loads(emb('ls', '--json', cwd=shared).stdout).items() if o['status'] == 'completed'} == {k: o['end'] for k,o in runs.items() if o['status'] == 'completed'}
    one = emb('run', exp, '-p', 'lr', '.1', '-p', 'epochs', 2, '-p', 'seed', 1, cwd=shared)
    assert 'is up to date' in one.stdout

def test_the_best_by_dev_comes_first(shared):
    def dev(run): return max(o['dev'] for o in map(json.loads, (shared/'results'/run/'history.jsonl').open()) if o['step'] and 'dev' in o)
    out = emb('sweep', exp, '-g', 'lr=.1,.01', '-p', 'epochs', 2, '--seeds', 2, '--top', 1, cwd=shared).stdout
    means = {lr: sum(dev(f'{exp},epochs=2,lr={lr},seed={s}') for s in (1, 2))/2 for lr in (.1, .01)}
    best = max(means, key=means.get)
    assert f'{means[best]:.3f}' in out and f'lr={best}' in out and f'lr={min(means, key=means.get)}' not in out

@pytest.mark.parametrize('args, said', [(['-g', 'lr'], 'is not an axis of a grid'), (['-g', 'lr=.1,high'], 'in the point lr=high'), (['-g', 'speed=1,2'], 'no parameter `speed`'),
    (['-g', 'lr=1', '-p', 'lr', '2'], 'leave out one of the two'), (['--points', 'none.jsonl'], 'none.jsonl'), (['-g', 'lr=1', '--jobs', '0'], 'ask for 1 or more'), (['-g', 'seed=1', '--seeds', '2'], 'say the same')])
def test_what_will_not_do_is_said_before_anything_runs(shared, args, said):
    before = sorted((shared/'results').iterdir())
    res = emb('sweep', exp, *args, cwd=shared, ok=2)
    assert said in res.stderr and len(res.stderr.strip().splitlines()) == 1 and before == sorted((shared/'results').iterdir())

def test_the_rest_of_a_sweep_is_computed_as_its_beginning(shared):
    args, few = (exp, '-p', 'epochs', 2, '-p', 'seed', 3), max(1, len(os.sched_getaffinity(0))//2)
    emb('sweep', *args, '-g', 'lr=.1', cwd=shared, OMP_NUM_THREADS=str(few))
    res = emb('sweep', *args, '-g', 'lr=.1,.02', cwd=shared, OMP_NUM_THREADS=str(few + 1))
    assert f'begun earlier: 1 point on cpu fp32 with {few} thread' in res.stderr and 'computed alike' not in res.stdout
    assert manifest(shared/'results'/f'{exp},epochs=2,lr=0.02,seed=3')['hardware']['threads'] == few
    own = emb('sweep', *args, '-g', 'lr=.1,.02', '-g', f'threads={few + 1}', cwd=shared)
    assert 'begun earlier' not in own.stderr
    write_manifest(run := shared/'results'/f'{exp},epochs=2,lr=0.02,seed=3', (m := manifest(run)) | dict(hardware=m['hardware'] | dict(precision='bf16')))
    res = emb('sweep', *args, '-g', 'lr=.1,.02', cwd=shared)
    assert 'not all points were computed alike' in res.stdout
    assert [o for o in res.stderr.splitlines() if 'otherwise' in o] == ['1 point up to date, but computed otherwise than here: precision was bf16, now fp32']

def test_points_come_from_a_file_too(shared):
    (shared/'points.jsonl').write_text('{"lr": 0.1, "epochs": 2}\n\n{"lr": 0.05, "batch_size": 16}\n')
    said = json.loads(emb('sweep', exp, '--points', 'points.jsonl', '-g', 'seed=1', '--jobs', 2, '--json', cwd=shared).stdout)['points']
    assert [o['parameters'] for o in said] == [dict(lr=.1, epochs=2, seed=1), dict(lr=.05, batch_size=16, seed=1)] and [o['status'] for o in said] == ['up to date', 'completed']
    (shared/'points.jsonl').write_text('{"lr": 0.1}\n[1]\n')
    assert 'points.jsonl:2: not an object' in emb('sweep', exp, '--points', 'points.jsonl', cwd=shared, ok=2).stderr

def test_ctrl_c_stops_all_points_and_the_same_command_goes_on(lab):
    args = exp, '-g', 'lr=.1,.01,.001', '-p', 'epochs', 60, '--jobs', 2
    p = begin('emb', 'sweep', *args, cwd=lab)
    wait_for(lambda: len(running(lab)) == 2)
    for _ in range(6): # someone is in a hurry
        p.send_signal(signal.SIGINT)
        time.sleep(.15)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 130 and 'emb: stopped' in err and 'Traceback' not in err and 'Exception ignored' not in err, err
    assert '0 of 3 points done; the same command runs the rest' in err and err.count(': the same command resumes it from step ') + err.count('it has no checkpoint yet') == 2, err
    assert sorted(o['status'] for o in json.loads(emb('ls', '--json', cwd=lab).stdout).values()) == ['interrupted']*2
    said = json.loads(emb('sweep', *args, '--json', cwd=lab).stdout)['points']
    assert [o['status'] for o in said] == ['completed']*3

def test_a_point_that_has_ended_keeps_no_file_open(monkeypatch):
    from types import SimpleNamespace
    from embed_lab.runs import sweep as s
    monkeypatch.setattr(s, 'can_fork', lambda: False)
    monkeypatch.setattr(s, '_begin_point', lambda point, told: subprocess.Popen(['true'], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    here, points = s.ThisMachine(None, 1), [SimpleNamespace(process=None) for _ in range(20)]
    before = len(os.listdir('/proc/self/fd'))
    assert [here.run(o) for o in points] == [(0, '')]*20
    assert len(os.listdir('/proc/self/fd')) == before

def test_no_point_outlives_a_killed_sweep(lab):
    p = started(lab, exp, '-g', 'lr=.1,.01', '-p', 'epochs', 2000, '--jobs', 2)
    wait_for(lambda: len(running(lab)) == 2)
    p.kill()
    p.communicate(timeout=60)
    wait_for(lambda: not running(lab), 60)
    assert {o['status'] for o in json.loads(emb('ls', '--json', cwd=lab).stdout).values()} == {'interrupted'}

# studies

def test_a_study_searches_goes_on_and_is_a_sweep_like_any_other(shared):
    args = exp, '-g', 'lr=1e-4..1e-1', '-g', 'batch_size=8,16', '-p', 'epochs', 2, '--json'
    said = json.loads(emb('sweep', *args, '--trials', 3, '--jobs', 2, cwd=shared, OMP_NUM_THREADS='3').stdout)['points']
    assert len({manifest(shared/'results'/o['run'])['hardware']['threads'] for o in said}) == 1 # though the last batch is a single point
    assert [o['status'] for o in said] == ['completed']*3 and all(1e-4 <= o['parameters']['lr'] <= .1 and 0 < o['dev'] <= 1 for o in said)
    again = json.loads(emb('sweep', *args, '--trials', 4, '--jobs', 2, cwd=shared).stdout)['points']
    assert [o['run'] for o in again[:3]] == [o['run'] for o in said] and [o['status'] for o in again] == ['up to date']*3 + ['completed']

@pytest.mark.parametrize('args, said', [(['-g', 'lr=1e-4..1e-2'], 'with --trials'), (['--trials', '2'], 'something to vary'), (['--trials', '2', '-g', 'lr=2..1'], 'smaller end first'),
    (['--trials', '2', '-g', 'lr=1..2,3'], 'mixes a range'), (['--trials', '2', '-g', 'lr=1e-4..1e-2', '--points', 'points.jsonl'], 'give only one'), (['--trials', '1', '-g', 'lr=.1,high'], 'in the point lr=high')])
def test_a_study_that_will_not_do_is_refused(shared, args, said):
    before = sorted((shared/'results').iterdir())
    res = emb('sweep', exp, *args, cwd=shared, ok=2)
    assert said in res.stderr and len(res.stderr.strip().splitlines()) == 1 and before == sorted((shared/'results').iterdir())

def test_a_study_names_a_run_that_it_moves_aside(shared, tmp_path):
    lab = shutil.copytree(shared, tmp_path/'lab', ignore=shutil.ignore_patterns('results'))
    args = 'sweep', exp, '-g', 'lr=.1,.1', '-p', 'epochs', 1, '--trials', 1, '--json'
    emb(*args, cwd=lab)
    change_cell(lab)
    res = emb(*args, cwd=lab, ok=None)
    assert f'{exp},epochs=1,lr=0.1: what is there goes to results/aside, because the notebook has changed' in res.stderr

def test_a_study_leaves_out_what_failed_and_names_its_extra(shared, monkeypatch):
    said = json.loads(emb('sweep', exp, '-g', 'lr=1e300,.1', '-p', 'epochs', 2, '--trials', 4, '--json', cwd=shared, ok=1).stdout)['points']
    found = {o['parameters']['lr']: o['status'] for o in said}
    assert found.keys() == {1e300, .1} and found[1e300] == 'failed' and found[.1] in ('completed', 'up to date')
    from embed_lab.runs import study
    from embed_lab.lab import LabError
    monkeypatch.setitem(__import__('sys').modules, 'optuna', None)
    with pytest.raises(LabError, match=r"embed-lab\[optuna\]"): study.search_axis('lr', ['1..2'])
