"One reading: what `emb check` calls clean, a run takes, and what stops a run is named with the same words and place in both"
import gzip, json, random, shutil
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from embed_lab.data.check import check_folder, failing_leaks
from embed_lab.data.files import write_rows
from embed_lab.data.folder import check_data, folder_rules
from embed_lab.data.reading import read_rows
from embed_lab.data.task import scan_qrels
from embed_lab.evaluation.scoring import score_found
from embed_lab.inventory.datasets import load_splits, leak_table, overview
from embed_lab.inventory.evaluate import conclude, search
from embed_lab.inventory.preprocess import add_prompts
from embed_lab.inventory.train import training_rows
from embed_lab.lab import LabError
from embed_lab.runs.record import rehearsal
from support import emb, manifest

class Encoder:
    "Vectors drawn from a text's characters"
    similarity_fn_name = 'cosine'
    def encode_query(self, texts, **options): return np.array([np.random.default_rng([*t.encode()]).normal(size=8) for t in texts], dtype='float32')
    encode_document = encode_query
    def save_pretrained(self, path): pass

def texts(n, seed):
    draw = random.Random(seed)
    return [' '.join(''.join(draw.choices('bcdfghjklmnprstvwz', k=5)) for _ in range(8)) for _ in range(n)]

def fresh():
    "Sound data: file → rows, or text"
    some = iter(texts(80, 1))
    def rows(n): return [dict(query=next(some), passage=next(some), label=1) for _ in range(n)]
    return {'train.jsonl': rows(6), 'dev.jsonl': rows(4), 'gold.jsonl': rows(5)}

def with_corpus(files, title=''):
    "A corpus of gold's passages and some others, with ids that rows can name"
    docs = [o['passage'] for o in files['gold.jsonl']] + texts(3, 2)
    files['corpus.jsonl'] = [dict(_id=f'd{i}', text=t) | (dict(title=title) if title else {}) for i,t in enumerate(docs)]

def with_qrels(files, lines=()):
    if 'corpus.jsonl' not in files: with_corpus(files)
    for i,o in enumerate(files['gold.jsonl']): o['query_id'] = f'q{i}'
    judged = [f'q{i}\td{i}\t1' for i in range(len(files['gold.jsonl']))]
    files['qrels.tsv'] = '\n'.join(['query-id\tcorpus-id\tscore', *judged, *lines]) + '\n'

# what may be odd about data, and whether it stops a run; each changes files in place

def every(split, **keys):
    def change(files): files[f'{split}.jsonl'] = [o | keys for o in files.get(f'{split}.jsonl', [])]
    return change

def some(split, values, key):
    "A key with one value a row, in turn; `...` leaves it out"
    def change(files):
        for o,v in zip(files.get(f'{split}.jsonl', []), values*9):
            if v is not ...: o[key] = v
    return change

def cut(split, n): # The first `n` rows alone
    def change(files): files[f'{split}.jsonl'] = files[f'{split}.jsonl'][:n]
    return change

def one_passage(split):
    def change(files): every(split, passage=files[f'{split}.jsonl'][0]['passage'])(files)
    return change

def shifted(files):
    with_corpus(files)
    for i,o in enumerate(files['gold.jsonl']): o['passage_id'] = f"d{(i + 1) % len(files['gold.jsonl'])}"

def all_right(split):
    def change(files):
        rows = files[f'{split}.jsonl'][:3]
        files[f'{split}.jsonl'] = [dict(a, passage=b['passage']) for a in rows for b in rows]
    return change

def corpus_of(*docs):
    def change(files): files['corpus.jsonl'] = [dict(_id=f'x{i}', text=t) for i,t in enumerate(docs)]
    return change

def titled(files): with_corpus(files, 'Care')

def two_titles(files):
    with_corpus(files, 'Care')
    files['corpus.jsonl'].append(dict(files['corpus.jsonl'][0], _id='again', title='Repair'))

