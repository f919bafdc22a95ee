"Texts of every script: how BM25 cuts and ranks them, and what is said where there are no words"
import json, sys, unicodedata
import bm25s, numpy as np, pytest
from hypothesis import given, settings, strategies as st
from embed_lab.cli.commands import _score_rows
from embed_lab.data.metrics import measures
from embed_lab.data.task import Task
from embed_lab.data.texts import normalised, search_words
from embed_lab.evaluation.scores import Scores
from embed_lab.inventory.evaluate import conclude
from embed_lab.models.bm25 import _Numbers, search_bm25
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

def test_ranking_is_bm25s_own_and_ties_keep_the_order_of_the_corpus():
    rng = np.random.default_rng(0)
    words = np.array([f'w{i}' for i in range(40)])
    def texts(n, k): return [' '.join(rng.choice(words, rng.integers(1, k))) for _ in range(n)]
    task = Task({f'q{i}': t for i,t in enumerate(texts(30, 5))}, {f'd{i}': t for i,t in enumerate(texts(300, 9))}, {})
    index = bm25s.BM25(method='lucene')
    index.index([o.split() for o in task.corpus.values()], show_progress=False)
    for q,hits in search_bm25(task, 20).items():
        scores = index.get_scores(task.queries[q].split())
        best = sorted(np.flatnonzero(scores > 0), key=lambda i: (-scores[i], i))[:20]
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
