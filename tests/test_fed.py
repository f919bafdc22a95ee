"A lab begins with what its data can feed, and a recipe that it cannot feed is refused before anything starts"
import json, re, shutil
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.files import write_rows
from embed_lab.lab import LabError
from embed_lab.labs.choose import first_recipes, refuse_unfed
from embed_lab.labs.scaffold import init_lab
from embed_lab.notebooks import parameter_limits

def row(i, label=1, **kw): return dict(query=f'question number {i}', passage=f'the answer to {i}', label=label, **kw)

kinds = dict(
    pairs=([row(i) for i in range(80)], ['exp_02_in_batch', 'exp_03_hard_negatives'], 'exp_02_in_batch'),
    judged=([row(i, i%2) for i in range(80)], ['exp_01_baseline', 'exp_02_in_batch'], 'exp_02_in_batch'),
    negatives=([row(i, negatives=[f'no answer to {i}']) for i in range(80)], ['exp_01_baseline', 'exp_02_in_batch'], 'exp_02_in_batch'),
    graded=([row(i, int(i%4 > 1), score=i%4) for i in range(80)], ['exp_01_baseline', 'exp_02_in_batch'], 'exp_01_baseline -p loss cosent'))

def data(folder, train):
    for k,rows in dict(train=train, dev=[row(i) for i in range(100, 120)], gold=[row(i) for i in range(200, 220)]).items(): write_rows(folder/f'{k}.jsonl', rows)
    return folder

@pytest.mark.parametrize('kind', kinds)
def test_a_lab_begins_with_two_recipes_that_its_data_can_feed(tmp_path, monkeypatch, kind):
    train, experiments, first = kinds[kind]
    monkeypatch.chdir(tmp_path)
    res = CliRunner().invoke(app, ['init', 'lab', '--data', str(data(tmp_path/'own', train))])
    assert res.exit_code == 0 and f'&& emb run {first}\n' in res.stdout
    lab = tmp_path/'lab'
    assert sorted(o.stem for o in (lab/'experiments').iterdir()) == experiments
    assert all(f'emb run {first.split()[0]}' in (lab/o).read_text() for o in ('README.md', 'AGENTS.md'))
    for o in experiments: refuse_unfed(init_lab(lab).lab, o, [dict(loss='cosent') if kind == 'graded' and 'baseline' in o else {}])

def test_what_was_asked_for_is_not_second_guessed(tmp_path):
    made = init_lab(tmp_path/'lab', ['pairwise'], data(tmp_path/'own', kinds['pairs'][0]), first_recipes)
    assert [o.stem for o in made.lab.experiments.iterdir()] == ['exp_01_baseline']

@pytest.fixture(scope='module')
def pairs_lab(tmp_path_factory):
    home = tmp_path_factory.mktemp('pairs')
    return init_lab(home/'lab', ['pairwise', 'in-batch', 'lora'], data(home/'own', kinds['pairs'][0])).lab

@pytest.fixture
def lab(tmp_path, pairs_lab, monkeypatch):
    from embed_lab.lab import read_lab
    monkeypatch.chdir(shutil.copytree(pairs_lab.path, tmp_path/'lab'))
    return read_lab(tmp_path/'lab')

@pytest.mark.parametrize('args', [['run', 'exp_01_baseline'], ['run', 'exp_02_in_batch', 'exp_01_baseline'], ['run', 'exp_01_baseline', '--estimate'], ['sweep', 'exp_01_baseline', '--seeds', '3'],
    ['sweep', 'exp_01_baseline', '-g', 'lr=1e-4,2e-4', '--jobs', '2'], ['sweep', 'exp_01_baseline', '-g', 'lr=1e-5..1e-3', '--trials', '4'], ['sweep', 'exp_06_lora', '-g', 'loss=in-batch,contrastive']])
