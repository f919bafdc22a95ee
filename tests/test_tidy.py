"What goes when it is no longer needed, and what never goes"
import json, os, shutil, sys
from types import SimpleNamespace
import numpy as np, pytest
from safetensors.numpy import save_file
from support import content, exp, manifest, write_manifest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.files import write_json
from embed_lab.lab import LabError, read_lab
from embed_lab.runs.execute import _conclude, _judged, _lightened, plan
from embed_lab.runs.keeping import find_any_run, note_run, promotion, remove_runs, rename_run
from embed_lab.runs.manifest import mock_manifest
from embed_lab.runs.record import start
from embed_lab.runs.results import Notes, drop_checkpoints, lock_run, process_facts, read_notes, read_run, result_facts, timestamp, verify_runs
from embed_lab.runs.tidy import kinds, survey_disk, tidy

def bare_lab(home, settings=''):
    home.mkdir(parents=True, exist_ok=True)
    (home/'settings.ini').write_text(f'[DEFAULT]\nmodel = base\n{settings}')
    for o in ('experiments', 'nbs', 'inventory', 'data', 'results'): (home/o).mkdir(exist_ok=True)
    return read_lab(home)

def made_up(lab, name, **facts):
    "A run that was never trained, with model, scores, checkpoints and notebook, whose kernel has just finished"
    run = lab.results/name
    (run/'final').mkdir(parents=True)
    save_file(dict(w=np.arange(3.)), run/'final'/'model.safetensors')
    write_json(run/'eval'/'gold_metrics.json', dict(queries=3))
    for n in (5, 10):
        write_json(run/'checkpoints'/f'checkpoint-{n}'/'optimizer.pt', n)
        write_json(run/'checkpoints'/f'checkpoint-{n}'/'sealed.json', {})
    experiment = name.split(',')[0]
    write_json(run/f'{experiment}.ipynb', dict(cells=[], metadata={}, nbformat=4, nbformat_minor=5))
    write_json(run/'run.json', mock_manifest(experiment=experiment, status='running', process=process_facts() | dict(born=0),
        used=dict(memory=1, disk=2), **result_facts(run)) | facts)
    return run

def completed(lab, name, **facts):
    run = made_up(lab, name)
    m = manifest(run) | dict(status='completed', end=manifest(run)['start']) | facts
    write_manifest(run, m | result_facts(run, f"{m['experiment']}.ipynb", m))
    return run

def ended(lab, run):
    "What `emb run` does after the kernel of a run"
    plan = SimpleNamespace(lab=lab, path=run, notebook=lab.experiments/f'{run.name}.ipynb', inputs={})
    with lock_run(run): return _lightened(plan, _judged(plan, _conclude(plan, None, 'completed', '')))

# checkpoints of completed runs

def killed_at(n, work):
    "Whether `work` ended in a process of its own before the `n`th thing that it asked the file system to do, at which it is killed"
    pid = os.fork()
    if not pid:
        left = [n]
        def count(event, args):
            if event == 'open' and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR) or event in ('os.rename', 'os.remove', 'os.rmdir', 'os.mkdir', 'shutil.rmtree'):
                left[0] -= 1
                if left[0] < 0: os._exit(9)
        try:
            sys.addaudithook(count)
            work()
        finally: os._exit(0 if left[0] >= 0 else 9)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def test_a_kill_at_any_moment_leaves_all_checkpoints_or_a_completed_run(tmp_path):
    made_up(bare_lab(tmp_path/'lab'), 'exp_01')
    before, seen = content(tmp_path/'lab'/'results'/'exp_01'/'checkpoints'), []
    for n in range(100):
        lab = read_lab(shutil.copytree(tmp_path/'lab', tmp_path/str(n)))
        run = lab.results/'exp_01'
        whole = killed_at(n, lambda: ended(lab, run))
        m, left = read_run(run), (run/'checkpoints').exists()
        if left: assert content(run/'checkpoints') == before
        assert left or m['status'] == 'completed' and not verify_runs(lab, {run: m}, deep=True)
        lock_run(run).close() # the next command that writes there
        if not left: assert {o.name for o in run.iterdir()} == {'run.json', 'final', 'eval', f'{run.name}.ipynb'}
        elif m['status'] == 'completed': assert drop_checkpoints(lab, run) > 0
        else: assert ended(lab, run)['status'] == 'completed'
        assert not (run/'checkpoints').exists()
        seen.append((m['status'], left))
        if whole: break
    assert whole and {*seen} == {('killed', True), ('completed', True), ('completed', False)}

