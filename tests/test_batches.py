"Batches in which no query meets one of its own answers as a wrong one"
import random
import pytest, torch
from datasets import Dataset
from embed_lab.training.batches import NoClashBatches, clashing_texts
from embed_lab.data.texts import normalised
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

def sampler(make, rows, size=8, epoch=0, seed=3, drop_last=False):
    res = make(Dataset.from_dict(rows), batch_size=size, drop_last=drop_last, valid_label_columns=['label', 'score'], generator=torch.Generator(), seed=seed)
    res.set_epoch(epoch)
    return res

def mess(seed, n=200):
    "Queries with several answers, answers of several queries, negatives that answer others, some of it retyped"
    rng = random.Random(seed)
    def retyped(t): return rng.choice([t, t.upper(), f'{t}?', f' {t} '])
    def text(kind, k): return retyped(f'{kind} {rng.randrange(k)}')
    return dict(query=[text('question', 60) for _ in range(n)], passage=[text('answer', 80) for _ in range(n)], negative_1=[text('answer', 300) for _ in range(n)])

def clashes(rows, batch, apart):
    "Rows of a batch that must not be in it together, found the slow way"
    cols = [{k: normalised(v[i]) for k,v in rows.items()} for i in batch]
    right = {(normalised(q), normalised(p)) for q,p in [*zip(rows['query'], rows['passage']), *apart]}
    return [(a, b) for a in cols for b in cols if a is not b and (set(a.values()) & set(b.values()) or any((a['query'], t) in right for k,t in b.items() if k != 'query'))]

@pytest.mark.parametrize('seed', range(5))
def test_nobody_meets_what_answers_them(seed):
    rows, rng = mess(seed), random.Random(seed)
    apart = [(f'Question {rng.randrange(60)}', f'ANSWER {rng.randrange(80)}') for _ in range(60)]
    theirs = [clashes(rows, b, apart) for b in sampler(NoDuplicatesBatchSampler, rows)]
    assert any(theirs)                                       # or the test shows nothing
    batches = list(sampler(NoClashBatches(apart), rows))
    assert [clashes(rows, b, apart) for b in batches] == [[]]*len(batches)
    assert sorted(i for b in batches for i in b) == list(range(200))  # every row once
    unasked = [clashes(rows, b, apart) for b in sampler(NoClashBatches(), rows)]
    assert any(unasked)                                      # the given pairs count

def test_a_resumed_epoch_has_the_same_batches():
    rows = mess(1)
    first = [list(sampler(NoClashBatches(), rows, epoch=e)) for e in range(3)]
    assert [list(sampler(NoClashBatches(), rows, epoch=e)) for e in range(3)] == first and first[0] != first[1]
    assert list(sampler(NoClashBatches(), rows, seed=4)) != first[0]

def test_without_answers_of_others_these_are_the_librarys_batches():
    rng = random.Random(0)
    rows = dict(query=[f'q{i}' for i in range(500)], passage=[f'p{rng.randrange(300)}' for _ in range(500)])
    for drop in (False, True):
        for e in (0, 1): assert list(sampler(NoClashBatches(), rows, epoch=e, drop_last=drop)) == list(sampler(NoDuplicatesBatchSampler, rows, epoch=e, drop_last=drop))

def test_labels_and_scores_are_no_texts():
    rows = dict(query=['a', 'b'], passage=['c', 'd'], score=[.5, .5], weight=[1, 1])
    assert [sorted(o) for o in sampler(NoClashBatches(), rows)] == [[0, 1]]

def test_the_trainer_takes_it_and_keeps_no_text(tmp_path):
    from embed_lab.models.base import tiny_model
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    rows = mess(2)
    model = tiny_model([t for v in rows.values() for t in v])
    args = SentenceTransformerTrainingArguments(str(tmp_path), per_device_train_batch_size=8, max_steps=6, save_steps=3, batch_sampler=NoClashBatches([('question 1', 'secret answer 7')]), use_cpu=True, report_to='none', disable_tqdm=True)
    trainer = SentenceTransformerTrainer(model, args, train_dataset=Dataset.from_dict(rows), loss=MultipleNegativesRankingLoss(model))
    assert type(trainer.get_train_dataloader().batch_sampler).__name__ in ('ApartBatchSampler', 'BatchSamplerShard')
    trainer.train()
    assert all(b'secret answer' not in o.read_bytes() for o in (tmp_path/'checkpoint-3').iterdir())
    assert args.to_dict().get('batch_sampler') is None

def test_an_epoch_sees_every_row_of_few_passages(tmp_path):
    from embed_lab.inventory.datasets import Splits
    from embed_lab.inventory.train import train
    from embed_lab.training.trainer import LabTrainer
    from embed_lab.models.base import tiny_model
    from embed_lab.runs.record import rehearsal
    rows = dict(query=[f'question {i}' for i in range(60)], passage=[f'answer {i % 6}' for i in range(60)], label=[1]*60, source=['']*60)
    tiny_model([*rows['query'], *rows['passage']]).save_pretrained(str(tmp_path))
    own, seen = Dataset.from_dict(rows), []
    class Watching(LabTrainer):
        def training_step(self, model, inputs, *args, **kw):
            seen.append(len(inputs['query_offsets']))
            return super().training_step(model, inputs, *args, **kw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('embed_lab.inventory.train.LabTrainer', Watching)
        train(Splits(own, own, own), rehearsal(tmp_path), loss='in-batch', batch_size=32, lr=.01, evals=1)
    assert sum(seen) == 60 and max(seen) == 6
