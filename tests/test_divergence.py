"Training that breaks down stops before its weights do, says why, and leaves the last good checkpoint"
import json
from dataclasses import replace
from math import nan
import pytest
from support import emb, too_fast

torch, st = pytest.importorskip('torch'), pytest.importorskip('sentence_transformers')
pytestmark = pytest.mark.filterwarnings(f'ignore:.*{too_fast}')

from embed_lab.training import breakdown as B
from embed_lab.inventory import train as T
from embed_lab.inventory.datasets import Splits, load_splits
from embed_lab.lab import LabError
from embed_lab.models.base import tiny_model, weights_hash
from embed_lab.training.contract import contract, contracts
from embed_lab.training.dev import DevEvaluator
from embed_lab.training.trainer import LabTrainer
from embed_lab.runs.record import rehearsal
from embed_lab.data.reading import read_rows

texts = ['reset my router', 'hold the button']

@pytest.fixture(scope='module')
def splits(data):
    all = load_splits(data)
    return Splits(*(o.select(range(min(120, len(o)))) for o in (all.train, all.dev, all.gold)))

def fit(splits, base, **kw):
    "Train a tiny model on a few steps; returns the run and what was raised, if anything"
    run = rehearsal(base)
    try: T.train(splits, run, **dict(loss='contrastive', batch_size=8, epochs=2, lr=.01, evals=6) | kw)
    except LabError as e: return run, str(e)
    return run, ''

def checkpoints(run): return sorted(int(o.name.split('-')[1]) for o in run.checkpoints.glob('checkpoint-*'))

def finite(folder): return not B.has_broken_weights(st.SentenceTransformer(str(folder), device='cpu', local_files_only=True))

def stub(k, spoil):
    "A contrastive loss whose `k`th value is spoilt"
    class Stub(contract('contrastive').loss_class):
        calls = 0
        def forward(self, features, labels):
            self.calls += 1
            loss = super().forward(features, labels)
            return spoil(loss) if self.calls == k else loss
    return Stub

def teach(monkeypatch, loss):
    "Have `contrastive` name another class"
    monkeypatch.setitem(contracts, 'contrastive', replace(contract('contrastive'), library=loss))

# before training

def test_a_base_model_with_nan_weights_is_named_before_training(splits, tmp_path):
    base = tiny_model(texts)
    with torch.no_grad(): base[0].embedding.weight[0, 0] = nan
    base.save_pretrained(str(tmp_path/'nan'))
    run, said = fit(splits, tmp_path/'nan')
    assert 'base model' in said and 'nan' in said and '`0.embedding.weight` holds NaN or infinity' in said and 'step' not in said
    assert not run.checkpoints.exists() and not run.final.exists()

# during training

@pytest.mark.parametrize('what, spoil', [('the loss is nan', lambda o: o*nan), ('the loss is inf', lambda o: o*torch.inf),
    ('the gradient norm is nan', lambda o: o + (o*0).sqrt())])
def test_a_batch_that_gives_nan_stops_before_the_optimizer(splits, base, monkeypatch, what, spoil):
    teach(monkeypatch, stub(12, spoil))
    steps, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, 'step', lambda self, *a, **k: (steps.append(1), step(self, *a, **k))[1])
    run, said = fit(splits, base)
    assert said.startswith(f'training stopped at step 12 of 30: {what} (Stub, learning rate 0.00') and '\n' not in said
    assert 'likeliest first: a text without words' in said and 'a learning rate too high (try 0.001)' in said
    assert len(steps) == 11 and checkpoints(run) == [5, 10] and all(finite(run.checkpoints/f'checkpoint-{o}') for o in (5, 10))
    assert said.endswith('checkpoints/checkpoint-10') and not run.final.exists()

def test_no_learning_rate_is_blamed_for_the_first_step(splits, base, monkeypatch):
    teach(monkeypatch, stub(1, lambda o: o*nan))
    run, said = fit(splits, base)
    assert 'at step 1 of 30' in said and 'too high' not in said and said.endswith('there is no checkpoint yet')

def test_half_precision_weights_are_named_first(splits, base, monkeypatch):
    real = T.base_model
    monkeypatch.setattr(T, 'base_model', lambda *a: real(*a).bfloat16())
    teach(monkeypatch, stub(3, lambda o: o*nan))
    assert 'likeliest first: weights in bfloat16 (load them in float32)' in fit(splits, base)[1]

