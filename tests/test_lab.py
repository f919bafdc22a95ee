"A fresh lab: what it consists of, how it runs, and what it says to bad input"
import json, os, re, shutil, signal, subprocess, sys, time, tomllib
from pathlib import Path
import msgspec, pytest
from packaging.requirements import Requirement
from embed_lab.lab import toolkit_requirement
from embed_lab.labs.scaffold import _pyproject_text
from support import bin, content, emb, files, forked, manifest, papermill, root, sh, started_emb, too_fast

made = '''.gitattributes .gitignore AGENTS.md README.md settings.ini pyproject.toml
data/train.jsonl data/dev.jsonl data/gold.jsonl data/corpus.jsonl data/guard.jsonl
experiments/exp_01_baseline.ipynb experiments/exp_02_in_batch.ipynb
inventory/__init__.py inventory/_modidx.py inventory/datasets.py inventory/preprocess.py inventory/train.py inventory/evaluate.py inventory/plotting.py
nbs/00_datasets.ipynb nbs/01_preprocess.ipynb nbs/02_train.ipynb nbs/03_evaluate.ipynb nbs/04_plotting.ipynb
results/.gitkeep results/cache/exports.json results/exp_01_baseline/.gitkeep results/exp_02_in_batch/.gitkeep'''.split()

# the sample, and init

def test_the_sample_lab_has_exactly_these_files_and_a_second_init_changes_nothing(tmp_path):
    first = emb('init', 'lab', cwd=tmp_path).stdout
    lab = tmp_path/'lab'
    assert files(lab) == sorted(made) and all(f'created  {o}' in first for o in made if 'cache' not in o)
    rows = {o: [json.loads(l) for l in (lab/'data'/f'{o}.jsonl').read_text().splitlines()] for o in ('train', 'dev', 'gold', 'corpus', 'guard')}
    asked = {o: {r['query'] for r in rows[o]} for o in ('train', 'dev', 'gold', 'guard')}
    assert len(asked['train']) >= 2000 and len(asked['dev']) >= 250 and len(asked['gold']) >= 250 and 150 <= len(asked['guard']) <= 300 and len(rows['corpus']) >= 1000
    for a,b in (('train', 'gold'), ('train', 'guard'), ('dev', 'guard'), ('gold', 'guard')):
        assert not asked[a] & asked[b] and not {r['group'] for r in rows[a]} & {r['group'] for r in rows[b]}
    edited = lab/'nbs'/'01_preprocess.ipynb'
    edited.write_text(edited.read_text().replace('a no-op until', 'ours, until'))
    (lab/'README.md').unlink()
    before = content(lab)
    second = emb('init', 'lab', cwd=tmp_path).stdout
    assert 'created  README.md' in second and 'kept     nbs/01_preprocess.ipynb' in second
    after = content(lab)
    assert {o for o in after if after[o] != before.get(o)} <= {'README.md', 'inventory/preprocess.py', 'inventory/_modidx.py', 'results/cache/exports.json'}
    assert b'ours, until' in after['inventory/preprocess.py']
    third = emb('init', 'lab', cwd=tmp_path).stdout
    assert 'created' not in third and content(lab) == after

def test_init_in_an_existing_project_only_adds(tmp_path, data):
    project = '[project]\nname = "shop"\nversion = "1.0"\nrequires-python = ">=3.12"  # ours\n'
    (tmp_path/'pyproject.toml').write_text(project)
    (tmp_path/'README.md').write_text('ours')
    out = emb('init', '--data', data, cwd=tmp_path).stdout
    assert 'extended pyproject.toml' in out and 'kept     README.md' in out
    assert (tmp_path/'README.md').read_text() == 'ours'
    text = (tmp_path/'pyproject.toml').read_text()
    assert text.startswith(project) and '[tool.nbdev]' in text
    sh(bin/'nbdev-export', cwd=tmp_path)
    assert (tmp_path/'pyproject.toml').read_text() == text

# which toolkit it asks for

git = dict(url='https://host/our%20repository.git', vcs_info=dict(vcs='git', commit_id='05e84ea', requested_revision='main'))

