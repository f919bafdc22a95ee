"Texts of every script: how BM25 cuts and ranks them, and what is said where there are no words"
import json, re, shutil, sys, unicodedata
import bm25s, numpy as np, pytest
from hypothesis import given, settings, strategies as st
from embed_lab.cli.lab_commands import _score_rows
from embed_lab.data.check import check_folder
from embed_lab.data.files import write_rows
from embed_lab.data.metrics import measures
from embed_lab.data.profile import multilingual_models, unknown_in_folder
from embed_lab.data.task import Task
from embed_lab.data.texts import search_words
from embed_lab.evaluation.scores import Scores
from embed_lab.inventory.datasets import Splits, to_dataset
from embed_lab.inventory.evaluate import conclude
from embed_lab.inventory.train import train
from embed_lab.lab import LabError
from embed_lab.models.base import tiny_model
from embed_lab.models.bm25 import _Numbers, search_bm25
from embed_lab.models.families import family_of
from embed_lab.runs.card import _scores
from embed_lab.runs.record import rehearsal
from support import root

@pytest.fixture(scope='module')
def bench():
    sys.path.insert(0, str(root/'bench'))
    try:
        import bm25
        yield bm25
    finally: sys.path.remove(str(root/'bench'))

def ranked(asked, *docs):
    "Places of documents, best first"
    found = search_bm25(Task(dict(q=asked), {str(i): o for i,o in enumerate(docs)}, {}))
    return [int(d) for d,_ in found['q']]

# words

@pytest.mark.parametrize('text, words', [
    ('R', ['r']), ('C++ or C#?', ['c', 'or', 'c']), ('snake_case', ['snake', 'case']), ('don’t', ['don', 't']), ('½ l', ['1', '2', 'l']),
    ('हिन्दी में', ['हिन्दी', 'में']), ('যুক্তাক্ষর', ['যুক্তাক্ষর']), ('தமிழ் மொழி', ['தமிழ்', 'மொழி']), ('עִבְרִית', ['עִבְרִית']), ('العَرَبِيّة', ['العَرَبِيّة']),
    ('ไฟดับ', ['ไฟ', 'ฟด', 'ดั', 'ับ']), ('ខ្មែរ', ['ខ្', '្ម', 'មែ', 'ែរ']), ('မြန်မာ', ['မြ', 'ြန', 'န်', '်မ', 'မာ']), ('ລາວ', ['ລາ', 'າວ']),
    ('ルーター', ['ルー', 'ータ', 'ター']), ('공유기를 켜', ['공유', '유기', '기를', '켜']), ('茶', ['茶']), ('人々', ['人々', '人', '々']), ('iPhone手机壳', ['iphone', '手机', '机壳', '手', '机', '壳'])])
def test_words_of_a_script(text, words): assert sorted(search_words(text)) == sorted(words)

@pytest.mark.parametrize('text', ['', ' ', '?!', '★★★★★', '👍🏽', '❤️', '👨‍👩‍👧', '🇫🇷', '→ + = $', '。、・', '\u0301', '\u200b'])
def test_symbols_are_no_words(text): assert search_words(text) == []

scripts = 'aé ßR_1-/+ÀñđЖжمیпनिंกำ茶ルｶﾞ공ᄒ̈́ﬁ①Ａ　\u200c\u00ad👍️.,'

@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(scripts, max_size=12), st.text(scripts, max_size=12))
def test_words_depend_on_the_text_and_not_on_how_it_is_typed(a, b):
    words = search_words(a)
    for form in ('NFC', 'NFD', 'NFKC', 'NFKD'): assert search_words(unicodedata.normalize(form, a)) == words
    assert all(w and not w.isspace() for w in words) and sorted(search_words(f'{a} {b}')) == sorted(words + search_words(b))
    assert sorted(search_words(a + ' é')) == sorted(words + ['é'])  # as ASCII and as Unicode

def test_a_text_is_numbered_as_it_is_cut():
    numbers = _Numbers({'the'})
    texts = ['the R of C', 'Le CAFÉ  et\u00a0le thé, the\u3000茶', '怎样重置我的路由器？' * 9, '👍']
    names = [numbers.of(o) for o in texts] and {n: w for w,n in numbers.vocabulary.items()}
    assert [sorted(names[n] for n in numbers.of(o)) for o in texts] == [sorted(w for w in search_words(o) if w != 'the') for o in texts]

# ranking

