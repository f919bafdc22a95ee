"Training on two processes, beside one process with the same batches"
import json, os, signal, time
from contextlib import suppress
import numpy as np, pytest, torch
from support import bin, emb
from embed_lab.inventory import train as t
from embed_lab.inventory.datasets import Splits, to_dataset
from embed_lab.lab import LabError
from embed_lab.models.base import set_overrides, tiny_model, tiny_transformer
from embed_lab.runs.record import rehearsal
from embed_lab.models.vectors import encode
from embed_lab.training.trainer import _Progress

exp = 'exp_02_in_batch'
things, deeds = 'router headset light kettle camera thermostat doorbell vacuum'.split(), dict(reset='start over with', pair='connect', clean='wash', repair='fix', open='unscrew')
rows = [dict(query=f'how do I {said} my {o}', passage=f'{deed} {o} steps', label=1) for deed,said in deeds.items() for o in things]
wrong = [dict(query=o['query'], passage=rows[(i + 11) % len(rows)]['passage'], label=0) for i,o in enumerate(rows)]
splits = Splits(to_dataset(rows + wrong), to_dataset(rows[::4]), to_dataset(rows[::4]))

@pytest.fixture(scope='module', autouse=True)
def two_cores():
    "However few this machine has"
    with pytest.MonkeyPatch.context() as m:
        m.setattr(os, 'cpu_count', lambda: 2)
        yield

@pytest.fixture(scope='module')
def bases(tmp_path_factory):
    home, texts = tmp_path_factory.mktemp('bases'), [o[k] for o in rows for k in ('query', 'passage')]
    tiny_transformer(texts).save_pretrained(str(home/'transformer'))
    tiny_model(texts).save_pretrained(str(home/'static'))
    return home

class Stopped(Exception): pass

def trained(base, devices, run=None, until=None, **given):
    "Every step's loss, dev's scores, and vectors: weights that make no difference, such as a bias before a softmax, are moved by rounding alone"
    run, steps = run or rehearsal(base, seed=3), []
    on_log, on_step_end = _Progress.on_log, _Progress.on_step_end
    def heard(self, args, state, control, logs=None, **kw):
        if 'loss' in (logs or {}): steps.append(logs['loss'])
        on_log(self, args, state, control, logs=logs, **kw)
    def ended(self, args, state, control, **kw):
        on_step_end(self, args, state, control, **kw)
        if state.global_step == until: raise Stopped
    try:
        set_overrides(dict(devices=devices))
        with pytest.MonkeyPatch.context() as m:
            m.setattr(_Progress, 'on_log', heard)
            m.setattr(_Progress, 'on_step_end', ended)
            res = t.train(splits, run, **dict(loss='in-batch', epochs=2, batch_size=8, lr=.01, evals=2) | given)
    finally: set_overrides({})
    return steps, [o['dev'] for o in res.history if 'dev' in o], encode(res.encoder, [o['query'] for o in rows], 'query'), run

@pytest.mark.parametrize('base, given', [('transformer', {}), ('transformer', dict(loss='cached-in-batch', mini_batch_size=2)), ('static', dict(lr=.1, **t.directions(True))), ('transformer', dict(dims=[32, 8])), ('transformer', dict(loss='contrastive'))], ids=str)
def test_two_devices_learn_what_one_does(bases, base, given):
    (one, dev, vecs, _), (two, same_dev, same, run) = (trained(bases/base, n, **given) for n in (1, 2))
    assert len(one) > 5 and two == pytest.approx(one, rel=1e-4)
    assert same_dev == pytest.approx(dev, abs=1e-6) and max(dev[1:]) > dev[0]
    np.testing.assert_allclose(same, vecs, atol=2e-3)
    assert run.manifest['hardware']['devices'] == 2 and not torch.distributed.is_initialized()

def test_a_short_batch_is_shared_too(bases):
    (one, *_), (two, *_) = (trained(bases/'transformer', n, batch_size=14, epochs=1) for n in (1, 2))
    assert two == pytest.approx(one, rel=1e-4)

