"""Runs of four recipes and a sweep, killed again and again at random moments on a machine that is kept busy: is anything ever corrupt, does it always go on, and is the end the same?

    python bench/kills.py [KILLS] [SEED] [--busy PROCESSES] [--cold]

Processes are forked from one that has the imports done, as a sweep's are; with --cold each is started as a terminal does, which takes four times as long."""
import json, os, random, subprocess, sys, tempfile, time
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
import nbformat, psutil
from arguments import parser
tests = str(Path(__file__).resolve().parent.parent/'tests')
sys.path.insert(0, tests)
os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [tests, os.environ.get('PYTHONPATH')])) # for the process that forks
from support import begin, manifest
from embed_lab.data.files import write_rows
from embed_lab.data.sample import mine_sample
from embed_lab.models.base import tiny_model

bin = Path(sys.executable).parent
recipes = dict(pairwise='exp_01_baseline', in_batch='exp_02_in_batch', hard_negatives='exp_03_hard_negatives', matryoshka='exp_04_matryoshka')
settings = ['-p', 'epochs', '6', '-p', 'lr', '.01']
kinds = {k: ['run', v, *settings] for k,v in recipes.items()} | dict(sweep=['sweep', recipes['in_batch'], *settings[:3], '-g', 'lr=.02,.03'])
places = 'kernel start', 'before training', 'training', 'checkpoint write', 'evaluation', 'writing the notebook', None, None # two of eight at any moment

busy = 'import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(100_000))' # until this process has ended, however it ends

def make(home):
    "A lab on the head of the sample, with a small model that has dropout"
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dropout
    rows = mine_sample()
    for k,n in dict(train=600, dev=120, gold=120).items(): write_rows(home/'data'/f'{k}.jsonl', rows[k][:n])
    words = [t for o in rows['train'][:600] for t in (o['query'], o['passage'])]
    SentenceTransformer(modules=[*tiny_model(words), Dropout(.3)], device='cpu').save_pretrained(str(home/'base'))
    named = [w for k in recipes for w in ('--recipe', k.replace('_', '-'))]
    subprocess.run([bin/'emb', 'init', home/'lab', '--data', home/'data', *named], check=True, capture_output=True)
    ini = home/'lab'/'settings.ini'
    ini.write_text(ini.read_text().replace('model = sentence-transformers/all-MiniLM-L6-v2', f'model = {home/"base"}'))
    return home/'lab'

def runs_of(lab): # Folders of the runs there are
    return sorted(o.parent for o in (lab/'results').glob('*/run.json') if o.parent.name.startswith('exp_'))

def stage(lab):
    "Where the run that was begun last is, from outside"
    runs = sorted(runs_of(lab), key=lambda o: (o/'run.json').stat().st_mtime)
    if not runs: return 'kernel start'
    try: m = manifest(runs[-1])
    except FileNotFoundError: return 'kernel start'
    if m.get('outcome'): return 'writing the notebook'
    newest = max((runs[-1]/'checkpoints').glob('checkpoint-*'), key=lambda o: int(o.name.split('-')[1]), default=None)
    if newest and not (newest/'sealed.json').exists(): return 'checkpoint write'
    at = (m.get('progress') or {}).get('stage', '').partition(':')[0]
    known = {'training': 'training', 'looking at dev': 'training', 'gold, base model': 'evaluation', 'gold, tuned model': 'evaluation'}
    return known.get(at, 'before training')

