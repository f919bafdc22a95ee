"Every file of a lab's code is in the commit, in the diff, or named as neither"
import json, os, subprocess
import pytest
from support import emb
from embed_lab.lab import read_lab
from embed_lab.runs.manifest import git_facts

def git(folder, *args, **env):
    return subprocess.run(['git', '-c', 'user.name=n', '-c', 'user.email=e@example.com', *args], cwd=folder, check=True, capture_output=True, text=True, env=os.environ | env).stdout.strip()

@pytest.fixture
def made(tmp_path):
    "A lab of the few files that are asked for, in no repository"
    lab = tmp_path/'outer'/'lab'
    for o in ('experiments/q.ipynb', 'nbs/00_datasets.ipynb', 'inventory/datasets.py', 'data/gold.jsonl', 'results/q/run.json'):
        (lab/o).parent.mkdir(parents=True)
        (lab/o).write_text('{}')
    (lab/'settings.ini').write_text('[DEFAULT]\nseed = 1\n')
    return lab

code = ['experiments/q.ipynb', 'inventory/datasets.py', 'nbs/00_datasets.ipynb', 'settings.ini']

def test_a_lab_that_an_outer_repository_ignores_is_in_no_commit(made):
    outer = made.parent
    git(outer, 'init', '-qb', 'main')
    (outer/'.gitignore').write_text('lab\n')
    git(outer, 'add', '.')
    git(outer, 'commit', '-qm', '1')
    facts, diff, why = git_facts(read_lab(made))
    assert facts['ignored'] == code and facts['dirty'] is None and facts['untracked'] == [] and not why
    git(outer, 'add', '-f', 'lab/experiments/q.ipynb', 'lab/settings.ini')
    git(outer, 'commit', '-qm', '2')
    assert git_facts(read_lab(made))[0]['ignored'] == code[1:3]

def test_notebooks_that_are_ignored_globally_are_named(made, tmp_path, monkeypatch):
    (tmp_path/'ignored').write_text('*.ipynb\n')
    (tmp_path/'config').write_text(f'[core]\nexcludesFile = {tmp_path/"ignored"}\n')
    monkeypatch.setenv('GIT_CONFIG_GLOBAL', str(tmp_path/'config'))
    git(made, 'init', '-q')
    git(made, 'add', '.')
    git(made, 'commit', '-qm', '1')
    (made/'inventory'/'new.py').touch()
    facts, _, _ = git_facts(read_lab(made))
    assert facts['ignored'] == [code[0], code[2]] and facts['untracked'] == ['inventory/new.py']

def test_a_hook_does_not_say_which_repository_a_lab_is_in(made, tmp_path, monkeypatch):
    for o in (made, tmp_path/'other'):
        o.mkdir(exist_ok=True)
        git(o, 'init', '-q')
        git(o, 'commit', '--allow-empty', '-qm', str(o))
    monkeypatch.setenv('GIT_DIR', str(tmp_path/'other'/'.git'))
    monkeypatch.setenv('GIT_INDEX_FILE', str(tmp_path/'other'/'.git'/'index'))
    facts, _, _ = git_facts(read_lab(made))
    monkeypatch.delenv('GIT_DIR')
    assert facts['commit'] == git(made, 'rev-parse', 'HEAD') and code[0] in facts['untracked']

def test_why_there_is_no_commit_is_recorded_and_said(lab, monkeypatch):
    assert git_facts(read_lab(lab)) == (None, b'', 'the lab is not in a git repository')
    git(lab, 'init', '-q')
    assert git_facts(read_lab(lab))[2] == 'nothing has been committed yet'
    git(lab, 'add', '.')
    git(lab, 'commit', '-qm', '1')
    res = emb('run', made_untuned(lab), cwd=lab, GIT_TEST_ASSUME_DIFFERENT_OWNER='1') # what git's own tests use
    assert 'git does not say which commit this is: detected dubious ownership in repository' in res.stderr
    [run] = [json.loads(o.read_text()) for o in (lab/'results').glob('*/run.json')]
    assert run['git'] is None and run['no_git'].startswith('detected dubious ownership')
    assert git_facts(read_lab(lab))[0]['ignored'] == []

def made_untuned(lab):
    emb('new', 'exp_09_untuned', '--recipe', 'untuned', cwd=lab)
    git(lab, 'add', '.')
    git(lab, 'commit', '-qm', '2')
    return 'exp_09_untuned'
