"What another system found is compared with runs: scored by the same metrics on the same gold, and refused by name where it cannot be"
import gzip, json, shutil
import numpy as np, pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.reading import read_rows
from embed_lab.evaluation.browse import hit_texts, pair_hits, query_moves
from embed_lab.evaluation.comparable import read_scores
from embed_lab.evaluation.compare import compare
from embed_lab.lab import LabError, read_lab
from embed_lab.runs.looks import count_looks
from support import emb, exp, made_lab

@pytest.fixture(scope='module')
def lab(tmp_path_factory, data, base):
    "A lab with a completed run of two epochs and one of three"
    path = made_lab(tmp_path_factory.mktemp('outside')/'lab', data, base)
    emb('run', exp, '-p', 'epochs', 2, cwd=path)
    return read_lab(path)

@pytest.fixture
def run(lab): return lab.results/f'{exp},epochs=2'

@pytest.fixture(autouse=True)
def inside(lab, monkeypatch): monkeypatch.chdir(lab.path)

def found_by(run, system):
    "What a run wrote of a system, as lines of a TREC run"
    lines = map(json.loads, (run/'eval'/'per_query.jsonl').read_text().splitlines())
    return [f"{o['query_id']} Q0 {h['id']} {i} {-i} {system}" for o in lines for i,h in enumerate(o[system]['hits'], 1)]

def written(lab, lines, name='production.run'):
    (lab.path/name).write_text('\n'.join(lines) + '\n')
    return name

def asked(*args, ok=0):
    res = CliRunner().invoke(app, ['compare', *map(str, args)])
    assert res.exit_code == ok, res.output + repr(res.exception)
    return res

@pytest.mark.parametrize('system', ['tuned', 'base', 'bm25'])
def test_what_a_run_found_scores_the_same_when_it_comes_from_a_file(lab, run, system):
    res = compare(lab, [run.name, written(lab, found_by(run, system))])
    ids, scores = read_scores(run/'eval'/'per_query.jsonl')
    theirs = res.recipes[1].scores['tuned']
    for m in ('ndcg@10', 'mrr@10', 'recall@10'): np.testing.assert_array_equal(theirs[m][0], scores[system][m])
    assert [o.name for o in res.pairs] == ['a v b'] and res.recipes[1].fixed and res.pairs[0].verdict.seeds == (1, 0)
    assert any('at most 10 documents a query' in o for o in res.notes)

def test_it_stands_in_every_form(lab, run):
    name = written(lab, found_by(run, 'bm25'))
    text = asked(run.name, name).output
    assert [o for o in text.splitlines() if o.split()[:2] == ['b', name]] and 'a v b' in text
    assert all(name.replace('_', r'\_') in asked(run.name, name, o).output for o in ('--markdown', '--latex'))
    one = json.loads(asked(run.name, name, '--json').stdout)['recipes'][1]
    assert (one['mark'], one['runs'], one['outside']['tag'], len(one['scores']['ndcg@10'])) == ('b', [], 'bm25', 3)
    moved = query_moves(*pair_hits(c := compare(lab, [run.name, name]), c.pairs[0]), hit_texts(lab))
    assert all(h['text'] for m in moved for h in m.hits[0]) and \
        sorted(m.before for m in moved) == sorted(c.recipes[1].scores['tuned']['ndcg@10'][0].tolist())

def test_the_page_shows_it_from_wherever_it_is_asked_for(lab, run, tmp_path, monkeypatch):
    (lab.path/'systems').mkdir(exist_ok=True)
    written(lab, found_by(run, 'bm25'), 'systems/shop <b>.txt')
    monkeypatch.chdir(lab.path/'systems')
    asked('shop <b>.txt', run.name, '--report', tmp_path/'page.html')
    said = (tmp_path/'page.html').read_text()
    assert 'shop &lt;b&gt;.txt' in said and 'shop <b>.txt' not in said.partition('<body')[2] and 'class="query"' in said

def test_it_is_known_by_content_and_its_file_counts_as_one_look(lab, run):
    lines = found_by(run, 'base')
    before = count_looks(lab, [compare(lab, [run.name]).looks.gold])[0].times
    (lab.path/'from the shop').write_bytes(gzip.compress('\r\n'.join(o.replace(' ', '\t') for o in lines).encode('utf-8-sig')))
    res = compare(lab, [run.name, 'from the sh*'])
    assert res.recipes[1].name == 'from the shop' and res.looks.times == before + 1
    assert compare(lab, [run.name, 'from the shop', 'from*']).looks.times == before + 1
    written(lab, lines[1:], 'from the shop')
    assert compare(lab, [run.name, 'from the shop']).looks.times == before + 2
    (lab.path/'from the shop').unlink()

