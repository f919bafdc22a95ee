"Model families: recognised by name and folder, their prompts carried into vectors, misfits named"
import json, re, shutil
from pathlib import Path
import pytest
from embed_lab.models.families import Conventions, apply_prompts, column_prompts, conventions, families, family_of, saved_pooling
from embed_lab.lab import LabError

e5 = 'query: ', 'passage: '
words = 'hot cold big small up down old new wet dry loud quiet hard soft full empty'.split()
opposite = dict(zip(words, [words[i ^ 1] for i in range(len(words))]))

def tiny(folder):
    "A BERT of one layer, as plain transformers saves it"
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast
    vocab = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ':', 'query', 'passage', *words]
    BertTokenizerFast(vocab={o: i for i,o in enumerate(vocab)}).save_pretrained(str(folder))
    torch.set_num_threads(1), torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(vocab), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        hidden_dropout_prob=0, attention_probs_dropout_prob=0, initializer_range=.2)).save_pretrained(str(folder))
    return Path(folder)

def load(folder):
    from sentence_transformers import SentenceTransformer
    return SentenceTransformer(str(folder), device='cpu', local_files_only=True)

@pytest.fixture(scope='module')
def bare(tmp_path_factory): return tiny(tmp_path_factory.mktemp('bare'))

@pytest.fixture
def saved(bare, tmp_path):
    "Save the model with another pooling, with or without normalisation"
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
    def save(name, pooling='mean', unit=True, similarity=None, **files):
        modules = [load(bare)[0], Pooling(32, pooling)] + [Normalize()]*unit
        SentenceTransformer(modules=modules, device='cpu', local_files_only=True, similarity_fn_name=similarity).save_pretrained(str(tmp_path/name))
        (tmp_path/name/'README.md').unlink()
        for k,v in files.items(): (tmp_path/name/k.replace('__', '.')).write_text(v)
        return tmp_path/name
    return save

def lines(*args, **kw): return conventions(*args, **kw).warnings

# the table

members = {'E5': ['intfloat/e5-small', 'intfloat/e5-large-v2', 'intfloat/e5-base-unsupervised'], 'multilingual E5': ['intfloat/multilingual-e5-small'],
    'multilingual E5 (instruct)': ['intfloat/multilingual-e5-large-instruct'], 'E5 on Mistral': ['intfloat/e5-mistral-7b-instruct'],
    'BGE (English)': ['BAAI/bge-small-en-v1.5', 'BAAI/bge-large-en', 'Xenova/bge-base-en-v1.5'], 'BGE (Chinese)': ['BAAI/bge-small-zh-v1.5'], 'BGE-M3': ['BAAI/bge-m3'],
    'GTE v1': ['thenlper/gte-small'], 'GTE v1 (Chinese)': ['thenlper/gte-base-zh'], 'GTE v1.5': ['Alibaba-NLP/gte-large-en-v1.5'], 'GTE ModernBERT': ['Alibaba-NLP/gte-modernbert-base'],
    'Nomic embed v1': ['nomic-ai/nomic-embed-text-v1'], 'Nomic embed v1.5': ['nomic-ai/nomic-embed-text-v1.5'], 'Nomic embed v2': ['nomic-ai/nomic-embed-text-v2-moe'],
    'Jina v2': ['jinaai/jina-embeddings-v2-base-code'], 'Jina v3': ['jinaai/jina-embeddings-v3'], 'Jina v5 text': ['jinaai/jina-embeddings-v5-text-nano'],
    'Qwen3-Embedding': ['Qwen/Qwen3-Embedding-0.6B'], 'EmbeddingGemma': ['google/embeddinggemma-300m'], 'Stella v5': ['NovaSearch/stella_en_400M_v5', 'NovaSearch_stella_en_1.5B_v5'],
    'Arctic Embed 1': ['Snowflake/snowflake-arctic-embed-m'], 'Arctic Embed 1.5': ['Snowflake/snowflake-arctic-embed-m-v1.5'], 'Arctic Embed 2': ['Snowflake/snowflake-arctic-embed-l-v2.0'],
    'mxbai large': ['mixedbread-ai/mxbai-embed-large-v1'], 'Granite 1': ['ibm-granite/granite-embedding-30m-english'], 'Granite 2': ['ibm-granite/granite-embedding-small-english-r2'],
    'all-*': ['sentence-transformers/all-MiniLM-L6-v2', 'all-mpnet-base-v2'], 'multi-qa MPNet (dot)': ['multi-qa-mpnet-base-dot-v1'], 'msmarco v5 (dot)': ['msmarco-bert-base-dot-v5'],
    'paraphrase-*': ['paraphrase-multilingual-MiniLM-L12-v2'], 'static MRL': ['sentence-transformers/static-retrieval-mrl-en-v1'], 'Model2Vec': ['minishlab/potion-base-8M']}

