"Runs on parts of train make a learning curve, and a word on whether more data would help"
import json
import pytest
from embed_lab.data.folder import part_of, read_folder
from embed_lab.data.reading import read_rows
from embed_lab.evaluation.learning import curve_to_dict, learning_curves
from embed_lab.lab import LabError, read_lab
from support import emb, exp, made_lab, manifest, papermill

@pytest.fixture(scope='module')
def swept(tmp_path_factory, data, base):
    "A lab with groups in train, and a sweep over rows"
    lab = made_lab(tmp_path_factory.mktemp('learning')/'lab', data, base)
    rows = [o | dict(group=i//7) for i,o in enumerate(read_rows(lab/'data'/'train.jsonl'))]
    (lab/'data'/'train.jsonl').write_text(''.join(json.dumps(o) + '\n' for o in rows))
    return lab, emb('sweep', exp, '-g', 'rows=.1,.3,500', '--seeds', 2, '-p', 'epochs', 3, '-p', 'lr', .05, cwd=lab)

def run_of(lab, rows, seed): return lab/'results'/f'{exp},epochs=3,lr=0.05,rows={rows},seed={seed}'

def test_a_sweep_over_rows_ends_with_a_curve(swept):
    lab, res = swept
    assert 'per doubling' in res.stdout and f'wrote results/learning_curve_{exp}.html' in res.stdout and res.stdout.count('\nBy gold') == 1
    page = (lab/'results'/f'learning_curve_{exp}.html').read_text()
    assert 'Learning curve' in page and str(lab) not in page and '"type":"log"' in page
    curve, = learning_curves(read_lab(lab), [f'{exp}*'])
    assert curve_to_dict(curve)['says'] in res.stdout.replace('\n', ' ') or curve_to_dict(curve)['says'] in res.stdout
    assert len(curve.points) == 3 and [len(o.dev) for o in curve.points] == [2, 2, 2] and 0 < curve.base < 1
    assert {o['status'] for o in json.loads(emb('ls', '--json', cwd=lab).stdout).values()} == {'completed'} # the page is no run
    again = emb('sweep', exp, '-g', 'rows=.1,.3,500', '--seeds', 2, '-p', 'epochs', 3, '-p', 'lr', .05, '--json', cwd=lab)
    assert [o['status'] for o in json.loads(again.stdout)['points']] == ['up to date']*6 and 'learning_curve' in again.stderr
    assert json.loads(again.stdout)['curves'] == [json.loads(json.dumps(curve_to_dict(curve)))]

def test_a_run_learns_from_the_part_that_its_seed_draws(swept):
    lab, _ = swept
    rows = read_folder(lab/'data')['train']
    for share,seed in ((.1, 1), (.3, 2), (500, 1)):
        want = part_of(rows, share, seed)
        said = manifest(run_of(lab, share, seed))['stages']['rows']
        assert said == dict(taken=len(want), of=len(rows), kept_together='group') and len(want) >= (share*len(rows) if share < 1 else share)
        assert len(rows) > len(want) and {o['group'] for o in want}.isdisjoint(o['group'] for o in rows if o not in want)
    points = {o.rows for o in learning_curves(read_lab(lab), [f'{exp}*'])[0].points}
    assert points == {round(sum(len(part_of(rows, k, s)) for s in (1, 2))/2) for k in (.1, .3, 500)}
    assert manifest(run_of(lab, .1, 1))['outcome']['weights'] != manifest(run_of(lab, .1, 2))['outcome']['weights']

def test_plain_papermill_makes_the_same_run(swept, tmp_path):
    lab, _ = swept
    out = lab/'results'/'by hand'
    out.mkdir()
    papermill(f'experiments/{exp}.ipynb', out/f'{exp}.ipynb', '-p', 'epochs', 3, '-p', 'lr', .05, '-p', 'rows', .1, '-p', 'seed', 1, cwd=lab)
    ours, theirs = manifest(out), manifest(run_of(lab, .1, 1))
    assert ours['stages']['rows'] == theirs['stages']['rows'] and ours['outcome']['weights'] == theirs['outcome']['weights']

@pytest.mark.parametrize('args, why', [((exp, '-p', 'rows', '1000'), '`rows` asks for 1,000; ask for fewer'), ((exp, '-p', 'rows', '0'), 'parameter `rows` is 0; give a number > 0'),
    ((exp, '-p', 'rows', 'half'), 'parameter `rows` is float | None')])
def test_what_cannot_be_taken_is_refused_in_one_line(swept, args, why):
    lab, _ = swept
    res = emb('run', *args, cwd=lab, ok=None)
    assert res.returncode in (1, 2) and [why in o for o in res.stderr.splitlines()].count(True) == 1

def test_a_part_holds_every_smaller_one_and_asks_for_no_more_than_there_is():
    rows = [dict(query=f'q{i % 40}', passage=f'p{i}', label=i % 2) for i in range(200)]
    parts = [part_of(rows, n, 3) for n in (.004, .05, .3, 77, .9, 1)]
    for small,large in zip(parts, parts[1:]): assert all(o in large for o in small)
    assert parts[-1] == rows and len(parts[0]) == 5 # all rows of one query
    with pytest.raises(LabError, match='train has 200 rows, and `rows` asks for 201'): part_of(rows, 201)