@pytest.mark.parametrize('harm', [lambda m: m.unlink(), lambda m: m.write_bytes(m.read_bytes()[:-1]), lambda m: m.write_bytes(bytes(m.stat().st_size))])
def test_checkpoints_stay_where_the_model_is_not_what_it_was(tmp_path, harm):
    lab = bare_lab(tmp_path)
    run = completed(lab, 'exp_01')
    harm(run/'final'/'model.safetensors')
    assert [o.stays for o in survey_disk(lab).pieces['checkpoints']] == ['they are all that is left of its model']
    assert drop_checkpoints(lab, run) == 0 and len(content(run/'checkpoints')) == 4

def test_checkpoints_stay_where_a_run_without_a_record_of_its_files_has_other_weights(tmp_path):
    lab = bare_lab(tmp_path)
    run = completed(lab, 'exp_01')
    write_manifest(run, {k: o for k,o in manifest(run).items() if k != 'files'})
    model = run/'final'/'model.safetensors'
    model.write_bytes(model.read_bytes()[:-1] + b'\0')
    assert drop_checkpoints(lab, run) == 0 and len(content(run/'checkpoints')) == 4

def test_checkpoints_stay_where_a_recorded_model_cannot_be_opened(tmp_path):
    lab = bare_lab(tmp_path)
    run = made_up(lab, 'exp_01')
    whole = (run/'final'/'model.safetensors').read_bytes()
    (run/'final'/'model.safetensors').write_bytes(whole[:-4]) # as a disk leaves it that says nothing of being full
    write_manifest(run, manifest(run) | result_facts(run))
    assert ended(lab, run)['status'] == 'completed' and len(content(run/'checkpoints')) == 4

@pytest.mark.parametrize('status', ['killed', 'failed', 'interrupted', 'running'])
def test_an_unfinished_run_keeps_its_checkpoints(tmp_path, status):
    lab = bare_lab(tmp_path)
    run = completed(lab, 'exp_01', status=status)
    assert drop_checkpoints(lab, run) == 0 and len(content(run/'checkpoints')) == 4

def test_checkpoints_that_are_a_link_are_not_followed(tmp_path):
    lab = bare_lab(tmp_path/'lab')
    run = completed(lab, 'exp_01')
    (run/'checkpoints').rename(tmp_path/'big disk')
    (run/'checkpoints').symlink_to(tmp_path/'big disk')
    assert drop_checkpoints(lab, run) == 0 and (run/'checkpoints').is_symlink() and len(content(tmp_path/'big disk')) == 4

def test_a_lab_can_keep_them(tmp_path):
    lab = bare_lab(tmp_path, 'keep_checkpoints = yes\n')
    run = made_up(lab, 'exp_01')
    assert ended(lab, run)['status'] == 'completed' and len(content(run/'checkpoints')) == 4
    with pytest.raises(LabError, match='settings.ini, line 3: keep_checkpoints = always; write `yes` or `no`'): bare_lab(tmp_path, 'keep_checkpoints = always\n')

# removing, renaming

@pytest.fixture(scope='module')
def repeated(tmp_path_factory):
    "A lab with a run that is repeated in `reproduced`"
    lab = bare_lab(tmp_path_factory.mktemp('repeated')/'lab')
    completed(lab, 'exp_01')
    write_json(lab.results/'reproduced'/'exp_01'/'run.json', mock_manifest(reproduces='exp_01', reproduction=dict(run='exp_01')))
    return lab.path

def test_a_kill_while_a_run_is_removed_leaves_all_of_it_or_nothing(tmp_path, repeated):
    seen = []
    for n in range(50):
        lab = read_lab(shutil.copytree(repeated, tmp_path/str(n)))
        run = lab.results/'exp_01'
        before = content(run)
        whole = killed_at(n, lambda: remove_runs(lab, [run]))
        assert not run.exists() or content(run) == before
        seen.append(run.exists())
        lock_run(lab.results/'exp_02').close() # any command that writes there
        assert {o.name for o in lab.results.iterdir()} <= {'exp_01', 'reproduced', '.locks'}
        if whole: break
    assert whole and {*seen} == {True, False}