@pytest.mark.parametrize('noted, wanted', [
    (None, 'embed-lab[lab]==7.1'), ('{"url"', 'embed-lab[lab]==7.1'),
    (dict(url='file:///src/embed-lab', dir_info={}), 'embed-lab[lab] @ file:///src/embed-lab'),
    (dict(url='file:///src/embed-lab', dir_info=dict(editable=True)), 'embed-lab[lab] @ file:///src/embed-lab'),
    (dict(url='file:///w/embed_lab-7.1.whl', archive_info=dict(hash='sha256=9f', hashes=dict(sha256='9f'))), 'embed-lab[lab] @ file:///w/embed_lab-7.1.whl#sha256=9f'),
    (git, 'embed-lab[lab] @ git+https://host/our%20repository.git@05e84ea'),
    (git | dict(subdirectory='lab'), 'embed-lab[lab] @ git+https://host/our%20repository.git@05e84ea#subdirectory=lab')],
    ids=['index', 'torn', 'folder', 'editable', 'archive', 'repository', 'subdirectory'])
def test_a_lab_asks_for_the_toolkit_that_is_installed(noted, wanted, tmp_path, monkeypatch):
    info = tmp_path/'embed_lab-7.1.dist-info'
    info.mkdir()
    (info/'METADATA').write_text('Metadata-Version: 2.1\nName: embed-lab\nVersion: 7.1\n')
    if noted: (info/'direct_url.json').write_text(noted if isinstance(noted, str) else json.dumps(noted))
    monkeypatch.syspath_prepend(tmp_path)
    asked, = tomllib.loads(_pyproject_text(None, 'lab', 'inventory', 'nbs'))['project']['dependencies']
    assert asked == wanted and Requirement(asked).extras == {'lab'}

# which toolkit made it

version = sh(bin/'emb', '--version', cwd='/').stdout.split()[-1]

def made_by(lab, toolkit):
    "Let a lab say that another toolkit made it"
    toml = lab/'pyproject.toml'
    text = toml.read_text()
    assert text.count(f'toolkit = "{version}"') == 1
    toml.write_text(text.replace(f'toolkit = "{version}"', f'toolkit = "{toolkit}"'))

def test_a_lab_names_its_toolkit_and_an_existing_projects_own_table_is_left_alone(lab, tmp_path, data):
    toml = tomllib.loads((lab/'pyproject.toml').read_text())
    assert toml['tool']['embed_lab'] == {'toolkit': version} and toml['project']['dependencies'] == [toolkit_requirement()]
    assert f'made with Embed Lab {version}' in (lab/'README.md').read_text()
    (tmp_path/'shop').mkdir()
    ours = '[tool.embed_lab]\ncolour = "red"\n'
    (tmp_path/'shop'/'pyproject.toml').write_text(ours)
    emb('init', 'shop', '--data', data, cwd=tmp_path)
    assert tomllib.loads((tmp_path/'shop'/'pyproject.toml').read_text())['tool']['embed_lab'] == {'colour': 'red'}

def test_a_lab_from_before_is_completed_and_does_not_claim_todays_toolkit(lab):
    toml = lab/'pyproject.toml'
    before = toml.read_text().split('\n[tool.embed_lab]')[0]
    toml.write_text(before)
    (lab/'AGENTS.md').unlink()
    assert 'created  AGENTS.md' in emb('init', cwd=lab).stdout and toml.read_text() == before
    emb('ls', cwd=lab)

newer = f'made with embed_lab 99.1.0, and {version} is installed; upgrade it to 99.1.0 or later'

@pytest.mark.parametrize('toolkit, args, wanted', [*(('99.1.0', o, newer) for o in ('run exp_02_in_batch', 'sweep exp_02_in_batch -g lr=1e-4,2e-4', 'new exp_03_mine', 'ls', 'compare exp_02*', 'init')),
    ('0.0.9', 'ls', f'made with embed_lab 0.0.9, and {version} serves labs from .* on; install the version that made it'),
    ('new', 'ls', '`new` under .tool.embed_lab. is not a version; write one such as toolkit = ')])