def as_presented(files):
    titled(files)
    for o in files['gold.jsonl']: o['passage'] = 'Care\n' + o['passage']

def relabelled(files):
    "Rows have label 0, and judgements know better"
    with_qrels(files)
    every('gold', label=0)(files)

def copies(files):
    with_corpus(files)
    files['corpus.jsonl'] += [dict(o, _id=f"again{o['_id']}") for o in files['corpus.jsonl']]

def titled_copies(files):
    titled(files)
    files['corpus.jsonl'] += [dict(o, _id=f"again{o['_id']}") for o in files['corpus.jsonl']]

def one_id(files):
    with_corpus(files)
    files['corpus.jsonl'][1]['_id'] = files['corpus.jsonl'][0]['_id']

def lines(*more):
    def change(files): with_qrels(files, more)
    return change

def qrels(text):
    def change(files):
        with_qrels(files)
        files['qrels.tsv'] = text
    return change

def no_corpus(files):
    with_qrels(files)
    del files['corpus.jsonl']

def guard(*rows):
    def change(files): files['guard.jsonl'] = [dict(query=q, passage=p, label=l) for q,p,l in rows]
    return change

def again(split, **keys): # The first row once more, changed
    def change(files):
        rows = files.get(f'{split}.jsonl')
        if isinstance(rows, list) and rows: rows.append({k: v for k,v in (rows[0] | keys).items() if v is not ...})
    return change

def in_capitals(files):
    "Another query to a retrieval system, and perhaps another question: `ls -a` and `ls -A`"
    again('gold', label=0)(files)
    if files.get('gold.jsonl'): files['gold.jsonl'][-1] |= dict(query=files['gold.jsonl'][-1]['query'].upper())

def graded_again(split):
    def change(files): every(split, score=2)(files), again(split, score=1)(files)
    return change

def unread_contradiction(files):
    "Labels contradict each other, and qrels judge"
    with_qrels(files)
    again('gold', label=0)(files)

def copies_in_qrels(files):
    with_qrels(files)
    files['corpus.jsonl'] += [dict(o, _id=f"again{o['_id']}") for o in files['corpus.jsonl']]

def unasked(files):
    "Queries of gold that qrels do not judge, or call nothing relevant"
    with_qrels(files, ['q3\td1\t0'])
    files['qrels.tsv'] = files['qrels.tsv'].replace('q4\td4\t1\n', '').replace('q3\td3\t1\n', '')

def decided(decision, row=0, **keys): # About a passage of train, after the rows of its query have changed
    def change(files):
        if not files.get('train.jsonl'): return
        files['train.jsonl'][row] |= keys
        o = files['train.jsonl'][row]
        files['decisions.jsonl'] = [dict(query=o['query'].upper() + '?', passage=o['passage'] + '.', decision=decision)]
    return change

def decided_elsewhere(decision, **keys): # About a passage that train does not have
    def change(files):
        decided(decision, **keys)(files)
        for o in files.get('decisions.jsonl', []): o['passage'] = 'something else'
    return change

def drop(name):
    def change(files): files.pop(name, None)
    return change

def text(name, content):
    def change(files): files[name] = content
    return change

def taught(*scores):
    "Rows of train with one negative each, and what a teacher says of both; `...` leaves it out"
    def change(files):
        for o in files.get('train.jsonl', []): o['negatives'] = ['nothing of the kind']
        some('train', scores, 'teacher_scores')(files)
    return change

