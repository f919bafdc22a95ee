"What evaluation finds, writes and says, beside a brute-force peer, the library and a second set"
import hashlib, json, subprocess, sys
import msgspec, numpy as np, pytest
from hypothesis import given, settings, strategies as st
from sentence_transformers import SentenceTransformer
from embed_lab.inventory.datasets import Splits, load_splits, to_dataset
from embed_lab.inventory.evaluate import evaluate, search
from embed_lab.inventory.preprocess import add_prompts
from embed_lab.lab import LabError
from embed_lab.data.metrics import per_query
from embed_lab.models.base import load_model
from embed_lab.data.files import write_rows
from embed_lab.runs.record import rehearsal
from embed_lab.evaluation.scores import Scores, ceiling, score_rankings
from embed_lab.models.search import fuse_rankings
from embed_lab.evaluation.slices import slice_scores, slices_of
from embed_lab.data.folder import check_data
from embed_lab.data.task import Task, task_hashes, text_hash
from support import emb

class Table:
    "Texts as rows of a table"
    def __init__(self, vecs): self.vecs = vecs
    def encode_query(self, texts, **options): return np.array([self.vecs[t] for t in texts])
    encode_document = encode_query
    def save_pretrained(self, path): pass

def random_task(n=40, m=150, seed=0):
    rng = np.random.default_rng(seed)
    queries, docs = {f'q{i}': f'query {i}' for i in range(n)}, {f'd{i}': f'doc {i - i%10*(i%3 == 0)}' for i in range(m)}
    qrels = {q: {f'd{j}': int(rng.integers(0, 3)) for j in rng.choice(m, 4, replace=False)} for q in queries}
    return Task(queries, docs, qrels), {t: rng.normal(size=16).astype('float32') for t in [*queries.values(), *docs.values()]}

def lines(run, name='per_query'): return [json.loads(o) for o in (run.eval/f'{name}.jsonl').read_text().splitlines()]

# search

@pytest.mark.parametrize('kind', ['cosine', 'dot'])
def test_search_is_the_whole_product_sorted_and_ties_keep_the_order_of_the_corpus(kind):
    task, vecs = random_task()
    encoder = Table(vecs)
    encoder.similarity_fn_name = kind
    found, place = search(encoder, task), {d: i for i,d in enumerate(task.corpus)}
    assert found.keys() == {q for q,ds in task.relevant.items() if ds}
    for q,hits in found.items():
        a, b = vecs[task.queries[q]].astype(float), np.array([vecs[t] for t in task.corpus.values()]).astype(float)
        if kind == 'cosine': a, b = a/np.linalg.norm(a), b/np.linalg.norm(b, axis=1, keepdims=True)
        want = dict(zip(task.corpus, b @ a))
        assert len(hits) == 100 and [s for _,s in hits] == pytest.approx(sorted(want.values(), reverse=True)[:100], abs=1e-5)
        assert [s for _,s in hits] == pytest.approx([want[d] for d,_ in hits], abs=1e-5)
        for (d,s),(e,t) in zip(hits, hits[1:]): assert s > t or (s == t and place[d] < place[e])

def test_search_agrees_with_the_librarys_evaluator(base, data):
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
    task, model = load_splits(data).task('gold'), load_model(base)
    ours = score_rankings(task, {k: search(model, task) for k in ('tuned', 'base')}).means['tuned']
    theirs = InformationRetrievalEvaluator(task.queries, task.corpus, {q: o for q,o in task.relevant.items() if o}, write_csv=False)(model)
    for m,name in {'ndcg@10': 'ndcg@10', 'mrr@10': 'mrr@10', 'recall@10': 'recall@10', 'map@100': 'map@100'}.items():
        assert ours[m].mean == pytest.approx(theirs[f'cosine_{name}'], abs=.01), m

@pytest.mark.parametrize('bad', [np.nan, np.inf, 3e38])
def test_vectors_that_are_not_finite_are_refused(bad):
    task, vecs = random_task()
    vecs['doc 7'] = np.full(16, bad, dtype='float32')
    with pytest.raises(LabError, match='its vectors hold NaN or infinity'): search(Table(vecs), task)

# the table

def test_the_ceiling_is_never_beaten_and_knows_what_the_corpus_lacks():
    task, vecs = random_task(seed=3)
    some = {q: [(d, 1.) for d in list(task.corpus)[i:i + 100]] for i,q in enumerate(task.queries)}
    scores = score_rankings(task, dict(tuned=some, base=search(Table(vecs), task), oracle=ceiling(task)))
    for s in ('tuned', 'base'):
        for q,o in scores.systems[s].items(): assert all(o[m] <= scores.systems['oracle'][q][m] + 1e-12 for m in o)
    assert {o['ndcg@10'] for o in scores.systems['oracle'].values()} == {1}
    task.qrels['q0'] = {'gone': 1, 'd1': 1}
    assert per_query(task.qrels, {q: [d for d,_ in h] for q,h in ceiling(task).items()})['q0']['recall@10'] == .5