def test_what_is_missing_or_unknown_is_said_and_counts(lab, run):
    lines = found_by(run, 'base')
    left = [o for o in lines if not o.startswith('q0 ')] + ['nobody Q0 d1 1 3 base', 'q1 Q0 elsewhere 0 99 base']
    res = compare(lab, [run.name, written(lab, left)])
    at = read_scores(run/'eval'/'per_query.jsonl')[0].index('q0')
    assert res.recipes[1].scores['tuned']['ndcg@10'][0][at] == 0
    said = '\n'.join(res.notes)
    assert "b: 1 of 60 queries is missing, such as 'q0', and counts as 0" in said and "b: 1 query that gold does not have, such as 'nobody', is left out" in said
    assert "such as 'elsewhere', and counts as wrong" in said

bad = [('', 'no rankings in it'), ('q0 Q0 d1 1 3', ':1: not a line of a TREC run: 5 columns in place of six'), ('\nq0 Q0 d1 1 3 a\nq0 Q0 my doc 2 1 a', ':3: not a line of a TREC run: 7 columns'),
    ('qid Q0 docid rank score tag', ":1: not a line of a TREC run: the rank 'rank' is not a whole number"), ('q0 Q0 d1 1 inf a', "the score 'inf' is not a number"),
    ('q0 Q0 d1 1 2 a\nq0 Q0 d1 2 1 a', "has document 'd1' twice, first in line 1"), ('q0 Q0 d1 1 1 a\nq0 Q0 d2 2 2 a', 'look like distances'),
    ('7 Q0 d1 1 2 a', "it has '7', and gold has 'q0', 'q1', 'q2': they are numbered"), ('q0 Q0 doc/1 1 2 a', "it has 'doc/1', and they are 'd0', 'd1', 'd2': `_id` of data/corpus.jsonl")]

@pytest.mark.parametrize('text, why', bad)
def test_a_file_that_cannot_be_scored_is_refused_in_one_line(lab, run, text, why):
    said = asked(run.name, written(lab, [text]), ok=2).stderr
    assert why in said and said.count('\n') == 1 and 'production.run' in said

@pytest.mark.parametrize('content', [b'\x1f\x8b broken', b'\xff\xfeq\x000\x00', b'PAR1\x00\x01'])
def test_a_file_that_is_no_text_is_refused_in_one_line(lab, run, content):
    (lab.path/'production.run').write_bytes(content)
    said = asked(run.name, 'production.run', ok=2).stderr
    assert said.startswith('emb: production.run') and said.count('\n') == 1

def test_alone_or_with_other_gold_it_is_refused(lab, run, tmp_path, monkeypatch):
    name = written(lab, found_by(run, 'base'))
    assert "name some, such as `emb compare 'exp*' production.run`" in asked(name, ok=2).stderr
    other = shutil.copytree(lab.path, tmp_path/'other')
    rows = list(read_rows(other/'data'/'gold.jsonl'))
    (other/'data'/'gold.jsonl').write_text(''.join(json.dumps(o) + '\n' for o in rows[:-1]))
    monkeypatch.chdir(other)
    assert f'data/gold.jsonl is not what {run.name} was judged by' in asked(run.name, name, ok=2).stderr
    (other/'data'/'gold.jsonl').write_text(''.join(json.dumps(o) + '\n' for o in reversed(rows))) # the same rows: `q0` may be another query now
    with pytest.raises(LabError, match='numbered by the order of its rows'): compare(read_lab(other), [run.name, name])

def test_a_system_outside_leaves_guard_to_the_recipes(lab, run):
    from embed_lab.evaluation.comparable import mock_run
    home = lab.path.parent/'guarded'
    shutil.copytree(lab.path, home, dirs_exist_ok=True)
    own, rng = read_lab(home), np.random.default_rng(0)
    said, lines = json.loads((run/'eval'/'gold_metrics.json').read_text()), read_scores(run/'eval'/'per_query.jsonl')[0]
    def drawn(gain): return dict(tuned=rng.random(len(lines))*gain, base=rng.random(len(lines)))
    for e in ('exp_30', 'exp_31'):
        path = mock_run(own, e, drawn(1), guard=drawn(.1 if e == 'exp_31' else 1))
        (path/'eval'/'gold_metrics.json').write_text(json.dumps(said))
        rows = [json.loads(o) for o in (path/'eval'/'per_query.jsonl').read_text().splitlines()]
        (path/'eval'/'per_query.jsonl').write_text(''.join(json.dumps(o | dict(query_id=q)) + '\n' for q,o in zip(lines, rows)))
    res = compare(own, ['exp_30', 'exp_31', written(lab, found_by(run, 'base'))])
    assert [(o.name, o.guard is not None) for o in res.pairs] == [('a v b', True), ('a v c', False), ('b v c', False)]

def test_reading_a_long_file_shows_how_far_it_is(tmp_path):
    from embed_lab.data.rankings import read_trec_run
    file, shown = tmp_path/'long.run', []
    file.write_text(''.join(f'q{i//100} Q0 d{i%100} {i%100 + 1} {100 - i%100} ours\n' for i in range(100_000)))
    read_trec_run(file, lambda *o: shown.append(o))
    size = file.stat().st_size
    assert [(s, n) for s,_,n in shown] == [('reading long.run', size)]*3 and 0 < shown[0][1] < shown[1][1] < shown[2][1] < size