def test_a_lab_of_another_toolkit_is_told_in_one_line(lab, toolkit, args, wanted):
    made_by(lab, toolkit)
    assert re.search(wanted, refused(lab, *args.split()))

def test_papermill_in_a_lab_of_a_newer_toolkit_says_so_too(lab):
    made_by(lab, '99.1.0')
    res = papermill('experiments/exp_02_in_batch.ipynb', 'results/exp_02_in_batch/exp_02_in_batch.ipynb', cwd=lab, ok=1)
    assert 'upgrade it to 99.1.0 or later' in res.stderr and not (lab/'results'/'exp_02_in_batch'/'run.json').exists()

# what an agent is told

def test_agents_are_told_of_folders_and_commands_that_exist(lab):
    text = (lab/'AGENTS.md').read_text()
    for o in ('nbs/', 'experiments/', 'data/gold.jsonl', 'results/'): assert f'`{o}`' in text and (lab/o).exists()
    assert '`inventory/*.py`' in text and 'never edit it' in text and 'Gold is finite' in text
    commands = [l.split('#')[0].split() for l in text.splitlines() if l.startswith('    ')]
    assert [o[0] for o in commands] == ['nbdev-export', 'nbdev-test', 'emb', 'emb']
    for program,*args in commands:
        if program == 'emb': emb(*args, cwd=lab)
        elif program != 'nbdev-test': sh(bin/program, *args, cwd=lab) # which another test here runs

def test_agents_are_told_of_the_folders_that_settings_name(tmp_path, data):
    (tmp_path/'settings.ini').write_text('[DEFAULT]\nnbs = src/notebooks\ninventory = src/stock\nexperiments = log\n')
    emb('init', '--data', data, cwd=tmp_path)
    text = (tmp_path/'AGENTS.md').read_text()
    for o in ('`src/notebooks/`', '`src/stock/*.py`', '`log/`'): assert o in text

def test_an_existing_file_for_agents_is_kept(tmp_path, data):
    (tmp_path/'AGENTS.md').write_text('ours')
    assert 'kept     AGENTS.md' in emb('init', '--data', data, cwd=tmp_path).stdout and (tmp_path/'AGENTS.md').read_text() == 'ours'

def test_nbdev_works_in_a_lab_and_papermills_tags_survive(lab):
    before = content(lab)
    sh(bin/'nbdev-export', cwd=lab)
    sh(bin/'nbdev-clean', cwd=lab)
    for o in (lab/'experiments').glob('*.ipynb'): sh(bin/'nbdev-clean', '--fname', o, cwd=lab)
    assert content(lab) == before
    for o in (lab/'experiments').glob('*.ipynb'): assert '"parameters"' in o.read_text()
    assert 'Success.' in forked('nbdev-test', lab/'nbs', cwd=lab).stdout

def test_a_labs_lessons_run_where_jupyterlab_runs_them(lab):
    sh(bin/'jupyter', 'execute', '01_preprocess.ipynb', cwd=lab/'nbs') # which imports another

def test_a_loss_that_the_data_cannot_feed_is_refused_by_name(lab):
    train = lab/'data'/'train.jsonl'
    train.write_text(''.join(l for l in train.read_text().splitlines(keepends=True) if '"label":1' in l))
    res = emb('run', 'exp_01_baseline', cwd=lab, ok=2)
    assert 'contrastive loss needs labels 0 and 1' in res.stderr and 'try `emb run exp_02_in_batch`' in res.stderr and 'Traceback' not in res.stderr
    assert not (lab/'results'/'exp_01_baseline'/'run.json').exists()

def test_copies_differ_in_imports_and_export_alone(lab):
    for o in sorted((root/'nbs'/'inventory').glob('0[0-4]_*.ipynb')):
        ours, theirs = json.loads(o.read_text()), json.loads((lab/'nbs'/o.name).read_text())
        assert [c['id'] for c in ours['cells']] == [c['id'] for c in theirs['cells']]
        for a,b in zip(ours['cells'], theirs['cells']):
            assert ''.join(a['source']).replace('embed_lab.inventory', 'inventory').replace('default_exp inventory.', 'default_exp ') == ''.join(b['source'])

