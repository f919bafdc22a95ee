"What the lesson of `embed_lab.data.metrics` leaves out: agreement with a peer, simulated coverage, ids and lists out of the ordinary"
import random, subprocess, sys
from math import log2
import numpy as np, pytest
from embed_lab.lab import LabError
from embed_lab.data.metrics import Interval, bootstrap, difference, interval, measures, per_query, summary


def made_up(queries:int, depth:int, seed:int, grades=(1,)):
    "Qrels and hits at random: up to three relevant documents a query, some of them out of reach"
    rng = random.Random(seed)
    docs = [f'd{i}' for i in range(2*depth)]
    hits = {f'q{i}': rng.sample(docs, depth) for i in range(queries)}
    qrels = {q: {d: rng.choice(grades) for d in rng.sample(docs, rng.randint(1, 3))} for q in hits}
    return qrels, hits


@pytest.mark.parametrize('depth', [7, 120])
def test_equals_the_librarys_evaluator_on_binary_judgements(depth):
    evaluation = pytest.importorskip('sentence_transformers.sentence_transformer.evaluation')
    qrels, hits = made_up(200, depth, seed=depth)
    docs = {d: d for ds in [*hits.values(), *qrels.values()] for d in ds}
    peer = evaluation.InformationRetrievalEvaluator({q: q for q in hits}, docs, {q: set(g) for q,g in qrels.items()},
        precision_recall_at_k=[1, 10, 100], write_csv=False)
    theirs = peer.compute_metrics([[dict(corpus_id=d, score=-i) for i,d in enumerate(hits[q])] for q in peer.queries_ids])
    ours = summary(per_query(qrels, hits), resamples=2)
    for m in measures:
        name, k = m.split('@')
        assert ours[m].mean == pytest.approx(theirs[f'{name}@k'][int(k)], abs=1e-9), m


def test_graded_ndcg_equals_its_formula():
    qrels, hits = made_up(100, 15, seed=3, grades=(-1, 0, 1, 2, 5))
    def dcg(gains): return sum(max(g, 0)/log2(r + 2) for r,g in enumerate(gains[:10]))
    scores = per_query(qrels, hits)
    want = {q: dcg([g.get(d, 0) for d in hits[q]])/dcg(sorted(g.values(), reverse=True))
            for q,g in qrels.items() if max(g.values()) > 0}
    assert 0 < len(want) < len(qrels)
    assert {q: s['ndcg@10'] for q,s in scores.items()} == pytest.approx(want, abs=1e-9)


def test_the_shown_order_is_the_scored_order():
    for hits in (['a', 'b'], ['b', 'a'], ['z', 'a'], ['a', 'z']):
        assert per_query(dict(q=dict(a=1)), dict(q=hits))['q']['mrr@10'] == 1/(1 + hits.index('a'))
    names = [str(i) for i in range(120)]
    for r in (0, 1, 8, 9, 10, 98, 99, 100):
        s = per_query(dict(q={names[r]: 1}), dict(q=names))['q']
        assert s['mrr@10'] == (1/(r + 1) if r < 10 else 0)
        assert (s['recall@1'], s['recall@10'], s['recall@100']) == (r < 1, r < 10, r < 100)


def test_queries_without_hits_score_zero_and_without_relevance_are_left_out():
    qrels = dict(found=dict(a=1), empty=dict(a=1), unanswered=dict(a=1), irrelevant=dict(a=0, b=-1), unjudged={})
    scores = per_query(qrels, dict(found=['a'], empty=[], irrelevant=['a'], unjudged=['a'], extra=['a']))
    assert list(scores) == ['found', 'empty', 'unanswered']
    assert set(scores['empty'].values()) == set(scores['unanswered'].values()) == {0}
    assert all(list(s) == list(measures) for s in scores.values())
    assert per_query({}, {}) == per_query({}, dict(q=['a'])) == {}
    assert per_query(dict(q=dict(a=1)), {}) == dict(q=dict.fromkeys(measures, 0))


def test_ids_that_trec_eval_cannot_hold():
    "In a process of its own, because the fault would be a segmentation fault"
    code = r"from embed_lab.data.metrics import per_query as p; q='\ud800'; " \
           r"s = p({q: {q: 1, 'a\0b': 1}, '': {'': 1}}, {q: ['a\0c', q], '': ['']}); " \
           r"assert (s[q]['recall@10'], s[q]['mrr@10'], s['']['mrr@10']) == (.5, .5, 1), s"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