@pytest.mark.parametrize('loss', ['contrastive', 'in-batch'])
def test_a_rate_that_explodes_is_refused_and_no_nan_is_saved(splits, base, loss):
    run, said = fit(splits, base, loss=loss, lr=3e38, epochs=4)
    assert 'likeliest first: a learning rate too high (try 3e+37)' in said and not run.final.exists()
    assert all(finite(run.checkpoints/f'checkpoint-{o}') for o in checkpoints(run))

def test_weights_that_break_with_the_last_step_are_not_saved(splits, base, monkeypatch):
    step = torch.optim.AdamW.step
    count = []
    def last(self, *a, **k):
        res = step(self, *a, **k)
        count.append(1)
        if len(count) == 30:
            with torch.no_grad(): self.param_groups[0]['params'][0][-1, 0] = nan
        return res
    monkeypatch.setattr(torch.optim.AdamW, 'step', last)
    run, said = fit(splits, base)
    assert 'step 30 of 30: the weights `0.embedding.weight` hold NaN' in said and checkpoints(run)[-1] == 25 and not run.final.exists()

def test_weights_out_of_reach_of_any_gradient_stop_it(splits, base):
    run, said = fit(splits, base, loss='in-batch', lr=1e9, epochs=4)
    assert 'below a hundredth' in said and 'likeliest first: a learning rate too high (try 1e+08)' in said and not run.final.exists()

def test_a_loss_that_climbs_and_stays_up_stops_it(splits, base, monkeypatch):
    class Climbing(stub(0, None)):
        def forward(self, features, labels): return super().forward(features, labels) * (1 if self.calls < 15 else 100)
    teach(monkeypatch, Climbing)
    run, said = fit(splits, base)
    assert 'training stopped at step 24 of 30: for 10 steps the loss has been above three times' in said
    assert 'likeliest first: a learning rate too high' in said and checkpoints(run)[-1] == 20 and 'without words' not in said

# false alarms

@pytest.mark.parametrize('losses, norms', [
    ([.5]*10 + [9.]*9 + [.5] + [9.]*9, [1.]*29),                # never ten in a row
    ([1/2**i for i in range(60)], [1/2**i for i in range(60)]), # learnt to perfection
    ([0.]*20 + [.1]*30, [0.]*20 + [.1]*30),                     # nothing to learn at first
    ([.5]*19, [1.]*3 + [0.]*16)])                               # too short to say
def test_what_is_only_noise_or_success_goes_on(losses, norms):
    assert [B.step_trouble(losses[:i], norms[:i]) for i in range(1, len(losses)+1)] == ['']*len(losses)

def test_a_healthy_run_is_the_same_to_the_last_bit_without_the_guard(splits, data, tmp_path, monkeypatch):
    from sentence_transformers.sentence_transformer.modules import Dropout
    words = [t for o in read_rows(data/'train.jsonl') for t in (o['query'], o['passage'])]
    st.SentenceTransformer(modules=[*tiny_model(words), Dropout(.3)], device='cpu').save_pretrained(str(tmp_path/'base'))
    guarded, said = fit(splits, tmp_path/'base')
    class Unguarded(LabTrainer):
        training_step = st.SentenceTransformerTrainer.training_step
        def _build(self, asked):
            super()._build(asked)
            self.args.logging_nan_inf_filter = True
    monkeypatch.setattr(T, 'LabTrainer', Unguarded)
    plain, _ = fit(splits, tmp_path/'base')
    assert said == '' and weights_hash(guarded.final) == weights_hash(plain.final)
    assert (guarded.path/'history.jsonl').read_bytes() == (plain.path/'history.jsonl').read_bytes()

# around it

def test_the_evaluator_scores_no_nan(splits, base):
    run = rehearsal(base)
    model = T.base_model(run, 128)
    torch.nn.init.constant_(model[0].embedding.weight, nan)
    with pytest.raises(LabError, match='vectors hold NaN or infinity'): DevEvaluator(splits.task('dev'), run.eval)(model)

def test_a_run_that_diverges_is_recorded_as_failed(lab):
    res = emb('run', 'exp_01_baseline', '-p', 'lr', '3e38', cwd=lab, ok=1)
    run, = (lab/'results').glob('exp_01_baseline,*')
    manifest = json.loads((run/'run.json').read_text())
    assert manifest['status'] == 'failed' and 'training stopped at step' in manifest['error']
    assert 'training stopped at step' in res.stderr and 'Traceback' not in res.stderr and not (run/'final').exists()
