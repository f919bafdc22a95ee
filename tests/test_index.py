"What an approximate search promises: exact scores, an honest recall, and the same answer every time"
import sys
import numpy as np, pytest, torch
from embed_lab.models import index
from embed_lab.models.index import approximate_top_k, index_gain, nearest_passages, recall_at_k
from embed_lab.lab import LabError
from embed_lab.models.search import top_k
from support import sh

def made(n, dim=48, centres=150, seed=0, noise=1.):
    rng = np.random.default_rng(seed)
    mid = np.random.default_rng(99).normal(size=(centres, dim))
    v = mid[rng.integers(0, centres, n)] + noise*rng.normal(size=(n, dim))
    return (v / np.linalg.norm(v, axis=1, keepdims=True)).astype('float32')

@pytest.fixture(scope='module')
def both(): return made(400, seed=1), made(4000, seed=2)

@pytest.fixture(scope='module')
def hits(both): return approximate_top_k(*both, k=20)

def true_share(hits, queries, docs): return np.mean([len(set(a) & set(b)) / len(b) for a,b in zip(hits.at, top_k(queries, docs, hits.at.shape[1])[0])])

def test_it_searches_the_index_and_finds_what_it_says(both, hits):
    assert hits.how.startswith('approximate') and hits.judged == 100
    assert .93 <= hits.recall < 1 and abs(hits.recall - true_share(hits, *both)) < .02

def test_scores_and_their_order_are_those_of_the_exact_search(both, hits):
    at, scores = top_k(*both, k=20)
    for a,s,b,t in zip(hits.at, hits.scores, at, scores):
        known = dict(zip(b, t))
        assert all(known[i] == x for i,x in zip(a, s) if i in known) and len(set(a)) == 20
        assert [i for i in a if i in known] == [i for i in b if i in set(a)]
    assert (np.diff(hits.scores, axis=1) <= 0).all()
    exact = (both[0].astype(float)[:,None] * both[1].astype(float)[hits.at]).sum(2)
    np.testing.assert_allclose(hits.scores, exact, atol=1e-7)

def test_more_recall_is_more_recall(both):
    low, high = (approximate_top_k(*both, k=20, least=o) for o in (.5, .999))
    assert int(high.how.split()[3]) < 1000, 'no wider than it needs'
    assert low.recall < high.recall and high.recall >= .99 and true_share(high, *both) >= .99

def test_every_search_is_the_same_whatever_the_threads(both, hits):
    import faiss
    was = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    seen = set()
    try: again = approximate_top_k(*both, k=20, show=lambda what, *o: seen.add((what, faiss.omp_get_max_threads())))
    finally: faiss.omp_set_num_threads(was)
    assert seen == {('indexing', 1), ('searching', 3)}, 'threads that build together build another graph each time'
    np.testing.assert_array_equal(again.at, hits.at)
    np.testing.assert_array_equal(again.scores, hits.scores)
    assert again.recall == hits.recall

def test_the_seed_picks_the_queries_that_judge(both, monkeypatch):
    seen, was = [], index.top_k
    monkeypatch.setattr(index, 'top_k', lambda q, *o, **k: seen.append(np.asarray(q)[:,0].tolist()) or was(q, *o, **k))
    for seed in 1, 1, 2: approximate_top_k(*both, k=20, seed=seed)
    assert len(seen) == 3 and seen[0] == seen[1] != seen[2]

def test_queries_that_tune_the_walk_do_not_judge_it(both, monkeypatch):
    tuned, was = [], index.tuned_width
    monkeypatch.setattr(index, 'tuned_width', lambda ix, q, *o: tuned.append(q[0].numpy()) or was(ix, q, *o))
    judged, share_was = [], index.recall_at_k
    hits = approximate_top_k(*both, k=20)
    assert len(tuned[0]) == 100 and hits.judged == 100
    monkeypatch.setattr(index, 'recall_at_k', lambda scores, true: judged.append(true) or share_was(scores, true))
    approximate_top_k(*both, k=20)
    kth = {float(o) for o in top_k(tuned[0], both[1], 20)[1][:,-1]}
    assert not kth & {float(o) for o in judged[-1][:,-1]}

@pytest.mark.parametrize('kind', ['copies', 'collapsed', 'lengths'])
def test_vectors_that_are_hard_on_a_graph_are_searched_all_the_same(kind):
    queries, docs = made(60, seed=3), made(3000, seed=4)
    if kind == 'copies': docs = np.tile(docs[:100], (30, 1))
    if kind == 'collapsed': docs = np.ones_like(docs)
    if kind == 'lengths': docs = docs * np.random.default_rng(5).uniform(.1, 5, (3000, 1)).astype('float32')
    hits, true = approximate_top_k(queries, docs, k=10), top_k(queries, docs, 10)
    assert (hits.at >= 0).all() and all(len(set(o)) == 10 for o in hits.at)
    assert abs(recall_at_k(hits.scores, true[1]) - hits.recall) < .1 and hits.recall > .9

