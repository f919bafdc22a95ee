"What leaves the lab is what other readers look for: our library to equal bits, plain transformers by the config, and what servers require"
import json
import numpy as np, pytest, torch, transformers as tf
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from embed_lab.models.base import load_model, tiny_model, tiny_transformer
from embed_lab.models.canary import canary_texts, plain_vectors, read_canary, stamp, write_canary
from embed_lab.models.crossencoders import load_cross_encoder
from embed_lab.models.portable import make_portable
from embed_lab.training.weights import save_model
from embed_lab.runs.record import rehearsal

texts = canary_texts(64)

def saved(model, folder, length=None):
    model.save_pretrained(str(folder), create_model_card=False)
    return make_portable(folder, length)

def said(path): return json.loads(path.read_text())

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "A transformer that reads 64 tokens, with prompts"
    folder, model = tmp_path_factory.mktemp('made')/'final', tiny_transformer([*texts, 'query passage :'])
    model.max_seq_length, model.prompts = 64, dict(query='query: ', document='passage: ')
    assert saved(model, folder, 64) == []
    write_canary(folder, model)
    return model, folder

def test_our_library_reads_it_to_equal_bits(made):
    model, folder = made
    again = load_model(folder)
    assert again.max_seq_length == 64 and again.prompts == model.prompts and again.similarity_fn_name == 'cosine'
    for side,make in dict(query=again.encode_query, passage=again.encode_document).items():
        assert np.array_equal(make(texts), (model.encode_query if side == 'query' else model.encode_document)(texts, normalize_embeddings=True))
        assert np.array_equal(plain_vectors(again, texts, side), read_canary(folder).vectors(side))

def test_saving_it_again_is_portable_again(made, tmp_path):
    _, folder = made
    assert saved(load_model(folder), tmp_path/'again', 64) == []
    for o in ('modules.json', '1_Pooling/config.json', 'sentence_bert_config.json', 'config.json'): assert said(tmp_path/'again'/o) == said(folder/o), o
    assert stamp(tmp_path/'again') == stamp(folder)

def test_plain_transformers_with_mean_pooling_by_the_config(made):
    _, folder = made
    settings, length = said(folder/'1_Pooling'/'config.json'), said(folder/'sentence_bert_config.json')['max_seq_length']
    assert [k for k,v in settings.items() if k.startswith('pooling_mode_') and v] == ['pooling_mode_mean_tokens']
    tok, net = tf.AutoTokenizer.from_pretrained(folder), tf.AutoModel.from_pretrained(folder).eval()
    batch = tok(['query: ' + o for o in texts], padding=True, truncation=True, max_length=length, return_tensors='pt')
    with torch.no_grad(): hidden, mask = net(**batch).last_hidden_state, batch['attention_mask'][...,None].float()
    vecs = torch.nn.functional.normalize((hidden*mask).sum(1)/mask.sum(1)).numpy()
    assert (vecs * read_canary(folder).vectors('query')).sum(1).min() > .99999

# what text-embeddings-inference requires of a folder, after its router at 1.9

def tei(folder):
    "How TEI would serve a folder: its kind, pooling and maximal length; raises where it would not start"
    config, found = said(folder/'config.json'), {}
    assert isinstance(config['model_type'], str) and isinstance(config['max_position_embeddings'], int) and config['architectures']
    assert (folder/'tokenizer.json').is_file()
    if config['architectures'][0].endswith('Classification'):
        assert all(isinstance(o, int) for o in config['label2id'].values())
        return 'reranker' if len(config['id2label']) == 1 else 'classifier'
    flags = {k: said(folder/'1_Pooling'/'config.json')[f'pooling_mode_{k}'] for k in ('cls_token', 'mean_tokens', 'max_tokens', 'mean_sqrt_len_tokens')}
    assert all(type(o) is bool for o in flags.values())
    pooling = next(o for o in ('cls_token', 'mean_tokens') if flags[o])
    prompts = said(folder/'config_sentence_transformers.json')['prompts']
    assert all(isinstance(o, str) for o in prompts.values())
    length = said(folder/'sentence_bert_config.json')['max_seq_length']
    assert type(length) is int and length > 0
    heads = [o for o in said(folder/'modules.json') if o['type'] == 'sentence_transformers.models.Dense']
    return pooling, length, len(heads)

def test_what_tei_requires(made, tmp_path):
    assert tei(made[1]) == ('mean_tokens', 64, 0)
    model = tiny_transformer(texts)
    saved(SentenceTransformer(modules=[model[0], Pooling(32, 'cls'), Dense(32, 8)], device='cpu'), tmp_path/'cls', 128)
    assert tei(tmp_path/'cls') == ('cls_token', 128, 1)
    model.save_pretrained(str(tmp_path/'plain'), create_model_card=False)
    with pytest.raises(KeyError): tei(tmp_path/'plain') # which is why all this is done

def test_older_versions_get_no_argument_that_they_do_not_take(made, tmp_path):
    "The signatures of sentence-transformers 3.4: `Pooling`, `Transformer` and `Dense` are called with all that their files hold"
    model = tiny_transformer(texts)
    saved(SentenceTransformer(modules=[*model, Dense(32, 8)], device='cpu'), tmp_path/'dense', 64)
    flags = {f'pooling_mode_{o}' for o in ('cls_token', 'max_tokens', 'mean_tokens', 'mean_sqrt_len_tokens', 'weightedmean_tokens', 'lasttoken')}
    assert said(tmp_path/'dense'/'1_Pooling'/'config.json').keys() == {'word_embedding_dimension', 'pooling_mode', 'include_prompt'} | flags
    assert said(tmp_path/'dense'/'sentence_bert_config.json').keys() == {'max_seq_length', 'do_lower_case'}
    assert said(tmp_path/'dense'/'2_Dense'/'config.json').keys() == {'in_features', 'out_features', 'bias', 'activation_function'}
    assert said(tmp_path/'dense'/'tokenizer_config.json')['tokenizer_class'] == 'PreTrainedTokenizerFast'
    assert {o['type'].rpartition('.')[0] for o in said(tmp_path/'dense'/'modules.json')} == {'sentence_transformers.models'}

