"""Ten small experiments on forked kernels, by `emb run` and `emb sweep`, beside ten papermill commands

    python bench/warm.py FOLDER [RUNS]"""
import json, os, shutil, subprocess, sys, time
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
from datetime import datetime
from pathlib import Path
from statistics import median
from kills import bin

exp = 'exp_05_static'

def made(home:Path)->Path:
    "A lab with the sample data and the static recipe, in which the base model's vectors are kept already, as after a first run"
    if not (lab := home/'lab').exists():
        subprocess.run([bin/'emb', 'init', lab, '--recipe', 'static'], check=True, capture_output=True)
        subprocess.run([bin/'emb', 'run', exp, '-p', 'seed', '0'], cwd=lab, check=True, capture_output=True)
    return lab

def papermills(lab, n):
    for i in range(1, n+1):
        (out := lab/'results'/f'{exp},seed={i}').mkdir()
        yield [bin/'papermill', f'experiments/{exp}.ipynb', out/f'{exp}.ipynb', '-p', 'seed', str(i)]

def runs(lab, n):
    for i in range(1, n+1): shutil.copy(lab/'experiments'/f'{exp}.ipynb', lab/'experiments'/f'exp_{10+i}_copy.ipynb')
    yield [bin/'emb', 'run', *(f'exp_{10+i}_copy' for i in range(1, n+1)), '-p', 'seed', '1']

arms = {'papermill, one after the other': papermills, 'emb run, one after the other': runs,
    'emb sweep --jobs 1': lambda lab, n: [[bin/'emb', 'sweep', exp, '--seeds', str(n)]], 'emb sweep --jobs 2': lambda lab, n: [[bin/'emb', 'sweep', exp, '--seeds', str(n), '--jobs', '2']]}

def started(path:Path)->float: # Seconds
    "From the notebook's start to its first cell's"
    nb = json.loads(path.read_text())
    first = next(o['metadata']['papermill']['start_time'] for o in nb['cells'] if o['cell_type'] == 'code')
    return (datetime.fromisoformat(first) - datetime.fromisoformat(nb['metadata']['papermill']['start_time'])).total_seconds()

def main(folder, n=10):
    home, base = Path(folder).resolve(), None
    home.mkdir(parents=True, exist_ok=True)
    lab = made(home)
    for name,arm in arms.items():
        mine = shutil.copytree(lab, home/'arm')
        known = {*mine.glob('results/*/*.ipynb')}
        t = time.perf_counter()
        for o in arm(mine, int(n)): subprocess.run(o, cwd=mine, check=True, capture_output=True)
        took = time.perf_counter() - t
        base = base or took
        starts = [started(o) for o in mine.glob('results/*/*.ipynb') if o not in known]
        assert len(starts) == int(n)
        print(f'{name:<32} {took:7.1f} s  {base/took:5.2f} times  kernel start {median(starts):.2f} s (median of {len(starts)})', flush=True)
        shutil.rmtree(mine)

if __name__ == '__main__': main(*sys.argv[1:])
