"Labs that earlier toolkits made keep working: their notebooks are copies that nobody upgrades"
import shutil
import pytest
from support import emb, manifest, root

labs = sorted(o for o in (root/'tests'/'labs').iterdir() if (o/'settings.ini').is_file())

def test_some_are_kept(): assert labs

@pytest.mark.parametrize('kept', labs, ids=lambda o: o.name)
def test_two_recipes_run(kept, tmp_path, data, base):
    lab = tmp_path/'lab'
    shutil.copytree(kept, lab)
    shutil.copytree(data, lab/'data')
    ini = lab/'settings.ini'
    ini.write_text(ini.read_text().replace('model = sentence-transformers/all-MiniLM-L6-v2', f'model = {base}'))
    for exp in ('exp_02_in_batch', 'exp_03_hard_negatives'):
        emb('run', exp, '-p', 'lr', .01, cwd=lab)
        run = manifest(lab/'results'/f'{exp},lr=0.01')
        assert (run['status'], run['lab']) == ('completed', kept.name) and run['headline']['tuned']['mean'] > 0
