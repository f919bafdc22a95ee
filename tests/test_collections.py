"Published collections become the same lab data whatever layout they come in, and broken ones are refused in one line"
import gzip, os, random, tracemalloc
from pathlib import Path
import msgspec, pytest
from embed_lab.data.check import check_folder
from embed_lab.data.collections import find_collection, write_collection
from embed_lab.data.files import file_hash, jsonl_bytes
from embed_lab.data.leaks import Nearness, table_of
from embed_lab.data.check import leaks_between
from embed_lab.data.reading import read_rows
from embed_lab.data.split import Division
from embed_lab.data.folder import check_data
from embed_lab.data.folder import read_beir, read_corpus
from embed_lab.data.task import read_qrels, retrieval_task
from embed_lab.lab import LabError

shared = Path(__file__).resolve().parent.parent.parent/'shared'/'data'
needs_shared = pytest.mark.skipif(not shared.is_dir(), reason='needs the development data, which is not part of the project')
file_names = dict(train='train', dev='dev', gold='test')

# one collection in every layout: documents and queries as id → text, judgements by split, wrong documents by query

def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == '.gz' else data)
    return path

def table(rows, sep='\t'): return ''.join(sep.join(map(str, o)) + '\n' for o in rows)
def judged(qrels): return ((q, d, g) for q,ds in qrels.items() for d,g in ds.items())
def objects(texts): return jsonl_bytes(dict(_id=k, text=v) for k,v in texts.items())

def as_beir(home, docs, queries, qrels):
    put(home/'corpus.jsonl', objects(docs))
    put(home/'queries.jsonl', objects(queries))
    for k,v in qrels.items(): put(home/'qrels'/f'{file_names[k]}.tsv', 'query-id\tcorpus-id\tscore\n' + table(judged(v)))

def as_msmarco(home, docs, queries, qrels):
    put(home/'collection.tsv', table(docs.items()))
    for k,v in qrels.items():
        put(home/f'queries.{file_names[k]}.tsv', table((q, queries[q]) for q in v))
        put(home/f'qrels.{file_names[k]}.tsv', table((q, 0, d, g) for q,d,g in judged(v)))

def as_trec(home, docs, queries, qrels):
    put(home/'passages.tsv.gz', 'id\ttext\n' + table(docs.items()))
    put(home/'topics.tsv', table(queries.items()))
    for k,v in qrels.items(): put(home/f'{file_names[k]}-qrels.txt.gz', table(((q, 'Q0', d, f'{g}.0') for q,d,g in judged(v)), ' '))

def as_tevatron(home, docs, queries, qrels):
    put(home/'corpus.jsonl.gz', jsonl_bytes(dict(docid=k, title='', text=v) for k,v in docs.items()))
    def passages(ds): return [dict(docid=d, title='', text=docs[d]) for d in ds]
    for k,v in qrels.items():
        put(home/f'{file_names[k]}.jsonl', jsonl_bytes(dict(query_id=q, query=queries[q], positive_passages=passages(ds), negative_passages=[]) for q,ds in v.items()))

def as_llamaindex(home, docs, queries, qrels):
    for k,v in qrels.items():
        o = dict(queries={q: queries[q] for q in v}, corpus=docs, relevant_docs={q: list(ds) for q,ds in v.items()}, mode='text')
        put(home/f'{file_names[k]}_dataset.json', msgspec.json.format(msgspec.json.encode(o), indent=2))

layouts = dict(beir=as_beir, msmarco=as_msmarco, trec=as_trec, tevatron=as_tevatron, llamaindex=as_llamaindex)

def small(per=dict(train=200, dev=20, gold=20), grade=1):
    n = sum(per.values())
    docs = {f'd{i}': f'text{i} about subject{i}, number {i*7}' for i in range(n + 50)}
    queries = {f'q{i}': f'what of subject{i} in year{i*3}' for i in range(n)}
    at, qrels = iter(range(n)), {}
    for k,m in per.items(): qrels[k] = {f'q{i}': {f'd{i}': grade} for _,i in zip(range(m), at)}
    return docs, queries, qrels