def test_unjudged_documents_are_counted_and_make_a_lower_bound():
    qrels = {f'q{i}': {'a': 1, 'b': 0} for i in range(30)}
    task = Task({q: q for q in qrels}, {d: d for d in 'abcdefghijklm'}, qrels)
    hits = {s: {q: [(d, 1.) for d in found] for q in qrels} for s,found in dict(tuned='acdefghijkl', base='ab').items()}
    scores = score_rankings(task, hits)
    assert {s: set(o.values()) for s,o in scores.unjudged.items()} == dict(tuned={9}, base={0})
    assert 'lower bound' in repr(scores) and 'unjudged of 10' in scores._repr_html_() and scores.to_dict()['unjudged']['more']['mean'] == 9
    assert 'lower bound' not in repr(score_rankings(task, dict(tuned=hits['base'], base=hits['tuned'])))

def test_what_was_asked_is_hashed():
    task, _ = random_task()
    want = task_hashes(task)
    for k,o in dict(queries={**task.queries, 'q0': 'other'}, qrels={**task.qrels, 'q0': {'d0': 1}}).items():
        got = task_hashes(Task(**vars(task) | {k: o}))
        assert got['gold'] != want['gold'] and got['corpus'] == want['corpus']
    got = task_hashes(Task(task.queries, {**task.corpus, 'd0': 'other'}, task.qrels))
    assert got['gold'] == want['gold'] and got['corpus'] != want['corpus']

@pytest.fixture(scope='module')
def judged(base, data, tmp_path_factory):
    "An evaluated run with a guard"
    folder = tmp_path_factory.mktemp('guarded')
    for k in ('train', 'dev', 'gold'): (folder/f'{k}.jsonl').write_bytes((data/f'{k}.jsonl').read_bytes())
    write_rows(folder/'guard.jsonl', [dict(query=f'number {i}', passage=f'{i} is a number', label=1) for i in range(30)])
    check_data(folder)
    splits, run = load_splits(folder), rehearsal(base)
    return splits, run, evaluate(load_model(base), splits, run)

def test_all_that_is_written(judged):
    splits, run, scores = judged
    task, systems = splits.task('gold'), ['tuned', 'base', 'bm25', 'fused', 'oracle']
    assert sorted(o.name for o in run.eval.iterdir()) == ['gold_metrics.json', 'guard_metrics.json', 'guard_per_query.jsonl', 'per_query.jsonl', 'slices.json']
    gold, rows = json.loads((run.eval/'gold_metrics.json').read_text()), lines(run)
    assert list(gold['systems']) == list(scores.systems) == systems and gold['task'] == task_hashes(task) and gold['measures']['implementation'] == 'pytrec-eval-terrier'
    assert list(scores.headline()) == systems[:4] + ['gain'] and len(rows) == gold['queries']
    n = len(task.corpus)
    assert run.manifest['documents'] == gold['documents'] == n and all(f'searched among {n} documents' in o for o in (repr(scores), scores._repr_html_()))
    texts = {hashlib.sha256(t.encode()).hexdigest()[:16]: t for t in task.corpus.values()}
    for o in rows:
        assert list(o) == ['query_id', 'query', 'tags', *systems] and o['tags'] in (['function'], ['method'])
        for s in systems:
            assert o[s]['scores'] == scores.systems[s][o['query_id']] and len(o[s]['hits']) <= 10
            assert all(texts[h['text']] == task.corpus[h['id']] and h['grade'] == task.qrels[o['query_id']].get(h['id']) for h in o[s]['hits'])
    guard = json.loads((run.eval/'guard_metrics.json').read_text())
    assert guard.keys() == gold.keys() and list(guard['systems']) == ['tuned', 'base'] and len(lines(run, 'guard_per_query')) == guard['queries'] == 30
    assert guard['task'] != gold['task'] and 'on guard' in scores._repr_html_()

def test_fused_is_fused(judged):
    splits, run, scores = judged
    from embed_lab.models.bm25 import search_bm25
    from embed_lab.models.search import tie_order
    task = splits.task('gold')
    hits = fuse_rankings([search(load_model(run.base), task), search_bm25(task)], order=dict(zip(task.corpus, tie_order(task.corpus))))
    assert per_query(task.qrels, {q: [d for d,_ in h] for q,h in hits.items()}) == scores.systems['fused']

