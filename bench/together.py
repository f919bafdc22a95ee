"""Plain papermill runs of one experiment, started in the same instant again and again: is each recorded in its own folder, with its own parameters and its own weights?

    python bench/together.py [ROUNDS] [AT_ONCE] [--train]

Without --train the experiment only records its parameters; with it, it trains a small static model, and a run's weights must be those of its parameters in every round."""
import json, os, subprocess, sys, tempfile, time
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
from collections import Counter
from pathlib import Path
from arguments import parser
from kills import make, manifest

bin = Path(sys.executable).parent
exp = 'exp_02_in_batch'

def recording(lab):
    "An experiment that trains nothing"
    sources = ('lr: float = 0.1', ['parameters']), ('from embed_lab.runs.record import start\nrun = start(globals())', []), ('run.finish(lr=lr)', [])
    cells = [dict(cell_type='code', id=f'c{i}', metadata=dict(tags=tags), source=source, outputs=[], execution_count=None) for i,(source,tags) in enumerate(sources)]
    kernel = dict(name='python3', display_name='Python 3', language='python')
    (lab/'experiments'/'small.ipynb').write_text(json.dumps(dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)))
    return 'small'

def start_all(lab, name, folders):
    "One papermill for each folder, each with a learning rate of its own; what each printed and its exit code"
    for o in folders: o.mkdir()
    def begin(i, o): return subprocess.Popen([bin/'papermill', f'experiments/{name}.ipynb', o/f'{name}.ipynb', '-p', 'lr', f'0.0{i + 1}', '--no-progress-bar'], cwd=lab,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    some = [begin(*o) for o in enumerate(folders)]
    return [(p.communicate()[0], p.returncode) for p in some]

def wrong(path, name, lr, weights):
    "What is not right about a record; empty where all is. `weights`: those of each learning rate so far"
    try: run = manifest(path)
    except FileNotFoundError: return 'no record'
    if run['status'] != 'completed': return f"{run['status']}: {run.get('error')}"
    said = json.loads((path/f'{name}.ipynb').read_text())['metadata']['papermill']['parameters']
    if not run['overrides'] == said == dict(lr=lr) or run['inputs']['parameters']['lr'] != lr: return f"parameters {run['overrides']}, not {lr}"
    if weights.setdefault(lr, run['outcome']) != run['outcome']: return 'other weights or scores than in an earlier round'
    return ''

def main():
    p = parser(__doc__)
    p.add_argument('rounds', nargs='?', type=int, default=10)
    p.add_argument('at_once', nargs='?', type=int, default=4)
    p.add_argument('--train', action='store_true')
    args = p.parse_args()
    lab, began, weights, found = make(Path(tempfile.mkdtemp())), time.time(), {}, Counter()
    name = exp if args.train else recording(lab)
    for r in range(args.rounds):
        folders = [lab/'results'/f'{name}_{r}_{i}' for i in range(args.at_once)]
        for i,(o,(out,code)) in enumerate(zip(folders, start_all(lab, name, folders))):
            why = wrong(o, name, float(f'0.0{i + 1}'), weights) or (f'exit code {code}' if code else '')
            found['wrong' if why else 'right'] += 1
            if why: print(f'{o.name}: {why}\n{out[-600:]}', flush=True)
        print(f"round {r + 1}: {found['right']} of {sum(found.values())} records right, {(time.time() - began)/60:.1f} minutes", flush=True)
    if args.train: print(f'{len({str(o) for o in weights.values()})} different outcomes of {len(weights)} learning rates')
    print(f"{found['right']} right records of {sum(found.values())}, {args.at_once} at once, {args.rounds} times")
    if found['wrong']: raise SystemExit(1)

if __name__ == '__main__': main()