def test_a_kill_while_a_run_is_renamed_leaves_it_under_one_name_and_the_same_command_ends_it(tmp_path, repeated):
    seen = []
    for n in range(50):
        lab = read_lab(shutil.copytree(repeated, tmp_path/str(n)))
        before = content(lab.results/'exp_01')
        whole = killed_at(n, lambda: rename_run(lab, 'exp_01', 'served'))
        there = [o for o in ('exp_01', 'served') if (lab.results/o).exists()]
        assert len(there) == 1
        seen += there
        if there == ['exp_01']: rename_run(lab, 'exp_01', 'served')
        now = content(lab.results/'served')
        assert now.pop('notes.json') and now == before and read_notes(lab.results/'served').was == 'exp_01'
        again = manifest(lab.results/'reproduced'/'served')
        assert (again['reproduces'], again['reproduction']['run']) == ('served', 'served') and not (lab.results/'reproduced'/'exp_01').exists()
        if whole: break
    assert whole and {*seen} == {'exp_01', 'served'}

def test_links_lead_nowhere(tmp_path):
    lab, away = bare_lab(tmp_path/'lab'), bare_lab(tmp_path/'other')
    theirs, own = completed(away, 'exp_01'), completed(lab, 'exp_02')
    for o in ('aside', 'reproduced'): (lab.results/o).symlink_to(away.results)
    (lab.results/'cache').symlink_to(theirs)
    (lab.results/'scratch').mkdir()
    for o in ('exp_03', 'scratch/exp_03'): (lab.results/o).symlink_to(theirs)
    (own/'notes.json').symlink_to(theirs/'run.json')
    (own/'final'/'more').symlink_to(theirs)
    before = content(away.path)
    _, stay = tidy(survey_disk(lab), list(kinds))
    assert {os.path.relpath(o.path, lab.results): o.stays for o in stay} == {k: 'it is a link' for k in ('aside', 'reproduced', 'cache', 'scratch/exp_03')}
    for name in ('exp_03', 'scratch/exp_03', 'aside/exp_01'):
        with pytest.raises(LabError, match='is a link'): find_any_run(lab, name)
    with pytest.raises(LabError, match='is a link'): rename_run(lab, 'exp_03', 'served')
    note_run(lab, 'exp_02', 'mine')
    assert not (own/'notes.json').is_symlink()
    remove_runs(lab, [own])
    assert content(away.path) == before and not own.exists()

@pytest.mark.parametrize('name', ['aside/..', 'aside/.', 'scratch/', '../lab/results/..', '{away}/results/aside/one', '{away}/results/exp_01', 'cache/exp_01'])
def test_only_a_run_of_this_lab_is_found(tmp_path, name):
    lab, away = bare_lab(tmp_path/'lab'), bare_lab(tmp_path/'other')
    for o in (lab, away):
        (o.results/'aside').mkdir()
        completed(o, 'exp_01').rename(o.results/'aside'/'one')
        write_json(o.results/'run.json', mock_manifest())
    assert find_any_run(lab, str(lab.results/'aside'/'one')) == find_any_run(lab, 'aside/one') == lab.results/'aside'/'one'
    with pytest.raises(LabError): find_any_run(lab, name.format(away=away.path))

def test_what_is_running_is_refused(tmp_path):
    lab = bare_lab(tmp_path)
    run = made_up(lab, 'exp_01', process=dict(pid=1, born=0, host='elsewhere'), heartbeat=timestamp())
    with pytest.raises(LabError, match='exp_01 is being written by process 1 on elsewhere'): remove_runs(lab, [run])
    with pytest.raises(LabError, match='exp_01 is running, and is resumed by its name'): rename_run(lab, 'exp_01', 'served')
    assert survey_disk(lab).pieces['checkpoints'][0].stays == 'the run has not completed (running) and would resume from them'

def test_the_only_copy_of_a_completed_run_stays(tmp_path):
    lab = bare_lab(tmp_path)
    def aside(name, **facts): # Moved there as a run that makes way is
        (lab.results/'aside').mkdir(exist_ok=True)
        return completed(lab, 'exp_01', **facts).rename(lab.results/'aside'/name)
    aside('first'), aside('other', inputs=mock_manifest()['inputs'] | dict(corpus='fixed')), aside('torn', status='killed')
    def stays(): return {o.path.name: o.stays for o in survey_disk(lab).pieces['aside']}
    only = 'it is the only copy of a completed run'
    assert stays() == dict(first=only, other=only, torn='')
    run = completed(lab, 'exp_01')
    assert stays() == dict(first='', other=only, torn='')
    (run/'final'/'model.safetensors').unlink()
    assert stays() == dict(first=only, other=only, torn='')
    tidy(survey_disk(lab), ['aside'])
    assert {o.name for o in (lab.results/'aside').iterdir()} == {'first', 'other'} and run.exists()