huge = 2**64
taken = {
    'as it is': lambda files: None, 'a corpus': with_corpus, 'judgements': with_qrels,
    'unread key of two types': some('train', [dict(page=3), dict(page='iv'), ...], 'meta'), 'unread lists of two types': some('gold', [[1], ['a'], []], 'meta'),
    'unread huge number': some('train', [huge, 1, 'a', None], 'meta'), 'unread numbers no float holds': some('dev', [2**60 + 1, .5], 'meta'), 'unread nothing': every('train', meta=None),
    'unread empty objects': every('train', meta={}), 'unread truth and number': some('train', [True, 1], 'meta'), 'a key without a name': some('gold', [1, 'a'], ''),
    'ids of two types': some('gold', [7, '7b', ..., ..., ...], 'query_id'), 'one id of each type': some('train', [7, 'a'], 'query_id'), 'huge ids': some('gold', [huge, ..., ..., ..., ...], 'query_id'),
    'passage ids that nothing reads': some('gold', [huge, 'a', 3], 'passage_id'), 'groups of two types': some('train', [1, 'a', None, huge], 'group'), 'null everywhere': every('gold', score=None, query_id=None, passage_id=None, group=None, tags=None, negatives=None),
    'empty lists': every('train', negatives=[], tags=[]), 'whole grades': some('gold', [2, 1., 3], 'score'), 'fractional scores to learn from': some('train', [.5, 1, 0], 'score'),
    'a corpus with titles': titled, 'passages with titles': as_presented, 'copies in the corpus': copies, 'copies with titles': titled_copies,
    'qrels against labels': relabelled, 'tags of some': some('gold', [['a'], ['b', 'a'], ..., []], 'tags'),
    'qrels with 1.0': lines('q0\td1\t0.0', 'q1\td0\t2.0'), 'qrels with a blank last line': lines(''), 'a judgement twice': lines('q0\td0\t1'),
    'signs for passages': some('gold', ['👍', '★★', ..., ...], 'passage'), 'signs for queries': some('gold', ['?', ..., ...], 'query'), 'nothing but signs': some('gold', ['👍', '★★', '!', '…', '☂'], 'passage'), 'labels for passages': some('gold', ['A', 'B'], 'passage'),
    'qrels of a missing query': lines('q99\td0\t1'), 'qrels of a missing query and document': lines('q99\td99\t1'), 'copies beside qrels': copies_in_qrels, 'queries that qrels do not score': unasked, 'odd grades in qrels': lines('q0\td1\t-1', 'q1\td0\t50'),
    'labels that qrels overrule': unread_contradiction, 'a row again': again('gold'), 'a row again in capitals': in_capitals, 'a row again as 1.0': again('dev', score=1.), 'a negative that answers': again('gold', negatives=['some text']),
    'train that contradicts itself': again('train', label=0), 'a wrong answer to keep': decided('keep', label=0), 'a wrong answer to drop': decided('drop', label=0), 'a right answer found': decided('relabel', label=0), 'an answer found': decided_elsewhere('relabel'),
    'a decision about nothing': decided_elsewhere('drop'), 'a decision about a null score': decided_elsewhere('relabel', score=None),
    'a guard': guard(('a', 'b', 1), ('c', 'd', 1)),
    "a teacher's scores": taught([7, -2], [.5, 1e30]), 'scores of some rows': taught([7.5, -2], ..., None), 'huge whole scores': taught([huge, 2], [.5, 10**30]), 'a score of the passage alone': every('train', teacher_scores=[1]), 'scores that nothing reads': every('gold', teacher_scores=[1])}