@pytest.mark.parametrize('grade', [0.5, '1', None, 1001, 2**31, -10**30])
def test_a_grade_out_of_range_is_named(grade):
    with pytest.raises(LabError, match=f"query 'q', document 'b': grade {grade!r}; write a whole number"):
        per_query(dict(q=dict(a=1, b=grade)), dict(q=['a']))


def test_a_document_twice_is_an_error():
    with pytest.raises(ValueError, match="query 'q': document 'b' is twice in its hits, at ranks 2 and 4"):
        per_query(dict(q=dict(a=1)), dict(q=['a', 'b', 'c', 'b']))


def test_intervals_cover_the_true_mean():
    "Reciprocal ranks as retrieval has them: many ones, many zeros"
    values = np.array([1]*45 + [.5]*12 + [1/3]*8 + [.25]*5 + [.2]*5 + [.1]*5 + [0]*20)
    rng = np.random.default_rng(0)
    found = [interval(rng.choice(values, 80), resamples=1000) for _ in range(200)]
    assert .90 <= np.mean([i.low <= values.mean() <= i.high for i in found]) <= .99
    narrow = [interval(rng.choice(values, 80), level=.5, resamples=1000) for _ in range(200)]
    assert .40 <= np.mean([i.low <= values.mean() <= i.high for i in narrow]) <= .60


def test_interval_agrees_with_the_normal_approximation_and_repeats():
    scores = np.random.default_rng(5).beta(2, 3, size=2000)
    i = interval(scores)
    error = 1.96*scores.std(ddof=1)/len(scores)**.5
    assert i.mean == pytest.approx(scores.mean()) and i.n == 2000
    assert (i.mean - i.low, i.high - i.mean) == pytest.approx((error, error), rel=.05)
    assert interval(scores) == i == interval(list(scores)) != interval(scores, seed=1)


def test_few_queries():
    for empty in (lambda: interval([]), lambda: summary({}), lambda: difference({}, {})):
        with pytest.raises(ValueError, match='no scores'): empty()
    one = interval([.5])
    assert (one.mean, one.n) == (.5, 1) and np.isnan([one.low, one.high]).all()


def test_summary_is_the_interval_of_each_measure_whatever_the_order():
    scores = per_query(*made_up(60, 30, seed=2))
    got = summary(scores, resamples=500)
    assert list(got) == list(measures) and got == summary(dict(reversed(scores.items())), resamples=500)
    for m,i in got.items():
        want = interval([scores[q][m] for q in sorted(scores)], resamples=500)
        assert (i.mean, i.low, i.high, i.n) == pytest.approx((want.mean, want.low, want.high, want.n))


def test_difference_is_paired_signed_and_refuses_other_queries():
    scores = per_query(*made_up(120, 30, seed=4))
    better = {q: {m: v + .01 for m,v in s.items()} for q,s in reversed(scores.items())}
    gain, loss = difference(better, scores, 'map@100'), difference(scores, better, 'map@100')
    assert (gain.mean, gain.low, gain.high, gain.n) == pytest.approx((.01, .01, .01, 120))
    assert (loss.low, loss.high) == pytest.approx((-gain.high, -gain.low))
    other = {q: s for q,s in zip(scores, reversed(scores.values()))}
    assert difference(scores, other) == difference(dict(reversed(scores.items())), other)
    assert difference(scores, other).low < 0 < difference(scores, other).high
    fewer = {q: s for q,s in scores.items() if q not in ('q1', 'q2')} | dict(x=scores['q1'])
    with pytest.raises(LabError, match=r"2 only in the first, 1 only in the second \(such as 'q1'\), 118 in both"):
        difference(scores, fewer)


def test_intervals_are_written_alike():
    i = Interval(.0784, .0512, .1061, 358)
    assert (str(i), repr(i), f'{i:+.2f}') == ('0.078 [0.051, 0.106]', '0.078 [0.051, 0.106] n=358', '+0.08 [+0.05, +0.11]')


def test_import_is_light():
    code = "import sys, embed_lab.data.metrics; assert not {'torch', 'pandas', 'papermill', 'plotly', 'scipy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
