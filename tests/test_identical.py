"A query that is itself a document, as in sets of duplicate questions, does not find itself: in any system, on gold, guard and dev, unless the lab keeps it"
import msgspec, numpy as np, pytest
from embed_lab.data.check import check_folder
from embed_lab.data.files import write_rows
from embed_lab.data.folder import check_data
from embed_lab.data.task import Docs, queries_themselves, retrieval_task, task_hashes
from embed_lab.evaluation.scoring import score_found
from embed_lab.inventory.datasets import load_splits
from embed_lab.inventory.evaluate import conclude, search
from embed_lab.inventory.preprocess import add_prompts
from embed_lab.lab import LabError, read_lab
from embed_lab.models.bm25 import search_bm25
from embed_lab.runs.card import _good
from embed_lab.runs.record import rehearsal
from embed_lab.runs.results import RunFiles

class Encoder:
    "Vectors of the letters in a text, so that equal texts are nearest"
    similarity_fn_name = 'cosine'
    def encode_query(self, texts, **options): return np.array([[1 + t.removeprefix('query: ').removeprefix('passage: ').count(c) for c in 'abcdefghijklmnopqrstuvwxyz0123456789'] for t in texts], dtype='float32')
    encode_document = encode_query
    def save_pretrained(self, path): pass

def question(i, way=0):
    a, b = divmod(i, 26)
    return f'{("how often", "how soon")[way]} does number {i} {chr(97 + a)*12 + chr(97 + b)*30} begin'

def duplicates(n=130):
    "Each question answered by the same in other words, and all questions are documents"
    corpus = [dict(_id=f'd{i}w{w}', text=question(i, w)) for i in range(n) for w in (0, 1)]
    def rows(some): return [dict(query=question(i), passage=question(i, 1), label=1) for i in some]
    return {'train.jsonl': rows(range(20)), 'dev.jsonl': rows(range(20, 30)) + [dict(query=question(30), passage=question(20), label=0)], 'gold.jsonl': rows(range(40, 60)), 'corpus.jsonl': corpus}

@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'settings.ini').write_text('[DEFAULT]\nseed = 1\n')
    for k,rows in duplicates().items(): write_rows(tmp_path/'data'/k, rows)
    return tmp_path/'data'

def keep(folder): (folder.parent/'settings.ini').write_text('[DEFAULT]\nseed = 1\nidentical = keep\n')

def test_it_is_left_out_and_the_hundredth_is_not_lost(folder):
    task = load_splits(folder).task('gold')
    own = {q: next(d for d,t in task.corpus.items() if t == text) for q,text in task.queries.items()}
    assert task.itself == {q: {d} for q,d in own.items()} and task.spare == 1
    found, words = search(Encoder(), task), search_bm25(task)
    keep(folder)
    kept = load_splits(folder).task('gold')
    assert kept.itself == {} and task_hashes(kept)['gold'] != task_hashes(task)['gold'] and task_hashes(kept)['corpus'] == task_hashes(task)['corpus']
    for now,before in ((found, search(Encoder(), kept)), (words, search_bm25(kept))):
        for q,d in own.items():
            assert before[q][0][0] == d and d not in [o for o,_ in now[q]] and len(now[q]) == 100
            assert [o for o,_ in now[q]][:99] == [o for o,_ in before[q]][1:100]

def test_prompts_hide_nothing(folder):
    plain = load_splits(folder)
    prompted = add_prompts(plain, 'query: ', 'passage: ')
    assert prompted.task('gold').itself == plain.task('gold').itself != {}
    assert search(Encoder(), prompted.task('gold')).keys() == search(Encoder(), plain.task('gold')).keys()
    assert all(len(o) == 100 for o in search(Encoder(), prompted.task('gold')).values())

def test_scores_change_there_alone_and_say_so(folder, base):
    run, task = rehearsal(base), load_splits(folder).task('gold')
    with pytest.warns(UserWarning, match='20 queries are themselves documents'): scores = conclude(task, dict(tuned=search(Encoder(), task), base=search(Encoder(), task)), run, {})
    assert scores.identical == 20 and '20 queries are themselves documents, which are left out of their own results' in repr(scores) and 'left out of their own results' in scores._repr_html_()
    metrics = msgspec.json.decode((run.path/RunFiles.gold_metrics).read_bytes())
    assert metrics['identical'] == 20 and '20 queries are themselves documents' in _good(metrics, None, 'open', [])
    keep(folder)
    kept = load_splits(folder).task('gold')
    was = conclude(kept, dict(tuned=search(Encoder(), kept), base=search(Encoder(), kept)), rehearsal(base), {})
    assert was.identical == 0 and 'themselves' not in repr(was) and 'identical' not in was.to_dict()
    for s in ('tuned', 'base', 'bm25', 'fused'):
        assert all(scores.systems[s][q]['mrr@10'] >= was.systems[s][q]['mrr@10'] for q in task.queries) and scores.means[s]['mrr@10'].mean > was.means[s]['mrr@10'].mean