def test_several_poolings_at_once_keep_their_flags(tmp_path):
    model = SentenceTransformer(modules=[tiny_transformer(texts)[0], Pooling(32, ('cls', 'mean'))], device='cpu')
    model.max_seq_length = 64
    saved(model, tmp_path/'both', 64)
    settings = said(tmp_path/'both'/'1_Pooling'/'config.json')
    assert 'pooling_mode' not in settings and settings['pooling_mode_cls_token'] and settings['pooling_mode_mean_tokens']
    assert np.array_equal(load_model(tmp_path/'both').encode(texts), model.encode(texts, normalize_embeddings=True))

def test_vectors_compared_by_dot_products_keep_their_lengths(tmp_path):
    model = tiny_transformer(texts)
    model.similarity_fn_name = 'dot'
    saved(model, tmp_path/'dot', 64)
    assert [o['type'].rpartition('.')[2] for o in said(tmp_path/'dot'/'modules.json')] == ['Transformer', 'Pooling']
    model.max_seq_length = 64
    assert np.array_equal(load_model(tmp_path/'dot').encode(texts), model.encode(texts))

def other_nets():
    small = dict(vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, initializer_range=.2)
    yield 'modernbert', tf.ModernBertModel(tf.ModernBertConfig(**small, pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3)), dict(global_rope_theta=160000., local_rope_theta=10000.)
    yield 'qwen3', tf.Qwen3Model(tf.Qwen3Config(**small, head_dim=8, num_key_value_heads=1, rope_parameters=dict(rope_theta=1e6, rope_type='default'))), dict(rope_theta=1e6)

@pytest.mark.parametrize('name,net,bases', [*other_nets()], ids=lambda o: o if isinstance(o, str) else '')
def test_rotary_positions_are_told_in_both_ways(name, net, bases, tmp_path):
    tok = tiny_transformer(['one two three']).tokenizer
    tok.add_special_tokens(dict(additional_special_tokens=['<one>', '<two>']))
    for o in net, tok: o.save_pretrained(tmp_path/'net')
    model = SentenceTransformer(modules=[Transformer(str(tmp_path/'net')), Pooling(16)], device='cpu')
    saved(model, tmp_path/'final', 64)
    config, before = said(tmp_path/'final'/'config.json'), said(tmp_path/'net'/'config.json')
    assert {k: config[k] for k in bases} == bases and config['rope_parameters'] == before['rope_parameters']
    assert isinstance(said(tmp_path/'final'/'tokenizer_config.json').get('extra_special_tokens', {}), dict)
    model.max_seq_length = 64
    again, some = load_model(tmp_path/'final'), ['one two <one> three', 'three '*90]
    assert again[0].model.config.rope_parameters == net.config.rope_parameters
    assert np.array_equal(again.encode(some), model.encode(some, normalize_embeddings=True))

def test_a_reranker_says_how_its_score_is_squashed(tmp_path):
    model = tiny_transformer(texts)
    model.save_pretrained(str(tmp_path/'bert'), create_model_card=False)
    reranker = CrossEncoder(str(tmp_path/'bert'), num_labels=1, device='cpu', activation_fn=torch.nn.Identity())
    assert saved(reranker, tmp_path/'final') == []
    assert said(tmp_path/'final'/'config.json')['sentence_transformers'] == dict(activation_fn='torch.nn.modules.linear.Identity')
    pairs = [('amber', texts[0]), ('reset', texts[1])]
    assert np.allclose(load_cross_encoder(tmp_path/'final').predict(pairs), reranker.predict(pairs), atol=1e-6) and tei(tmp_path/'final') == 'reranker'

def test_a_static_model_says_who_reads_it(tmp_path):
    model = tiny_model(texts)
    assert 'from version 5 on' in saved(model, tmp_path/'final')[0]
    write_canary(tmp_path/'final', model)
    assert np.array_equal(load_model(tmp_path/'final').encode(texts), model.encode(texts, normalize_embeddings=True))

def test_a_model_that_would_be_read_otherwise_is_saved_as_before_and_the_run_says_so(tmp_path, monkeypatch):
    from embed_lab.training import weights
    base, model = tmp_path/'base', tiny_transformer(texts)
    model.save_pretrained(str(base))
    def broken(folder, *args):
        path = folder/'1_Pooling'/'config.json'
        path.write_text(path.read_text().replace('"mean"', '"cls"'))
    monkeypatch.setattr(weights, 'make_portable', broken)
    run = rehearsal(base)
    save_model(model, [], run)
    assert 'loads to other vectors' in run.manifest['warnings'][0] and not (run.final/'canary.json').exists() and load_model(run.final)[1].pooling_mode == 'mean'

def test_a_run_leaves_a_canary_with_its_bases_vectors(tmp_path):
    base, model = tmp_path/'base', tiny_transformer(texts)
    model.save_pretrained(str(base))
    for o in model[0].parameters(): o.data *= 1.1
    run = rehearsal(base)
    save_model(model, [], run)
    canary = read_canary(run.final)
    assert np.allclose(canary.base_vectors(), load_model(base).encode(canary.texts[:8], normalize_embeddings=True), atol=1e-6) and canary.stamp == stamp(run.final)
