"""An approximate index beside exact search: building, walking, recall, and from how many queries on it pays

    python bench/index.py [QUERIES] [DOCUMENTS]

Vectors are averages of random words' vectors, drawn by Zipf's law in topics, as texts are; CPU time, so that others' work does not count."""
import sys
from time import process_time
import numpy as np, torch
from embed_lab.models.index import build_index, index_gain, recall_at_k, walk_index, whole_vectors
from embed_lab.models.search import top_k

def made(n:int, dim:int, seed:int):
    "Unit vectors of n texts of 12 words, each from one of 2,000 topics of 300 words"
    rng, words = np.random.default_rng(seed), np.random.default_rng(99).normal(size=(30_000, dim)).astype('float32')
    topics = np.random.default_rng(98).integers(0, 30_000, (2000, 300))
    v = np.empty((n, dim), np.float32)
    for i in range(0, n, 10_000):
        m = min(10_000, n - i)
        v[i:i+m] = words[topics[rng.integers(0, 2000, m)][np.arange(m)[:,None], rng.zipf(1.3, (m, 12)) % 300]].mean(1)
    return v / np.linalg.norm(v, axis=1, keepdims=True)

def cpu(f):
    t = process_time()
    return f(), process_time() - t

def main(queries:int=1000, docs:int=100_000, dim:int=384, k:int=100):
    q, d = whole_vectors(made(queries, dim, 1), 'queries'), whole_vectors(made(docs, dim, 2), 'docs')
    (_, true), exact = cpu(lambda: top_k(q[0], d[0], k))
    index, build = cpu(lambda: build_index(d[0].numpy()))
    print(f'{queries:,} queries, {docs:,} documents, {dim} dimensions, k {k}; exact {1000*exact/queries:.2f} ms a query, building {build:.1f} s')
    for wide in 116 * 2**np.arange(4):
        (_, scores), walk = cpu(lambda: walk_index(index, q, d, k, int(wide)))
        pays = build / (exact - walk) * queries
        print(f'  walks over {wide:4}: {1000*walk/queries:.2f} ms a query, recall {recall_at_k(scores, true):.3f}; pays from {pays:,.0f} queries on' if pays > 0 else f'  walks over {wide:4}: {1000*walk/queries:.2f} ms a query, recall {recall_at_k(scores, true):.3f}; never pays')
    per = exact / queries / docs
    print(f'building costs as much as {build/docs/per:,.0f} exact comparisons a document, the last walk as much as {walk/queries/per:,.0f} a query; `gain` reckons with 14,000 and 60,000')
    print({n: round(index_gain(n, docs, 2), 2) for n in (10_000, 100_000, 1_000_000)}, 'times faster with two threads, as `gain` guesses, for so many queries')

main(*map(int, sys.argv[1:]))
