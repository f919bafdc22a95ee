"Recipes that change the model: vectors that can be cut, static tables, merged adapters"
import json, shutil, sys

import numpy as np
import pytest
from support import checkpoints, emb, keep_checkpoints, made_lab, manifest, sh, write_manifest
from embed_lab.lab import LabError
from embed_lab.data.reading import read_rows

@pytest.fixture(scope='module')
def lab(tmp_path_factory, data, bert):
    "A lab of the three recipes on a transformer that lies in it"
    path = keep_checkpoints(made_lab(tmp_path_factory.mktemp('models')/'lab', data, 'bert', ('matryoshka', 'static', 'lora')))
    shutil.copytree(bert, path/'bert')
    return path

def loaded(path):
    from sentence_transformers import SentenceTransformer
    return SentenceTransformer(str(path), device='cpu', local_files_only=True)

def cut_and_moved(lab, run, to):
    "The same lab elsewhere, its run killed after the first checkpoint that is left of it"
    shutil.copytree(lab, to/'lab')
    there = to/'lab'/'results'/run.name
    old = manifest(there)
    for k in ('headline', 'outcome', 'end'): old.pop(k)
    write_manifest(there, old | dict(status='running', process=old['process'] | dict(born=0)))
    for o in ('final', 'eval', 'plots'): shutil.rmtree(there/o)
    shutil.rmtree(there/'checkpoints'/f'checkpoint-{checkpoints(there)[-1]}')
    return there

def goes_on(lab, run, args, to):
    "The weights and scores of a run that was cut short are those of the one that was not"
    there = cut_and_moved(lab, run, to)
    left = checkpoints(there)[-1]
    emb('run', *args, cwd=to/'lab')
    assert manifest(there)['resumed'] == f'checkpoint-{left}' and not manifest(there)['torn']
    assert manifest(there)['outcome'] == manifest(run)['outcome']
    assert (there/'eval'/'per_query.jsonl').read_bytes() == (run/'eval'/'per_query.jsonl').read_bytes()

# matryoshka

def test_matryoshka_scores_every_length(lab):
    emb('run', 'exp_04_matryoshka', '-p', 'dims', '[8]', '-p', 'lr', .01, cwd=lab)
    [run] = (lab/'results').glob('exp_04_matryoshka,dims=8,lr=0.01,' + '?'*12) # a list, or a path, is no name: a hash follows
    said, gold = (json.loads((run/'eval'/f'{o}.json').read_text()) for o in ('dimensions', 'gold_metrics'))
    assert [(o['dimension'], o['index']) for o in said['dimensions']] == [(32, 1), (8, .25)]
    for s in ('tuned', 'base'):
        whole, short = (o[s] for o in said['dimensions'])
        assert {k: whole[k] for k in ('mean', 'low', 'high')} == pytest.approx(gold['systems'][s]['ndcg@10'])
        assert short['change']['low'] <= short['change']['mean'] == pytest.approx(short['mean'] - whole['mean'])
    assert (run/'plots'/'dimensions.html').stat().st_size < 50_000 and loaded(run/'final').get_embedding_dimension() == 32
    assert 'MatryoshkaLoss' in (run/'final'/'README.md').read_text()

def test_a_family_is_used_as_it_was_trained(lab):
    "Its prompts are saved in the model; without them on purpose, the run says what is odd"
    shutil.copytree(lab/'bert', lab/'e5-small-v2')
    args = 'exp_04_matryoshka', '-p', 'model', 'e5-small-v2', '-p', 'dims', '[8]', '-p', 'lr', .01
    emb('run', *args, cwd=lab)
    [run] = (lab/'results').glob('exp_04_matryoshka,dims=8,lr=0.01,model=e5-small-v2,*')
    assert manifest(run)['stages']['prompts'] == dict(query='query: ', passage='passage: ', source='E5, https://arxiv.org/abs/2212.03533')
    assert {k: loaded(run/'final').prompts[k] for k in ('query', 'document')} == dict(query='query: ', document='passage: ')
    said = emb('run', *args, '-p', 'query_prompt', '', '-p', 'passage_prompt', '', cwd=lab)
    assert "expects 'query: ' before queries and 'passage: ' before passages, but runs without" in said.stdout + said.stderr

