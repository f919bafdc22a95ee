"What the lessons of the trainer and of the inventory's `train` leave out"
import os, warnings
from pathlib import Path
import pytest, torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import TrainerCallback
from embed_lab.inventory.datasets import Splits, leak_table, map_texts, to_dataset
from embed_lab.inventory.evaluate import search
from embed_lab.inventory.plotting import loss_figure
from embed_lab.inventory.train import Trained, train
from embed_lab.data.task import Task
from embed_lab.lab import LabError
from embed_lab.models.base import set_overrides, tiny_model, tiny_transformer
from embed_lab.runs.record import rehearsal
from embed_lab.training import checkpoints
from embed_lab.training.trainer import LabTrainer
import numpy as np
from dataclasses import replace
from support import too_fast

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

# checkpoints between the looks at dev

def weights_and_curve(run):
    from safetensors.torch import load_file
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', too_fast)
        res = train(splits, run, loss='in-batch', epochs=3, batch_size=2, lr=.01, evals=2)
    return {k: v.tolist() for o in sorted(run.final.rglob('*.safetensors')) for k,v in load_file(o).items()}, res.history

class Stopped(Exception): pass

def stop_at(monkeypatch, step):
    plain = LabTrainer.training_step
    def training_step(self, *args, **kw):
        if self.state.global_step == step: raise Stopped
        return plain(self, *args, **kw)
    monkeypatch.setattr(LabTrainer, 'training_step', training_step)

@pytest.fixture
def seals(monkeypatch):
    "Checkpoints are due at each of the 12 steps, looks at dev after 6 and 12, the loss is logged after 5 and 10 too; receives the names of checkpoints that are sealed, and stops at one that is named here"
    found, seal = dict(names=[], stop=None), checkpoints.seal_checkpoint
    def sealed(folder, key):
        if folder.name == found['stop']: raise Stopped
        seal(folder, key)
        found['names'].append(folder.name)
    monkeypatch.setattr(checkpoints, 'checkpoint_pause', lambda training, writing: 0.)
    monkeypatch.setattr('embed_lab.inventory.train.SentenceTransformerTrainingArguments', lambda *args, **kw: SentenceTransformerTrainingArguments(*args, **kw | dict(logging_steps=5)))
    monkeypatch.setattr('embed_lab.training.trainer.seal_checkpoint', sealed)
    return found

def test_checkpoints_between_looks_change_nothing_and_resuming_from_one_is_exact(base_with_dropout, seals, monkeypatch):
    run = rehearsal(base_with_dropout)
    often = weights_and_curve(run)
    assert len(seals['names']) == 12 and len([*run.checkpoints.glob('checkpoint-*')]) <= 2
    for step in (3, 9): # before and after the first look, in the middle of an epoch of four steps, between two logs
        run = rehearsal(base_with_dropout)
        with monkeypatch.context() as m:
            stop_at(m, step)
            with pytest.raises(Stopped): weights_and_curve(run)
        run.manifest['attempts'] = ['one']
        assert weights_and_curve(run) == often
        assert run.manifest['resumed'] == f'checkpoint-{step}' and run.manifest['torn'] == []
    with monkeypatch.context() as m:
        m.setattr(checkpoints, 'checkpoint_pause', lambda training, writing: 1e9)
        assert weights_and_curve(rehearsal(base_with_dropout)) == often

@pytest.mark.parametrize('stop, whole', [(4, {3}), (9, {6, 8})]) # 6 was taken at a look
def test_an_older_checkpoint_goes_when_the_newer_one_is_sealed(base_with_dropout, seals, stop, whole):
    run, seals['stop'] = rehearsal(base_with_dropout), f'checkpoint-{stop}'
    with pytest.raises(Stopped): weights_and_curve(run)
    found = {int(o.name.split('-')[1]): checkpoints.checkpoint_flaw(o) for o in run.checkpoints.glob('checkpoint-*')}
    assert {*found} == whole | {stop} and {k for k,o in found.items() if not o} == whole

class Letters:
    "Texts as counts of their letters"
    def encode_query(self, texts, **options): return np.array([[t.count(c) for c in 'abcdefghijklmnopqrstuvwxyz'] for t in texts], dtype=np.float32)
    encode_document = encode_query

class Dot(Letters): similarity_fn_name = 'dot'

class Broken(Letters):
    def encode_document(self, texts, **options): return self.encode_query(texts) * np.nan

