"How long `emb board` of 500 runs takes beside `emb ls` of the same, and how large its page is"
import argparse, json, tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
import numpy as np
from lists import measured

def make_runs(home:Path, recipes:int=125, seeds:int=4, queries:int=300, hits:int=10):
    "A lab after some months: recipes with seeds, failures, notes, models of models, runs aside and gold that was mended"
    from embed_lab.data.files import jsonl_bytes, write_json
    from embed_lab.data.metrics import bootstrap
    from embed_lab.evaluation.comparable import mock_run
    from embed_lab.evaluation.scores import interval_dict
    from embed_lab.lab import read_lab
    rng = np.random.default_rng(0)
    (home/'results').mkdir(parents=True)
    (home/'settings.ini').write_text('[DEFAULT]\n')
    lab, base = read_lab(home), rng.random(queries).round(4)*.9
    found = [dict(id=f'document {i}', score=.5, grade=None, text='sha256:' + '0'*64) for i in range(hits)]
    kinds = ['exp_02_in_batch', 'exp_03_hard_negatives', 'exp_05_static', 'exp_06_lora']
    for r in range(recipes):
        kind, own = kinds[r % 4], (base + rng.normal(.08*r/recipes, .03) + rng.normal(0, .08, queries)).clip(0, 1)
        for s in range(seeds):
            name = f'{kind},batch_size={32 << r % 3},lr={(r + 1)*1e-5:.5g},seed={s + 1}'
            begun = datetime(2026, 3, 1, 8 + s, tzinfo=timezone.utc) + timedelta(hours=10*r)
            start, end = (o.isoformat() for o in (begun, begun + timedelta(minutes=5 + r % 50)))
            at = dict(start=start, end=end, heartbeat=end, overrides=dict(batch_size=32 << r % 3, lr=round((r + 1)*1e-5, 6), seed=s + 1))
            path = mock_run(lab, name, {}, s + 1, lr=round((r + 1)*1e-5, 6), batch_size=32 << r % 3, epochs=3, model='sentence-transformers/all-MiniLM-L6-v2')
            run = json.loads((path/'run.json').read_text()) | at | dict(documents=10_000, lineage='exp_02_in_batch' if r % 4 == 1 else 'in-batch')
            if (r*seeds + s) % 17 == 5:
                write_json(path/'run.json', run | dict(status=('failed', 'killed', 'interrupted')[r % 3], error='ValueError: train.jsonl:311: a label of 7 where 0 or 1 is wanted (cell 4, line 2)'))
                continue
            tuned = (own + rng.normal(0, .01, queries)).clip(0, 1)
            systems = dict(tuned=tuned, base=base, bm25=base*.8)
            each = bootstrap(np.column_stack([*systems.values(), tuned - base]), resamples=200)
            headline = {k: interval_dict(o) for k,o in zip([*systems, 'gain'], each)}
            lines = [dict(query_id=f'q{i}', query=f'query number {i}') | {k: dict(scores={'ndcg@10': float(o[i])}, hits=found) for k,o in systems.items()} for i in range(queries)]
            (path/'eval'/'per_query.jsonl').write_bytes(jsonl_bytes(lines))
            for o in ('final/README.md', 'plots/loss.html', 'plots/gold_metrics.html', f'{kind}.ipynb'):
                (path/o).parent.mkdir(exist_ok=True)
                (path/o).write_text('{}')
            write_json(path/'run.json', run | dict(headline=headline))

def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('folder', nargs='?', type=Path, help='where the lab is; one that exists is used again')
    p.add_argument('--rounds', type=int, default=3)
    a = p.parse_args()
    home = (a.folder or Path(tempfile.mkdtemp()))/'board_lab'
    if not home.exists(): make_runs(home)
    n, kept = len([*home.glob('results/*/run.json')]), home/'results'/'cache'/'board.msgpack'
    kept.unlink(missing_ok=True)
    first = measured(['board'], home, 1)
    print(f'emb board of {n} runs, the first time: {first[0]:.2f} s, {first[2]:.2f} s of CPU', flush=True)
    ls, board = (measured([o], home, a.rounds) for o in ('ls', 'board'))
    for name,o in (('ls', ls), ('board', board)): print(f'emb {name}: {o[0]:.2f} s (best of {a.rounds} {o[1]:.2f}), {o[2]:.2f} s of CPU (best {o[3]:.2f}), {o[4]:,.0f} MB')
    print(f'board beside ls: {board[2]/ls[2]:.2f} times the CPU, {board[0] - ls[0]:+.2f} s; page {(home/"results"/"board.html").stat().st_size/1e6:.2f} MB')

if __name__ == '__main__': main()