def test_a_trial_that_runs_and_one_that_a_run_was_made_from_stay(tmp_path):
    lab = bare_lab(tmp_path)
    scratch = lab.results/'scratch'
    scratch.mkdir()
    for o in ('free', 'source'): completed(lab, 'exp_01').rename(scratch/o)
    made_up(lab, 'exp_01', process=dict(pid=1, born=0, host='elsewhere'), heartbeat=timestamp()).rename(scratch/'busy')
    completed(lab, 'exp_02', inputs=mock_manifest()['inputs'] | dict(parameters=dict(model='results/scratch/source/final')))
    assert {o.path.name: o.stays for o in survey_disk(lab).pieces['scratch']} == dict(busy='it is running', free='', source='exp_02 was made from it')
    tidy(survey_disk(lab), ['scratch'])
    assert {o.name for o in scratch.iterdir()} - {'.locks'} == {'busy', 'source'}

def test_the_rows_add_up_to_the_total(tmp_path, monkeypatch):
    "Checkpoints of a run beside the record are checkpoints, and are not counted again with that run"
    lab = bare_lab(tmp_path)
    for place in ('', 'aside', 'scratch'):
        run = completed(lab, f'exp_0{len(place)}')
        (run/'checkpoints'/'checkpoint-1').mkdir(parents=True)
        (run/'checkpoints'/'checkpoint-1'/'model.safetensors').write_bytes(bytes(3 << 20))
        if place: (lab.results/place).mkdir() or run.rename(lab.results/place/run.name)
    (lab.results/'board.html').write_bytes(bytes(1 << 20))
    use = survey_disk(lab)
    said = use.to_dict()
    files = [o for o in lab.results.rglob('*') if o.is_file() and '.locks' not in o.parts]
    assert said['bytes'] == sum(o.stat().st_size for o in files) == sum(o['bytes'] for o in said.values() if isinstance(o, dict)) + said['rest']
    assert said['checkpoints']['bytes'] >> 20 == 9 and said['aside']['bytes'] < 1 << 20 <= said['rest']
    free = sum(said[k]['can_go'] for k in ('checkpoints', 'scratch'))
    assert tidy(use, ['checkpoints', 'scratch'])[0] == free
    monkeypatch.chdir(tmp_path)
    assert 'other files' in CliRunner().invoke(app, ['tidy']).output

def test_a_damaged_run_can_be_removed_and_asks_first(tmp_path, monkeypatch):
    lab = bare_lab(tmp_path)
    run = completed(lab, 'exp_01')
    completed(lab, 'exp_02', inputs=mock_manifest()['inputs'] | dict(parameters=dict(teacher='results/exp_01/final')))
    monkeypatch.chdir(tmp_path)
    res = CliRunner().invoke(app, ['rm', 'exp_01'])
    assert res.exit_code == 2 and 'exp_02 was made from it, and cannot be made again without it' in res.output and 'add --yes' in res.output and run.exists()
    (run/'run.json').write_bytes(b'\xff\0')
    assert survey_disk(lab).bytes == sum(o.stat().st_size for o in lab.results.rglob('*') if o.is_file() and '.locks' not in o.parts)
    res = CliRunner().invoke(app, ['rm', 'exp_01', '--yes'])
    assert res.exit_code == 0 and 'results/exp_01: damaged' in res.output and not run.exists()

@pytest.mark.parametrize('text', [b'', b'\xff\xfe', b'[]', b'{"note": 1}', b'{"tags": "a"}', b'['*9999, b'{"note": "' + b'a'*(1 << 20) + b'"}'])
def test_notes_that_cannot_be_read_say_nothing_and_are_kept(tmp_path, text):
    lab = bare_lab(tmp_path)
    run = completed(lab, 'exp_01')
    (run/'notes.json').write_bytes(text)
    assert read_notes(run) == Notes()
    with pytest.raises(LabError, match='notes.json'): note_run(lab, 'exp_01', 'mine')
    assert (run/'notes.json').read_bytes() == text

def test_a_note_is_any_text_and_keeps_what_others_wrote(tmp_path):
    lab = bare_lab(tmp_path)
    run = completed(lab, 'exp_01')
    write_json(run/'notes.json', dict(note='a', owner='Kim'))
    note_run(lab, 'exp_01', '<script>alert(1)</script> $x$ 漢字')
    assert read_notes(run).note == '<script>alert(1)</script> $x$ 漢字' and json.loads((run/'notes.json').read_text())['owner'] == 'Kim'
    assert not verify_runs(lab, {run: read_run(run)}, deep=True)

