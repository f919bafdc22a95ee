"What a kept vector promises: it is the one that this model, as it is now, would make of this text"
import os, shutil, subprocess, sys
from copy import deepcopy
import numpy as np, pytest, torch
from embed_lab.models import vectors
from embed_lab.lab import LabError
from embed_lab.models.base import tiny_model
from embed_lab.models.vectors import encode, encode_cached, fingerprint, prune_cache
from support import sh

texts = [f'{verb} the {thing}' for verb in ('reset', 'pair', 'clean', 'charge') for thing in ('router', 'headset', 'light', 'kettle', 'printer')]

@pytest.fixture(scope='session')
def saved(tmp_path_factory):
    "A transformer of two small layers, with prompts"
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer
    path, words = tmp_path_factory.mktemp('bert'), sorted({w for t in texts for w in t.split()})
    vocab = {t: i for i,t in enumerate(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'find', 'say', ':', *words])}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=len(vocab), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=32)).save_pretrained(path)
    BertTokenizer(vocab=vocab).save_pretrained(path)
    made = Transformer(str(path), model_kwargs=dict(local_files_only=True))
    SentenceTransformer(modules=[made, Pooling(16, 'mean')], prompts=dict(query='find : ', document=''), device='cpu').save_pretrained(str(path/'st'))
    return path/'st'

def loaded(path):
    from sentence_transformers import SentenceTransformer
    return SentenceTransformer(str(path), device='cpu', local_files_only=True)

@pytest.fixture
def model(saved): return loaded(saved)

class Counted:
    "How many texts a model is asked to encode"
    def __init__(self, monkeypatch):
        self.n, was = 0, vectors.encode
        def count(model, texts, *rest):
            self.n += len(texts)
            return was(model, texts, *rest)
        monkeypatch.setattr(vectors, 'encode', count)
    def __call__(self):
        n, self.n = self.n, 0
        return n

@pytest.fixture
def asked(monkeypatch): return Counted(monkeypatch)

def test_kept_vectors_are_those_encoded_bit_for_bit(model, asked, tmp_path):
    first = encode_cached(model, texts, 'query', tmp_path)
    assert asked() == len(texts) and first.dtype == np.float32 and first.shape == (len(texts), 16)
    np.testing.assert_array_equal(first, encode(model, texts, 'query'))
    np.testing.assert_array_equal(encode_cached(model, texts[::-1] + texts, 'query', tmp_path), np.concatenate([first[::-1], first]))
    assert asked() == 0

def test_only_new_texts_are_encoded_and_in_any_order_they_fall_into_place(model, asked, tmp_path):
    encode_cached(model, texts[5:9], 'query', tmp_path)
    mixed = [texts[i] for i in (19, 6, 0, 6, 8, 19, 5)]
    np.testing.assert_allclose(encode_cached(model, mixed, 'query', tmp_path), encode(model, mixed, 'query'), atol=1e-6)
    assert asked() == 4 + 2

def test_query_and_document_are_kept_apart_and_carry_their_prompts(model, asked, tmp_path):
    q, d = (encode_cached(model, texts, kind, tmp_path) for kind in ('query', 'document'))
    assert asked() == 2*len(texts) and np.abs(q - d).max() > .01
    np.testing.assert_allclose(q, encode(model, [f'find : {t}' for t in texts], 'document'), atol=1e-6)

def tuned(model):
    opt = torch.optim.SGD(model.parameters(), lr=.1)
    model(model.preprocess(texts[:4]))['sentence_embedding'].pow(2).sum().backward()
    opt.step()

def other_words(model):
    from tokenizers.normalizers import Replace
    model.tokenizer.backend_tokenizer.normalizer = Replace('router', 'kettle')

def adapter(model):
    from peft import LoraConfig
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model.add_adapter(LoraConfig(target_modules=['value'], lora_alpha=64, init_lora_weights=False))

def softer(model):
    adapter(model)
    fingerprint(model, 'document')
    next(o for o in model.modules() if hasattr(o, 'lora_A')).scaling['default'] = 9.

