"All code that decides is in the record: what a kernel reads of its lab, and modules that are what their notebooks export"
import json, os, py_compile, shutil, zipfile
import pytest
from fastcore.nbio import mk_cell, new_nb, write_nb
from embed_lab.code import export_inventory, inventory_code
from embed_lab.lab import LabError, read_lab
from embed_lab.runs.execute import plan
from embed_lab.runs.looks import recipe_hash
from embed_lab.runs.manifest import differences
from embed_lab.runs.results import read_run
from support import emb, manifest, papermill, write_manifest

name = 'exp_50_code'
helpers = {'inventory/_helper.py': 'import cut_rows', 'inventory/parts/cut.py': 'half = .5', 'cut_rows.py': 'keep = .5', 'tools/__init__.py': '',
    'tools/sort.py': 'order = 1', 'experiments/beside.py': 'x = 1', 'script.py': 'y = 1', 'loaded.py': 'z = 1', 'ran.ipynb': None}
imported = sorted([*(o for o in helpers if not o.startswith('inventory')), 'compiled.pyc', 'packed.zip'])

def notebook(path, *cells):
    nb = new_nb([mk_cell(o) for o in cells])
    nb['metadata']['kernelspec'] = dict(name='python3', display_name='python3', language='python')
    write_nb(nb, path)
    return path

def experiment(lab):
    "An experiment that imports from everywhere and trains nothing"
    nb = notebook(lab/'experiments'/f'{name}.ipynb', 'seed: int = 1 # of nothing', 'from embed_lab.runs.record import start', 'run = start(globals())',
        'import sys\nsys.path += ["experiments", "packed.zip"]\nfrom inventory import _helper\nfrom inventory.parts import cut\nimport tools.sort, beside, compiled, inside',
        '%run script.py', 'exec(open("loaded.py").read())', '%run ran.ipynb', 'run.finish()')
    d = json.loads(nb.read_text())
    d['cells'][0]['metadata']['tags'] = ['parameters']
    nb.write_text(json.dumps(d))

@pytest.fixture(scope='module')
def ran(fresh, tmp_path_factory):
    "A lab with a run of that experiment; nothing is changed in it"
    lab = shutil.copytree(fresh, tmp_path_factory.mktemp('ran')/'lab')
    for o,text in helpers.items():
        (lab/o).parent.mkdir(exist_ok=True, parents=True)
        if text is not None: (lab/o).write_text(text)
    (lab/'inventory'/'parts'/'__init__.py').touch()
    notebook(lab/'ran.ipynb', 'w = 1')
    (lab/'was.py').write_text('v = 1')
    py_compile.compile(lab/'was.py', lab/'compiled.pyc')
    (lab/'was.py').unlink()
    with zipfile.ZipFile(lab/'packed.zip', 'w') as z: z.writestr('inside.py', 'u = 1')
    experiment(lab)
    emb('run', name, cwd=lab)
    return lab

@pytest.fixture
def own(ran, tmp_path): return shutil.copytree(ran, tmp_path/'lab')

def test_the_record_names_all_code_of_the_lab(ran):
    inputs = manifest(ran/'results'/name)['inputs']
    assert sorted(inputs['imported']) == imported
    assert {'inventory/_helper.py', 'inventory/parts/cut.py', 'inventory/train.py'} <= {*inputs['inventory']} and inputs['inventory'] == inventory_code(read_lab(ran))
    assert plan(read_lab(ran), name, {}).done

@pytest.mark.parametrize('file', ['inventory/_helper.py', 'inventory/parts/cut.py', *imported])
def test_a_run_is_not_up_to_date_with_other_code(own, file):
    before = (own/file).read_bytes()
    (own/file).write_bytes(before + (b' ' if file.endswith('.ipynb') else b'\n# other'))
    p, old = plan(read_lab(own), name, {}), manifest(own/'results'/name)
    assert not p.done and ('code', f'{file} has changed') in p.changed
    new = old | dict(inputs=old['inputs'] | {'inventory': inventory_code(read_lab(own))}) if file.startswith('inventory') else old | dict(inputs=old['inputs'] | dict(imported=old['inputs']['imported'] | {file: 'sha256:other'}))
    assert recipe_hash(new['inputs']) != recipe_hash(old['inputs']) # another recipe, not another seed
    (own/file).write_bytes(before)
    assert plan(read_lab(own), name, {}).done
    (own/file).unlink()
    assert not plan(read_lab(own), name, {}).done

def test_a_run_is_not_resumed_with_another_helper(own):
    run = own/'results'/name
    write_manifest(run, manifest(run) | dict(status='failed', error='stopped'))
    (run/'stages').mkdir()
    (run/'stages'/'mine.json').write_text('{}')
    (own/'cut_rows.py').write_text('keep = .25')
    said = emb('run', name, cwd=own, ok=2).stderr
    assert 'cannot be resumed, because cut_rows.py has changed' in said

