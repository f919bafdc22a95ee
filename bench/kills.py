"""A run killed again and again at random moments: is anything ever corrupt, does it always go on, and is the end the same?

    python bench/kills.py [KILLS] [SEED]"""
import json, random, subprocess, sys, tempfile, time
from collections import Counter
from pathlib import Path
import nbformat, psutil
from embed_lab.models.base import tiny_model
from embed_lab.data.files import write_rows
from embed_lab.data.sample import mine_sample

bin, exp = Path(sys.executable).parent, 'exp_02_in_batch'
args = [str(bin/'emb'), 'run', exp, '-p', 'epochs', '10', '-p', 'lr', '.01']

def make(home):
    "A lab on the head of the sample, with a small model that has dropout"
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dropout
    rows = mine_sample()
    for k,n in dict(train=600, dev=120, gold=120).items(): write_rows(home/'data'/f'{k}.jsonl', rows[k][:n])
    words = [t for o in rows['train'][:600] for t in (o['query'], o['passage'])]
    SentenceTransformer(modules=[*tiny_model(words), Dropout(.3)], device='cpu').save_pretrained(str(home/'base'))
    subprocess.run([bin/'emb', 'init', home/'lab', '--data', home/'data', '--recipe', 'in-batch'], check=True, capture_output=True)
    ini = home/'lab'/'settings.ini'
    ini.write_text(ini.read_text().replace('model = sentence-transformers/all-MiniLM-L6-v2', f'model = {home/"base"}'))
    return home/'lab'

def manifest(run): return json.loads((run/'run.json').read_text())

def stage(run):
    "Where a run is, from outside"
    if not (run/'run.json').exists(): return 'kernel start'
    m = manifest(run)
    if m.get('outcome'): return 'writing the notebook'
    at = (m.get('progress') or {}).get('stage')
    newest = max((run/'checkpoints').glob('checkpoint-*'), key=lambda o: int(o.name.split('-')[1]), default=None)
    if newest and not (newest/'sealed.json').exists(): return 'checkpoint write'
    return {'training': 'training', 'searching gold': 'evaluation'}.get(at, 'before training')

def kill(lab, run, when, rng):
    "Start the run; kill parent, kernel or both when `when()` is true. Returns where it was and who was killed, or None when it ended first"
    p = subprocess.Popen(args, cwd=lab, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while p.poll() is None and not when(): time.sleep(.001)
    if p.poll() is not None: return None
    at, who = stage(run), rng.choice(['kernel', 'both', 'both', 'parent'])
    kernels = [o for o in psutil.Process(p.pid).children(recursive=True) if 'ipykernel' in ' '.join(o.cmdline())]
    if who != 'kernel' or not kernels: p.kill()
    if who != 'parent':
        for o in kernels: o.kill()
    p.wait()
    psutil.wait_procs(kernels, timeout=30)
    return at, who if kernels else 'parent'

def verify(lab, run):
    "What must hold after every kill"
    listed = json.loads(subprocess.run([bin/'emb', 'ls', '--json'], cwd=lab, check=True, capture_output=True).stdout)
    status = listed[run.name]['status'] if run.name in listed else 'no run yet'
    assert status in ('killed', 'interrupted', 'failed', 'no run yet'), status
    for o in run.glob('*.ipynb'): nbformat.validate(nbformat.read(o, 4))
    return status

def attempt(lab, run, want, took, rng, home):
    "Kill the run where `want` says, or anywhere; where it was, or None for one that has ended before a second kill"
    first = not (run/'run.json').exists()
    while True:
        until = time.time() + rng.uniform(0, took if first else took/2)
        res = kill(lab, run, (lambda: stage(run) == want) if want else lambda: time.time() > until, rng)
        if res or not first: return res
        run.rename(home/f'missed{time.time()}')

def main(n=25, seed=0):
    rng, home = random.Random(seed), Path(tempfile.mkdtemp())
    lab = make(home)
    run = lab/'results'/f'{exp},epochs=10,lr=0.01'
    t = time.time()
    subprocess.run(args, cwd=lab, check=True, capture_output=True)
    took, whole = time.time() - t, manifest(run)
    run.rename(home/'whole')
    print(f'uninterrupted: {took:.0f} s, weights {whole["outcome"]["weights"][:20]}; {n} kills, seed {seed}', flush=True)
    places, ends = Counter(), Counter()
    wanted = ['kernel start', 'before training', 'training', 'checkpoint write', 'evaluation', 'writing the notebook']
    for i in range(n):
        want = wanted[i % 8] if i % 8 < len(wanted) else None # two of eight at any moment
        for w in [want] + [None]*(i % 2): # every other run is killed a second time, as it goes on
            if res := attempt(lab, run, w, took, rng, home):
                at, who = res
                places[at] += 1
                print(f'{i+1:3} killed {who:6} at {at:22} {verify(lab, run)}', flush=True)
        again = subprocess.run(args, cwd=lab, capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
        m = manifest(run)
        equal = m['outcome'] == whole['outcome'] and m['headline'] == whole['headline']
        ends['equal' if equal else 'DIFFERENT'] += 1
        print(f"    {'equal' if equal else 'DIFFERENT'}, from {m.get('resumed') or 'the start'}; torn: {', '.join(m.get('torn', [])) or 'none'}", flush=True)
        run.rename(home/f'done{i}')
    print('killed at: ' + ', '.join(f'{k} {v}' for k,v in places.items()))
    print('ended: ' + ', '.join(f'{k} {v}' for k,v in ends.items()))
    if ends['DIFFERENT']: raise SystemExit(1)

if __name__ == '__main__': main(*map(int, sys.argv[1:]))
