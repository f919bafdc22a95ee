"What a run says of itself after the worst has happened, and who may write to it"
import json, os, re, signal, subprocess, time
import psutil, pytest
from support import begin, bin, content, emb, gone, manifest, sh
from embed_lab.runs.results import is_alive

exp = 'exp_02_in_batch'

def notebook(run): return json.loads((run/f'{exp}.ipynb').read_text())
def told(cell): return ''.join(''.join(o.get('text', '')) for o in cell.get('outputs', []))
def ls(lab): return json.loads(emb('ls', '--json', cwd=lab).stdout)

@pytest.fixture
def start(lab):
    "Starts a command that trains, and waits until a living kernel does; what still runs when the test ends is killed"
    ps = []
    def trains(p, run):
        ps.append(p)
        for _ in range(600):
            m = manifest(run) if (run/'run.json').exists() else {}
            if m.get('status') == 'running' and (m.get('progress') or {}).get('stage') == 'training' and is_alive(m['process']): return p
            if p.poll() is not None: break
            time.sleep(.1)
        p.kill()
        raise AssertionError(p.communicate())
    def started(run, *args):
        "By a command as a terminal starts it"
        return trains(subprocess.Popen([str(o) for o in args], cwd=lab, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True), run)
    def emb_run(epochs=2000, fork=False):
        "In a fork where nothing depends on how the kernel was started, which is faster"
        run, args = lab/'results'/f'{exp},epochs={epochs}', ('run', exp, '-p', 'epochs', epochs)
        return trains(begin('emb', *args, cwd=lab), run) if fork else started(run, bin/'emb', *args), run
    emb_run.by = started
    yield emb_run
    for p in ps:
        if p.poll() is None: p.kill(); p.communicate()

def kill(p, run, both=False):
    "Kill the kernel without a word, and its parent before it when `both`"
    pid = manifest(run)['process']['pid']
    if both: p.kill()
    os.kill(pid, signal.SIGKILL)
    out = p.communicate(timeout=60)
    gone(pid)
    return out

def stop(p):
    os.killpg(p.pid, signal.SIGINT)
    p.communicate(timeout=60)

def check_marked(run, again):
    nb = notebook(run)
    top, *cells = nb['cells']
    code = [c for c in cells if c['cell_type'] == 'code']
    at = next(i for i,c in enumerate(code) if 'train(splits' in ''.join(c['source']))
    assert nb['metadata']['embed_lab']['status'] == 'killed'
    assert top['cell_type'] == 'markdown' and re.search('This run was killed.* in training, ', ''.join(top['source'])) and f'`emb run {again}`' in ''.join(top['source'])
    assert {c['metadata']['papermill']['status'] for c in code[:at]} == {'completed'} and not any('never ran' in told(c) for c in code[:at+1])
    assert code[at]['metadata']['papermill']['status'] == 'failed' and 'the kernel died in this cell' in told(code[at])
    assert {(told(c), c['metadata']['papermill']['status']) for c in code[at+1:]} == {('never ran\n', 'pending')}
    import nbformat
    nbformat.validate(nbformat.read(run/f'{exp}.ipynb', 4))

def test_a_second_run_stops_at_once_and_says_who_holds_the_folder(lab, start):
    p, run = start(40, fork=True)
    began = time.time()
    second = emb('run', exp, '-p', 'epochs', 40, cwd=lab, ok=2)
    assert time.time() - began < 15 and second.stderr.count('\n') == 1
    assert re.search(rf"results/{exp},epochs=40 is being written by process {p.pid} on \S+ since \d\d:\d\d; wait for it", second.stderr)
    out, err = p.communicate(timeout=300)
    assert p.returncode == 0 and manifest(run)['status'] == 'completed' and not (lab/'results'/'aside').exists(), err
    first = content(run)
    assert 'up to date' in emb('run', exp, '-p', 'epochs', 40, cwd=lab).stdout and content(run) == first
    assert ls(lab)[run.name]['status'] == 'completed' and content(run) == first

def test_two_that_start_together_are_one_run(lab):
    ps = [begin('emb', 'run', exp, cwd=lab) for _ in range(2)]
    errs = [p.communicate(timeout=300)[1] for p in ps]
    assert sorted(p.returncode for p in ps) == [0, 2] and any('is being written by process' in o for o in errs), errs
    assert manifest(lab/'results'/exp)['status'] == 'completed' and not (lab/'results'/'aside').exists()