def lab_of(home, sources, to='lab', **kw):
    found = find_collection(sources)
    counts = write_collection(found, home/to, **kw)
    counts.lines() # which raises where numbers do not add up
    return found, counts, {o.name: file_hash(o) for o in sorted((home/to).iterdir())}

# the same out of all

def all_hashes(home, collection):
    res = {}
    for name,make in layouts.items():
        make(home/name, *collection)
        res[name] = lab_of(home, [home/name], f'{name}_lab')[2]
    return res

def test_every_layout_gives_the_same_files(tmp_path):
    res = all_hashes(tmp_path, small())
    assert list(res['beir']) == ['corpus.jsonl', 'dev.jsonl', 'gold.jsonl', 'qrels.tsv', 'train.jsonl'] and len({*map(str, res.values())}) == 1
    assert retrieval_task(read_rows(tmp_path/'trec_lab'/'gold.jsonl'), read_corpus(tmp_path/'trec_lab'/'corpus.jsonl'), read_qrels(tmp_path/'trec_lab'/'qrels.tsv'))
    check_data(tmp_path/'llamaindex_lab')

five_sets = 'nl2bash', 'medquad', 'banking77', 'pquad_fa', 'xquad_es'

def real(name, most=300):
    "As `small`, of a real set: the first queries of each split, their documents, and as many others"
    def one_line_each(texts): return {k: ' '.join(v.split()) for k,v in texts.items()}
    docs, queries = (one_line_each(read_corpus(shared/name/f'{o}.jsonl')) for o in ('corpus', 'queries'))
    found = {k: read_qrels(path) for k,v in file_names.items() if (path := shared/name/'qrels'/f'{v}.tsv').is_file()}
    qrels = {k: {q: dict.fromkeys(ds, 1) for q,ds in list(v.items())[:most]} for k,v in found.items()}
    own = {d for v in qrels.values() for ds in v.values() for d in ds}
    others = [d for d in docs if d not in own][:most]
    return {d: docs[d] for d in docs if d in own or d in {*others}}, {q: queries[q] for v in qrels.values() for q in v}, qrels

def of_lab(folder):
    "As `small`, of a lab's files"
    rows = {k: read_rows(folder/f'{k}.jsonl') for k in file_names if (folder/f'{k}.jsonl').is_file()}
    qrels = {k: {} for k in rows} | dict(gold=read_qrels(folder/'qrels.tsv'))
    for k in rows.keys() - {'gold'}:
        for o in rows[k]: qrels[k].setdefault(o['query_id'], {})[o['passage_id']] = o['score'] if 'score' in o else o['label']
    return read_corpus(folder/'corpus.jsonl'), {o['query_id']: o['query'] for v in rows.values() for o in v}, qrels

@needs_shared
@pytest.mark.parametrize('name', five_sets)
def test_a_real_set_gives_the_same_files_and_comes_back(tmp_path, name):
    res = all_hashes(tmp_path, real(name))
    assert len({*map(str, res.values())}) == 1
    (tmp_path/'back').mkdir()
    assert all(o == res['beir'] for o in all_hashes(tmp_path/'back', of_lab(tmp_path/'beir_lab')).values())

@needs_shared
def test_a_real_set_comes_in_as_beirs_reader_has_it(tmp_path):
    lab_of(tmp_path, [shared/'banking77'])
    for k,rows in read_beir(shared/'banking77').items(): assert read_rows(tmp_path/'lab'/f'{k}.jsonl') == rows
    assert read_qrels(tmp_path/'lab'/'qrels.tsv') == read_qrels(shared/'banking77'/'qrels'/'test.tsv')

