"Preprocessing steps do what they say, a leak stops a run, and an allowed leak is written on everything"
import json, re
import pytest
from dataclasses import replace
from hypothesis import given, settings, strategies as st
from support import emb, papermill, root
from embed_lab.data.check import failing_leaks
from embed_lab.inventory.datasets import Splits, check_leaks, leak_table, to_dataset
from embed_lab.inventory.preprocess import add_prompts, balance_labels, drop_conflicts, drop_duplicates, drop_leaks
from embed_lab.lab import LabError
from embed_lab.data.reading import read_rows
from embed_lab.data.files import write_rows
from embed_lab.runs.record import rehearsal
from embed_lab.data.texts import jaccard, normalised

# random data in which everything that can leak does

def sentences(kind):
    "Few texts, some equal but for typing, some nearly equal, some with the same words"
    def text(about, last, shape): return shape(f'{about} {kind} one two three four five six {last}')
    return st.builds(text, st.sampled_from(['red', 'blue', 'green', 'grey']), st.sampled_from(['', 'seven', 'eight']),
        st.sampled_from([str, str, str.upper, lambda o: o + '?', lambda o: ' '.join(reversed(o.split()))]))

rows = st.fixed_dictionaries(dict(query=sentences('question'), passage=sentences('answer'), label=st.sampled_from([1, 1, 0])),
    optional=dict(group=st.sampled_from(['a', 'b', 'c', 'd']), negatives=st.lists(sentences('answer'), max_size=2)))

@st.composite
def data(draw):
    "Splits of which some relevant row is always left"
    def split(name, n): return to_dataset([dict(query=f'the {name} of whales', passage=f'{name} krill', label=1)] + draw(st.lists(rows, max_size=n)))
    return Splits(split('train', 12), split('dev', 4), split('gold', 3))

many = settings(max_examples=200, deadline=None, derandomize=True)

def gives_away(row, judged, corpus):
    "The definition, read off `leak_rules`, for one row and one judged row"
    def near(k): return jaccard(row[k], judged[k]) >= .8 - 1e-9
    if normalised(row['query']) == normalised(judged['query']) or (row.get('group') and row.get('group') == judged.get('group')): return True
    return bool(row['label'] and judged['label'] and near('passage') and (corpus == 'open' or near('query')))

def told(note):
    "Split, rows that went, rows there were, and the sum of the reasons"
    gone, was, split, why = re.fullmatch(r'\w+: ([\d,]+) of ([\d,]+) (\w+) rows dropped(?:: (.*))?', note).groups()
    return split, int(gone), int(was), sum(int(o.split()[0]) for o in why.split(', ')) if why else 0

def kept_word(before, after):
    "Every note says what vanished, in turn"
    sizes = {k: getattr(before, k).num_rows for k in ('train', 'dev', 'gold')}
    for split,gone,was,why in map(told, after.notes):
        assert sizes[split] == was and gone == why
        sizes[split] -= gone
    assert sizes == {k: getattr(after, k).num_rows for k in sizes}

@pytest.mark.parametrize('corpus', ['open', 'fixed'])
@given(splits=data())
@many
def test_no_leak_is_left_and_nothing_else_goes(corpus, splits):
    res = drop_leaks(splits, corpus)
    assert failing_leaks(leak_table(res), corpus) == [] and res.gold is splits.gold
    dev = [o for o in splits.rows('dev') if not any(gives_away(o, g, corpus) for g in splits.rows('gold'))]
    assert res.rows('dev') == dev
    assert res.rows('train') == [o for o in splits.rows('train') if not any(gives_away(o, g, corpus) for g in dev + splits.rows('gold'))]
    kept_word(splits, res)

