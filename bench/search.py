"Exact search of 10,000 queries among 100,000 passages, beside the bare product, semantic_search and the library's evaluator, in time and peak memory; then the metrics"
import os, statistics, subprocess, sys, tempfile
from pathlib import Path

start = '''
import sys, time
import numpy as np, torch
queries, docs = (torch.from_numpy(np.load(f'{sys.argv[1]}/{o}.npy')) for o in ('queries', 'docs'))
room, k = torch.empty(512, len(docs)), 100
def product(then):
    for i in range(0, len(queries), 512):
        q = queries[i:i+512]
        then(torch.mm(q, docs.T, out=room[:len(q)]))
'''
ways = {
    'emb: top_k': '''
from embed_lab.models.search import top_k
def run(): return top_k(queries, docs)''',
    'the bare product, 512 queries at once': '''
def run(): product(lambda s: None)''',
    'the bare product and torch.topk': '''
def run(): product(lambda s: s.topk(k))''',
    'sentence_transformers.util.semantic_search': '''
from sentence_transformers.util import semantic_search, dot_score
def run(): return semantic_search(queries, docs, top_k=k, score_function=dot_score)''',
    'InformationRetrievalEvaluator, with its metrics': '''
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import dot_score
names = [str(i) for i in range(len(docs))]
judged = {f'q{i}': {names[7*i % len(names)]} for i in range(len(queries))}
class Ready(InformationRetrievalEvaluator):
    def embed_inputs(self, model, texts, **options): return queries
peer = Ready({q: q for q in judged}, dict(zip(names, names)), judged, score_functions=dict(dot=dot_score), write_csv=False)
def run(): return peer.compute_metrices(None, corpus_embeddings=docs)'''}
end = '''
def kib(what): return next(int(o.split()[1]) for o in open('/proc/self/status') if o.startswith(what))
before, t = kib('VmRSS'), time.perf_counter()
run()
print(time.perf_counter() - t, (kib('VmHWM') - before) >> 10) # not ru_maxrss, which a process started by a large one has from it'''

after = '''
from embed_lab.data.metrics import per_query
from embed_lab.models.search import top_k
names = [str(i) for i in range(len(docs))]
qrels = {f'q{i}': {names[7*i % len(names)]: 1} for i in range(len(queries))}
t = [time.perf_counter()]
found, _ = top_k(queries, docs)
t.append(time.perf_counter())
hits = {q: [names[i] for i in row] for q,row in zip(qrels, found.tolist())}
t.append(time.perf_counter())
per_query(qrels, hits)
t.append(time.perf_counter())
print(*np.diff(t))'''

def made(home:Path, queries:int, docs:int, dim:int):
    "Vectors in clusters; one document in twenty is a copy of another"
    import numpy as np
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(1000, dim)).astype('float32')
    for name,n in dict(queries=queries, docs=docs).items():
        v = centres[rng.integers(0, 1000, n)] + 1.5 * rng.normal(size=(n, dim)).astype('float32')
        if name == 'docs': v[rng.permutation(n)[:n//20]] = v[rng.integers(0, n, n//20)]
        np.save(home/f'{name}.npy', v / np.linalg.norm(v, axis=1, keepdims=True))

def measured(code:str, home:Path)->list:
    out = subprocess.run([sys.executable, '-c', code, str(home)], check=True, capture_output=True, text=True, env=os.environ | {'HF_HUB_OFFLINE': '1'})
    return [float(o) for o in out.stdout.split()]

def main(rounds:int=5, queries:int=10_000, docs:int=100_000, dim:int=384):
    with tempfile.TemporaryDirectory() as home:
        home = Path(home)
        made(home, queries, docs, dim)
        took, peak = {k: [] for k in ways}, {}
        for _ in range(rounds):
            for k,code in ways.items():
                s, peak[k] = measured(start + code + end, home)
                took[k].append(s)
        print(f'{queries:,} queries, {docs:,} documents, {dim} dimensions, k 100; medians of {rounds} rounds, in turn; memory beside the vectors')
        for k,v in took.items(): print(f"{statistics.median(v):6.1f} s  {peak[k]:6,.0f} MiB more at its peak  emb takes {statistics.median(a/b for a,b in zip(took['emb: top_k'], v)):5.2f} of  {k}")
        parts = [statistics.median(o) for o in zip(*(measured(start + after, home) for _ in range(rounds)))]
        print(', '.join(f'{s:.1f} s ({s/sum(parts):.0%}) {o}' for o,s in zip(('search', 'naming the hits', 'metrics.per_query'), parts)))

main(*map(int, sys.argv[1:]))