def test_prompts_are_the_encoders_affair(judged, base):
    "Hashes, BM25 and what people are shown are the same with prompts and without"
    splits, run, scores = judged
    other = rehearsal(base)
    prompted = evaluate(load_model(base), add_prompts(splits), other)
    assert prompted.task == scores.task and prompted.systems['bm25'] == scores.systems['bm25'] and prompted.systems['tuned'] != scores.systems['tuned']
    for k in ('query', 'bm25', 'oracle'): assert [o[k] for o in lines(other)] == [o[k] for o in lines(run)]

def test_the_base_model_is_encoded_once_a_lab(judged, base, monkeypatch):
    splits, run, scores = judged
    task, cache = splits.task('gold'), run.lab.results/'cache'
    found = search(load_model(base), task, cache)
    def never(*args, **kw): raise AssertionError('encoded again')
    for o in ('encode_query', 'encode_document'): monkeypatch.setattr(SentenceTransformer, o, never)
    assert search(load_model(base), task, cache) == found
    with pytest.raises(AssertionError, match='encoded again'): search(load_model(base), task)

# the guard

def shifted(by, n=60): return {f'q{i}': {'ndcg@10': i/n*.5 + by*(1 + i%3)/2, 'mrr@10': 0, 'recall@10': 0, 'recall@100': 0, 'map@100': 0} for i in range(n)}

@pytest.mark.parametrize('by, says', [(-.05, 'a loss: tuning for gold cost'), (.05, ': no loss'), (0, ': no loss')])
def test_a_loss_on_the_guard_is_said(by, says):
    scores = Scores(dict(tuned=shifted(.1), base=shifted(0)), 9, 60, guard=Scores(dict(tuned=shifted(by), base=shifted(0)), 9, 60))
    assert 'better than' in repr(scores).splitlines()[0] and says in repr(scores).splitlines()[1] and says in scores._repr_html_()

def test_the_doctor_reads_the_guard(lab):
    guard = lab/'data'/'guard.jsonl'
    guard.write_text('{"query": "a", "passage": "b", "label": 1}\n')
    assert emb('check', cwd=lab, ok=None).returncode in (0, 1)
    guard.write_text('{"query": "a", "passage": "b", "label": 2}\n')
    out = emb('check', cwd=lab, ok=1).stdout
    assert 'guard.jsonl:1' in out and '`label` is 2' in out
    assert 'guard.jsonl:1: `label` is 2' in emb('run', 'exp_02_in_batch', cwd=lab, ok=2).stderr

# slices

word = st.sampled_from(['reset', 'router', 'the', 'Button', 'hold', 'Ωmega', '路由器'])
text = st.lists(word, min_size=1, max_size=9).map(' '.join)

@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.tuples(text, text, st.lists(st.sampled_from('xy'), unique=True)), min_size=1, max_size=30))
def test_every_query_is_in_one_slice_of_each_kind(pairs):
    rows = [dict(query_id=f'q{i}', query=q, tags=t, oracle=dict(scores={'ndcg@10': 1.}, hits=[dict(id='d', text=text_hash(p))]),
        **{s: dict(scores={'ndcg@10': .5}, hits=[]) for s in ('tuned', 'base')}) for i,(q,p,t) in enumerate(pairs)]
    known = {text_hash(p): p for _,p,_ in pairs}
    cut = slices_of(rows, known)
    for k in ('query', 'passage', 'overlap'): assert sorted(q for ids in cut[k].values() for q in ids) == sorted(o['query_id'] for o in rows)
    assert {t: len(ids) for t,ids in cut['tag'].items()} == {t: sum(t in o[2] for o in pairs) for t in 'xy' if any(t in o[2] for o in pairs)}
    assert slices_of(rows, {})['passage'] == {} and all(o.small == (o.n < 20) for o in slice_scores(rows, known).parts)

def test_slices_are_what_is_written(judged):
    splits, run, scores = judged
    got = json.loads((run.eval/'slices.json').read_text())
    task = splits.task('gold')
    again = slice_scores(lines(run), {text_hash(t): t for t in task.corpus.values()})
    def in_json(o): return msgspec.json.decode(msgspec.json.encode(o.to_dict())) # an interval of one query is NaN, and null there
    assert got == in_json(again) == in_json(scores.slices) and {o['by'] for o in got['slices']} == {'tag', 'query', 'passage', 'overlap'}
    for o in again.parts:
        if o.by == 'tag': assert o.means['base'] == pytest.approx(np.mean([x['base']['scores']['ndcg@10'] for x in lines(run) if o.name in x['tags']]))

def test_imports_are_light():
    code = "import sys, embed_lab.evaluation.scores, embed_lab.evaluation.slices; assert not {'torch', 'pandas', 'papermill', 'plotly', 'scipy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