@pytest.mark.parametrize('language', ['zh', 'ja', 'th', 'hi', 'de', 'ko'])
def test_no_script_is_left_behind(bench, language):
    task = bench.made_task(language)
    was, now, pairs = (bench.score(task, find(task)) for find in (bench.before, bench.after, bench.bigrams))
    assert now > pairs - .01 and now > was - .005 and now > .7

def test_what_is_typed_otherwise_is_found():
    assert ranked('ＣＡＦÉ', 'tea', 'Le cafe\u0301 noir', 'a') == [1]
    assert ranked('R', 'the C book', 'the R book') == [1] and ranked('猫', '犬が好き', '猫が好き') == [1] and ranked('ﾙｰﾀｰ', '洗濯機', 'ルーターの交換') == [1]
    assert ranked('router 重置', '重置打印机', 'Reset: 重置 router', 'router') [0] == 1

def test_few_passages_are_ranked_too():
    "Robertson's idf is 0 for a word in half of the passages, which left nothing of two"
    assert ranked('reset the router', 'pair it', 'reset it') == [1] and ranked('one', 'one', 'one') == [0, 1]

def test_ranking_is_bm25s_own_and_ties_do_not_go_by_the_order_of_the_corpus():
    from embed_lab.models.search import tie_order
    rng = np.random.default_rng(0)
    words = np.array([f'w{i}' for i in range(40)])
    def texts(n, k): return [' '.join(rng.choice(words, rng.integers(1, k))) for _ in range(n)]
    task = Task({f'q{i}': t for i,t in enumerate(texts(30, 5))}, {f'd{i}': t for i,t in enumerate(texts(300, 9))}, {})
    index, places = bm25s.BM25(method='lucene'), tie_order(task.corpus)
    index.index([o.split() for o in task.corpus.values()], show_progress=False)
    for q,hits in search_bm25(task, 20).items():
        scores = index.get_scores(task.queries[q].split())
        best = sorted(np.flatnonzero(scores > 0), key=lambda i: (-scores[i], places[i]))[:20]
        assert [d for d,_ in hits] == [f'd{i}' for i in best] and [s for _,s in hits] == pytest.approx(scores[best].tolist())

def test_stop_words_go_where_questions_are_english():
    docs = 'for f in a; do it', 'ls -l', 'die Frau will in die Stadt'
    assert 0 not in ranked('for the files in the folder', *docs) and ranked('ls for the files', *docs) == [1]
    assert ranked('was will die Frau', *docs) == [2]
    assert search_bm25(Task(dict(q='of the'), dict(a='of', b='the'), {})) is None

# nothing to search by

@pytest.mark.parametrize('query, passage', [('👍', '★★★★★'), ('great', '👍'), ('👍', 'great')])
def test_what_cannot_be_computed_is_said(query, passage, tmp_path):
    task = Task({f'q{i}': query for i in range(3)}, {f'd{i}': passage + '!'*i for i in range(3)}, {f'q{i}': {f'd{i}': 1} for i in range(3)})
    run, hits = rehearsal(tmp_path), {f'q{i}': [(f'd{i}', 1.)] for i in range(3)}
    with pytest.warns(UserWarning, match='cannot be scored'): scores = conclude(task, dict(tuned=hits, base=hits), run, {})
    assert scores.missing == ('bm25', 'fused') and [*scores.systems] == ['tuned', 'base', 'oracle']
    assert [o for o in run.manifest['warnings'] if 'BM25 and tuned with BM25 cannot be scored' in o]
    assert 'no words' in scores._repr_html_() and 'cannot be scored' in repr(scores)
    metrics, line = json.loads((run.eval/'gold_metrics.json').read_text()), json.loads((run.eval/'per_query.jsonl').read_text().splitlines()[0])
    assert metrics['missing'] == ['bm25', 'fused'] and 'bm25' not in line
    row, = _score_rows([('run', dict(status='completed', headline=scores.headline()))])
    assert row['BM25'] == 'no words' and row['nDCG@10'] == '1.000'
    assert '| BM25 | no words |' in _scores(metrics['systems'], metrics['missing'])

def test_nothing_is_missing_elsewhere():
    scores = Scores({s: {'q': dict.fromkeys(measures, 1.)} for s in ('tuned', 'base')}, 1, 1)
    assert scores.missing == () and scores.no_words == '' and 'missing' not in scores.to_dict()

# models that cannot read a script