def unplugged(model):
    adapter(model)
    model.disable_adapters()

def normalised(model):
    from sentence_transformers.sentence_transformer.modules import Normalize
    model.append(Normalize())

changes = dict(
    fine_tuned=tuned, other_words=other_words, adapter=adapter, softer=softer, normalised=normalised,
    one_weight=lambda m: m[0].model.embeddings.word_embeddings.weight.data[9, 3:].mul_(1.01),
    prompt=lambda m: m.prompts.update(document='say : '),
    default_prompt=lambda m: (m.prompts.clear(), m.prompts.update(any='say : '), setattr(m, 'default_prompt_name', 'any')),
    max_seq_length=lambda m: setattr(m, 'max_seq_length', 4),
    pooling=lambda m: setattr(m[1], 'pooling_mode', 'cls'),
    truncate_dim=lambda m: setattr(m, 'truncate_dim', 8),
    precision=lambda m: m.bfloat16(),
    attention=lambda m: setattr(m[0].model.encoder.layer[0].attention.self, 'scaling', 2.),
    buffer=lambda m: m[0].model.embeddings.position_ids.copy_(m[0].model.embeddings.position_ids.flip(1)))

@pytest.mark.parametrize('change', changes)
def test_a_model_that_changed_is_asked_again(change, model, asked, tmp_path):
    before = encode_cached(model, texts, 'document', tmp_path)
    asked()
    changes[change](model)
    now = encode_cached(model, texts, 'document', tmp_path)
    assert asked() == len(texts)
    assert now.shape != before.shape or np.abs(now - before).max() > 1e-4, 'the change should have changed something'
    np.testing.assert_allclose(now, encode(model, texts, 'document'), atol=1e-6)

def test_an_adapter_that_is_switched_off_is_another_model(model):
    adapter(model)
    on = fingerprint(model, 'query')
    model.disable_adapters()
    assert fingerprint(model, 'query') != on
    model.enable_adapters()
    assert fingerprint(model, 'query') == on

def test_autocast_around_the_call_is_another_model(model):
    with torch.autocast('cpu', torch.bfloat16): low = fingerprint(model, 'query')
    assert low != fingerprint(model, 'query')

@pytest.mark.parametrize('kind', ['static', 'transformer'])
def test_the_same_model_has_the_same_key_when_used_trained_upon_copied_and_loaded_elsewhere(kind, model, tmp_path):
    if kind == 'static': model = tiny_model(texts)
    model.eval()
    key = fingerprint(model, 'query')
    model.encode_query(texts[:3])
    model.train()
    assert fingerprint(model, 'query') == key
    model.save_pretrained(str(tmp_path/'a'))
    shutil.copytree(tmp_path/'a', tmp_path/'b')
    assert fingerprint(loaded(tmp_path/'b'), 'query') == fingerprint(deepcopy(model), 'query') == key

def test_another_process_that_orders_its_sets_otherwise_finds_the_same_key(saved, tmp_path):
    tiny_model(texts).save_pretrained(str(tmp_path))
    code = f"""from sentence_transformers import SentenceTransformer
from embed_lab.models.vectors import fingerprint
for o in {[str(saved), str(tmp_path)]!r}: print(fingerprint(SentenceTransformer(o, device='cpu', local_files_only=True), 'query'))"""
    out = sh(sys.executable, '-c', code, cwd=tmp_path, PYTHONHASHSEED='1').stdout.split()
    assert out[-2:] == [fingerprint(loaded(o), 'query') for o in (saved, tmp_path)]