@given(splits=data())
@many
def test_duplicates_conflicts_and_labels(splits):
    def key(o): return normalised(o['query']), normalised(o['passage'])
    once = drop_duplicates(splits)
    assert [(*key(o), o['label']) for o in once.rows('train')] == list(dict.fromkeys((*key(o), o['label']) for o in splits.rows('train')))
    kept_word(splits, once)
    sane = drop_conflicts(once)
    right = [(normalised(o['query']), o['passage']) for o in once.rows('train') if o['label']]
    def wrong(q, p): return any(normalised(q) == a and jaccard(p, b) >= .8 - 1e-9 for a,b in right)
    wanted = [dict(o, negatives=[t for t in o['negatives'] if not wrong(o['query'], t)]) if 'negatives' in o else o for o in once.rows('train') if o['label'] or not wrong(o['query'], o['passage'])]
    assert sane.rows('train') == wanted and all(getattr(sane, k) is getattr(splits, k) for k in ('dev', 'gold'))
    listed = [o for o in sane.notes if 'negatives dropped' in o]
    kept_word(splits, replace(sane, notes=tuple(o for o in sane.notes if o not in listed)))
    labels = sane.train['label'][:]
    if 0 not in labels:
        with pytest.raises(LabError, match='all [0-9,]+ train rows have label 1: leave the step out'): balance_labels(sane)
        return
    even = balance_labels(sane)
    assert even.train['label'][:].count(0) == even.train['label'][:].count(1) == min(labels.count(0), labels.count(1))
    assert even.rows('train') == balance_labels(sane).rows('train') and all(o in sane.rows('train') for o in even.rows('train'))

@given(splits=data())
@settings(many, max_examples=30)
def test_prompts_change_every_text_and_hide_nothing(splits):
    res = add_prompts(splits, 'find the one text that answers this: ')
    assert all(o['query'].startswith('find the') and o['passage'].startswith('passage: ') and all(t.startswith('passage: ') for t in o.get('negatives', ())) for k in ('train', 'dev', 'gold') for o in res.rows(k))
    assert leak_table(res) == leak_table(splits)
    assert drop_leaks(res, 'open').notes[1:] == drop_leaks(splits, 'open').notes

def row(q, p, label=1, **kw): return dict(query=q, passage=p, label=label, **kw)

def test_a_teachers_scores_go_with_the_negatives_that_conflict():
    rows = [row('reset', 'hold the button'), row('reset', 'pull the plug', negatives=['call us', 'hold the button', 'wait'], teacher_scores=[7, 1, 6, 2]),
        row('make tea', 'boil water', negatives=['wait'], teacher_scores=[5, 0]), row('reset', 'wave', negatives=['hold the button'], teacher_scores=[4, 6])]
    splits = Splits(*(to_dataset(o) for o in (rows, rows[:1], rows[:1])))
    train = drop_conflicts(splits).rows('train')
    assert [(o.get('negatives'), o.get('teacher_scores')) for o in train] == [(None, None), (['call us', 'wait'], [7, 1, 2]), (['wait'], [5, 0]), ([], [4])]

def test_what_only_qrels_judges_is_gold_too():
    corpus, qrels = dict(d1='hold the button', d2='pull the plug'), dict(q1=dict(d1=1, d2=1))
    splits = Splits(to_dataset([row('start over', 'pull the plug'), row('make tea', 'boil water')]), to_dataset([row('wash wool', 'cold programme')]), to_dataset([row('reset', 'hold the button', query_id='q1')]), corpus, qrels)
    with pytest.raises(LabError, match='1 of 2 gold rows has its passage in train'): check_leaks(splits, rehearsal('base'))
    assert drop_leaks(splits, 'open').train['query'][:] == ['make tea']

def test_more_copies_than_are_compared_are_dropped_all_the_same():
    "A rare word leads a text to 500 others at most"
    def some(name, a, b): return to_dataset([row(f'{name} {i}', f'one two three four five six seven eight nine ten {i}') for i in range(a, b)] + [row(f'the {name} of whales', f'{name} krill')])
    splits = Splits(some('train', 0, 3000), to_dataset([row('wash wool', 'cold programme')]), some('gold', 3000, 3020))
    assert failing_leaks(leak_table(splits))
    assert failing_leaks(leak_table(drop_leaks(splits, 'open'))) == []

