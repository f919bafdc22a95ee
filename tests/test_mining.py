"What mining promises: the library's negatives under the library's settings, no right passage among them, and the same ones again"
from functools import partial
import numpy as np, pytest
from embed_lab.lab import LabError
from embed_lab.training.mining import mine_hard_negatives, mining_pool
from embed_lab.models import index
from embed_lab.models.base import tiny_model
from embed_lab.data.texts import normalised
from embed_lab.models.vectors import encode_cached

verbs, things = 'reset pair clean charge mount sell'.split(), 'router headset light kettle printer'.split()
rows = [dict(query=f'{v} my {t}', passage=f'{v} the {t} so', label=1) for v in verbs for t in things]
rows += [dict(query=f'{v} my router', passage=f'{v} it at home', label=1) for v in verbs[:3]]
model = tiny_model([t for o in rows for t in (o['query'], o['passage'])], dim=12)
encode = partial(encode_cached, model)

def by_query(candidates):
    res = {}
    for o in candidates: res.setdefault(o['query'], []).append(o['passage'])
    return res

def librarys(n, skip=0, margin=None, relative_margin=None):
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives
    ds = Dataset.from_dict({k: [o[k] for o in rows] for k in ('query', 'passage')})
    taken = relative_margin and 1 - relative_margin
    res = mine_hard_negatives(ds, model, range_min=skip, range_max=30, absolute_margin=margin, relative_margin=taken, num_negatives=n, verbose=False)
    return by_query({(o['query'], o['negative']): dict(query=o['query'], passage=o['negative']) for o in res}.values())

@pytest.mark.parametrize('how', [dict(), dict(skip=3), dict(margin=.2), dict(relative_margin=.95), dict(margin=.02, relative_margin=.8)], ids=str)
def test_finds_what_the_library_finds(how):
    ours = by_query(mine_hard_negatives(rows, encode, n=4, **how).candidates)
    assert ours == librarys(4, **how) and len(ours) > 20

def test_every_passage_is_counted_once_and_scores_are_the_models():
    res = mine_hard_negatives(rows, encode, n=100, margin=.02, relative_margin=.8, depth=200)
    assert sum(res.removed.values()) + len(res.candidates) == res.ranked == 30*33
    assert res.removed['right'] == 33 and res.removed['margin'] and res.removed['relative_margin']
    o = res.candidates[7]
    q, p, right = (encode([o[k]], kind)[0] for k,kind in (('query', 'query'), ('passage', 'document'), ('positive', 'document')))
    cos = lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert np.allclose([cos(q, p), cos(q, right)], [o['score'], o['positive_score']], atol=1e-6)

def test_skip_counts_ranks_among_what_is_not_known():
    every = by_query(mine_hard_negatives(rows, encode, n=6).candidates)
    assert by_query(mine_hard_negatives(rows, encode, n=4, skip=2).candidates) == {k: o[2:] for k,o in every.items()}
    with_margin = mine_hard_negatives(rows, encode, n=30, skip=2, margin=.2, depth=200).candidates
    assert min(o['rank'] for o in with_margin) > 2

def test_an_answer_by_another_spelling_is_not_mined():
    twins = rows + [dict(query=o['query'].upper() + '?', passage=o['passage'].capitalize() + '.', label=1) for o in rows]
    assert len(mining_pool(twins).passages) == len(mining_pool(rows).passages)
    right = {(normalised(o['query']), normalised(o['passage'])) for o in rows}
    found = mine_hard_negatives(twins, encode, n=40, depth=200).candidates
    assert len(found) == 30*33 - 33 and not right & {(normalised(o['query']), normalised(o['passage'])) for o in found}

def test_what_is_judged_or_decided_is_left_alone():
    first = mine_hard_negatives(rows, encode, n=2).candidates
    (q, a), (_, b) = ((o['query'], o['passage']) for o in first[:2])
    more = [o | dict(negatives=[b.upper()]) if o['query'] == q else o for o in rows]
    res = mine_hard_negatives(more, encode, n=40, never=[(q + '!', a.title())], depth=200)
    assert not {a, b} & {o['passage'] for o in res.candidates if o['query'] == q}
    assert (res.removed['decided'], res.removed['judged']) == (1, 1)
    wrong = mine_hard_negatives(rows + [dict(query=q, passage=a, label=0)], encode, n=40, depth=200)
    assert wrong.removed['judged'] == 1 and a not in [o['passage'] for o in wrong.candidates if o['query'] == q]

def test_chance_has_a_seed_and_order_of_rows_changes_no_scores():
    a, b, c = (mine_hard_negatives(rows, encode, n=3, pick='random', seed=s).candidates for s in (1, 1, 2))
    assert a == b != c and len(a) == 90
    top, turned = (by_query(mine_hard_negatives(o, encode, n=3).candidates) for o in (rows, rows[::-1]))
    assert top == turned

def test_queries_with_too_few_are_counted():
    res = mine_hard_negatives(rows[:2], encode, n=4)
    assert (len(res.candidates), res.short, res.none) == (2, 2, 0)
    assert mine_hard_negatives(rows[:1], encode).none == 1 and 'none' in repr(mine_hard_negatives(rows[:1], encode)) and mine_hard_negatives(rows[:1], encode)._repr_html_()

@pytest.mark.parametrize('how,why', [(dict(n=0), 'at least'), (dict(relative_margin=.05), '0.95'), (dict(relative_margin=float('nan')), 'share'), (dict(margin=-1), 'margin'),
    (dict(skip=-1), 'skip'), (dict(pick='best'), 'top'), (dict(skip=98), 'ranks that are read')])
def test_senseless_settings_are_refused(how, why):
    with pytest.raises(LabError, match=why): mine_hard_negatives(rows, encode, **how)

def test_an_index_is_searched_only_where_it_pays_and_its_recall_is_reported(monkeypatch):
    exact = mine_hard_negatives(rows, encode, n=2, depth=6)
    assert exact.recall is None and 'recall' not in exact.counts() and 'index' not in repr(exact)
    monkeypatch.setattr(index, 'index_gain', lambda *o: 2.)
    found = mine_hard_negatives(rows, encode, n=2, depth=6)
    assert found.counts()['recall'] == round(found.recall, 4) > .9 and 'An index was searched' in repr(found)
    scores = {(o['query'], o['passage']): o['score'] for o in mine_hard_negatives(rows, encode, n=30, depth=33).candidates}
    assert all(scores[o['query'], o['passage']] == o['score'] for o in found.candidates)

def test_rows_without_an_answer_are_refused():
    with pytest.raises(LabError, match='no row has label 1'): mine_hard_negatives([rows[0] | dict(label=0)], encode)

def test_a_query_known_only_by_wrong_passages_has_no_known_pairs():
    wrong = dict(query='pair a headset', passage='reset my headset', label=0)
    res = mining_pool([wrong, rows[0]], never=[('pair a headset', 'call us')])
    assert [len(o) for o in res.known.values()] == [1, 0, 0] and res.queries == [rows[0]['query']]

def test_the_table_folds_long_passages():
    from embed_lab.training.mining import Mined
    one = dict(query='a', positive='b', passage='press '*40, score=.7, rank=1, positive_score=.8, positive_rank=1)
    shown = Mined([one], {}, 1, 1, 0, 0)._repr_html_()
    assert shown.count('press') == 26 and ' …' in shown
    assert '1 hard negative for 1 query; 1 has fewer' in repr(Mined([one], {}, 1, 1, 1, 0))