refused = {
    'fractional score': some('dev', [..., .5], 'score'), 'fractional grade': some('gold', [1, 2.5], 'score'), 'immense grade': some('gold', [1, 1e300], 'score'), 'immense score': some('train', [.5, 1e300], 'score'), 'huge whole score': some('train', [.5, huge], 'score'),
    'grade over 1000': some('dev', [1001], 'score'), 'nothing relevant in dev': every('dev', label=0), 'nothing relevant in gold': every('gold', label=0), 'graded 0': every('gold', score=0),
    'nothing relevant in train': every('train', label=0), 'one query in gold': cut('gold', 1), 'one row in train': cut('train', 1), 'one row in dev': cut('dev', 1), 'one row again and again': lambda files: files.update({'train.jsonl': files['train.jsonl'][:1]*5}),
    'one passage in gold': one_passage('gold'), 'one passage in dev': one_passage('dev'), 'everything relevant': all_right('gold'), 'one query that is scored': some('gold', [1, 0, 0, 0, 0], 'label'),
    'one id for two queries': every('gold', query_id='a'), 'one id for two queries of dev': some('dev', [7, '7'], 'query_id'),
    'an id the corpus lacks': lambda files: (with_corpus(files), some('gold', ['d99'], 'passage_id')(files)), 'ids of other documents': shifted,
    'a corpus without the passages': corpus_of('something', 'else'), 'an empty corpus': corpus_of(), 'two documents with one id': one_id, 'one text under two titles': two_titles,
    'a judgement twice with other grades': lines('q0\td0\t0'), 'qrels without a header': qrels('q0\td0\t1\nq1\td1\t1\n'), 'fractional qrels': lines('q0\td1\t0.5'), 'immense qrels': lines('q0\td1\t1e300'), 'qrels of a missing document': lines('q0\td99\t1'),
    'qrels with nothing relevant': qrels('query-id\tcorpus-id\tscore\nq0\td0\t0\n'), 'empty qrels': qrels(''), 'qrels without a corpus': no_corpus, 'qrels for one query': qrels('query-id\tcorpus-id\tscore\nq0\td0\t1\n'),
    'right and wrong in gold': again('gold', label=0), 'right and wrong in dev': again('dev', label=0), 'two grades in gold': graded_again('gold'), 'two grades in dev': graded_again('dev'),
    'right and wrong in guard': guard(('a', 'b', 1), ('c', 'd', 1), ('a', 'b', 0)), 'an answer to keep as wrong': decided('keep'), 'an answer to drop': decided('drop'), 'a graded row to relabel': decided('relabel', label=0, score=.5), 'an answer without a grade': decided_elsewhere('relabel', score=1),
    'a guard of one row': guard(('a', 'b', 1)), 'a guard without answers': guard(('a', 'b', 0), ('c', 'd', 0)), 'an empty guard': text('guard.jsonl', ''),
    'too few scores': taught([7], [1, 2]), 'too many scores': taught([1, 2], [1, 2, 3]), 'scores without negatives': every('gold', teacher_scores=[1, 2]), 'no score in a list': taught([]), 'scores for null': every('train', negatives=None, teacher_scores=[1, 2]),
    'a text for a score': taught([1, '2']), 'nothing for a score': taught([1, None]), 'truth for a score': taught([1, True]), 'one score for all': taught(.5), 'scores as text': taught('[1, 2]'), 'an immense teacher': taught([1, 2], [1e300, 1]), 'an immense whole score': taught([10**40, 1]), 'scores in a list': taught([[1, 2]]),
    'a teacher who says NaN': text('dev.jsonl', '{"query": "a", "passage": "b", "label": 1, "negatives": ["c"], "teacher_scores": [1, NaN]}\n'),
    'no dev': drop('dev.jsonl'), 'no train': drop('train.jsonl'), 'an empty gold': text('gold.jsonl', '\n'), 'a bad line': text('dev.jsonl', '{"query": "a"}\n'), 'a bad decision': text('decisions.jsonl', '{"query": "a", "passage": "b", "decision": "maybe"}\n')}

whole_file = {'an empty guard', 'no dev', 'no train', 'an empty gold', 'a bad line', 'a bad decision', 'a teacher who says NaN'} # comes after what changes rows

def written(folder, files):
    "A lab's folder with these files"
    shutil.rmtree(folder, ignore_errors=True)
    (folder/'data').mkdir(parents=True)
    (folder/'settings.ini').write_text('[DEFAULT]\n')
    for name,o in files.items():
        if isinstance(o, str): (folder/'data'/name).write_text(o)
        else: write_rows(folder/'data'/name, o)
    return folder/'data'