# in a lab

def spoil(lab):
    "Every answer of gold also answers a question of train"
    train, gold = (read_rows(lab/'data'/f'{o}.jsonl') for o in ('train', 'gold'))
    write_rows(lab/'data'/'train.jsonl', train + [row(f'question {i}', o['passage']) for i,o in enumerate(gold) if o['label']])

def manifest(run): return json.loads((run/'run.json').read_text())

def test_a_leak_stops_a_run_before_a_model_is_loaded(lab):
    spoil(lab)
    res = emb('run', 'exp_02_in_batch', cwd=lab, ok=1)
    said = [o for o in res.stderr.splitlines() if 'leak' in o]
    assert len(said) == 1 and 'gold rows have their passage in train' in said[0] and '`allow_leaks`' in said[0] and '`emb check`' in said[0] and 'Traceback' not in res.stderr
    run = lab/'results'/'exp_02_in_batch'
    assert manifest(run)['status'] == 'failed' and 'leaks' not in manifest(run) and not (run/'final').exists() and not (run/'history.jsonl').exists()

def test_an_allowed_leak_is_written_on_everything(lab):
    spoil(lab)
    emb('run', 'exp_02_in_batch', '-p', 'allow_leaks', 'true', cwd=lab)
    run = lab/'results'/'exp_02_in_batch,allow_leaks=True'
    made = manifest(run)
    assert made['status'] == 'completed' and made['inputs']['parameters']['allow_leaks'] is True and 'gold rows have their passage in train' in made['leaks'][0]
    charts = sorted((run/'plots').glob('*.html'))
    assert len(charts) >= 3 and all('leaks allowed: ' in o.read_text() for o in charts)
    assert (run/'exp_02_in_batch.ipynb').read_text().count('leaks allowed') >= 5  # the data, three charts, the end

def test_a_clean_run_has_no_leaks_and_no_stamp(lab):
    papermill('experiments/exp_02_in_batch.ipynb', 'results/exp_02_in_batch/exp_02_in_batch.ipynb', '-p', 'allow_leaks', 'true', cwd=lab)
    run = lab/'results'/'exp_02_in_batch'
    assert manifest(run)['leaks'] == [] and manifest(run)['overrides'] == dict(allow_leaks=True)
    assert not any('leaks allowed' in o.read_text() for o in (run/'plots').glob('*.html'))

def test_the_steps_run_in_a_labs_hook_and_cure_it(lab):
    spoil(lab)
    nb = lab/'nbs'/'01_preprocess.ipynb'
    nb.write_text(nb.read_text().replace('    # return drop_conflicts(', '    return drop_conflicts(', 1))
    emb('run', 'exp_01_baseline', cwd=lab)
    out = (lab/'results'/'exp_01_baseline'/'exp_01_baseline.ipynb').read_text()
    assert manifest(lab/'results'/'exp_01_baseline')['leaks'] == [] and re.search(r'drop_leaks: \d+ of [\d,]+ train rows dropped: .*by passage', out)

def test_the_hook_can_be_followed_as_its_comment_says():
    "With and without its line the lesson runs (in a notebook of its own the steps are there); so do data with which nothing is trained"
    code = (root/'nbs'/'inventory'/'01_preprocess.ipynb').read_text()
    assert code.count('    # return drop_conflicts(drop_leaks(drop_duplicates(splits)))\\n') == 1
    cells = [''.join(o['source']) for o in json.loads(code)['cells'] if o['cell_type'] == 'code']
    names = {}
    for o in cells[:-1]: exec(o.replace('    # return drop_conflicts', '    return drop_conflicts'), names)
    none = to_dataset([]).from_dict(dict(query=[], passage=[], label=[]))
    judged = to_dataset([dict(query='a', passage='b', label=1)])
    assert names['preprocess'](Splits(none, none, judged)).gold.num_rows == 1
    assert len(names['preprocess'](names['splits']).train) < len(names['splits'].train)
