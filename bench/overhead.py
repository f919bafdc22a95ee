"""What the truth costs: an experiment under `emb run`, under plain papermill, and under papermill with all record-keeping taken out

    python bench/overhead.py [PAIRS] [minilm]"""
import json, subprocess, sys, tempfile, time
from pathlib import Path
from statistics import median
from kills import bin, exp, make

bare = '''from contextlib import ExitStack
import embed_lab.training.breakdown, embed_lab.training.checkpoints, embed_lab.runs.record as r
r.inputs = lambda lab, nb, params, base: dict(parameters=params, data={})
r.environment = r.outcome = lambda *a: {}
r.machine = lambda: dict(cpus=0)
r.git_facts = lambda lab: (None, b'')
r.write_json = r.write_atomic = r.check_data = r.set_aside = r.watch = lambda *a, **k: None
r.hold = lambda path: ExitStack()
r.export_inventory = lambda lab: []
embed_lab.training.checkpoints.seal_checkpoint = lambda *a: None
embed_lab.training.breakdown.DivergenceGuard.step = embed_lab.training.breakdown.DivergenceGuard.weights = lambda *a: None
r.Run.kept = lambda self, name, make, of: make()'''

def stripped(lab):
    "The experiment with a cell that takes out hashes, manifest, lock, seals and the guard against divergence"
    nb = json.loads((lab/'experiments'/f'{exp}.ipynb').read_text())
    at = next(i for i,c in enumerate(nb['cells']) if 'parameters' in c['metadata'].get('tags', []))
    nb['cells'].insert(at + 1, dict(cell_type='code', id='bare', metadata={}, source=bare, outputs=[], execution_count=None))
    (lab/'experiments'/'bare.ipynb').write_text(json.dumps(nb))
    (lab/'results'/'bare').mkdir(exist_ok=True)

def seconds(lab, *args):
    t = time.perf_counter()
    subprocess.run([bin/args[0], *map(str, args[1:])], cwd=lab, check=True, capture_output=True)
    return time.perf_counter() - t

def main(pairs=5, model=''):
    home = Path(tempfile.mkdtemp())
    lab, given = make(home), ('-p', 'epochs', '3', '-p', 'lr', '.01')
    if model:
        subprocess.run([bin/'emb', 'init', home/'minilm'], check=True, capture_output=True)
        lab, given = home/'minilm', ()
    stripped(lab)
    run = {'papermill, stripped': lambda: seconds(lab, 'papermill', 'experiments/bare.ipynb', 'results/bare/bare.ipynb', *given),
        'papermill': lambda: seconds(lab, 'papermill', f'experiments/{exp}.ipynb', f'results/{exp}/{exp}.ipynb', *given),
        'emb run': lambda: seconds(lab, 'emb', 'run', exp, *given, '--restart')}
    took = {k: [] for k in run}
    for i in range(pairs):
        for k in list(run)[::1 if i % 2 else -1]: took[k].append(run[k]())
        print(f'{i+1}: ' + ', '.join(f'{k} {v[-1]:.1f} s' for k,v in took.items()), flush=True)
    for k in list(run)[:2]:
        more = [a - b for a,b in zip(took['emb run'], took[k])]
        print(f"emb run over {k}: {median(more):+.2f} s, {median(a/b for a,b in zip(took['emb run'], took[k])) - 1:+.1%} (medians of {pairs} pairs; limit: 1 s or 2 %)")

if __name__ == '__main__': main(*(int(o) if o.isdigit() else o for o in sys.argv[1:]))