def as_a_run_reads(data, run):
    "All that a run does with its data but for encoding and training; raises `LabError` where it refuses them"
    check_data(data)
    splits = load_splits(data)
    overview(splits), splits._repr_html_(), leak_table(splits), add_prompts(splits, 'query: ', 'passage: ')
    assert len(training_rows(splits.train, 'in-batch'))
    hits = {k: {o: search(Encoder(), splits.task(k)) for o in ('tuned', 'base')} for k in splits.sets if k != 'train'}
    guard = score_found(splits.task('guard'), hits['guard'], run, 'guard') if 'guard' in hits else None
    scores = conclude(splits.task('gold'), hits['gold'], run, {}, guard)
    run.finish(**scores.headline())
    return scores

def refusal(data, run):
    "What stops a run, or '' where nothing does"
    try: as_a_run_reads(data, run)
    except LabError as e: return str(e)
    return ''

def flaws(data):
    "What `emb check` refuses, as (place, what is wrong); leaks and conflicts are left out, since `preprocess` may mend them"
    found = [o for o in check_folder(data).findings if o.level == 'fail' and not o.rule.startswith(('leak', 'conflict'))]
    return [(e['place'], e['text']) for o in found for e in o.examples] + [(o.rule, o.says) for o in found if not o.examples]

@pytest.fixture(scope='module')
def run(base): return rehearsal(base)

def agree(data, run):
    "Whether it is taken, after seeing that check and run say the same"
    why, said = refusal(data, run), flaws(data)
    assert bool(why) == bool(said), (why, said)
    if why and 'no such file' not in why and 'no train.jsonl' not in why: assert any(why == f'{place}: {text}' for place,text in said), (why, said)
    assert '\n' not in why
    if not why: assert doubts(data) == sorted(o.split(' (and ')[0] for o in check_data(data))
    return not why

def doubts(data):
    "What `emb check` warns of beyond single lines and leaks: a run repeats it"
    found = [o for o in check_folder(data).findings if o.level == 'warn' and o.rule in folder_rules and o.examples]
    return sorted(f"{o.examples[0]['place']}: {o.examples[0]['text']}".split(' (and ')[0] for o in found)

@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path

@pytest.mark.parametrize('kind', taken)
def test_what_is_clean_is_taken(home, run, kind):
    files = fresh()
    taken[kind](files)
    assert agree(written(home/'lab', files), run)

@pytest.mark.parametrize('kind', refused)
def test_what_stops_a_run_is_refused(home, run, kind):
    files = fresh()
    refused[kind](files)
    assert not agree(written(home/'lab', files), run)

@given(kinds=st.lists(st.sampled_from([*taken, *refused]), min_size=2, max_size=4, unique=True), seed=st.integers(0, 9))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_check_and_run_agree_on_several_oddities_at_once(tmp_path_factory, run, kinds, seed):
    if 'no train' in kinds: kinds = [o for o in kinds if o != 'no dev'] # gold alone is clean, and taken by what trains nothing: test_untuned
    files = fresh()
    for o in sorted(kinds, key=whole_file.__contains__): (taken | refused)[o](files)
    for k,o in files.items():
        if isinstance(o, list): random.Random(seed).shuffle(o)
    agree(written(tmp_path_factory.getbasetemp()/'odd', files), run)

def test_zipped_judgements_are_read_and_torn_ones_refused(home):
    files = fresh()
    with_qrels(files)
    data = written(home/'lab', files)
    whole = gzip.compress((data/'qrels.tsv').read_bytes())
    (data/'qrels.tsv').unlink()
    (data/'qrels.tsv.gz').write_bytes(whole)
    assert flaws(data) == [] and len(load_splits(data).qrels) == 5
    (data/'qrels.tsv.gz').write_bytes(whole[:30])
    with pytest.raises(LabError, match='qrels.tsv.gz:1: the gzip file is damaged'): check_data(data)
    assert [place for place,_ in flaws(data)][0].endswith('qrels.tsv.gz:1')

