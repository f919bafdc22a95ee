"Recipes from other packages, names that stay in the lab, and advice that the contract agrees with"
import json, os, shutil, sys
from itertools import product
from pathlib import Path
import pytest
from support import bin, emb, root, sh
from embed_lab.data.reading import read_rows
from embed_lab.data.files import write_rows

hinge = root/'tests'/'plugin'
heavy = 'torch', 'transformers', 'sentence_transformers', 'papermill', 'plotly', 'pandas', 'nbdev', 'datasets', 'IPython'

def on_path(*folders): return dict(PYTHONPATH=os.pathsep.join(map(str, [*folders, *filter(None, [os.environ.get('PYTHONPATH')])])))
def listed(**env): return {o['recipe']: o for o in json.loads(emb('recipes', '--json', cwd='/', **env).stdout)}
def files(folder): return sorted(str(o.relative_to(folder)) for o in folder.rglob('*') if o.is_file() and '__pycache__' not in o.parts)

@pytest.fixture(scope='module')
def made(tmp_path_factory, data):
    "A lab that tests copy"
    path = tmp_path_factory.mktemp('made')
    emb('init', 'lab', '--data', data, cwd=path)
    return path/'lab'

@pytest.fixture
def lab(tmp_path, made): return Path(shutil.copytree(made, tmp_path/'lab'))

# a package that brings a recipe, a contract and an inventory notebook

