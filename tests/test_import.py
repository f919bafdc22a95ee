"What an import promises of anyone's files: the same rows out of every layout, none lost or invented, all files or none, and one line for what cannot be read"
import csv, gzip, io, json, os, shlex, time
from pathlib import Path
from tempfile import TemporaryDirectory
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data import files, importing
from embed_lab.data.columns import find_columns, refuse_foreign_file
from embed_lab.data.files import file_hash, write_rows
from embed_lab.data.folder import check_data
from embed_lab.data.formats import detect_format, read_records
from embed_lab.data.importing import import_data
from embed_lab.data.reading import Scan, read_rows, scan_blocks
from embed_lab.data.split import split_names
from embed_lab.lab import LabError
from support import root
from hypothesis import HealthCheck, given, settings, strategies as st

shared = root.parent/'shared'/'data'
needs_shared = pytest.mark.skipif(not shared.is_dir(), reason='the real data sets for development are not beside this checkout')

def pairs(n=60):
    "Rows that have nothing in common, some with what tables must quote"
    odd = ['', ' "so to say"', ', and more', '\nin two lines', '; then wait', '\twith a tab', ' é ü 日本', " '] [{"]
    return [dict(query=f'ask{i} about{i} this{i}{odd[i % 8]}', passage=f'say{i} that{i} again{i}{odd[(i + 3) % 8]}', label=1) for i in range(n)]

def texts(rows): return [{k: v if isinstance(v, str) else json.dumps(v) for k,v in o.items()} for o in rows]

def table(rows, delimiter=',', encoding='utf-8', **kw):
    out = io.StringIO(newline='')
    w = csv.DictWriter(out, list(dict.fromkeys(k for o in rows for k in o)), delimiter=delimiter, **kw)
    w.writeheader()
    w.writerows(texts(rows))
    return out.getvalue().encode(encoding)

def renamed(rows, **names): return [{names.get(k, k): v for k,v in o.items()} for o in rows]
def lines(rows, **kw): return '\n'.join(json.dumps(o, **kw) for o in rows).encode()
def without(rows, *keys): return [{k: v for k,v in o.items() if k not in keys} for o in rows]

def hashes(folder): return {o.name: file_hash(o) for o in sorted(folder.iterdir()) if o.is_file()}

@pytest.fixture(scope='module')
def wanted(tmp_path_factory):
    "What the plain layout becomes"
    at = tmp_path_factory.mktemp('wanted')
    write_rows(at/'all.jsonl', pairs())
    import_data([at/'all.jsonl'], at/'data')
    assert [*hashes(at/'data')] == ['corpus.jsonl', 'dev.jsonl', 'gold.jsonl', 'train.jsonl']
    return hashes(at/'data')

# every layout

text_layouts = {
    'rows.csv': table, 'no_suffix': table, 'bom.csv': lambda o: table(o, encoding='utf-8-sig'), 'excel.csv': lambda o: table(o, ';', 'utf-16'),
    'rows.tsv': lambda o: table(o, '\t'), 'all_quoted.tsv': lambda o: table(o, '\t', quoting=csv.QUOTE_ALL), 'crlf.csv': lambda o: table(o, lineterminator='\r\n'), 'bar.txt': lambda o: table(o, '|'),
    'blank_first.csv': lambda o: b'\n' + table(o), 'rows.ndjson': lines, 'unicode.jsonl': lambda o: lines(o, ensure_ascii=False), 'utf16.jsonl': lambda o: lines(o).decode().encode('utf-16'),
    'array.json': lambda o: json.dumps(o).encode(), 'pretty.json': lambda o: json.dumps(o, indent=2, ensure_ascii=False).encode(), 'objects.json': lambda o: lines(o, indent=1),
    'around.json': lambda o: json.dumps(dict(version=[1, 2], info=dict(a=dict(b='{')), data=o, more='}')).encode(), 'rows.csv.gz': lambda o: gzip.compress(table(o)), 'zipped.json': lambda o: gzip.compress(json.dumps(o, indent=1).encode()),
    'no_label.csv': lambda o: table(without(o, 'label')), 'label_words.csv': lambda o: table([r | dict(label='True') for r in o]), 'label_float.json': lambda o: json.dumps([r | dict(label=1.0) for r in o]).encode(),
    'qa.csv': lambda o: table(renamed(without(o, 'label'), query='Question', passage='Answer')), 'st.jsonl': lambda o: lines(renamed(without(o, 'label'), query='anchor', passage='positive')),
    'blog.json': lambda o: json.dumps(renamed(without(o, 'label'), query='title', passage='body')).encode(), 'chat.csv': lambda o: table(renamed(o, query='prompt', passage='response')),
    'index.csv': lambda o: table([{'': i} | r for i,r in enumerate(o)]), 'flag_short.jsonl': lambda o: lines([dict(query=r['query'], pos=[r['passage']], neg=[]) for r in o])}

@pytest.mark.parametrize('name', text_layouts)
def test_each_text_layout_gives_the_same_files(name, tmp_path, wanted):
    (tmp_path/name).write_bytes(text_layouts[name](pairs()))
    import_data([tmp_path/name], tmp_path/'data')
    assert hashes(tmp_path/'data') == wanted