beir = root.parent/'shared'/'data'/'nl2bash'

@pytest.mark.skipif(not beir.is_dir(), reason='needs the nl2bash set of the development data, which is not part of the project')
def test_init_takes_a_real_set_in_the_beir_layout(tmp_path):
    emb('init', 'lab', '--data', beir, cwd=tmp_path)
    from embed_lab.inventory.datasets import load_splits
    splits = load_splits(tmp_path/'lab'/'data')
    task = splits.task('gold')
    judged = {l.split('\t')[0] for l in (beir/'qrels'/'test.tsv').read_text().splitlines()[1:]}
    assert set(task.queries) == set(task.qrels) == judged and len(task.corpus) == 10582
    assert splits.train.num_rows == len((beir/'qrels'/'train.tsv').read_text().splitlines()) - 1

# running

artifacts = ['eval/Information-Retrieval_evaluation_dev_results.csv', 'eval/gold_metrics.json', 'eval/per_query.jsonl', 'eval/slices.json', 'final/modules.json', 'history.jsonl',
    'plots/gold_metrics.html', 'plots/loss.html', 'plots/lr.html', 'run.json']

@pytest.mark.parametrize('exp', ['exp_01_baseline', 'exp_02_in_batch'])
def test_plain_papermill_and_emb_run_make_the_same_run(lab, exp):
    def plain(*args, cwd): return sh(bin/'papermill', *args, cwd=cwd)
    by_hand, by_emb = (plain, started_emb) if exp == 'exp_02_in_batch' else (papermill, emb) # as a terminal starts them, and in forks
    by_hand(f'experiments/{exp}.ipynb', f'results/{exp}/{exp}.ipynb', '-p', 'epochs', 2, cwd=lab)
    out = by_emb('run', exp, '-p', 'epochs', 2, cwd=lab)
    a, b = lab/'results'/exp, lab/'results'/f'{exp},epochs=2'
    for o in (a, b):
        assert set(artifacts + [f'{exp}.ipynb']) <= set(files(o))
        assert list((o/'final').rglob('*.safetensors')) and not list((o/'final').rglob('*.bin'))
    assert {*files(a)} - {'.gitkeep'} == {*files(b)} and not any('checkpoint' in o for o in files(a))
    ma, mb = manifest(a), manifest(b)
    assert ma.keys() == mb.keys() and ma['status'] == mb['status'] == 'completed' and ma['inputs'] == mb['inputs'] and ma['overrides'] == mb['overrides'] == {'epochs': 2}
    for o in ('eval/gold_metrics.json', 'eval/per_query.jsonl', 'history.jsonl', 'final/model.safetensors'): assert (a/o).read_bytes() == (b/o).read_bytes(), o
    nb = json.loads((b/f'{exp}.ipynb').read_text())
    assert not [o for c in nb['cells'] for o in c.get('outputs', []) if o['output_type'] == 'error' or (o.get('name') == 'stderr' and too_fast not in ''.join(o['text']))]
    assert sum('application/vnd.plotly.v1+json' in o.get('data', {}) for c in nb['cells'] for o in c.get('outputs', [])) == 3
    assert 'completed' in out.stdout and ma['lab'] == mb['lab'] == version
    listed = json.loads(emb('ls', '--json', cwd=lab).stdout)
    assert list(listed) == [exp, f'{exp},epochs=2'] and 'base' in listed[exp]['headline']

def test_the_same_again_is_up_to_date_and_a_change_moves_the_old_run_aside(lab):
    emb('run', 'exp_02_in_batch', cwd=lab)
    run = lab/'results'/'exp_02_in_batch'
    (run/'.gitkeep').unlink()
    first = content(run)
    again = emb('run', 'exp_02_in_batch', cwd=lab)
    assert 'up to date' in again.stdout and content(run) == first
    train = lab/'data'/'train.jsonl'
    train.write_text(''.join(train.read_text().splitlines(keepends=True)[:-2]))
    emb('run', 'exp_02_in_batch', cwd=lab)
    [aside] = (lab/'results'/'aside').iterdir()
    assert {k: v for k,v in content(aside).items()} == first and manifest(run)['status'] == 'completed'

