"Weights made ready for encoding: the same vectors by another way, for every make of attention, and nothing left behind"
import numpy as np, pytest, torch, transformers as tf
from embed_lab.models import inference
from embed_lab.models.inference import convolution, convolves, fast_inference
from embed_lab.models.base import tiny_transformer
from embed_lab.models.vectors import encode
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from sentence_transformers import SentenceTransformer

words = [f'word{i}' for i in range(40)]
texts = [' '.join((words*3)[:n]) for n in (1, 2, 100, 5, 30, 30, 7, 64)]
both = pytest.mark.parametrize('precision', ['fp32', 'bf16'])

@pytest.fixture(autouse=True)
def able(monkeypatch):
    "A processor on which the other way is taken, whatever this one is"
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict(avx512_f=True, avx512_bf16=True, cpu_name='AMD EPYC'))

@pytest.fixture
def taken(monkeypatch):
    "How often attention was computed in products, and how often by torch"
    seen = dict(products=0, fused=0)
    softmax, fused = torch.Tensor.softmax, torch.nn.functional.scaled_dot_product_attention
    def count(k, f): return lambda *a, **kw: (seen.__setitem__(k, seen[k] + 1), f(*a, **kw))[1]
    monkeypatch.setattr(torch.Tensor, 'softmax', count('products', softmax))
    monkeypatch.setattr(torch.nn.functional, 'scaled_dot_product_attention', count('fused', fused))
    return seen

def vectors(model):
    with torch.no_grad(): return model(model.preprocess(texts))['sentence_embedding'].float()

def same(a, b, least=.999): assert torch.nn.functional.cosine_similarity(a, b).min() > least

def decoder(tmp_path, **given):
    "A causal decoder made on the spot, which pads on the left and pools the last token"
    bert = tiny_transformer(words)
    torch.manual_seed(0)
    config = tf.Qwen3Config(vocab_size=len(bert.tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, head_dim=8, max_position_embeddings=256, initializer_range=.2, **given)
    tf.Qwen3Model(config).save_pretrained(tmp_path), bert.tokenizer.save_pretrained(tmp_path)
    model = SentenceTransformer(modules=[Transformer(str(tmp_path)), Pooling(32, 'lasttoken')], device='cpu').eval()
    model.tokenizer.padding_side = 'left'
    return model

@both
def test_vectors_are_the_same_but_for_rounding(precision, monkeypatch, taken):
    monkeypatch.setenv('EMB_HARDWARE', f'cpu {precision}')
    model = tiny_transformer(words).eval()
    plain = vectors(model)
    with fast_inference(model): same(vectors(model), plain, .999 if precision == 'bf16' else .999999)
    assert taken == (dict(products=2, fused=2) if precision == 'bf16' else dict(products=0, fused=4))

@pytest.mark.parametrize('heads', [4, 2])
def test_a_decoder_keeps_its_causal_mask_and_its_shared_keys(heads, tmp_path, monkeypatch, taken):
    monkeypatch.setenv('EMB_HARDWARE', 'cpu bf16')
    model = decoder(tmp_path, num_key_value_heads=heads)
    plain = vectors(model)
    assert taken.pop('fused') and not taken['products']
    taken |= dict(fused=0)
    with fast_inference(model):
        same(vectors(model), plain)
        with torch.no_grad(): alone = model(model.preprocess([texts[2]]))['sentence_embedding'].float()
    same(alone, plain[2:3])
    assert taken == (dict(products=2, fused=2) if heads == 4 else dict(products=0, fused=4))  # without padding there is no mask, and only a fused attention knows that it is causal

def test_long_texts_are_not_held_whole(monkeypatch, taken):
    monkeypatch.setenv('EMB_HARDWARE', 'cpu bf16')
    monkeypatch.setattr(inference, 'longest_held', 50)
    model = tiny_transformer(words).eval()
    with fast_inference(model): vectors(model)
    assert taken == dict(products=0, fused=2)

@both
def test_nothing_is_left_behind_and_weights_are_read_anew(precision, monkeypatch):
    monkeypatch.setenv('EMB_HARDWARE', f'cpu {precision}')
    model = tiny_transformer(words)
    first = encode(model, texts, 'document')
    with torch.no_grad():
        for o in model.modules():
            if isinstance(o, torch.nn.Linear): o.weight.mul_(-1)
    second = encode(model, texts, 'document')
    assert abs(first - second).max() > .1
    with pytest.raises(RuntimeError), fast_inference(model): raise RuntimeError
    assert not any('forward' in vars(o) for o in model.modules()) and model.transformers_model.config._attn_implementation == 'sdpa'
    loss = model(model.preprocess(texts))['sentence_embedding'].sum()
    loss.backward()
    assert all(o.weight.grad is not None for o in model.modules() if isinstance(o, torch.nn.Linear) and o is not model[0].model.pooler.dense)

def test_layers_of_another_make_compute_for_themselves(monkeypatch):
    monkeypatch.setenv('EMB_HARDWARE', 'cpu fp32')
    class Own(torch.nn.Linear):
        def forward(self, x): return super().forward(x)*2
    model, other = tiny_transformer(words).eval(), tiny_transformer(words).eval()
    layer = model[0].model.encoder.layer[0]
    layer.output.dense.__class__ = Own
    given = layer.intermediate.dense
    given.forward = was = lambda x: torch.nn.functional.linear(x, given.weight*3, given.bias)
    plain = vectors(model)
    with fast_inference(model): same(vectors(model), plain, .999999)
    assert given.forward is was and (vectors(other) - plain).abs().max() > .01

@both
@pytest.mark.parametrize('shape', [(8,), (1, 8), (5, 8), (3, 7, 8), (0, 8), (3, 0, 8)], ids=str)
@pytest.mark.parametrize('bias', [True, False])
def test_a_convolution_takes_what_a_layer_takes(shape, precision, bias):
    layer, x, dtype = torch.nn.Linear(8, 5, bias=bias), torch.randn(shape), dict(fp32=torch.float32, bf16=torch.bfloat16)[precision]
    with torch.no_grad(): torch.testing.assert_close(convolution(layer, dtype)(x).float(), layer(x), atol=1e-5 if precision == 'fp32' else .05, rtol=1e-5 if precision == 'fp32' else .05)

def test_vectors_kept_by_one_way_are_not_taken_for_those_of_the_other(monkeypatch):
    from embed_lab.models.vectors import fingerprint
    model = tiny_transformer(words)
    one = fingerprint(model, 'query')
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict(avx512_f=True, cpu_name='Intel'))
    assert not convolves('fp32', torch.cpu.get_capabilities()) and fingerprint(model, 'query') != one

def test_a_cross_encoder_tells_pairs_apart_in_bf16(tmp_path, monkeypatch):
    from embed_lab.models.crossencoders import load_cross_encoder, pair_scores
    tiny_transformer(words).save_pretrained(str(tmp_path))
    model = load_cross_encoder(tmp_path)
    with torch.no_grad(): model.model.classifier.weight.mul_(300), model.model.classifier.bias.fill_(6)
    pairs, found = [(f'word{i} word{j}', ' '.join(words[:1 + i])) for i in range(16) for j in range(16)], {}
    for o in ('fp32', 'bf16'):
        monkeypatch.setenv('EMB_HARDWARE', f'cpu {o}')
        found[o] = pair_scores(model, pairs)
    assert np.corrcoef(*found.values())[0, 1] > .99 and not np.array_equal(*found.values())
    assert len(set(found['bf16'].tolist())) > .95*len(set(found['fp32'].tolist()))
    assert not any('forward' in vars(o) for o in model.modules())