def warned(data):
    "What a run warns of, after seeing that the check warns of it too"
    found = check_data(data)
    said = [f"{e['place']}: {e['text']}" for o in check_folder(data).findings if o.level == 'warn' for e in o.examples]
    assert all(any(w.startswith(o) for o in said) for w in found), (found, said)
    return found

def test_rows_that_a_teacher_did_not_score_are_counted(home):
    files = fresh()
    taught([7, 2], [1, 0], ..., None, [1, 0], ...)(files)
    why = 'no `teacher_scores` for its passage and `negatives`, which 3 rows have; recipe `distil` leaves such rows out unless it is given a `teacher`'
    assert warned(written(home/'lab', files)) == [f'data/train.jsonl:3: {why} (and 2 more like it)']
    for o in files['train.jsonl'][2:]: o['label'] = 0 # of which nothing is learnt anyway
    del files['train.jsonl'][4]
    assert warned(written(home/'lab', files)) == []

def test_scores_are_read_as_numbers_of_one_type(home):
    files = fresh()
    taught([huge, 2], [.5, 10**30])(files)
    assert load_splits(written(home/'lab', files)).train['teacher_scores'][:2] == [[float(huge), 2.], [.5, 1e30]]

def test_a_corpus_that_is_older_than_the_splits_is_named_with_what_makes_it_again(home):
    files = fresh()
    titled(files)
    for k in ('train', 'dev'): files['corpus.jsonl'] += [dict(_id=f'{k}{i}', title='Care', text=o['passage']) for i,o in enumerate(files[f'{k}.jsonl'])]
    assert warned(written(home/'lab', files)) == []
    files['train.jsonl'][0]['negatives'] = ['something', 'else', files['dev.jsonl'][0]['passage']]
    files['train.jsonl'].append(dict(query='a', passage='something', label=1))
    files['dev.jsonl'].append(dict(query='a', passage='else', label=0))
    files['dev.jsonl'].append(dict(query='b', passage='more', label=1))
    data = written(home/'lab', files)
    [old] = [o for o in check_folder(data).findings if o.rule == 'old corpus']
    assert old.level == 'note' and '3 passages of train and dev are not in it, so gold is searched without them; if this file was made' in str(old)
    assert warned(data) == [] # a corpus may well be smaller on purpose
    assert check_data(data, train=False) == [] # nothing of train is read
    (data/'corpus.jsonl').unlink()
    emb('corpus', data, cwd=home)
    assert warned(data) == []

def test_a_chunk_that_names_its_document_is_not_missing(home):
    files = fresh()
    with_corpus(files)
    files['corpus.jsonl'] += [dict(_id=f'{k}{i}', text=f"Before. {o['passage']} After.") for k in ('train', 'dev') for i,o in enumerate(files[f'{k}.jsonl'])]
    for k in ('train', 'dev'):
        for i,o in enumerate(files[f'{k}.jsonl']): o['passage_id'] = f'{k}{i}'
    assert warned(written(home/'lab', files)) == []

def test_what_qrels_call_relevant_leaks_whatever_the_label_of_its_row(home):
    files = fresh()
    relabelled(files)
    files['train.jsonl'][0]['passage'] = files['gold.jsonl'][0]['passage']
    data = written(home/'lab', files)
    assert 'leak: passage' in [o.rule for o in check_folder(data).findings if o.level == 'fail']
    assert failing_leaks(leak_table(load_splits(data)))

@pytest.mark.parametrize('kind, says', [('a corpus with titles', 'd0'), ('passages with titles', None)])
def test_a_row_of_gold_is_the_document_whose_text_it_is(home, kind, says):
    "With a title or without: today's remedy was to remove the corpus"
    files = fresh()
    taken[kind](files)
    splits = load_splits(written(home/'lab', files))
    assert splits.rows('gold')[0].get('passage_id') == says
    assert splits.task('gold').relevant == {f'q{i}': {f'd{i}'} for i in range(5)}