@pytest.mark.parametrize('harm', ['cut', 'emptied', 'flipped', 'other', 'no hashes'])
def test_a_broken_shard_is_thrown_away_and_its_texts_encoded(harm, model, asked, tmp_path):
    want = encode_cached(model, texts, 'query', tmp_path)
    path, = tmp_path.glob('*.safetensors')
    data = bytearray(path.read_bytes())
    if harm == 'flipped': data[-5] ^= 1
    if harm == 'no hashes':
        from safetensors.numpy import save
        data = save(dict(vectors=want))
    path.write_bytes(dict(cut=data[:len(data)//2], emptied=b'', other=b'{"not": "a shard"}').get(harm, data))
    asked()
    for n in len(texts), 0:
        np.testing.assert_allclose(encode_cached(model, texts[::-1], 'query', tmp_path), want[::-1], atol=1e-6)
        assert asked() == n and not path.exists()

def test_a_shard_deleted_while_it_is_read_was_never_there(model, asked, tmp_path, monkeypatch):
    encode_cached(model, texts, 'query', tmp_path)
    asked()
    was = vectors.read_shard
    monkeypatch.setattr(vectors, 'read_shard', lambda path, left: (path.unlink(), was(path, left)))
    assert len(encode_cached(model, texts, 'query', tmp_path)) == asked() == len(texts)

def test_what_was_encoded_before_an_interruption_is_kept(model, asked, tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, 'shard_size', 6)
    def stop(done, total):
        if done > 12: raise KeyboardInterrupt # within a shard, which is lost
    with pytest.raises(KeyboardInterrupt): encode_cached(model, texts, 'query', tmp_path, progress=stop)
    assert asked() == 18
    seen = []
    encode_cached(model, texts, 'query', tmp_path, progress=lambda *o: seen.append(o))
    assert asked() == 8 and seen == sorted(seen) and {(0, 20), (6, 20), (12, 20), (18, 20), (20, 20)} == {*seen}

def test_the_folder_stays_within_its_bound_and_loses_what_was_not_used(model, asked, tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, 'shard_size', 4)
    size = lambda: sum(o.stat().st_size for o in tmp_path.iterdir())
    encode_cached(model, texts, 'query', tmp_path)
    for i,o in enumerate(sorted(tmp_path.iterdir())): os.utime(o, (i, i))
    encode_cached(model, texts[:4], 'query', tmp_path)
    asked()
    (tmp_path/'.x.safetensors.tmp').write_bytes(b'half')
    (tmp_path/'.y.safetensors.tmp').write_bytes(b'being written')
    (tmp_path/'notes.txt').write_text('not ours')
    os.utime(tmp_path/'.x.safetensors.tmp', (1, 1))
    prune_cache(tmp_path, most=2 * next(tmp_path.glob('[!.]*.safetensors')).stat().st_size)
    assert len(list(tmp_path.glob('[!.]*.safetensors'))) == 2 and not (tmp_path/'.x.safetensors.tmp').exists()
    assert (tmp_path/'.y.safetensors.tmp').exists() and (tmp_path/'notes.txt').exists()
    encode_cached(model, texts[:4], 'query', tmp_path)
    assert asked() == 0
    monkeypatch.setattr(vectors, 'cache_bytes', 2_000)
    assert len(encode_cached(model, texts, 'document', tmp_path)) == 20 and size() < 2_100

crowd = '''
import sys
from pathlib import Path
import numpy as np
from embed_lab.models import vectors
def encode(model, texts, *rest): return np.array([np.frombuffer(vectors.text_key(t), np.uint8) for t in texts], dtype=np.float32)
vectors.encode, vectors.fingerprint, vectors.shard_size, vectors.cache_bytes = encode, lambda *o: 'one model', 32, 20_000
words, rng = [f'word{i}' for i in range(300)], np.random.default_rng(int(sys.argv[2]))
while not (Path(sys.argv[1])/'go').exists(): pass
for _ in range(40):
    some = [words[i] for i in rng.permutation(300)[:200]]
    np.testing.assert_array_equal(vectors.encode_cached(None, some, 'document', Path(sys.argv[1])/'cache'), encode(None, some))
'''

def test_two_processes_may_write_read_and_prune_the_same_folder(tmp_path):
    both = [subprocess.Popen([sys.executable, '-c', crowd, str(tmp_path), str(i)], stderr=subprocess.PIPE, text=True) for i in (1, 2)]
    (tmp_path/'go').touch()
    for o in both: assert o.wait(120) == 0, o.stderr.read()
    assert sum(o.stat().st_size for o in (tmp_path/'cache').iterdir()) <= 25_000

def test_vectors_that_are_not_finite_are_refused_and_not_kept(model, tmp_path):
    model[0].model.embeddings.word_embeddings.weight.data[:] = torch.nan
    for cache in None, tmp_path:
        with pytest.raises(LabError, match='vectors hold NaN or infinity'): encode_cached(model, texts, 'query', cache)
    assert not list(tmp_path.iterdir())

def test_what_is_no_sentence_transformer_encodes_but_is_not_kept(tmp_path):
    class Letters:
        def encode_query(self, texts, **options): return np.array([[t.count(c) for c in 'aeiou'] for t in texts])
        encode_document = encode_query
    assert encode_cached(Letters(), ['a b', 'e', 'a b'], 'document').tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
    with pytest.raises(LabError, match='encode without `cache`'): encode_cached(Letters(), ['a'], 'query', tmp_path)

@pytest.mark.parametrize('bad,kind,said', [(['a', 3], 'query', 'text 1 of 2 is 3'), ([None], 'query', 'text 0 of 1 is None'), ('a text', 'query', 'give a list of texts'), (['a'], 'passage', "write 'query'")])
def test_bad_input_is_one_line(bad, kind, said, model, tmp_path):
    with pytest.raises(LabError, match=said) as e: encode_cached(model, bad, kind, tmp_path)
    assert '\n' not in str(e.value)

def test_a_folder_that_cannot_be_written_is_named(model, tmp_path):
    (tmp_path/'file').write_text('in the way')
    with pytest.raises(LabError, match='cannot be written'): encode_cached(model, texts, 'query', tmp_path/'file')

def test_no_texts_have_the_shape_of_some(model, tmp_path): assert encode_cached(model, [], 'query', tmp_path).shape == (0, 16)

def test_texts_of_any_kind_are_told_apart(asked, tmp_path):
    odd = ['', ' ', '\ud800', 'é', 'e\u0301', 'x\0', 'x', 'مودم']
    model = tiny_model(texts)
    assert len({vectors.text_key(t) for t in odd}) == len(odd)
    encode_cached(model, [t for t in odd if t != '\ud800'], 'query', tmp_path)
    encode_cached(model, [t for t in odd if t != '\ud800'], 'query', tmp_path)
    assert asked() == len(odd) - 1

# several devices, and other precision

def test_two_processes_encode_as_one_does(model):
    want = encode(model, texts*3, 'query')
    with vectors.device_pool(model, ['cpu', 'cpu']) as make:
        for _ in range(2): np.testing.assert_allclose(make(texts*3, 'query', 8), want, atol=1e-6)
        assert len(_workers()) == 2
        os.kill(_workers()[0], 9)
        with pytest.raises(LabError, match='was ended; lower batch_size'): make(texts, 'query', 8)
    assert not _workers()

def _workers():
    import psutil
    def works(child):
        try: return 'spawn_main' in ' '.join(child.cmdline())
        except psutil.Error: return False # it has just ended
    return [o.pid for o in psutil.Process().children() if works(o)]

def test_precision_is_in_the_key_and_moves_vectors_a_little(model, tmp_path):
    from embed_lab.models.base import set_overrides
    want, key = encode_cached(model, texts, 'query', tmp_path), fingerprint(model, 'query')
    try:
        set_overrides(dict(precision='bf16'))
        low, other = encode_cached(model, texts, 'query', tmp_path), fingerprint(model, 'query')
    finally: set_overrides({})
    assert other != key == fingerprint(model, 'query') and 0 < abs(low - want).max() < .05
    np.testing.assert_array_equal(encode_cached(model, texts, 'query', tmp_path), want)