def test_grades_titles_and_keys_of_their_own_come_in(tmp_path):
    put(tmp_path/'b'/'corpus.jsonl', '{"_id":"d1","title":"Lamps","text":"Dim it.","metadata":{"url":"u"}}\n{"_id":"d2","title":"","text":"Hold it.","metadata":{}}\n{"_id":"d3","text":""}\n{"_id":"d4","title":"Only a title","text":""}\n')
    put(tmp_path/'b'/'queries.jsonl', '{"_id":"q1","text":"dim the light","metadata":{}}\n{"_id":"q2","text":"reset"}\n{"_id":"q3","text":"never asked"}\n')
    put(tmp_path/'b'/'qrels'/'test.tsv', 'query-id\tcorpus-id\tscore\nq1\td1\t3\nq1\td2\t0\nq2\td3\t1\nq2\td4\t1\nq2\td9\t1\nq9\td1\t1\nq2\td4\t1\n')
    _, counts, _ = lab_of(tmp_path, [tmp_path/'b'])
    assert (tmp_path/'lab'/'corpus.jsonl').read_text() == '{"_id":"d1","title":"Lamps","text":"Dim it.","metadata":{"url":"u"}}\n{"_id":"d2","text":"Hold it."}\n{"_id":"d4","title":"Only a title","text":""}\n'
    rows = read_rows(tmp_path/'lab'/'gold.jsonl')
    assert [(o['passage_id'], o['label'], o.get('score')) for o in rows] == [('d1', 1, 3), ('d2', 0, None), ('d4', 1, None)] and rows[0]['passage'] == 'Lamps\nDim it.'
    assert read_qrels(tmp_path/'lab'/'qrels.tsv') == {'q1': {'d1': 3, 'd2': 0}, 'q2': {'d4': 1}}
    said = ' '.join(counts.lines())
    for o in ('4 documents read, 3 taken; 1 left out (no text', '3 queries read, 2 taken; 1 left out (no judgement', '7 judgements read, 3 taken; 1 merged',
        "(document without text, such as 'q2 d3')", "(no such document, such as 'q2 d9')", "(no such query, such as 'q9 d1')"): assert o in said

def test_the_check_of_a_collection_says_what_an_import_leaves_out(tmp_path):
    "One judgement of judgements: what an import counts and leaves out is no error, what leaves nothing is one"
    docs, queries, qrels = small()
    layouts['beir'](tmp_path/'b', docs | dict(empty=''), queries, qrels | dict(gold=qrels['gold'] | dict(nobody=dict(d1=1), q1=dict(nowhere=1, empty=1))))
    found = {o.rule: (o.level, o.count) for o in check_folder(tmp_path/'b').findings if o.rule.startswith(('qrels', 'schema'))}
    assert found == {'schema: empty': ('warn', 1), 'qrels: no query': ('warn', 1), 'qrels: no document': ('warn', 2)}
    _, counts, _ = lab_of(tmp_path, [tmp_path/'b'])
    said = ' '.join(counts.lines())
    assert all(o in said for o in ("1 left out (no such query, such as 'nobody d1')", "1 left out (no such document, such as 'q1 nowhere')", "1 left out (document without text, such as 'q1 empty')"))
    for k,rows in read_beir(tmp_path/'b').items(): assert rows == read_rows(tmp_path/'lab'/f'{k}.jsonl')
    layouts['beir'](tmp_path/'c', docs, queries, qrels | dict(gold=dict(nobody=dict(d1=1))))
    with pytest.raises(LabError, match='nothing relevant is left of 1 judgement for gold'): lab_of(tmp_path, [tmp_path/'c'], 'none')
    assert 'nothing to measure' in [o.rule for o in check_folder(tmp_path/'c').findings if o.level == 'fail']

def test_undivided_judgements_have_no_split_to_name(tmp_path):
    docs, queries, _ = small()
    for name,judgements,says in (('a', {'q1': {'nowhere': 1}}, r'nothing relevant is left of 1 judgement \(1: no such document'), ('b', {}, 'no judgements; add some')):
        put(tmp_path/name/'collection.tsv', table(docs.items()))
        put(tmp_path/name/'queries.tsv', table(queries.items()))
        put(tmp_path/name/'qrels.tsv', 'query-id\tcorpus-id\tscore\n' + table(judged(judgements)))
        with pytest.raises(LabError, match=says) as e: lab_of(tmp_path, [tmp_path/name])
        assert 'all' not in str(e.value).split(': ', 1)[1].split('do all files')[0]

