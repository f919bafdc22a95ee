"A run that was cut short goes on, to the weights of one that was not; a changed one is refused"
import json, os, shutil, signal, subprocess, time
import pytest
from support import bin, change_cell, change_code, checkpoints, content, emb, exp, gone, made_lab, manifest, whole_run as args, whole_run_path as name, write_manifest

def kill_at(lab, seen, run):
    "Start the run, and kill both its processes when `seen()` is true"
    p = subprocess.Popen([str(o) for o in (bin/'emb', 'run', *args)], cwd=lab, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    while p.poll() is None and not seen(): time.sleep(.01)
    assert p.poll() is None, p.communicate()
    pid = manifest(run)['process']['pid']
    p.kill(); os.kill(pid, signal.SIGKILL); p.communicate(); gone(pid)

def same(a, b):
    "Equal weights, scores and curves"
    a, b = name(a), name(b)
    assert manifest(a)['outcome'] == manifest(b)['outcome'] and manifest(a)['headline'] == manifest(b)['headline']
    assert (a/'history.jsonl').read_bytes() == (b/'history.jsonl').read_bytes()
    assert (a/'eval'/'per_query.jsonl').read_bytes() == (b/'eval'/'per_query.jsonl').read_bytes()

def cut(whole, to, keep=1):
    "A run that was killed after its `keep`th checkpoint, made from a finished one"
    lab = shutil.copytree(whole, to/'lab')
    run = name(lab)
    old = manifest(run)
    for k in ('headline', 'outcome', 'end'): old.pop(k)
    write_manifest(run, old | dict(status='running', process=old['process'] | dict(born=0)))
    for o in ('final', 'eval', 'plots'): shutil.rmtree(run/o)
    for o in checkpoints(run)[keep:]: shutil.rmtree(run/'checkpoints'/f'checkpoint-{o}')
    return lab

def test_killed_in_training_it_goes_on_to_the_same_weights(tmp_path, data, shaky, whole):
    lab = made_lab(tmp_path/'other', data, shaky)
    run = name(lab)
    kill_at(lab, lambda: list((run/'checkpoints').glob('checkpoint-*/sealed.json')), run)
    assert json.loads(emb('ls', '--json', cwd=lab).stdout)[run.name]['status'] == 'killed'
    out = emb('run', *args, cwd=lab)
    assert f'{run.name} was resumed from checkpoint-' in out.stdout and [o['status'] for o in manifest(run)['attempts']] == ['killed']
    same(lab, whole)
    assert 'up to date' in emb('run', *args, cwd=lab).stdout

def test_killed_in_evaluation_it_trains_no_more(tmp_path, whole):
    lab = cut(whole, tmp_path, keep=99)
    emb('run', *args, cwd=lab)
    assert manifest(name(lab))['resumed'] == f'checkpoint-{checkpoints(name(lab))[-1]}'
    same(lab, whole)

@pytest.mark.parametrize('file, how', [('model.safetensors', 'truncate'), ('optimizer.pt', 'remove'), ('rng_state.pth', 'remove'), ('sealed.json', 'remove'), ('trainer_state.json', 'flip')])
def test_a_torn_checkpoint_is_set_aside_with_a_note(tmp_path, whole, file, how):
    lab = cut(whole, tmp_path, keep=99)
    run = name(lab)
    last = checkpoints(run)[-1]
    torn = next((run/'checkpoints'/f'checkpoint-{last}').rglob(file))
    if how == 'remove': torn.unlink()
    elif how == 'truncate': torn.write_bytes(torn.read_bytes()[:-100])
    else: torn.write_bytes(torn.read_bytes().replace(b'"global_step"', b'"global_stop"'))
    res = emb('run', *args, cwd=lab)
    assert f'checkpoint-{last} ' in res.stderr and 'set aside' in res.stderr and len(manifest(run)['torn']) >= 1
    assert any(o.name.startswith(f'checkpoint-{last},') for o in (run/'checkpoints'/'torn').iterdir())
    same(lab, whole)

def test_a_lab_that_has_moved_finds_its_best_checkpoint(tmp_path, whole):
    lab = cut(whole, tmp_path)
    (tmp_path/'elsewhere').mkdir()
    lab = lab.rename(tmp_path/'elsewhere'/'lab')
    emb('run', *args, cwd=lab)
    same(lab, whole)

def change_data(lab):
    p = lab/'data'/'train.jsonl'
    rows = p.read_text().splitlines()
    p.write_text('\n'.join(rows[:-1]) + '\n')
    return 'data/train.jsonl has changed (600 rows, now 599)'

def change_default(lab):
    nb = lab/'experiments'/f'{exp}.ipynb'
    nb.write_text(nb.read_text().replace('batch_size: int = 64', 'batch_size: int = 32'))
    return 'parameter batch_size was 64, now 32'

def change_seed(lab):
    ini = lab/'settings.ini'
    ini.write_text(ini.read_text().replace('seed = 42', 'seed = 43'))
    return 'seed was 42, now 43'

def change_package(lab):
    old = manifest(name(lab))
    old['environment']['packages']['torch'] = '1.0'
    write_manifest(name(lab), old)
    return 'torch was 1.0, now'

@pytest.mark.parametrize('change', [change_data, change_code, change_default, change_cell, change_seed, change_package])
def test_what_changed_is_named_and_restart_is_the_way_on(tmp_path, whole, change):
    lab = cut(whole, tmp_path)
    what, before = change(lab), content(name(lab)/'checkpoints')
    res = emb('run', *args, cwd=lab, ok=2)
    assert what in res.stderr and '--restart' in res.stderr and res.stderr.count('\n') == 1
    assert content(name(lab)/'checkpoints') == before
    if change is change_seed:
        emb('run', *args, '--restart', cwd=lab)
        [aside] = (lab/'results'/'aside').iterdir()
        assert content(aside/'checkpoints') == before and manifest(name(lab))['status'] == 'completed' and not manifest(name(lab))['attempts']

def test_a_changed_run_that_had_not_come_far_begins_anew(tmp_path, whole):
    lab = cut(whole, tmp_path, keep=0)
    change_seed(lab)
    emb('run', *args, cwd=lab)
    assert manifest(name(lab))['status'] == 'completed'
    assert [manifest(o)['status'] for o in (lab/'results'/'aside').iterdir()] == ['killed']

def test_a_checkpoint_without_its_best_one_is_set_aside(tmp_path):
    from embed_lab.data.files import write_json
    from embed_lab.runs.record import rehearsal
    from embed_lab.training.checkpoints import resume_point, seal_checkpoint
    run = rehearsal(tmp_path)
    for n,best in ((5, 5), (20, 10)):
        folder = run.checkpoints/f'checkpoint-{n}'
        write_json(folder/'trainer_state.json', dict(best_model_checkpoint=f'/elsewhere/checkpoint-{best}'))
        seal_checkpoint(folder, {})
    run.manifest['attempts'] = ['one']
    assert resume_point(run, {}).name == 'checkpoint-5' and run.manifest['torn'] == ['checkpoint-20 needs checkpoint-10 as its best']
