"Equal scores tell nothing: their order knows neither the order of the corpus nor which documents are relevant"
import random
import numpy as np, pytest, torch
from embed_lab.data.metrics import per_query
from embed_lab.data.task import Task
from embed_lab.models.bm25 import search_bm25, with_bm25
from embed_lab.models.index import nearest_passages
from embed_lab.models.search import tie_order, top_k

def task(n=400, order=None, words='the same words'):
    "Each query has one relevant document, and those come first in the corpus"
    texts = {f'd{i}': f'{words} {i}' if words is None else f'passage {i:04d}' for i in range(n)}
    ids = [*texts] if order is None else order
    return Task({f'q{i}': f'query {i}' for i in range(20)}, {d: texts[d] for d in ids}, {f'q{i}': {f'd{i}': 1} for i in range(20)})

def ranked(t, vectors):
    "What a search finds for documents with these vectors"
    docs, at = list(t.corpus), np.stack([vectors[d] for d in t.corpus])
    found = nearest_passages(np.ones((len(t.queries), at.shape[1]), np.float32), at.astype(np.float32), k=100, index='exact', corpus=t.corpus)
    return {q: [docs[i] for i in row] for q,row in zip(t.queries, found.at.tolist())}

def test_a_collapsed_model_is_as_good_as_chance_in_any_order_of_the_corpus():
    t, flat = task(), {f'd{i}': np.ones(8) for i in range(400)}
    first = ranked(t, flat)
    shuffled = [*t.corpus]
    random.Random(1).shuffle(shuffled)
    assert ranked(task(order=shuffled), flat) == first
    assert np.mean([o['recall@100'] for o in per_query(t.qrels, first).values()]) < .5 and first['q0'][:10] != [f'd{i}' for i in range(10)]
    places = [tie_order(t.corpus)[i] for i in range(20)] # of the relevant ones among all
    assert 100 < np.mean(places) < 300

def test_ties_within_the_hits_and_at_the_last_place_do_not_depend_on_the_corpus():
    rng = np.random.default_rng(0)
    some = rng.normal(size=(12, 8)) # of which each is there many times
    vectors = {f'd{i}': some[i % 12] for i in range(400)}
    t, shuffled = task(), [*task().corpus]
    random.Random(2).shuffle(shuffled)
    assert ranked(t, vectors) == ranked(task(order=shuffled), vectors)

@pytest.mark.parametrize('memory', [200, 5_000, 2**28])
def test_without_ties_nothing_changes_bit_for_bit(memory):
    rng = np.random.default_rng(0)
    docs, queries, order = rng.normal(size=(700, 24)).astype('float32'), rng.normal(size=(9, 24)).astype('float32'), rng.permutation(700)
    plain, ordered = top_k(queries, docs, k=50, memory=memory), top_k(queries, docs, k=50, memory=memory, order=order)
    assert all(np.array_equal(a, b) for a,b in zip(plain, ordered))
    twice = np.concatenate([docs, docs])
    order = rng.permutation(1400)
    assert all(np.array_equal(a, b) for a,b in zip(top_k(queries, twice, k=51, memory=memory, order=order), top_k(queries, twice, k=51, order=order)))

def test_bm25_and_its_fusion_do_not_depend_on_the_order_of_the_corpus():
    docs = {f'd{i}': f'reset router {"again " * (i % 3)}' + 'x'*(i % 7) for i in range(300)}
    def found(ids):
        t = Task(dict(q='reset router'), {d: docs[d] for d in ids}, dict(q={'d0': 1}))
        hits = with_bm25(t, dict(tuned=dict(q=[(d, .5) for d in sorted(docs)[:100]])))
        return hits['bm25']['q'], hits['fused']['q']
    backwards = list(reversed(docs))
    (words, both), (words_2, both_2) = found([*docs]), found(backwards)
    assert words == words_2 and both == both_2
    assert [d for d,s in words if s == words[0][1]] != [d for d in docs if d in dict(words) and dict(words)[d] == words[0][1]]

def test_scoring_says_that_a_model_has_collapsed(tmp_path):
    from embed_lab.evaluation.scoring import score_found
    from embed_lab.runs.record import rehearsal
    t = task(40)
    run = rehearsal(tmp_path)
    flat, fine = ({q: [(d, s(i)) for i,d in enumerate(t.corpus)] for q in t.queries} for s in (lambda i: .9999999 - i*1e-9, lambda i: 1 - i/100))
    with pytest.warns(UserWarning, match='tuned gives every document the same score'): score_found(t, dict(tuned=flat, base=fine), run)
    assert len([o for o in run.manifest['warnings'] if 'collapsed' in o]) == 1
    with pytest.warns(UserWarning, match='base, untuned gives'): score_found(t, dict(tuned=fine, base=flat), run, 'guard')
