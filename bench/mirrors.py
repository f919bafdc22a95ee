"""What a tracker with a local store costs a run: the same runs of MiniLM with it and without, in turn, in CPU and wall time

    python bench/mirrors.py [TRACKER]... [--pairs N] [--rows N] [--model FOLDER]

The database that MLflow wants is made beforehand, since a lab does that once; what that takes is told apart."""
import os, resource, subprocess, sys, tempfile, time
from pathlib import Path
from statistics import median
from arguments import parser
from embed_lab.data.files import write_rows
from embed_lab.data.sample import mine_sample
from embed_lab.models.base import find_model

bin, exp = Path(sys.executable).parent, 'exp_02_in_batch'
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false', WANDB_MODE='offline')
os.environ.setdefault('EMB_HARDWARE', 'cpu fp32') # a choice by speed is a matter of the moment

def timed(*args, cwd): # (CPU seconds of it and all its processes, wall seconds)
    def cpu(): return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    before, start = cpu(), time.perf_counter()
    res = subprocess.run([str(o) for o in args], cwd=cwd, capture_output=True, text=True)
    if res.returncode or 'tracker' in res.stderr: sys.exit(res.stdout + res.stderr)
    return cpu() - before, time.perf_counter() - start

def made(home, model, rows):
    "A lab whose train is cut to some rows"
    (home/'data').mkdir()
    for k,some in mine_sample().items(): write_rows(home/'data'/f'{k}.jsonl', some[:rows] if k == 'train' else some)
    timed(bin/'emb', 'init', home/'lab', '--data', home/'data', '--recipe', 'in-batch', cwd=home)
    ini = home/'lab'/'settings.ini'
    ini.write_text(ini.read_text().replace('model = sentence-transformers/all-MiniLM-L6-v2', f'model = {model}') + 'tracker =\n')
    return home/'lab'

def follow(lab, tracker): # '' for none
    ini = lab/'settings.ini'
    ini.write_text(''.join(f'tracker = {tracker}\n' if o.startswith('tracker') else o for o in ini.read_text().splitlines(True)))

first = "import sys; from embed_lab.lab import read_lab; from embed_lab.runs.shipped_trackers import _mlflow; _mlflow(read_lab('.'))[1].search_experiments()"

def main():
    p = parser(__doc__)
    p.add_argument('trackers', nargs='*', default=['mlflow', 'trackio'], metavar='TRACKER')
    p.add_argument('--pairs', type=int, default=3)
    p.add_argument('--rows', type=int, default=2000)
    p.add_argument('--model', default='sentence-transformers/all-MiniLM-L6-v2', help='a folder or a hub id')
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ['TRACKIO_DIR'] = f'{home}/trackio'
        lab = made(Path(home), find_model(args.model), args.rows)
        if 'mlflow' in args.trackers: print('the database of MLflow, once a lab: {:.1f} s of CPU, {:.1f} s'.format(*timed(sys.executable, '-c', first, cwd=lab)))
        timed(bin/'emb', 'run', exp, cwd=lab) # vectors of the base model are kept from now on
        took = {k: [] for k in ('', *args.trackers)}
        for i in range(args.pairs):
            for k in [*took][::1 if i % 2 else -1]:
                follow(lab, k)
                took[k].append(timed(bin/'emb', 'run', exp, '--restart', cwd=lab))
            print(f'{i + 1}: ' + ', '.join(f"{k or 'none'} {v[-1][0]:.1f} s of CPU, {v[-1][1]:.1f} s" for k,v in took.items()), flush=True)
        for k in args.trackers:
            for n,what in enumerate(('CPU', 'wall')):
                more = [a[n] - b[n] for a,b in zip(took[k], took[''])]
                part = median(a[n]/b[n] for a,b in zip(took[k], took[''])) - 1
                print(f'{k}, {what}: {median(more):+.2f} s, {part:+.1%} of a run (medians of {args.pairs} pairs, {min(more):+.2f} to {max(more):+.2f} s)')

if __name__ == '__main__': main()