def test_search_goes_by_the_encoder_s_similarity_and_by_a_hash_of_the_text_where_scores_are_equal():
    from embed_lab.models.search import tie_order
    task = Task(dict(q0='reset'), dict(b='terse', a='reset', c='reset it'), dict(q0=dict(a=1)))
    places = dict(zip(task.corpus, tie_order(task.corpus)))
    assert [d for d,_ in search(Letters(), task)['q0']] == [*sorted('ab', key=places.get), 'c'] # the same letters
    assert [d for d,_ in search(Dot(), task)['q0']] == ['c', *sorted('ab', key=places.get)]
    with pytest.raises(LabError, match='NaN or infinity'): search(Broken(), task)

def test_texts_are_changed_in_negatives_too():
    wrong = to_dataset([dict(query='a', passage='b', label=1, negatives=['c']), dict(query='a', passage='d', label=1)])
    assert map_texts(replace(splits, train=wrong), passage=str.upper).train['negatives'][:] == [['C'], None]

def test_leaks_are_looked_for_without_prompts_and_with_what_qrels_bring():
    gold = to_dataset([dict(query='reset', passage='start over', label=0, query_id='q0')])
    judged = replace(splits, corpus=dict(d0='start over'), qrels=dict(q0=dict(d0=1)), gold=gold)
    prompted = replace(map_texts(judged, 'query: {}'.format), prompts=('query: ', ''))
    assert leak_table(prompted)['gold'][-1] == dict(query='reset', passage='start over', label=1)

# trackers that other packages bring, each one file and an entry point

brought = '''
import json
from transformers import TrainerCallback

class Lines(TrainerCallback):
    def __init__(self, file): self.file = file
    def on_log(self, args, state, control, logs=None, **kw):
        with self.file.open('a') as f: f.write(json.dumps(dict(step=state.global_step) | logs) + chr(10))

class Full(TrainerCallback):
    def on_step_end(self, args, state, control, **kw): raise OSError('no space left')

def lines(run): return Lines(run.path/'lines.jsonl')
def full(run): return Full()
def closed(run): raise ConnectionError('nobody answers')
'''

@pytest.fixture
def tracked_run(tmp_path, monkeypatch, base_with_dropout):
    "A run, where a package with three trackers is installed"
    site = tmp_path/'site'
    about = site/'their_trackers-1.0.dist-info'
    about.mkdir(parents=True)
    (site/'their_trackers.py').write_text(brought)
    (about/'METADATA').write_text('Metadata-Version: 2.1\nName: their-trackers\nVersion: 1.0\n')
    names = ''.join(f'{o} = their_trackers:{o}\n' for o in ('lines', 'full', 'closed'))
    (about/'entry_points.txt').write_text(f'[embed_lab.trackers]\n{names}')
    monkeypatch.syspath_prepend(site)
    return rehearsal(base_with_dropout)

def trained(run, tracker):
    run.lab = replace(run.lab, tracker=tracker)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        train(splits, run, loss='in-batch', epochs=2, batch_size=8)
    return [o for o in run.manifest.get('warnings', []) if 'tracker' in o]

def test_a_tracker_gets_loss_and_dev(tracked_run):
    assert trained(tracked_run, 'lines') == []
    logged = (tracked_run.path/'lines.jsonl').read_text()
    assert '"loss"' in logged and '"eval_' in logged

def test_a_tracker_that_fails_costs_one_warning(tracked_run):
    assert trained(tracked_run, 'full') == ['tracker full failed and no longer follows this run (OSError: no space left)']
    assert (tracked_run.final/'modules.json').exists()

def test_a_tracker_that_cannot_start_costs_one_warning(tracked_run):
    assert trained(tracked_run, 'closed') == ['tracker closed does not follow this run (ConnectionError: nobody answers)']

def test_a_tracker_that_nobody_brings_costs_a_warning_with_those_there_are(tracked_run):
    [said] = trained(tracked_run, 'lime')
    assert said.startswith('tracker lime does not follow this run (settings.ini: tracker = lime is not installed; write one of closed, full, lines')
    assert (tracked_run.final/'modules.json').exists()

# a team's own trainer

class Scaled(LabTrainer):
    "A subclass with an `__init__` of its own"
    def __init__(self, *args, factor, **kw):
        super().__init__(*args, **kw)
        self.factor = factor
        self.add_callback(Steps())

    def compute_loss(self, *args, **kw):
        loss = super().compute_loss(*args, **kw)
        return (loss[0]*self.factor, *loss[1:]) if isinstance(loss, tuple) else loss*self.factor

class Steps(TrainerCallback):
    "Says on disk what each device has seen"
    def on_step_end(self, args, state, control, **kw):
        with open(Path(args.output_dir).parent/f'{type(self).__name__}-{torch.distributed.get_rank() if torch.distributed.is_initialized() else 0}', 'a') as f: f.write('.')