def test_wrong_passages_become_negatives_in_rows_tables_and_texts(tmp_path):
    docs, queries, qrels = small(dict(train=60))
    wrong = {q: [f'd{(i + 3) % 60}', f'd{(i + 9) % 60}'] for i,q in enumerate(queries)}
    def passages(ds): return [dict(docid=d, text=docs[d]) for d in ds]
    put(tmp_path/'t'/'train.jsonl', jsonl_bytes(dict(query_id=q, query=queries[q], positive_passages=passages(ds), negative_passages=passages(wrong[q])) for q,ds in qrels['train'].items()))
    put(tmp_path/'m'/'collection.tsv', table(docs.items()))
    put(tmp_path/'m'/'queries.tsv', table(queries.items()))
    triples = [(q, d, o) for q,d,_ in judged(qrels['train']) for o in wrong[q]]
    put(tmp_path/'m'/'qidpidtriples.train.full.tsv.gz', table(triples))
    put(tmp_path/'x'/'triples.train.small.tsv', table((queries[q], docs[d], docs[o]) for q,d,o in triples))
    res = {k: lab_of(tmp_path, [tmp_path/k], f'{k}_lab') for k in 'tmx'}
    assert res['t'][2]['train.jsonl'] == res['m'][2]['train.jsonl'] and res['t'][1].rows == res['x'][1].rows
    def learnt(k): return sorted((o['query'], o['passage'], *o['negatives']) for o in read_rows(tmp_path/f'{k}_lab'/'train.jsonl'))
    assert learnt('t') == learnt('x') and learnt('t')[0][2:] and res['x'][1].tallies['negatives'].taken == 120

def test_a_negative_that_is_judged_right_is_left_out(tmp_path):
    docs, queries, qrels = small(dict(train=60))
    as_beir(tmp_path/'c', docs, queries, qrels)
    put(tmp_path/'c'/'triples.train.tsv', 'q1 d1 d2\nq1 d1 d1\nq2 d2 d9999\n')
    _, counts, _ = lab_of(tmp_path, [tmp_path/'c'])
    assert "3 hard negatives read, 1 taken; 1 left out (judged relevant, such as 'q1 d1'); 1 left out (no such document, such as 'q2 d9999')" in counts.lines()

def test_whole_documents_of_four_columns(tmp_path):
    put(tmp_path/'docs.tsv', 'D1\thttp://a\tLamps\tDim it.\nD2\t\t\tHold it.\n')
    put(tmp_path/'queries.tsv', '1\tdim the light\n')
    put(tmp_path/'msmarco-doctest-qrels.tsv', '1 0 D1 1\n')
    lab_of(tmp_path, [tmp_path/o for o in ('docs.tsv', 'queries.tsv', 'msmarco-doctest-qrels.tsv')])
    assert (tmp_path/'lab'/'corpus.jsonl').read_text() == '{"_id":"D1","title":"Lamps","text":"Dim it.","url":"http://a"}\n{"_id":"D2","text":"Hold it."}\n'

@pytest.mark.parametrize('seed', range(5))
def test_numbers_add_up_whatever_is_missing(tmp_path, seed):
    draw = random.Random(seed)
    docs, queries, qrels = small(dict(train=80, gold=30))
    for v in qrels.values():
        for ds in v.values(): ds |= {draw.choice([f'd{draw.randrange(200)}', 'gone', 'blank']): draw.choice([0, 1, 2]) for _ in range(draw.randrange(3))}
    docs |= dict(blank=' ')
    queries = {k: ' ' if draw.random() < .1 else v for k,v in queries.items() if draw.random() < .9}
    as_beir(tmp_path/'c', docs, queries, qrels)
    with (tmp_path/'c'/'corpus.jsonl').open('ab') as f: f.write(objects({k: docs[k] for k in list(docs)[:9]}))
    found, counts, _ = lab_of(tmp_path, [tmp_path/'c'], division=Division('fixed'))
    assert sum(counts.rows.values()) == counts.tallies['judgements'].taken and counts.tallies['documents'].merged == 9
    known = {(q, d): g for v in found.qrels.values() for q,d,g in judged(v)}
    for o in (o for k in counts.rows for o in read_rows(tmp_path/'lab'/f'{k}.jsonl')):
        assert o['query'] == queries[o['query_id']] and o['passage'] == docs[o['passage_id']] and known[o['query_id'], o['passage_id']] == o.get('score', o['label'])
    check_data(tmp_path/'lab')

