"A sweep and a corpus on a Ray cluster of two nodes, which this machine pretends to be"
import json, os, shutil, signal, subprocess, time
from contextlib import suppress
import numpy as np, psutil, pytest
from support import bin, emb, made_lab

exp = 'exp_02_in_batch'
points = exp, '-g', 'lr=.1,.01', '-p', 'epochs', 60

@pytest.fixture(scope='module')
def home(tmp_path_factory, data, base):
    "A lab with its base model inside"
    lab = made_lab(tmp_path_factory.mktemp('ray')/'lab', data, base)
    shutil.copytree(base, lab/'base')
    (lab/'settings.ini').write_text((lab/'settings.ini').read_text().replace(f'model = {base}', 'model = ./base'))
    return lab

@pytest.fixture(scope='module')
def cluster():
    "A head and a second node, each with one CPU; whatever they started is gone afterwards"
    from ray.cluster_utils import Cluster
    with pytest.MonkeyPatch.context() as m:
        m.setenv('RAY_USAGE_STATS_ENABLED', '0')
        for attempt in range(3):
            res = Cluster()
            try:
                res.add_node(num_cpus=1, include_dashboard=False)
                res.second = res.add_node(num_cpus=1)
                break
            except Exception as e: # Ray gives a node 30 seconds to start, which a busy machine may not have
                res.shutdown()
                if attempt == 2 or 'timed out during startup' not in str(e): raise
        yield res
        res.shutdown()

def outcomes(lab): return {p.parent.name: json.loads(p.read_text()) for p in (lab/'results').glob(f'{exp}*/run.json')}

def wait_for(f, p, seconds=240):
    end = time.time() + seconds
    while not (res := f()):
        assert time.time() < end and p.poll() is None, p.communicate()
        time.sleep(.1)
    return res

