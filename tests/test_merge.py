"A run is merged with its base: dev and guard choose, gold looks once, and merges of seeds are seeds"
import json, shutil
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.files import write_rows
from embed_lab.data.reading import read_rows
from embed_lab.evaluation.compare import compare
from embed_lab.inventory.merge import merged_weights
from embed_lab.lab import read_lab
from embed_lab.models.base import load_model
from embed_lab.runs.keeping import dependents
from embed_lab.runs.results import read_run
from support import emb, made_lab, manifest

tuned = 'exp_02_in_batch,epochs=12,lr=0.01,seed={}'

@pytest.fixture(scope='module')
def merged(tmp_path_factory, data, base):
    "A lab with a guard, two seeds of a recipe and a merge of each"
    lab = made_lab(tmp_path_factory.mktemp('merged')/'lab', data, base)
    write_rows(lab/'data'/'guard.jsonl', read_rows(data/'dev.jsonl')[60:])
    write_rows(lab/'data'/'dev.jsonl', read_rows(data/'dev.jsonl')[:60])
    for seed in (1, 2): emb('run', 'exp_02_in_batch', '-p', 'epochs', 12, '-p', 'lr', .01, '-p', 'seed', seed, cwd=lab)
    for seed in (1, 2): emb('merge', tuned.format(seed), '-p', 'steps', 4, cwd=lab)
    return lab

def merges(lab): return {manifest(o)['inputs']['parameters']['seed']: o for o in (lab/'results').glob('exp_12_merge,*') if (o/'run.json').exists()}

def test_the_model_lies_between_base_and_tuned_where_the_rule_says(merged, base):
    run = merges(merged)[1]
    said = manifest(run)['stages']['merge']
    shares = [o['share'] for o in said['line']]
    assert shares == [0, .25, .5, .75, 1] and said['run'] == tuned.format(1) and said['experiment'] == 'exp_02_in_batch'
    floor = said['line'][0]['guard']['mean'] - .01
    allowed = [o for o in said['line'] if o['guard']['mean'] >= floor - 1e-9]
    assert said['share'] == max(allowed, key=lambda o: (round(o['dev']['mean'], 9), -o['share']))['share'] and 0 < said['share']
    ends = [load_model(o).state_dict() for o in (base, merged/'results'/tuned.format(1)/'final')]
    wanted, got = merged_weights(*ends, said['share']), load_model(run/'final').state_dict()
    assert all((got[k] == v).all() for k,v in wanted.items())

def test_gold_is_looked_at_once_for_the_choice_and_its_ends(merged):
    run = merges(merged)[1]
    m, systems = manifest(run), json.loads((run/'eval'/'gold_metrics.json').read_text())['systems']
    assert len(m['looks']) == 1 and ('unmerged' in systems) == (m['stages']['merge']['share'] < 1) and 'tuned' in systems and 'guard' in str(m['stages']['merge']['rule'])
    source = json.loads((merged/'results'/tuned.format(1)/'eval'/'gold_metrics.json').read_text())['systems']
    if 'unmerged' in systems: assert systems['unmerged'] == source['tuned']
    assert systems['base'] == source['base'] and (run/'plots'/'merge.html').exists()

def test_merges_of_seeds_are_seeds_of_one_recipe(merged):
    lab = read_lab(merged)
    a, b = compare(lab, ['exp_12_merge*', 'exp_02_in_batch*']).recipes
    assert sorted(len(o.runs) for o in (a, b)) == [2, 2] and not a.repeats and not b.repeats
    assert [*dependents(lab, lab.results/tuned.format(1))] == [merges(merged)[1].name]

def test_the_second_time_it_is_up_to_date_and_says_the_line_as_json(merged):
    before = (merges(merged)[2]/'run.json').read_bytes()
    res = emb('merge', tuned.format(2), '--with', 'base', '-p', 'steps', 4, '--json', cwd=merged)
    said = json.loads(res.stdout)
    assert 'is up to date' in res.stderr and len(said['line']) == 5 and said['headline']['tuned'] and (merges(merged)[2]/'run.json').read_bytes() == before
    assert 'chosen' in emb('merge', tuned.format(2), '-p', 'steps', 4, cwd=merged).stdout

def test_lists_search_and_encode_take_it(merged, monkeypatch):
    monkeypatch.chdir(merged)
    name = merges(merged)[1].name
    assert CliRunner().invoke(app, ['ls', '--verify']).stdout.count(' completed ') == 4
    for o in (['search', name, 'open', 'a', 'file'], ['encode', name, 'data/corpus.jsonl', '--out', 'vectors'], ['note', name, 'remedy']):
        res = CliRunner().invoke(app, o)
        assert res.exit_code == 0, res.output
    assert 'of the way' in (merged/'results'/name/'final'/'README.md').read_text()

@pytest.mark.parametrize('how,why', [
    (dict(seed=3), 'was tuned with seed 1, and this is a run of seed 3; use `emb merge`, or set `seed` to 1'),
    (dict(model='other'), 'was tuned from other weights than the base model here'),
    (dict(tuned='words'), 'cannot be merged with the base model: `0.embedding.weight` has')])
def test_what_is_no_line_is_refused_in_one(merged, tmp_path, how, why):
    lab = shutil.copytree(merged, tmp_path/'lab')
    from embed_lab.models.base import tiny_model
    tiny_model(['other words']).save_pretrained(str(lab/'words'))
    shutil.copytree(read_lab(lab).model, lab/'other')
    model = load_model(lab/'other')
    model[0].embedding.weight.data += 1
    model.save_pretrained(str(lab/'other'))
    given = dict(tuned=f'results/{tuned.format(1)}/final', seed=1) | how
    res = emb('run', 'exp_12_merge', *(o for k,v in given.items() for o in ('-p', k, v)), cwd=lab, ok=None)
    assert res.returncode and why in res.stderr and 'Traceback' not in res.stderr

def test_merge_refuses_before_a_kernel_starts(merged, monkeypatch):
    monkeypatch.chdir(merged)
    for args,why in ((['exp_09'], 'no run `exp_09`'), ([tuned.format(1), '--with', 'exp_02'], 'merged with its `base` alone'), ([tuned.format(1), '-p', 'step', '4'], 'has no parameter `step`')):
        res = CliRunner().invoke(app, ['merge', *args])
        assert res.exit_code == 2 and why in res.stderr, res.output
    monkeypatch.setattr('embed_lab.labs.merging.read_run', lambda path: read_run(path) | dict(status='failed'))
    assert 'is failed, and only a completed run can be merged' in CliRunner().invoke(app, ['merge', tuned.format(1)]).stderr