@pytest.fixture(scope='module')
def plugin(tmp_path_factory):
    "tests/plugin, installed by pip where nobody else sees it; as environment variables"
    home = tmp_path_factory.mktemp('plugin')
    shutil.copytree(hinge, home/'source')
    sh(sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-build-isolation', '--no-index', '--disable-pip-version-check', '--target', home/'site', home/'source', cwd=home)
    return on_path(home/'site')

@pytest.fixture(scope='module')
def triplets(tmp_path_factory, data):
    "The small sample, with label 0 turned into negatives"
    folder = tmp_path_factory.mktemp('triplets')
    for o in ('train', 'dev', 'gold'):
        rows = read_rows(data/f'{o}.jsonl')
        wrong = {}
        for r in rows: wrong.setdefault(r['query'], []).extend([r['passage']]*(r['label'] == 0))
        write_rows(folder/f'{o}.jsonl', [r | (dict(negatives=w) if (w := wrong[r['query']]) else {}) for r in rows if r['label']])
    return folder

@pytest.fixture(scope='module')
def hinge_lab(tmp_path_factory, triplets, base, plugin):
    path = tmp_path_factory.mktemp('hinge')
    emb('init', 'lab', '--data', triplets, '--recipe', 'hinge', cwd=path, **plugin)
    ini = path/'lab'/'settings.ini'
    ini.write_text(ini.read_text().replace('model = sentence-transformers/all-MiniLM-L6-v2', f'model = {base}'))
    return path/'lab'

def test_a_plug_in_is_listed_ranked_and_offered_like_ours(plugin, triplets, data, tmp_path):
    assert listed(**plugin)['hinge'].items() >= dict(experiment='exp_31_hinge', package='embed-lab-hinge').items()
    assert 'hinge' not in listed()
    ranked = {o['recipe']: o for o in json.loads(emb('recipes', '--for', triplets, '--json', cwd=tmp_path, **plugin).stdout)['recipes']}
    assert ranked['hinge']['fits'] and ranked['hinge']['for']
    [lack] = json.loads(emb('recipes', '--for', data, '--json', cwd=tmp_path, **plugin).stdout)['recipes'][-1]['lacks']
    assert '`negatives`' in lack and 'hinge' in emb('recipes', '--for', data, cwd=tmp_path, **plugin).stdout
    offered = sh(bin/'emb', cwd=tmp_path, ok=None, _EMB_COMPLETE='complete_bash', COMP_WORDS='emb new x --recipe ', COMP_CWORD='4', **plugin).stdout.split()
    assert 'hinge' in offered

def test_a_plug_ins_recipe_brings_its_inventory_and_trains(hinge_lab, plugin):
    made = files(hinge_lab)
    assert {'nbs/31_hinge.ipynb', 'inventory/hinge.py', 'experiments/exp_31_hinge.ipynb'} <= {*made} and not [o for o in made if 'exp_01' in o]
    code = (hinge_lab/'experiments'/'exp_31_hinge.ipynb').read_text()
    assert 'from inventory.hinge import Hinge' in code and 'from inventory.train import train' in code and 'embed_lab_hinge.inventory' not in code
    assert '"embed-lab-hinge"' in (hinge_lab/'pyproject.toml').read_text()
    edited = hinge_lab/'nbs'/'31_hinge.ipynb'
    edited.write_text(edited.read_text().replace('content once', 'happy once'))
    out = emb('new', 'exp_40_mine', '--recipe', 'exp_31_hinge', cwd=hinge_lab, **plugin).stdout
    assert 'kept     nbs/31_hinge.ipynb' in out and 'happy once' in edited.read_text()
    emb('run', 'exp_40_mine', '-p', 'margin', '.3', cwd=hinge_lab, **plugin)
    run = json.loads((hinge_lab/'results'/'exp_40_mine,margin=0.3'/'run.json').read_text())
    assert run['status'] == 'completed' and run['loss'] == 'Hinge' and run['lineage'] == 'exp_31_hinge' and 'inventory/hinge.py' in run['inputs']['inventory']

def test_a_plug_ins_contract_is_known_with_its_recipe(plugin, tmp_path):
    code = "from embed_lab.labs.recipes import recipes; from embed_lab.training.contract import check_contract, refuse_misfit; recipes(); refuse_misfit(check_contract(dict(query=['a', 'b'], passage=['c', 'd']), 'hinge'))"
    assert 'LabError: data/train.jsonl: hinge loss needs a passage known to be wrong' in sh(sys.executable, '-c', code, cwd=tmp_path, ok=1, **plugin).stderr

# packages that cannot be used: one line each, and the others keep working

entry = 'from embed_lab.labs.recipes import folder_recipes\nfrom pathlib import Path\ndef recipes(): return folder_recipes(Path(__file__).parent)\n'

def nb(*cells, **recipe):
    cells = [dict(cell_type='code', id=f'{i:08}', metadata={}, outputs=[], execution_count=None, source=o) for i,o in enumerate(cells)]
    return json.dumps(dict(cells=cells, metadata=dict(embed_lab=dict(recipe=recipe)) if recipe else {}, nbformat=4, nbformat_minor=5))

def package(site, name, code=entry, **contents):
    "A package as pip would have left it"
    module = 'their_' + name.replace('-', '_')
    info = site/f'{module}-1.dist-info'
    info.mkdir(parents=True)
    (info/'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1\n')
    (info/'entry_points.txt').write_text(f'[embed_lab.recipes]\nmine = {module}:recipes\n')
    for k,v in dict({'__init__.py': code}, **contents).items():
        (site/module/k).parent.mkdir(parents=True, exist_ok=True)
        (site/module/k).write_text(v)

def one(file, own=None, **recipe):
    "A recipe, perhaps with an inventory notebook"
    return {f'experiments/{file}.ipynb': nb('a: int = 1', **recipe, **dict(inventory=['50_own']) if own else {})} | ({'inventory/50_own.ipynb': own} if own else {})

def exporting(*cells): return nb(*cells)

broken = {
    'raises': (dict(code='raise ImportError("no\\ntorch\\x1b[2J")'), 'ImportError: no torch'),
    'leaves': (dict(code='raise SystemExit(3)'), 'SystemExit'),
    'lies': (dict(code='def recipes(): return [42]'), 'returns int'),
    'no-list': (dict(code='def recipes(): return None'), 'TypeError'),
    'climbs': (one('exp_51', name='../evil'), 'cannot be a recipe\'s name'),
    'shouts': (one('exp_52', name='Shout'), 'cannot be a recipe\'s name'),
    'takes-a-name': (one('exp_53', name='in-batch'), 'embed-lab already has a recipe of that name'),
    'takes-a-file': (one('exp_02_in_batch', name='other'), 'embed-lab already has a notebook exp_02_in_batch.ipynb'),
    'spaces': (one('exp_ 54', name='spaces'), 'not a plain file name'),
    'digs': (one('exp_55', own=exporting('#| default_exp ..evil', '#| export\nx = 1'), name='digs'), 'not a plain module name'),
    'absolute': (one('exp_56', own=exporting('#| default_exp /tmp/evil'), name='absolute'), 'not a plain module name'),
    'keyword': (one('exp_57', own=exporting('#| default_exp import'), name='keyword'), 'not a plain module name'),
    'aside': (one('exp_58', own=exporting('#| default_exp own', '#| export ..evil\nx = 1'), name='aside'), 'second place'),
    'hides': (one('exp_59', own=exporting('#| default_exp own', 'x = 1').replace('"metadata": {}, "nbformat"', '"metadata": {"nbdev": {"default_exp": "..evil"}}, "nbformat"'), name='hides'), 'second place'),
    'replaces': (one('exp_60', own=exporting('#| default_exp inventory.train'), name='replaces'), 'as 02_train.ipynb of every lab does'),
    'forgets': (one('exp_61', name='forgets', inventory=['70_nowhere']), 'no such notebook'),
    'points-up': (one('exp_62', name='points-up', inventory=['../../../x']), 'no such notebook'),
    'wants-odd': (one('exp_63', name='wants-odd', needs=['pear']), 'is not a kind of data; '),
    'exports': ({'experiments/exp_64.ipynb': nb('#| default_exp ..evil', '#| export\nx = 1', name='exports')}, 'belongs in an inventory notebook'),
    'misspells': (one('exp_65', name='misspells', need=['pairs']), 'did you mean `needs`'),
    'torn': ({'experiments/exp_66.ipynb': '{"cells": ['}, 'not a notebook')}

@pytest.fixture(scope='module')
def odd(tmp_path_factory):
    site = tmp_path_factory.mktemp('odd')
    for k,(v,_) in broken.items(): package(site, k, **v)
    package(site, 'sound', **one('exp_70_sound', name='sound', own=exporting('#| default_exp own', '#| export\nx = 1'), needs=['pairs']), **{'experiments/exp_71_lame.ipynb': nb('a = 1', name='Lame')})
    return on_path(site)

def test_a_broken_package_costs_one_line_and_its_own_recipes_only(odd):
    res = emb('recipes', '--json', cwd='/', **odd)
    names = [o['recipe'] for o in json.loads(res.stdout)]
    assert names == [*listed(), 'sound']
    said = {l.split('package ')[1].split(' ')[0]: l for l in res.stderr.splitlines()}
    assert len(said) == len(res.stderr.splitlines()) == len(broken) + 1, res.stderr
    for k,(_,why) in broken.items(): assert said[k].startswith('emb: ') and why in said[k] and '\x1b' not in said[k], said[k]
    assert 'recipe `Lame` of package sound' in said['sound']

@pytest.mark.parametrize('name, wanted', [('digs', 'not a plain module name'), ('raises', 'ImportError: no torch'), ('exports', 'belongs in'), ('in_batch', 'did you mean `in-batch`'), ('../x', 'there is no recipe `../x`')])
def test_asking_for_what_was_left_out_says_why_and_makes_nothing(odd, tmp_path, name, wanted):
    res = emb('init', 'lab', '--recipe', name, cwd=tmp_path, ok=2, **odd)
    assert res.stderr.count('\n') == 1 and wanted in res.stderr and not list(tmp_path.iterdir())

def test_a_sound_recipe_works_beside_broken_ones(odd, tmp_path, data):
    res = emb('init', 'lab', '--data', data, '--recipe', 'sound', cwd=tmp_path, **odd)
    assert (tmp_path/'lab'/'inventory'/'own.py').exists() and 'created  nbs/50_own.ipynb' in res.stdout
    assert not [o for o in tmp_path.rglob('*evil*')] and not Path('/evil.py').exists() and not Path('/tmp/evil.py').exists()

# names that stay in the lab

@pytest.mark.parametrize('args', [['new', '../x'], ['new', '/tmp/x'], ['new', 'a/b'], ['new', 'scratch'], ['new', 'Aside'], ['new', '.locks'], ['new', 'reproduced'], ['new', '..'], ['new', ''],
    ['new', 'x', '--recipe', '../x'], ['new', 'x', '--recipe', '../../experiments/exp_01_baseline'], ['new', 'x', '--from', '../nbs/02_train'], ['init', '.', '--recipe', '../x']])
def test_no_name_leads_out_of_the_lab(made, args):
    before = files(made.parent)
    res = emb(*args, cwd=made, ok=2)
    assert res.stderr.startswith('emb: ') and res.stderr.count('\n') == 1 and files(made.parent) == before

@pytest.mark.parametrize('folder', ['experiments', 'nbs', 'inventory', 'results/exp_40'])
def test_a_link_does_not_lead_out_either(lab, plugin, folder):
    out = lab.parent/'outside'
    shutil.move(lab/folder, out) if (lab/folder).exists() else out.mkdir()
    before = files(out)
    (lab/folder).symlink_to(out)
    res = emb('new', 'exp_40', '--recipe', 'hinge', cwd=lab, ok=2, **plugin)
    assert 'outside the lab' in res.stderr and res.stderr.count('\n') == 1 and files(out) == before

def test_results_and_data_may_lie_on_another_disk(lab, plugin):
    for o in ('results', 'data'):
        shutil.move(lab/o, lab.parent/f'big_{o}')
        (lab/o).symlink_to(lab.parent/f'big_{o}')
    emb('new', 'exp_40', '--recipe', 'hinge', cwd=lab, **plugin)
    assert (lab.parent/'big_results'/'exp_40'/'.gitkeep').exists()

def test_a_dangling_link_is_a_file_that_exists(lab):
    (lab/'experiments'/'exp_40.ipynb').symlink_to(lab.parent/'elsewhere.ipynb')
    assert 'already exists' in emb('new', 'exp_40', cwd=lab, ok=2).stderr and not (lab.parent/'elsewhere.ipynb').exists()

# nothing of the lab's is overwritten

@pytest.mark.parametrize('file, text, wanted', [
    ('nbs/07_ours.ipynb', nb('#| default_exp hinge', '#| export\nx = 1'), 'nbs/07_ours.ipynb already exports to inventory/hinge.py'),
    ('nbs/31_hinge.ipynb', nb('#| default_exp ours', '#| export\nx = 1'), 'nbs/31_hinge.ipynb already exists and is another notebook'),
    ('inventory/hinge.py', 'x = 1\n', 'inventory/hinge.py already exists')])
def test_a_recipe_replaces_no_code_of_the_labs(lab, plugin, file, text, wanted):
    (lab/file).write_text(text)
    for args in (['new', 'exp_40', '--recipe', 'hinge'], ['init', '.', '--recipe', 'hinge']):
        res = emb(*args, cwd=lab, ok=2, **plugin)
        assert wanted in res.stderr and res.stderr.count('\n') == 1
    assert (lab/file).read_text() == text and not [o for o in files(lab) if 'exp_40' in o or 'exp_31' in o]

def test_a_lab_begins_with_two_experiments_and_the_core_of_the_inventory(lab):
    assert [o.stem for o in sorted((lab/'experiments').iterdir())] == ['exp_01_baseline', 'exp_02_in_batch']
    assert [o.name[:2] for o in sorted((lab/'nbs').iterdir())] == ['00', '01', '02', '03', '04']
    assert 'emb recipes --for data' in emb('init', cwd=lab).stdout and 'emb recipes --for data' in (lab/'README.md').read_text()

# our own recipes

from embed_lab.labs.recipes import core_notebooks, inventory_module, recipes
ours = [o for o in recipes().values() if o.package == 'embed-lab']

def test_every_notebook_of_ours_is_a_recipe():
    assert sorted(o.notebook.name for o in ours) == sorted(o.name for o in (root/'nbs'/'experiments').glob('exp_*.ipynb'))

@pytest.mark.parametrize('recipe', ours, ids=lambda o: o.name)
def test_our_recipes_name_what_they_use(recipe):
    import re
    from embed_lab.training.contract import contracts
    there = {inventory_module(o) for o in (*core_notebooks(), *recipe.inventory)}
    for o in (recipe.notebook, *recipe.inventory): assert {*re.findall(r'embed_lab\.inventory\.(\w+)', o.read_text())} <= there, o.name
    assert bool(recipe.needs) == recipe.trains and {*recipe.losses} <= {*contracts}

@pytest.mark.parametrize('recipe', [o for o in ours if o.inventory], ids=lambda o: o.name)
def test_our_recipes_bring_their_inventory(recipe, lab):
    out = emb('new', 'exp_40_mine', '--recipe', recipe.name, cwd=lab).stdout
    for o in recipe.inventory: assert f'created  nbs/{o.name}' in out and (lab/'inventory'/f'{inventory_module(o)}.py').exists()

@pytest.mark.parametrize('args', [[], ['--for', 'data']])
def test_recipes_are_listed_without_torch(args, made):
    code = f"import sys; from embed_lab.cli.commands import app\ntry: app(['recipes', *{args!r}])\nexcept SystemExit as e: assert not e.code\nprint('loaded', *[o for o in {heavy!r} if o in sys.modules])"
    assert sh(sys.executable, '-c', code, cwd=made).stdout.strip().endswith('loaded')

# the chooser and the contract say the same

def rows_of(labels, scores, negatives, n, texts):
    def row(i):
        q, p = dict(apart=(f'question {i}', f'answer {i}'), few=(f'question {i}', f'answer {i%3}'), one_query=('question', f'answer {i}'), one_passage=(f'question {i}', 'answer'), same=('question', 'answer'))[texts]
        wrong = [f'wrong {i}', f'worse {i}', 'worst'][:dict(none=0, one=1, several=3, ragged=i%3, half=i%2)[negatives]]
        score = dict(none=None, two=i%2, grades=i%4, shares=(i%5)/4, cosines=(i%5)/2 - 1, high=50. + i%7, constant=1, some=(i%4 if i%3 else None))[scores]
        return dict(query=q, passage=p, label=dict(ones=1, zeros=0, both=i%2, rare=int(i%40 == 0), mostly=int(i%40 > 0))[labels]) | (dict(score=score) if score is not None else {}) | (dict(negatives=wrong) if wrong else {})
    return [row(i) for i in range(n)]

grid = [dict(zip(('labels', 'scores', 'negatives', 'n', 'texts'), o)) for o in product(('ones', 'zeros', 'both', 'rare', 'mostly'),
    ('none', 'two', 'grades', 'shares', 'cosines', 'high', 'constant', 'some'), ('none', 'one', 'several', 'ragged', 'half'), (1, 2, 7, 100), ('apart', 'few', 'one_query', 'one_passage', 'same'))]

def test_no_recipe_that_is_called_fitting_is_refused():
    from embed_lab.labs.choose import contract_asker, facts_of, fit_recipe
    from embed_lab.training.contract import check_contract, contract, refuse_misfit
    from embed_lab.inventory.datasets import to_dataset
    from embed_lab.inventory.train import training_rows
    from embed_lab.lab import LabError
    asked, wrong = {}, []
    for o in grid[::29]: # prime to every side of the grid, so that all of them are gone through
        rows = rows_of(**o)
        facts, ask, train = facts_of(dict(train=rows)), contract_asker(rows), to_dataset(rows)
        said = {r.name: fit_recipe(r, facts, ask) for r in ours}
        for k,v in said.items(): asked[k, v.fits] = asked.get((k, v.fits), 0) + 1
        for loss,size in {(v.loss, v.batch_size) for v in said.values() if v.fits and v.loss and not contract(v.loss).teacher}:
            try: refuse_misfit(check_contract(training_rows(train, loss), loss, size), 'train')
            except LabError as e: wrong.append((o, loss, str(e)))
    assert not wrong, (len(wrong), wrong[:3])
    assert all((r.name, k) in asked for r in ours if r.trains for k in (True, False)), asked
