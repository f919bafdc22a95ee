"""What a completed run of MiniLM takes on the disk, over the size of its model, and what it would take with its checkpoints

    python bench/disk.py [ROWS]

Trains in-batch on the head of the sample; needs the extra `offline`."""
import json, os, subprocess, sys, tempfile
from pathlib import Path
from arguments import parser
from embed_lab.runs.results import run_bytes
from embed_lab.training.estimate import size_text

def make(home, rows):
    "A lab on the head of the sample, with the model that a lab begins with"
    emb = Path(sys.executable).parent/'emb'
    subprocess.run([emb, 'init', home/'lab', '--recipe', 'in-batch'], check=True, capture_output=True)
    for name,n in dict(train=rows, dev=64, gold=64).items():
        file = home/'lab'/'data'/f'{name}.jsonl'
        file.write_text(''.join(file.read_text().splitlines(True)[:n]))
    (home/'lab'/'data'/'guard.jsonl').unlink(missing_ok=True)
    subprocess.run([emb, 'run', 'exp_02_in_batch'], cwd=home/'lab', check=True, env=os.environ | dict(HF_HUB_OFFLINE='1'))
    return home/'lab'/'results'/'exp_02_in_batch'

def main():
    p = parser(__doc__)
    p.add_argument('rows', nargs='?', type=int, default=256)
    run = make(Path(tempfile.mkdtemp()), p.parse_args().rows)
    parts, before = run_bytes(run), json.loads((run/'run.json').read_text())['used']['disk']
    total, model = sum(parts.values()), parts['model']
    print(f"\n{size_text(total)} for a model of {size_text(model)}: {total/model:.2f}; with its checkpoints it was {size_text(before)}: {before/model:.2f}")

if __name__ == '__main__': main()