# static

def test_static_trains_a_table_and_goes_on_with_it(lab, tmp_path):
    args = 'exp_05_static', '-p', 'dim', 16, '-p', 'batch_size', 64
    emb('run', *args, cwd=lab)
    run = lab/'results'/'exp_05_static,batch_size=64,dim=16'
    model, dev = loaded(run/'final'), [o['dev'] for o in map(json.loads, (run/'history.jsonl').open()) if 'dev' in o]
    assert type(model[0]).__name__ == 'StaticEmbedding' and str(model.dtype) == 'torch.float32' and model.get_embedding_dimension() == 16
    assert max(dev[1:]) > dev[0] and not manifest(run).get('warnings')
    text = read_rows(lab/'data'/'train.jsonl')[0]['query']
    card = (run/'final'/'README.md').read_text()
    assert text not in card and str(lab) not in card
    goes_on(lab, run, args, tmp_path)

@pytest.fixture
def asked(bert, data):
    "(splits, a run on the transformer)"
    from embed_lab.inventory.datasets import load_splits
    from embed_lab.runs.record import rehearsal
    return load_splits(data), rehearsal(bert)

def test_a_table_from_scratch_knows_train_alone_and_any_character(asked):
    import torch
    from embed_lab.inventory.static import static_model
    splits, run = asked
    model, again = (static_model(splits, run, 'scratch', 8) for _ in range(2))
    assert torch.equal(model[0].embedding.weight, again[0].embedding.weight) and model[0].tokenizer.to_str() == again[0].tokenizer.to_str()
    run.params['seed'] = 7
    assert not torch.equal(model[0].embedding.weight, static_model(splits, run, 'scratch', 8)[0].embedding.weight)
    vecs = model.encode(['', 'Größe ست 中 \u200d🙂', 'return the number of lines'])
    assert np.isfinite(vecs).all() and not vecs[0].any() and vecs[1].any()

def with_tokenizer(tok, bert, texts, trainer):
    "The transformer behind another kind of tokenizer, which puts <s> and </s> around a text"
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast
    tok.train_from_iterator(texts, trainer)
    tok.post_processor = processors.RobertaProcessing(('</s>', tok.token_to_id('</s>')), ('<s>', tok.token_to_id('<s>')))
    model = loaded(bert)
    model[0].processor = PreTrainedTokenizerFast(tokenizer_object=tok, pad_token='<pad>')
    return model

@pytest.mark.parametrize('kind', ['bytes', 'unigram'])
def test_tokens_that_are_spelt_otherwise_get_the_vectors_they_have_in_a_text(kind, bert, data):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from embed_lab.inventory.static import around, ready_model, token_vectors, vocabulary
    texts, special = [o['query'] for o in read_rows(data/'train.jsonl')][:60], ['<s>', '</s>', '<pad>', '<unk>']
    if kind == 'bytes': tok, pre, trainer = Tokenizer(models.BPE()), pre_tokenizers.ByteLevel(), trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    else: tok, pre, trainer = Tokenizer(models.Unigram()), pre_tokenizers.Metaspace(), trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token='<unk>', show_progress=False)
    tok.pre_tokenizer = pre
    base = with_tokenizer(tok, bert, texts, trainer)
    static, word = vocabulary(base), next(o for o in (' the', ' a', ' of') if len(tok.encode(o, add_special_tokens=False).ids) == 1)
    assert around(base) == ([tok.token_to_id('<s>')], [tok.token_to_id('</s>')])
    vecs, [n] = token_vectors(base, static.get_vocab_size()), static.encode(word, add_special_tokens=False).ids
    there = base.encode(word, output_value='token_embeddings').cpu().numpy()
    assert np.allclose(vecs[n], there[1], atol=1e-5) and not np.allclose(vecs[n], there[0], atol=1e-2)
    assert np.isfinite(ready_model(static, vecs, base.device).encode(texts)).all()

