"""Each recipe with its defaults on some pairs of one data set, MiniLM as base model: gain over it, and time

    python bench/defaults.py FOLDER [RECIPE]... [--data DATA] [--pairs N]"""
import json, sys
from datetime import datetime
from pathlib import Path
from random import Random
from arguments import known, parser
from recipes import emb
from verdicts import data

experiments = {'in-batch': 'exp_02_in_batch', 'hard-negatives': 'exp_03_hard_negatives', 'pairwise': 'exp_01_baseline', 'matryoshka': 'exp_04_matryoshka',
    'static': 'exp_05_static', 'lora': 'exp_06_lora', 'rerank': 'exp_08_rerank', 'distil': 'exp_07_distil'}
given = dict(distil=('-p', 'teacher', 'results/exp_08_rerank/final')) # a teacher has no default

def cut(path:Path, n:int):
    "Some of the pairs, drawn at random"
    path.write_text(''.join(sorted(Random(0).sample(lines := path.read_text().splitlines(True), min(n, len(lines))), key=lines.index)))

def labelled(path:Path):
    "Beside each relevant pair a passage drawn at random, with label 0, for a recipe that learns from both"
    rows, rng = [json.loads(o) for o in path.open()], Random(0)
    wrong = [o | dict(passage=rng.choice(rows)['passage'], label=0) for o in rows]
    right = {(o['query'], o['passage']) for o in rows}
    path.write_text(''.join(json.dumps(o, ensure_ascii=False) + '\n' for o in rows + [o for o in wrong if (o['query'], o['passage']) not in right]))

def make(home:Path, name:str, pairs:int)->dict: # Recipe → lab
    "A lab with all recipes, and one with labelled pairs"
    labs = {k: home/f"{'labelled' if k == 'pairwise' else 'all'}_{name}" for k in experiments}
    for lab in {*labs.values()}:
        if lab.exists(): continue
        emb(home, 'init', lab, '--data', data/name, *(o for k in experiments if labs[k] == lab for o in ('--recipe', k)), check=True)
        cut(lab/'data'/'train.jsonl', pairs)
        if labs['pairwise'] == lab: labelled(lab/'data'/'train.jsonl')
    return labs

def row(lab:Path, recipe:str)->str:
    "A line of the table"
    run = next(o for o in (lab/'results').glob(f'{experiments[recipe]}*/run.json'))
    said = json.loads(run.read_text())
    if said['status'] != 'completed': return f"| `{recipe}` | {said['status']}: {said.get('error')} | | |"
    took, h = (datetime.fromisoformat(said['end']) - datetime.fromisoformat(said['start'])).total_seconds(), said['headline']
    return f"| `{recipe}` | {h['base']['mean']:.3f} | {h['tuned']['mean']:.3f} | {h['gain']['mean']:+.3f} [{h['gain']['low']:+.3f}, {h['gain']['high']:+.3f}] | {took/60:.1f} min |"

def main():
    p = parser(__doc__)
    p.add_argument('folder', type=Path)
    p.add_argument('recipe', nargs='*', type=known(experiments, 'recipe'), help='all when none is named')
    p.add_argument('--data', default='nl2bash')
    p.add_argument('--pairs', type=int, default=3000)
    args = p.parse_intermixed_args()
    home = args.folder.resolve()
    home.mkdir(parents=True, exist_ok=True)
    labs = make(home, args.data, args.pairs)
    for recipe in args.recipe or experiments:
        res = emb(labs[recipe], 'run', experiments[recipe], *given.get(recipe, ()))
        if res.returncode: print(f'{recipe}: {res.stderr.strip().splitlines()[-1:]}', file=sys.stderr)
        print(row(labs[recipe], recipe), flush=True)

if __name__ == '__main__': main()