# splits

@pytest.mark.parametrize('there', [['train'], ['train', 'gold'], ['train', 'dev']])
def test_what_is_missing_is_cut_from_train_without_leaks(tmp_path, there):
    per = dict(train=400, dev=30, gold=30)
    as_beir(tmp_path/'c', *small({k: per[k] for k in there}))
    _, counts, _ = lab_of(tmp_path, [tmp_path/'c'])
    assert list(counts.rows) == ['train', 'dev', 'gold'] and sum(counts.rows.values()) == sum(per[k] for k in there)
    assert all(counts.rows[k] == per[k] for k in there[1:]) and all(20 < counts.rows[k] < 70 for k in ('dev', 'gold'))
    rows = table_of({k: read_rows(tmp_path/'lab'/f'{k}.jsonl') for k in counts.rows})
    assert not [o for o in leaks_between(rows, Nearness(rows)) if o['rows']]
    assert {d: 1 for o in read_qrels(tmp_path/'lab'/'qrels.tsv').values() for d in o} == {o['passage_id']: 1 for o in read_rows(tmp_path/'lab'/'gold.jsonl')}
    check_data(tmp_path/'lab')

def test_undivided_judgements_are_divided(tmp_path):
    docs, queries, qrels = small(dict(train=300))
    for k,v in dict(collection=docs, queries=queries).items(): put(tmp_path/'c'/f'{k}.tsv', table(v.items()))
    put(tmp_path/'c'/'qrels.tsv', table(judged(qrels['train'])))
    assert list(lab_of(tmp_path, [tmp_path/'c'])[1].rows) == ['train', 'dev', 'gold']

def shared_answers(per, answers=8): # Every answer is that of many questions, in all splits
    docs, queries, qrels = small(per)
    return docs, queries, {k: {q: {f'd{int(q[1:]) % answers}': 1} for q in v} for k,v in qrels.items()}

def test_dev_is_cut_as_gold_was_where_all_splits_share_their_documents(tmp_path):
    as_beir(tmp_path/'both', *shared_answers(dict(train=400, gold=40)))
    _, counts, _ = lab_of(tmp_path, [tmp_path/'both'])
    assert list(counts.rows) == ['train', 'dev', 'gold'] and any('write `corpus = fixed`' in o for o in counts.lines())
    as_beir(tmp_path/'alone', *shared_answers(dict(train=400)))
    with pytest.raises(LabError, match='dev and gold cannot be cut from train: .*; or bring your own$'): lab_of(tmp_path, [tmp_path/'alone'], 'lab2')
    (tmp_path/'settings.ini').write_text('[DEFAULT]\ncorpus = fixed\n')
    assert len(lab_of(tmp_path, [tmp_path/'alone'], 'lab2')[1].rows) == 3

def test_a_test_set_alone_makes_data_to_judge_on_and_a_run_says_what_it_lacks(tmp_path):
    as_beir(tmp_path/'c', *small(dict(gold=40)))
    _, counts, files = lab_of(tmp_path, [tmp_path/'c'])
    assert list(files) == ['corpus.jsonl', 'gold.jsonl', 'qrels.tsv'] and 'this data can evaluate models, not train them' in counts.lines()[-1]
    with pytest.raises(LabError, match=r'has gold\.jsonl alone, .* add train\.jsonl and dev\.jsonl'): check_data(tmp_path/'lab')

@pytest.mark.parametrize('there', [['train', 'dev', 'gold'], ['train', 'gold'], ['gold']])
def test_check_and_init_take_beir_with_any_split(tmp_path, there):
    from embed_lab.labs.scaffold import init_lab
    per = dict(train=200, dev=30, gold=30)
    as_beir(tmp_path/'c', *small({k: per[k] for k in there}))
    res = check_folder(tmp_path/'c')
    assert [o['split'] for o in res.splits] == there and res.clean and sum(o.rule == 'missing' for o in res.findings) == 3 - len(there)
    made = init_lab(tmp_path/'lab', data=tmp_path/'c')
    assert (sorted(o.stem for o in made.lab.experiments.iterdir()) == ['exp_09_untuned']) == ('train' not in there) and made.said and check_folder(tmp_path/'lab').clean
    assert {o.stem for o in (tmp_path/'lab'/'data').glob('*.jsonl')} == {'corpus', 'gold'} | ({'train', 'dev'} if 'train' in there else set())