def test_it_is_refused_once_with_the_recipe_that_can_before_anything_starts(lab, args):
    res = CliRunner().invoke(app, args)
    assert res.exit_code == 2 and res.stderr.count('\n') == 1 and res.stdout == ''
    assert re.search(r'emb: exp_0\d_\w+( with loss=contrastive)?: contrastive loss needs labels 0 and 1, but all 80 rows have label 1; try `emb run exp_0[26]_\w+`\n', res.stderr)
    assert not [*lab.results.rglob('run.json')]

def test_a_recipe_that_is_not_there_yet_is_named_with_how_to_make_it(lab):
    (lab.experiments/'exp_02_in_batch.ipynb').unlink()
    with pytest.raises(LabError, match='try `emb new exp_10_mine --recipe in-batch && emb run exp_10_mine`'): refuse_unfed(lab, 'exp_01_baseline', [{}])

@pytest.mark.parametrize('file', ['experiments/exp_01_baseline.ipynb', 'nbs/00_datasets.ipynb', 'nbs/01_preprocess.ipynb', 'nbs/02_train.ipynb'])
def test_edited_code_is_left_to_its_own_contract(lab, file):
    "It may make the rows that the recipe lacks"
    nb = json.loads((lab.path/file).read_text())
    code = [c for c in nb['cells'] if c['cell_type'] == 'code' and 'parameters' not in c['metadata'].get('tags', [])]
    code[-2]['source'] = [*code[-2]['source'], '\n# ours']
    (lab.path/file).write_text(json.dumps(nb))
    refuse_unfed(lab, 'exp_01_baseline', [{}])

def test_edited_prose_and_plots_change_nothing(lab):
    for o in ('experiments/exp_01_baseline.ipynb', 'nbs/04_plotting.ipynb'):
        nb = json.loads((lab.path/o).read_text())
        nb['cells'][-1 if 'plotting' in o else 0]['source'] = ['# Ours']
        (lab.path/o).write_text(json.dumps(nb))
    with pytest.raises(LabError, match='needs labels 0 and 1'): refuse_unfed(lab, 'exp_01_baseline', [{}])

def test_a_default_that_was_edited_counts(lab):
    graded = [row(i, int(i%4 > 1), score=i%4) for i in range(80)]
    write_rows(lab.data/'train.jsonl', graded)
    path = lab.experiments/'exp_06_lora.ipynb'
    refuse_unfed(lab, 'exp_06_lora', [dict(loss='cosent')])
    path.write_text(path.read_text().replace("loss: str = 'in-batch'", "loss: str = 'cosent'"))
    refuse_unfed(lab, 'exp_06_lora', [{}])
    write_rows(lab.data/'train.jsonl', kinds['pairs'][0])
    with pytest.raises(LabError, match='try `emb run exp_06_lora -p loss in-batch`'): refuse_unfed(lab, 'exp_06_lora', [{}])

# what is suggested is not refused itself

def fed_back(lab, message):
    "Do what a refusal says, as far as no kernel is needed"
    from embed_lab.labs.recipes import find_recipe
    from embed_lab.labs.scaffold import new_experiment
    for command in re.search('try `(.*)`$', message)[1].split(' && '):
        words = command.split()
        if words[:2] == ['emb', 'new']: new_experiment(lab, words[2], find_recipe(words[4]))
        else: refuse_unfed(lab, words[2], [dict(zip(words[4::3], words[5::3]))])
    return words

edits = {'loss: str = .[a-z-]+.': ["loss: str = 'cosent'", "loss: str = 'contrastive'", "loss: str = 'in-batch'"], 'batch_size: int = [0-9]+': ['batch_size: int = 1', 'batch_size: int = 3', 'batch_size: int = 500']}
some_rows = {k: v[0] for k,v in kinds.items()} | dict(signs=[row(i, score=1 - 2*(i%2)) for i in range(80)], wrong=[row(i, 0) for i in range(80)],
    one_passage=[row(i, i%2) | dict(passage='it depends') for i in range(80)], none=[row(i, score=0) for i in range(80)], single=[row(0), row(1, 0)])

