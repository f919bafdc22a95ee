"Batches read in chunks: the same vectors, losses and gradients, whatever the padding and the module"
import os, random, subprocess, sys
import pytest, torch
from embed_lab.models.chunks import chunk_cuts, in_chunks
from embed_lab.models.base import tiny_model, tiny_transformer
from hypothesis import given, strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.modules import Pooling

words = [f'word{i}' for i in range(40)]
rng = random.Random(0)
texts = [' '.join(rng.choices(words, k=n)) for n in [rng.choice((1, 2, 5, 30, 110)) for _ in range(48)]]

@given(st.lists(st.integers(0, 600), max_size=80), st.integers(1, 700))
def test_every_text_is_in_one_chunk_and_none_is_wider_than_asked(lengths, tokens):
    lengths = sorted(lengths, reverse=True)
    sizes, i = chunk_cuts(lengths, tokens), 0
    assert sum(sizes) == len(lengths) and all(sizes)
    for n in sizes:
        assert n == 1 or n*lengths[i] <= tokens
        i += n

def rectangles(model):
    "What the transformer is given, as (rows, tokens)"
    seen = []
    model[0].model.embeddings.register_forward_pre_hook(lambda m, a, kw: seen.append(tuple(kw['input_ids'].shape)), with_kwargs=True)
    return seen

def step(model, loss, columns, label=None):
    "Loss and gradients of one batch"
    model.zero_grad()
    value = loss([model.preprocess(o) for o in columns], label)
    value.backward()
    return value.item(), {k: o.grad.clone() for k,o in model.named_parameters() if o.grad is not None}

def same(a, b):
    assert a[0] == pytest.approx(b[0], rel=1e-4) and a[1].keys() == b[1].keys() and a[1]
    for k in a[1]: assert torch.allclose(a[1][k], b[1][k], atol=1e-4, rtol=1e-3), k

@pytest.mark.parametrize('name', ['MultipleNegativesRankingLoss', 'CachedMultipleNegativesRankingLoss', 'CoSENTLoss', 'MatryoshkaLoss'])
def test_losses_and_gradients_are_the_same(name):
    model = tiny_transformer(words).eval()
    make = {'MatryoshkaLoss': lambda m: losses.MatryoshkaLoss(m, losses.MultipleNegativesRankingLoss(m), [16, 8]), 'CachedMultipleNegativesRankingLoss': lambda m: losses.CachedMultipleNegativesRankingLoss(m, mini_batch_size=7)}
    loss, label = make.get(name, getattr(losses, name))(model), torch.rand(24) if name == 'CoSENTLoss' else None
    seen = rectangles(model)
    columns = texts[:24], texts[24:]
    whole, n = step(model, loss, columns, label), len(seen)
    with in_chunks(model): cut = step(model, loss, columns, label)
    same(whole, cut)
    assert sum(a*b for a,b in seen[n:]) < .7*sum(a*b for a,b in seen[:n])  # or there was nothing to test

@pytest.mark.parametrize('side', ['left', 'right'])
@pytest.mark.parametrize('mode', ['mean', 'cls', 'max', 'lasttoken'])
def test_padding_on_either_side_and_any_pooling(mode, side):
    model = tiny_transformer(words).eval()
    model = SentenceTransformer(modules=[model[0], Pooling(model[0].get_embedding_dimension(), mode)], device='cpu').eval()
    model.tokenizer.padding_side = side
    ids = model.preprocess(texts)
    assert not ids['attention_mask'][:,0 if side == 'left' else -1].all()
    position = dict(position_ids=(ids['attention_mask'].cumsum(1) - 1).clamp(0))  # what a model that pads on the left does for itself
    with torch.no_grad():
        whole = model({**ids, **position})['sentence_embedding']
        seen = rectangles(model)
        with in_chunks(model): cut = model({**ids, **position})['sentence_embedding']
    assert torch.allclose(whole, cut, atol=1e-5) and len(seen) > 2

def test_what_has_no_padding_goes_through_as_it_is():
    model = tiny_transformer(words)
    seen = rectangles(model)
    with in_chunks(model):
        model.encode(['word1 word2']*5)
        model(dict(input_ids=torch.tensor([[1, 2], [3, 4]]), attention_mask=torch.ones(2, 2, dtype=torch.long)))
    assert seen[0][0] == 5 and seen[1] == (2, 2) and 'forward' not in vars(model[0])

def test_the_model_is_as_before_when_training_breaks():
    model = tiny_transformer(words)
    with pytest.raises(RuntimeError), in_chunks(model): raise RuntimeError
    assert 'forward' not in vars(model[0])
    static = tiny_model(words)
    with in_chunks(static): assert static.encode(texts[:3]).shape[0] == 3
    with in_chunks(object()): pass

def test_training_and_encoding_use_them(tmp_path):
    from datasets import Dataset
    from embed_lab.inventory.datasets import Splits
    from embed_lab.inventory.train import train
    from embed_lab.runs.record import rehearsal
    from embed_lab.models.vectors import encode
    tiny_transformer(words).save_pretrained(str(tmp_path))
    rows = Dataset.from_dict(dict(query=[f'word{i}' for i in range(24)], passage=[f'{t} word{i}' for i,t in enumerate(texts[:24])], label=[1]*24, source=['']*24))
    with pytest.MonkeyPatch.context() as patch:
        used = []
        patch.setattr('embed_lab.models.chunks.chunk_cuts', lambda lengths, tokens: used.append(len(lengths)) or chunk_cuts(lengths, tokens))
        trained = train(Splits(rows, rows, rows), rehearsal(tmp_path), loss='in-batch', batch_size=24, lr=.001, evals=1)
        assert used.count(24) >= 2
        used.clear()
        assert encode(trained.encoder, texts, 'document').shape[0] == 48 and used

def test_a_cross_encoder_reads_them_too(tmp_path):
    from embed_lab.models.crossencoders import load_cross_encoder
    tiny_transformer(words).save_pretrained(str(tmp_path))
    model = load_cross_encoder(tmp_path).eval()
    pairs = [(texts[0], o) for o in texts[:24]]
    def scores(): return model(model.preprocess(pairs))['scores']
    def both():
        model.zero_grad()
        (out := scores()).sum().backward()
        return out.detach(), model.model.classifier.weight.grad.clone(), model.model.bert.embeddings.word_embeddings.weight.grad.clone()
    whole = both()
    seen = []
    model.model.bert.embeddings.register_forward_pre_hook(lambda m, a, kw: seen.append(tuple(kw['input_ids'].shape)), with_kwargs=True)
    with in_chunks(model): cut = both()
    for a,b in zip(whole, cut): torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
    assert len(seen) > 2

@pytest.mark.skipif(sys.platform != 'linux', reason="torch's OpenMP is GNU's on Linux alone")
@pytest.mark.parametrize('env, waits', [({}, '1000'), (dict(GOMP_SPINCOUNT='7'), '7'), (dict(OMP_WAIT_POLICY='passive'), '0')])
def test_threads_wait_briefly_unless_told_otherwise(env, waits):
    own = {k: v for k,v in os.environ.items() if k not in ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY')}
    said = subprocess.run([sys.executable, '-c', 'import embed_lab.runs.record, torch'], env=own | env | dict(OMP_DISPLAY_ENV='verbose'), capture_output=True, text=True, check=True).stderr
    assert {o.split("'")[1] for o in said.splitlines() if 'GOMP_SPINCOUNT' in o} == {waits}