def test_an_edited_inventory_notebook_is_exported_before_the_run(lab):
    nb = lab/'nbs'/'01_preprocess.ipynb'
    nb.write_text(nb.read_text().replace('a no-op until the data asks for more', 'edited'))
    os.utime(nb, (time.time()+5,)*2)
    out = emb('run', 'exp_02_in_batch', cwd=lab)
    assert 'exported nbs/01_preprocess.ipynb' in out.stdout and 'edited' in (lab/'inventory'/'preprocess.py').read_text()

def test_a_new_experiment_remembers_where_it_comes_from_and_runs(lab):
    emb('new', 'exp_03_mine', '--from', 'exp_02_in_batch', cwd=lab)
    nb = json.loads((lab/'experiments'/'exp_03_mine.ipynb').read_text())
    assert nb['metadata']['embed_lab'] == {'from': 'exp_02_in_batch'} and 'From `exp_02_in_batch`' in ''.join(nb['cells'][0]['source'])
    res = papermill('experiments/exp_03_mine.ipynb', 'results/exp_03_mine/exp_03_mine.ipynb', '-p', 'seed', 7, cwd=lab)
    assert 'unknown parameter' not in res.stderr
    made = manifest(lab/'results'/'exp_03_mine')
    assert made['inputs']['parameters']['seed'] == 7 and made['lineage'] == 'exp_02_in_batch'
    emb('new', 'exp_03_mine', cwd=lab, ok=2)

def start(lab, program, *args):
    p = subprocess.Popen([*program, 'run', *args], cwd=lab, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)) # a shell's background jobs ignore it
    run = lab/'results'/','.join([args[0], *(f'{k}={v}' for k,v in zip(args[2::3], args[3::3]))])
    for _ in range(600):
        if (run/'run.json').exists() and (manifest(run).get('progress') or {}).get('stage') == 'training': return p, run
        time.sleep(.1)
    p.kill()
    raise AssertionError(p.communicate())

slow_end = """
import asyncio
from jupyter_client.provisioning import LocalProvisioner
done = LocalProvisioner.cleanup
async def cleanup(self, restart=False):
    await asyncio.sleep(3)
    await done(self, restart)
LocalProvisioner.cleanup = cleanup
from embed_lab.cli.commands import app
app()"""