@pytest.mark.parametrize('kind', some_rows)
def test_what_is_suggested_is_accepted(lab, kind):
    write_rows(lab.data/'train.jsonl', some_rows[kind])
    whole, seen = {o: o.read_text() for o in lab.experiments.glob('*.ipynb')}, 0
    for path,text in whole.items():
        for pattern,texts in edits.items():
            for new in texts:
                if not re.search(pattern, text): continue
                path.write_text(re.sub(pattern, new, text, count=1))
                for given in ({}, dict(loss='contrastive'), dict(batch_size='2')):
                    if 'loss' in given and 'loss: str' not in text: continue
                    try: refuse_unfed(lab, path.stem, [given])
                    except LabError as e:
                        assert ('no recipe can use it' in str(e)) == (kind == 'wrong'), e
                        if kind != 'wrong': fed_back(lab, str(e))
                        seen += 1
                    for o in {*lab.experiments.glob('*.ipynb')} - {*whole}: o.unlink()
        path.write_text(text)
    assert seen or kind in ('judged', 'negatives', 'graded', 'single')

def test_a_batch_size_is_suggested_where_it_helps(lab, monkeypatch):
    "As for a loss of another package that wants more rows than the limits of the parameter say"
    monkeypatch.delitem(parameter_limits, 'batch_size')
    path = lab.experiments/'exp_02_in_batch.ipynb'
    path.write_text(path.read_text().replace('batch_size: int = 64', 'batch_size: int = 1'))
    with pytest.raises(LabError, match='but batch_size is 1 for all 80 rows; try `emb run exp_02_in_batch -p batch_size 64`'): refuse_unfed(lab, path.stem, [{}])

def test_scores_are_learnt_as_scores_and_not_as_answers(lab):
    "A score of -1 on a row with label 1 is no answer"
    from embed_lab.labs.choose import choose_recipes
    write_rows(lab.data/'train.jsonl', some_rows['signs'])
    with pytest.raises(LabError, match='all 80 rows have label 1; try `emb run exp_01_baseline -p loss cosent`'): refuse_unfed(lab, 'exp_01_baseline', [{}])
    with pytest.raises(LabError, match='try `emb run exp_06_lora -p loss cosent`'): refuse_unfed(lab, 'exp_06_lora', [dict(loss='contrastive')])
    fits = {o.recipe.name: o for o in choose_recipes(lab.data).fits}
    assert next(iter(fits)) == 'pairwise' and any(o.startswith('40 rows have label 1 and a score of 0 or less') for o in fits['in-batch'].con)

def test_a_name_that_is_taken_is_not_suggested(lab):
    (lab.experiments/'exp_10_mine.ipynb').write_text((lab.experiments/'exp_01_baseline.ipynb').read_text())
    (lab.experiments/'exp_02_in_batch.ipynb').unlink()
    with pytest.raises(LabError) as e: refuse_unfed(lab, 'exp_01_baseline', [{}])
    assert 'emb new exp_11_mine --recipe in-batch && emb run exp_11_mine' in str(e.value)
    fed_back(lab, str(e.value))

def test_decisions_about_the_data_count(lab):
    "Where every wrong answer turned out to be right, nothing is wrong any more"
    train = kinds['judged'][0]
    write_rows(lab.data/'train.jsonl', train)
    refuse_unfed(lab, 'exp_01_baseline', [{}])
    write_rows(lab.data/'decisions.jsonl', [dict(query=o['query'], passage=o['passage'], decision='relabel') for o in train if not o['label']])
    with pytest.raises(LabError, match='needs labels 0 and 1'): refuse_unfed(lab, 'exp_01_baseline', [{}])

@pytest.mark.parametrize('args, why', [(['run', 'exp_1_baseline'], 'no experiment `exp_1_baseline`'), (['run', 'exp_01_baseline', '-p', 'epoch', '2'], 'no parameter `epoch`')])
def test_other_mistakes_are_named_as_before(lab, args, why):
    res = CliRunner().invoke(app, args)
    assert (res.exit_code, why in res.stderr) == (2, True)
