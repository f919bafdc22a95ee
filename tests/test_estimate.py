"`emb run --estimate`: it leaves nothing but the estimate, and the run afterwards says how far off it was"
import json, os, shutil, signal
from types import SimpleNamespace
from unittest.mock import patch
import pytest
from support import begin, content, emb, exp, made_lab, manifest, wait_for, whole_run
from fastcore.nbio import mk_cell, read_nb, write_nb

def test_it_leaves_nothing_and_changes_nothing(whole, tmp_path):
    lab = shutil.copytree(whole, tmp_path/'lab')
    before = content(lab)
    said = json.loads(emb('run', *whole_run, '--estimate', '--json', cwd=lab).stdout)
    (name, said), = said.items()
    run = lab/'results'/name
    new = {o for o in content(lab) if o not in before and '.locks' not in o and not o.startswith('results/cache/estimates/')}
    assert not new and {k: v for k,v in content(lab).items() if k in before} == before
    assert said['steps'] == json.loads((run/'history.jsonl').read_text().splitlines()[-1])['step'] and said['batch_size'] == 64 and not said['troubles']
    assert list(said['seconds']) == ['before training', 'training', 'checkpoints', 'looks at dev', 'gold', 'gold with the base model'] and said['seconds']['gold with the base model'] == 0  # its vectors are kept
    outcome = manifest(run)['outcome']
    again = emb('run', *whole_run, '--restart', cwd=lab).stdout
    assert manifest(run)['outcome'] == outcome
    off, used = manifest(run)['estimate'], manifest(run)['used']
    assert off['disk']['was'] == used['disk'] and 0 <= off['disk']['was'] - off['disk']['estimated'] < 8e6 and off['memory']['estimated'] == said['memory'] and off['seconds']['was'] > 0 # charts take 5 MB
    assert '; the estimate was ' in again

def test_only_the_same_run_is_compared(whole, tmp_path):
    lab = shutil.copytree(whole, tmp_path/'lab')
    emb('run', exp, '--estimate', cwd=lab)
    emb('run', exp, '-p', 'seed', 3, cwd=lab)
    assert 'estimate' not in manifest(lab/'results'/f'{exp},seed=3')

def test_recipes_with_a_training_of_their_own(tmp_path, data, bert): # noqa: F811
    lab = made_lab(tmp_path/'lab', data, bert, ('lora', 'rerank'))
    said = json.loads(emb('run', 'exp_06_lora', 'exp_08_rerank', '-p', 'max_length', 64, '--estimate', '--json', cwd=lab).stdout)
    assert [o.split(',')[0] for o in said] == ['exp_06_lora', 'exp_08_rerank'] and all(o['steps'] > 0 and o['disk'] > 0 and all(v >= 0 for v in o['seconds'].values()) for o in said.values())
    assert said['exp_08_rerank,max_length=64']['seconds']['re-ordering gold'] > 0

def test_a_notebook_that_fails_says_why(whole, tmp_path):
    lab = shutil.copytree(whole, tmp_path/'lab')
    nb = read_nb(lab/'experiments'/f'{exp}.ipynb')
    at = next(i for i,o in enumerate(nb.cells) if 'start(globals())' in o.source)
    nb.cells.insert(at + 1, mk_cell('1/0'))
    write_nb(nb, lab/'experiments'/'exp_09_wrong.ipynb')
    before = content(lab/'results')
    res = emb('run', 'exp_09_wrong', '--estimate', cwd=lab, ok=2)
    assert res.stderr.strip().splitlines()[-1] == f'emb: exp_09_wrong cannot be estimated: ZeroDivisionError: division by zero (cell {sum(o.cell_type == "code" for o in nb.cells[:at + 2])}, line 1)'
    assert {k for k in content(lab/'results') if '.locks' not in k} == {k for k in before if '.locks' not in k}
    assert '--json is for estimates' in emb('run', exp, '--json', cwd=lab, ok=2).stderr

def test_ctrl_c_leaves_nothing(whole, tmp_path):
    lab = shutil.copytree(whole, tmp_path/'lab')
    p = begin('emb', 'run', exp, '--estimate', cwd=lab)
    wait_for(lambda: list((lab/'results'/'scratch').glob('estimate,*/run.json')))
    os.killpg(p.pid, signal.SIGINT)
    assert 'Traceback' not in p.communicate(timeout=120)[1] and p.returncode == 130
    assert not list((lab/'results'/'scratch').glob('estimate,*'))

def test_no_room_is_exit_1(tmp_path, data, base, monkeypatch, capsys):
    from embed_lab.cli.lab_commands import estimate_all
    from embed_lab.lab import read_lab
    lab = made_lab(tmp_path/'lab', data, base)
    monkeypatch.chdir(lab)
    with patch('shutil.disk_usage', return_value=SimpleNamespace(total=1, used=1, free=1000)): assert estimate_all(read_lab(lab), [exp], {}, False) == 1
    assert 'emb: disk: the run needs' in capsys.readouterr().err
