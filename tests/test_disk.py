"A disk that is full or may not be written to is said in a line, and costs nothing that was there"
import os, re, shutil, signal, subprocess, time
import pytest
from support import begin, bin, content, emb, exp, manifest, whole_run_path as name
from fastcore.nbio import mk_cell, read_nb, write_nb

def mounting(script, lab):
    "Run a script in a place where it may mount, in the lab; the mounts are gone when it ends"
    env = os.environ | dict(PATH=f"{bin}{os.pathsep}{os.environ['PATH']}")
    return subprocess.run(['unshare', '-Urm', 'sh', '-c', script], cwd=lab, env=env, capture_output=True, text=True, timeout=600)

@pytest.fixture
def own(whole, tmp_path): return shutil.copytree(whole, tmp_path/'lab')

@pytest.fixture
def lab(own):
    "One that mounts can be made in"
    lab = own
    try: able = not mounting('mount -t tmpfs tmpfs data', lab).returncode
    except OSError: able = False
    if not able: pytest.skip('mounts nothing here: needs Linux with user namespaces')
    return lab

@pytest.mark.parametrize('room', [0, 40, 800]) # KiB, for a run that takes some 4,000
def test_a_full_disk(lab, room):
    before = content(lab/'results')
    used = sum(len(o) // 4096 * 4 + 4 for o in before.values())
    res = mounting(f'''cp -r results was && mount -t tmpfs -o size={used + 40 + room}k tmpfs results && cp -r was/. results/ && head -c 40k /dev/zero > results/filler
        emb run {exp} -p epochs 3; echo "exit $?"
        cp -r results full; rm results/filler
        mount -o remount,size=100m results && emb run {exp} -p epochs 3; echo "exit $?"; cp -r results after''', lab)
    assert [o for o in res.stdout.splitlines() if o.startswith('exit')] in (['exit 2', 'exit 0'], ['exit 1', 'exit 0']), res
    said = [o for o in res.stderr.splitlines() if o.startswith('emb: ')]
    assert len(said) == 1 and 'space' in said[0].lower() and 'results' in said[0] and 'Traceback' not in res.stderr, said
    log = before.pop('gold_log.jsonl') # grows by a line a run
    for o in ('full', 'after'): assert before.items() <= content(lab/o).items() and (lab/o/'gold_log.jsonl').read_bytes().startswith(log)
    assert manifest(lab/'after'/f'{exp},epochs=3')['status'] == 'completed'

def test_an_error_that_does_not_speak_of_the_disk(lab):
    nb = read_nb(lab/'experiments'/f'{exp}.ipynb')
    at = next(i for i,o in enumerate(nb.cells) if 'start(globals())' in o.source)
    nb.cells[at+1:] = [mk_cell("""import os
with open(run.path/'some.pt', 'wb', buffering=0) as f:
    try:
        while f.write(bytes(4096)): pass
    except OSError: pass
os.truncate(f.name, os.path.getsize(f.name) - 500_000) # room for the notebook
raise RuntimeError('[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598') # as torch.save says it""")]
    write_nb(nb, lab/'experiments'/'exp_09_large.ipynb')
    res = mounting('mount -t tmpfs -o size=9m tmpfs results && emb run exp_09_large; echo "exit $?"', lab)
    assert res.stdout.endswith('exit 1\n') and 'no space left on the disk of results/exp_09_large' in res.stderr and len([o for o in res.stderr.splitlines() if o.startswith('emb: ')]) == 1, res

def test_results_that_may_not_be_written(lab):
    before = content(lab/'results')
    res = mounting(f'mount --bind results results && mount -o remount,bind,ro results && emb ls && emb run {exp} -p epochs 3', lab)
    assert res.returncode == 2 and name(lab).name[:20] in res.stdout
    assert res.stderr.count('\n') == 1 and 'Read-only file system' in res.stderr and 'results' in res.stderr
    assert content(lab/'results') == before

def test_ctrl_c_loses_nothing_and_the_next_run_goes_on(own):
    run = own/'results'/f'{exp},epochs=12'
    p = begin('emb', 'run', exp, '-p', 'epochs', '12', cwd=own)
    while p.poll() is None and not list((run/'checkpoints').glob('checkpoint-*/sealed.json')): time.sleep(.01)
    os.killpg(p.pid, signal.SIGINT)
    out, err = p.communicate(timeout=120)
    assert p.returncode == 130 and manifest(run)['status'] == 'interrupted' and 'Traceback' not in err
    assert re.search(r'; the same command resumes it from step \d+ of \d+$|resumes it after its training', err.strip().splitlines()[-1]), err
    again = emb('run', exp, '-p', 'epochs', '12', cwd=own)
    assert 'was resumed from checkpoint-' in again.stdout and [o['status'] for o in manifest(run)['attempts']] == ['interrupted']