def test_ctrl_c_is_recorded_and_no_more_is_said_where_a_dead_kernel_is_noticed_late(lab):
    p, run = start(lab, (sys.executable, '-c', slow_end), 'exp_02_in_batch', '-p', 'epochs', '2000')
    os.killpg(p.pid, signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 130 and manifest(run)['status'] == 'interrupted' and 'Traceback' not in err and err.strip().splitlines()[-1].startswith('emb: '), (out, err)

# the command line itself

def test_every_command_has_help_with_an_example(tmp_path):
    from typer.main import get_command
    from embed_lab.cli.commands import app
    names = list(get_command(app).commands)
    assert {'init', 'check', 'run', 'sweep', 'compare', 'reproduce', 'demo'} <= {*names}
    for o in names: assert f'Example: emb {o}' in emb(o, '--help', cwd=tmp_path).stdout, o
    assert 'Example: emb demo' in emb('--help', cwd=tmp_path).stdout

def test_completion_offers_experiments_and_recipes(lab):
    def offers(words, at): return sh(bin/'emb', cwd=lab, ok=None, _EMB_COMPLETE='complete_bash', COMP_WORDS=words, COMP_CWORD=str(at)).stdout.split()
    assert offers('emb run ', 2) == ['exp_01_baseline', 'exp_02_in_batch'] and offers('emb new x --recipe ', 4)[:2] == ['pairwise', 'in-batch']

# bad input: one line on stderr, exit code 2, nothing left behind

def refused(lab, *args, **env):
    before = set(files(lab)) if lab.exists() else None
    res = emb(*args, cwd=lab if lab.exists() else lab.parent, ok=2, **env)
    assert res.stderr.startswith('emb: ') and res.stderr.count('\n') == 1 and 'Traceback' not in res.stderr, res.stderr
    assert (set(files(lab)) if lab.exists() else None) == before
    return res.stderr

def write(path, text): path.write_text(text)

@pytest.mark.parametrize('spoil, args, wanted', [
    (lambda l: (l/'data'/'gold.jsonl').unlink(), ['run', 'exp_02_in_batch'], r'data/gold\.jsonl: no such file'),
    (lambda l: write(l/'data'/'dev.jsonl', ''), ['run', 'exp_02_in_batch'], r'data/dev\.jsonl: empty'),
    (lambda l: write(l/'data'/'train.jsonl', '{"query": "a", "passage": "b", "label": 1}\n{"query": "a", "passage"\n'), ['run', 'exp_02_in_batch'], r'data/train\.jsonl:2: not JSON'),
    (lambda l: write(l/'data'/'train.jsonl', '{"query": "a", "passage": "\\u001b[2J", "label": "1"}\n'), ['run', 'exp_02_in_batch'], r'data/train\.jsonl:1: `label` is "1"'),
    (lambda l: None, ['run', 'exp_02_in_batch', '-p', 'epoch', '2'], r'no parameter `epoch`; did you mean `epochs`'),
    (lambda l: None, ['run', 'exp_02_in_batch', '-p', 'epochs', 'two'], r'`epochs` is int'),
    (lambda l: None, ['run', 'exp_02_in_batch', '-p', 'epochs'], r'-p takes a name and a value'),
    (lambda l: None, ['run', 'exp_2_in_batch'], r'no experiment `exp_2_in_batch`.*did you mean `exp_02_in_batch`'),
    (lambda l: None, ['run', 'exp_02_in_batch', '-p', 'model', 'nobody/nothing'], r'`nobody/nothing` is not a folder here, and the hub cannot be reached.*embed-lab\[offline\]'),
    (lambda l: None, ['run', 'exp_02_in_batch', '-p', 'model', './nowhere'], r'\./nowhere: no such folder'),
    (lambda l: None, ['new', 'exp_04', '--recipe', 'in_batch'], r'no recipe `in_batch`; did you mean `in-batch`'),
    (lambda l: None, ['new', 'a,b'], r'`a,b` cannot be a name'),
    (lambda l: write(l/'settings.ini', '[DEFAULT]\ncorpus = ajar\n'), ['ls'], r'corpus = ajar'),
    (lambda l: (shutil.rmtree(l/'results'), write(l/'results', '')), ['run', 'exp_02_in_batch'], r'results'),
])
def test_bad_input_in_a_lab(lab, spoil, args, wanted):
    spoil(lab)
    assert re.search(wanted, refused(lab, *args))

@pytest.mark.parametrize('args, wanted', [
    (['init', 'lab', '--recipe', 'pairwize'], r'no recipe `pairwize`; did you mean `pairwise`'),
    (['init', 'lab', '--data', 'nowhere'], r'nowhere: no such file or folder'),
    (['init', '/proc/lab'], r'/proc/lab'),
    (['ls'], r'make a lab with `emb init`'),
])
def test_bad_input_outside_a_lab(tmp_path, args, wanted): assert re.search(wanted, refused(tmp_path/'lab', *args))

def test_papermill_refuses_a_misspelt_parameter_too(lab):
    res = papermill('experiments/exp_02_in_batch.ipynb', 'results/exp_02_in_batch/exp_02_in_batch.ipynb', '-p', 'epoch', 2, cwd=lab, ok=1)
    assert 'has no parameter `epoch`; did you mean `epochs`' in res.stderr and not (lab/'results'/'exp_02_in_batch'/'run.json').exists()

def test_an_unreachable_hub_is_said_within_seconds(lab):
    "A hub that accepts and never answers; the bound is wide, since what it guards against takes minutes"
    import socket
    with socket.create_server(('127.0.0.1', 0)) as hub:
        res = refused(lab, 'run', 'exp_02_in_batch', '-p', 'model', 'nobody/nothing', HF_HUB_OFFLINE='0', HF_ENDPOINT=f'http://127.0.0.1:{hub.getsockname()[1]}')
    assert 'the hub cannot be reached' in res

# plain papermill, any way it is called

asked = "from embed_lab.runs.record import start\nrun = start(globals())"

def small(lab, name='small'):
    "An experiment that trains nothing"
    cells = [dict(cell_type='code', id=f'c{i}', metadata=dict(tags=tags), source=source, outputs=[], execution_count=None)
        for i,(source,tags) in enumerate([('lr: float = 0.1', ['parameters']), (asked, []), ('run.finish(lr=lr)', [])])]
    (lab/'experiments'/f'{name}.ipynb').write_text(json.dumps(dict(cells=cells, metadata=dict(kernelspec=dict(name='python3', display_name='x', language='python')), nbformat=4, nbformat_minor=5)))

def test_papermills_that_start_at_once_are_recorded_each_in_its_own_folder(lab):
    small(lab)
    for i in range(4): (lab/'results'/f'small_{i}').mkdir()
    some = [subprocess.Popen([bin/'papermill', 'experiments/small.ipynb', f'results/small_{i}/small.ipynb', '-p', 'lr', f'0.{i}1'], cwd=lab, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for i in range(4)]
    said = [p.communicate()[0] for p in some]
    assert [p.returncode for p in some] == [0]*4, said
    runs = [manifest(lab/'results'/f'small_{i}') for i in range(4)]
    assert [o['status'] for o in runs] == ['completed']*4 and [o['overrides'] for o in runs] == [dict(lr=float(f'0.{i}1')) for i in range(4)] == [o['headline'] for o in runs]

def test_an_output_that_is_no_run_is_refused_with_what_to_type(lab, tmp_path):
    small(lab)
    for out,wanted in (('-', 'papermill writes no notebook'), (tmp_path/'out.ipynb', f"papermill writes {tmp_path/'out.ipynb'}"), ('results/small.ipynb', 'small.ipynb, and a run of this lab'), ('results/cache/small.ipynb', 'and a run of this lab')):
        (lab/'results'/'cache').mkdir(exist_ok=True)
        said = sh(bin/'papermill', 'experiments/small.ipynb', out, cwd=lab, ok=1).stderr
        assert wanted in said and f'type `cd {lab} && papermill experiments/NAME.ipynb results/NAME/NAME.ipynb`' in said, said
    assert not [*(lab/'results').rglob('run.json')]

def test_papermill_is_told_where_it_writes_and_from_where_it_is_called(lab, tmp_path):
    small(lab)
    for o in ('told', 'far'): (lab/'results'/o).mkdir()
    sh(bin/'papermill', 'experiments/small.ipynb', 'results/told/small.ipynb', '--inject-paths', cwd=lab)
    sh(bin/'papermill', lab/'experiments'/'small.ipynb', '../my_lab/results/far/small.ipynb', '--cwd', lab, '-p', 'lr', '0.3', cwd=lab.parent/'my_lab')
    assert manifest(lab/'results'/'told')['overrides'] == {} and manifest(lab/'results'/'far')['overrides'] == dict(lr=.3)

def test_papermill_in_a_jupyter_session_does_not_take_that_sessions_notebook(lab):
    small(lab, 'host')
    small(lab)
    (lab/'results'/'scratch'/'host').mkdir(parents=True)
    (lab/'results'/'scratch'/'host'/'kept.txt').touch()
    (lab/'results'/'small').mkdir()
    code = "import papermill as pm; pm.execute_notebook('experiments/small.ipynb', 'results/small/small.ipynb', parameters=dict(lr=.2), progress_bar=False)"
    sh(sys.executable, '-c', code, cwd=lab, JPY_SESSION_NAME=str(lab/'experiments'/'host.ipynb'))
    assert manifest(lab/'results'/'small')['overrides'] == dict(lr=.2) and (lab/'results'/'scratch'/'host'/'kept.txt').exists()
    res = sh(sys.executable, '-c', code.replace('results/small/', ''), cwd=lab, ok=1, JPY_SESSION_NAME=str(lab/'experiments'/'host.ipynb'))
    assert 'this kernel does not say which notebook it runs' in res.stderr and (lab/'results'/'scratch'/'host'/'kept.txt').exists()
