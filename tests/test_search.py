"What `top_k` promises of any vectors: the ranking of exact arithmetic, ties in the order of the corpus, whatever the memory"
from math import fsum
import numpy as np, pytest, torch
from embed_lab.models import search
from embed_lab.lab import LabError
from embed_lab.models.search import fuse_rankings, top_k

from hypothesis import given, settings, strategies as st

some = settings(derandomize=True, deadline=None, max_examples=80)

def brute(queries, docs, k):
    "One pair at a time, each inner product correctly rounded"
    q, d = (np.asarray(o, dtype=np.float32).astype(float).tolist() for o in (queries, docs))
    scores = [[np.float32(fsum(x*y for x,y in zip(a, b))) for b in d] for a in q]
    order = [sorted(range(len(d)), key=lambda i: (-row[i], i))[:k] for row in scores]
    return np.array(order), np.array([[row[i] for i in o] for row,o in zip(scores, order)], dtype=np.float32)

def same(a, b):
    for x,y in zip(a, b, strict=True): np.testing.assert_array_equal(x, y)

def vectors(kind:str, n:int, dim:int, rng):
    if kind == 'real': return rng.normal(size=(n, dim))
    if kind == 'copies': return rng.normal(size=(max(1, n//7), dim))[rng.integers(0, max(1, n//7), n)]
    if kind == 'signs': return rng.choice([-1., 1.], size=(n, dim))
    if kind == 'counts': return rng.poisson(.2, size=(n, dim))
    if kind == 'collapsed': return 1 + 1e-7*rng.normal(size=(n, dim))
    if kind == 'shuffled': return np.array([rng.permutation(np.arange(dim) / 7) for _ in range(n)]).reshape(n, dim)
    return rng.normal(size=(n, dim)) * 10.**rng.integers(-25, 9, size=(n, 1))

kinds = ['real', 'copies', 'signs', 'counts', 'collapsed', 'shuffled', 'all lengths']

@some
@given(kind=st.sampled_from(kinds), like=st.sampled_from(kinds), n=st.integers(1, 300), k=st.sampled_from([1, 3, 10, 400]), dim=st.integers(1, 40),
    memory=st.sampled_from([1, 3_000, 30_000, 2**20]), seed=st.integers(0, 999))
def test_equals_exact_arithmetic_pair_by_pair(kind, like, n, k, dim, memory, seed):
    rng = np.random.default_rng(seed)
    queries, docs = (vectors(*o, dim, rng).astype('float32') for o in ((like, 4), (kind, n)))
    same(top_k(queries, docs, k, memory), brute(queries, docs, k))

@pytest.mark.parametrize('kind', kinds)
def test_any_memory_and_any_number_of_threads_give_the_same_bits(kind):
    rng, threads = np.random.default_rng(3), torch.get_num_threads()
    queries, docs = vectors('real', 130, 48, rng), vectors(kind, 3000, 48, rng)
    whole = top_k(queries, docs, 10)
    for memory in (20_000, 333_333, 2**22): same(top_k(queries, docs, 10, memory), whole)
    same([o[:7] for o in whole], top_k(queries[:7], docs, 10))
    same([o[5:6] for o in whole], top_k(queries[5:6], docs, 10))
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            same(top_k(queries, docs, 10), whole)
    finally: torch.set_num_threads(threads)

def test_a_copy_scores_the_same_in_every_block_and_stands_behind():
    rng = np.random.default_rng(5)
    docs = np.tile(rng.normal(size=(1000, 384)), (3, 1))
    for memory in (100_000, 1_000_000, 2**26):
        found, scores = top_k(rng.normal(size=(20, 384)), docs, 30, memory)
        assert (np.diff(found.reshape(20, 10, 3)) == 1000).all() and (np.ptp(scores.reshape(20, 10, 3), axis=2) == 0).all()

def test_the_sieve_is_what_searches_ordinary_vectors(monkeypatch):
    rng, seen = np.random.default_rng(7), []
    whole = search.careful_top_k
    monkeypatch.setattr(search, 'careful_top_k', lambda q, *o: seen.append(len(q)) or whole(q, *o))
    top_k(rng.normal(size=(200, 64)), rng.normal(size=(9000, 64)), 100)
    assert sum(seen) <= 2
    top_k(rng.normal(size=(200, 64)), np.ones((9000, 64)), 100)
    assert sum(seen) >= 200

@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float64'])
def test_other_precisions_are_read_as_float32(dtype):
    v = torch.randn(900, 32, generator=torch.Generator().manual_seed(1)).to(getattr(torch, dtype))
    same(top_k(v[:9], v, 5), top_k(v[:9].float().numpy(), v.float().numpy(), 5))

def test_a_read_only_file_is_searched_without_being_loaded(tmp_path):
    rng = np.random.default_rng(9)
    docs = rng.normal(size=(2000, 16)).astype('float32')
    np.save(tmp_path/'docs.npy', docs)
    same(top_k(docs[:50], np.load(tmp_path/'docs.npy', mmap_mode='r'), 7, 50_000), top_k(docs[:50], docs, 7))

@pytest.mark.parametrize('what', [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize('where', ['queries', 'docs'])
def test_a_vector_that_is_not_finite_is_named(what, where):
    both = dict(queries=np.ones((600, 4)), docs=np.ones((700, 4)))
    both[where][555, 2] = what
    with pytest.raises(LabError, match=f'{where}: vector 555 is not finite'): top_k(**both, memory=50_000)

def test_what_is_set_around_the_search_changes_nothing():
    rng, was = np.random.default_rng(13), torch.get_float32_matmul_precision()
    queries, docs = (torch.from_numpy(rng.normal(size=(n, 64))).float() for n in (90, 5000))
    whole = top_k(queries, docs, 10)
    torch.set_float32_matmul_precision('medium')
    try:
        with torch.autocast('cpu'): low = top_k(queries, docs.requires_grad_(), 10)
        assert torch.get_float32_matmul_precision() == 'medium'
    finally: torch.set_float32_matmul_precision(was)
    same(low, whole)

def test_progress_ends_at_its_total():
    seen = []
    top_k(np.ones((40, 8)), np.eye(300, 8), 5, 10_000, show=lambda *o: seen.append(o))
    assert [o[1] for o in seen] == list(range(1, len(seen) + 1)) and seen[-1] == ('searching', len(seen), len(seen)) and len(seen) > 2

@pytest.mark.parametrize('n,m,want', [(0, 9, (0, 5)), (9, 0, (9, 0)), (0, 0, (0, 0)), (9, 3, (9, 3))])
def test_nothing_to_search_has_the_shape_of_something(n, m, want):
    found, scores = top_k(np.ones((n, 4)), np.ones((m, 4)), 5)
    assert found.shape == scores.shape == want and found.dtype == np.int64 and scores.dtype == np.float32

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('kind', kinds)
def test_a_gpu_gives_the_bits_of_the_cpu(kind):
    rng = np.random.default_rng(11)
    queries, docs = (torch.from_numpy(o).float() for o in (vectors('real', 700, 64, rng), vectors(kind, 20_000, 64, rng)))
    same(top_k(queries.cuda(), docs.cuda(), 100), top_k(queries, docs, 100))

ids = st.lists(st.sampled_from('abcdefghij'), unique=True, max_size=10)

@some
@given(runs=st.lists(st.dictionaries(st.sampled_from(['q1', 'q2']), ids), max_size=5), data=st.data())
def test_fusion_is_its_formula_in_any_order_of_the_runs(runs, data):
    runs = [{q: [(d, 0.) for d in ds] for q,ds in run.items()} for run in runs]
    fused = fuse_rankings(runs)
    assert fused == fuse_rankings(data.draw(st.permutations(runs)))
    for q,hits in fused.items():
        ranks = {d: [[o for o,_ in run[q]].index(d) + 1 for run in runs if d in dict(run.get(q, ()))] for d,_ in hits}
        assert set(ranks) == {d for run in runs for d,_ in run.get(q, ())}
        assert dict(hits) == pytest.approx({d: sum(1/(60 + r) for r in rs) for d,rs in ranks.items()})
        assert hits == sorted(hits, key=lambda h: (-h[1], min(ranks[h[0]]), h[0]))
    assert all(len(h) <= 2 for h in fuse_rankings(runs, depth=2).values())
