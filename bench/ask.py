"`emb search` of 10,000 documents: the first answer, which encodes them, and the next one, from the cache, beside what importing the library alone takes"
import os, shutil, statistics, subprocess, sys, tempfile, time
from pathlib import Path
from arguments import parser

bin = Path(sys.executable).parent

def small_model(folder:Path)->str:
    "A transformer of two layers, which encodes ten thousand documents in seconds"
    from embed_lab.data.sample import mine_sample
    from embed_lab.models.base import tiny_transformer
    tiny_transformer([t for o in mine_sample()['train'] for t in (o['query'], o['passage'])], dim=384).save_pretrained(str(folder), create_model_card=False)
    return str(folder)

def made_lab(home:Path, n:int, base:str)->Path:
    "A lab with a run whose model is its base with the weights moved a little, so that its vectors are its own"
    from embed_lab.data.files import write_json, write_rows
    from embed_lab.data.sample import mine_sample
    from embed_lab.models.base import find_model, load_model, weights_hash
    from embed_lab.runs.manifest import mock_manifest
    rows = [o for k,some in mine_sample().items() if k in ('train', 'dev', 'gold') for o in some]
    passages = [*dict.fromkeys(o['passage'][:80] for o in rows)]
    docs = [f'{passages[i % len(passages)]} {i // len(passages)}'.strip() for i in range(n)]
    data = home/'data'
    data.mkdir(parents=True)
    (home/'settings.ini').write_text('[DEFAULT]\n')
    write_rows(data/'corpus.jsonl', [dict(_id=f'd{i}', text=o) for i,o in enumerate(docs)])
    write_rows(data/'gold.jsonl', [dict(query=o['query'], passage=docs[i], label=1, passage_id=f'd{i}') for i,o in enumerate(rows[:300])])
    model = load_model(base)
    model.transformers_model.embeddings.LayerNorm.weight.data.mul_(1.02)
    model.save_pretrained(str(home/'results'/'exp_01'/'final'), create_model_card=False)
    run = mock_manifest(experiment='exp_01', status='completed')
    run['inputs'] |= dict(parameters=dict(model=base, seed=42), base_model=weights_hash(find_model(base)))
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
    p.add_argument('--small', action='store_true', help='a small transformer as wide as MiniLM: what is measured does not encode, and the cache is filled in seconds')
    args = p.parse_args()
    from embed_lab.models.base import minilm
    home = Path(tempfile.mkdtemp())
    lab = made_lab(home/'lab', args.documents, small_model(home/'small') if args.small else minilm)
    search = [bin/'emb', 'search', 'exp_01', 'how do I read a file line by line', '--json']
    ways = {'emb search, from the cache': search, 'import sentence_transformers': [sys.executable, '-c', 'import sentence_transformers'],
        'import torch': [sys.executable, '-c', 'import torch']}
    wall, cpu = seconds(search, cwd=lab)
    print(f'{wall:6.1f} s wall {cpu:6.1f} s CPU  the first answer, which encodes {args.documents:,} documents twice')
    took = {k: [] for k in ways}
    for _ in range(args.rounds):
        for k,o in ways.items(): took[k].append(seconds(o, cwd=lab))
    for k,v in took.items(): print(f'{statistics.median(o[0] for o in v):6.2f} s wall {statistics.median(o[1] for o in v):6.2f} s CPU  {k}')
    shutil.rmtree(home)

if __name__ == '__main__': main()
