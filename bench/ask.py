"`emb search` of 10,000 documents: the first answer, which encodes them, and the next one, from the cache, beside what importing the library alone takes"
import os, shutil, statistics, subprocess, sys, tempfile, time
from pathlib import Path
from arguments import parser

bin = Path(sys.executable).parent

def made_lab(home:Path, n:int)->Path:
    "A lab with a run whose model is MiniLM with its weights moved a little, so that its vectors are its own"
    from embed_lab.data.files import write_json, write_rows
    from embed_lab.data.sample import mine_sample
    from embed_lab.models.base import load_model, minilm, weights_hash, find_model
    from embed_lab.runs.manifest import mock_manifest
    rows = [o for k,some in mine_sample().items() if k in ('train', 'dev', 'gold') for o in some]
    passages = [*dict.fromkeys(o['passage'][:80] for o in rows)]
    docs = [f'{passages[i % len(passages)]} {i // len(passages)}'.strip() for i in range(n)]
    data = home/'data'
    data.mkdir(parents=True)
    (home/'settings.ini').write_text('[DEFAULT]\n')
    write_rows(data/'corpus.jsonl', [dict(_id=f'd{i}', text=o) for i,o in enumerate(docs)])
    write_rows(data/'gold.jsonl', [dict(query=o['query'], passage=docs[i], label=1, passage_id=f'd{i}') for i,o in enumerate(rows[:300])])
    model = load_model(minilm)
    model.transformers_model.embeddings.LayerNorm.weight.data.mul_(1.02)
    model.save_pretrained(str(home/'results'/'exp_01'/'final'), create_model_card=False)
    run = mock_manifest(experiment='exp_01', status='completed')
    run['inputs'] |= dict(parameters=dict(model=minilm, seed=42), base_model=weights_hash(find_model(minilm)))
    write_json(home/'results'/'exp_01'/'run.json', run)
    return home

def seconds(cmd:list, **kw)->tuple: # (wall, CPU of it and its children)
    before, t = os.times(), time.perf_counter()
    subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL, **kw)
    took, after = time.perf_counter() - t, os.times()
    return took, after[2] + after[3] - before[2] - before[3]

def main():
    p = parser(__doc__)
    p.add_argument('documents', type=int, nargs='?', default=10_000)
    p.add_argument('--rounds', type=int, default=5)
    args = p.parse_args()
    lab = made_lab(Path(tempfile.mkdtemp())/'lab', args.documents)
    search = [bin/'emb', 'search', 'exp_01', 'how do I read a file line by line', '--json']
    ways = {'emb search, from the cache': search, 'import sentence_transformers': [sys.executable, '-c', 'import sentence_transformers'],
        'import torch': [sys.executable, '-c', 'import torch']}
    wall, cpu = seconds(search, cwd=lab)
    print(f'{wall:6.1f} s wall {cpu:6.1f} s CPU  the first answer, which encodes {args.documents:,} documents twice')
    took = {k: [] for k in ways}
    for _ in range(args.rounds):
        for k,o in ways.items(): took[k].append(seconds(o, cwd=lab))
    for k,v in took.items(): print(f'{statistics.median(o[0] for o in v):6.2f} s wall {statistics.median(o[1] for o in v):6.2f} s CPU  {k}')
    shutil.rmtree(lab.parent)

if __name__ == '__main__': main()