# what is no collection, and what is a broken one

@pytest.mark.parametrize('files', [
    {'train.jsonl': '{"query":"a","passage":"b","label":1}\n', 'corpus.jsonl': '{"_id":"d","text":"b"}\n', 'qrels.tsv': 'query-id\tcorpus-id\tscore\nq\td\t1\n'},
    {'data.jsonl': '{"query":"a","pos":["b"],"neg":["c"]}\n'}, {'data.csv': 'query,passage\na,b\n'}, {'docs/a.md': '# Hello\n', 'b.txt': 'hello\n'},
    {'corpus.jsonl': '{"_id":"d","text":"b"}\n'}, {'query_log.tsv': 'query\tpassage\na\tb\n', 'corpus.jsonl': '{"_id":"d","text":"b"}\n'}, {'queries.tsv': 'query\tpassage\na\tb\n'}, {'a.json': '[1, 2]'}, {'a.bin': b'\0\xff'}, {}])
def test_other_data_is_left_to_other_readers(tmp_path, files):
    for k,v in files.items(): put(tmp_path/k, v)
    assert find_collection([tmp_path]) is None and find_collection([tmp_path/'none']) is None

corpus, queries, qrels = '{"_id":"d1","text":"a"}\n{"_id":"d2","text":"b"}\n', '{"_id":"q1","text":"c"}\n', 'query-id\tcorpus-id\tscore\nq1\td1\t1\n'
tevatron = '{"query_id":"q","query":"a","positive_passages":%s,"negative_passages":[]}\n'

@pytest.mark.parametrize('files, why', [
    ({'corpus.jsonl': b'\0\1\2\xff' * 100}, r'corpus.jsonl:1: a NUL byte, as in binary'),
    ({'corpus.jsonl': corpus.encode('utf-16')}, r'corpus.jsonl:1: a NUL byte, as in binary'),
    ({'corpus.jsonl': corpus.encode('utf-16-le')}, r'corpus.jsonl:1: a NUL byte, as in binary files and UTF-16; save'),
    ({'corpus.jsonl': ''}, r'no document has a text; is this the right file'),
    ({'queries.jsonl': ''}, r"nothing relevant is left of 1 judgement for gold \(1: no such query, such as 'q1 d1'\); do all files use the same ids"),
    ({'corpus.jsonl': corpus + '{"_id":"d3",\n'}, r'corpus.jsonl:3: not JSON \(.*\); write one object a line'),
    ({'corpus.jsonl': corpus + '[1]\n'}, r'corpus.jsonl:3: \[1\] instead of an object'),
    ({'corpus.jsonl': corpus + '{"_id":"d3"}\n'}, r'corpus.jsonl:3: no `text`; this line has \["_id"\]'),
    ({'corpus.jsonl': corpus + '{"text":"x"}\n'}, r'corpus.jsonl:3: no `_id`; this line has \["text"\]'),
    ({'corpus.jsonl': corpus + '{"_id":"d3","text":7}\n'}, r'corpus.jsonl:3: `text` is 7, not text'),
    ({'corpus.jsonl': corpus + '{"_id":"","text":"x"}\n'}, r'corpus.jsonl:3: an empty id'),
    ({'corpus.jsonl': corpus + '{"_id":"d\\t3","text":"x"}\n'}, r"corpus.jsonl:3: the id 'd\\t3' holds a tab or a line break"),
    ({'corpus.jsonl': corpus + '{"_id":"d1","text":"x"}\n'}, r"corpus.jsonl:3: the id 'd1' is that of an earlier document with another text"),
    ({'corpus.jsonl': corpus + '{"_id":"d3","text":"' + 'x'*(1 << 25) + '"}\n'}, r'corpus.jsonl:3: a line of more than 16 MiB'),
    ({'queries.jsonl': queries + '{"_id":"q1","text":"x"}\n'}, r"queries.jsonl:2: the id 'q1' is that of another query, 'c'"),
    ({'queries.jsonl': None}, r'part of a collection without queries; name queries.jsonl or queries.tsv too'),
    ({'qrels/test.tsv': None}, r'part of a collection without judgements; name qrels/test.tsv or qrels.train.tsv too'),
    ({'qrels/test.tsv': 'q1\td1\n'}, r"test.tsv:1: 'q1\\td1' is not query, document and whole-number grade"),
    ({'qrels/test.tsv': qrels + 'q1\td2\t.5\n'}, r'test.tsv:3: .* is not query, document and whole-number grade'),
    ({'qrels/test.tsv': qrels + 'q1\td1\t2\n'}, r"test.tsv:3: grade 2 for query 'q1' and document 'd1', which already have grade 1"),
    ({'qrels/test.tsv': 'q1 Q0 d1 1 2.5 bm25\n'}, r'test.tsv:1: .* is not query, document'),
    ({'qrels/test.tsv': 'query-id\tcorpus-id\tscore\n'}, r'no judgements for gold; remove that file'),
    ({'qrels/test.tsv': qrels.replace('\t1\n', '\t0\n')}, r'nothing relevant is left of 1 judgement for gold \(no grade is above 0\)'),
    ({'qrels/test.tsv': None, 'qrels/dev.tsv': qrels}, r"judgements for dev alone, but a lab is judged by gold; if they are the test set, put `test` into the file's name"),
    ({'qrels/dev_test.tsv': qrels}, r'dev_test.tsv: the name says dev and gold; rename it'),
    ({'qrels/more.tsv': qrels}, r'some file names say their split and others do not'),
    ({'corpus.jsonl.gz': corpus}, r'corpus.jsonl and corpus.jsonl.gz both exist; keep one')])