@pytest.fixture(scope='module')
def minilm(tmp_path_factory):
    "The tokenizer of all-MiniLM-L6-v2, in a folder that looks like a model"
    from embed_lab.models.base import packaged
    path = packaged() or pytest.skip('the package is not installed')
    folder = tmp_path_factory.mktemp('minilm')
    for o in path.iterdir():
        if o.is_file() and o.suffix != '.safetensors': shutil.copy(o, folder/o.name)
    return folder

def pairs_of(task): return [(task.queries[q], task.corpus[next(iter(ds))]) for q,ds in task.qrels.items()]

@pytest.mark.parametrize('language, low, high', [('de', 0, .01), ('ja', .1, .5), ('zh', .5, .9), ('th', 1, 1)])
def test_the_share_of_unknown_tokens(bench, minilm, language, low, high):
    texts = [t for o in pairs_of(bench.made_task(language)) for t in o]
    assert low <= unknown_in_folder(minilm, dict(gold=texts))['gold'] <= high

def test_padding_and_special_tokens_do_not_count(minilm):
    assert json.loads((minilm/'tokenizer.json').read_text())['padding'] # to 128 tokens
    assert unknown_in_folder(minilm, dict(gold=['ሀለሐ reset', 'ሀለሐ'])) == dict(gold=2/3)

@pytest.mark.parametrize('language, level', [('de', ''), ('zh', 'warn'), ('th', 'fail')])
def test_check_names_a_model_that_cannot_read(bench, minilm, tmp_path, language, level):
    pairs = pairs_of(bench.made_task(language))
    for k in ('train', 'dev', 'gold'): write_rows(tmp_path/f'{k}.jsonl', [dict(query=q, passage=p, label=1) for q,p in pairs])
    found = [o for o in check_folder(tmp_path, base=minilm).findings if o.rule == 'unknown tokens']
    assert [o.level for o in found] == [level]*bool(level)
    assert all(re.match(r'\d+ % of the tokens of train, \d+ % of dev and \d+ % of gold are unknown', o.says) and multilingual_models[0] in o.says for o in found)
    assert not [o for o in check_folder(tmp_path).findings if o.rule == 'unknown tokens']

@pytest.mark.parametrize('spoil, says', [(lambda o: None, 'has no tokenizer.json, vocab.txt'), (lambda o: o.write_text('version https://git-lfs'), 'tokenizer.json is not a tokenizer')])
def test_a_folder_without_its_tokenizer_fails(tmp_path, spoil, says):
    model, data = tmp_path/'model', tmp_path/'data'
    model.mkdir(), data.mkdir()
    (model/'config.json').write_text('{}')
    spoil(model/'tokenizer.json')
    write_rows(data/'train.jsonl', [dict(query='reset', passage='hold', label=1)])
    found, = [o for o in check_folder(data, base=model).findings if o.rule == 'unknown tokens']
    assert found.level == 'fail' and says in found.says and 'copy the model again' in found.says

@pytest.mark.parametrize('known, level', [(10, ''), (8, 'warn'), (0, 'fail')])
def test_a_run_warns_and_refuses(tmp_path, known, level):
    words = 'reset pair clean repair open mount router lamp kettle camera'.split()
    rows = [dict(query=f'{a} {b}', passage=f'{b} {a}', label=1) for a in words[:6] for b in words[6:]]
    tiny_model(words[:known] or ['else']).save_pretrained(str(tmp_path))
    splits, run = Splits(*[to_dataset(rows)]*3), rehearsal(tmp_path)
    if level == 'fail':
        with pytest.raises(LabError, match='100 % of the tokens of train, 100 % of dev and 100 % of gold are unknown'): train(splits, run, loss='in-batch', batch_size=8)
        return
    train(splits, run, loss='in-batch', batch_size=8, evals=1)
    said = [o for o in run.manifest.get('warnings', []) if 'are unknown' in o]
    assert len(said) == (level == 'warn') and all('start from a model that knows this language' in o for o in said)

def test_the_models_that_are_named_are_known(): assert all(family_of(o) for o in multilingual_models)

def test_a_model_at_hand_is_found_without_asking_the_hub(tmp_path, monkeypatch):
    from embed_lab.models import base
    monkeypatch.setattr(base, '_from_hub', lambda name: pytest.fail('asked the hub'))
    tiny_model(['a']).save_pretrained(str(tmp_path/'mine'))
    assert base.local_model('mine', tmp_path) == tmp_path/'mine' and base.local_model('no/such', tmp_path) is None
    (tmp_path/'empty').mkdir()
    assert base.local_model('empty', tmp_path) is None