def test_code_is_hashed_as_it_was_read(own):
    nb = own/'experiments'/f'{name}.ipynb'
    nb.write_text(nb.read_text().replace('%run script.py', 'open(\\"cut_rows.py\\", \\"a\\").write(\\"# later\\")'))
    before = read_run(own/'results'/name)['inputs']['imported']['cut_rows.py']
    emb('run', name, cwd=own)
    assert read_run(own/'results'/name)['inputs']['imported']['cut_rows.py'] == before and not plan(read_lab(own), name, {}).done

def test_an_ordinary_run_imports_nothing_but_the_inventory(whole):
    assert 'imported' not in manifest(next((whole/'results').glob('exp_02*,*')))['inputs']

def test_papermill_over_a_completed_run_says_what_is_lost(own):
    run = own/'results'/name
    old = (run/f'{name}.ipynb').read_bytes()
    papermill(own/'experiments'/f'{name}.ipynb', run/f'{name}.ipynb', cwd=own)
    assert any('which is lost' in o for o in manifest(run)['warnings']) and manifest(run)['status'] == 'completed'
    [aside] = (own/'results'/'aside').iterdir()
    assert manifest(aside)['status'] == 'completed' and old

# modules and their notebooks

def test_a_module_edited_by_hand_stops_a_run(lab):
    module = lab/'inventory'/'train.py'
    module.write_text(module.read_text().replace('warmup_steps=.1', 'warmup_steps=.2'))
    text = module.read_bytes()
    said = emb('run', 'exp_02_in_batch', cwd=lab, ok=2).stderr
    assert 'inventory/train.py is not what nbs/02_train.ipynb exports' in said and 'nbdev-update --fname inventory/train.py' in said
    assert module.read_bytes() == text and not (lab/'results'/'exp_02_in_batch'/'run.json').exists()

def test_an_older_notebook_is_exported_and_comments_are_nobodys_business(lab):
    l, nb, module = read_lab(lab), lab/'nbs'/'01_preprocess.ipynb', lab/'inventory'/'preprocess.py'
    nb.write_text(nb.read_text().replace('a no-op until the data asks for more', 'edited'))
    os.utime(nb, (0, 0)) # as git or an archive may date it
    assert export_inventory(l) == ['nbs/01_preprocess.ipynb'] and 'edited' in module.read_text()
    module.write_text('# a remark\n' + module.read_text().replace('\n\n', '\n\n\n'))
    assert export_inventory(l) == [] and module.read_text().startswith('# a remark')

def test_nothing_is_lost_where_both_were_edited(lab):
    l, nb, module = read_lab(lab), lab/'nbs'/'01_preprocess.ipynb', lab/'inventory'/'preprocess.py'
    module.write_text(module.read_text() + '\nmine = 1\n')
    os.utime(module, (1, 1))
    nb.write_text(nb.read_text().replace('a no-op until the data asks for more', 'edited'))
    said, = export_inventory(l)
    assert said.startswith('nbs/01_preprocess.ipynb (over inventory/preprocess.py, which was edited by hand')
    kept, = (lab/'results'/'aside').rglob('preprocess.py')
    assert 'mine = 1' in kept.read_text() and 'mine' not in module.read_text()

def test_a_remark_in_another_module_is_kept_where_a_notebook_is_exported(lab):
    l, nb, module = read_lab(lab), lab/'nbs'/'01_preprocess.ipynb', lab/'inventory'/'train.py'
    module.write_text('# a remark\n' + module.read_text())
    assert export_inventory(l) == [] # which does not make it an export
    nb.write_text(nb.read_text().replace('a no-op until the data asks for more', 'edited'))
    assert export_inventory(l)[0] == 'nbs/01_preprocess.ipynb'
    assert next((lab/'results'/'aside').rglob('train.py')).read_text().startswith('# a remark')

def test_without_notes_of_earlier_exports_a_fresh_clone_is_fine(lab):
    shutil.rmtree(lab/'results'/'cache')
    for i,o in enumerate(sorted(lab.rglob('*.*'))): os.utime(o, (i, i)) # git keeps no dates
    assert export_inventory(read_lab(lab)) == []

def test_a_notebook_may_export_into_a_package(lab):
    notebook(lab/'nbs'/'60_cut.ipynb', '#| default_exp parts.cut', '#| export\nhalf = .5')
    l = read_lab(lab)
    assert export_inventory(l) == ['nbs/60_cut.ipynb'] and 'half = .5' in (lab/'inventory'/'parts'/'cut.py').read_text()
    assert export_inventory(l) == [] and 'inventory/parts/cut.py' in inventory_code(l)

@pytest.mark.parametrize('text', ['', '[]', '{"state": 1, "modules": []}', '{"state": "x"}', '[' * 100000])
def test_damaged_notes_are_as_good_as_none(lab, text):
    (lab/'results'/'cache'/'exports.json').write_text(text)
    assert export_inventory(read_lab(lab)) == []