@pytest.mark.parametrize('name', members)
def test_members(name): assert [getattr(family_of(o), 'name', None) for o in members[name]] == [name]*len(members[name])

@pytest.mark.parametrize('model', ['', '.', 'final', 'e5', 'models/3be5-small', 'a1e5-base', 'results/exp_e5-small,seed=1/final', 'acme/e5-small-v2-support', 'snapshots/9e5a7b0e5', 'bert-base-uncased',
    'BAAI/bge-reranker-base', 'Qwen/Qwen3-Embedding', 'acme/our-gte-base'])
def test_strangers(model): assert family_of(model) is None and conventions(model, max_length=99_999) == Conventions()

def test_table():
    assert len({o.name for o in families}) == len(families) > 35
    for o in families:
        assert re.fullmatch(r'(arxiv\.org|huggingface\.co|www\.sbert\.net|github\.com)/\S+', o.source), o.name
        assert o.pooling in ('cls', 'mean', 'lasttoken', 'none', None) and o.similarity in ('cosine', 'dot'), o.name
        assert o.temperature is None or 0 < o.temperature < 1, o.name
    cells = {len(re.findall(r'(?<!\\)\|', o)) for o in families._repr_markdown_().splitlines()}
    assert cells == {10} # also where a prompt holds a bar

# recognised by the folder

cards = ['base_model: intfloat/e5-small-v2', 'base_model:\n- intfloat/e5-small-v2', "base_model: ['intfloat/e5-small-v2']", 'base_model: "intfloat/e5-small-v2"\ntags:\n- gte-base', 'license: mit\nmodel-index:\n- name: e5-small-v2\n  results: []']
@pytest.mark.parametrize('card', cards)
def test_card(tmp_path, card):
    (tmp_path/'README.md').write_text(f'---\n{card}\n---\n# base_model: BAAI/bge-m3\n')
    assert family_of('acme/mine', tmp_path).name == family_of(tmp_path).name == 'E5'

@pytest.mark.parametrize('card', ['tags:\n- intfloat/e5-small-v2', 'base_model:\n- intfloat/e5-small\n- BAAI/bge-m3', 'base_model: acme/e5', 'base_model:'])
def test_card_of_none(tmp_path, card):
    (tmp_path/'README.md').write_text(f'---\n{card}\n---\nbase_model: intfloat/e5-small\n')
    assert family_of(tmp_path) is None

def test_config(tmp_path):
    (tmp_path/'config.json').write_text(json.dumps(dict(_name_or_path='/root/.cache/torch/sentence_transformers/BAAI_bge-small-en/')))
    assert family_of(tmp_path).name == 'BGE (English)'
    (tmp_path/'config.json').write_text(json.dumps(dict(_name_or_path=None)))
    (tmp_path/'adapter_config.json').write_text(json.dumps(dict(base_model_name_or_path='intfloat/e5-base')))
    assert family_of(tmp_path).name == 'E5'

def test_hub_cache(tmp_path):
    path = tmp_path/'models--intfloat--multilingual-e5-small'/'snapshots'/('e5'*20)
    path.mkdir(parents=True)
    assert family_of(path).name == 'multilingual E5'

# which prompts

def test_order(saved):
    asked = conventions('intfloat/e5-small-v2')
    assert (asked.query, asked.passage, asked.warnings) == (*e5, ()) and asked.source == 'E5, https://arxiv.org/abs/2212.03533'
    path = saved('e5-small-v2')
    model = load(path)
    model.prompts = {'query': 'Q: ', 'document': 'D: '}
    model.save_pretrained(str(path))
    assert (asked := conventions('intfloat/e5-small-v2', path)) == Conventions('Q: ', 'D: ', 'saved in the model')
    asked = conventions('intfloat/e5-small-v2', path, ('a: ', 'b: '))
    assert (asked.query, asked.passage, asked.source) == ('a: ', 'b: ', 'given')
    assert conventions('intfloat/e5-small-v2', path, ('a: ', None)).passage == 'D: '

def test_none_on_purpose():
    line, = lines('intfloat/e5-small-v2', prompts=('', ''))
    assert "'query: ' before queries and 'passage: ' before passages" in line and 'query_prompt' in line
    line, = lines('BAAI/bge-small-en-v1.5', prompts=('', ''))
    assert 'before queries, but runs without' in line
    assert not lines('BAAI/bge-m3', prompts=('', '')) and not lines('acme/mine', prompts=('', ''))

