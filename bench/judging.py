"Do relevant documents that were removed from qrels come back to the top of the list, and does a hundred judgements restore a ranking?"
import os, sys
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
from pathlib import Path
import numpy as np

data = Path(__file__).resolve().parents[2]/'shared'/'data'

def load(path, most=300): # (query id → text, document id → text, qrels) of some queries with two relevant documents or more
    from embed_lab.data.folder import read_beir
    rows = [o for some in read_beir(path).values() for o in some]
    docs, queries, qrels = {}, {}, {}
    for o in rows:
        queries[o['query_id']], docs[o['passage_id']] = o['query'], o['passage']
        qrels.setdefault(o['query_id'], {})[o['passage_id']] = 1
    several = sorted(q for q,ds in qrels.items() if len(ds) > 1)
    qrels = {q: qrels[q] for q in np.random.default_rng(0).permutation(several)[:most].tolist()}
    return {q: queries[q] for q in qrels}, docs, qrels

def four_systems(queries, docs, path): # Name → query id → the first ten
    from embed_lab.data.task import Task
    from embed_lab.models.base import load_model, minilm
    from embed_lab.models.bm25 import search_bm25
    ids, names = [*docs], [*queries]
    if path and path.exists(): passages, asked = np.load(path).values()
    else:
        model = load_model(minilm)
        model.max_seq_length = 64
        passages, asked = (model.encode(o, normalize_embeddings=True, batch_size=64) for o in ([*docs.values()], [*queries.values()]))
        if path: np.savez(path, passages, asked)
    def top(scores): return {q: [ids[i] for i in np.argsort(-s, kind='stable')[:10]] for q,s in zip(names, scores)}
    found = search_bm25(Task(queries, docs, {q: {} for q in queries}))
    bm25 = {q: [d for d,_ in o] for q,o in found.items()}
    def fused(a, b):
        def score(q, d): return sum(1/(60 + o[q].index(d)) for o in (a, b) if d in o[q])
        return {q: sorted(dict.fromkeys([*a[q], *b[q]]), key=lambda d: -score(q, d))[:10] for q in names}
    minilm_hits, few = top(asked @ passages.T), top(asked[:,:96] @ passages[:,:96].T)
    return {'BM25': {q: o[:10] for q,o in bm25.items()}, 'MiniLM': minilm_hits, '96 dimensions': few, 'fused': fused(minilm_hits, bm25)}

def order(qrels, systems):
    from embed_lab.data.metrics import per_query
    means = {s: np.mean([o['ndcg@10'] for o in per_query(qrels, h).values()]) for s,h in systems.items()}
    return sorted(means, key=means.get), means

def same_pairs(a, b): # Share of the pairs that two orders have the same way round
    pairs = [(x, y) for i,x in enumerate(a) for y in a[i + 1:]]
    return np.mean([b.index(x) < b.index(y) for x,y in pairs])

def holed(qrels, systems, rng, biased): # Judgements without some: at random, or what only other systems than BM25 found
    res = {}
    for q,ds in qrels.items():
        lost = {d for d in ds if (d not in systems['BM25'][q] if biased else True) and rng.random() < .5}
        kept = [d for d in ds if d not in lost] or [next(iter(ds))]
        res[q] = dict.fromkeys(kept, 1)
    return res

def by_value(pool, rng): return pool.ordered()
def at_random(pool, rng):
    left = sorted(pool.ordered(), key=lambda o: (o.query, o.document))
    return [left[i] for i in rng.permutation(len(left))]
def by_depth(pool, rng): return sorted(pool.ordered(), key=lambda o: (min(o.ranks.values()), o.query, o.document))

def back_on_top(qrels, systems, draws): # How soon what was removed comes back
    from embed_lab.evaluation.pool import JudgingPool
    for name,ordered in dict(by_value=by_value, by_depth=by_depth, at_random=at_random).items():
        rows = []
        for seed in range(draws):
            rng = np.random.default_rng(seed)
            pool = JudgingPool(holed(qrels, systems, rng, False), systems)
            hit = np.array([o.document in qrels[o.query] for o in ordered(pool, rng)])
            n = hit.sum()
            rows.append((hit[:100].mean(), hit[:n].sum()/n, np.median(np.flatnonzero(hit))/len(hit), hit.mean(), len(hit)))
        first, recall, median, share, size = np.mean(rows, 0)
        print(f'{name:10} of {size:,.0f} pairs {share:.1%} are removed ones; of the first 100 {first:.0%}; '
            f'as many as there are found {recall:.0%}; median place at {median:.1%} of the list')

def ranking_back(qrels, systems, draws, judged=(0, 50, 100, 200, 400)): # What judgements do to the order of the four
    from embed_lab.evaluation.pool import JudgingPool
    truth, means = order(qrels, systems)
    print('true order:', ', '.join(f'{s} {means[s]:.4f}' for s in truth))
    for name,ordered in dict(by_value=None, by_depth=by_depth, at_random=at_random).items():
        right = {n: [] for n in judged}
        for seed in range(draws):
            rng = np.random.default_rng(seed)
            pool, n = JudgingPool(holed(qrels, systems, rng, True), systems), 0
            fixed = iter(ordered(pool, rng)) if ordered else None
            for goal in judged:
                while n < goal:
                    o = next(fixed) if fixed else pool.ordered()[0]
                    pool.judge(o.query, o.document, qrels[o.query].get(o.document, 0))
                    n += 1
                now = order(pool.qrels, systems)[0]
                right[goal].append((now == truth, same_pairs(truth, now)))
        print(f'{name:10} ' + '; '.join(f'after {n}: true order {np.mean([a for a,_ in o]):.0%}, pairs {np.mean([b for _,b in o]):.0%}'
            for n,o in right.items()))

if __name__ == '__main__':
    draws = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    for name in [sys.argv[1]] if len(sys.argv) > 1 else ['nl2bash', 'medquad']:
        if not (data/name).is_dir(): print(f'{name}: skipped, the development data is not beside the repository')
        else:
            queries, docs, qrels = load(data/name)
            systems = four_systems(queries, docs, Path(sys.argv[3])/f'{name}.npz' if len(sys.argv) > 3 else None)
            print(f'{name}: {len(queries):,} queries with several answers, {len(docs):,} documents')
            back_on_top(qrels, systems, draws)
            ranking_back(qrels, systems, draws)