def test_what_no_table_can_be_made_of_is_refused(asked, base, bert):
    from embed_lab.inventory.static import static_model, vocabulary
    from embed_lab.runs.record import rehearsal
    from transformers import CanineTokenizer
    splits, run = asked
    with pytest.raises(LabError, match="write 'base' or 'scratch'"): static_model(splits, run, 'Base')
    with pytest.raises(LabError, match='have 32 dimensions'): static_model(splits, run, dim=33)
    with pytest.raises(LabError, match='static one already'): static_model(splits, rehearsal(base))
    model = loaded(bert)
    model[0].processor = CanineTokenizer()
    with pytest.raises(LabError, match='CanineTokenizer.* not a fast one'): vocabulary(model)

# adapters

def test_lora_is_merged_needs_no_peft_and_goes_on(lab, tmp_path):
    args = 'exp_06_lora', '-p', 'rank', 4
    emb('run', *args, cwd=lab)
    run = lab/'results'/'exp_06_lora,rank=4'
    assert not [*(run/'final').rglob('*adapter*')] and [*(run/'checkpoints').glob('*/adapter_model.safetensors')]
    said, model = manifest(run)['trainable'], loaded(run/'final')
    assert said['trainable'] == 2*4*2*4*32 and said['parameters'] - said['trainable'] == sum(o.numel() for o in model.parameters()) and 0 < said['share'] < .1
    code = f"import sys; sys.modules['peft'] = None; from sentence_transformers import SentenceTransformer as S; print(S({str(run/'final')!r}, device='cpu').encode('a text').tolist())"
    assert np.allclose(json.loads(sh(sys.executable, '-c', code, cwd=tmp_path).stdout.splitlines()[-1]), model.encode('a text'), atol=1e-6)
    moved, still = dict(model.named_parameters()), dict(loaded(lab/'bert').named_parameters())
    assert {n for n in moved if not moved[n].equal(still[n])} == {n for n in moved if n.endswith('weight') and ('self' in n or 'attention.output.dense' in n)}
    goes_on(lab, run, args, tmp_path)

def families():
    "Small transformers of several makes, and how many layers their attention has"
    import transformers as tf
    small = dict(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    yield tf.RobertaModel(tf.RobertaConfig(**small, pad_token_id=0)), 4
    yield tf.MPNetModel(tf.MPNetConfig(**small)), 4
    yield tf.DistilBertModel(tf.DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=16)), 4
    yield tf.ModernBertModel(tf.ModernBertConfig(**small, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2)), 2
    yield tf.DebertaV2Model(tf.DebertaV2Config(**small)), 4
    yield tf.Qwen3Model(tf.Qwen3Config(**small, head_dim=8, num_key_value_heads=1)), 4
    yield tf.T5EncoderModel(tf.T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)), 4

def test_attention_is_found_and_merged_in_models_of_several_makes():
    import torch
    from peft import LoraConfig
    from embed_lab.inventory.lora import attention_layers, merge_adapters
    ids = torch.arange(3, 11)[None]
    for net,n in families():
        names = attention_layers(net.eval())
        assert len(names) == n, (type(net).__name__, names)
        def out(): return net(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.detach()
        net.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=names))
        before = out()
        for k,o in net.named_parameters():
            if 'lora_B' in k: torch.nn.init.normal_(o)
        beside, keys = out(), {k for k in net.state_dict() if 'lora' in k}
        model = torch.nn.ModuleDict(dict(net=net))
        model.transformers_model = net
        merge_adapters(model)
        assert len(keys) == 2*n and not any('lora' in k or 'base_layer' in k for k in net.state_dict()), type(net).__name__
        assert torch.allclose(out(), beside, atol=1e-5) and not torch.allclose(before, beside, atol=1e-3), type(net).__name__

def test_without_attention_there_is_nothing_to_adapt(base):
    from embed_lab.inventory.lora import add_adapters
    from embed_lab.runs.record import rehearsal
    with pytest.raises(LabError, match='static one and has no attention'): add_adapters(rehearsal(base), 64, 4)