def test_white_space():
    line, = lines('intfloat/e5-small-v2', prompts=('query:', 'passage: '))
    assert "not 'query:'" in line
    with pytest.raises(LabError, match='a pair'): conventions('intfloat/e5-small-v2', prompts='query: ')

def test_given_twice(saved):
    from embed_lab.training.weights import base_model
    from embed_lab.runs.record import rehearsal
    with pytest.raises(LabError, match='keep one of the two'): base_model(rehearsal(saved('mine'), query_prompt='q: '), 32, True)

def test_tuned_copy(saved):
    path = saved('mine', README__md='---\nbase_model: intfloat/e5-small-v2\n---\n')
    asked = conventions(path)
    assert (asked.query, asked.passage) == e5 and [o for o in asked.warnings if 'tuned from E5' in o]
    assert not [o for o in lines(path, prompts=e5) if 'tuned from' in o]

def test_saved_as_passage(saved):
    "The library gives every model an empty `document`, which hides a saved `passage`"
    path = saved('mine')
    model = load(path)
    model.prompts = {'query': e5[0], 'passage': e5[1]}
    model.save_pretrained(str(path))
    model = load(path)
    assert (model.encode_document('hot') == model.encode('hot')).all()
    apply_prompts(model, conventions(path))
    assert (model.encode_document('hot') == model.encode('passage: hot')).all() and (model.encode_document('hot') != model.encode('hot')).any()

# misfits

def test_pooling(saved, bare):
    for name, right, wrong in (('bge-small-en-v1.5', 'cls', 'mean'), ('e5-small-v2', 'mean', 'cls'), ('Qwen3-Embedding-0.6B', 'lasttoken', 'mean')):
        assert not lines(name, saved(f'{name}-right', right))
        line, = lines(name, saved(f'{name}-wrong', wrong))
        assert f"pooling_mode '{right}'" in line
        assert not lines('acme/mine', saved(f'mine-{wrong}', wrong))
    assert 'for want of a modules.json' in lines('bge-small-en-v1.5', bare)[0]
    assert not [o for o in lines('e5-small-v2', bare) if 'pooling' in o]

def test_older_pooling(saved):
    path = saved('old')
    flags = dict(pooling_mode_cls_token=True, pooling_mode_mean_tokens=False, pooling_mode_max_tokens=False, pooling_mode_lasttoken=False)
    (path/'1_Pooling'/'config.json').write_text(json.dumps(dict(word_embedding_dimension=32, **flags)))
    assert saved_pooling(path) == 'cls' and not lines('bge-base-en', path) and lines('e5-base', path)
    (path/'1_Pooling'/'config.json').write_text(json.dumps(flags | dict(pooling_mode_mean_tokens=True)))
    assert saved_pooling(path) == 'cls+mean'

def test_normalisation_and_similarity(saved):
    line, = lines('e5-small-v2', saved('a', unit=False))
    assert 'no Normalize module' in line
    line, = lines('multi-qa-mpnet-base-dot-v1', saved('b', 'cls', unit=False))
    assert 'trained for dot' in line
    assert not lines('multi-qa-mpnet-base-dot-v1', saved('c', 'cls', unit=False, similarity='dot'))
    assert [o for o in lines('e5-small-v2', saved('d', unit=False, similarity='dot')) if 'trained for cosine' in o]

def test_length(saved):
    assert '512 tokens' in lines('intfloat/e5-small-v2', max_length=513)[0] and not lines('intfloat/e5-small-v2', max_length=512)
    path = saved('all-MiniLM-L6-v2', sentence_bert_config__json='{"max_seq_length": 256}')
    assert '256 tokens' in lines(path, max_length=257)[0] and not lines(path, max_length=256)

def test_minilm():
    from embed_lab.models.base import minilm, packaged
    path = packaged() or pytest.skip('the package is not installed')
    asked = conventions(minilm, path, max_length=256)
    assert (asked.query, asked.passage, asked.warnings) == ('', '', ())

def test_broken_folder(saved):
    path = saved('torn', modules__json='[')
    with pytest.raises(LabError, match='modules.json is not JSON'): conventions('e5-small', path)

# prompts reach the vectors, from training to the next load

def score(model):
    "Share of words whose opposite comes first, by the library's own evaluator"
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
    queries, docs = {w: w for w in words}, {w: w for w in words}
    return InformationRetrievalEvaluator(queries, docs, {w: {o} for w,o in opposite.items()}, accuracy_at_k=[1], write_csv=False)(model)['cosine_accuracy@1']

