"How long `emb compare` takes for ten runs of 1,000 queries each"
import os, statistics, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np

bin = Path(sys.executable).parent
systems = 'tuned', 'base', 'bm25', 'fused', 'oracle'

def make_runs(home:Path, recipes:int, seeds:int, queries:int, guard:bool):
    "Runs of a lab, each with the scores and top tens of five systems"
    from embed_lab.evaluation.comparable import mock_run
    from embed_lab.lab import read_lab
    from embed_lab.data.metrics import measures
    from embed_lab.data.files import write_rows
    rng = np.random.default_rng(0)
    (home/'settings.ini').write_text('[DEFAULT]\n')
    def row(i):
        def system(s): return dict(scores={m: rng.random() if s not in ('base', 'bm25', 'oracle') else (i % 7)/7 for m in measures},
            hits=[dict(id=f'document-{rng.integers(100_000)}', score=rng.random(), grade=None, text=f'{rng.integers(2**60):016x}') for _ in range(10)])
        return dict(query_id=f'query-{i}', query='how long does it take to read what a user asked ' + 'word '*8, tags=['short']) | {s: system(s) for s in systems}
    for r in range(recipes):
        for s in range(seeds):
            run = mock_run(read_lab(home), f'exp_01,lr={r},seed={s}', {}, s, lr=r)
            for o in ['per_query.jsonl'] + ['guard_per_query.jsonl']*guard: write_rows(run/'eval'/o, map(row, range(queries)))

def seconds(cmd:list, cwd:Path)->float:
    t = time.perf_counter()
    subprocess.run(cmd, cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - t

def main(rounds:str='5', queries:str='1000'):
    loaded = "import sys; from embed_lab.cli.commands import app\ntry: app(['compare', 'exp_01*'])\nexcept SystemExit: pass\nprint('torch' in sys.modules, file=sys.stderr)"
    for recipes,seeds,guard in ((10, 1, False), (2, 5, False), (1, 10, False), (10, 1, True)):
        home = Path(tempfile.mkdtemp())
        make_runs(home, recipes, seeds, int(queries), guard)
        size = sum(o.stat().st_size for o in home.rglob('*per_query.jsonl'))/1e6
        took = [seconds([bin/'emb', 'compare', 'exp_01*'], home) for _ in range(int(rounds))]
        torch = subprocess.run([sys.executable, '-c', loaded], cwd=home, capture_output=True, text=True, check=True).stderr.strip()
        print(f"{statistics.median(took):.2f} s (goal: under 3; worst of {rounds} {max(took):.2f})  {recipes} recipes of {seeds} seeds, {int(queries):,} queries{', with guard' if guard else ''}, {size:.0f} MB of scores; torch imported: {torch}")

main(*sys.argv[1:])