def test_a_broken_collection_is_refused_in_one_line_and_leaves_nothing(tmp_path, files, why):
    for k,v in {'corpus.jsonl': corpus, 'queries.jsonl': queries, 'qrels/test.tsv': qrels, **files}.items(): v is None or put(tmp_path/'c'/k, v)
    with pytest.raises(LabError, match=why) as e: lab_of(tmp_path, [tmp_path/'c'])
    assert '\n' not in str(e.value) and len(str(e.value)) < 500 and not (tmp_path/'lab').exists()

@pytest.mark.parametrize('name, text, why', [
    ('train.jsonl', tevatron % '"x"', r'train.jsonl:1: passages are "x"; write a list of objects'),
    ('train.jsonl', tevatron % '[{"docid":"d"}]', r'train.jsonl:1: no `text`; this line has \["docid"\]'),
    ('train.jsonl', tevatron.replace('"query_id":"q",', '') % '[]', r'train.jsonl:1: no `query_id` and `query` as text'),
    ('train.json', '{"queries":{"q":1},"corpus":{},"relevant_docs":{}}', r"train.json: not LlamaIndex's queries, corpus and relevant_docs \(Expected `str`, got `int`.*save_json`"),
    ('train.json', '{"queries":{"q":"a"},', r"train.json: not LlamaIndex's queries, corpus and relevant_docs"),
    ('triples.train.tsv', 'a b\tc d\n', r'triples.train.tsv:1: 2 columns where a triple has'),
    ('triples.train.tsv', '1\t2\t3\n', r'triples.train.tsv: part of a collection without documents; name corpus.jsonl or collection.tsv too')])
def test_broken_rows_objects_and_triples_are_refused_in_one_line(tmp_path, name, text, why):
    put(tmp_path/'c'/name, text)
    with pytest.raises(LabError, match=why) as e: lab_of(tmp_path, [tmp_path/'c'])
    assert '\n' not in str(e.value) and not (tmp_path/'lab').exists()