def test_a_killed_kernel_leaves_a_notebook_that_says_so_and_runs_again(lab, start):
    p, run = start()
    _, err = kill(p, run)
    assert p.returncode == 1 and 'memory' in err and 'execute reply' not in err and manifest(run)['status'] == 'killed'
    check_marked(run, f'{exp} -p epochs 2000')
    before = content(run)
    assert ls(lab)[run.name]['status'] == 'killed' and content(run) == before
    p, run = start(fork=True)
    assert 'status' not in notebook(run)['metadata'].get('embed_lab', {})
    stop(p)
    now = manifest(run)
    assert now['status'] == 'interrupted' and [o['status'] for o in now['attempts']] == ['killed'] and not (lab/'results'/'aside').exists()

def test_when_parent_and_kernel_are_killed_the_next_listing_marks_the_notebook(lab, start):
    p, run = start()
    kill(p, run, both=True)
    assert manifest(run)['status'] == 'running'
    assert ls(lab)[run.name]['status'] == manifest(run)['status'] == 'killed'
    check_marked(run, f'{exp} -p epochs 2000')
    before = content(run)
    assert {k: v for k,v in ls(lab)[run.name].items() if k != 'listed'} == manifest(run) and content(run) == before
    assert (lab/'results'/'.locks'/f'{run.name}.lock').exists()
    stop(start(fork=True)[0])

def test_a_killed_parent_takes_its_kernel_with_it_and_frees_the_folder(lab, start):
    p, run = start()
    p.kill(); p.communicate()
    gone(manifest(run)['process']['pid'])
    assert ls(lab)[run.name]['status'] == 'killed'
    check_marked(run, f'{exp} -p epochs 2000')
    stop(start(fork=True)[0])
    assert [o['status'] for o in manifest(run)['attempts']] == ['killed']

def test_plain_papermill_holds_its_folder_and_is_marked_when_its_kernel_dies(lab, start):
    run = lab/'results'/exp
    p = start.by(run, bin/'papermill', f'experiments/{exp}.ipynb', run/f'{exp}.ipynb', '-p', 'epochs', 2000)
    pid = manifest(run)['process']['pid']
    second = emb('run', exp, cwd=lab, ok=2)
    assert f'results/{exp} is being written by process {pid} on' in second.stderr
    os.kill(pid, signal.SIGKILL)
    p.communicate(timeout=60)
    assert p.returncode and ls(lab)[exp]['status'] == 'killed'
    check_marked(run, f'{exp} -p epochs 2000')

def test_a_reused_process_id_and_a_silent_host_are_not_believed(lab):
    emb('run', exp, cwd=lab)
    run = lab/'results'/exp
    done, me = manifest(run), psutil.Process()
    def status(born=me.create_time(), host=done['process']['host'], beat=done['heartbeat']):
        (run/'run.json').write_text(json.dumps(done | dict(status='running', heartbeat=beat, process=dict(pid=me.pid, born=born, host=host))))
        return ls(lab)[exp]['status']
    assert [status(), status(beat='2026-01-01T00:00:00+00:00')] == ['running']*2
    assert f'is being written by process {me.pid}' in emb('run', exp, cwd=lab, ok=2).stderr
    assert [status(host='elsewhere', beat='2999-01-01T00:00:00+00:00'), status(host='elsewhere', beat='2026-01-01T00:00:00+00:00')] == ['running', 'killed']
    assert status(born=me.create_time() - 3600) == 'killed'

def test_the_heartbeat_goes_on_while_nothing_is_recorded(lab):
    code = '''import json, time, embed_lab.runs.record as r
r._pulse = .2
run = r.start({}, 'exp_02_in_batch')
first = json.loads((run.path/'run.json').read_text())['heartbeat']
for _ in range(600):
    time.sleep(.1)
    if later := first < json.loads((run.path/'run.json').read_text())['heartbeat']: break
print(later)'''
    assert sh(bin/'python', '-c', code, cwd=lab).stdout.split() == ['True']
    assert manifest(lab/'results'/'scratch'/exp)['status'] == 'interrupted'