def test_a_walk_that_finds_too_few_is_made_up_for(both, monkeypatch):
    was = index.build_index
    class Torn:
        def __init__(self, docs, *o): self.whole, self.hnsw = was(docs, *o), type('', (), {})()
        def search(self, queries, n):
            at = self.whole.search(queries, n)[1]
            at[::3, 5:] = -1
            at[1::3, 30:] = -1
            return None, at
    monkeypatch.setattr(index, 'build_index', Torn)
    queries, docs = both[0], both[1].copy()
    docs[0] = queries[1]
    hits, true = approximate_top_k(queries, docs, k=20), top_k(queries, docs, 20)
    assert (hits.at >= 0).all() and hits.recall > .8 and all(len(set(o)) == 20 for o in hits.at)
    np.testing.assert_array_equal(hits.at[::3], true[0][::3])
    assert recall_at_k(hits.scores[1::3], true[1][1::3]) > .8

@pytest.mark.parametrize('q,d,k', [(1300, 300, 5), (0, 900, 5), (7, 0, 5), (7, 9, 20), (1, 900, 5), (2, 900, 5)])
def test_few_queries_or_documents(q, d, k):
    hits = approximate_top_k(made(q) if q else np.empty((0, 48)), made(d) if d else np.empty((0, 48)), k)
    assert hits.at.shape == hits.scores.shape == (q, min(k, d)) and hits.recall > .7

@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float64'])
def test_other_precisions_are_read_as_float32(dtype):
    q, d = (torch.from_numpy(made(n)).to(getattr(torch, dtype)) for n in (30, 900))
    a, b = approximate_top_k(q, d, 5), approximate_top_k(q.float().numpy(), d.float().numpy(), 5)
    np.testing.assert_array_equal(a.at, b.at)

@pytest.mark.filterwarnings('error:The given NumPy array is not writable')
def test_a_read_only_file_is_searched(tmp_path):
    np.save(tmp_path/'docs.npy', made(900))
    docs = np.load(tmp_path/'docs.npy', mmap_mode='r')
    np.testing.assert_array_equal(approximate_top_k(made(30), docs, 5).at, approximate_top_k(made(30), made(900), 5).at)

@pytest.mark.parametrize('where', ['queries', 'docs'])
def test_a_vector_that_is_not_finite_is_named(where):
    vecs = dict(queries=made(50), docs=made(700))
    vecs[where][33, 2] = np.nan
    with pytest.raises(LabError, match=f'{where}: vector 33 is not finite'): approximate_top_k(**vecs, k=5)

def test_vectors_that_do_not_fit_are_refused():
    with pytest.raises(LabError, match='encode both with the same model'): approximate_top_k(made(5), made(50, dim=8), 5)
    with pytest.raises(LabError, match="write 'auto', 'exact' or 'approximate'"): nearest_passages(made(5), made(50), index='fast')

def test_exact_unless_asked_or_worth_it(both, hits, monkeypatch):
    for how in 'auto', 'exact':
        got = nearest_passages(*both, k=20, index=how)
        assert got.how == 'exact' and got.recall == 1
        np.testing.assert_array_equal(got.at, top_k(*both, 20)[0])
    np.testing.assert_array_equal(nearest_passages(*both, k=20, index='approximate').at, hits.at)
    monkeypatch.setattr(index, 'index_gain', lambda *o: 2.)
    assert nearest_passages(*both, k=20).how == hits.how and nearest_passages(*both, k=20, index='exact').how == 'exact'
    monkeypatch.setitem(sys.modules, 'faiss', None)
    assert "pip install 'embed-lab[index]'" in nearest_passages(*both, k=20).how
    with pytest.raises(LabError, match=r"pip install 'embed-lab\[index\]'"): nearest_passages(*both, k=20, index='approximate')

def test_an_index_is_worth_it_only_where_both_sides_are_large():
    assert index_gain(10**6, 10**6, 2) > 5 > 2 > max(index_gain(1000, 10**7, 2), index_gain(10**7, 10_000, 2), index_gain(0, 0, 2))

def test_progress_ends_at_its_total(both):
    seen = []
    approximate_top_k(*both, k=20, show=lambda *o: seen.append(o))
    assert ('indexing', 4000, 4000) in seen and seen[-1] == ('searching', 400, 400)

def test_faiss_is_imported_only_where_it_is_used(tmp_path):
    code = 'import sys, embed_lab.models.index, embed_lab.models.vectors; print(*[o for o in ("faiss", "torch", "sentence_transformers") if o in sys.modules])'
    assert sh(sys.executable, '-c', code, cwd=tmp_path).stdout.strip() == ''