def test_a_sweep_survives_the_loss_of_a_node_and_comes_to_what_it_would_have_here(home, cluster, tmp_path):
    local = shutil.copytree(home, tmp_path/'local')
    p = subprocess.Popen([bin/'emb', 'sweep', *map(str, points), '--ray', cluster.address, '--json'], cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    def there():
        "A run on the second node with a checkpoint that has come back"
        raylet = cluster.second.all_processes['raylet'][0].process.pid
        for k,o in outcomes(home).items():
            with suppress(psutil.Error):
                if o['status'] == 'running' and raylet in [q.pid for q in psutil.Process(o['process']['pid']).parents()] and any((home/'results'/k).glob('checkpoints/*/sealed.json')): return k
    lost = wait_for(there, p)
    cluster.remove_node(cluster.second, allow_graceful=False)
    out, err = p.communicate(timeout=400)
    assert p.returncode == 0, err
    assert [o['status'] for o in json.loads(out)['points']] == ['completed']*2 and 'room for 2' in err
    emb('sweep', *points, cwd=local)
    here, away = outcomes(local), outcomes(home)
    assert here.keys() == away.keys() and len(here) == 2
    for k in here: assert away[k]['outcome'] == here[k]['outcome'] and away[k]['inputs'] == here[k]['inputs'], k
    assert [o['status'] for o in away[lost]['attempts']] == ['killed'] and 'worker was lost' in away[lost]['attempts'][0]['error']
    files = [sorted(str(o.relative_to(lab/'results')) for o in (lab/'results').glob(f'{exp}*/**/*') if 'checkpoints' not in o.parts) for lab in (home, local)]
    assert files[0] == files[1]
    seen = [sorted((o['run'], o['recipe'], o['gold']) for o in map(json.loads, (lab/'results'/'gold_log.jsonl').read_text().splitlines())) for lab in (home, local)]
    assert seen[0] == seen[1] and len(seen[0]) == 2
    assert str(home) in (home/'results'/lost/f'{exp}.ipynb').read_text() and 'embed_lab_' not in json.dumps(json.loads((home/'results'/lost/f'{exp}.ipynb').read_text())['metadata'])
    assert emb('sweep', *points, '--ray', cluster.address, cwd=home).stderr.count('up to date') == 2
    assert emb('ls', cwd=home).stdout.count('completed') == 2

def test_ctrl_c_stops_the_runs_there_and_the_same_command_goes_on_here(home, cluster, tmp_path):
    lab = shutil.copytree(home, tmp_path/'lab', ignore=shutil.ignore_patterns('results'))
    args = exp, '-g', 'lr=.05', '-p', 'epochs', 60
    p = subprocess.Popen([bin/'emb', 'sweep', *map(str, args), '--ray', cluster.address], cwd=lab, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    wait_for(lambda: [*lab.glob('results/*/checkpoints/*/sealed.json')], p)
    run, = outcomes(lab).values()
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 130 and 'emb: stopped' in err
    assert [o['status'] for o in outcomes(lab).values()] == ['interrupted']
    end = time.time() + 30
    while psutil.pid_exists(run['process']['pid']) and time.time() < end: time.sleep(.1)
    assert not psutil.pid_exists(run['process']['pid'])
    emb('sweep', *args, cwd=lab)
    run, = outcomes(lab).values()
    assert run['status'] == 'completed' and [o['status'] for o in run['attempts']] == ['interrupted']

def test_a_run_that_fails_by_itself_is_not_tried_again(home, cluster, tmp_path):
    lab = shutil.copytree(home, tmp_path/'lab', ignore=shutil.ignore_patterns('results'))
    res = emb('sweep', exp, '-g', 'lr=1e300', '--ray', cluster.address, '--json', cwd=lab, ok=1)
    said, = json.loads(res.stdout)['points']
    assert said['status'] == 'failed' and 'learning' in said['error'] + res.stderr and not outcomes(lab)[said['run']].get('attempts')

@pytest.mark.parametrize('args, said', [(['--ray', '127.0.0.1:9'], 'no Ray cluster answers at 127.0.0.1:9'), (['--ray', 'nowhere'], 'is not an address of a cluster'), (['--ray', 'ray://127.0.0.1:10001'], 'on a machine of the cluster'),
    (['--cpus', 2], 'name the cluster with --ray'), (['--ray', 'CLUSTER', '--gpus', 1], 'no machine of the cluster has 1 CPU and 1 GPU'), (['--ray', 'CLUSTER', '--cpus', 64], 'no machine of the cluster has 64 CPUs')])
def test_a_cluster_that_is_not_there_or_too_small_is_said_at_once(home, cluster, args, said):
    res = emb('sweep', exp, '-g', 'lr=.3', *(cluster.address if o == 'CLUSTER' else o for o in args), cwd=home, ok=2, timeout=60)
    assert said in res.stderr and len(res.stderr.strip().splitlines()) == 1 and not [*home.glob('results/*lr=0.3*')]

def test_what_lies_outside_of_the_lab_is_refused(home, cluster, base):
    res = emb('sweep', exp, '-g', 'lr=.3', '-p', 'model', base, '--ray', cluster.address, cwd=home, ok=2)
    assert 'is outside the lab' in res.stderr.strip().splitlines()[-1] and not [*home.glob('results/*lr=0.3*')]

def test_a_corpus_is_encoded_there_as_it_is_here(home, cluster, tmp_path):
    import ray
    from embed_lab.runs.cluster import cluster_encoder
    from embed_lab.models.corpus import encode_file
    from embed_lab.models.base import load_model
    model, texts = load_model(home/'base'), [f'text {i} of the corpus {"long "*(i % 7)}' for i in range(300)]
    here = np.array(encode_file(model, texts, 'document', tmp_path/'here.npy'))
    try:
        for _ in range(10): # the last part of a window has only just ended when it is left
            away = encode_file(model, texts, 'document', tmp_path/'away.npy', shared=cluster_encoder(model, cluster.address, size=40))
            np.testing.assert_allclose(away, here, atol=1e-6)
    finally: ray.shutdown()