class Later(Steps): pass
class Removed(Steps): pass

def scaled(base, **kw):
    run, model = rehearsal(base, seed=3), SentenceTransformer(str(base), device='cpu')
    train = to_dataset(rows).select_columns(['query', 'passage'])
    args = SentenceTransformerTrainingArguments(str(run.checkpoints), num_train_epochs=1, per_device_train_batch_size=8, logging_steps=1)
    return run, Scaled(model, args=args, train_dataset=train, loss=MultipleNegativesRankingLoss, run=run, factor=3., callbacks=[Removed()])

@pytest.fixture
def base(tmp_path):
    tiny_model([t for o in rows for t in (o['query'], o['passage'])]).save_pretrained(str(tmp_path))
    return tmp_path

def test_a_trainer_with_an_init_of_its_own_is_made_again_as_itself(base):
    run, trainer = scaled(base)
    again = trainer._again(train_dataset=trainer.train_dataset.select(range(8)), callbacks=[])
    assert again.factor == 3 and len(again.train_dataset) == 8 and again.run is None and again.args.per_device_train_batch_size == 8
    assert [type(o).__name__ for o in again.callback_handler.callbacks].count('Steps') == 1

def test_other_devices_train_with_the_same_trainer_and_all_its_callbacks(base, monkeypatch):
    monkeypatch.setattr(os, 'cpu_count', lambda: 2)
    set_overrides(dict(devices=2))
    try:
        run, trainer = scaled(base)
        trainer.add_callback(Later())
        trainer.remove_callback(Removed)
        trainer.train()
    finally: set_overrides({})
    seen = {o.name: len(o.read_text()) for o in run.path.iterdir() if o.name.split('-')[0] in ('Steps', 'Later', 'Removed')}
    assert seen == {f'{k}-{i}': 3 for k in ('Steps', 'Later') for i in (0, 1)}
    first = trainer.state.log_history[0]['loss']
    run, alone = scaled(base)
    alone.train()
    assert first == pytest.approx(alone.state.log_history[0]['loss'], rel=1e-4)

def test_without_a_look_at_dev_only_the_loss_is_told_and_drawn():
    history = [dict(step=8, loss=.3)]
    assert repr(Trained(None, history)) == 'Trained for 8 steps.' and len(loss_figure(history).data) == 1

# base models that cannot be trained

def constant(o): o.fill_(.5)
def grown(o): o.mul_(1e-7).add_(1.) # vectors that differ by no more than rounding
def near(o): o.mul_(.02).add_(1.) # cosines above .999, as untuned language models have them

def spoiled(model, how, path):
    with torch.no_grad():
        for o in model.parameters(): how(o)
    model.save_pretrained(str(path))
    return path

@pytest.mark.parametrize('make', [tiny_model, tiny_transformer])
@pytest.mark.parametrize('how', [torch.nn.init.zeros_, constant])
def test_a_base_model_whose_vectors_are_all_alike_is_refused_before_a_step(make, how, tmp_path):
    run = rehearsal(spoiled(make([t for o in rows for t in (o['query'], o['passage'])]), how, tmp_path))
    with pytest.raises(LabError, match='^the model that training begins with gives all texts of train the same vector'): train(splits, run, loss='in-batch', batch_size=8)
    assert not [*run.checkpoints.iterdir()] and not run.final.exists()

@pytest.mark.parametrize('how, refused', [(grown, True), (near, False)])
def test_only_what_rounding_hides_is_refused(how, refused, tmp_path):
    run = rehearsal(spoiled(tiny_model([t for o in rows for t in (o['query'], o['passage'])]), how, tmp_path))
    if not refused:
        train(splits, run, loss='in-batch', batch_size=8, evals=1)
        return
    with pytest.raises(LabError, match='the same vector'): train(splits, run, loss='in-batch', batch_size=8)

def test_a_search_whose_vectors_are_all_alike_has_nothing_for_a_reranker(base, tmp_path):
    from embed_lab.inventory.rerank import first_stage, new_reranker, train_reranker
    texts = [t for o in rows for t in (o['query'], o['passage'])]
    tiny_transformer(texts).save_pretrained(str(tmp_path/'bert'))
    run, wrong = rehearsal(tmp_path/'bert'), [dict(o, passage=p['passage'], label=0) for o,p in zip(rows, rows[1:])]
    first, second = first_stage(run, str(spoiled(tiny_model(texts), constant, tmp_path/'flat'))), new_reranker(run, None, 32)
    with pytest.raises(LabError, match='the same vector'): train_reranker(replace(splits, train=to_dataset(rows + wrong)), run, first, second)