def test_a_run_takes_it_from_end_to_end(lab):
    "Much that is odd at once: the run completes, and repeats the check's doubts"
    data, files = lab/'data', {}
    for k in ('train', 'dev', 'gold'): files[f'{k}.jsonl'] = read_rows(data/f'{k}.jsonl')
    (data/'corpus.jsonl').unlink(missing_ok=True)
    titled(files)
    files['corpus.jsonl'].append(dict(files['corpus.jsonl'][0], _id='again'))
    first = {k: rows[:5] for k,rows in files.items()}
    for o in ('unread key of two types', 'one id of each type', 'huge ids', 'groups of two types', 'signs for queries', 'whole grades'): taken[o](first)
    for name,rows in files.items(): write_rows(data/name, rows)
    emb('run', 'exp_02_in_batch', '-p', 'allow_leaks', 'true', cwd=lab)
    m = manifest(next((lab/'results').glob('exp_02_in_batch,*')))
    assert m['status'] == 'completed' and any('are the same text in corpus.jsonl' in o for o in m['warnings']) and any('without a letter or a digit' in o for o in m['warnings'])

def test_a_run_is_stopped_before_a_kernel_starts(lab):
    rows = read_rows(lab/'data'/'dev.jsonl')
    write_rows(lab/'data'/'dev.jsonl', [rows[0], *(o | dict(score=.5) for o in rows[1:])])
    said = emb('run', 'exp_02_in_batch', cwd=lab, ok=2).stderr.strip()
    assert said.startswith('emb: data/dev.jsonl:2: `score` is 0.5, not a whole number') and '\n' not in said
    out = ' '.join(emb('check', cwd=lab, ok=1).stdout.split())
    assert 'dev.jsonl:2' in out and '`score` is 0.5, not a whole number' in out

def test_a_blank_line_above_the_header_of_qrels_is_skipped(tmp_path):
    (tmp_path/'qrels.tsv').write_text('\nquery-id\tcorpus-id\tscore\nq\td\t1\n')
    assert scan_qrels(tmp_path/'qrels.tsv') == ([(3, 'q', 'd', 1)], [])

def test_judgements_without_a_relevant_one_are_to_be_mended_where_they_are(tmp_path):
    rows = [dict(query=f'ask {i}', passage=f'say {i}', label=1, query_id=f'q{i}', passage_id=f'd{i}') for i in range(3)]
    for k in ('train', 'dev', 'gold'): write_rows(tmp_path/f'{k}.jsonl', rows)
    write_rows(tmp_path/'corpus.jsonl', [dict(_id=o['passage_id'], text=o['passage']) for o in rows])
    (tmp_path/'qrels.tsv').write_text('query-id\tcorpus-id\tscore\n' + ''.join(f'q{i}\td{i}\t0\n' for i in range(3)))
    with pytest.raises(LabError, match='add judgements above 0 to qrels.tsv, which wins over labels'): check_data(tmp_path)

@pytest.mark.parametrize('end', ['', '\n\n'], ids=['at once', 'line by line'])
def test_what_an_import_of_documents_notes_beside_a_passage_is_no_unknown_key(tmp_path, end):
    from embed_lab.data.reading import Scan, scan_blocks
    from embed_lab.data.rows import Doc
    path = tmp_path/'corpus.jsonl'
    path.write_text(json.dumps(dict(_id='a', text='one', group='a.md', place=dict(heading=['A'], start=0), other=1)) + '\n' + json.dumps(dict(_id='b', text='two', group='a.md', place=None)) + '\n' + end)
    scan = Scan(path, Doc)
    assert [len(o.rows) for o in scan_blocks(scan)] == [2]
    assert [k for rule,k in scan.flaws if rule == 'unknown'] == ['other']
