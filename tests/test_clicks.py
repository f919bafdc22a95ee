"Logs of clicks: every line is accounted for, places are corrected for, and nothing is gold unless that is said"
import json, random
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.check import check_folder
from embed_lab.data.clicks import are_clicks, import_clicks
from embed_lab.data.files import write_rows
from embed_lab.data.importing import import_data
from embed_lab.data.reading import read_rows
from embed_lab.lab import LabError

names = [''.join(random.Random(i).choices('bdgklmnprst', k=4)) + 'a' for i in range(300)]
def words(i, n): return ' '.join(random.Random(f'{i} {n}').sample(names, n))

def table(path, head, lines):
    path.write_text('\n'.join([','.join(head), *(','.join(map(str, o)) for o in lines)]) + '\n')
    return path

def summed(n=80):
    "Lines of a log that was summed up: the right document is second, and clicked half as often as the wrong one on the first place"
    for q in range(n):
        yield words(q, 4), words(f'wrong {q}', 9), 1, 400, 40 if q % 2 else 4
        yield words(q, 4), words(f'right {q}', 9), 2, 400, 20 if q % 2 else 40
        yield words(q, 4), words(f'new {q}', 9), 3, 5, 1

@pytest.fixture
def log(tmp_path): return table(tmp_path/'log.csv', ('search query', 'passage', 'rank', 'impressions', 'clicks'), summed())

def test_a_summed_table_with_texts(log, tmp_path):
    res = import_clicks([log], tmp_path/'data')
    said = '\n'.join(res.lines())
    assert '240 impressions read, 240 taken' in said and '80 left out (shown fewer than 10 times' in said and 'by click rate alone' in said
    rows = [o for k in ('train', 'dev') for o in read_rows(tmp_path/'data'/f'{k}.jsonl')]
    assert {o['origin'] for o in rows} == {'clicks'} and not (tmp_path/'data'/'gold.jsonl').exists()
    label = {o['passage']: o['label'] for o in rows}
    assert label[words('right 0', 9)] == 1 and label[words('wrong 0', 9)] == 0 and words('new 0', 9) not in label
    kept = [json.loads(o) for o in (tmp_path/'data'/'clicks.jsonl').open()]
    assert len(kept) == 240 and all(('grade' in o) != ('why' in o) for o in kept)

def test_gold_only_where_it_is_asked_for_and_nothing_is_overwritten(log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    def run(*args, ok=0):
        res = CliRunner().invoke(app, ['import', *map(str, args)])
        assert res.exit_code == ok, res.output
        return res.output
    run(log, '--to', 'asked', '--gold', '.1')
    assert (tmp_path/'asked'/'gold.jsonl').exists()
    run(log, '--to', 'plain')
    before = (tmp_path/'plain'/'train.jsonl').read_bytes()
    assert 'already exists, and an import adds to nothing' in run(log, '--to', 'plain', ok=2)
    assert (tmp_path/'plain'/'train.jsonl').read_bytes() == before and not (tmp_path/'plain'/'gold.jsonl').exists()
    assert '--size, --overlap' in run(log, '--size', 500, '--to', 'faq', ok=2)
    assert not [o for k in ('plain', 'asked') for o in check_folder(tmp_path/k).findings if o.level == 'fail' and o.rule not in ('missing', 'leak: query')]

def test_bad_lines_are_counted_and_named(tmp_path):
    bad = [('', 'text', 1, 1, 's'), ('q', '', 1, 1, 's'), ('q', 'text', 'first', 1, 's'), ('q', 'text', 1, 'perhaps', 's'), ('q', 'text', 1, -1, 's')]
    good = [(words(q, 4), words(f'd{q}', 9), 1 + q % 2, int(random.Random(f'{q} {i}').random() < (.9 if q < 20 else .05)), f's{i}') for q in range(80) for i in range(100)]
    path = table(tmp_path/'log.csv', ('query', 'passage', 'position', 'clicked', 'session'), [*bad, *good, *good[:7]])
    said = import_clicks([path], tmp_path/'data').lines()[0]
    assert said.startswith('8,012 impressions read, 8,000 taken; 7 merged with an equal one') and "without a question, such as 'log.csv:2'" in said
    assert "2 left out (with a click that is no number of times" in said and 'without a position that is a whole number' in said

def test_refusals_leave_nothing_behind(tmp_path):
    with pytest.raises(LabError, match='nothing can be concluded'):
        import_clicks([table(tmp_path/'few.csv', ('query', 'passage', 'rank', 'clicked'), [('a', 'b', 1, 1)])], tmp_path/'data')
    ids = table(tmp_path/'ids.csv', ('query', 'doc_id', 'rank', 'clicked'), [('a', 'b', 1, 1)])
    with pytest.raises(LabError, match='documents by id, and no corpus.jsonl'): import_clicks([ids], tmp_path/'data')
    queries = tmp_path/'ubi_queries.ndjson'
    write_rows(queries, [dict(query_id='1', user_query='a', query_response_hit_ids=['b'])])
    with pytest.raises(LabError, match='queries without events'): import_clicks([queries], tmp_path/'data')
    odd = tmp_path/'ubi_events.ndjson'
    write_rows(odd, [dict(action_name='click', query_id=7, event_attributes=o) for o in (None, [], dict(object='b'), dict(object=dict(object_id=None)))])
    with pytest.raises(LabError, match='documents by id'): import_clicks([queries, odd], tmp_path/'data')
    assert not (tmp_path/'data').exists()

def test_other_files_are_still_rows(tmp_path):
    faq = table(tmp_path/'faq.csv', ('query', 'passage'), [(words(q, 4), words(f'd{q}', 9)) for q in range(60)])
    assert not are_clicks([faq]) and not are_clicks([tmp_path/'none']) and not are_clicks(['org/name'])
    import_data([faq], tmp_path/'data')