def test_a_search_that_knows_nothing_of_it_is_judged_alike(folder, base):
    "Such as that of a lab that was made before"
    task, run = load_splits(folder).task('gold'), rehearsal(base)
    whole = {q: [(d, 1.)] + [o for o in h if o[0] != d][:99] for (q,h),d in zip(search(Encoder(), task).items(), [next(iter(o)) for o in task.itself.values()])}
    with pytest.warns(UserWarning, match='themselves documents'): scores = score_found(task, dict(tuned=whole, base=whole), run)
    assert not any(o['id'] in task.itself[line['query_id']] for line in map(msgspec.json.decode, (run.path/RunFiles.per_query).read_bytes().splitlines()) for o in line['tuned']['hits'])
    assert scores.identical == 20

def test_dev_is_judged_alike(folder, tmp_path):
    from embed_lab.training.dev import DevEvaluator
    task = load_splits(folder).task('dev')
    evaluator, q = DevEvaluator(task, tmp_path), next(iter(task.queries))
    answer, = task.relevant[q]
    found = [[dict(corpus_id=answer, score=.5)] if k != q else [dict(corpus_id=o, score=1.) for o in task.itself.get(k, ())] + [dict(corpus_id=answer, score=.5)] for k in evaluator.queries_ids]
    assert task.itself and evaluator.compute_metrics(found)['mrr@k'][10] > 0 and len(evaluator.itself[q]) == 1
    assert evaluator.compute_metrics([found[evaluator.queries_ids.index(q)]] + [[]]*(len(found) - 1))['ndcg@k'][10] == pytest.approx(1/len(found))

def test_the_check_says_so_and_it_is_no_error(folder):
    found, = (o for o in check_folder(folder).findings if o.rule == 'identical' and 'gold' in o.examples[0]['place'])
    assert (found.level, found.count) == ('note', 20) and 'identical = keep' in found.says
    assert check_folder(folder).clean and not any('itself' in o for o in check_data(folder))
    (folder/'corpus.jsonl').unlink() # dev and gold without a corpus: own passages alone are searched
    assert [(o.examples[0]['place'].split('/')[-1], o.count) for o in check_folder(folder).findings if o.rule == 'identical'] == [('dev.jsonl:1', 1)]

@pytest.mark.parametrize('queries, texts, qrels, found', [
    (dict(q='reset it'), dict(a='reset it', b='reset it', c='Reset it'), {}, {'q': {'a', 'b'}}),
    (dict(q='reset it'), dict(a='reset it'), dict(q=dict(a=1)), {}),
    (dict(q='reset it'), dict(a='reset it'), dict(q=dict(a=0)), {'q': {'a'}}),
    (dict(a='reset it'), dict(a='Routers\nreset it'), {}, {'a': {'a'}}),
    ({'1': 'reset it'}, {'1': 'pair a headset', '2': 'reset'}, {}, {})])
def test_what_a_query_itself_is(queries, texts, qrels, found): assert queries_themselves(queries, Docs(texts, {}), qrels) == found

def test_nothing_else_changes(folder):
    "Without such a query the task, its hashes and its searches are what they were"
    rows = [dict(query=f'ask {i}', passage=f'say {i}', label=1) for i in range(5)]
    task = retrieval_task(rows)
    hits = dict(q0=[('d0', 1.)]*200)
    assert (task.itself, task.spare) == ({}, 0) and task.without_itself(hits) is hits
    keep(folder)
    assert task_hashes(retrieval_task(rows)) == task_hashes(task)

def test_the_setting_has_two_words(folder):
    keep(folder)
    assert read_lab(folder.parent).identical == 'keep'
    (folder.parent/'settings.ini').write_text('[DEFAULT]\nidentical = drop\n')
    with pytest.raises(LabError, match='settings.ini, line 2: identical = drop; write `skip` or `keep`'): read_lab(folder.parent)