def tune(folder, out, prompts):
    "The library's trainer on words and their opposites"
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    model = load(folder)
    rows = Dataset.from_dict(dict(query=list(opposite), passage=list(opposite.values()), negative_1=list(opposite)))
    args = SentenceTransformerTrainingArguments(str(out), max_steps=120, per_device_train_batch_size=len(words), learning_rate=2e-3, lr_scheduler_type='constant', use_cpu=True, save_strategy='no',
        report_to='none', disable_tqdm=True, prompts=column_prompts(dict(query=prompts.query, document=prompts.passage), rows.column_names), logging_strategy='no')
    SentenceTransformerTrainer(model, args, train_dataset=rows, loss=MultipleNegativesRankingLoss(model)).train()
    return model

def test_vectors(bare, tmp_path):
    shutil.copytree(bare, tmp_path/'e5-small-v2')
    asked = conventions(tmp_path/'e5-small-v2')
    assert column_prompts(dict(query=asked.query, document=asked.passage), ['query', 'passage', 'negative_1', 'negative_12', 'label', 'score']) == dict(query=e5[0], passage=e5[1], negative_1=e5[1], negative_12=e5[1])
    model = tune(tmp_path/'e5-small-v2', tmp_path/'run', asked)
    assert score(model) < .2                   # trained with prompts, used without
    assert score(apply_prompts(model, asked)) == 1 # trained and used with them
    model.save_pretrained(str(tmp_path/'final'))
    again = load(tmp_path/'final')
    assert score(again) == 1                   # and whoever loads it next
    assert conventions(tmp_path/'final').source == 'saved in the model'
    none = conventions(tmp_path/'e5-small-v2', prompts=('', ''))
    assert column_prompts(dict(query=none.query, document=none.passage), ['query', 'passage']) == {}
    assert score(apply_prompts(tune(tmp_path/'e5-small-v2', tmp_path/'other', none), none)) == 0 # a word is nearest to itself

def test_light():
    import subprocess, sys
    code = "import sys, embed_lab.models.families; print([o for o in ('torch', 'numpy', 'sentence_transformers', 'pandas') if o in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'

# pooling that nobody has said

def test_a_pooling_that_is_guessed_is_said_once_before_training(bare, saved, tmp_path):
    from embed_lab.runs.record import rehearsal
    from embed_lab.training.weights import base_model
    copy, whole = shutil.copytree(bare, tmp_path/'copy'), saved('whole')
    for o in (bare, copy): assert [re.sub('^.* has', 'has', l) for l in lines('acme/mine', o)] == ['has no modules.json, so its pooling is a guess: the mean of all tokens; if it was trained with another one, copy the whole model']
    config = json.loads((copy/'config.json').read_text())
    (copy/'config.json').write_text(json.dumps(config | dict(architectures=['Qwen3ForCausalLM'])))
    assert 'a guess: the last token;' in lines('acme/mine', copy)[0]
    assert not lines('acme/mine', whole) and not [o for o in lines('intfloat/e5-small-v2', bare) if 'a guess' in o]
    assert 'reads the mean of all tokens, for want of a modules.json' in lines('BAAI/bge-small-en-v1.5', bare)[0] # a family's own is known
    for prompted in (False, True):
        run = rehearsal(bare)
        with pytest.warns(UserWarning, match='its pooling is a guess'): base_model(run, 32, prompted), base_model(run, 32, prompted)
        assert len(run.manifest['warnings']) == 1

def test_a_folder_that_leaves_its_pooling_out_is_refused(saved):
    from embed_lab.models.base import load_model
    path = saved('whole', unit=False)
    modules = json.loads((path/'modules.json').read_text())
    (path/'modules.json').write_text(json.dumps(modules[:1]))
    with pytest.raises(LabError, match='whole has no pooling in its modules.json, so it gives no vector of a text; copy the whole model$'): load_model(path)
    (path/'modules.json').write_text(json.dumps(modules))
    shutil.rmtree(path/'1_Pooling')
    with pytest.raises(LabError, match='the model does not load'): load_model(path)

def test_the_check_and_the_run_read_the_same_length(bert, tmp_path):
    from sentence_transformers import SentenceTransformer
    from embed_lab.data.profile import _token_limit
    from embed_lab.models.families import saved_length
    model = SentenceTransformer(str(bert), device='cpu', local_files_only=True)
    model.max_seq_length = 20
    model.save_pretrained(str(tmp_path))
    assert _token_limit(tmp_path) == saved_length(tmp_path) == 20