@pytest.mark.parametrize('loss', ['in-batch', 'contrastive'])
def test_two_devices_resume_in_the_middle_of_a_later_epoch_as_if_never_stopped(bases, loss):
    steps, _, vecs, _ = trained(bases/'transformer', 2, batch_size=4, loss=loss, evals=4)
    run = rehearsal(bases/'transformer', seed=3)
    with pytest.raises(Stopped): trained(bases/'transformer', 2, run, len(steps)*7//8, batch_size=4, loss=loss, evals=4)
    run.manifest['attempts'] = [dict(status='interrupted')]
    rest, _, same, _ = trained(bases/'transformer', 2, run, batch_size=4, loss=loss, evals=4)
    assert run.manifest['resumed'] == f'checkpoint-{len(steps)*3//4}' and rest == steps[-len(rest):] and len(rest) == len(steps)//4
    np.testing.assert_array_equal(same, vecs)

@pytest.mark.parametrize('given, said', [(dict(batch_size=9), 'make it 8 or 10'), (dict(loss='cosent'), 'CoSENTLoss compares the rows'), (dict(similarity_fct=lambda a, b: a @ b.T), 'cannot be sent to another process')], ids=['batch', 'loss', 'options'])
def test_what_cannot_be_shared_is_refused(bases, given, said):
    with pytest.raises(LabError, match=said): trained(bases/'transformer', 2, **given)
    assert not torch.distributed.is_initialized() and not _others(os.getpid())

def test_more_devices_than_there_are_are_refused(bases):
    with pytest.raises(LabError, match='4 devices are asked for, but there are 2'): trained(bases/'transformer', 4)

# a whole run

def _others(pid):
    import psutil
    def one(o):
        with suppress(psutil.Error): return 'spawn_main' in ' '.join(o.cmdline())
    return [*filter(one, psutil.Process(pid).children(recursive=True))]

@pytest.fixture
def counting(lab):
    "A lab whose experiment counts how often its cells run"
    file = lab/'experiments'/f'{exp}.ipynb'
    nb = json.loads(file.read_text())
    for i,o in enumerate([o for o in nb['cells'] if o['cell_type'] == 'code' and 'parameters' not in o['metadata'].get('tags', [])]):
        o['source'] = [f"open({str(lab/'cells')!r}, 'a').write('{i} ')\n", *(o['source'] if isinstance(o['source'], list) else [o['source']])]
    file.write_text(json.dumps(nb))
    return lab

def test_a_run_on_two_devices_runs_each_cell_once(counting):
    emb('run', exp, '-p', 'epochs', 2, '--devices', 2, cwd=counting, OMP_NUM_THREADS='2')
    ran = (counting/'cells').read_text().split()
    assert ran == sorted(ran, key=int) and len(ran) == len(set(ran)) > 3
    run, = (counting/'results').glob(f'{exp}*/run.json')
    run = json.loads(run.read_text())
    assert run['status'] == 'completed' and run['hardware']['devices'] == run['inputs']['parameters']['devices'] == 2 and run['hardware']['threads'] == 2
    assert 'up to date' in emb('run', exp, '-p', 'epochs', 2, '-p', 'devices', 2, cwd=counting).stdout

def test_a_lost_device_ends_the_run_and_the_same_command_goes_on(lab):
    import psutil, subprocess
    args = [bin/'emb', 'run', exp, '-p', 'epochs', '40', '--devices', '2']
    def until(ready):
        "A run in the background that has come so far, and its processes"
        p, end = subprocess.Popen(args, cwd=lab, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)), time.time() + 120
        while not ready(p):
            assert time.time() < end and p.poll() is None, p.communicate()
            time.sleep(.05)
        return p, psutil.Process(p.pid).children(recursive=True)
    def saved(p): return [*(lab/'results').glob('*/checkpoints/*/sealed.json')]
    p, started = until(saved)
    for o in _others(p.pid): o.kill()
    out, err = p.communicate(timeout=60)
    assert p.returncode == 1 and 'device 1: its process ended with exit code -9; the usual cause is memory' in out + err
    assert not psutil.wait_procs(started, 20)[1]
    def training(p):
        run = json.loads(next((lab/'results').glob(f'{exp}*/run.json')).read_text())
        return len(run.get('attempts', [])) == 1 and (run.get('progress') or {}).get('stage') == 'training' and _others(p.pid)
    p, started = until(training)
    p.send_signal(signal.SIGINT)
    assert p.wait(60) == 130 and not psutil.wait_procs(started, 20)[1]
    emb('run', exp, '-p', 'epochs', 40, '--devices', 2, cwd=lab)
    run = json.loads(next((lab/'results').glob(f'{exp}*/run.json')).read_text())
    assert run['status'] == 'completed' and [o['status'] for o in run['attempts']] == ['failed', 'interrupted']