def test_a_damaged_gzip_file_is_named(tmp_path):
    as_beir(tmp_path/'c', *small(dict(gold=400)))
    plain = tmp_path/'c'/'corpus.jsonl'
    put(tmp_path/'c'/'corpus.jsonl.gz', plain.read_bytes()).write_bytes(gzip.compress(plain.read_bytes())[:-50])
    plain.unlink()
    with pytest.raises(LabError, match=r'corpus\.jsonl\.gz:\d+: the gzip file is damaged \(.*\); copy it again'): lab_of(tmp_path, [tmp_path/'c'])

def test_a_file_that_is_no_part_of_it_is_refused_where_named_and_said_where_found(tmp_path):
    as_beir(tmp_path/'c', *small(dict(gold=40)))
    put(tmp_path/'c'/'notes.csv', 'a,b\n')
    assert 'not read: notes.csv' in find_collection([tmp_path/'c']).notes
    with pytest.raises(LabError, match='notes.csv is not part of the collection'): find_collection([tmp_path/'c'/'corpus.jsonl', tmp_path/'c'/'queries.jsonl', tmp_path/'c'/'qrels'/'test.tsv', tmp_path/'c'/'notes.csv'])

# writing

def test_files_that_another_layout_would_use_are_named_as_not_read(tmp_path):
    docs, queries, qrels = small(dict(train=60))
    as_tevatron(tmp_path/'c', docs, queries, qrels)
    put(tmp_path/'c'/'queries.tsv', table(queries.items()))
    found = find_collection([tmp_path/'c'])
    assert found.layout.startswith('Tevatron') and found.notes == ['not read: queries.tsv']

def test_data_that_is_there_is_never_mixed_with_what_comes_in(tmp_path):
    as_beir(tmp_path/'c', *small())
    put(tmp_path/'lab'/'guard.jsonl', 'mine')
    with pytest.raises(LabError, match='guard.jsonl exists, and an import overwrites nothing; name another folder'): lab_of(tmp_path, [tmp_path/'c'])
    assert [o.name for o in (tmp_path/'lab').iterdir()] == ['guard.jsonl']

def test_a_collection_is_written_twice_alike(tmp_path):
    as_beir(tmp_path/'c', *small(dict(train=60, gold=20)))
    found = find_collection([tmp_path/'c'])
    first, again = (write_collection(found, tmp_path/o) for o in 'ab')
    assert first == again and again.lines() == first.lines()

@pytest.mark.parametrize('fresh', [True, False])
def test_an_interrupted_import_leaves_nothing(tmp_path, monkeypatch, fresh):
    as_beir(tmp_path/'c', *small())
    if not fresh: (tmp_path/'lab').mkdir()
    moved, replace = [], os.replace
    def stop(a, b):
        if len(moved) == 2: raise KeyboardInterrupt
        moved.append(replace(a, b))
    monkeypatch.setattr(os, 'replace', stop)
    with pytest.raises(KeyboardInterrupt): lab_of(tmp_path, [tmp_path/'c'])
    assert len(moved) == 2 and (not (tmp_path/'lab').exists() if fresh else not list((tmp_path/'lab').iterdir()))

def test_documents_are_not_held(tmp_path):
    n, text = 6000, 'x'*4000
    put(tmp_path/'c'/'collection.tsv.gz', table((f'd{i}', f'{i} {text}') for i in range(n)))
    put(tmp_path/'c'/'queries.tsv', table((f'q{i}', f'question {i}') for i in range(100)))
    put(tmp_path/'c'/'qrels.test.tsv', table((f'q{i}', f'd{i}', 1) for i in range(100)))
    tracemalloc.start()
    try:
        lab_of(tmp_path, [tmp_path/'c'])
        _, peak = tracemalloc.get_traced_memory()
    finally: tracemalloc.stop()
    assert peak < n*len(text)/4, f'{peak:,} bytes for {n*len(text):,} bytes of documents'

def test_an_import_takes_no_grade_that_the_check_would_refuse(tmp_path):
    put(tmp_path/'collection.tsv', 'd0\thold the button\nd1\topen settings\n')
    put(tmp_path/'queries.tsv', 'q0\treset my router\n')
    put(tmp_path/'qrels.test.tsv', 'q0\t0\td0\t1001\n')
    with pytest.raises(LabError, match='a grade beyond -1,000 to 1,000'): write_collection(find_collection([tmp_path]), tmp_path/'data')