@pytest.mark.parametrize('name', ['', '.', '..', '../x', 'a/b', '/x', '-x', 'cache', 'Aside', 'a b', 'a\nb', 'x'*121, f'{exp},lr=1', exp.upper()])
def test_names_that_no_run_can_have(lab, name):
    lab = read_lab(lab)
    completed(lab, 'exp_77')
    with pytest.raises(LabError): rename_run(lab, 'exp_77', name)

def test_a_renamed_run_is_up_to_date_until_its_inputs_change(lab):
    (lab/'results'/exp).mkdir(parents=True, exist_ok=True)
    (lab/'results'/exp/'.gitkeep').touch()
    lab = read_lab(lab)
    todo = plan(lab, exp, {})
    shutil.rmtree(todo.path)
    run = completed(lab, exp, inputs=todo.inputs)
    (run/'.gitkeep').touch()
    rename_run(lab, exp, 'served')
    assert run.is_dir() and [o.name for o in run.iterdir()] == ['.gitkeep'] and not (lab.results/'served'/'.gitkeep').exists()
    again = plan(lab, exp, {})
    assert (again.path.name, again.done, again.displaced()) == ('served', True, '')
    assert plan(lab, exp, dict(epochs=2)).path.name == f'{exp},epochs=2'
    (lab.path/'settings.ini').write_text((lab.path/'settings.ini').read_text().replace('corpus = open', 'corpus = fixed'))
    assert plan(read_lab(lab.path), exp, {}).path.name == exp
    assert rename_run(lab, 'served', exp).name == exp and read_notes(run) == Notes()

# trials and records

def test_a_trial_is_recorded_by_running_it_with_its_parameters(lab, monkeypatch, own_path):
    monkeypatch.chdir(lab)
    run = start(dict(seed=7, model=None, epochs=2), exp)
    run.record(status='interrupted')
    assert promotion(read_lab(lab), exp) == promotion(read_lab(lab), f'scratch/{exp}') == (exp, dict(seed=7, epochs=2), [])
    (lab/'data'/'train.jsonl').write_text((lab/'data'/'train.jsonl').read_text().split('\n', 1)[1])
    assert promotion(read_lab(lab), exp)[2] == ['data/train.jsonl has changed (600 rows, now 599)']
    with pytest.raises(LabError, match=f'no run `exp_99` in results/scratch/; '): promotion(read_lab(lab), 'exp_99')

def test_a_notebook_of_results_is_a_record(lab, monkeypatch, own_path):
    run = completed(read_lab(lab), f'{exp},epochs=2', overrides=dict(epochs=2))
    before = content(run)
    monkeypatch.chdir(run) # as JupyterLab does
    monkeypatch.setenv('JPY_SESSION_NAME', str(run/f'{exp}.ipynb'))
    for name in (None, exp):
        with pytest.raises(LabError) as e: start(dict(seed=None, model=None), name)
        assert str(e.value) == (f'results/{run.name}/{exp}.ipynb is the record of a run, and saving this notebook would change it: close it without saving, '
            f'and open experiments/{exp}.ipynb, or make the run again with `emb run {exp} -p epochs 2`')
    assert content(run) == before and not (lab/'results'/'scratch').exists()
    (run/f'{exp}.ipynb').write_text(json.dumps(dict(cells=[dict(cell_type='markdown', source='edited', metadata={})], metadata={}, nbformat=4, nbformat_minor=5)))
    assert f'{exp},epochs=2: {exp}.ipynb has changed since it completed' in CliRunner().invoke(app, ['ls']).output.replace('\n', ' ')

def test_what_makes_way_is_said_with_the_reason(lab):
    lab = read_lab(lab)
    todo = plan(lab, exp, {})
    assert todo.displaced() == todo.displaced(anew=True) == ''
    run = completed(lab, exp, inputs=todo.inputs)
    assert todo.displaced() == '' and todo.displaced(anew=True) == 'it is to be made again'
    write_manifest(run, manifest(run) | dict(inputs=todo.inputs | dict(corpus='fixed')))
    assert todo.displaced() == 'corpus was fixed, now open since it completed'
    write_manifest(run, manifest(run) | dict(status='failed'))
    assert todo.displaced() == ''
    shutil.rmtree(run/'checkpoints')
    assert todo.displaced() == 'it failed before there was anything to resume'

def test_ctrl_c_at_the_question_ends_as_everywhere(monkeypatch):
    from embed_lab.cli import lab_commands as commands
    def pressed(*args): raise commands.typer.Abort
    monkeypatch.setattr('sys.stdin', SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(commands.typer, 'confirm', pressed)
    with pytest.raises(KeyboardInterrupt): commands._agreed('Remove 1 run for good?', False)