def arrow_layouts(at, rows):
    import pyarrow as pa, pyarrow.parquet as pq
    from datasets import Dataset
    t = pa.Table.from_pylist(rows)
    pq.write_table(t, at/'rows.parquet', row_group_size=7)
    yield at/'rows.parquet'
    for name,new in (('file.arrow', pa.ipc.new_file), ('stream.arrow', pa.ipc.new_stream)):
        with new(str(at/name), t.schema) as w: w.write_table(t, max_chunksize=11)
        yield at/name
    t.to_pandas().to_parquet(at/'pandas.parquet')
    yield at/'pandas.parquet'
    Dataset.from_list(rows).save_to_disk(at/'saved', num_shards=3)
    yield at/'saved'
    (at/'shards').mkdir()
    for i in range(3): pq.write_table(t.slice(i*len(rows)//3, len(rows)//3), at/'shards'/f'part-{i}.parquet')
    yield at/'shards'

def test_each_columnar_layout_gives_the_same_files(tmp_path, wanted, capfd):
    for i,path in enumerate(arrow_layouts(tmp_path, pairs())):
        import_data([path], tmp_path/f'data{i}')
        assert hashes(tmp_path/f'data{i}') == wanted, path

def test_splits_that_say_so_are_kept(tmp_path, capfd):
    from datasets import Dataset, DatasetDict
    parts = dict(train=pairs(40), dev=pairs(50)[40:], gold=pairs()[50:])
    DatasetDict(dict(zip(('train', 'validation', 'test'), map(Dataset.from_list, parts.values())))).save_to_disk(tmp_path/'saved')
    (tmp_path/'files').mkdir()
    for k,v in zip(('train', 'valid', 'test'), parts.values()): (tmp_path/'files'/f'faq-{k}.csv').write_bytes(table(v))
    for k,v in zip(('training', 'dev', 'gold'), parts.values()): (tmp_path/'own'/k).mkdir(parents=True), write_rows(tmp_path/'own'/k/'0.jsonl', v)
    for o in ('saved', 'files', 'own'):
        import_data([tmp_path/o], tmp_path/f'{o}_data')
        assert {k: read_rows(tmp_path/f'{o}_data'/f'{k}.jsonl') for k in parts} == parts
        assert len((tmp_path/f'{o}_data'/'corpus.jsonl').read_text().splitlines()) == 60
    import_data(sorted((tmp_path/'files').iterdir()), tmp_path/'named')
    assert hashes(tmp_path/'named') == hashes(tmp_path/'own_data')

@pytest.mark.parametrize('there,missing', [(('train', 'test'), 'dev'), (('train', 'dev'), 'gold')])
def test_what_is_missing_is_cut_from_train(tmp_path, there, missing):
    from embed_lab.data.check import failing_leaks
    rows = [o | dict(group=f'g{i//3}') for i,o in enumerate(pairs(300))]
    write_rows(tmp_path/f'{there[0]}.jsonl', rows)
    write_rows(tmp_path/f'{there[1]}.jsonl', pairs(340)[300:])
    res = import_data([tmp_path/f'{o}.jsonl' for o in there], tmp_path/'data')
    got = {k: read_rows(tmp_path/'data'/f'{k}.jsonl') for k in split_names}
    assert sorted(o['query'] for o in got['train'] + got[missing]) == sorted(o['query'] for o in rows) and 10 < len(got[missing]) < 60
    assert not failing_leaks(got) and any(o.startswith(f'{missing}: ') and 'cut from train' in o for o in res.lines())

def test_a_test_set_alone_makes_data_to_evaluate_on(tmp_path):
    write_rows(tmp_path/'test.jsonl', pairs())
    res = import_data([tmp_path/'test.jsonl'], tmp_path/'data')
    assert [*hashes(tmp_path/'data')] == ['corpus.jsonl', 'gold.jsonl'] and 'no rows for train: this data can evaluate models, not train them' in res.lines()
    write_rows(tmp_path/'dev.jsonl', pairs())
    with pytest.raises(LabError, match='rows for dev alone'): import_data([tmp_path/'dev.jsonl'], tmp_path/'other')

def test_what_stands_beside_a_labs_own_splits_is_copied(tmp_path):
    own = tmp_path/'own'
    named = [o | dict(query_id=f'q{i}', passage_id=f'd{i}') for i,o in enumerate(pairs())]
    for k,v in dict(train=named[:40], dev=named[40:50], gold=named[50:]).items(): write_rows(own/f'{k}.jsonl', v)
    write_rows(own/'corpus.jsonl', [dict(_id=o['passage_id'], text=o['passage']) for o in named] + [dict(_id='more', text='nobody asks for this')])
    (own/'qrels.tsv').write_text('query-id\tcorpus-id\tscore\n' + ''.join(f"{o['query_id']}\t{o['passage_id']}\t2\n" for o in named[50:]))
    import_data([own], tmp_path/'data')
    assert hashes(tmp_path/'data').keys() == hashes(own).keys() and all(hashes(tmp_path/'data')[o] == hashes(own)[o] for o in ('corpus.jsonl', 'qrels.tsv'))
    assert read_rows(tmp_path/'data'/'gold.jsonl') == named[50:]

def alike(n=300): return [dict(sentence1=o['query'], sentence2=o['passage'], score=i/n) for i,o in enumerate(pairs(n))]

def checks(folder):
    "What `emb check` says of an import, which it must not refuse"
    res = CliRunner().invoke(app, ['check', str(folder)])
    assert res.exit_code == 0 and 'Sound' in res.stdout, res.output
    return res.stdout

@pytest.mark.parametrize('name', ['sts.tsv', 'test.jsonl'])
def test_fractional_scores_ask_for_a_threshold(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(table(alike(), '\t') if name.endswith('tsv') else lines(alike()))
    line = f"emb import {name} --map 'label=score>=0.5'"
    res = CliRunner().invoke(app, ['import', name])
    assert res.exit_code == 2 and res.stderr.count('\n') == 1 and res.stderr.endswith(f'say from which number on a passage is relevant, such as 0.5: {line}\n') and not Path('data').exists()
    res = CliRunner().invoke(app, [*shlex.split(line)[1:]])
    assert res.exit_code == 0 and "label 1 where `score` is at least 0.5, score from `score` (in train; dev and gold are judged by `label`)" in res.stdout and 'is kept as `similarity` in' in res.stdout
    got = {o.stem: read_rows(o) for o in Path('data').iterdir() if o.stem in split_names}
    score = {o['sentence1']: o['score'] for o in alike()}
    assert all(o['label'] == (score[o['query']] >= .5) and o['score' if k == 'train' else 'similarity'] == score[o['query']] for k,v in got.items() for o in v)
    assert sum(map(len, got.values())) == 300 and not any('score' in o for k in ('dev', 'gold') for o in got.get(k, ()))
    if 'train' in got: assert f"{100*sum(o['label'] for o in got['train'])/len(got['train']):.1f}% of them relevant" in res.stdout
    checks('data')

def test_fractions_after_the_sample_are_refused_too(tmp_path):
    rows = [o | dict(score=i % 2) for i,o in enumerate(alike(700))]
    rows[650]['score'] = .25
    write_rows(tmp_path/'sts.jsonl', rows)
    with pytest.raises(LabError, match=r"sts.jsonl:651: `score` holds 0.25.*--map 'label=score>=0.5'"): import_data([tmp_path/'sts.jsonl'], tmp_path/'data')

def test_fractional_scores_beside_a_label(tmp_path):
    rows = [o | dict(label=i % 2, similarity='as it was') for i,o in enumerate(alike())]
    write_rows(tmp_path/'sts.jsonl', rows)
    res = import_data([tmp_path/'sts.jsonl'], tmp_path/'data')
    assert any(o.startswith('`score` is kept as `similarity_2` in dev and gold') for o in res.lines())
    assert 'score' in read_rows(tmp_path/'data'/'train.jsonl')[0] and {*read_rows(tmp_path/'data'/'gold.jsonl')[0]} == {'query', 'passage', 'label', 'similarity', 'similarity_2'}
    checks(tmp_path/'data')

def test_whole_grades_of_gold_survive_fractions_in_train(tmp_path):
    rows = [dict(query=o['sentence1'], passage=o['sentence2'], label=1, score=o['score']) for o in alike()]
    write_rows(tmp_path/'train.jsonl', rows[:40])
    for k,v in dict(dev=rows[40:50], gold=rows[50:]).items(): write_rows(tmp_path/f'{k}.jsonl', [o | dict(score=2) for o in v])
    import_data([tmp_path/f'{o}.jsonl' for o in split_names], tmp_path/'data')
    assert [{o['score'] for o in read_rows(tmp_path/'data'/f'{k}.jsonl')} for k in ('dev', 'gold')] == [{2}, {2}]

def test_a_threshold_for_whole_grades(tmp_path):
    write_rows(tmp_path/'test.jsonl', [o | dict(score=i % 5) for i,o in enumerate(alike())])
    import_data([tmp_path/'test.jsonl'], tmp_path/'data', mapping=['label=score>=3'])
    assert {(o['similarity'], o['label']) for o in read_rows(tmp_path/'data'/'gold.jsonl')} == {(0, 0), (1, 0), (2, 0), (3, 1), (4, 1)}

@pytest.mark.parametrize('words,message', [(f'label={o}', 'write a column, >= and a number') for o in ('score>0.5', 'score>=', 'score>=nan', 'score>=inf', 'score>=x', '>=1', 'score<=2')] +
    [('label=skore>=0.5', 'did you mean `score`'), ('label=score', "--map 'label=score>=0.5'"), ('label=score>=9', 'no row of gold has label 1')])
def test_a_threshold_that_says_nothing(words, message, tmp_path):
    write_rows(tmp_path/'test.jsonl', alike())
    with pytest.raises(LabError) as e: import_data([tmp_path/'test.jsonl'], tmp_path/'data', mapping=[words])
    assert message in str(e.value) and '\n' not in str(e.value) and not (tmp_path/'data').exists()

# what columns become

def rows_of(tmp_path, record, n=1, name='test.jsonl', **kw):
    "Rows of one record, through the whole import"
    (tmp_path/name).write_bytes(record if isinstance(record, bytes) else lines(record if isinstance(record, list) else [record]))
    import_data([tmp_path/name], tmp_path/'made', **kw)
    return read_rows(tmp_path/'made'/'gold.jsonl')

base = dict(query='a', passage='b', label=1)

@pytest.mark.parametrize('record,row', [
    (dict(anchor='a', positive='b', negative='c'), base | dict(negatives=['c'])), (dict(anchor='a', positive='b', negative='c', negative_2='d', negative_10=None), base | dict(negatives=['c', 'd'])),
    (dict(query='a', positive='b', negative_1='c', negative_2=''), base | dict(negatives=['c'])), (dict(sentence1='a', sentence2='b', score=3.0), base | dict(score=3)),
    (dict(sentence1='a', sentence2='b', score=0), base | dict(label=0, score=0)), (dict(query='a', passage='b', similarity='5.0'), base | dict(score=5)), (dict(query='a', passage='b', label=1, similarity='0.5'), base | dict(similarity=.5)),
    (dict(query='a', pos=['b'], neg=['c', 'd'], pos_scores=[.9], neg_scores=[.2, .1], prompt='p', type='t'), base | dict(negatives=['c', 'd'], prompt='p', type='t', teacher_scores=[.9, .2, .1])),
    (dict(query='a', pos=['b'], neg=['c', 'd'], pos_scores=[.9], neg_scores=[.2]), base | dict(negatives=['c', 'd'], pos_scores=[.9], neg_scores=[.2])),
    (dict(query='a', passage='b', tags='x', group=3.0, note=None), base | dict(group=3, tags=['x'])), (dict(query='a', title='t', text='b'), base | dict(title='t')), (dict(query='a', passage='b', context='c'), base | dict(context='c'))])
def test_what_columns_become(tmp_path, record, row):
    assert rows_of(tmp_path, [record, dict(record, **{next(iter(record)): 'another'}) | (dict(score=1) if 'score' in record else {})])[0] == row

@pytest.mark.parametrize('record,row', [
    (dict(neg=['c', '', None], pos_scores=[7], neg_scores=[1, 9, None]), dict(negatives=['c'], teacher_scores=[7, 1])), (dict(pos_scores=[7], neg_scores=[]), dict(teacher_scores=[7])), (dict(neg=[], pos_scores=[7], neg_scores=None), dict(teacher_scores=[7])),
    (dict(neg=['c'], pos_scores=['7.5'], neg_scores=['-1']), dict(negatives=['c'], teacher_scores=[7.5, -1])), (dict(neg=['c'], pos_scores=[], neg_scores=[]), dict(negatives=['c'], pos_scores=[], neg_scores=[])),
    *((dict(neg=['c', 'd'], pos_scores=[7], neg_scores=o), dict(negatives=['c', 'd'], pos_scores=[7], neg_scores=o)) for o in ([1], [1, 2, 3], [1, 'high'], [1, True], [1, None], [1, 1e300], [1, [2]], 1, {})),
    (dict(neg=['c'], pos_scores=[7]), dict(negatives=['c'], pos_scores=[7])), (dict(neg=['c'], teacher_scores=[7, 1]), dict(negatives=['c'], teacher_scores=[7, 1]))])
def test_a_teachers_scores_stay_with_their_passages_or_as_they_were(tmp_path, record, row):
    "A score whose passage is not known would be read for another one"
    (tmp_path/'test.jsonl').write_bytes(lines([dict(query='a', pos=['b']) | record, dict(query='e', pos=['f'])]))
    said = import_data([tmp_path/'test.jsonl'], tmp_path/'made').said
    assert read_rows(tmp_path/'made'/'gold.jsonl')[0] == base | row
    unmatched = 'teacher_scores' not in row
    assert any("1 row keeps its teacher's scores as they are, unread: there must be one number for each passage (" in o for o in said) == unmatched
    check_data(tmp_path/'made', train=False)

def test_scores_in_a_cell_and_under_another_name(tmp_path):
    (tmp_path/'test.csv').write_bytes(table([dict(query='a', passage='b', negatives='["c"]', ce='[0.5, -1]'), dict(query='d', passage='e', negatives='["c"]', ce='[7]'), dict(query='f', passage='g', negatives='', ce='')]))
    res = import_data([tmp_path/'test.csv'], tmp_path/'made', mapping=['teacher_scores=ce'])
    assert read_rows(tmp_path/'made'/'gold.jsonl') == [base | dict(negatives=['c'], teacher_scores=[.5, -1]), dict(query='f', passage='g', label=1)]
    assert 'teacher_scores from `ce`, which recipe `distil` learns from' in res.said[0] and any('1 row left out: `teacher_scores` holds 1 number, and the passage and its `negatives` are 2' in o for o in res.said)

def test_several_positives_are_several_rows(tmp_path):
    rows = rows_of(tmp_path, dict(query='a', pos=['b', 'c'], neg=['d'], pos_scores=[3, 2], neg_scores=[1]))
    assert rows == [base | dict(negatives=['d'], teacher_scores=[3, 1]), base | dict(passage='c', negatives=['d'], teacher_scores=[2, 1])]

@pytest.mark.parametrize('cell,negatives', [('["c", "d"]', ['c', 'd']), ("['c', 'd']", ['c', 'd']), ("['c' 'd']", ["['c' 'd']"]), ('c', ['c']), ('[c', ['[c']), ('', None), ('[]', None)])
def test_lists_in_cells(tmp_path, cell, negatives):
    "numpy writes lists without commas, and Python would read two texts as one"
    row = rows_of(tmp_path, table([dict(query='a', passage='b', negatives=cell), dict(query='e', passage='f', negatives='g')]), name='test.csv')[0]
    assert row.get('negatives') == negatives

def test_a_mapping_by_hand(tmp_path):
    record = dict(query='SELECT 1', frage='a', antwort='b', n1='c', n2='d', rank='2')
    rows = rows_of(tmp_path, [record], mapping=['query=frage', 'passage=antwort', 'negatives=n1', 'negatives=n2', 'score=rank'])
    assert rows == [base | dict(score=2, negatives=['c', 'd'])]

@pytest.mark.parametrize('record,message', [
    (dict(question='a', context='b', answer='c'), '`context` and `answer` could each be the passage; say which: emb import x --map query=question --map passage=context'),
    (dict(query='a', question='b', answer='c'), '`query` and `question` could each be the query'), (dict(instruction='a', input='b', output='c'), '`instruction` and `input` could each be the query'),
    ({'my col': 'a', 'b': 'longer'}, "say which: emb import x --map query='my col' --map passage=b"), (dict(a='a', passage='longer'), 'no column is known as the query (there are `a`, `passage`); say which: emb import x --map query=a --map passage=passage'),
    (dict(query='a', n=1), 'fewer than two columns hold text'), (dict(query='a', passage='b', label=2), '`label` holds 2, and a label is 0 or 1; if these are grades: emb import x --map score=label'), (dict(query='a', passage='b', label=.5), "such as 0.5: emb import x --map 'label=label>=0.5'"),
    (dict(query='a', passage='b', label=['x']), 'this is a category: emb import x --map tags=label')])
def test_what_is_ambiguous_is_refused_with_what_to_type(record, message):
    with pytest.raises(LabError) as e: find_columns([record], place='x.csv', source='x')
    assert message in str(e.value) and '\n' not in str(e.value)

def test_a_weak_name_steps_back_and_odd_names_are_escaped():
    found = find_columns([{'question': 'a', 'title': 'b', 'prompt': 'p', 'response': 'c', '<script>\x1b[31m\n': 'd'}])
    assert str(found) == 'query from `question`, passage from `response`, label 1; kept, but not read: `title`, `prompt`, `<script>\\x1b[31m`'

# a first line that is not a header

rows_alone = {'questions': [[o['query'].strip('\n'), o['passage']] for o in pairs(8)[:4]], 'with_labels': [['how do I reset my router', 'hold the button', '1'], ['how do I pair a headset', 'open settings', '0']],
    'with_ids': [['q1', 'reset my router now', 'd7', 'hold it'], ['q2', 'pair', 'd9', 'open it']], 'categories': [['router', 'how do I reset it?', 'hold the button'], ['router', 'and now?', 'wait'], ['headset', 'how?', 'open settings']],
    'chinese': [['如何重置路由器？', '按住按钮十秒钟，然后等待指示灯变绿'], ['如何配对耳机？', '打开设置']], 'long': [['reset router', 'x'*60], ['pair headset', 'y'*30]]}

@pytest.mark.parametrize('name', rows_alone)
@pytest.mark.parametrize('delimiter', [',', '\t', ';'])
def test_a_table_without_a_header_is_refused(name, delimiter, tmp_path):
    out = io.StringIO(newline='')
    csv.writer(out, delimiter=delimiter).writerows(rows_alone[name])
    (tmp_path/'faq.csv').write_text(out.getvalue())
    res = CliRunner().invoke(app, ['import', str(tmp_path/'faq.csv'), '--to', str(tmp_path/'data')])
    example = {',': 'query,passage', '\t': 'query<tab>passage', ';': 'query;passage'}[delimiter]
    assert res.exit_code == 2 and res.stderr.count('\n') == 1 and 'the first line must name the columns' in res.stderr and res.stderr.endswith(f'such as {example}\n'), res.stderr
    res = CliRunner().invoke(app, ['check', str(tmp_path/'faq.csv')])
    assert res.exit_code == 2 and 'the first line must name the columns' in res.stderr
    (tmp_path/'faq.csv').write_text(delimiter.join(['query', 'passage', 'a', 'b'][:len(rows_alone[name][0])]) + '\n' + out.getvalue())
    try: import_data([tmp_path/'faq.csv'], tmp_path/'data')
    except LabError as e: assert 'first line' not in str(e) # so few rows cannot be split

@pytest.mark.parametrize('names', [['Frage', 'Antwort'], ['Häufige Frage', 'Antwort'], ['0', '1'], ['Timestamp', 'What is your question?', 'What would you answer?'], ['col_1', 'col_2'], ['reset', 'hold']])
def test_names_that_are_unknown_are_still_names(names, tmp_path):
    rows = [dict(zip(names, ['1 May', o['query'], o['passage']][-len(names):])) for o in pairs()]
    (tmp_path/'faq.csv').write_bytes(table(rows))
    with pytest.raises(LabError, match='--map query='): import_data([tmp_path/'faq.csv'], tmp_path/'data')

def test_odd_names_can_be_mapped(tmp_path, wanted):
    (tmp_path/'faq.csv').write_bytes(table(renamed(without(pairs(), 'label'), query='What do you want to know?', passage='And what is the answer to it?')))
    with pytest.raises(LabError, match='the first line must name'): import_data([tmp_path/'faq.csv'], tmp_path/'data')
    import_data([tmp_path/'faq.csv'], tmp_path/'data', mapping=['query=What do you want to know?', 'passage=And what is the answer to it?'])
    assert hashes(tmp_path/'data') == wanted

@pytest.mark.parametrize('above', ['FAQ export 2024,,\n', 'FAQ export 2024,,\n,,\n', 'our questions,and answers,2024\n'])
def test_a_title_above_the_names_is_named_and_no_column_without_a_name_is_offered(above, tmp_path):
    (tmp_path/'faq.csv').write_bytes(above.encode() + table([o | dict(date='today') for o in without(pairs(), 'label')]))
    with pytest.raises(LabError, match='looks like a name in a later line; remove the lines above that one'): import_data([tmp_path/'faq.csv'], tmp_path/'data')
    (tmp_path/'odd.csv').write_bytes(b'Our,,\n' + table(pairs()).split(b'\n', 1)[1])
    with pytest.raises(LabError) as e: import_data([tmp_path/'odd.csv'], tmp_path/'data')
    assert "=''" not in str(e.value)

def test_names_in_two_lines_can_be_mapped_as_they_are_shown(tmp_path, wanted):
    (tmp_path/'faq.csv').write_bytes(table(renamed(pairs(), query='Frage\n(de)', passage='Antwort \n (de)')))
    with pytest.raises(LabError, match=r'there are `Frage \(de\)`, `Antwort \(de\)`'): import_data([tmp_path/'faq.csv'], tmp_path/'data')
    import_data([tmp_path/'faq.csv'], tmp_path/'data', ['query=Frage (de)', 'passage=Antwort (de)'])
    assert hashes(tmp_path/'data') == wanted

def test_rows_of_which_none_is_relevant_are_refused_for_that(tmp_path):
    (tmp_path/'faq.csv').write_bytes(table([o | dict(label=0) for o in pairs()]))
    with pytest.raises(LabError, match=r'no row is relevant \(60 rows with label 0\)'): import_data([tmp_path/'faq.csv'], tmp_path/'data')

def test_a_first_row_that_repeats_a_value(tmp_path):
    (tmp_path/'faq.csv').write_text('how do I reset it,1,1\nhow do I pair it,1,0\n')
    with pytest.raises(LabError, match='two columns are called `1`.*put a line of names above it'): import_data([tmp_path/'faq.csv'], tmp_path/'data')

@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('delimiter', [';', ',', '\t'])
def test_excels_separator_line_is_not_a_row(encoding, delimiter, tmp_path, wanted):
    content = f'sep={delimiter}\r\n' + table(pairs(), delimiter).decode()
    (tmp_path/'faq.csv').write_bytes(content.encode(encoding))
    import_data([tmp_path/'faq.csv'], tmp_path/'data')
    assert hashes(tmp_path/'data') == wanted
    (tmp_path/'faq.csv').write_bytes((content + delimiter*2 + '1\r\n').encode(encoding))
    assert f'faq.csv:{len((content.splitlines())) + 1}' in import_data([tmp_path/'faq.csv'], tmp_path/'more').lines()[2]

# what cannot be read

bad_files = {
    'empty.csv': (b'', 'empty; it needs at least one row'), 'blank.jsonl': (b'\n \n', 'empty'), 'header.csv': (b'query,passage\n', 'a header and no rows'), 'binary': (bytes(range(256))*20, 'neither text nor a format that is read here'),
    'twice.csv': (b'query,passage,query\na,b,c\n', 'twice.csv:1: two columns are called `query`'), 'open.csv': (b'query,passage\na,b\n"c,d\ne,f\n', 'open.csv:3: a quote is opened in this row and never closed'),
    'inside.csv': (b'query,passage\na,b\nc,"d"e\n', "inside.csv:3: ',' expected after"), 'latin.csv': ('query,passage\na,b\ncafé,d\n'.encode('latin-1'), 'latin.csv:3: byte 0xe9 is not UTF-8; if the file was saved as Latin-1'),
    'cut.json': (b'[{"query": "a", "passage": "b"}, {"query": "c"', 'after row 1: the text ends in the middle'), 'mixed.json': (b'[{"query": "a", "passage": "b"}, 7]', 'after row 1: 7 is not an object'), 'numbers.json': (b'[1, 2, 3]', 'JSON without a row'),
    'two.json': (b'{"a": [{"query": "a"}],\n "b": [{"query": "b"}]}', 'several arrays of objects'), 'deep.json': (b'['*200_000, 'the text ends in the middle'), 'book.xlsx': (b'PK\x03\x04' + bytes(100), 'an Excel workbook'),
    'damaged.csv.gz': (gzip.compress(table(pairs(500)))[:-40], 'the gzip file is damaged'), 'broken.parquet': (b'PAR1' + bytes(50), 'not readable as Parquet'), 'broken.arrow': (b'ARROW1' + bytes(50), 'not readable as Arrow'), 'stream.arrow': (b'\xff\xff\xff\xff' + bytes(50), 'not readable as Arrow'),
    'nothing.csv': (b'query,passage\n,b\na,\n', 'no row can be taken; 1 row left out: `query` is empty'), 'torn.jsonl': (b'{"query": "a" "b"}\n{"query"}\n', 'torn.jsonl:1: not JSON'), 'model.pkl': (b'\x80\x04' + bytes(50), 'a pickle'),
    'one.csv': (b'query,passage\na,b\n', 'because 1 row in 1 component is too few'), 'utf32.csv': ('query,passage\na,b\n'.encode('utf-32'), 'UTF-32'), 'paper.pdf': (b'%PDF-1.7', 'no document with a passage; 1 file left out: a damaged PDF'), 'train.dev.csv': (b'query,passage\na,b\n', 'the name says dev and train')}

@pytest.mark.parametrize('name', bad_files)
def test_a_file_that_cannot_be_read_is_one_line_and_leaves_nothing(name, tmp_path):
    content, message = bad_files[name]
    (tmp_path/name).write_bytes(content)
    res = CliRunner().invoke(app, ['import', str(tmp_path/name), '--to', str(tmp_path/'data')])
    assert res.exit_code == 2 and message in res.stderr and res.stderr.count('\n') == 1, res.stderr
    assert not (tmp_path/'data').exists()

def test_bad_rows_are_left_out_with_reason_and_place(tmp_path):
    rows = texts(pairs()) + [dict(query='', passage='b', label='1'), dict(query='a', passage=' ', label='1'), dict(query='a', passage='b', label=''), texts(pairs())[0]]
    (tmp_path/'faq.csv').write_bytes(table(rows) + b'a,b\na,b,1,2\n\n')
    res = import_data([tmp_path/'faq.csv'], tmp_path/'data').lines()
    # sixteen of the first sixty rows are two lines long, and so is the one that is merged
    assert res[1] == '66 rows read: 60 taken, 1 merged with an equal row, 5 left out'
    assert [o.replace(f'{tmp_path}/', '') for o in res[2:6]] == ['1 row left out: `query` is empty (faq.csv:78)', '1 row left out: `passage` is empty (faq.csv:79)', "1 row left out: no `label` (faq.csv:80)",
        '2 rows left out: 2 fields where the header has 3 (faq.csv:83, faq.csv:84)']

@pytest.mark.parametrize('line,reason', [(b'{"query": "a", "passage": NaN}', 'NaN or Infinity is not JSON'), (b'{"query": "a", "passage": 7}', '`passage` is a whole number, not text'), (b'{"query": "a", "query": "b", "passage": "c"}', '`query` is given twice'),
    (b'{"query": "a\xff", "passage": "b"}', 'byte 13 of the line is not UTF-8'), (b'["a", "b"]', 'a list instead of an object'), (b'{"query": "a", "passage": "b", "negatives": [7]}', '`negatives` holds a whole number'), (b'{"query": "a", "passage": "b", "x": ' + b'['*5000, 'nested too deeply'),
    (b'{"query": "a", "passage": null}', '`passage` is null, not text'), (b'{"query": "a", "passage": "\\ud800"}', 'half a surrogate pair'), (b'{"query": "a", "passage": "b", "x": "' + b'y'*(1 << 24) + b'"}', 'a line of more than 16 MiB')])
def test_bad_lines_of_json(line, reason, tmp_path):
    (tmp_path/'faq.jsonl').write_bytes(lines(without([o | dict(negatives=['n']) for o in pairs()], 'label')) + b'\n' + line + b'\n')
    res = import_data([tmp_path/'faq.jsonl'], tmp_path/'data').lines()
    assert res[1] == '61 rows read: 60 taken, 0 merged with an equal row, 1 left out' and f'1 row left out: {reason}' in res[2] and res[2].endswith('faq.jsonl:61)')

def as_bytes(values): return [o.encode() for o in values]

def test_text_that_parquet_holds_as_bytes_is_text(tmp_path, wanted):
    import pyarrow as pa, pyarrow.parquet as pq
    columns = {k: [o[k] for o in pairs()] for k in ('query', 'passage')}
    pq.write_table(pa.table({k: as_bytes(v) for k,v in columns.items()}), tmp_path/'faq.parquet')
    import_data([tmp_path/'faq.parquet'], tmp_path/'data')
    assert hashes(tmp_path/'data') == wanted
    pq.write_table(pa.table(columns | dict(passage=pa.array(columns['passage'], pa.string()), negatives=[as_bytes(['nein']) for _ in pairs()])), tmp_path/'lists.parquet')
    import_data([tmp_path/'lists.parquet'], tmp_path/'lists')
    assert read_rows(tmp_path/'lists'/'gold.jsonl')[0]['negatives'] == ['nein']

@pytest.mark.parametrize('key', ['query', 'passage', 'negatives'])
def test_bytes_that_are_not_text_never_become_base64(key, tmp_path):
    import pyarrow as pa, pyarrow.parquet as pq
    columns = {k: [o[k] for o in pairs()] for k in ('query', 'passage')}
    bad = [b'caf\xe9 %d' % i if key != 'negatives' else [b'\xff\xfe'] for i in range(60)]
    pq.write_table(pa.table(columns | {key: bad}), tmp_path/'faq.parquet')
    with pytest.raises(LabError, match=f'60 rows left out: `{key}` is bytes that are not UTF-8'): import_data([tmp_path/'faq.parquet'], tmp_path/'data')

def test_what_a_folder_holds_besides_rows_is_named(tmp_path):
    (tmp_path/'faq').mkdir()
    (tmp_path/'faq'/'more.xlsx').write_bytes(b'PK\x03\x04')
    with pytest.raises(LabError, match=r'no file with rows \(not read: more.xlsx\)'): import_data([tmp_path/'faq'], tmp_path/'data')
    (tmp_path/'faq'/'faq.csv').write_bytes(table(pairs()))
    for o in ('.hidden', 'a.md', 'b.pdf', 'c.md', 'd.md', 'e.md'): (tmp_path/'faq'/o).write_bytes(b'x')
    assert 'not read: a.md, b.pdf, c.md, d.md, e.md and 1 more' in import_data([tmp_path/'faq'], tmp_path/'data').lines()

@pytest.mark.parametrize('record', [dict(question={'0': 'a', '1': 'c'}, answer={'0': 'b', '1': 'd'}), dict(question=['a', 'c'], answer=['b', 'd']), dict(columns=['question', 'answer'], index=[0, 1], data=[['a', 'b'], ['c', 'd']])])
def test_columns_in_one_object_are_refused_with_how_to_write_rows(record, tmp_path):
    (tmp_path/'faq.json').write_text(json.dumps(record))
    with pytest.raises(LabError, match="orient='records'"): import_data([tmp_path/'faq.json'], tmp_path/'data')

def test_lists_of_texts_can_be_mapped(tmp_path):
    (tmp_path/'faq.jsonl').write_bytes(lines([dict(question=o['query'], answers=[o['passage'], o['passage'] + ' too']) for o in pairs()]))
    with pytest.raises(LabError) as e: import_data([tmp_path/'faq.jsonl'], tmp_path/'data')
    args = shlex.split(str(e.value).partition('say which: ')[2])[1:]
    res = CliRunner().invoke(app, [*args, '--to', str(tmp_path/'data')])
    assert res.exit_code == 0 and '120 rows in 60 records read: 120 taken' in res.stdout

def test_a_cell_of_ten_megabytes(tmp_path):
    rows = pairs()
    rows[20]['passage'] = 'long '*2_000_000
    for name,make in {'test.csv': table, 'test.json': lambda o: json.dumps(o).encode(), 'test.jsonl': lines}.items():
        (tmp_path/name).write_bytes(make(rows))
        assert '60 rows read: 60 taken' in import_data([tmp_path/name], tmp_path/f'{name}_data').lines()[1]

def test_missing_values_of_pandas_are_absent(tmp_path):
    import pandas as pd
    frame = pd.DataFrame(dict(query=['a', 'c', 'e'], passage=['b', 'd', None], group=[1, None, 2], score=[2., float('nan'), 1], seen=pd.to_datetime(['2026-01-01', None, None])))
    frame.to_parquet(tmp_path/'test.parquet')
    res = import_data([tmp_path/'test.parquet'], tmp_path/'data')
    first, second = read_rows(tmp_path/'data'/'gold.jsonl')
    assert (first['group'], first['score'], 'group' in second, 'score' in second, second['label']) == (1, 2, False, False, 1)
    assert '1 row left out: `passage` is null, not text' in res.lines()[2]

# any table

cells = st.one_of(st.text(max_size=6), st.sampled_from(['', ' ', '1', '0', 'NaN', '2.5', '["x"]', '{"a": 1}', 'a"b', "a,b\n", '\ufeff', '\u200b']), st.none(), st.integers(-2, 3), st.floats(), st.lists(st.text(max_size=2), max_size=2), st.booleans())
keys = st.sampled_from(['query', 'passage', 'label', 'score', 'negatives', 'tags', 'group', 'query_id', 'other'])
sound = dict(query='whole question', passage='whole answer', label=1)

@settings(derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(records=st.lists(st.dictionaries(keys, cells, max_size=6), min_size=1, max_size=25), as_table=st.booleans())
def test_numbers_add_up_and_what_is_taken_can_be_read(records, as_table):
    with TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        rows = [sound, *(sound | o for o in records)] if as_table else [sound, *records]
        if as_table:
            names = list(dict.fromkeys(k for o in rows for k in o))
            rows = [{k: '' if o.get(k) is None else o[k] for k in names} for o in rows]
            (tmp/'test.csv').write_bytes(table(rows, encoding='utf-8'))
        else: (tmp/'test.jsonl').write_bytes(lines(rows))
        path = next(tmp.iterdir())
        try: res = import_data([path], tmp/'data')
        except LabError as e:
            assert not (tmp/'data').exists() and '\n' not in str(e)
            return
        scan = Scan(tmp/'data'/'gold.jsonl')
        taken = sum(len(o.rows) for o in scan_blocks(scan))
        assert not scan.failed() and res.lines()[1].startswith(f'{len(rows):,} row') and f': {taken:,} taken' in res.lines()[1]

@settings(derandomize=True, deadline=None, max_examples=200)
@given(records=st.lists(st.fixed_dictionaries(dict(query=st.text(min_size=1, max_size=4), passage=st.sampled_from(['b', ' ', '', '\u200b', None, 7, 'c\nd']) | st.text(max_size=3),
    label=st.sampled_from([0, 1, '1', 'true', 2, None, 1.0]), other=cells)), min_size=1, max_size=3))
def test_the_quick_way_gives_what_the_careful_one_gives(records):
    from embed_lab.data.columns import row_maker
    from embed_lab.data.formats import RecordBlock
    whole = dict(query='a', passage='b', label=1, other='c')
    columns, ledger = find_columns([whole]), importing._Ledger()
    block = RecordBlock(range(len(records)), {k: [o[k] for o in records] for k in whole})
    part = importing._Part('x', None, 'x', 'JSON', None, 'row')
    careful = importing._careful_lines(part, columns, block, row_maker(columns), ledger)
    quick = importing._quick_lines(columns, block)
    assert quick is None or (quick == careful and not ledger.left)

def test_numbers_that_do_not_add_up_are_an_internal_error(tmp_path, monkeypatch):
    write_rows(tmp_path/'test.jsonl', pairs())
    monkeypatch.setattr(importing._Taker, 'lines', lambda self, lines: self.ledger.taken.update(gold=len(lines) - 1))
    with pytest.raises(RuntimeError, match='does not add up'): import_data([tmp_path/'test.jsonl'], tmp_path/'data')
    assert not (tmp_path/'data').exists()

# all or nothing

def test_ctrl_c_leaves_nothing(tmp_path):
    write_rows(tmp_path/'faq.jsonl', pairs())
    def stop(stage, done, total): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): import_data([tmp_path/'faq.jsonl'], tmp_path/'data', tick=stop)
    assert [o.name for o in tmp_path.iterdir()] == ['faq.jsonl']

def test_a_disk_that_fails_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    write_rows(tmp_path/'faq.jsonl', pairs())
    (tmp_path/'data').mkdir()
    was, moved = os.replace, []
    def replace(a, b):
        if Path(b).parent.name == 'data':
            moved.append(b)
            if len(moved) == 3: raise OSError(28, 'No space left on device', str(b))
        was(a, b)
    monkeypatch.setattr(os, 'replace', replace)
    with pytest.raises(OSError): import_data([tmp_path/'faq.jsonl'], tmp_path/'data')
    assert len(moved) == 3 and not [*(tmp_path/'data').iterdir()]

def test_a_second_import_is_refused_and_changes_nothing(tmp_path):
    write_rows(tmp_path/'faq.jsonl', pairs())
    import_data([tmp_path/'faq.jsonl'], tmp_path/'data')
    before = hashes(tmp_path/'data')
    with pytest.raises(LabError, match='already exists, and an import adds to nothing; move it away, or name another folder: emb import'): import_data([tmp_path/'faq.jsonl'], tmp_path/'data')
    assert hashes(tmp_path/'data') == before

@pytest.mark.parametrize('locks', [True, False])
def test_two_imports_at_once_do_not_mix(locks, tmp_path, monkeypatch):
    "The other one comes while this one is about to move its files, and is refused; where nothing can be locked it ends first, and this one is refused"
    write_rows(tmp_path/'faq.jsonl', pairs())
    write_rows(tmp_path/'test.jsonl', pairs()[:7])
    was, other = importing.move_all, []
    if not locks: monkeypatch.setattr(files, '_hold', lambda fd: None)
    def late(made, to):
        if not other:
            other.append(1)
            res = ran('import', tmp_path/'test.jsonl', '--to', to)
            other.append((res, hashes(to)))
        return was(made, to)
    monkeypatch.setattr(importing, 'move_all', late)
    if locks: import_data([tmp_path/'faq.jsonl'], tmp_path/'data')
    else:
        with pytest.raises(LabError, match='already exists, and an import adds to nothing'): import_data([tmp_path/'faq.jsonl'], tmp_path/'data')
    res, there = other[1]
    assert (res.exit_code, there) == (2, {}) and 'another process is writing data there' in res.stderr if locks else there == hashes(tmp_path/'data')
    assert [*hashes(tmp_path/'data')] == (['corpus.jsonl', 'dev.jsonl', 'gold.jsonl', 'train.jsonl'] if locks else ['corpus.jsonl', 'gold.jsonl'])

@pytest.mark.parametrize('args', [('import', 'faq.jsonl', '--to', 'data'), ('split', 'faq.jsonl', '--into', 'data'), ('corpus', 'data')])
def test_who_writes_a_folder_waits_for_nobody_and_disturbs_nobody(args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path/'faq.jsonl', pairs())
    (tmp_path/'data').mkdir()
    if args[0] == 'corpus': write_rows(tmp_path/'data'/'gold.jsonl', pairs())
    was = hashes(tmp_path/'data')
    with files.only_writer(tmp_path/'data'):
        res = ran(*args)
        assert res.exit_code == 2 and res.stderr.endswith('data: another process is writing data there; wait for it, then try again\n') and hashes(tmp_path/'data') == was
    assert ran(*args).exit_code == 0

def test_files_that_say_their_split_are_not_mixed_with_others(tmp_path):
    for o in ('train', 'more'): write_rows(tmp_path/f'{o}.jsonl', pairs())
    with pytest.raises(LabError, match='says that it is train, and .*more.jsonl says nothing'): import_data([tmp_path/'train.jsonl', tmp_path/'more.jsonl'], tmp_path/'data')

# what has no rows, and what is elsewhere

def test_a_data_set_that_the_hub_does_not_give(tmp_path, monkeypatch):
    with pytest.raises(LabError, match='org/name: no such file or folder, and no data set that the hub gives .*offline mode'): import_data(['org/name'], tmp_path/'data')
    import huggingface_hub
    monkeypatch.setattr(huggingface_hub, 'dataset_info', lambda *o, **k: time.sleep(60)) # a name server that never answers
    monkeypatch.setattr(importing, '_patience', .2)
    with pytest.raises(LabError, match='no answer within 0.2 seconds'): import_data(['org/name'], tmp_path/'data')

def test_a_data_set_of_the_hub_is_read_like_a_file(tmp_path, monkeypatch, wanted):
    import datasets, huggingface_hub
    asked = []
    monkeypatch.setattr(huggingface_hub, 'dataset_info', lambda *o, **k: None)
    monkeypatch.setattr(datasets, 'load_dataset', lambda name, config: asked.append((name, config)) or datasets.DatasetDict(train=datasets.Dataset.from_list(pairs())))
    import_data(['org/name:pair'], tmp_path/'data')
    assert asked == [('org/name', 'pair')] and hashes(tmp_path/'data') == wanted

# the commands beside it

@pytest.mark.parametrize('name', ['rows.csv', 'excel.csv', 'array.json', 'zipped.json', 'qa.csv', 'st.jsonl', 'no_label.csv'])
def test_check_and_split_name_the_import(name, tmp_path):
    (tmp_path/name).write_bytes(text_layouts[name](pairs()))
    for command in ('check', 'split'):
        res = CliRunner().invoke(app, [command, str(tmp_path/name)])
        assert res.exit_code == 2 and res.stderr.count('\n') == 1 and f'import it first: emb import {tmp_path/name}' in res.stderr

def test_check_still_describes_rows_that_are_malformed(tmp_path):
    (tmp_path/'faq.jsonl').write_bytes(lines(pairs()) + b'\n{"query": "a"}\nnot json\n')
    refuse_foreign_file(tmp_path/'faq.jsonl')
    res = CliRunner().invoke(app, ['check', str(tmp_path/'faq.jsonl')])
    assert res.exit_code == 1 and 'no `passage`' in res.stdout

def test_init_takes_what_import_takes(tmp_path, wanted):
    (tmp_path/'faq.csv').write_bytes(table(pairs()))
    res = CliRunner().invoke(app, ['init', str(tmp_path/'lab'), '--data', str(tmp_path/'faq.csv'), '--recipe', 'in-batch'])
    assert res.exit_code == 0 and 'query from `query`' in res.stdout, res.output
    assert {k: v for k,v in hashes(tmp_path/'lab'/'data').items()} == wanted

def test_what_import_says_and_where_it_writes(tmp_path, monkeypatch, wanted):
    (tmp_path/'faq.csv').write_bytes(table(pairs()))
    monkeypatch.chdir(tmp_path)
    res = CliRunner().invoke(app, ['import', 'faq.csv'])
    assert res.exit_code == 0 and '60 rows read: 60 taken, 0 merged with an equal row, 0 left out' in res.stdout and 'Next: emb check data' in res.stdout
    assert hashes(tmp_path/'data') == wanted

@pytest.mark.parametrize('args', [('import', 'faq.jsonl', '--to', 'there'), ('import', 'faq.jsonl', '--to', 'there/data'), ('split', 'faq.jsonl', '--into', 'there'), ('import', ''), ('import', 'gone.csv'), ('import', 'links')])
def test_what_stands_where_something_else_should_is_said_in_one_line(args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows('faq.jsonl', pairs())
    Path('there').write_text('mine')
    Path('links').mkdir()
    Path('links/train.csv').write_bytes(table(pairs()))
    for o in ('gone.csv', 'links/test.csv'): os.symlink('nowhere', o)
    was = sorted(tmp_path.rglob('*'))
    res, says = ran(*args), dict(there='a file is in the way; name another folder', links='test.csv is a link to nothing', gone='gone.csv is a link to nothing').get(args[-1].split('/')[0].split('.')[0], 'no source: no such file or folder')
    assert res.exit_code == 2 and says in res.stderr and res.stderr.count('\n') == 1 and sorted(tmp_path.rglob('*')) == was and Path('there').read_text() == 'mine'

# what the files do not divide

def faq(n=120, answers=6): return [dict(query=f'ask{i} about{i} this{i}', passage=f'say{i % answers} that{i % answers}') for i in range(n)]

def ran(*args): return CliRunner().invoke(app, [*map(str, args)])

def test_answers_that_many_questions_share_come_in_where_the_corpus_is_said_to_be_fixed(tmp_path):
    (tmp_path/'faq.csv').write_bytes(table(faq()))
    for args in (('import', tmp_path/'faq.csv', '--to', tmp_path/'data'), ('init', tmp_path/'lab', '--data', tmp_path/'faq.csv')):
        res = ran(*args)
        assert res.exit_code == 2 and '120 of 120 rows are tied together' in res.stderr and 'add `--corpus fixed`, or in a lab write' in res.stderr
        res = ran(*args, '--corpus', 'fixed')
        assert res.exit_code == 0, res.stderr
    assert hashes(tmp_path/'lab'/'data') == hashes(tmp_path/'data') and 'corpus = fixed' in (tmp_path/'lab'/'settings.ini').read_text()
    assert ran('check', tmp_path/'lab').exit_code == 0
    write_rows(tmp_path/'all.jsonl', [o | dict(label=1) for o in faq()])
    assert ran('split', tmp_path/'all.jsonl', '--into', tmp_path/'split').exit_code == 2
    assert ran('split', tmp_path/'all.jsonl', '--into', tmp_path/'split', '--corpus', 'fixed').exit_code == 0

def test_a_labs_settings_are_not_contradicted(tmp_path, made_lab):
    for args in (('import', made_lab/'data'/'gold.jsonl', '--to', made_lab/'more'), ('init', made_lab), ('split', made_lab/'data'/'train.jsonl')):
        res = ran(*args, '--corpus', 'fixed')
        assert res.exit_code == 2 and 'says `corpus = open`, and runs go by that' in res.stderr
    assert 'say `open` or `fixed`' in ran('init', tmp_path/'lab', '--corpus', 'closed').stderr and not (tmp_path/'lab').exists()

@pytest.fixture
def made_lab(tmp_path, wanted):
    write_rows(tmp_path/'rows.jsonl', pairs())
    assert ran('init', tmp_path/'made', '--data', tmp_path/'rows.jsonl', '--recipe', 'in-batch').exit_code == 0
    return tmp_path/'made'

@pytest.mark.parametrize('first, n', [(0, 12), (0, 25), (0, 40), (40, 12), (40, 20), (60, 20)])
def test_a_few_rows_are_enough_to_begin_with(first, n, tmp_path):
    "From row 0 on a tenth of them leaves gold empty, from row 40 on with one query, and from row 60 on dev with one"
    (tmp_path/'faq.csv').write_bytes(table(without(pairs(first + n)[first:], 'label')))
    import_data([tmp_path/'faq.csv'], tmp_path/'data')
    assert check_data(tmp_path/'data') == [] and sum(len(read_rows(tmp_path/'data'/f'{k}.jsonl')) for k in split_names) == n

def test_a_few_rows_get_the_share_that_was_asked_for_or_none(tmp_path):
    (tmp_path/'faq.csv').write_bytes(table(without(pairs(12), 'label')))
    with pytest.raises(LabError, match=r'too few for 1.0%.*`--dev`, `--gold`'): import_data([tmp_path/'faq.csv'], tmp_path/'data', dev=.01, gold=.01)
    import_data([tmp_path/'faq.csv'], tmp_path/'data', dev=.3, gold=.3)
    res = ran('init', tmp_path/'lab', '--data', tmp_path/'data'/'train.jsonl')
    assert res.exit_code == 0 or 'these are options of `emb import`' in res.stderr

def test_texts_that_are_nearly_the_same_are_divided_where_a_higher_threshold_says_so(tmp_path):
    rows = [dict(query=f'what is the price of item {i}', passage=f'the price of the item which you ask for here is exactly {i} euros and no cents') for i in range(100)]
    (tmp_path/'faq.csv').write_bytes(table(rows))
    res = ran('import', tmp_path/'faq.csv', '--to', tmp_path/'data')
    assert res.exit_code == 2 and 'raise the threshold (`--threshold`)' in res.stderr
    assert ran('import', tmp_path/'faq.csv', '--to', tmp_path/'data', '--threshold', 1).exit_code == 0
    res = ran('init', tmp_path/'lab', '--data', tmp_path/'faq.csv')
    assert res.exit_code == 2 and 'these are options of `emb import`, and `emb init --data` takes the folder that it makes' in res.stderr

@pytest.mark.parametrize('asked', [.1, .3])
def test_dev_is_cut_by_the_share_that_was_asked_for(asked, tmp_path):
    (tmp_path/'in').mkdir()
    for k,rows in dict(train=pairs(400), test=[dict(query=f'x{i} y{i}', passage=f'z{i} w{i}') for i in range(20)]).items(): (tmp_path/'in'/f'{k}.csv').write_bytes(table(without(rows, 'label')))
    import_data([tmp_path/'in'], tmp_path/'data', dev=asked)
    assert abs(len(read_rows(tmp_path/'data'/'dev.jsonl'))/400 - asked) < .06

# real data

five_sets = 'nl2bash', 'medquad', 'banking77', 'pquad_fa', 'xquad_es'

def real_rows(name, most=300):
    "Split → rows of a real set, as a lab reads them"
    from embed_lab.data.folder import read_beir
    return {k: v[:most] for k,v in read_beir(shared/name).items()}

def one_by_one(write, ext):
    "A layout with a file a split"
    def make(at, splits):
        at.mkdir()
        for k,v in splits.items(): write(v, at/f'{k}.{ext}')
    return make

def arrow_table(rows):
    import pyarrow as pa
    keys = dict.fromkeys(k for o in rows for k in o)
    return pa.table({k: [o.get(k) for o in rows] for k in keys})

def as_parquet(rows, path):
    import pyarrow.parquet as pq
    pq.write_table(arrow_table(rows), path)

def as_arrow(rows, path):
    import pyarrow as pa
    made = arrow_table(rows)
    with pa.OSFile(str(path), 'wb') as f, pa.ipc.new_file(f, made.schema) as out: out.write_table(made)

def as_saved(at, splits):
    from datasets import Dataset, DatasetDict
    DatasetDict({k: Dataset.from_list(v) for k,v in splits.items()}).save_to_disk(str(at))

def as_json(rows, path): path.write_bytes(json.dumps(rows, indent=1).encode())
def as_table(delimiter=',', encoding='utf-8', **names): return lambda rows, path: path.write_bytes(table(renamed(rows, **names), delimiter, encoding))

row_layouts = dict(jsonl=one_by_one(lambda o, f: write_rows(f, o), 'jsonl'), gz=one_by_one(lambda o, f: f.write_bytes(gzip.compress(lines(o))), 'ndjson.gz'), json=one_by_one(as_json, 'json'), csv=one_by_one(as_table(), 'csv'),
    excel=one_by_one(as_table(';', 'utf-8-sig', query='question', passage='answer'), 'csv'), tsv=one_by_one(as_table('\t', 'utf-16', query='anchor', passage='positive'), 'tsv'), parquet=one_by_one(as_parquet, 'parquet'), arrow=one_by_one(as_arrow, 'arrow'), saved=as_saved)

def scored(rows):
    "The same pairs with passages of other rows for negatives, and what a teacher says of them"
    passages = list(dict.fromkeys(o['passage'] for o in rows))
    def said(i): return round(9 - 7.3*(i % 5), 4)
    def one(i, o):
        wrong = [t for t in (passages[(i*7 + j) % len(passages)] for j in (1, 3)) if t != o['passage']]
        return dict(query=o['query'], passage=o['passage'], label=1, negatives=wrong, teacher_scores=[said(i), *(said(i + j) for j in range(1, len(wrong) + 1))])
    return [one(i, o) for i,o in enumerate(rows)]

def flag_embedding(rows):
    "Records of FlagEmbedding"
    return [dict(query=o['query'], pos=[o['passage']], neg=o['negatives'], pos_scores=o['teacher_scores'][:1], neg_scores=o['teacher_scores'][1:]) for o in rows]

def several_positives(rows):
    "The same, where rows with one query and equal negatives are one record"
    res = []
    for o in flag_embedding(rows):
        if res and all(o[k] == res[-1][k] for k in ('query', 'neg', 'neg_scores')):
            for k in ('pos', 'pos_scores'): res[-1][k] = res[-1][k] + o[k]
        else: res.append(o)
    return res

def tuples(rows): return [dict(anchor=o['query'], positive=o['passage']) | {f'negative_{i}': t for i,t in enumerate(o['negatives'], 1)} for o in rows]

def over(write, records): return lambda rows, path: write(records(rows), path)
def as_lines(rows, path): path.write_bytes(lines(rows))

scored_layouts = dict(own=one_by_one(lambda o, f: write_rows(f, o), 'jsonl'), own_csv=one_by_one(as_table(), 'csv'), own_parquet=one_by_one(as_parquet, 'parquet'), flag=one_by_one(over(as_lines, flag_embedding), 'jsonl'), flag_grouped=one_by_one(over(as_lines, several_positives), 'jsonl'),
    flag_array=one_by_one(over(as_json, flag_embedding), 'json'), flag_csv=one_by_one(over(as_table(), flag_embedding), 'csv'), flag_parquet=one_by_one(over(as_parquet, flag_embedding), 'parquet'))
tuple_layouts = dict(own=scored_layouts['own'], lines=one_by_one(over(as_lines, tuples), 'jsonl'), csv=one_by_one(over(as_table(), tuples), 'csv'), parquet=one_by_one(over(as_parquet, tuples), 'parquet'))

def files_of(layouts, home, splits):
    "Layout → hashes of a lab's files that come of it; `splits` are written in each"
    seen = {}
    for kind,make in layouts.items():
        make(home/kind, splits)
        import_data([home/kind], home/f'{kind}_data', corpus='fixed')
        seen[kind] = hashes(home/f'{kind}_data')
    return seen

def survive(layouts, home, splits):
    "Every layout gives the same files, and what a lab makes of them comes back as the same files once more"
    seen = files_of(layouts, home, splits)
    first, *others = seen.values()
    assert all(o == first for o in others), {k: o for k,o in seen.items() if o != first}
    made = home/f'{next(iter(layouts))}_data'
    got = {k: read_rows(made/f'{k}.jsonl') for k in split_names if (made/f'{k}.jsonl').is_file()}
    (home/'back').mkdir()
    back = files_of(layouts, home/'back', got)
    assert all(o == first for o in back.values())
    return got

@needs_shared
@pytest.mark.parametrize('name', five_sets)
def test_real_sets_survive_every_layout(name, tmp_path, capfd):
    "Each split of a set as rows of every format and back: the same files"
    splits = real_rows(name)
    got = survive(row_layouts, tmp_path, splits)
    if len(splits) == 3 or 'train' not in splits: assert got == splits

@needs_shared
@pytest.mark.parametrize('name', five_sets)
def test_real_sets_survive_flag_embedding_and_tuples(name, tmp_path):
    "With negatives and a teacher's scores, as FlagEmbedding and sentence-transformers keep them, and back"
    splits = {k: scored(v) for k,v in real_rows(name).items()}
    whole = len(splits) == 3 or 'train' not in splits
    for layouts,some in ((scored_layouts, splits), (tuple_layouts, {k: without(v, 'teacher_scores') for k,v in splits.items()})):
        home = tmp_path/f'of {len(layouts)}'
        home.mkdir()
        got = survive(layouts, home, some)
        if whole: assert got == {k: list({json.dumps(o): o for o in v}.values()) for k,v in some.items()} # equal rows once
