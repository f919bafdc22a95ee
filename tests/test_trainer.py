"What the lessons of the trainer and of the inventory's `train` leave out"
import pytest
from embed_lab.inventory.datasets import Splits, leak_table, map_texts, to_dataset
from embed_lab.inventory.evaluate import search
from embed_lab.inventory.plotting import loss_figure
from embed_lab.inventory.train import Trained, train
from embed_lab.data.task import Task
from embed_lab.lab import LabError
from embed_lab.models.base import tiny_model
from embed_lab.runs.record import rehearsal
import numpy as np
from dataclasses import replace

things, deeds = ('router', 'lamp', 'kettle', 'camera'), ('reset', 'pair', 'clean', 'repair', 'open', 'mount')
rows = [dict(query=f'how do I {d} my {t}', passage=f'{d} {t} steps', label=1) for d in deeds for t in things]
splits = Splits(*(to_dataset(rows[i::3]) for i in range(3)))

@pytest.fixture
def base_with_dropout(tmp_path):
    "A static model draws no random numbers while it trains and would prove nothing"
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dropout
    words = tiny_model([t for o in rows for t in (o['query'], o['passage'])])
    SentenceTransformer(modules=[*words, Dropout(.3)], device='cpu').save_pretrained(str(tmp_path))
    return tmp_path

def test_looking_more_often_at_dev_changes_no_loss(base_with_dropout):
    def curves(evals):
        res = train(splits, rehearsal(base_with_dropout), loss='in-batch', epochs=4, batch_size=8, lr=.01, evals=evals)
        return [[o[k] for o in res.history if k in o] for k in ('loss', 'dev')]
    (once, one_look), (often, four_looks) = curves(1), curves(4)
    assert once == often and (len(one_look), len(four_looks)) == (2, 5)

class Letters:
    "Texts as counts of their letters"
    def encode_query(self, texts, **options): return np.array([[t.count(c) for c in 'abcdefghijklmnopqrstuvwxyz'] for t in texts], dtype=np.float32)
    encode_document = encode_query

class Dot(Letters): similarity_fn_name = 'dot'

class Broken(Letters):
    def encode_document(self, texts, **options): return self.encode_query(texts) * np.nan

def test_search_goes_by_the_encoder_s_similarity_and_by_the_corpus_where_scores_are_equal():
    task = Task(dict(q0='reset'), dict(b='terse', a='reset', c='reset it'), dict(q0=dict(a=1)))
    assert [d for d,_ in search(Letters(), task)['q0']] == ['b', 'a', 'c'] # the same letters: as they stand in the corpus
    assert [d for d,_ in search(Dot(), task)['q0']] == ['c', 'b', 'a']
    with pytest.raises(LabError, match='NaN or infinity'): search(Broken(), task)

def test_texts_are_changed_in_negatives_too():
    wrong = to_dataset([dict(query='a', passage='b', label=1, negatives=['c']), dict(query='a', passage='d', label=1)])
    assert map_texts(replace(splits, train=wrong), passage=str.upper).train['negatives'][:] == [['C'], None]

def test_leaks_are_looked_for_without_prompts_and_with_what_qrels_bring():
    gold = to_dataset([dict(query='reset', passage='start over', label=0, query_id='q0')])
    judged = replace(splits, corpus=dict(d0='start over'), qrels=dict(q0=dict(d0=1)), gold=gold)
    prompted = replace(map_texts(judged, 'query: {}'.format), prompts=('query: ', ''))
    assert leak_table(prompted)['gold'][-1] == dict(query='reset', passage='start over', label=1)

def test_without_a_look_at_dev_only_the_loss_is_told_and_drawn():
    history = [dict(step=8, loss=.3)]
    assert repr(Trained(None, history)) == 'Trained for 8 steps.' and len(loss_figure(history).data) == 1