class Emb:
    "A command that runs, and the processes that belong to it"
    def __init__(self, lab, args, cold):
        self.lab, self.cold = lab, cold
        if cold: self.p = subprocess.Popen([bin/'emb', *args], cwd=lab, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        else: self.p = begin('emb', *args, cwd=lab)

    def family(self): # Besides the command itself
        top = psutil.Process(self.p.pid)
        if not self.cold: top = top.parent() # the server that all of them are forked from
        return [o for o in top.children(recursive=True) if o.pid != self.p.pid]

    def kill(self, who): # 'parent', 'kernel' or 'all'; what is left of them may end by itself
        others = self.family()
        pids = {manifest(o)['process']['pid'] for o in runs_of(self.lab)}
        kernels = [o for o in others if o.pid in pids] or others
        if who != 'kernel' or not kernels: self.p.kill()
        for o in dict(parent=[], kernel=kernels, all=others)[who]: o.kill()
        self.p.wait()
        psutil.wait_procs(others, timeout=60)

def done(lab, args, cold):
    "Run a command to its end; its output"
    out, err = (p := Emb(lab, args, cold).p).communicate()
    assert p.returncode == 0, err
    return out

def verify(lab, cold):
    "What must hold after every kill: statuses by count"
    listed = json.loads(done(lab, ['ls', '--json'], cold))
    found = Counter(listed[o.name]['status'] for o in runs_of(lab))
    assert {*found} <= {'killed', 'interrupted', 'failed', 'completed'}, found
    for o in (f for r in runs_of(lab) for f in r.glob('*.ipynb')): nbformat.validate(nbformat.read(o, 4))
    return ', '.join(f'{n} {k}' for k,n in found.items()) or 'no run yet'

def attempt(lab, args, want, took, rng, cold):
    "Kill a command where `want` says, or anywhere; returns where it was and who was killed, or None when it ended first"
    until, p = time.time() + rng.uniform(0, took), Emb(lab, args, cold)
    while p.p.poll() is None and not (stage(lab) == want if want else time.time() > until): time.sleep(.002)
    if p.p.poll() is not None: return None
    at, who = stage(lab), rng.choice(['kernel', 'all', 'all', 'parent'])
    try: p.kill(who)
    except psutil.NoSuchProcess: pass # it ended meanwhile
    return at, who

def outcomes(lab): # Run → what must be equal
    return {o.name: [manifest(o)[k] for k in ('status', 'outcome', 'headline')] for o in runs_of(lab)}

def clear(lab, to):
    for o in runs_of(lab): o.rename(to/f'{o.name},{time.time()}')

def main():
    p = parser(__doc__)
    p.add_argument('kills', nargs='?', type=int, default=50)
    p.add_argument('seed', nargs='?', type=int, default=0)
    p.add_argument('--busy', type=int, default=4, help='processes that keep a core busy each, meanwhile')
    p.add_argument('--cold', action='store_true')
    args = p.parse_intermixed_args()
    rng, home = random.Random(args.seed), Path(tempfile.mkdtemp())
    lab, began = make(home), time.time()
    (home/'done').mkdir()
    killed, ends, whole, took = Counter(), Counter(), {}, {}
    with ExitStack() as others:
        for k,words in kinds.items(): # on a quiet machine, and what is killed on a busy one
            t = time.time()
            done(lab, words, args.cold)
            took[k], whole[k] = time.time() - t, outcomes(lab)
            print(f"{k}, uninterrupted: {took[k]:.0f} s, weights {', '.join(o[1]['weights'][7:15] for o in whole[k].values())}", flush=True)
            clear(lab, home/'done')
        for _ in range(args.busy): others.callback(subprocess.Popen([sys.executable, '-c', busy]).kill)
        for i in range(args.kills):
            kind = [*kinds][i % len(kinds)]
            for again in range(1 + i % 2): # every other one is killed a second time, as it goes on
                want = places[i // len(kinds) % len(places)] if not again else None
                if res := attempt(lab, kinds[kind], want, took[kind], rng, args.cold):
                    killed[res[0]] += 1
                    print(f'{i+1:3} {kind:14} killed {res[1]:6} at {res[0]:20} {verify(lab, args.cold)}', flush=True)
            done(lab, kinds[kind], args.cold)
            equal = outcomes(lab) == whole[kind]
            ends['equal' if equal else 'DIFFERENT'] += 1
            resumed = [m['resumed'] for o in runs_of(lab) if (m := manifest(o)).get('resumed')]
            print(f"    {'equal' if equal else 'DIFFERENT: ' + str(home/'done')}, from {', '.join(resumed) or 'the start'}", flush=True)
            clear(lab, home/'done')
    print('killed at: ' + ', '.join(f'{k} {v}' for k,v in killed.items()))
    print(f"{args.kills} rounds over {', '.join(kinds)}, {args.busy} busy processes, seed {args.seed}, {(time.time() - began)/60:.0f} minutes; ended: " + ', '.join(f'{k} {v}' for k,v in ends.items()))
    if ends['DIFFERENT']: raise SystemExit(1)

if __name__ == '__main__': main()
